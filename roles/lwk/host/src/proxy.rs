//! The engine: takes frames from the node, performs what they ask for, and answers, in any order.
//!
//! ```text
//!   hi reader -+-> performed at once: what does not wait
//!              +-> workers: what may wait, or takes time; as many as needed, up to 1,024
//!   bulk       makes the second connection when an answer streams, and notices when it ends
//!   readiness  one epoll for all subscribed handles
//!   pinger     one PING a second; five without any answer, and the node is lost
//!   signals    those that reach this process, sent to the program
//! ```

mod bulk;
pub mod cancel;
pub mod confine;
mod core_file;
pub mod fork;
pub mod handles;
mod readiness;
mod sides;
pub mod signals;
pub(crate) mod streams;
mod workers;

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keelson_lwk_wire::calls::{Checked, check};
use keelson_lwk_wire::frame::{Flags, Frame, FrameType, Header, MAX_IN_FLIGHT};
use keelson_lwk_wire::messages::{
    Bye, ByeReason, Cancel, CloseBatch, Credit, Data, Event, EventKind, Exit, Fork, Message, OutPart, PageIn,
    PageInReply, PageOut, PageOutReply, Ping, Pong, QueueDepths, Show, Shown, SideReply, Subscribe, Syscall,
    Sysret, Unsubscribe,
};

use crate::calls::{self, Reply, Task};
use crate::fail::Fail;
use crate::link::{Lane, LinkError};
use bulk::Bulk;
pub use bulk::Dial;
use cancel::Request;
use confine::Rules;
use core_file::CoreFile;
pub use fork::{Family, ForkState};
use handles::Handles;
use readiness::Readiness;
use streams::SessionWindow;
use workers::Workers;

/// Locks, whatever happened to the thread that held it last: what is guarded here is whole between any two statements.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How a session ended.
#[derive(Debug)]
pub enum Outcome {
    /// The program is over.
    Exited(Exit),
    /// The node is gone, or said so; with its last words.
    Lost(String),
    /// One of the two broke the protocol.
    Protocol(String),
}

/// What a proxy is made from.
pub struct Settings {
    /// What the program may not do.
    pub rules: Rules,
    /// Workers at the start.
    pub workers: usize,
    /// Where core files go; `None` = nowhere. `%p` is the process id.
    pub core_pattern: Option<String>,
    /// Needed for further proxies; without it FORK fails.
    pub family: Option<Family>,
    /// Needed for the second connection; without it everything goes by the first.
    pub bulk: Option<Dial>,
}

/// Of threads that read connections: some calls are performed by them.
const READER_STACK: usize = 256 << 10;

/// A session's engine.
pub struct Proxy {
    pub(crate) hi: Lane,
    bulk: Bulk,
    /// Descriptors of the program.
    pub handles: Handles,
    pub(crate) requests: Mutex<HashMap<u64, Arc<Request>>>,
    pub(crate) readiness: Readiness,
    pub(crate) rules: Rules,
    pub(crate) session_window: SessionWindow,
    workers: Workers,
    core: Mutex<CoreFile>,
    core_pattern: Option<String>,
    family: Option<Family>,
    children: fork::Children,
    launch_acks: mpsc::Sender<Frame>,
    outcomes: mpsc::Sender<Outcome>,
    /// Pings since anything arrived.
    silence: AtomicU32,
    over: AtomicBool,
    panic_text: Mutex<Option<String>>,
    ping_id: AtomicU64,
}

/// What the thread that started a proxy waits for.
pub struct Events {
    /// LAUNCH_ACK.
    pub launch_acks: mpsc::Receiver<Frame>,
    /// The end.
    pub outcomes: mpsc::Receiver<Outcome>,
}

impl Proxy {
    /// Starts the threads of a session.
    pub fn start(hi: Lane, handles: Handles, settings: Settings) -> Result<(Arc<Proxy>, Events), Fail> {
        let (launch_acks, launch_acks_out) = mpsc::channel();
        let (outcomes, outcomes_out) = mpsc::channel();
        let proxy = Arc::new(Proxy {
            hi,
            bulk: Bulk::new(settings.bulk),
            handles,
            requests: Mutex::new(HashMap::new()),
            readiness: Readiness::new()?,
            rules: settings.rules,
            session_window: SessionWindow::new(),
            workers: Workers::new(),
            core: Mutex::default(),
            core_pattern: settings.core_pattern,
            family: settings.family,
            children: fork::Children::default(),
            launch_acks,
            outcomes,
            silence: AtomicU32::new(0),
            over: AtomicBool::new(false),
            panic_text: Mutex::new(None),
            ping_id: AtomicU64::new(1),
        });
        proxy.workers.warm(&proxy, settings.workers);
        proxy.spawn("lwk-hi", |proxy| proxy.read(&proxy.hi))?;
        proxy.spawn("lwk-ready", |proxy| proxy.readiness.run(proxy))?;
        proxy.spawn("lwk-ping", Proxy::ping)?;
        Ok((proxy, Events { launch_acks: launch_acks_out, outcomes: outcomes_out }))
    }

    fn spawn(
        self: &Arc<Proxy>,
        name: &str,
        body: impl FnOnce(&Arc<Proxy>) + Send + 'static,
    ) -> Result<(), Fail> {
        let proxy = self.clone();
        thread::Builder::new().name(name.into()).stack_size(READER_STACK).spawn(move || body(&proxy))?;
        Ok(())
    }

    /// The session is over; the first reason counts.
    pub(crate) fn end(&self, outcome: Outcome) {
        if self.over.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Outcome::Protocol(text) = &outcome {
            let bye = Bye { reason: ByeReason::Protocol, text: text.clone() };
            // It may be gone already.
            let _ = self.hi.send(&Header::new(FrameType::Bye).with(Flags::URGENT), &bye);
        }
        if !matches!(outcome, Outcome::Exited(_)) {
            self.children.kill();
        }
        // Nobody waits when the caller is gone, and with it the process soon.
        let _ = self.outcomes.send(outcome);
        self.hi.shutdown();
        self.bulk.end();
        for request in lock(&self.requests).values() {
            request.cancel();
        }
        self.readiness.stop();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// A child of the process changed state: it is collected if it is one of the further proxies.
    pub fn reap(&self) {
        self.children.reap();
    }

    fn read(self: &Arc<Proxy>, lane: &Lane) {
        loop {
            let frame = match lane.receive() {
                Ok(frame) => frame,
                Err(LinkError::Lost(error)) => {
                    let text = lock(&self.panic_text).clone();
                    return self.end(Outcome::Lost(text.unwrap_or_else(|| error.to_string())));
                }
                Err(error) => return self.end(Outcome::Protocol(error.to_string())),
            };
            self.silence.store(0, Ordering::Relaxed);
            if let Err(text) = self.frame(frame) {
                return self.end(Outcome::Protocol(text));
            }
            if self.is_over() {
                return;
            }
        }
    }

    /// Performs a frame. An error is a violation of the protocol.
    fn frame(self: &Arc<Proxy>, frame: Frame) -> Result<(), String> {
        let (header, payload) = (frame.header, &frame.payload[..]);
        let malformed = |error| format!("{:?}: {error}", header.kind);
        match header.kind {
            FrameType::Syscall => self.syscall(frame),
            FrameType::Data => {
                let data = Data::decode(payload).map_err(malformed)?;
                self.data(header.id, &data, header.flags.contains(Flags::LAST))
            }
            FrameType::Credit => {
                self.credit(header.id, Credit::decode(payload).map_err(malformed)?.bytes);
                Ok(())
            }
            FrameType::Cancel => {
                Cancel::decode(payload).map_err(malformed)?;
                if let Some(request) = self.request(header.id) {
                    request.cancel();
                }
                Ok(())
            }
            FrameType::Subscribe => {
                let subscribe = Subscribe::decode(payload).map_err(malformed)?;
                let handle = self.handles.get(subscribe.handle).ok_or("SUBSCRIBE of an unknown handle")?;
                self.readiness.subscribe(self, &subscribe, handle);
                Ok(())
            }
            FrameType::Unsubscribe => {
                self.readiness.unsubscribe(Unsubscribe::decode(payload).map_err(malformed)?.handle);
                Ok(())
            }
            FrameType::CloseBatch => {
                for handle in CloseBatch::decode(payload).map_err(malformed)?.handles {
                    // Where an error of close(2) matters, it comes as a SYSCALL.
                    let _ = self.close(handle).ok_or("CLOSE_BATCH of an unknown handle")?;
                }
                Ok(())
            }
            FrameType::PageIn => {
                let page = PageIn::decode(payload).map_err(malformed)?;
                let handle = self.handles.get(page.handle).ok_or("PAGEIN of an unknown handle")?;
                self.work(move |proxy| {
                    let bytes = calls::read_page(&handle, page.offset, page.len as usize);
                    let result = bytes.as_deref().map_err(|fail| fail.0);
                    proxy.send(&header.reply(FrameType::PageInReply), &PageInReply { result });
                });
                Ok(())
            }
            FrameType::PageOut => {
                let handle = PageOut::decode(payload).map_err(malformed)?.handle;
                let handle = self.handles.get(handle).ok_or("PAGEOUT of an unknown handle")?;
                self.work(move |proxy| {
                    let Ok(page) = PageOut::decode(&frame.payload) else { return };
                    let result = match proxy.rules.may_write() {
                        Ok(()) => calls::write_page(&handle, page.offset, page.bytes, page.sync),
                        Err(fail) => Err(fail),
                    };
                    let result = result.map_err(|fail| fail.0);
                    proxy.send(&header.reply(FrameType::PageOutReply), &PageOutReply { result });
                });
                Ok(())
            }
            FrameType::Fork => {
                let fork = Fork::decode(payload).map_err(malformed)?;
                self.fork(&header, fork);
                Ok(())
            }
            FrameType::SetIds
            | FrameType::SetPgid
            | FrameType::SetSid
            | FrameType::Umask
            | FrameType::Chdir
            | FrameType::Rlimit => self.side(&frame).map_err(malformed),
            FrameType::Exit => {
                let exit = Exit::decode(payload).map_err(malformed)?;
                self.end(Outcome::Exited(exit));
                Ok(())
            }
            FrameType::DumpHeader | FrameType::DumpData => self.dump(&frame),
            FrameType::Show => {
                let show = Show::decode(payload).map_err(malformed)?;
                self.show(&show);
                self.send(&header.reply(FrameType::SideReply), &SideReply { result: 0 });
                Ok(())
            }
            FrameType::Ping => {
                let ping = Ping::decode(payload).map_err(malformed)?;
                self.send(&header.reply(FrameType::Pong), &Pong { echo: ping.monotonic, own: self.state() });
                Ok(())
            }
            FrameType::Pong => Pong::decode(payload).map(|_| ()).map_err(malformed),
            FrameType::Event => {
                let event = Event::decode(payload).map_err(malformed)?;
                self.event(&event);
                Ok(())
            }
            FrameType::LaunchAck => {
                // Nobody waits for a second one.
                let _ = self.launch_acks.send(frame);
                Ok(())
            }
            // Access to memory that we asked for, and what else a node may say that is of no use here.
            FrameType::Kmsg => Ok(()),
            FrameType::Bye => {
                let bye = Bye::decode(payload).map_err(malformed)?;
                match bye.reason {
                    ByeReason::Protocol | ByeReason::Version => Err(format!("node: {}", bye.text)),
                    _ => {
                        self.end(Outcome::Lost(bye.text));
                        Ok(())
                    }
                }
            }
            kind => Err(format!("unexpected {kind:?}")),
        }
    }

    fn syscall(self: &Arc<Proxy>, frame: Frame) -> Result<(), String> {
        let header = frame.header;
        let request = Arc::new(Request::new(&header));
        {
            let mut requests = lock(&self.requests);
            if requests.len() >= MAX_IN_FLIGHT {
                return Err(format!("more than {MAX_IN_FLIGHT} requests"));
            }
            if requests.insert(header.id, request.clone()).is_some() {
                return Err(format!("request {} is there already", header.id));
            }
        }
        let checked = self.checked(&frame)?;
        let task = Task::new(self, &request, checked);
        task.know_handles()?;
        if task.is_quick() {
            let answer = calls::perform(&task);
            self.answer(&task, answer);
            return Ok(());
        }
        self.work(move |proxy| {
            // It was good a moment ago.
            if let Ok(checked) = proxy.checked(&frame) {
                let task = Task::new(proxy, &request, checked);
                let answer = calls::perform(&task);
                proxy.answer(&task, answer);
            }
        });
        Ok(())
    }

    fn checked<'a>(&self, frame: &'a Frame) -> Result<Checked<'a>, String> {
        let request = Syscall::decode(&frame.payload).map_err(|error| format!("SYSCALL: {error}"))?;
        let streams = frame.header.flags.contains(Flags::MORE);
        check(frame.header.code, &request, streams, self.rules.flat_ioctl)
            .map_err(|violation| violation.to_string())
    }

    /// Answers a request.
    fn answer(&self, task: &Task<'_>, answer: Result<Reply, Fail>) {
        let request = task.request;
        let reply = answer.unwrap_or_else(|fail| Reply::value(fail.0.as_result()));
        let bulk = request.bulk();
        let order = bulk.is_none().then(|| self.readiness.in_order());
        let revents = task.revents();
        lock(&self.requests).remove(&request.id);
        let (mut outs, mut bytes): (Vec<OutPart>, Vec<u8>) = (Vec::new(), Vec::new());
        for (output, part) in &reply.outs {
            let out = output.filled(part.len());
            bytes.extend_from_slice(part.get(..out.len as usize).unwrap_or_default());
            outs.push(out);
        }
        let sysret = Sysret { result: reply.result, revents, hint: reply.hint, outs, bytes: &bytes };
        let mut header = request.header().reply(FrameType::Sysret);
        header.flags |= if request.streamed() { Flags::MORE } else { Flags::empty() };
        match bulk {
            Some(bulk) => {
                self.sent(bulk.send(&header, &sysret));
                // What comes by the other connection may arrive first: the node goes by this instead.
                self.readiness.report(self, task.arg(0));
            }
            None => self.sent(self.hi.send(&header, &sysret)),
        }
        drop(order);
    }

    pub(crate) fn request(&self, id: u64) -> Option<Arc<Request>> {
        lock(&self.requests).get(&id).cloned()
    }

    pub(crate) fn work(self: &Arc<Proxy>, job: impl FnOnce(&Arc<Proxy>) + Send + 'static) {
        self.workers.add(self, Box::new(job));
    }

    /// Sends a frame on the first connection.
    pub fn send<'a>(&self, header: &Header, message: &impl Message<'a>) {
        self.sent(self.hi.send(header, message));
    }

    pub(crate) fn sent(&self, result: std::io::Result<()>) {
        if let Err(error) = result {
            self.end(Outcome::Lost(error.to_string()));
        }
    }

    /// Closes a handle; `None` when there is none, else what close(2) says.
    pub(crate) fn close(&self, handle: u64) -> Option<Result<(), Fail>> {
        self.readiness.unsubscribe(handle);
        self.handles.close(handle)
    }

    fn event(&self, event: &Event) {
        match event.kind {
            EventKind::Panic => *lock(&self.panic_text) = Some(event.text.clone()),
            _ => self.handles.complain(&format!("mcexec: {}", event.text)),
        }
    }

    fn state(&self) -> Ping {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let requests = lock(&self.requests).len() as u32;
        Ping {
            monotonic: (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64),
            wall: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
            queues: QueueDepths { requests, waiting: self.workers.waiting() as u32, bytes: 0 },
        }
    }

    /// Counts turns, not time: a proxy that was stopped for a while must not take its own silence for the node's.
    fn ping(self: &Arc<Proxy>) {
        while !self.is_over() {
            thread::sleep(Duration::from_secs(1));
            if self.silence.fetch_add(1, Ordering::Relaxed) >= 5 {
                return self.end(Outcome::Lost("no answer for 5 seconds".into()));
            }
            let id = self.ping_id.fetch_add(1, Ordering::Relaxed);
            self.send(&Header::new(FrameType::Ping).id(id), &self.state());
        }
    }

    /// A core file arrives. The program is over: nothing else waits for this thread while it writes.
    fn dump(&self, frame: &Frame) -> Result<(), String> {
        let result = lock(&self.core).receive(self.core_pattern.as_deref(), frame)?;
        let result = result.map_or_else(|fail| fail.0.as_result(), |()| 0);
        self.send(&frame.header.reply(FrameType::SideReply), &SideReply { result });
        Ok(())
    }

    /// Shows lines about the calls of the program: on its standard error, as long as it has it, or where `--trace=` says.
    fn show(&self, show: &Show<'_>) {
        let file = self.family.as_ref().and_then(|family| family.trace.as_ref());
        match (show.kind, file) {
            // A full disk is no reason to end the program.
            (Shown::Call, Some(file)) => {
                let _ = (&**file).write_all(show.text.as_bytes());
            }
            _ => show.text.lines().for_each(|line| self.handles.complain(line)),
        }
    }

    /// Where the core file is that was received.
    pub fn core_file(&self) -> Option<PathBuf> {
        lock(&self.core).written().map(PathBuf::from)
    }

    pub(crate) fn family(&self) -> Option<&Family> {
        self.family.as_ref()
    }
}
