//! Interfaces at run time: attach and detach, up and down, addresses, MTU.

use crate::addr::{Cidr, is_host};
use crate::addresses::{Address, Addresses};
use crate::capture::Taps;
use crate::config::InterfaceConfig;
use crate::ip::{Net, Origin, Route, RouteEntry};
use crate::link::{Backlog, Nic};
use crate::neighbour::{Due, Neighbours};
use crate::registry::{Change, InterfaceId};
use crate::stack::{InterfaceError, Stack, State};
use crate::task;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use keelson_hal::{Instant, Interrupt, NetDevice};

/// Smallest MTU: what every IPv4 host can reassemble (RFC 791). IPv6 needs 1280 (RFC 8200 section 5).
const MIN_MTU: usize = 576;
const MIN_MTU_V6: usize = 1280;
/// Router solicitations after an interface comes up (RFC 4861 section 10).
const ROUTER_SOLICITS: u8 = 3;

impl Stack {
    /// Adds an interface, sets it up with its IPv6 link-local address, and starts its task.
    pub fn attach(
        &self,
        name: &str,
        mut device: Box<dyn NetDevice>,
        interrupt: Rc<dyn Interrupt>,
    ) -> InterfaceId {
        let now = self.shared.handle.now();
        let state = &mut *self.shared.state.borrow_mut();
        let id = InterfaceId(state.net.nics.len());
        let link = device.link();
        let nic = Nic {
            name: String::from(name),
            mac: device.mac(),
            bus_info: String::new(),
            features: device.features(),
            max_mtu: device.max_mtu(),
            max_tso_frame: device.max_tso_frame(),
            mtu: device.max_mtu().min(1500),
            link,
            up: true,
            attached: true,
            addresses: Addresses::default(),
            neighbours: Neighbours::new(state.net.key),
            backlog: Backlog::default(),
            dirty: false,
            waker: None,
            kicked: false,
            dhcp: None,
            slaac: true,
            router_solicits: ROUTER_SOLICITS,
            taps: Taps::default(),
            device: Some(device),
        };
        log::info!(target: "net", "{name}: {}, {link}", nic.mac);
        state.net.nics.push(nic);
        state.events.publish(id, Change::Registered);
        state.events.publish(id, Change::Up);
        let local = state.net.nics[id.index()].link_local();
        state.address_added(now, id, Cidr { addr: local.into(), prefix: 64 }, Instant::FAR_FUTURE);
        self.shared.handle.spawn("net", task::run(self.shared.clone(), id.index(), interrupt));
        id
    }

    /// Notes where an interface's device is, for people to find it.
    pub fn set_bus_info(&self, id: InterfaceId, place: String) {
        if let Some(nic) = self.shared.state.borrow_mut().net.nics.get_mut(id.index()) {
            nic.bus_info = place;
        }
    }

    /// Removes an interface and returns its device. Its connections are reset.
    pub fn detach(&self, id: InterfaceId) -> Option<Box<dyn NetDevice>> {
        self.publish(id, Change::Unregistering);
        let state = &mut *self.shared.state.borrow_mut();
        let nic = state.net.nics.get_mut(id.index())?;
        let addresses: Vec<Cidr> = nic.addresses.iter().map(|own| own.cidr).collect();
        for cidr in addresses {
            state.address_gone(id, cidr);
        }
        state.net.routes.retain(|entry| entry.route.interface != id);
        let nic = &mut state.net.nics[id.index()];
        nic.attached = false;
        nic.up = false;
        if let Some(port) = nic.dhcp.take() {
            port.changed.notify();
        }
        nic.backlog.clear();
        nic.kick();
        nic.device.take()
    }

    /// Finds an interface by name.
    pub fn interface(&self, name: &str) -> Option<InterfaceId> {
        let state = self.shared.state.borrow();
        state.net.nics.iter().position(|nic| nic.attached && nic.name == name).map(InterfaceId)
    }

    /// Applies a configuration: MTU, addresses, routers, name servers, DHCP. What it does not mention stays. What the interface
    /// cannot have is left out and told: a node with an MTU that is too large for its device is to be reached all the same.
    pub fn configure(&self, id: InterfaceId, config: &InterfaceConfig) -> Result<(), Vec<InterfaceError>> {
        let mut refused = Vec::new();
        if let Some(mtu) = config.mtu {
            refused.extend(self.set_mtu(id, mtu).err());
        }
        for cidr in &config.addresses {
            refused.extend(self.add_address(id, *cidr).err());
        }
        for router in &config.gateways {
            self.add_route(Route { to: Cidr::default_route(*router), via: Some(*router), interface: id });
        }
        for server in &config.nameservers {
            self.add_nameserver(*server);
        }
        if let Some(name) = &config.hostname {
            self.set_hostname(name);
        }
        if let Some(nic) = self.shared.state.borrow_mut().net.nics.get_mut(id.index()) {
            nic.slaac = config.slaac;
        }
        if config.dhcp {
            self.start_dhcp(id);
        }
        if refused.is_empty() { Ok(()) } else { Err(refused) }
    }

    /// Sets an interface up or down. Down keeps its addresses and forgets its neighbours.
    pub fn set_up(&self, id: InterfaceId, up: bool) -> Result<(), InterfaceError> {
        let now = self.shared.handle.now();
        let state = &mut *self.shared.state.borrow_mut();
        let nic =
            state.net.nics.get_mut(id.index()).filter(|nic| nic.attached).ok_or(InterfaceError::Gone)?;
        if nic.up != up {
            nic.up = up;
            state.carrier_changed(now, id.index());
            state.events.publish(id, if up { Change::Up } else { Change::Down });
        }
        Ok(())
    }

    /// Sets the largest IP packet. Connections that exist keep theirs.
    pub fn set_mtu(&self, id: InterfaceId, mtu: usize) -> Result<(), InterfaceError> {
        let state = &mut *self.shared.state.borrow_mut();
        let nic =
            state.net.nics.get_mut(id.index()).filter(|nic| nic.attached).ok_or(InterfaceError::Gone)?;
        if mtu < MIN_MTU || mtu > nic.max_mtu {
            return Err(InterfaceError::Mtu(mtu, nic.max_mtu));
        }
        if nic.mtu != mtu {
            nic.mtu = mtu;
            state.events.publish(id, Change::Mtu(mtu));
        }
        if mtu < MIN_MTU_V6 {
            log::warn!(target: "net", "MTU {mtu} is less than the {MIN_MTU_V6} that IPv6 needs");
        }
        Ok(())
    }

    /// Adds an address and announces it on the link.
    pub fn add_address(&self, id: InterfaceId, cidr: Cidr) -> Result<(), InterfaceError> {
        let now = self.shared.handle.now();
        let state = &mut *self.shared.state.borrow_mut();
        let nic = state.net.nics.get(id.index()).filter(|nic| nic.attached).ok_or(InterfaceError::Gone)?;
        if !is_host(cidr.addr) || Cidr::new(cidr.addr, cidr.prefix).is_none() {
            return Err(InterfaceError::Address(cidr));
        }
        if !nic.addresses.iter().any(|own| own.cidr == cidr) {
            state.address_added(now, id, cidr, Instant::FAR_FUTURE);
        }
        Ok(())
    }

    /// Removes an address; connections from it are reset.
    pub fn remove_address(&self, id: InterfaceId, cidr: Cidr) {
        self.shared.state.borrow_mut().address_gone(id, cidr);
    }
}

impl State {
    pub(crate) fn address_added(&mut self, now: Instant, id: InterfaceId, cidr: Cidr, valid_until: Instant) {
        self.net.nics[id.index()].addresses.push(Address { cidr, valid_until });
        self.address_appeared(now, id, cidr);
    }

    /// An address was entered: tell the device, the link and the subscribers.
    pub(crate) fn address_appeared(&mut self, now: Instant, id: InterfaceId, cidr: Cidr) {
        let nic = &mut self.net.nics[id.index()];
        log::info!(target: "net", "{}: address {cidr}", nic.name);
        nic.update_groups();
        if nic.running() {
            self.net.announce(now, id.index(), cidr.addr);
        }
        self.net.nics[id.index()].kick();
        self.events.publish(id, Change::AddressAdded(cidr));
    }

    /// Takes an address away.
    pub(crate) fn address_gone(&mut self, id: InterfaceId, cidr: Cidr) {
        let Some(nic) = self.net.nics.get_mut(id.index()) else { return };
        if !nic.addresses.remove(cidr) {
            return;
        }
        log::info!(target: "net", "{}: address {cidr} removed", nic.name);
        nic.update_groups();
        self.tcp.address_removed(&mut self.net, cidr.addr);
        self.events.publish(id, Change::AddressRemoved(cidr));
    }

    /// The interface began or ceased to run.
    pub(crate) fn carrier_changed(&mut self, now: Instant, nic: usize) {
        let interface = &mut self.net.nics[nic];
        if interface.running() {
            interface.router_solicits = if interface.slaac { ROUTER_SOLICITS } else { 0 };
            interface.update_groups();
            let addresses: Vec<IpAddr> = interface.addresses.iter().map(|own| own.cidr.addr).collect();
            for addr in addresses {
                self.net.announce(now, nic, addr);
            }
            self.tcp.link_returned(&mut self.net, now, nic);
            self.net.nics[nic].kick();
        } else {
            self.net.counters.neighbour_queue_dropped += interface.neighbours.clear() as u64;
            interface.backlog.clear();
        }
        if let Some(port) = &self.net.nics[nic].dhcp {
            port.changed.notify();
        }
    }

    /// Adds a route that its origin may take away again.
    pub(crate) fn set_route(&mut self, route: Route, origin: Origin) {
        self.net.routes.retain(|entry| entry.route != route);
        self.net.routes.push(RouteEntry { route, origin, valid_until: Instant::FAR_FUTURE });
    }

    pub(crate) fn drop_routes(&mut self, id: InterfaceId, origin: Origin) {
        self.net.routes.retain(|entry| entry.route.interface != id || entry.origin != origin);
    }
}

impl Net {
    fn announce(&mut self, now: Instant, nic: usize, addr: IpAddr) {
        match addr {
            IpAddr::V4(addr) => self.announce_v4(nic, addr),
            IpAddr::V6(addr) => self.announce_v6(now, nic, addr),
        }
    }

    /// Asks again for neighbours that have not answered, and gives up on those that never will.
    /// Returns the latter.
    pub(crate) fn age_neighbours(&mut self, now: Instant, nic: usize) -> Vec<IpAddr> {
        let (mut due, mut failed) = (Vec::new(), Vec::new());
        self.nics[nic].neighbours.tick(now, &mut due);
        for what in due {
            match what {
                Due::Solicit(addr, mac) => self.solicit(now, nic, addr, mac),
                Due::Failed(addr, packets) => {
                    log::debug!(target: "net", "{}: {addr} does not answer", self.nics[nic].name);
                    self.counters.neighbour_failed += packets as u64;
                    failed.push(addr);
                }
            }
        }
        failed
    }
}
