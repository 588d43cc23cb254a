//! A session as processes hold it.

use super::attributes::{Attributes, Changes, Effect, question};
use super::server::{TICKET_LIFE, Tickets, fork};
use super::{Message, Outgoing, Session, codec, messages};
use crate::Errno;
use crate::account::Usage;
use crate::delegate::{
    Bytes, Call, CorePart, Delegate, Done, Forked, Handle, Pending, Readiness, Reply, UnderWay,
};
use crate::exit::Exit;
use crate::system::System;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use keelson_hal::Instant;
use keelson_hal::user::CoreEntries;
use keelson_lwk_wire::layout::Rusage;
use spin::Mutex;

/// What all sessions of the node share.
pub struct Hub {
    /// The machine.
    pub system: Arc<System>,
    /// Sessions of children that have not connected yet.
    pub tickets: Arc<Tickets>,
    /// What makes answers about files old.
    pub changes: Changes,
    /// How many calls programs have delegated.
    pub calls: Delegated,
}

/// Calls of programs that hosts are there for, since boot.
#[derive(Debug, Default)]
pub struct Delegated {
    /// Sent to a host.
    pub sent: AtomicU64,
    /// Answered with what a host had said shortly before.
    pub remembered: AtomicU64,
}

/// The way to the proxy of one process.
#[derive(Clone)]
pub struct Host {
    session: Arc<Session>,
    hub: Arc<Hub>,
    /// What had interrupted the cores of the program when it began (section 8.4).
    audit: Arc<Mutex<Vec<(usize, usize, CoreEntries)>>>,
    attributes: Arc<Attributes>,
}

impl Host {
    /// The host at the other end of a session.
    pub fn new(session: Arc<Session>, hub: Arc<Hub>) -> Host {
        Host { session, hub, audit: Arc::default(), attributes: Arc::default() }
    }

    /// Counts from now on what interrupts these cores: number for programs, and of the machine.
    pub fn audit(&self, cores: impl Iterator<Item = (usize, usize)>) {
        let machine = &self.hub.system.machine;
        *self.audit.lock() = cores.map(|(cpu, core)| (cpu, core, machine.entries(core))).collect();
    }

    fn now(&self) -> Instant {
        self.hub.system.timers.now()
    }

    /// Bytes of answers that are remembered.
    #[cfg(test)]
    pub(super) fn remembers(&self) -> usize {
        self.attributes.bytes()
    }

    fn audited(&self) -> Vec<messages::CoreAudit> {
        let machine = &self.hub.system.machine;
        let begun = self.audit.lock();
        begun
            .iter()
            .map(|(cpu, core, before)| difference(*cpu as u32, before, &machine.entries(*core)))
            .collect()
    }
}

fn difference(core: u32, before: &CoreEntries, after: &CoreEntries) -> messages::CoreAudit {
    messages::CoreAudit {
        core,
        timer: after.timer - before.timer,
        device: after.device - before.device,
        doorbell: after.doorbell - before.doorbell,
        kick: after.kick - before.kick,
        shootdown: after.shootdown - before.shootdown,
        nmi: after.nmi - before.nmi,
        spurious: after.spurious - before.spurious,
        page_faults: after.page_faults - before.page_faults,
        exceptions: after.exceptions - before.exceptions,
        syscalls: after.syscalls - before.syscalls,
    }
}

/// `struct rusage` of what a process used.
fn rusage(usage: &Usage) -> Rusage {
    let (seconds, micros) =
        (|time: Duration| time.as_secs() as i64, |time: Duration| time.subsec_micros().into());
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Rusage {
        utime: seconds(usage.user),
        utime_usec: micros(usage.user),
        stime: seconds(usage.system),
        stime_usec: micros(usage.system),
        maxrss: count(usage.peak >> 10),
        minflt: count(usage.minor_faults),
        majflt: count(usage.major_faults),
        nvcsw: count(usage.voluntary),
        nivcsw: count(usage.involuntary),
        ..Rusage::default()
    }
}

impl Delegate for Host {
    fn call(&self, call: Call) -> Pending {
        if !codec::travels(&call) {
            // The host would end the session over it.
            log::warn!(target: "lwk", "system call {} cannot be done by a host", call.number);
            let result = Errno::ENOSYS.as_result();
            return Box::pin(async move { Reply { result, unasked: true, ..Reply::default() } });
        }
        let effect = self.attributes.effect(&call);
        if effect == Effect::Asks
            && let Some(reply) = self.attributes.known(&call, &self.hub.changes, self.now())
        {
            self.hub.calls.remembered.fetch_add(1, Ordering::Relaxed);
            return Box::pin(async move { Reply { unasked: true, ..reply } });
        }
        self.hub.calls.sent.fetch_add(1, Ordering::Relaxed);
        if effect == Effect::Changes {
            self.hub.changes.note();
        }
        let sent = self.attributes.sent(&self.hub.changes, self.now());
        let asked = (effect == Effect::Asks).then(|| question(&call));
        let most = call.output.iter().map(|(_, len)| u64::from(*len)).sum();
        let descs = codec::descriptors(&call);
        let waiting = self.session.request(call.tid, codec::subject(&call), descs, most, |id, slot| {
            Outgoing::Call(id, call, slot.clone())
        });
        let (hub, attributes) = (self.hub.clone(), self.attributes.clone());
        Box::pin(async move {
            let reply = match waiting {
                Ok(waiting) => waiting.preparing(true).await,
                Err(errno) => return Reply { result: errno.as_result(), ..Reply::default() },
            };
            match (effect, asked) {
                (Effect::Asks, Some(asked)) => attributes.learn(asked, sent, &reply, &hub.changes),
                (Effect::Opens, _) if attributes.opened(sent, &reply, &hub.changes) => {}
                (Effect::Looks, _) => {}
                // Once more: somebody may have asked while the host was at it.
                _ => hub.changes.note(),
            }
            reply
        })
    }

    fn cancel(&self, tid: u32) {
        self.session.cancel_of(tid);
    }

    fn close(&self, handles: &[Handle]) {
        self.attributes.closed(handles);
        self.session.close(handles);
    }

    fn subscribe(&self, handle: Handle, events: u32, ready: Arc<dyn Readiness>) -> Result<(), Errno> {
        self.session.subscribe(handle, events, ready)
    }

    fn page_in(&self, handle: Handle, offset: u64, len: u32) -> Bytes {
        let page = |id, _: &_| Outgoing::PageIn { id, handle, offset, len };
        let waiting = self.session.request(0, None, Vec::new(), len.into(), page);
        Box::pin(async move {
            let reply = waiting?.preparing(false).await;
            reply.failure()?;
            Ok(reply.output.into_iter().next().map(|(_, bytes)| bytes).unwrap_or_default())
        })
    }

    fn page_out(&self, handle: Handle, offset: u64, bytes: Vec<u8>) -> Done {
        self.hub.changes.note();
        let page = |id, _: &_| Outgoing::PageOut { id, handle, offset, bytes };
        let waiting = self.session.request(0, None, Vec::new(), 0, page);
        let hub = self.hub.clone();
        Box::pin(async move {
            let done = waiting?.preparing(false).await.failure();
            hub.changes.note();
            done
        })
    }

    fn host(&self) -> u64 {
        self.session.host()
    }

    fn is_alive(&self) -> bool {
        self.session.is_alive()
    }

    fn has_call_of(&self, tid: u32) -> bool {
        self.session.has_request_of(tid)
    }

    fn under_way(&self) -> Vec<UnderWay> {
        self.session.under_way()
    }

    fn exited(&self, exit: &Exit) {
        self.session.send(Message::Exit(Box::new(messages::Exit {
            status: exit.status,
            rusage: rusage(&exit.usage),
            audit: self.audited(),
            core: None,
            said: exit.reason.clone().into_bytes(),
        })));
    }

    fn core_file(&self, part: CorePart) -> Pin<Box<dyn Future<Output = bool>>> {
        let session = self.session.clone();
        Box::pin(async move { session.core_part(part).await.is_ok() })
    }

    fn show(&self, kind: messages::Shown, lines: String) -> Done {
        let session = self.session.clone();
        Box::pin(async move { session.show(kind, lines).await })
    }

    fn fork(&self, tid: u32) -> Pin<Box<dyn Future<Output = Result<Forked, Errno>>>> {
        let (session, hub) = (self.session.clone(), self.hub.clone());
        Box::pin(async move {
            let mut ticket = messages::Ticket::default();
            hub.system.entropy.fill(&mut ticket);
            let timers = &hub.system.timers;
            let deadline = timers.at(timers.now() + TICKET_LIFE);
            let (pid, child) = fork(&session, &hub.tickets, ticket, tid, deadline).await?;
            child.name(pid);
            child.set_host(session.host());
            Ok(Forked { pid, delegate: Arc::new(Host::new(child, hub)) })
        })
    }
}
