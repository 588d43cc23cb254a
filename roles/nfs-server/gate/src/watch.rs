//! What the observer sees of the server that runs: its number, its grace period, its table of locks.

use crate::ledger::Ledger;
use crate::locks::beliefs::{FileNumber, Kind, Owner, PLACE, PLACES, Run};
use crate::server::Server;
use keelson_hal::Instant;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// The observer's eye on the server.
pub struct Watch {
    ledger: Rc<Ledger>,
    server: RefCell<Option<Rc<Server>>>,
    /// When the grace period of this server ends at the latest; and that it has ended.
    grace_until: Cell<Instant>,
    grace_ended: Cell<Option<Instant>>,
    /// State numbers, and which server's they are.
    states: RefCell<BTreeMap<u32, u32>>,
    inodes: Vec<u64>,
    handles: RefCell<BTreeMap<FileNumber, Vec<u8>>>,
    owners: Cell<u32>,
}

/// A line of the server's list of locks.
pub struct Listed {
    /// What is held or waited for.
    pub run: Run,
    /// It is waited for.
    pub waits: bool,
    /// Whose it is.
    pub address: String,
}

impl Watch {
    /// No server yet. Files to lock have these inode numbers.
    pub fn new(ledger: &Rc<Ledger>, inodes: &[u64]) -> Watch {
        Watch {
            ledger: ledger.clone(),
            server: RefCell::default(),
            grace_until: Cell::new(Instant::ZERO),
            grace_ended: Cell::new(None),
            states: RefCell::default(),
            inodes: inodes.to_vec(),
            handles: RefCell::default(),
            owners: Cell::new(0),
        }
    }

    /// A server is up: its state number must be odd and above all others.
    pub fn server_up(&self, server: Rc<Server>) {
        let text = server.lock_hosts();
        let first = text.lines().next().and_then(|line| line.strip_prefix("state ")).unwrap_or_default();
        let state: u32 = first.parse().unwrap_or_default();
        let last = self.states.borrow().last_key_value().map_or(0, |(state, _)| *state);
        if state.is_multiple_of(2) || state <= last {
            self.ledger.fail(format!("the server's state number is {state} after {last}"));
        }
        self.states.borrow_mut().insert(state, self.ledger.cuts());
        let left = grace_left(&server.locks());
        // The seconds are rounded down.
        let until = self.ledger.now() + left.map_or(Duration::ZERO, |left| left + Duration::from_secs(1));
        self.grace_until.set(until);
        self.grace_ended.set(left.is_none().then(|| self.ledger.now()));
        self.ledger.note(|| format!("the server is up: state {state}, grace period {left:?}"));
        self.server.replace(Some(server));
    }

    /// It is not any more.
    pub fn server_down(&self) -> Option<Rc<Server>> {
        self.server.take()
    }

    /// The server that is up.
    pub fn server(&self) -> Option<Rc<Server>> {
        self.server.borrow().clone()
    }

    /// The number of the server that is up.
    pub fn life(&self) -> Option<u32> {
        self.server.borrow().as_ref().map(|_| self.ledger.cuts())
    }

    /// The server that had this state number.
    pub fn life_of_state(&self, state: u32) -> Option<u32> {
        self.states.borrow().get(&state).copied()
    }

    /// True in the server's grace period.
    pub fn is_grace(&self) -> bool {
        self.life().is_some() && self.grace_over().is_none()
    }

    /// When the grace period of the server that is up ended; nothing while it lasts.
    pub fn grace_over(&self) -> Option<Instant> {
        let server = self.server.borrow();
        let server = server.as_ref()?;
        if self.grace_ended.get().is_none() && grace_left(&server.locks()).is_none() {
            self.grace_ended.set(Some(self.ledger.now().min(self.grace_until.get())));
        }
        self.grace_ended.get()
    }

    /// The server's list of locks.
    pub fn listed(&self) -> Vec<Listed> {
        let text = self.server.borrow().as_ref().map(|server| server.locks()).unwrap_or_default();
        text.lines().filter_map(|line| self.parse(line)).collect()
    }

    /// `1: -> POSIX  ADVISORY  WRITE 7 12 0 9 7@one 10.0.0.2 (one)`
    fn parse(&self, line: &str) -> Option<Listed> {
        let (_number, line) = line.split_once(": ")?;
        let (waits, line) = line.strip_prefix("-> ").map_or((false, line), |rest| (true, rest));
        let mut words = line.strip_prefix("POSIX  ADVISORY ")?.split_whitespace();
        let kind = if words.next()? == "WRITE" { Kind::Exclusive } else { Kind::Shared };
        let owner: Owner = words.next()?.parse().ok()?;
        let inode: u64 = words.next()?.parse().ok()?;
        let first: u64 = words.next()?.parse().ok()?;
        let last = words.next()?;
        let end = if last == "EOF" { PLACES } else { (last.parse::<u64>().ok()? / PLACE + 1) as usize };
        let address = words.nth(1)?.to_string();
        let file = self.inodes.iter().position(|known| *known == inode)?;
        let range = (first / PLACE) as usize..end;
        Some(Listed { run: Run { file, owner, range, kind }, waits, address })
    }

    /// A machine found this handle for a file: the same as all others did, for ever.
    pub fn found(&self, file: FileNumber, handle: Vec<u8>) {
        let known = self.handles.borrow_mut().insert(file, handle.clone());
        if known.is_some_and(|known| known != handle) {
            self.ledger.fail(format!("lock file {file} has another handle than before"));
        }
    }

    /// Which file has this handle.
    pub fn lock_file(&self, handle: &[u8]) -> Option<FileNumber> {
        self.handles.borrow().iter().find(|(_, known)| **known == handle).map(|(file, _)| *file)
    }

    /// The handle of a file.
    pub fn handle_of(&self, file: FileNumber) -> Vec<u8> {
        self.handles.borrow().get(&file).cloned().unwrap_or_default()
    }

    /// Files to lock.
    pub fn lock_files(&self) -> usize {
        self.inodes.len()
    }

    /// A number for another owner.
    pub fn new_owner(&self) -> Owner {
        self.owners.set(self.owners.get() + 1);
        self.owners.get()
    }

    /// True for numbers that were given.
    pub fn is_owner(&self, owner: Owner) -> bool {
        (1..=self.owners.get()).contains(&owner)
    }
}

/// `grace period: 88 s left, 2 hosts may reclaim`
fn grace_left(text: &str) -> Option<Duration> {
    let line = text.lines().find_map(|line| line.strip_prefix("grace period: "))?;
    line.split_whitespace().next()?.parse().ok().map(Duration::from_secs)
}
