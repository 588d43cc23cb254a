//! The session of a process with its proxy on the host (section 5): what is under way, and what waits to be sent.
//!
//! ```text
//!   compute core                          service core                         host
//!   Delegate::call --> Session::queue --> writer: frames --> TCP --------------> proxy
//!   Waiting <-- slot <------------------- reader: frames <-- TCP <-------------- proxy
//! ```
//!
//! This part has neither frames nor sockets: [`Session`] is what threads on all cores and the two tasks of the service core share.

mod attributes;
mod codec;
mod connection;
mod host;
mod records;
mod serial;
mod server;
mod slot;
mod tool;

pub use attributes::Changes;
pub use host::{Delegated, Host, Hub};
pub use server::{Answer, Peer, Programs, Server, ServerCounters, TICKET_LIFE, Tickets, fork};
pub use tool::Tool;

use crate::Errno;
use crate::delegate::{Call, CorePart, Handle, NOT_TOLD, Readiness, Reply, UnderWay};
use crate::event::Event;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::task::{Poll, Waker};

use keelson_lwk_wire::messages::{self, DumpKind};
use records::Records;
use slot::{Slot, Waiting};
use spin::Mutex;

/// Most requests under way in a session (section 5.2); further ones fail with EAGAIN.
pub const MAX_REQUESTS: usize = 4096;
/// Most handles in one message.
const BATCH: usize = 4096;

/// Something to be sent to the host, in the order of sending.
#[derive(Debug)]
pub enum Outgoing {
    /// A call, and where its answer arrives ([`Session::answered`]), which has its descriptors.
    Call(u64, Call, Arc<Slot>),
    /// The program does not want to wait for a request any more.
    Cancel(u64),
    /// Nobody uses these handles any more.
    Close(Vec<Handle>),
    /// Tell when one of these events (poll(2)) holds; none: never mind.
    Subscribe(Handle, u32),
    /// Read `len` bytes of a file at `offset`.
    PageIn {
        /// Number of the request.
        id: u64,
        /// The file.
        handle: Handle,
        /// Where.
        offset: u64,
        /// How much.
        len: u32,
    },
    /// Write a part of a file.
    PageOut {
        /// Number of the request.
        id: u64,
        /// The file.
        handle: Handle,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Anything else, as a frame without an answer.
    Message(Message),
}

/// Frames that are not requests, or whose answers come another way.
#[derive(Debug)]
pub enum Message {
    /// The process ended.
    Exit(Box<messages::Exit>),
    /// There is room for more bytes of a request.
    Credit(u64, messages::Credit),
    /// What became of LAUNCH.
    Acknowledge(messages::LaunchAck),
    /// An answer to PING.
    Pong(u64, messages::Pong),
    /// Is the host there?
    Ping(messages::Ping),
    /// Make a proxy for a child of this thread.
    Fork {
        /// Number of the request.
        id: u64,
        /// The thread that forks.
        tid: u32,
        /// With what the child's proxy connects.
        fork: messages::Fork,
    },
    /// A core file begins.
    CoreHeader(u64, messages::DumpHeader),
    /// A part of it.
    CoreData(u64, CorePart),
    /// Lines for who looks at the program's calls.
    Show(u64, messages::Shown, String),
    /// The answer to a tool, or the last part of it.
    Control(u64, messages::CtrlReply),
    /// A part of the answer to a tool.
    ControlPart(u64, messages::CtrlReply),
    /// Lines of the log, for a tool's request.
    Kmsg(u64, messages::Kmsg),
    /// Something happened; for a tool's request.
    Event(u64, messages::Event),
    /// The end of the session, and why.
    Bye(messages::Bye),
}

/// One proxy and one process.
pub struct Session {
    /// The process, once it is known; 0 before.
    pid: AtomicU32,
    host: AtomicU64,
    state: Mutex<State>,
    next: AtomicU64,
    alive: AtomicBool,
    ended: Event,
    records: Records,
}

#[derive(Default)]
struct State {
    outgoing: VecDeque<Outgoing>,
    /// The task that sends.
    writer: Option<Waker>,
    /// A host is connected, and who waits for that.
    attached: bool,
    attaching: Option<Waker>,
    /// What is under way: who waits, and for which thread.
    requests: BTreeMap<u64, Request>,
    subscriptions: BTreeMap<Handle, Arc<dyn Readiness>>,
}

struct Request {
    slot: Arc<Slot>,
    /// The handle that the call is about.
    handle: Option<Handle>,
    tid: u32,
    cancelled: bool,
}

impl Default for Session {
    fn default() -> Session {
        Session {
            pid: AtomicU32::new(0),
            host: AtomicU64::new(0),
            state: Mutex::default(),
            next: AtomicU64::new(1),
            alive: AtomicBool::new(true),
            ended: Event::default(),
            records: Records::default(),
        }
    }
}

impl Session {
    /// What is to be sent next; `None` once the session has ended.
    pub async fn outgoing(&self) -> Option<Outgoing> {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if let Some(next) = state.outgoing.pop_front() {
                return Poll::Ready(Some(next));
            }
            if !self.is_alive() {
                return Poll::Ready(None);
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The next message, if there is one already: what goes into the same segment.
    pub fn try_outgoing(&self) -> Option<Outgoing> {
        self.state.lock().outgoing.pop_front()
    }

    /// The process that the session is for, once it is known.
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }

    /// Says which process the session is for; false when that has been said.
    pub fn name(&self, pid: u32) -> bool {
        self.pid.compare_exchange(0, pid, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// A host is connected.
    fn attach(&self) {
        let waker = {
            let mut state = self.state.lock();
            state.attached = true;
            state.attaching.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until a host is connected.
    async fn attached(&self) {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.attached {
                return Poll::Ready(());
            }
            state.attaching = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Asks the host for a proxy of a child of thread `tid`: its process id.
    fn ask_fork(
        self: &Arc<Self>,
        tid: u32,
        ticket: messages::Ticket,
    ) -> Result<impl Future<Output = Result<u32, Errno>> + use<>, Errno> {
        let fork = messages::Fork { ticket };
        // Not by the thread's number: a signal does not break a fork off.
        let waiting =
            self.request(0, None, Vec::new(), 0, |id, _| Outgoing::Message(Message::Fork { id, tid, fork }))?;
        Ok(async move {
            let reply = waiting.await;
            reply.failure()?;
            u32::try_from(reply.result).map_err(|_| Errno::EIO)
        })
    }

    /// Sends a part of a core file, and waits until the host has it: no more than one part is ever here.
    async fn core_part(self: &Arc<Self>, part: CorePart) -> Result<(), Errno> {
        if part.offset == 0 {
            let header =
                messages::DumpHeader { kind: DumpKind::Core, level: 0, size: part.size, text: String::new() };
            let begin = |id, _: &_| Outgoing::Message(Message::CoreHeader(id, header));
            self.request(0, None, Vec::new(), 0, begin)?.await.failure()?;
        }
        self.request(0, None, Vec::new(), 0, |id, _| Outgoing::Message(Message::CoreData(id, part)))?
            .await
            .failure()
    }

    /// Shows lines, and waits until the host has them.
    async fn show(self: &Arc<Self>, kind: messages::Shown, lines: String) -> Result<(), Errno> {
        let show = |id, _: &_| Outgoing::Message(Message::Show(id, kind, lines));
        self.request(0, None, Vec::new(), 0, show)?.await.failure()
    }

    /// Sends a message that has no answer.
    pub fn send(&self, message: Message) {
        self.queue(Outgoing::Message(message));
    }

    /// The host answered; false when nobody asked (which is a violation of the protocol).
    pub fn answered(&self, id: u64, reply: Reply) -> bool {
        let (slot, watcher) = {
            let mut state = self.state.lock();
            let Some(request) = state.requests.remove(&id) else { return false };
            let watcher = request.handle.and_then(|handle| state.subscriptions.get(&handle).cloned());
            (request.slot, watcher)
        };
        // Here and not by the thread that waits: by then the host may have said something newer.
        if let Some(watcher) = watcher.filter(|_| reply.events != NOT_TOLD) {
            watcher.holds(reply.events);
        }
        slot.fill(Reply { events: NOT_TOLD, ..reply });
        true
    }

    /// Where the answer to a request goes; `None` for an unknown one.
    pub fn slot(&self, id: u64) -> Option<Arc<Slot>> {
        self.state.lock().requests.get(&id).map(|request| request.slot.clone())
    }

    /// What holds for a subscribed handle now. Late news about a handle that is not subscribed any more is usual.
    pub fn ready(&self, handle: Handle, events: u32) {
        let watcher = self.state.lock().subscriptions.get(&handle).cloned();
        if let Some(watcher) = watcher {
            watcher.ready(events);
        }
    }

    /// The host is gone: everybody who waits gets EIO.
    pub fn lost(&self) {
        self.alive.store(false, Ordering::Release);
        let (requests, watchers, writer) = {
            let mut state = self.state.lock();
            // The last word may still go out.
            state.outgoing.retain(|message| matches!(message, Outgoing::Message(Message::Bye(_))));
            let watchers = core::mem::take(&mut state.subscriptions);
            (core::mem::take(&mut state.requests), watchers, state.writer.take())
        };
        let lost = || Reply { result: -i64::from(Errno::EIO.raw()), ..Reply::default() };
        requests.into_values().for_each(|request| request.slot.fill(lost()));
        watchers.into_values().for_each(|watcher| watcher.ready(poll::ERR | poll::HUP));
        if let Some(writer) = writer {
            writer.wake();
        }
        self.ended.notify();
    }

    /// Waits until the session has ended.
    pub async fn ended(&self) {
        loop {
            let ended = self.ended.changed();
            if !self.is_alive() {
                return;
            }
            ended.await;
        }
    }

    /// Messages that have not been sent yet.
    pub fn backlog(&self) -> usize {
        self.state.lock().outgoing.len()
    }

    fn queue(&self, message: Outgoing) {
        let mut state = self.state.lock();
        if !self.is_alive() {
            return;
        }
        state.outgoing.push_back(message);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Files a request and queues what `message` makes of its number.
    fn request(
        self: &Arc<Self>,
        tid: u32,
        handle: Option<Handle>,
        descs: Vec<messages::Desc>,
        most: u64,
        message: impl FnOnce(u64, &Arc<Slot>) -> Outgoing,
    ) -> Result<Waiting, Errno> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::new(Slot::new(descs, most)?);
        {
            let mut state = self.state.lock();
            if !self.is_alive() {
                return Err(Errno::EIO);
            }
            if state.requests.len() >= MAX_REQUESTS {
                return Err(Errno::EAGAIN);
            }
            state.requests.insert(id, Request { slot: slot.clone(), handle, tid, cancelled: false });
        }
        let behind = self.records.behind_next();
        self.queue(message(id, &slot));
        Ok(Waiting::new(self.clone(), id, slot, behind))
    }

    /// The program does not wait any more. The answer is still awaited from the host, so that its number means nothing else.
    fn cancel_request(&self, id: u64) {
        let send = match self.state.lock().requests.get_mut(&id) {
            Some(request) => !core::mem::replace(&mut request.cancelled, true),
            None => false,
        };
        if send {
            self.queue(Outgoing::Cancel(id));
        }
    }
}

/// The end of a session, in words.
fn bye(reason: messages::ByeReason, text: &str) -> messages::Bye {
    messages::Bye { reason, text: text.chars().take(200).collect() }
}

/// Events of poll(2) that the session itself reports.
mod poll {
    pub const ERR: u32 = 0x8;
    pub const HUP: u32 = 0x10;
}

impl Session {
    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// True while the host owes an answer to a thread.
    fn has_request_of(&self, tid: u32) -> bool {
        self.state.lock().requests.values().any(|request| request.tid == tid)
    }

    /// What the host owes answers to.
    fn under_way(&self) -> Vec<UnderWay> {
        let state = self.state.lock();
        let of = |(id, request): (&u64, &Request)| UnderWay {
            id: *id,
            tid: request.tid,
            handle: request.handle,
            cancelled: request.cancelled,
        };
        state.requests.iter().map(of).collect()
    }

    /// Asks the host to break off what a thread waits for.
    fn cancel_of(&self, tid: u32) {
        let ids: Vec<u64> = {
            let state = self.state.lock();
            state.requests.iter().filter(|(_, request)| request.tid == tid).map(|(id, _)| *id).collect()
        };
        ids.into_iter().for_each(|id| self.cancel_request(id));
    }

    fn close(&self, handles: &[Handle]) {
        let mut state = self.state.lock();
        handles.iter().for_each(|handle| drop(state.subscriptions.remove(handle)));
        // What is closed together travels together.
        if let Some(Outgoing::Close(waiting)) = state.outgoing.back_mut()
            && waiting.len() + handles.len() <= BATCH
        {
            waiting.extend_from_slice(handles);
            return;
        }
        drop(state);
        self.queue(Outgoing::Close(handles.to_vec()));
    }

    fn subscribe(&self, handle: Handle, events: u32, ready: Arc<dyn Readiness>) -> Result<(), Errno> {
        {
            let mut state = self.state.lock();
            if !self.is_alive() {
                return Err(Errno::EIO);
            }
            match events {
                0 => drop(state.subscriptions.remove(&handle)),
                _ => drop(state.subscriptions.insert(handle, ready)),
            }
        }
        self.queue(Outgoing::Subscribe(handle, events));
        Ok(())
    }

    /// Which host it is: the same number for all sessions of one host.
    pub fn host(&self) -> u64 {
        self.host.load(Ordering::Acquire)
    }

    /// Says which host it is.
    pub fn set_host(&self, host: u64) {
        self.host.store(host, Ordering::Release);
    }
}

#[cfg(test)]
mod attribute_tests;
#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod tests;
