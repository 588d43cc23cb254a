//! Opening connections to a peer (lnet specification sections 2.2, 3.6 and 3.7, active side).
//!
//! ```text
//!   message queued, connections missing --> dial: CONTROL, then BULK_IN and BULK_OUT in turn
//!      each: TCP from port 1023 downwards, request + HELLO at once, the peer's HELLO
//!        established           --> the next type, until there are enough
//!        type none             --> the same again after min_reconnectms
//!        another version, or a new life of the peer --> the same again at once
//!        anything else         --> back-off; what is queued fails, if nothing can carry it
//! ```

use super::connection::{Ending, Terms};
use super::counters::{add, count};
use super::courier::Notice;
use super::handshake::{self, Unread};
use super::peer::{Origin, Peer};
use super::{LOG, Socklnd};
use crate::lnd::{LndUpper, SendError};
use alloc::rc::Rc;
use core::cell::Cell;
use core::fmt;
use core::net::SocketAddr;
use keelson_hal::Instant;
use keelson_lnet_wire::LUSTRE_PID;
use keelson_lnet_wire::acceptor::{FIRST_RESERVED_PORT, LAST_RESERVED_PORT, Request};
use keelson_lnet_wire::hello::{ConnType, Hello, HelloDecoder, HelloError};
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_net::{ConnectError, ConnectOptions, LocalPort, TcpStream};

/// A peer that refuses so often while there is one connection of each type gives no more (Linux 2.16).
const REFUSALS: u32 = 3;
/// Attempts that may be repeated at once in one sequence: no peer has so many versions and lives.
const REPEATS: u32 = 4;

/// What came of an attempt.
enum Outcome {
    Established,
    /// The peer does not want it now.
    Refused,
    /// The same again, at once.
    Repeat,
    /// The peer's came meanwhile.
    Unneeded,
}

/// Why a sequence of attempts was given up.
enum Failure {
    Connect(ConnectError),
    NoAddress,
    Silent,
    Closed,
    Hello(HelloError),
    Nid(Nid),
    Pid(u32),
    Type(ConnType, ConnType),
    TooManyRepeats,
    TimedOut,
    Unwanted,
}

/// Marks the time of one attempt, for the rule about races.
struct Attempt<'a>(&'a Cell<bool>);

impl<'a> Attempt<'a> {
    fn begin(connecting: &'a Cell<bool>) -> Attempt<'a> {
        connecting.set(true);
        Attempt(connecting)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<U: LndUpper> Socklnd<U> {
    /// Begins to open the connections that are missing, unless that is under way, held back, or the peer's own
    /// business.
    pub(super) fn launch(self: &Rc<Self>, peer: &Rc<Peer<U>>) {
        if peer.origin.get() == Origin::Theirs && peer.is_connected() {
            return;
        }
        if peer.key.is_userspace() || peer.is_dialling() || peer.wanted().is_none() {
            return;
        }
        if peer.backoff.get().holds(self.handle.now()) || self.ni(peer.key.ni).is_none() {
            return;
        }
        peer.origin.set(Origin::Ours);
        let (lnd, to) = (self.clone(), peer.clone());
        let task = self.handle.spawn("lnet-dial", async move {
            let result = lnd.sequence(&to).await;
            to.dial.borrow_mut().take();
            match result {
                Ok(()) => log::debug!(target: LOG, "LNet: {} is connected", to.key.nid),
                Err(failure) => lnd.dial_failed(&to, &failure),
            }
        });
        *peer.dial.borrow_mut() = Some(task);
    }

    /// Opens connections until there are enough.
    async fn sequence(self: &Rc<Self>, peer: &Rc<Peer<U>>) -> Result<(), Failure> {
        let deadline = self.handle.now() + self.config.timeout;
        let (mut refusals, mut repeats) = (0, 0);
        while let Some(kind) = peer.wanted() {
            let left = deadline - self.handle.now();
            if left.is_zero() {
                return Err(Failure::TimedOut);
            }
            let attempt = self.handle.timeout(left, self.attempt(peer, kind, deadline)).await;
            match attempt.map_err(|_| Failure::TimedOut)?? {
                Outcome::Established => count(&self.counters.active),
                Outcome::Refused => {
                    count(&self.counters.dial_refused);
                    refusals += 1;
                    if refusals >= REFUSALS && peer.census.get().has_each() {
                        peer.content.set(true);
                        return Ok(());
                    }
                    self.handle.sleep(self.config.min_reconnect).await;
                }
                Outcome::Unneeded => {}
                Outcome::Repeat => {
                    repeats += 1;
                    if repeats > REPEATS {
                        return Err(Failure::TooManyRepeats);
                    }
                }
            }
        }
        Ok(())
    }

    /// One attempt at one connection.
    async fn attempt(
        self: &Rc<Self>,
        peer: &Rc<Peer<U>>,
        kind: ConnType,
        deadline: Instant,
    ) -> Result<Outcome, Failure> {
        let _attempt = Attempt::begin(&peer.connecting);
        count(&self.counters.dials);
        let (stream, rings) = self.connect(peer, kind, deadline).await?;
        if peer.wanted() != Some(kind) {
            return Ok(Outcome::Unneeded);
        }
        let offer = peer.offer.get();
        let (mut request, mut hello) = ([0; Request::MAX_LEN], [0; Hello::MAX_LEN]);
        let request = Request { nid: peer.key.nid }.encode(&mut request);
        let own = handshake::hello(&peer.ni, offer, ProcessId { nid: peer.key.nid, pid: 0 }, kind);
        let hello = own.encode(&mut hello).map_err(|_| Failure::NoAddress)?;
        // Nothing is sent before this task waits: both go out in one segment.
        handshake::write(&stream, request).await.map_err(|_| Failure::Closed)?;
        handshake::write(&stream, hello).await.map_err(|_| Failure::Closed)?;
        let received = match handshake::read::<HelloDecoder>(&self.handle, &stream, self.config.timeout).await
        {
            Ok(received) => received,
            Err(Unread::Silent) => return Err(Failure::Silent),
            Err(Unread::Closed) => return Err(Failure::Closed),
            Err(Unread::Malformed(error)) => return Err(Failure::Hello(error)),
        };
        let reply = received.hello;
        if reply.src_nid != peer.key.nid {
            return Err(Failure::Nid(reply.src_nid));
        }
        if reply.src_pid != LUSTRE_PID {
            return Err(Failure::Pid(reply.src_pid));
        }
        if reply.ctype == ConnType::None {
            if reply.version == offer {
                return Ok(Outcome::Refused);
            }
            count(&self.counters.dial_version);
            peer.offer.set(reply.version);
            return Ok(Outcome::Repeat);
        }
        if reply.ctype.inverse() != kind {
            return Err(Failure::Type(kind, reply.ctype));
        }
        let life = (reply.version, reply.src_incarnation);
        if peer.life.get().is_some_and(|known| known != life) {
            count(&self.counters.dial_stale);
            add(&self.counters.closed_here, peer.connections.borrow().len() as u64);
            self.close_peer(peer, Ending::Stale);
            return Ok(Outcome::Repeat);
        }
        let (version, incarnation) = life;
        let swapped = received.swapped;
        let terms = Terms { kind, version, swapped, incarnation, greeting: None, rings };
        match self.register(stream, peer, terms) {
            Ok(()) => Ok(Outcome::Established),
            Err(_) => Err(Failure::Unwanted),
        }
    }

    /// Connects from the highest reserved port that is free.
    async fn connect(
        &self,
        peer: &Peer<U>,
        kind: ConnType,
        deadline: Instant,
    ) -> Result<(TcpStream, (usize, usize)), Failure> {
        let (own, other) = (peer.ni.nid.ip(), peer.key.nid.ip().ok_or(Failure::NoAddress)?);
        // A peer that came to us over the other kind of address can only come again.
        if own.is_none_or(|own| own.is_ipv4() != other.is_ipv4()) {
            return Err(Failure::NoAddress);
        }
        let to = SocketAddr::new(other, self.config.accept_port);
        // Without a bulk connection the control connection carries everything.
        let tcp = self.config.outgoing(kind == ConnType::BulkIn, kind == ConnType::BulkOut);
        let mut options = ConnectOptions {
            local_address: own,
            timeout: deadline - self.handle.now(),
            tcp,
            ..ConnectOptions::default()
        };
        for port in (FIRST_RESERVED_PORT..=LAST_RESERVED_PORT).rev() {
            options.local_port = LocalPort::Exact(port);
            match self.stack.connect(to, options).await {
                Ok(stream) => return Ok((stream, (tcp.send_buffer, tcp.receive_buffer))),
                Err(ConnectError::PortInUse) => {}
                Err(error) => return Err(Failure::Connect(error)),
            }
        }
        Err(Failure::Connect(ConnectError::PortInUse))
    }

    /// Holds back further attempts, and returns what nothing can carry.
    fn dial_failed(self: &Rc<Self>, peer: &Rc<Peer<U>>, failure: &Failure) {
        count(failure.counter(self));
        let mut backoff = peer.backoff.get();
        backoff.failed(self.handle.now(), self.config.min_reconnect, self.config.max_reconnect);
        peer.backoff.set(backoff);
        let (nid, pause) = (peer.key.nid, backoff.pause());
        self.warn(format_args!("LNet: cannot connect to {nid}: {failure}; the next attempt is in {pause:?}"));
        if !peer.can_send() {
            self.lose_queue(peer, failure.error());
        }
        if !peer.is_connected() {
            self.courier.post(Notice::Down(peer.key.ni, nid, true));
        }
    }
}

impl Failure {
    fn error(&self) -> SendError {
        match self {
            Failure::TimedOut | Failure::Silent | Failure::Connect(ConnectError::TimedOut(_)) => {
                SendError::TimedOut
            }
            _ => SendError::Unreachable,
        }
    }

    fn counter<'a, U: LndUpper>(&self, lnd: &'a Socklnd<U>) -> &'a Cell<u64> {
        let counters = &lnd.counters;
        match self {
            Failure::Connect(ConnectError::TimedOut(_)) | Failure::Silent | Failure::TimedOut => {
                &counters.dial_timed_out
            }
            Failure::Connect(_) | Failure::NoAddress => &counters.dial_unreachable,
            Failure::Closed | Failure::Unwanted => &counters.dial_closed,
            Failure::Hello(_) | Failure::TooManyRepeats => &counters.dial_malformed,
            Failure::Nid(_) | Failure::Pid(_) | Failure::Type(..) => &counters.dial_identity,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connect(error) => write!(f, "{error}"),
            Failure::NoAddress => f.write_str("its NID is no address of ours to connect to"),
            Failure::Silent => f.write_str("it did not answer the HELLO"),
            Failure::Closed => f.write_str("it closed instead of answering the HELLO"),
            Failure::Hello(error) => write!(f, "{error}"),
            Failure::Nid(nid) => write!(f, "it claims to be {nid}"),
            Failure::Pid(pid) => write!(f, "it claims to be PID {pid}, expected {LUSTRE_PID}"),
            Failure::Type(wanted, got) => write!(f, "it answered a {wanted} connection with {got}"),
            Failure::TooManyRepeats => f.write_str("it keeps changing its version or its life"),
            Failure::TimedOut => f.write_str("it took too long"),
            Failure::Unwanted => f.write_str("LNet is shutting down"),
        }
    }
}
