//! What interfaces are configured with, and the command line that says so.
//!
//! The grammar of `ip=` is that of Linux (`nfsroot.rst` in its documentation), with IPv6 addresses in
//! brackets, plus two short forms. It may be given once for each interface.
//!
//! ```text
//! ip=<client>:<server>:<gateway>:<netmask>:<hostname>:<device>:<autoconf>:<dns0>:<dns1>:<ntp>
//! ip=dhcp                     every interface that no other ip= names
//! ip=eth0:dhcp                this interface
//! ip=10.1.0.1/24:eth0         address, prefix, and device if not the first
//! gw=10.1.0.254[:eth0]        default router
//! mtu=[eth0:]9000             largest IP packet
//! nameserver=10.1.0.53        repeatable
//! hostname=nfs1
//! ```
//!
//! `<server>` is accepted and not used. A static address without a device is for the first interface.

mod ip;
mod options;

use crate::addr::Cidr;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
pub use ip::{Autoconf, IpOption};
pub use options::OPTIONS;

/// The configuration of one interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceConfig {
    /// Static addresses.
    pub addresses: Vec<Cidr>,
    /// Default routers.
    pub gateways: Vec<IpAddr>,
    /// Run the DHCPv4 client.
    pub dhcp: bool,
    /// Take addresses and routers from IPv6 router advertisements.
    pub slaac: bool,
    /// Largest IP packet.
    pub mtu: Option<usize>,
    /// DNS servers, in order of preference.
    pub nameservers: Vec<IpAddr>,
    /// Our name.
    pub hostname: Option<String>,
}

impl Default for InterfaceConfig {
    /// Nothing but what IPv6 routers announce.
    fn default() -> InterfaceConfig {
        InterfaceConfig {
            addresses: Vec::new(),
            gateways: Vec::new(),
            dhcp: false,
            slaac: true,
            mtu: None,
            nameservers: Vec::new(),
            hostname: None,
        }
    }
}

/// A value that is not accepted, and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The part of the option: `netmask`.
    pub field: &'static str,
    /// What was given for it.
    pub value: String,
    /// What would be right.
    pub accepted: &'static str,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, value: &str, accepted: &'static str) -> ConfigError {
        ConfigError { field, value: value.to_owned(), accepted }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\" is not {}", self.field, self.value, self.accepted)
    }
}

impl core::error::Error for ConfigError {}

/// All network options of a command line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NetworkConfig {
    ip: Vec<IpOption>,
    gateways: Vec<(Option<String>, IpAddr)>,
    mtu: Vec<(Option<String>, usize)>,
    nameservers: Vec<IpAddr>,
    hostname: Option<String>,
}

impl NetworkConfig {
    /// Takes in one option; false when `key` is none of ours.
    pub fn set(&mut self, key: &str, value: &str) -> Result<bool, ConfigError> {
        match key {
            "ip" => self.ip.push(IpOption::parse(value)?),
            "gw" => self.gateways.push(parse_gateway(value)?),
            "mtu" => self.mtu.push(parse_mtu(value)?),
            "nameserver" => self.nameservers.push(ip::address("nameserver", value)?),
            "hostname" => self.hostname = Some(ip::hostname(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What the options say about interface number `index`, called `name`. `None` when they do not mention
    /// it at all: it then keeps its IPv6 link-local address only.
    pub fn interface(&self, index: usize, name: &str) -> Option<InterfaceConfig> {
        let is_named = |device: &Option<String>| device.as_deref() == Some(name);
        let named = self.ip.iter().any(|option| is_named(&option.device));
        let is_ours = |option: &&IpOption| match &option.device {
            Some(device) => device == name,
            None if option.address.is_some() => index == 0,
            None => !named,
        };
        let mut config = InterfaceConfig { hostname: self.hostname.clone(), ..InterfaceConfig::default() };
        let mut mentioned = false;
        for option in self.ip.iter().filter(is_ours) {
            mentioned = true;
            config.addresses.extend(option.address);
            config.gateways.extend(option.gateway);
            config.nameservers.extend(&option.nameservers);
            config.dhcp |= option.autoconf == Autoconf::Dhcp;
            config.hostname = config.hostname.or_else(|| option.hostname.clone());
        }
        let applies = |device: &Option<String>| device.as_ref().map_or(index == 0, |device| device == name);
        let gateways = self.gateways.iter().filter(|(device, router)| match device {
            Some(device) => device == name,
            // Without a device: where the router is.
            None => config.addresses.iter().any(|own| own.contains(*router)) || (config.dhcp && index == 0),
        });
        let gateways: Vec<IpAddr> = gateways.map(|(_, router)| *router).collect();
        mentioned |= !gateways.is_empty();
        config.gateways.extend(gateways);
        for (device, mtu) in self.mtu.iter().filter(|(device, _)| device.is_none() || applies(device)) {
            mentioned |= device.is_some();
            config.mtu = Some(*mtu);
        }
        config.nameservers.extend(&self.nameservers);
        mentioned.then_some(config)
    }

    /// Devices that options name and `exists` does not know: to be reported.
    pub fn unknown_devices(&self, exists: impl Fn(&str) -> bool) -> Vec<&str> {
        let ip = self.ip.iter().map(|option| &option.device);
        let rest =
            self.gateways.iter().map(|(device, _)| device).chain(self.mtu.iter().map(|(device, _)| device));
        ip.chain(rest).flatten().map(String::as_str).filter(|device| !exists(device)).collect()
    }
}

fn parse_gateway(value: &str) -> Result<(Option<String>, IpAddr), ConfigError> {
    let fields = ip::fields(value)?;
    match fields.as_slice() {
        [router] => Ok((None, ip::address("gateway", router)?)),
        [router, device] => Ok((Some(ip::device(device)?), ip::address("gateway", router)?)),
        _ => Err(ConfigError::new("gw", value, "<address> or <address>:<device>")),
    }
}

fn parse_mtu(value: &str) -> Result<(Option<String>, usize), ConfigError> {
    let (device, bytes) = match value.rsplit_once(':') {
        Some((device, bytes)) => (Some(ip::device(device)?), bytes),
        None => (None, value),
    };
    let mtu = bytes.parse().ok().filter(|mtu| (576..=65_535).contains(mtu));
    mtu.map(|mtu| (device, mtu)).ok_or_else(|| ConfigError::new("mtu", bytes, "a number from 576 to 65535"))
}

#[cfg(test)]
mod tests;
