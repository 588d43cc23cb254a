//! A process's host, with somebody who looks at what is asked of it.

use super::{Wanted, Watch};
use crate::Errno;
use crate::delegate::{Bytes, Call, CorePart, Delegate, Done, Forked, Handle, Pending, Readiness, UnderWay};
use crate::exit::Exit;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use keelson_hal::Clock;
use keelson_lwk_wire::messages::Shown;

/// The host of a process that is watched.
pub struct Watched {
    host: Arc<dyn Delegate>,
    clock: Arc<dyn Clock + Send + Sync>,
    watch: Arc<Watch>,
}

impl Watched {
    /// `host`, watched for what is wanted.
    pub fn new(host: Arc<dyn Delegate>, clock: Arc<dyn Clock + Send + Sync>, wanted: Wanted) -> Watched {
        Watched { host, clock, watch: Arc::new(Watch::new(wanted)) }
    }
}

impl Delegate for Watched {
    fn call(&self, call: Call) -> Pending {
        let (tid, begun) = (call.tid, self.clock.now());
        let pending = self.host.call(call);
        let (clock, watch) = (self.clock.clone(), self.watch.clone());
        Box::pin(async move {
            let reply = pending.await;
            if !reply.unasked {
                watch.had_answer(tid, clock.now().saturating_since(begun));
            }
            reply
        })
    }

    fn watch(&self) -> Option<&Watch> {
        Some(&self.watch)
    }

    fn fork(&self, tid: u32) -> Pin<Box<dyn Future<Output = Result<Forked, Errno>>>> {
        let forked = self.host.fork(tid);
        let (clock, watch) = (self.clock.clone(), Arc::new(self.watch.again()));
        Box::pin(async move {
            let Forked { pid, delegate } = forked.await?;
            Ok(Forked { pid, delegate: Arc::new(Watched { host: delegate, clock, watch }) })
        })
    }

    fn show(&self, kind: Shown, text: String) -> Done {
        self.host.show(kind, text)
    }

    fn cancel(&self, tid: u32) {
        self.host.cancel(tid);
    }

    fn close(&self, handles: &[Handle]) {
        self.host.close(handles);
    }

    fn subscribe(&self, handle: Handle, events: u32, ready: Arc<dyn Readiness>) -> Result<(), Errno> {
        self.host.subscribe(handle, events, ready)
    }

    fn page_in(&self, handle: Handle, offset: u64, len: u32) -> Bytes {
        self.host.page_in(handle, offset, len)
    }

    fn page_out(&self, handle: Handle, offset: u64, bytes: Vec<u8>) -> Done {
        self.host.page_out(handle, offset, bytes)
    }

    fn host(&self) -> u64 {
        self.host.host()
    }

    fn is_alive(&self) -> bool {
        self.host.is_alive()
    }

    fn has_call_of(&self, tid: u32) -> bool {
        self.host.has_call_of(tid)
    }

    fn under_way(&self) -> Vec<UnderWay> {
        self.host.under_way()
    }

    fn exited(&self, exit: &Exit) {
        self.host.exited(exit);
    }

    fn core_file(&self, part: CorePart) -> Pin<Box<dyn Future<Output = bool>>> {
        self.host.core_file(part)
    }
}
