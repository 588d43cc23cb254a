//! Names of clients: the configured table of hosts, then DNS.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Resolves names in both directions. Failures and time-outs are "unknown".
// Single-threaded executors: futures need no `Send` bound.
#[allow(async_fn_in_trait)]
pub trait Names: 'static {
    /// The name of an address.
    async fn reverse(&self, address: IpAddr) -> Option<String>;

    /// The addresses of a name.
    async fn forward(&self, name: &str) -> Vec<IpAddr>;
}

/// Knows no names.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl Names for NoNames {
    async fn reverse(&self, _address: IpAddr) -> Option<String> {
        None
    }

    async fn forward(&self, _name: &str) -> Vec<IpAddr> {
        Vec::new()
    }
}

/// `nfs.hosts=10.0.0.5=mail,10.0.0.6=ftp.example.org`: trusted as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostTable(Vec<(IpAddr, String)>);

impl HostTable {
    /// Parses the table; the error is the entry that is wrong.
    pub fn parse(text: &str) -> Result<HostTable, &str> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let parse = |entry| {
            let (address, name) = str::split_once(entry, '=').ok_or(entry)?;
            let address: IpAddr = address.parse().map_err(|_| entry)?;
            if name.is_empty() { Err(entry) } else { Ok((address.to_canonical(), name.into())) }
        };
        entries.map(parse).collect::<Result<_, _>>().map(HostTable)
    }

    /// The name of an address.
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == address).map(|(_, name)| &name[..])
    }

    /// The addresses of a name, in the order of the table.
    pub fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
        let named = |(_, known): &&(IpAddr, String)| known.eq_ignore_ascii_case(name);
        self.0.iter().filter(named).map(|(address, _)| *address).collect()
    }
}
