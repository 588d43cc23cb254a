//! The second connection, `bulk` (section 5.2): made when the first answer streams, because most programs never have one.
//!
//! A thread makes it, and is its reader then. The worker whose answer streams waits for that; nobody else does, least of all
//! the reader of `hi`, who has CREDIT, CANCEL and PING to take. Until the connection is there the thread keeps no proxy alive.
//! Where there is none to be had, everything goes by `hi`: slower, since small answers then wait for pieces of long ones. That a node
//! behind serial ports has none left for it is nothing to complain about: its owner gave it so many.

use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;
use std::time::Duration;

use keelson_lwk_wire::channel::Key;
use keelson_lwk_wire::handshake::Purpose;
use keelson_lwk_wire::messages::Ticket;

use super::cancel::Request;
use super::{Proxy, READER_STACK, lock};
use crate::link::{HANDSHAKE_TIME, Lane, LinkError, Stream};
use crate::nodes::Address;
use crate::serial::{NONE_FREE, Traffic};

/// With what the second connection of a session is made.
pub struct Dial {
    /// Where the first one goes.
    pub address: Address,
    /// The key of both.
    pub key: Option<Key>,
    /// From the grant of the first.
    pub ticket: Ticket,
}

enum State {
    /// No answer has streamed yet.
    Unused(Dial),
    /// It is being made: its socket, once that is connected.
    Making(Option<Arc<Stream>>),
    /// It is there.
    Open(Arc<Lane>),
    /// There is none to be had, or the session is over.
    Nowhere,
}

/// The second connection, in whatever state it is.
pub(super) struct Bulk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Bulk {
    /// To be made with `dial`; without it there is none.
    pub(super) fn new(dial: Option<Dial>) -> Bulk {
        let state = Mutex::new(dial.map_or(State::Nowhere, State::Unused));
        Bulk(Arc::new(Shared { state, changed: Condvar::new() }))
    }

    /// For the answer to `request`, which is about to stream. `None`: it goes by `hi`. So it does when the request is given up while
    /// the connection is being made, with what was read for it by then.
    pub(super) fn lane(&self, proxy: &Arc<Proxy>, request: &Request) -> Option<Arc<Lane>> {
        let mut state = lock(&self.0.state);
        match std::mem::replace(&mut *state, State::Nowhere) {
            State::Unused(dial) => {
                let (shared, proxy) = (self.0.clone(), Arc::downgrade(proxy));
                let thread = thread::Builder::new().name("lwk-bulk".into()).stack_size(READER_STACK);
                if thread.spawn(move || shared.make(&dial, &proxy)).is_ok() {
                    *state = State::Making(None);
                }
            }
            other => *state = other,
        }
        loop {
            match &*state {
                State::Open(lane) => return Some(lane.clone()),
                State::Making(_) if !request.is_cancelled() => {}
                _ => return None,
            }
            // In steps that are short enough to notice the end of the request.
            let wait = self.0.changed.wait_timeout(state, Duration::from_millis(10));
            state = wait.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// The session is over.
    pub(super) fn end(&self) {
        match self.0.becomes(State::Nowhere) {
            State::Making(Some(stream)) => stream.shutdown(),
            State::Open(lane) => lane.shutdown(),
            _ => {}
        }
    }
}

impl Shared {
    fn becomes(&self, next: State) -> State {
        let before = std::mem::replace(&mut *lock(&self.state), next);
        self.changed.notify_all();
        before
    }

    /// The next step in making it; false when the session ended before.
    fn goes_on(&self, next: State) -> bool {
        let mut state = lock(&self.state);
        let making = matches!(*state, State::Making(_));
        if making {
            *state = next;
            self.changed.notify_all();
        }
        making
    }

    fn make(&self, dial: &Dial, proxy: &Weak<Proxy>) {
        match self.connect(dial) {
            Ok(lane) => {
                let (lane, Some(proxy)) = (Arc::new(lane), proxy.upgrade()) else { return };
                if self.goes_on(State::Open(lane.clone())) {
                    proxy.read(&lane);
                }
            }
            Err(error) => {
                let failed = self.goes_on(State::Nowhere);
                // What the network or the number of connections is to blame for can be helped; that the node does not want it cannot.
                if let (true, LinkError::Lost(why), Some(proxy)) = (failed, error, proxy.upgrade())
                    && why.kind() != NONE_FREE
                {
                    let text =
                        format!("no second connection to the node ({why}): long reads go by the first");
                    proxy.handles.complain(&format!("mcexec: {text}"));
                }
            }
        }
    }

    fn connect(&self, dial: &Dial) -> Result<Lane, LinkError> {
        let stream = Arc::new(Stream::connect(&dial.address, Traffic::Bulk, HANDSHAKE_TIME)?);
        if !self.goes_on(State::Making(Some(stream.clone()))) {
            return Err(LinkError::Lost(std::io::ErrorKind::NotConnected.into()));
        }
        stream.limit_reads(Some(HANDSHAKE_TIME))?;
        Ok(Lane::open(stream, dial.key.as_ref(), Purpose::Bulk(dial.ticket))?.lane)
    }
}
