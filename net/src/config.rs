//! What an interface is configured with.
use crate::addr::Cidr;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

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
