//! Readiness of handles, pushed to the node (section 5.8): one epoll for all.
//!
//! Subscriptions are edge-triggered: a READY for each thing that happens to a handle, with what it is ready for at that moment.
//! Between two of them the node goes by the last, and by the `revents` of each SYSRET.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use keelson_lwk_wire::frame::{FrameType, Header};
use keelson_lwk_wire::messages::{Ready, Subscribe};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFlags, eventfd};

use super::cancel::ready_now;
use super::handles::Handle;
use super::{Proxy, lock};
use crate::fail::Fail;

/// Stands for the eventfd that ends the thread; handles are smaller.
const STOP: u64 = u64::MAX;

struct Subscription {
    handle: Arc<Handle>,
    events: PollFlags,
    generation: u32,
}

/// The subscriptions of a session.
pub(crate) struct Readiness {
    epoll: OwnedFd,
    stop: OwnedFd,
    table: Mutex<HashMap<u64, Subscription>>,
    /// Whoever looks at a handle and tells what it saw does both before the next one: the node believes the last word.
    order: Mutex<()>,
}

impl Readiness {
    pub(super) fn new() -> Result<Readiness, Fail> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
        Ok(Readiness { epoll, stop, table: Mutex::default(), order: Mutex::default() })
    }

    pub(super) fn subscribe(&self, proxy: &Proxy, wanted: &Subscribe, handle: Arc<Handle>) {
        let mask = PollFlags::IN | PollFlags::PRI | PollFlags::OUT | PollFlags::RDHUP;
        let events = PollFlags::from_bits_retain(wanted.events as u16) & mask;
        let interest = EventFlags::from_bits_retain(events.bits().into()) | EventFlags::ET;
        let data = EventData::new_u64(wanted.handle);
        let subscription = Subscription { handle: handle.clone(), events, generation: wanted.generation };
        let before = lock(&self.table).insert(wanted.handle, subscription).is_some();
        let registered = if before {
            epoll::modify(&self.epoll, &*handle, data, interest)
        } else {
            epoll::add(&self.epoll, &*handle, data, interest)
        };
        // Files and directories cannot be waited for (EPERM): they are always ready, and nothing ever happens to them.
        debug_assert!(matches!(registered, Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::NOSPC)));
        self.report(proxy, wanted.handle);
    }

    pub(super) fn unsubscribe(&self, number: u64) {
        if let Some(subscription) = lock(&self.table).remove(&number) {
            // It was never there for files. Closing would not do it: others may have the open file too.
            let _ = epoll::delete(&self.epoll, &*subscription.handle);
        }
    }

    /// What a subscribed handle is ready for.
    pub(crate) fn of(&self, number: u64) -> Option<PollFlags> {
        let table = lock(&self.table);
        let subscription = table.get(&number)?;
        Some(ready_now(&*subscription.handle, subscription.events))
    }

    /// From the look at a handle until the answer with it is sent.
    pub(super) fn in_order(&self) -> MutexGuard<'_, ()> {
        lock(&self.order)
    }

    /// Tells what a handle is ready for, if it is subscribed.
    pub(super) fn report(&self, proxy: &Proxy, number: u64) {
        let _order = self.in_order();
        let ready = {
            let table = lock(&self.table);
            let Some(subscription) = table.get(&number) else { return };
            let revents = ready_now(&*subscription.handle, subscription.events);
            Ready { handle: number, revents: revents.bits().into(), generation: subscription.generation }
        };
        proxy.send(&Header::new(FrameType::Ready), &ready);
    }

    pub(super) fn run(&self, proxy: &Proxy) {
        let mut events: Vec<Event> = Vec::with_capacity(256);
        while !proxy.is_over() {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            for event in &events {
                let number = event.data.u64();
                if number != STOP {
                    self.report(proxy, number);
                }
            }
        }
    }

    pub(super) fn stop(&self) {
        // It can only be full, and then the thread wakes too.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }
}
