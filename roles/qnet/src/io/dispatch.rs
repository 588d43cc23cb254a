//! Messages of a channel: taken apart, answered in order.
//!
//! Each message is answered by a task of its own, as its client waits for it alone. Several parts of one message are
//! done in order, up to the first that fails; what they return is put together, and the status is the last one's
//! (section 13.1).

use super::access::Caller;
use super::connect::Connected;
use super::namespace::Namespace;
use super::nodes::NodeDirectory;
use super::opens::{Descriptor, Open, Opens};
use super::reply::Reply;
use super::requests::Request;
use crate::api::{Channel, Kernel, Message, Received};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use keelson_qnet_wire::io::{Extra, IoConnect, IoRequest, MsgType, Parts, Stat};
use keelson_qnet_wire::{Endian, Errno};

/// Messages from here on are for resource managers.
const IO_BASE: u16 = MsgType::IO_CONNECT.0;
/// The last of them (`_IO_MAX`).
const IO_MAX: u16 = 0x1ff;

/// Limits of a dispatcher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoConfig {
    /// Open files of all clients.
    pub open_files: usize,
    /// Open files of one connection.
    pub open_files_per_connection: usize,
}

impl Default for IoConfig {
    fn default() -> IoConfig {
        IoConfig { open_files: 4096, open_files_per_connection: 256 }
    }
}

/// What a dispatcher has done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Messages answered.
    pub messages: u64,
    /// Those that were answered with an error.
    pub errors: u64,
    /// Messages that could not be understood.
    pub malformed: u64,
    /// Opens refused because there were too many.
    pub refused: u64,
    /// `_IO_STAT` with room for another layout than ours: a 64-bit client (section 13).
    pub other_stat: u64,
}

impl Counters {
    /// Writes the lines for `/proc/qnetstats`: the name to column 30, a colon, the value.
    pub fn write_to(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for (name, value) in [
            ("io messages", self.messages),
            ("io errors", self.errors),
            ("io malformed", self.malformed),
            ("io refused", self.refused),
            ("io other_stat", self.other_stat),
        ] {
            writeln!(out, "{name:<30}: {value:>11}")?;
        }
        Ok(())
    }
}

/// What else process 1 does on its channel: the process manager.
pub trait ProcServices {
    /// A message below `_IO_BASE`. It is answered by the services, now or later.
    fn message(&self, message: Message);
}

/// Serves the names of a node.
pub struct Dispatcher {
    services: RefCell<Option<Rc<dyn ProcServices>>>,
    kernel: Kernel,
    namespace: Rc<Namespace>,
    nodes: Option<Rc<dyn NodeDirectory>>,
    opens: RefCell<Opens>,
    counters: Cell<Counters>,
}

impl Dispatcher {
    /// A dispatcher for the names in a table. Without a network there are no nodes.
    pub fn new(
        kernel: &Kernel,
        namespace: &Rc<Namespace>,
        nodes: Option<Rc<dyn NodeDirectory>>,
        config: IoConfig,
    ) -> Rc<Dispatcher> {
        Rc::new(Dispatcher {
            services: RefCell::new(None),
            kernel: kernel.clone(),
            namespace: namespace.clone(),
            nodes,
            opens: RefCell::new(Opens::new((config.open_files, config.open_files_per_connection))),
            counters: Cell::new(Counters::default()),
        })
    }

    /// Who answers messages that are not for resource managers.
    pub fn set_services(&self, services: Rc<dyn ProcServices>) {
        *self.services.borrow_mut() = Some(services);
    }

    /// Takes what is for resource managers and for the process manager: their messages, and news that clients are gone.
    /// Everything else, and that news too, is returned, for whoever else the channel is for.
    pub fn take(self: &Rc<Self>, received: Received) -> Option<Received> {
        match received {
            Received::Message(message) if is_io(&message) => {
                self.opens.borrow_mut().begin(message.info());
                self.kernel.executor().spawn("io", self.clone().serve(message));
                None
            }
            Received::Message(message) if kind(&message).is_some_and(|kind| kind < IO_BASE) => {
                let services = self.services.borrow().clone();
                let Some(services) = services else { return Some(Received::Message(message)) };
                services.message(message);
                None
            }
            Received::Disconnect { scoid } => {
                let closed = self.opens.borrow_mut().disconnect(scoid);
                drop(closed);
                Some(received)
            }
            other => Some(other),
        }
    }

    /// Serves a channel that is for nothing else.
    pub async fn run(self: Rc<Self>, channel: Channel) {
        loop {
            if let Some(Received::Message(message)) = self.take(channel.receive().await) {
                message.error(Errno::ENOSYS);
            }
        }
    }

    /// Files that are open.
    pub fn open_files(&self) -> usize {
        self.opens.borrow().len()
    }

    /// What it has done.
    pub fn counters(&self) -> Counters {
        self.counters.get()
    }

    /// Its names.
    pub fn namespace(&self) -> &Rc<Namespace> {
        &self.namespace
    }

    pub(super) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    pub(super) fn nodes(&self) -> Option<&Rc<dyn NodeDirectory>> {
        self.nodes.as_ref()
    }

    fn count(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    async fn serve(self: Rc<Self>, message: Message) {
        let busy = Busy { dispatcher: &self, message };
        let result = self.answer(&busy.message).await;
        self.count(|counters| {
            counters.messages += 1;
            counters.errors += u64::from(result.is_err());
        });
        busy.end(result);
    }

    async fn answer(self: &Rc<Self>, message: &Message) -> Result<(i32, Vec<u8>), Errno> {
        let caller = Caller::new(message.credentials(), message.info());
        let mut reply = Reply::new(message);
        let open = self.opens.borrow().get(Descriptor::of(message.info()));
        let work = Work { dispatcher: self, message, caller: &caller };
        work.parts(message.data(), 0, open, &mut reply).await?;
        reply.finish().await
    }
}

/// A message that is being worked on.
struct Busy<'a> {
    dispatcher: &'a Dispatcher,
    message: Message,
}

impl Busy<'_> {
    fn end(self, result: Result<(i32, Vec<u8>), Errno>) {
        self.dispatcher.opens.borrow_mut().end(self.message.info());
        match result {
            Ok((status, data)) => self.message.reply(status, &data),
            Err(errno) => self.message.error(errno),
        }
    }
}

struct Work<'a> {
    dispatcher: &'a Rc<Dispatcher>,
    message: &'a Message,
    caller: &'a Caller,
}

impl Work<'_> {
    /// Does the parts in `bytes`, which are at `base` in the message.
    async fn parts(
        &self,
        bytes: &[u8],
        base: usize,
        mut open: Option<Rc<Open>>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let mut at = base;
        for part in Parts::new(bytes, Endian::Little) {
            let request = part.and_then(|part| Ok((part, IoRequest::decode(part, Endian::Little)?)));
            let (part, what) = request.map_err(|error| {
                self.dispatcher.count(|counters| counters.malformed += 1);
                error.errno()
            })?;
            let is_last = at - base + part.bytes.len() == bytes.len() && base + bytes.len() == self.end();
            match what {
                IoRequest::Connect(connect) => open = self.connect(&connect, reply).await?,
                IoRequest::Dup(dup) => {
                    let found = self.dispatcher.opens.borrow().to_dup(&dup.info, self.caller)?;
                    self.enter(found.clone())?;
                    open = Some(found);
                    reply.status = 0;
                }
                IoRequest::Close => {
                    let descriptor = Descriptor::of(self.message.info());
                    let closed = self.dispatcher.opens.borrow_mut().remove(descriptor);
                    drop(closed.ok_or(Errno::EBADF)?);
                    open = None;
                    reply.status = 0;
                }
                what => {
                    let open = open.as_ref().ok_or(Errno::EBADF)?;
                    let data_at = at + part.bytes.len() - data_of(&what).len();
                    let request =
                        Request { message: self.message, caller: self.caller, open, data_at, is_last };
                    self.notice_stat(&what);
                    self.dispatcher.request(&request, what, reply).await?;
                }
            }
            at += part.bytes.len();
        }
        Ok(())
    }

    /// Bytes of the message that have come.
    fn end(&self) -> usize {
        self.message.data().len()
    }

    /// Opens, and does the message that came with it. What stays open is returned.
    async fn connect(
        &self,
        connect: &IoConnect<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Option<Rc<Open>>, Errno> {
        let connected = self.dispatcher.connect(self.caller, connect, reply).await?;
        let (open, stays) = match connected {
            Connected::Done => return Ok(None),
            Connected::Open(open) => (open, true),
            Connected::Once(open) => (open, false),
        };
        if let Extra::Message(extra) = connect.extra {
            self.extra(extra, &open, reply).await?;
        }
        if stays {
            self.enter(open.clone())?;
        }
        Ok(stays.then_some(open))
    }

    /// The message in an `_IO_CONNECT`: like others, but by itself.
    async fn extra(&self, extra: &[u8], open: &Rc<Open>, reply: &mut Reply<'_>) -> Result<(), Errno> {
        for part in Parts::new(extra, Endian::Little) {
            let request = part.and_then(|part| IoRequest::decode(part, Endian::Little));
            let what = request.map_err(|error| error.errno())?;
            self.notice_stat(&what);
            let request =
                Request { message: self.message, caller: self.caller, open, data_at: 0, is_last: false };
            self.dispatcher.request(&request, what, reply).await?;
        }
        Ok(())
    }

    fn enter(&self, open: Rc<Open>) -> Result<(), Errno> {
        let result = self.dispatcher.opens.borrow_mut().insert(Descriptor::of(self.message.info()), open);
        match result {
            Ok(replaced) => {
                drop(replaced);
                Ok(())
            }
            Err(errno) => {
                self.dispatcher.count(|counters| counters.refused += 1);
                Err(errno)
            }
        }
    }

    fn notice_stat(&self, what: &IoRequest<'_>) {
        let room = self.message.info().dstmsglen;
        if matches!(what, IoRequest::Stat) && room != Stat::LEN as i32 {
            self.dispatcher.count(|counters| counters.other_stat += 1);
        }
    }
}

/// Data behind a request's layout, as far as they came along.
fn data_of<'a>(what: &IoRequest<'a>) -> &'a [u8] {
    match what {
        IoRequest::Write(_, data)
        | IoRequest::Devctl(_, data)
        | IoRequest::Lock(_, data)
        | IoRequest::Msg(_, data) => data,
        _ => &[],
    }
}

fn is_io(message: &Message) -> bool {
    kind(message).is_some_and(|kind| (IO_BASE..=IO_MAX).contains(&kind))
}

/// Type of a message; `None` of one that is too short to have any.
fn kind(message: &Message) -> Option<u16> {
    message.data().first_chunk().map(|kind| u16::from_le_bytes(*kind))
}
