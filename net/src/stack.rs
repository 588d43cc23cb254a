//! The stack: everything that the sockets, the interfaces' tasks and the roles share.

use crate::addr::Cidr;
use crate::counters::StackCounters;
use crate::dhcp::Lease;
use crate::hash::{Key, KeyedMap};
use crate::ip::reassembly::Reassembly;
use crate::ip::{Net, Origin, Route, RouteEntry};
use crate::rate::RateLimit;
use crate::raw::{EtherHandler, IpHandler};
use crate::registry::{Change, EventHub, Events, InterfaceId, InterfaceStatus};
use crate::tcp::{ConnectOptions, STATES, Tcp, TcpListener, TcpOptions, TcpStatus, TcpStream};
use crate::udp::{Udp, UdpOptions, UdpSocket};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use keelson_exec::Handle;
use keelson_hal::{Entropy, MacAddress};

/// ICMP errors, and TCP resets, sent in a second.
const ERRORS_PER_SECOND: u32 = 100;
const RESETS_PER_SECOND: u32 = 1000;

/// A network stack. Clones are the same stack.
#[derive(Clone)]
pub struct Stack {
    pub(crate) shared: Rc<Shared>,
}

pub(crate) struct Shared {
    pub handle: Handle,
    pub entropy: Rc<dyn Entropy>,
    pub state: RefCell<State>,
}

pub(crate) struct State {
    pub net: Net,
    pub tcp: Tcp,
    pub udp: Udp,
    pub reassembly: Reassembly,
    pub events: EventHub,
    pub ethertypes: KeyedMap<u16, EtherHandler>,
    pub protocols: KeyedMap<u8, IpHandler>,
    pub names: crate::dns::Names,
    pub leases: KeyedMap<usize, Lease>,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $(($($field:ident: $ty:ty),*))? => $text:literal,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, Debug)]
            pub enum $name { $($(#[$vdoc])* $variant $(($($ty),*))?,)* }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    match self { $($name::$variant $(($($field),*))? => write!(f, $text),)* }
                }
            }

            impl core::error::Error for $name {}
        )*
    };
}

errors! {
    /// Why a port cannot be listened on.
    ListenError {
        /// Port 0.
        InvalidPort => "TCP port 0 cannot be listened on",
        /// There is a listener already.
        InUse(port: u16) => "TCP port {port} is in use",
    }
    /// Why a connection was not made.
    ConnectError {
        /// No interface leads there, or none has an address to use.
        NoRoute(peer: IpAddr) => "no route to {peer}",
        /// The local port is taken, or all of the wanted kind are.
        PortInUse => "no free local port",
        /// There are too many connections already.
        TooMany => "too many connections",
        /// The peer refused.
        Refused(peer: SocketAddr) => "{peer} refused the connection",
        /// The neighbour on the way, the peer itself or a router, does not answer (Linux: EHOSTUNREACH).
        Unreachable(peer: SocketAddr) => "{peer} is unreachable: the next host on the way does not answer",
        /// No answer in time.
        TimedOut(peer: SocketAddr) => "{peer} did not answer",
        /// The address cannot be connected to.
        InvalidAddress(peer: SocketAddr) => "{peer} cannot be connected to",
    }
    /// Why a UDP port cannot be opened.
    BindError {
        /// Another socket has it.
        InUse(port: u16) => "UDP port {port} is in use",
        /// All ephemeral ports are taken.
        Exhausted => "no free UDP port",
    }
    /// Why a datagram was not sent.
    SendError {
        /// No interface leads there, or none has an address to use.
        NoRoute(peer: IpAddr) => "no route to {peer}",
        /// Larger than UDP can carry.
        TooLong(len: usize) => "{len} bytes do not fit a datagram",
        /// Queues are full; try later.
        Dropped => "transmit queue is full",
    }
    /// Why an interface's setting was refused.
    InterfaceError {
        /// There is no such interface any more.
        Gone => "no such interface",
        /// Outside of what the device can carry.
        Mtu(mtu: usize, max: usize) => "MTU {mtu} is not between 576 and {max}",
        /// Not an address that a host can have.
        Address(addr: Cidr) => "{addr} is not an address for an interface",
    }
}

impl Stack {
    /// A stack without interfaces, whose tasks run on the executor of `handle`.
    pub fn new(handle: Handle, entropy: Rc<dyn Entropy>) -> Stack {
        let key = Key::new(&*entropy);
        let state = State {
            net: Net {
                nics: Vec::new(),
                routes: Vec::new(),
                counters: StackCounters::default(),
                key,
                next_id: entropy.next_u64() as u32,
                icmp_errors: RateLimit::new(ERRORS_PER_SECOND),
                resets: RateLimit::new(RESETS_PER_SECOND),
                new_addresses: Vec::new(),
                neighbours_found: false,
            },
            tcp: Tcp::new(entropy.clone(), key),
            udp: Udp::new(key),
            reassembly: Reassembly::new(key),
            events: EventHub::default(),
            ethertypes: KeyedMap::with_hasher(key),
            protocols: KeyedMap::with_hasher(key),
            names: crate::dns::Names::default(),
            leases: KeyedMap::with_hasher(key),
        };
        Stack { shared: Rc::new(Shared { handle, entropy, state: RefCell::new(state) }) }
    }

    /// Lets the rings of all TCP connections together take at most `bytes`; without a limit they take what they
    /// ask for. The more connections there are, the smaller are the rings of a new one, and when even the
    /// smallest do not fit, SYNs are dropped and counted.
    pub fn limit_tcp_memory(&self, bytes: usize) {
        self.shared.state.borrow_mut().tcp.ring_limit = bytes;
    }

    /// Listens for connections to `port` on every address of ours.
    pub fn listen(&self, port: u16, options: TcpOptions) -> Result<TcpListener, ListenError> {
        TcpListener::new(self.shared.clone(), port, options)
    }

    /// Connects to `peer`.
    pub async fn connect(
        &self,
        peer: SocketAddr,
        options: ConnectOptions,
    ) -> Result<TcpStream, ConnectError> {
        crate::tcp::connect(self.shared.clone(), peer, options).await
    }

    /// Opens a UDP port on every address of ours; 0 takes a free one.
    pub fn bind_udp(&self, port: u16, options: UdpOptions) -> Result<UdpSocket, BindError> {
        UdpSocket::bind(self.shared.clone(), port, options)
    }

    /// Subscribes to changes of interfaces.
    pub fn events(&self) -> Events {
        self.shared.state.borrow_mut().events.subscribe()
    }

    /// All interfaces.
    pub fn interfaces(&self) -> Vec<InterfaceStatus> {
        let state = self.shared.state.borrow();
        let attached = state.net.nics.iter().enumerate().filter(|(_, nic)| nic.attached);
        let status = attached.map(|(index, nic)| InterfaceStatus {
            id: InterfaceId(index),
            name: nic.name.clone(),
            driver: nic.device.as_ref().map_or("", |device| device.driver()),
            bus_info: nic.bus_info.clone(),
            features: nic.features,
            rings: nic.device.as_ref().map_or((0, 0), |device| device.rings()),
            mac: nic.mac,
            up: nic.up,
            link: nic.link,
            mtu: nic.mtu,
            addresses: nic.addresses.iter().map(|own| own.cidr).collect(),
            dhcp: nic.dhcp.is_some(),
            counters: nic.device.as_ref().map_or_else(Default::default, |device| device.counters()),
        });
        status.collect()
    }

    /// What the device of an interface counted by itself, beyond its [`InterfaceStatus::counters`].
    pub fn device_statistics(&self, id: InterfaceId) -> Vec<(&'static str, u64)> {
        let mut all = Vec::new();
        let state = self.shared.state.borrow();
        if let Some(device) = state.net.nics.get(id.index()).and_then(|nic| nic.device.as_ref()) {
            device.statistics(&mut |name, value| all.push((name, value)));
        }
        all
    }

    /// The counters.
    pub fn counters(&self) -> StackCounters {
        self.shared.state.borrow().net.counters
    }

    /// The secret key of this stack's hash tables, for tables of those who use it.
    pub fn hash_key(&self) -> Key {
        self.shared.state.borrow().net.key
    }

    /// TCP connections that exist, half-open and closing ones included.
    pub fn connections(&self) -> usize {
        self.shared.state.borrow().tcp.len()
    }

    /// TCP connections that exist, one by one.
    pub fn tcp_status(&self) -> Vec<TcpStatus> {
        let now = self.shared.handle.now();
        self.shared.state.borrow().tcp.status(now).collect()
    }

    /// How many TCP connections there are in each state, under the names of [`TcpStatus::state`]; all states every time.
    pub fn tcp_states(&self) -> [(&'static str, usize); STATES.len()] {
        let mut counts = STATES.map(|state| (state, 0));
        for status in self.shared.state.borrow().tcp.status(self.shared.handle.now()) {
            if let Some((_, count)) = counts.iter_mut().find(|(state, _)| *state == status.state) {
                *count += 1;
            }
        }
        counts
    }

    /// The routes.
    pub fn routes(&self) -> Vec<Route> {
        self.shared.state.borrow().net.routes.iter().map(|entry| entry.route).collect()
    }

    /// Neighbours known on an interface.
    pub fn neighbours(&self, id: InterfaceId) -> Vec<(IpAddr, MacAddress)> {
        let state = self.shared.state.borrow();
        state.net.nics.get(id.index()).map(|nic| nic.neighbours.known().collect()).unwrap_or_default()
    }

    /// Adds a route. A route to the same network by the same way is replaced.
    pub fn add_route(&self, route: Route) {
        self.remove_route(route);
        let entry =
            RouteEntry { route, origin: Origin::Static, valid_until: keelson_hal::Instant::FAR_FUTURE };
        self.shared.state.borrow_mut().net.routes.push(entry);
    }

    /// Removes a route, whoever added it.
    pub fn remove_route(&self, route: Route) {
        self.shared.state.borrow_mut().net.routes.retain(|entry| entry.route != route);
    }

    /// Adds a change of an interface to what subscribers see.
    pub(crate) fn publish(&self, id: InterfaceId, change: Change) {
        self.shared.state.borrow_mut().events.publish(id, change);
    }
}
