//! Which connections exist, who may have another, and which have been silent too long.

use super::{ServerCounters, Shared};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::net::SocketAddr;
use core::time::Duration;
use keelson_exec::select;
use keelson_exec::sync::Notify;
use keelson_hal::Instant;

/// How often connections are looked at.
const REAP_INTERVAL: Duration = Duration::from_secs(10);

/// While somebody waits for a message buffer, a connection that holds one may be silent this long only.
const STALL_UNDER_PRESSURE: Duration = Duration::from_secs(5);

/// A connection idle this long may be closed to make room for a new one.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(30);

/// What the server knows of a connection, whatever its transport type.
pub(crate) struct ConnectionState {
    id: u64,
    pub peer: SocketAddr,
    last_progress: Cell<Instant>,
    /// Calls in execution.
    pub executing: Cell<usize>,
    /// Records half read and replies half written.
    pub transferring: Cell<usize>,
    /// Records half read whose rest waits for a message buffer.
    pub lacking_buffer: Cell<usize>,
    closing: Cell<bool>,
    closed: Notify,
}

impl ConnectionState {
    pub fn progress(&self, now: Instant) {
        self.last_progress.set(now);
    }

    pub fn close(&self) {
        self.closing.set(true);
        self.closed.notify();
    }

    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Waits until the connection is to be closed.
    pub async fn closed(&self) {
        while !self.closing.get() {
            self.closed.notified().await;
        }
    }

    fn is_quiet(&self) -> bool {
        self.executing.get() == 0 && self.transferring.get() == 0 && self.lacking_buffer.get() == 0
    }
}

#[derive(Default)]
pub(crate) struct Registry {
    connections: RefCell<BTreeMap<u64, Rc<ConnectionState>>>,
    next_id: Cell<u64>,
}

impl Registry {
    pub fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Enters a new connection. At a limit, the connection that has been quiet longest gives way; `None`
    /// when none is quiet.
    pub fn admit(&self, shared: &Shared, peer: SocketAddr) -> Option<Rc<ConnectionState>> {
        let now = shared.handle.now();
        let same_host = |state: &&Rc<ConnectionState>| state.peer.ip() == peer.ip();
        let connections = self.connections.borrow();
        // Both counts walk the table: once for each connection, not for each call.
        let giving_way =
            if connections.values().filter(same_host).count() >= shared.options.connections_per_host {
                Some(quietest(connections.values().filter(same_host), now)?)
            } else if connections.len() >= shared.options.connections {
                Some(quietest(connections.values(), now)?)
            } else {
                None
            };
        drop(connections);
        if let Some(state) = giving_way {
            ServerCounters::count(&shared.counters.idle_closed);
            state.close();
            self.leave(&state);
        }
        ServerCounters::count(&shared.counters.accepted);
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let state = Rc::new(ConnectionState {
            id,
            peer,
            last_progress: Cell::new(now),
            executing: Cell::new(0),
            transferring: Cell::new(0),
            lacking_buffer: Cell::new(0),
            closing: Cell::new(false),
            closed: Notify::new(),
        });
        self.connections.borrow_mut().insert(id, state.clone());
        Some(state)
    }

    pub fn leave(&self, state: &ConnectionState) {
        self.connections.borrow_mut().remove(&state.id);
    }

    pub fn close_all(&self) {
        for state in self.connections.borrow().values() {
            state.close();
        }
    }
}

fn quietest<'a>(
    states: impl Iterator<Item = &'a Rc<ConnectionState>>,
    now: Instant,
) -> Option<Rc<ConnectionState>> {
    states
        .filter(|state| state.is_quiet() && now - state.last_progress.get() >= GIVES_WAY_AFTER)
        .min_by_key(|state| state.last_progress.get())
        .cloned()
}

/// Closes what is idle or stalled, and frees buffers that are not needed any more. One timer for all connections, so that a call costs no timer.
pub(crate) async fn reap(shared: Rc<Shared>) {
    let options = &shared.options;
    let interval = REAP_INTERVAL.min(options.idle / 4).min(options.stall / 4).max(Duration::from_millis(100));
    let under_pressure = options.stall.min(STALL_UNDER_PRESSURE);
    loop {
        let pressure = shared.pool.pressure();
        if shared.pool.has_waiting() {
            shared.handle.sleep(under_pressure.min(interval)).await;
        } else {
            select(shared.handle.sleep(interval), pressure).await;
        }
        shared.pool.trim();
        let stall = if shared.pool.has_waiting() { under_pressure } else { options.stall };
        shared.close_silent(stall);
    }
}

impl Shared {
    fn close_silent(&self, stall: Duration) {
        let now = self.handle.now();
        for state in self.registry.connections.borrow().values() {
            let silent = now - state.last_progress.get();
            let counter = if state.is_quiet() && silent >= self.options.idle {
                &self.counters.idle_closed
            } else if state.transferring.get() > 0 && silent >= stall {
                &self.counters.stalled
            } else {
                continue;
            };
            if !state.is_closing() {
                ServerCounters::count(counter);
                log::debug!(target: "rpc", "{} closed after {silent:?} of silence", state.peer);
                state.close();
            }
        }
    }
}
