//! Hosts that have locks or asked for some, by address.

use crate::locks::ClientId;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;
use keelson_hal::Instant;

/// Longest name that is kept, for messages and for telling hosts behind one address apart.
const MAX_NAME: usize = 255;

/// A host.
pub(super) struct Host {
    /// As the table of locks knows it.
    pub client: ClientId,
    /// What it calls itself.
    name: Vec<u8>,
    /// Its last request.
    pub used: Instant,
    /// It has only ever called from ports of privileged users.
    pub privileged: bool,
    /// It is to be told when we restart.
    pub monitored: bool,
}

impl Host {
    /// A host at its first request.
    pub fn new(client: ClientId, name: &[u8]) -> Host {
        let name = cut(name).to_vec();
        Host { client, name, used: Instant::ZERO, privileged: true, monitored: false }
    }

    /// It calls itself so.
    pub fn is_named(&self, name: &[u8]) -> bool {
        self.name == cut(name)
    }

    /// What it calls itself.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
}

fn cut(name: &[u8]) -> &[u8] {
    name.get(..MAX_NAME).unwrap_or(name)
}

/// All of them; as many as the table takes clients.
#[derive(Default)]
pub(super) struct Hosts(BTreeMap<IpAddr, Host>);

impl Hosts {
    pub fn client(&self, address: IpAddr) -> Option<ClientId> {
        self.0.get(&address).map(|host| host.client)
    }

    pub fn get(&self, address: IpAddr) -> Option<&Host> {
        self.0.get(&address)
    }

    pub fn get_mut(&mut self, address: IpAddr) -> Option<&mut Host> {
        self.0.get_mut(&address)
    }

    /// The client of a host that has just called.
    pub fn used(&mut self, address: IpAddr, now: Instant) -> Option<ClientId> {
        let host = self.0.get_mut(&address)?;
        host.used = now;
        Some(host.client)
    }

    pub fn insert(&mut self, address: IpAddr, host: Host) -> &mut Host {
        self.0.entry(address).insert_entry(host).into_mut()
    }

    pub fn remove(&mut self, address: IpAddr) {
        self.0.remove(&address);
    }

    pub fn addresses(&self) -> Vec<IpAddr> {
        self.0.keys().copied().collect()
    }

    /// Takes all; their clients.
    pub fn take_all(&mut self) -> Vec<ClientId> {
        core::mem::take(&mut self.0).into_values().map(|host| host.client).collect()
    }

    pub fn any_named(&self, name: &[u8]) -> bool {
        self.0.values().any(|host| host.is_named(name))
    }

    /// The host that is a client of the table.
    pub fn by_client(&self) -> BTreeMap<ClientId, (IpAddr, &Host)> {
        self.0.iter().map(|(address, host)| (host.client, (*address, host))).collect()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Host)> {
        self.0.iter().map(|(address, host)| (*address, host))
    }
}
