//! What any file does, for sockets.

use super::{ReceiveFlags, SocketKind, UnixSocket};
use crate::Errno;
use crate::delegate::Delegate;
use crate::files::{Events, File, FileType, HostFile, Operation, Source, Stat, Target, WaitQueue, anonymous};
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::task::{Context, Poll};

impl File for UnixSocket {
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        at: Option<u64>,
        into: &mut dyn Target,
    ) -> Poll<Result<usize, Errno>> {
        if let Some(host) = self.host.get() {
            return host.poll_read(cx, operation, at, into);
        }
        self.poll_receive(cx, operation, into, ReceiveFlags::default()).map_ok(|received| received.len)
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        at: Option<u64>,
        from: &mut dyn Source,
    ) -> Poll<Result<usize, Errno>> {
        if let Some(host) = self.host.get() {
            return host.poll_write(cx, operation, at, from);
        }
        self.poll_send(cx, operation, from, &mut super::Outgoing::default(), None)
    }

    fn stat(&self) -> Stat {
        Stat { mode: FileType::Socket as u32 | 0o777, links: 1, ..anonymous(self.inode) }
    }

    fn name(&self) -> String {
        format!("socket:[{}]", self.inode)
    }

    fn events(&self) -> Events {
        if let Some(host) = self.host.get() {
            return host.events();
        }
        let state = self.state.lock();
        if let Some(listening) = &state.listening {
            return Events::READABLE.when(!listening.pending.is_empty());
        }
        let connection = self.kind != SocketKind::Datagram;
        let ended = state.ended || state.no_receiving;
        let gone = connection && (state.peer.is_none() || state.ended && state.no_sending);
        let peer = state.peer.as_ref().and_then(Weak::upgrade);
        let mut events = Events::READABLE.when(!state.inbox.is_empty() || ended)
            | Events::READ_HUP.when(ended && connection)
            | Events::HUP.when(gone);
        drop(state);
        let room = peer.is_none_or(|peer| self.finds_room(&peer));
        events |= Events::WRITABLE.when(room);
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        self.host.get().map_or(Some(&self.queue), HostFile::queue)
    }

    fn expect(&self, events: Events) {
        if let Some(host) = self.host.get() {
            host.expect(events);
        }
    }

    fn settled(&self) -> bool {
        self.host.get().is_none_or(HostFile::settled)
    }

    fn signals(&self) -> bool {
        true
    }

    fn readable(&self) -> Option<usize> {
        Some(self.state.lock().inbox.next_len(self.kind == SocketKind::Stream))
    }

    fn host(&self) -> Option<&HostFile> {
        self.host.get()
    }

    fn forked(&self, parent: &Arc<dyn Delegate>, child: &Arc<dyn Delegate>) -> Option<Arc<dyn File>> {
        self.host.get()?.forked(parent, child)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
