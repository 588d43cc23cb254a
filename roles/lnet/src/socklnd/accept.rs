//! The acceptor: who may come in (lnet specification sections 2.5 and 3.6).
//!
//! ```text
//!   accept -> port, room -> request -> NID of ours, at this address? -> HELLO -> who? -> judge -> register
//!               |              |               |                          |        |       |
//!               +--------------+---------------+------ refused: counted, answered where a row of section 8.1
//!                                                      says so, closed
//! ```
//!
//! Every connection is a task of its own, so that a silent client keeps nobody waiting.

use super::config::Accept;
use super::connection::{Ending, Terms};
use super::counters::count;
use super::handshake::{self, Unread};
use super::judge::{Standing, Verdict, judge};
use super::peer::{Origin, Peer, PeerKey};
use super::{LOG, Socklnd};
use crate::lnd::{LndNi, LndUpper};
use alloc::rc::Rc;
use core::cell::Cell;
use core::fmt;
use core::net::IpAddr;
use keelson_exec::TaskHandle;
use keelson_lnet_wire::LUSTRE_PID;
use keelson_lnet_wire::acceptor::{LAST_RESERVED_PORT, Refused, RequestDecoder};
use keelson_lnet_wire::hello::{ConnType, Hello, HelloDecoder, HelloError, Received, Version};
use keelson_lnet_wire::nid::{Nid, ProcessId, USERSPACE_FLAG};
use keelson_net::TcpStream;

/// A handshake under way.
pub(super) struct Pending {
    number: u64,
    from: IpAddr,
    task: TaskHandle,
}

/// A peer that has introduced itself.
struct Caller {
    ni: LndNi,
    key: PeerKey,
    received: Received,
}

/// Why a connection is not taken.
enum Refusal {
    Silent,
    Closed,
    Request(Refused),
    /// The NID is ours, the address it was sent to is another.
    Address(Nid),
    /// With the answer to a version that is not known.
    Hello(HelloError, Hello),
    /// Our NID does not fit this version. With the answer, in one that it fits.
    SmallVersion(Version, Hello),
    /// Type "none".
    NoType,
    Own(Nid),
    OtherNet(Nid, Nid),
    Pid(u32),
    /// With the answer, of type "none".
    Judged(Verdict, Hello),
    Unwanted,
}

impl<U: LndUpper> Socklnd<U> {
    /// Listens and accepts, for ever.
    pub(super) async fn accept(self: Rc<Self>) {
        let (accept, port) = (self.config.accept, self.config.accept_port);
        let listener = match self.stack.listen(port, self.config.listener()) {
            Ok(listener) => listener,
            Err(error) => {
                log::error!(target: LOG, "LNet: no peer can connect: {error}");
                return;
            }
        };
        log::info!(target: LOG, "LNet: Accept {accept}, port {port}");
        loop {
            let stream = listener.accept().await;
            self.admit(stream);
        }
    }

    /// Starts the handshake with a client, if there is room for it.
    fn admit(self: &Rc<Self>, stream: TcpStream) {
        let (peer, config, counters) = (stream.peer(), &self.config, &self.counters);
        count(&counters.accepted);
        if config.accept == Accept::Secure && peer.port() > LAST_RESERVED_PORT {
            let refused = Refused::UnreservedPort(peer.port());
            count(&counters.refused_port);
            self.warn(format_args!(
                "LNet: refusing connection from {peer}: {refused}; lnet.accept=all lets such in"
            ));
            return;
        }
        let mut handshakes = self.handshakes.borrow_mut();
        if self.established.get() + handshakes.len() >= config.max_connections {
            count(&counters.refused_full);
            let limit = config.max_connections;
            self.warn(format_args!("LNet: refusing connection from {peer}: there are {limit} already"));
            return stream.abort();
        }
        let from_there = handshakes.iter().filter(|pending| pending.from == peer.ip()).count();
        if from_there >= config.max_handshakes_from_one {
            count(&counters.refused_flood);
            self.warn(format_args!(
                "LNet: refusing connection from {peer}: {from_there} unfinished handshakes from there"
            ));
            return stream.abort();
        }
        if handshakes.len() >= config.max_handshakes
            && let Some(oldest) = handshakes.pop_front()
        {
            count(&counters.refused_evicted);
            oldest.task.abort();
        }
        let number = self.next_handshake.replace(self.next_handshake.get() + 1);
        let lnd = self.clone();
        let task = self.handle.spawn("lnet-accept", async move {
            lnd.serve(stream).await;
            lnd.handshakes.borrow_mut().retain(|pending| pending.number != number);
        });
        handshakes.push_back(Pending { number, from: peer.ip(), task });
    }

    /// One handshake from its first byte to its end.
    async fn serve(self: &Rc<Self>, stream: TcpStream) {
        let peer = stream.peer();
        let refusal = match self.introduction(&stream).await {
            Ok(caller) => match self.welcome(stream, caller) {
                Ok(()) => return,
                Err((stream, refusal)) => (stream, refusal),
            },
            Err(refusal) => (stream, refusal),
        };
        let (stream, refusal) = refusal;
        count(refusal.counter(self));
        match refusal {
            // Port scanners, load balancers, peers that changed their mind.
            Refusal::Closed => log::debug!(target: LOG, "LNet: {peer} closed in the middle of its handshake"),
            // In the normal course of things, and dealt with by the peer.
            Refusal::Judged(verdict, ours) => {
                log::debug!(target: LOG, "LNet: {} from {peer} has to come again: {verdict:?}", ours.dst_nid);
            }
            ref other => self.warn(format_args!("LNet: refusing connection from {peer}: {other}")),
        }
        let mut room = [0; Hello::MAX_LEN];
        let answer = refusal.answer(&mut room);
        if !answer.is_empty() {
            let sending = handshake::write(&stream, answer);
            // A peer that does not take a few bytes does not get them.
            let _ = self.handle.timeout(self.config.accept_timeout, sending).await;
        }
    }

    /// Reads who calls, and whom.
    async fn introduction(&self, stream: &TcpStream) -> Result<Caller, Refusal> {
        let (local, peer, limit) = (stream.local().ip(), stream.peer(), self.config.accept_timeout);
        let request = handshake::read::<RequestDecoder>(&self.handle, stream, limit).await?;
        let wanted = request.nid;
        let ni = self.ni_of(wanted).ok_or(Refusal::Request(Refused::NotMine(wanted)))?;
        if wanted.ip() != Some(local) {
            return Err(Refusal::Address(wanted));
        }
        let received = match handshake::read::<HelloDecoder>(&self.handle, stream, limit).await {
            Ok(received) => received,
            Err(Unread::Silent) => return Err(Refusal::Silent),
            Err(Unread::Closed) => return Err(Refusal::Closed),
            Err(Unread::Malformed(error)) => {
                let to = ProcessId { nid: Nid::new(ni.nid.net(), peer.ip()), pid: 0 };
                let ours = handshake::hello(&ni, Version::for_nid(&ni.nid), to, ConnType::None);
                return Err(Refusal::Hello(error, ours));
            }
        };
        let hello = &received.hello;
        if ni.nid.is_large() && hello.version < Version::V4 {
            // There is no room for our NID in an answer of its version.
            let ours = handshake::hello(&ni, Version::V4, sender(hello), ConnType::None);
            return Err(Refusal::SmallVersion(hello.version, ours));
        }
        if hello.ctype == ConnType::None {
            return Err(Refusal::NoType);
        }
        let key = if peer.port() > LAST_RESERVED_PORT {
            // A userspace process is who its address says, whatever it says itself.
            let pid = u32::from(peer.port()) | USERSPACE_FLAG;
            PeerKey { ni: ni.id, nid: Nid::new(ni.nid.net(), peer.ip()), pid }
        } else {
            PeerKey { ni: ni.id, nid: hello.src_nid, pid: hello.src_pid }
        };
        if key.nid.net() != ni.nid.net() {
            return Err(Refusal::OtherNet(key.nid, ni.nid));
        }
        if self.ni_of(key.nid).is_some() {
            return Err(Refusal::Own(key.nid));
        }
        if key.pid != LUSTRE_PID && !key.is_userspace() {
            return Err(Refusal::Pid(key.pid));
        }
        Ok(Caller { ni, key, received })
    }

    /// Decides about a caller and makes a connection of it. Waits for nothing, so that nothing changes meanwhile.
    fn welcome(self: &Rc<Self>, stream: TcpStream, caller: Caller) -> Result<(), (TcpStream, Refusal)> {
        let Caller { ni, key, received } = caller;
        let hello = received.hello;
        if self.ni_of(ni.nid).is_none_or(|now| now.id != ni.id) {
            return Err((stream, Refusal::Request(Refused::NotMine(ni.nid))));
        }
        let known = self.peers.borrow().get(&key).cloned();
        let kind = hello.ctype.inverse();
        let standing = self.standing(known.as_deref(), kind, &stream);
        let limit = self.config.max_per_type.max(usize::from(ni.conns_per_peer));
        match judge(ni.nid, &Hello { src_nid: key.nid, ..hello }, &standing, limit) {
            Verdict::Accept => {}
            verdict => {
                if verdict == Verdict::Stale
                    && let Some(peer) = &known
                {
                    log::info!(target: LOG, "LNet: {} has been restarted", key.nid);
                    super::counters::add(&self.counters.closed_here, peer.connections.borrow().len() as u64);
                    self.close_peer(peer, Ending::Stale);
                }
                let ours = handshake::hello(&ni, hello.version, sender(&hello), ConnType::None);
                return Err((stream, Refusal::Judged(verdict, ours)));
            }
        }
        let greeting = handshake::hello(&ni, hello.version, sender(&hello), kind);
        let peer = known.unwrap_or_else(|| self.remember(key, ni, Origin::Theirs));
        let terms = Terms {
            kind,
            version: hello.version,
            swapped: received.swapped,
            incarnation: hello.src_incarnation,
            greeting: Some(greeting),
            rings: (self.config.send_buffer, self.config.receive_buffer),
        };
        match self.register(stream, &peer, terms) {
            Ok(()) => {
                count(&self.counters.passive);
                Ok(())
            }
            Err(stream) => {
                self.forget_if_idle(&peer);
                Err((stream, Refusal::Unwanted))
            }
        }
    }

    fn standing(&self, peer: Option<&Peer<U>>, kind: ConnType, stream: &TcpStream) -> Standing {
        let Some(peer) = peer else { return Standing { connecting: false, life: None, same: 0 } };
        let (local, remote, begun) = (stream.local(), stream.peer(), stream.begun());
        let connections = peer.connections.borrow();
        let same = || connections.iter().filter(|conn| conn.kind == kind && conn.joins(local, remote));
        let opened_since =
            same().any(|conn| conn.opened.zip(begun).is_some_and(|(ours, theirs)| ours >= theirs));
        let connecting = peer.connecting.get() || opened_since;
        Standing { connecting, life: peer.life.get(), same: same().count() }
    }
}

/// Who a HELLO says it is from.
fn sender(hello: &Hello) -> ProcessId {
    ProcessId { nid: hello.src_nid, pid: hello.src_pid }
}

impl From<Unread<Refused>> for Refusal {
    fn from(unread: Unread<Refused>) -> Refusal {
        match unread {
            Unread::Silent => Refusal::Silent,
            Unread::Closed => Refusal::Closed,
            Unread::Malformed(refused) => Refusal::Request(refused),
        }
    }
}

impl Refusal {
    /// What is sent before closing.
    fn answer<'a>(&self, room: &'a mut [u8; Hello::MAX_LEN]) -> &'a [u8] {
        let hello = match self {
            Refusal::Request(refused) => return refused.answer().map_or(&[], |answer| answer),
            Refusal::Hello(HelloError::Version(_), ours)
            | Refusal::SmallVersion(_, ours)
            | Refusal::Judged(_, ours) => ours,
            _ => return &[],
        };
        hello.encode(room).unwrap_or_default()
    }

    fn counter<'a, U: LndUpper>(&self, lnd: &'a Socklnd<U>) -> &'a Cell<u64> {
        let counters = &lnd.counters;
        match self {
            Refusal::Silent => &counters.refused_silent,
            Refusal::Closed => &counters.refused_closed,
            Refusal::Request(Refused::UnreservedPort(_)) => &counters.refused_port,
            Refusal::Request(Refused::Version(_)) => &counters.refused_version,
            Refusal::Request(Refused::NotMine(_) | Refused::NotConnectable(_) | Refused::MalformedNid) => {
                &counters.refused_nid
            }
            Refusal::Request(Refused::GenericMagic | Refused::OldMagic | Refused::Magic(_)) => {
                &counters.refused_magic
            }
            Refusal::Address(_) => &counters.refused_address,
            Refusal::Hello(HelloError::Version(_), _) | Refusal::SmallVersion(..) => &counters.hello_version,
            Refusal::Hello(HelloError::ConnType(_), _) | Refusal::NoType => &counters.hello_type,
            Refusal::Hello(HelloError::SourceNid, _) => &counters.hello_source,
            Refusal::Hello(..) => &counters.hello_malformed,
            Refusal::Own(_) | Refusal::OtherNet(..) | Refusal::Pid(_) => &counters.hello_source,
            Refusal::Judged(Verdict::Race, _) => &counters.hello_race,
            Refusal::Judged(Verdict::Stale, _) => &counters.hello_stale,
            Refusal::Judged(..) => &counters.hello_duplicate,
            Refusal::Unwanted => &counters.hello_unwanted,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Silent => f.write_str("it was silent in the middle of its handshake"),
            Refusal::Closed => f.write_str("it closed in the middle of its handshake"),
            Refusal::Request(refused) => write!(f, "{refused}"),
            Refusal::Address(nid) => write!(f, "request for {nid} at another address of this node"),
            Refusal::Hello(error, _) => write!(f, "{error}"),
            Refusal::SmallVersion(version, ours) => {
                write!(f, "HELLO of version {}, which has no room for {}", version.number(), ours.src_nid)
            }
            Refusal::NoType => f.write_str("HELLO of type none, expected control, bulk-in or bulk-out"),
            Refusal::Own(nid) => write!(f, "HELLO from {nid}, which is a NID of this node"),
            Refusal::OtherNet(nid, own) => {
                write!(f, "HELLO from {nid}, which is not on the network of {own}")
            }
            Refusal::Pid(pid) => write!(f, "HELLO from PID {pid}, expected {LUSTRE_PID}"),
            Refusal::Judged(verdict, ours) => write!(f, "HELLO from {}: {verdict:?}", ours.dst_nid),
            Refusal::Unwanted => f.write_str("LNet is shutting down"),
        }
    }
}
