//! Interfaces come and go, and those who care hear of it.

use crate::addr::Cidr;
use alloc::collections::VecDeque;
use alloc::rc::{Rc, Weak};
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Poll, Waker};
use keelson_hal::{Link, MacAddress, NetCounters, NetFeatures};

/// Names an interface of a stack; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InterfaceId(pub(crate) usize);

impl InterfaceId {
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// What happened to an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It was attached.
    Registered,
    /// It was set up.
    Up,
    /// It was set down.
    Down,
    /// Its carrier came or went.
    Carrier(Link),
    /// Its MTU is now this many bytes.
    Mtu(usize),
    /// It has this address now.
    AddressAdded(Cidr),
    /// It has this address no longer.
    AddressRemoved(Cidr),
    /// Packets that it took to elsewhere take another way, as the DHCP server has named another router.
    Routes,
    /// It is going away.
    Unregistering,
}

/// A change and the interface it happened to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The interface.
    pub interface: InterfaceId,
    /// What happened.
    pub change: Change,
}

/// Events kept for a subscriber that does not read; older ones are dropped beyond this.
pub const EVENT_QUEUE: usize = 256;

#[derive(Default)]
struct Inbox {
    queue: VecDeque<Event>,
    missed: u64,
    waker: Option<Waker>,
}

/// A subscription to the events of all interfaces, from the moment it was made.
pub struct Events {
    inbox: Rc<RefCell<Inbox>>,
}

impl Events {
    /// Waits for the next event.
    pub async fn next(&mut self) -> Event {
        poll_fn(|cx| {
            let mut inbox = self.inbox.borrow_mut();
            match inbox.queue.pop_front() {
                Some(event) => Poll::Ready(event),
                None => {
                    inbox.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The next event, if one has happened.
    pub fn try_next(&mut self) -> Option<Event> {
        self.inbox.borrow_mut().queue.pop_front()
    }

    /// Events dropped because they were not read in time.
    pub fn missed(&self) -> u64 {
        self.inbox.borrow().missed
    }
}

/// The publisher's side.
#[derive(Default)]
pub(crate) struct EventHub {
    subscribers: Vec<Weak<RefCell<Inbox>>>,
}

impl EventHub {
    pub fn subscribe(&mut self) -> Events {
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        self.subscribers.push(Rc::downgrade(&inbox));
        Events { inbox }
    }

    pub fn publish(&mut self, interface: InterfaceId, change: Change) {
        self.subscribers.retain(|subscriber| {
            let Some(inbox) = subscriber.upgrade() else { return false };
            let mut inbox = inbox.borrow_mut();
            if inbox.queue.len() >= EVENT_QUEUE {
                inbox.queue.pop_front();
                inbox.missed += 1;
            }
            inbox.queue.push_back(Event { interface, change: change.clone() });
            if let Some(waker) = inbox.waker.take() {
                waker.wake();
            }
            true
        });
    }
}

/// An interface as `ip -s addr` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceStatus {
    /// The interface.
    pub id: InterfaceId,
    /// `eth0`, ...
    pub name: String,
    /// The driver's name.
    pub driver: &'static str,
    /// Where the device is, as `ethtool -i` says it: `0000:00:02.0`. Empty if nobody told.
    pub bus_info: String,
    /// What the device does for the stack.
    pub features: NetFeatures,
    /// Slots of its receive and of its transmit ring; 0 where there is no ring.
    pub rings: (usize, usize),
    /// The device's address.
    pub mac: MacAddress,
    /// Set up by the administrator.
    pub up: bool,
    /// Carrier.
    pub link: Link,
    /// Largest IP packet in bytes.
    pub mtu: usize,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// It asks for an IPv4 address by DHCP, whether it has one yet or not.
    pub dhcp: bool,
    /// The driver's counters.
    pub counters: NetCounters,
}
