//! One connection: an engine (smoltcp) of its own, and what the stack knows about it. No other module
//! touches the engine's types, so that it can be exchanged here.

use super::options::{TcpOptions, TcpStatus};
use super::parking::Opening;
use super::port::{Blocked, Port, Trace, capabilities};
use crate::ip::{Net, Path};
use alloc::vec;
use core::net::{IpAddr, SocketAddr};
use core::task::Waker;
use core::time::Duration;
use keelson_hal::Instant;
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::DeviceCapabilities;
use smoltcp::socket::tcp::{CongestionControl, RecvError, Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint};

/// Segments one connection may send in a row before others have their turn.
pub(crate) const BURST: usize = 64;
/// The engine backs its retransmission off to this (smoltcp 0.14, `RTTE_MAX_RTO`).
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// The 4-tuple that names a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Flow {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// Who looks after a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// A SYN came to this port; the handshake is not complete.
    HalfOpen(u16),
    /// In the accept queue of this port.
    Waiting(u16),
    /// Held by a stream.
    Owned,
    /// Its stream was dropped; it ends by itself, at `deadline` at the latest.
    Orphaned,
}

/// What a connection does as soon as its next hop is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Awaits {
    /// Sends what the engine kept because too much waited for the next hop already.
    Sending,
    /// Sends again what was lost while there was no link: see [`Connection::hurry`].
    Repeating,
}

/// Where a turn of sending has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// Everything that was to be sent now.
    All,
    /// More is left for the next turn: there was no room in the ring, or others are to have their turn.
    Part,
    /// More is left, and waits until the next hop is known.
    Held,
}

/// What makes one connection differ from another of the same flow, as seen by the peer.
#[derive(Clone, Copy)]
pub(crate) struct Birth {
    /// Initial sequence numbers come from it.
    pub seed: u64,
    /// The window scale that is announced depends on the size of the ring.
    pub options: TcpOptions,
}

/// What can be read.
pub(crate) enum Readable<R> {
    Data(R),
    Nothing,
    End,
    Broken,
}

pub(crate) struct Connection {
    engine: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    capabilities: DeviceCapabilities,
    pub flow: Flow,
    /// The interface that it began on.
    pub nic: usize,
    pub stage: Stage,
    pub generation: u64,
    /// In the ready list.
    pub queued: bool,
    pub trace: Trace,
    pub born: Instant,
    /// What it began with, while it is half open.
    pub opening: Option<Opening>,
    /// When a half-open or orphaned connection is given up.
    pub deadline: Instant,
    pub next_challenge: Instant,
    /// When the peer last sent anything, and since when it owes an acknowledgement.
    heard: Instant,
    owed_since: Option<Instant>,
    pub options: TcpOptions,
    /// Still in the flow table.
    pub routed: bool,
    /// The handshake ended because the neighbour on the way did not answer.
    pub unreachable: bool,
    /// What it does as soon as its next hop is known.
    pub awaits: Option<Awaits>,
    /// How far the engine's clock is ahead of ours.
    ahead: Duration,
}

impl Connection {
    /// A closed connection over the interface of `path`.
    pub fn new(
        net: &mut Net,
        now: Instant,
        path: Path,
        flow: Flow,
        stage: Stage,
        birth: Birth,
    ) -> Connection {
        let Birth { seed, options } = birth;
        let nic = &net.nics[path.nic];
        let capabilities = capabilities(nic.features, nic.mtu, nic.max_tso_frame);
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut trace = Trace::default();
        let mut port = Port {
            net,
            now,
            flow,
            path: None,
            capabilities: &capabilities,
            received: None,
            trace: &mut trace,
            blocked: None,
        };
        let mut engine = Interface::new(config, &mut port, engine_time(now));
        engine.update_ip_addrs(|addresses| {
            let prefix = if flow.local.is_ipv4() { 32 } else { 128 };
            // The list is new and has room for two.
            let _ = addresses.push(IpCidr::new(flow.local.ip().into(), prefix));
        });
        let mut socket = Socket::new(
            SocketBuffer::new(vec![0; options.receive_buffer]),
            SocketBuffer::new(vec![0; options.send_buffer]),
        );
        socket.set_nagle_enabled(options.nagle);
        socket.set_ack_delay(options.ack_delay.map(engine_duration));
        socket.set_keep_alive(options.keep_alive.map(engine_duration));
        // Not the engine's own timeout: that ends connections that are merely idle (smoltcp 0.14, `timed_out`).
        // On the own link there is no router whose queue could be flooded.
        let on_link = path.next_hop == flow.remote.ip();
        socket.set_congestion_control(if on_link {
            CongestionControl::None
        } else {
            CongestionControl::Reno
        });
        let mut sockets = SocketSet::new(vec![]);
        let socket = sockets.add(socket);
        Connection {
            engine,
            sockets,
            socket,
            capabilities,
            flow,
            nic: path.nic,
            stage,
            generation: 0,
            queued: false,
            trace,
            born: now,
            opening: None,
            deadline: Instant::FAR_FUTURE,
            next_challenge: Instant::ZERO,
            heard: now,
            owed_since: None,
            options,
            routed: true,
            unreachable: false,
            awaits: None,
            ahead: Duration::ZERO,
        }
    }

    /// What `ss` shows of it.
    pub fn status(&self, now: Instant) -> TcpStatus {
        let socket = self.sockets.get::<Socket<'_>>(self.socket);
        TcpStatus {
            state: name_of(socket.state()),
            local: self.flow.local,
            remote: self.flow.remote,
            receive_queue: socket.recv_queue(),
            send_queue: socket.send_queue(),
            silent: now - self.heard,
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    fn state(&self) -> State {
        self.sockets.get::<Socket<'_>>(self.socket).state()
    }

    /// Waits for the SYN that is about to be delivered.
    pub fn listen(&mut self) -> bool {
        let local = endpoint(self.flow.local);
        self.socket().listen(local).is_ok()
    }

    /// Starts the handshake.
    pub fn connect(&mut self) -> bool {
        let (local, remote) = (endpoint(self.flow.local), endpoint(self.flow.remote));
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        socket.connect(self.engine.context(), remote, local).is_ok()
    }

    /// Takes in one segment; what the engine answers at once goes out at once.
    pub fn receive(&mut self, net: &mut Net, now: Instant, packet: &[u8]) {
        self.heard = now;
        let mut port = Port {
            net,
            now,
            flow: self.flow,
            path: None,
            capabilities: &self.capabilities,
            received: Some(packet),
            trace: &mut self.trace,
            blocked: None,
        };
        let engine_now = engine_time(now + self.ahead);
        self.engine.poll_ingress_single(engine_now, &mut port, &mut self.sockets);
    }

    /// Sends what is to be sent, `burst` segments at most.
    pub fn transmit(&mut self, net: &mut Net, now: Instant, burst: usize) -> Sent {
        let mut port = Port {
            net,
            now,
            flow: self.flow,
            path: None,
            capabilities: &self.capabilities,
            received: None,
            trace: &mut self.trace,
            blocked: None,
        };
        let engine_now = engine_time(now + self.ahead);
        for _ in 0..burst {
            let result = self.engine.poll_egress(engine_now, &mut port, &mut self.sockets);
            match port.blocked {
                Some(Blocked::Ring) => return Sent::Part,
                Some(Blocked::NextHop) => return Sent::Held,
                None if result == PollResult::None => return Sent::All,
                None => {}
            }
        }
        Sent::Part
    }

    /// When the engine wants to be polled again.
    pub fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self.engine.poll_at(engine_time(now + self.ahead), &self.sockets)?;
        let micros = u64::try_from(at.total_micros()).unwrap_or(0);
        let ahead = u64::try_from(self.ahead.as_micros()).unwrap_or(u64::MAX);
        Some(Instant::from_nanos(micros.saturating_sub(ahead).saturating_mul(1000)))
    }

    /// Whether the peer owes an acknowledgement: of a SYN, of data, of a FIN.
    pub fn owes(&self) -> bool {
        self.is_handshaking() || self.owes_fin() || (self.is_established() && self.send_queue() > 0)
    }

    fn owes_fin(&self) -> bool {
        matches!(self.state(), State::FinWait1 | State::Closing | State::LastAck)
    }

    /// Sends again what was sent and not acknowledged, whatever the back-off of its timer says: that has doubled
    /// with each attempt while there was no link. The engine has no such call, so its clock is put forward by the
    /// longest time that it waits, for good: it only ever compares its times with each other.
    pub fn hurry(&mut self) {
        self.ahead += LONGEST_BACKOFF;
    }

    /// When the connection is to be given up because the peer says nothing although it owes an acknowledgement:
    /// of data, of our FIN, or of a keep-alive probe. A handshake and an idle connection have no such time.
    pub fn gives_up_at(&mut self, now: Instant) -> Instant {
        let Some(timeout) = self.options.timeout else { return Instant::FAR_FUTURE };
        let owes = self.owes() && !self.is_handshaking();
        self.owed_since = owes.then(|| self.owed_since.unwrap_or(now));
        let probed = self.options.keep_alive.filter(|_| self.is_established());
        match self.owed_since.or(probed.map(|interval| self.heard + interval)) {
            Some(since) => since.max(self.heard) + timeout,
            None => Instant::FAR_FUTURE,
        }
    }

    pub fn is_established(&self) -> bool {
        !matches!(self.state(), State::Closed | State::Listen | State::SynSent | State::SynReceived)
    }

    pub fn is_handshaking(&self) -> bool {
        matches!(self.state(), State::SynSent | State::SynReceived)
    }

    /// Our SYN has no answer yet.
    pub fn is_connecting(&self) -> bool {
        self.state() == State::SynSent
    }

    /// Neither sends nor receives any more (a reset may still be to be sent).
    pub fn is_closed(&self) -> bool {
        matches!(self.state(), State::Closed | State::Listen)
    }

    /// Closed, and the last reset, if any, has been sent.
    pub fn is_finished(&self) -> bool {
        let socket = self.sockets.get::<Socket<'_>>(self.socket);
        self.is_closed() && (socket.remote_endpoint().is_none() || !self.trace.started)
    }

    pub fn is_time_wait(&self) -> bool {
        self.state() == State::TimeWait
    }

    /// Everything sent was acknowledged, the FIN included.
    pub fn is_flushed(&self) -> bool {
        matches!(self.state(), State::Closed | State::TimeWait | State::FinWait2)
    }

    /// Everything but the FIN was acknowledged.
    pub fn owes_only_fin(&self) -> bool {
        self.owes_fin() && self.send_queue() == 0
    }

    pub fn send_queue(&self) -> usize {
        self.sockets.get::<Socket<'_>>(self.socket).send_queue()
    }

    pub fn close(&mut self) {
        self.socket().close();
    }

    pub fn abort(&mut self) {
        self.socket().abort();
    }

    /// Gives `f` the received bytes that lie in one piece; it returns how many it took.
    pub fn read_with<R>(&mut self, f: impl FnOnce(&mut [u8]) -> (usize, R)) -> Readable<R> {
        let socket = self.socket();
        if socket.can_recv() {
            return match socket.recv(f) {
                Ok(result) => Readable::Data(result),
                Err(_) => Readable::Broken,
            };
        }
        match socket.recv(|_| (0, ())) {
            Ok(()) => Readable::Nothing,
            Err(RecvError::Finished) => Readable::End,
            Err(RecvError::InvalidState) => Readable::Broken,
        }
    }

    /// Gives `f` the free space that lies in one piece; it returns how much it filled. `None` when nothing
    /// can be sent any more.
    pub fn write_with<R>(&mut self, f: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<Option<R>> {
        let socket = self.socket();
        if !socket.may_send() {
            return None;
        }
        if !socket.can_send() {
            return Some(None);
        }
        socket.send(f).ok().map(Some)
    }

    pub fn wake_on_read(&mut self, waker: &Waker) {
        self.socket().register_recv_waker(waker);
    }

    pub fn wake_on_write(&mut self, waker: &Waker) {
        self.socket().register_send_waker(waker);
    }
}

/// The names of all states that a connection can have.
pub(crate) const STATES: [&str; 10] = [
    "SYN-SENT",
    "SYN-RECV",
    "ESTAB",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSE-WAIT",
    "CLOSING",
    "LAST-ACK",
    "TIME-WAIT",
    "CLOSED",
];

/// As ss(8) calls them.
fn name_of(state: State) -> &'static str {
    match state {
        State::Closed => "CLOSED",
        State::Listen => "LISTEN",
        State::SynSent => "SYN-SENT",
        State::SynReceived => "SYN-RECV",
        State::Established => "ESTAB",
        State::FinWait1 => "FIN-WAIT-1",
        State::FinWait2 => "FIN-WAIT-2",
        State::CloseWait => "CLOSE-WAIT",
        State::Closing => "CLOSING",
        State::LastAck => "LAST-ACK",
        State::TimeWait => "TIME-WAIT",
    }
}

fn endpoint(addr: SocketAddr) -> IpEndpoint {
    IpEndpoint::new(IpAddr::into(addr.ip()), addr.port())
}

fn engine_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

fn engine_duration(span: Duration) -> smoltcp::time::Duration {
    smoltcp::time::Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}
