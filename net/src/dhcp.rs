//! The DHCPv4 client (RFC 2131): one task for each interface that asks for it.
//!
//! ```text
//!   carrier -> DISCOVER -> OFFER -> REQUEST -> ACK -> bound --T1--> REQUEST to the server (renew)
//!      ^          ^  |                |                 ^ |            |
//!      |          |  +-- no answer ---+-- NAK           | +--T2--> REQUEST to all (rebind)
//!      |          +------------ lease over: address removed ----------+
//! ```
//!
//! Address, mask, router, MTU, DNS servers, NTP servers and host name come from the lease. When the lease
//! ends, what came with it goes.

use crate::addr::Cidr;
use crate::ip::header::protocol;
use crate::ip::{Origin, Path, Route};
use crate::registry::{Change, InterfaceId};
use crate::stack::{Shared, Stack};
use crate::udp;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use keelson_exec::sync::Notify;
use keelson_hal::Instant;
use smoltcp::wire::{DhcpMessageType as Kind, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Option codes (RFC 2132).
const OPTION_HOST_NAME: u8 = 12;
const OPTION_MTU: u8 = 26;
const OPTION_NTP: u8 = 42;
/// Subnet mask, router, DNS, host name, domain, MTU, NTP.
const WANTED: &[u8] = &[1, 3, 6, OPTION_HOST_NAME, 15, OPTION_MTU, OPTION_NTP];
/// First and longest pause between retransmissions (RFC 2131 section 4.1).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(32);
/// REQUESTs in answer to an offer before starting over.
const REQUESTS: u32 = 4;
/// A lease shorter than this is treated as this long.
const SHORTEST_LEASE: u32 = 10;

/// What a server granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Our address and its network.
    pub address: Cidr,
    /// The server.
    pub server: Ipv4Addr,
    /// The default router.
    pub router: Option<Ipv4Addr>,
    /// DNS servers.
    pub nameservers: Vec<Ipv4Addr>,
    /// NTP servers.
    pub ntp_servers: Vec<Ipv4Addr>,
    /// The name the server has for us.
    pub host_name: Option<String>,
    /// The MTU of the link.
    pub mtu: Option<usize>,
    /// Until when the address is ours; renewal starts at half the time.
    pub expires: Instant,
    renew: Instant,
    rebind: Instant,
}

/// Where an interface puts packets from DHCP servers.
pub(crate) struct DhcpPort {
    pub inbox: VecDeque<Vec<u8>>,
    /// A packet came, or the carrier changed, or the interface went.
    pub changed: Rc<Notify>,
}

/// A server's answer, as far as it concerns us.
struct Answer {
    kind: Kind,
    lease: Lease,
}

struct Client {
    shared: Rc<Shared>,
    id: InterfaceId,
    mac: EthernetAddress,
    transaction: u32,
    changed: Rc<Notify>,
}

impl Stack {
    /// Starts the DHCP client of an interface, unless it runs already.
    pub fn start_dhcp(&self, id: InterfaceId) {
        let mut state = self.shared.state.borrow_mut();
        let Some(nic) = state.net.nics.get_mut(id.index()).filter(|nic| nic.attached) else { return };
        if nic.dhcp.is_some() {
            return;
        }
        let changed = Rc::new(Notify::new());
        nic.dhcp = Some(DhcpPort { inbox: VecDeque::new(), changed: changed.clone() });
        let mac = EthernetAddress(nic.mac.0);
        drop(state);
        let client = Client { shared: self.shared.clone(), id, mac, transaction: 0, changed };
        self.shared.handle.spawn("dhcp", client.run());
    }

    /// The lease of an interface.
    pub fn lease(&self, id: InterfaceId) -> Option<Lease> {
        self.shared.state.borrow().leases.get(&id.index()).cloned()
    }
}

impl Client {
    /// Runs until the interface is detached.
    async fn run(mut self) {
        while let Some(carrier) = self.carrier() {
            if !carrier {
                self.wait(Instant::FAR_FUTURE).await;
                continue;
            }
            let Some(lease) = self.acquire().await else { continue };
            self.bind(&lease);
            self.hold(lease).await;
        }
    }

    /// DISCOVER to ACK. `None` when the carrier went or the interface is gone.
    async fn acquire(&mut self) -> Option<Lease> {
        let mut pause = FIRST_PAUSE;
        loop {
            self.transaction = self.shared.entropy.next_u64() as u32;
            self.send(Kind::Discover, None, Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
            let until = self.after(pause);
            while let Some(answer) = self.answer(until).await {
                if answer.kind == Kind::Offer
                    && let Some(lease) = self.request(&answer.lease).await
                {
                    return Some(lease);
                }
            }
            if self.carrier() != Some(true) {
                return None;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks for what was offered.
    async fn request(&self, offer: &Lease) -> Option<Lease> {
        for attempt in 0..REQUESTS {
            self.send(Kind::Request, Some(offer), Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
            let until = self.after(FIRST_PAUSE * (1 << attempt));
            while let Some(answer) = self.answer(until).await {
                match answer.kind {
                    Kind::Ack => return Some(answer.lease),
                    Kind::Nak => return None,
                    _ => {}
                }
            }
        }
        None
    }

    /// Keeps the lease for as long as servers extend it, then takes everything away again.
    async fn hold(&mut self, mut lease: Lease) {
        loop {
            while self.shared.handle.now() < lease.renew && self.carrier().is_some() {
                self.wait(lease.renew).await;
                self.inbox(VecDeque::clear);
            }
            let IpAddr::V4(own) = lease.address.addr else { return };
            self.transaction = self.shared.entropy.next_u64() as u32;
            let renewed = self.extend(&lease, own).await;
            match renewed {
                Some(fresh) if fresh.address == lease.address => {
                    lease = fresh;
                    self.store(&lease);
                }
                _ => {
                    let name = &lease.address;
                    log::warn!(target: "net", "DHCP lease of {name} is over");
                    self.release(&lease);
                    return;
                }
            }
        }
    }

    /// Renews from T1, rebinds from T2, gives up at the end of the lease or when told so.
    async fn extend(&self, lease: &Lease, own: Ipv4Addr) -> Option<Lease> {
        while self.carrier().is_some() {
            let now = self.shared.handle.now();
            let (to, phase_end) = if now < lease.rebind {
                (lease.server, lease.rebind)
            } else {
                (Ipv4Addr::BROADCAST, lease.expires)
            };
            if now >= lease.expires {
                return None;
            }
            self.send(Kind::Request, None, own, to);
            // Half of what is left, but not less than a second (RFC 2131 section 4.4.5 says a minute, which
            // leases of minutes would not survive).
            let half = (phase_end - now) / 2;
            let until = now + half.max(Duration::from_secs(1));
            while let Some(answer) = self.answer(until).await {
                match answer.kind {
                    Kind::Ack => return Some(answer.lease),
                    Kind::Nak => return None,
                    _ => {}
                }
            }
        }
        None
    }

    fn carrier(&self) -> Option<bool> {
        let state = self.shared.state.borrow();
        let nic = &state.net.nics[self.id.index()];
        nic.attached.then(|| nic.running())
    }

    /// The moment `span` from now, give or take a fifth so that a rack does not ask in step.
    fn after(&self, span: Duration) -> Instant {
        let fuzz = self.shared.entropy.next_u64() % 400;
        self.shared.handle.now() + span * (800 + fuzz as u32) / 1000
    }

    /// Waits for a packet, a change of carrier, or `until`.
    async fn wait(&self, until: Instant) {
        keelson_exec::select(self.changed.notified(), self.shared.handle.sleep_until(until)).await;
    }

    /// The next answer to our transaction; `None` at `until`, or when there is no carrier.
    async fn answer(&self, until: Instant) -> Option<Answer> {
        loop {
            while let Some(packet) = self.inbox(VecDeque::pop_front)? {
                if let Some(answer) = self.parse(&packet) {
                    return Some(answer);
                }
            }
            if self.shared.handle.now() >= until || self.carrier() != Some(true) {
                return None;
            }
            self.wait(until).await;
        }
    }

    /// Does something with the packets that came; `None` when the interface is gone.
    fn inbox<R>(&self, f: impl FnOnce(&mut VecDeque<Vec<u8>>) -> R) -> Option<R> {
        let mut state = self.shared.state.borrow_mut();
        state.net.nics[self.id.index()].dhcp.as_mut().map(|port| f(&mut port.inbox))
    }

    fn parse(&self, bytes: &[u8]) -> Option<Answer> {
        let packet = DhcpPacket::new_checked(bytes).ok()?;
        let repr = DhcpRepr::parse(&packet).ok()?;
        if repr.transaction_id != self.transaction || repr.client_hardware_address != self.mac {
            return None;
        }
        let server = repr.server_identifier?;
        if repr.message_type == Kind::Nak {
            let address = Cidr::host(Ipv4Addr::UNSPECIFIED.into());
            return Some(Answer { kind: Kind::Nak, lease: self.lease(address, server, 0, &repr) });
        }
        let mask = repr.subnet_mask.unwrap_or(Ipv4Addr::new(255, 255, 255, 0)).to_bits();
        if mask.leading_ones() != mask.count_ones() || !crate::addr::is_host(repr.your_ip.into()) {
            return None;
        }
        let address = Cidr::new(repr.your_ip.into(), mask.leading_ones() as u8)?;
        let seconds = repr.lease_duration.unwrap_or(3600).max(SHORTEST_LEASE);
        let mut lease = self.lease(address, server, seconds, &repr);
        for option in packet.options() {
            match (option.kind, option.data) {
                (OPTION_HOST_NAME, name) => {
                    let name = core::str::from_utf8(name).ok().map(|name| name.trim_end_matches('\0'));
                    lease.host_name = name.filter(|name| !name.is_empty()).map(ToString::to_string);
                }
                (OPTION_MTU, &[high, low]) => lease.mtu = Some(u16::from_be_bytes([high, low]).into()),
                (OPTION_NTP, servers) => {
                    let servers = servers.chunks_exact(4).map(|a| Ipv4Addr::new(a[0], a[1], a[2], a[3]));
                    lease.ntp_servers = servers.collect();
                }
                _ => {}
            }
        }
        Some(Answer { kind: repr.message_type, lease })
    }

    fn lease(&self, address: Cidr, server: Ipv4Addr, seconds: u32, repr: &DhcpRepr<'_>) -> Lease {
        let now = self.shared.handle.now();
        let at = |wanted: Option<u32>, default: u32| {
            let seconds = wanted.filter(|wanted| *wanted > 0 && *wanted < seconds).unwrap_or(default);
            now + Duration::from_secs(seconds.into())
        };
        let forever = seconds == u32::MAX;
        let unless_forever = |at: Instant| if forever { Instant::FAR_FUTURE } else { at };
        let rebind = at(repr.rebind_duration, (u64::from(seconds) * 7 / 8) as u32);
        Lease {
            address,
            server,
            router: repr.router,
            nameservers: repr.dns_servers.iter().flatten().copied().collect(),
            ntp_servers: Vec::new(),
            host_name: None,
            mtu: None,
            expires: unless_forever(now + Duration::from_secs(seconds.into())),
            renew: unless_forever(at(repr.renew_duration, seconds / 2).min(rebind)),
            rebind: unless_forever(rebind),
        }
    }

    fn send(&self, kind: Kind, offer: Option<&Lease>, own: Ipv4Addr, to: Ipv4Addr) {
        let now = self.shared.handle.now();
        let state = &mut *self.shared.state.borrow_mut();
        let hostname = state.names.hostname.clone();
        let name_option = [DhcpOption { kind: OPTION_HOST_NAME, data: hostname.as_bytes() }];
        let requested = offer.and_then(|offer| match offer.address.addr {
            IpAddr::V4(addr) => Some(addr),
            IpAddr::V6(_) => None,
        });
        let repr = DhcpRepr {
            message_type: kind,
            transaction_id: self.transaction,
            secs: 0,
            client_hardware_address: self.mac,
            client_ip: own,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: requested,
            client_identifier: Some(self.mac),
            server_identifier: offer.map(|offer| offer.server),
            parameter_request_list: Some(WANTED),
            dns_servers: None,
            max_size: Some(1500 - 28),
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: if hostname.is_empty() { &[] } else { &name_option },
        };
        let mut message = vec![0; repr.buffer_len()];
        if repr.emit(&mut DhcpPacket::new_unchecked(&mut message[..])).is_err() {
            return;
        }
        let nic = self.id.index();
        // A unicast renewal may go through a router; everything else is for the own link.
        let path = match to {
            Ipv4Addr::BROADCAST => Some(Path { nic, next_hop: to.into() }),
            to => state.net.path(to.into(), Some(own.into())),
        };
        let Some(path) = path else { return };
        let (source, target) =
            (SocketAddr::new(own.into(), CLIENT_PORT), SocketAddr::new(to.into(), SERVER_PORT));
        let bytes = udp::datagram(source, target, &message);
        state.net.send_datagram(now, path, (own.into(), to.into()), protocol::UDP, 64, &bytes);
        state.net.nics[nic].kick();
    }

    fn bind(&self, lease: &Lease) {
        let stack = Stack { shared: self.shared.clone() };
        log::info!(target: "net", "DHCP lease of {} from {}", lease.address, lease.server);
        if let Some(mtu) = lease.mtu
            && let Err(error) = stack.set_mtu(self.id, mtu)
        {
            log::warn!(target: "net", "DHCP: {error}");
        }
        if let Err(error) = stack.add_address(self.id, lease.address) {
            log::warn!(target: "net", "DHCP: {error}");
        }
        self.store(lease);
    }

    /// Enters what a new or renewed lease says besides the address.
    fn store(&self, lease: &Lease) {
        let state = &mut *self.shared.state.borrow_mut();
        state.drop_routes(self.id, Origin::Dhcp);
        if let Some(router) = lease.router {
            let to = Cidr::default_route(router.into());
            state.set_route(Route { to, via: Some(router.into()), interface: self.id }, Origin::Dhcp);
        }
        let before = state.leases.get(&self.id.index()).map(|lease| lease.router);
        if before.is_some_and(|before| before != lease.router) {
            match lease.router {
                Some(router) => log::info!(target: "net", "DHCP: the router is {router} now"),
                None => log::info!(target: "net", "DHCP: there is no router any more"),
            }
            state.events.publish(self.id, Change::Routes);
        }
        state.names.set_leased(self.id, &lease.nameservers);
        if let Some(name) = &lease.host_name
            && state.names.hostname.is_empty()
        {
            state.names.hostname = name.clone();
        }
        state.leases.insert(self.id.index(), lease.clone());
    }

    fn release(&self, lease: &Lease) {
        let state = &mut *self.shared.state.borrow_mut();
        state.leases.remove(&self.id.index());
        state.names.set_leased(self.id, &[]);
        state.drop_routes(self.id, Origin::Dhcp);
        state.address_gone(self.id, lease.address);
    }
}
