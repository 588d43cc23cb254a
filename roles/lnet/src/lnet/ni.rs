//! A network interface (NI) of this node: one NID.

use super::config::Tunables;
use super::counters::Traffic;
use super::credits::{Class, Credits};
use super::show::CreditStatus;
use crate::lnd::NiId;
use crate::message::Message;
use alloc::collections::VecDeque;
use alloc::string::String;
use core::cell::{Cell, RefCell};
use keelson_hal::Instant;
use keelson_lnet_wire::nid::{NetId, Nid};

/// Send credits of one class, and the messages that wait for one.
pub(crate) struct Sending {
    /// Counts those that wait too.
    pub credits: Credits,
    /// Messages that have been passed on.
    pub under_way: Cell<i64>,
    pub queue: RefCell<VecDeque<Message>>,
}

impl Sending {
    pub fn new(credits: u32) -> Sending {
        Sending {
            credits: Credits::new(credits.max(1)),
            under_way: Cell::new(0),
            queue: RefCell::new(VecDeque::new()),
        }
    }

    pub fn has_room(&self) -> bool {
        self.under_way.get() < self.credits.max()
    }

    pub fn start(&self) {
        self.under_way.set(self.under_way.get() + 1);
    }

    pub fn end(&self) {
        self.under_way.set(self.under_way.get() - 1);
    }

    pub fn pop(&self) -> Option<Message> {
        self.queue.borrow_mut().pop_front()
    }

    pub fn push(&self, message: Message) {
        self.queue.borrow_mut().push_back(message);
    }
}

/// Send credits of both classes.
pub(crate) struct Budgets([Sending; 2]);

impl Budgets {
    pub fn new(credits: u32) -> Budgets {
        Budgets([Class::Small, Class::Bulk].map(|class| Sending::new(class.send_credits(credits))))
    }

    pub fn of(&self, class: Class) -> &Sending {
        let [small, bulk] = &self.0;
        match class {
            Class::Small => small,
            Class::Bulk => bulk,
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Sending> {
        self.0.iter()
    }

    pub fn status(&self) -> CreditStatus {
        let [small, bulk] = &self.0;
        super::credits::worse(bulk.credits.status(), small.credits.status())
    }
}

/// An NI.
pub(crate) struct Ni {
    /// `None` for loopback.
    pub id: Option<NiId>,
    pub nid: Nid,
    pub net: NetId,
    pub interface: String,
    pub tunables: Tunables,
    /// Whether its link is up; ping information says so.
    pub up: Cell<bool>,
    /// Set for good when it is taken away.
    pub removed: Cell<bool>,
    pub tx: Budgets,
    pub traffic: Traffic,
    pub last_heard: Cell<Option<Instant>>,
}

impl Ni {
    pub fn new(id: Option<NiId>, nid: Nid, interface: String, tunables: Tunables) -> Ni {
        Ni {
            id,
            nid,
            net: nid.net(),
            interface,
            tx: Budgets::new(tunables.credits),
            tunables,
            up: Cell::new(true),
            removed: Cell::new(false),
            traffic: Traffic::default(),
            last_heard: Cell::new(None),
        }
    }
}
