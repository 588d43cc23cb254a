//! The session of a test node: who rules it, and the batches of tests that it was given.

use super::batch::Batch;
use super::counters::Count;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use keelson_hal::Instant;
use keelson_lnet_wire::srpc::{FrameworkCounters, Name, Service, SessionId};

/// Batches of a session. A console of Linux makes a handful.
const MOST_BATCHES: usize = 64;

/// A session, from MAKE_SESSION to REMOVE_SESSION, replacement or silence (lnet specification section 7.4).
pub(super) struct Session {
    pub id: SessionId,
    pub name: Name,
    pub features: u32,
    /// How often it was made.
    references: Cell<u32>,
    started: Instant,
    /// When the console last said something.
    heard: Cell<Instant>,
    batches: RefCell<Vec<Rc<Batch>>>,
    pub brw_errors: Cell<u64>,
    pub ping_errors: Cell<u64>,
}

impl Session {
    pub fn new(id: SessionId, name: Name, features: u32, now: Instant) -> Rc<Session> {
        Rc::new(Session {
            id,
            name,
            features,
            references: Cell::new(1),
            started: now,
            heard: Cell::new(now),
            batches: RefCell::default(),
            brw_errors: Cell::new(0),
            ping_errors: Cell::new(0),
        })
    }

    /// Made once more by the same console.
    pub fn join(&self) {
        self.references.set(self.references.get().saturating_add(1));
    }

    /// Removed as often as it was made?
    pub fn leave(&self) -> bool {
        self.references.set(self.references.get().saturating_sub(1));
        self.references.get() == 0
    }

    /// The console is alive.
    pub fn hear(&self, now: Instant) {
        self.heard.set(now);
    }

    /// When the session ends unless the console is heard.
    pub fn deadline(&self, timeout: Duration) -> Instant {
        self.heard.get() + timeout
    }

    pub fn batch(&self, id: u64) -> Option<Rc<Batch>> {
        self.batches.borrow().iter().find(|batch| batch.id == id).cloned()
    }

    /// The batch with this number, made where there is none; `None` where there are too many.
    pub fn batch_or_new(&self, id: u64) -> Option<Rc<Batch>> {
        if let Some(batch) = self.batch(id) {
            return Some(batch);
        }
        let mut batches = self.batches.borrow_mut();
        if batches.len() >= MOST_BATCHES {
            return None;
        }
        let batch = Rc::new(Batch::new(id));
        batches.push(batch.clone());
        Some(batch)
    }

    pub fn batches(&self) -> usize {
        self.batches.borrow().len()
    }

    /// Whether a test says that this node serves `service`.
    pub fn serves(&self, service: Service) -> bool {
        self.batches.borrow().iter().any(|batch| batch.serves(service))
    }

    /// Loops that all tests together would run.
    pub fn planned_loops(&self) -> usize {
        self.batches.borrow().iter().map(|batch| batch.planned_loops()).sum()
    }

    /// Ends all loops where they stand.
    pub fn abort(&self) {
        for batch in &*self.batches.borrow() {
            batch.stop(true);
        }
    }

    /// A request of a test of this session failed.
    pub fn count_error(&self, service: Service) {
        match service {
            Service::Ping => self.ping_errors.up(),
            _ => self.brw_errors.up(),
        }
    }

    pub fn counters(&self, now: Instant) -> FrameworkCounters {
        let active = self.batches.borrow().iter().filter(|batch| batch.active_tests() > 0).count();
        FrameworkCounters {
            running_ms: (now - self.started).as_millis() as u32,
            active_batches: active as u32,
            // A session ends at once, with everything that it runs.
            zombie_sessions: 0,
            brw_errors: self.brw_errors.get() as u32,
            ping_errors: self.ping_errors.get() as u32,
        }
    }
}
