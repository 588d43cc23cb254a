//! What this node is called (section 11.1).

use crate::link::LinkAddress;
use alloc::string::{String, ToString};
use core::fmt;
use keelson_qnet_wire::frame::Mac;
use keelson_qnet_wire::names::{self, MacName, NameError};

/// A name that a node cannot have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdentityError {
    /// The host name.
    Name(NameError),
    /// The domain.
    Domain(NameError),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Name(error) => write!(f, "host {error}; set _CS_HOSTNAME or host= to a valid one"),
            IdentityError::Domain(error) => write!(f, "domain {error}; set _CS_DOMAIN to a valid one"),
        }
    }
}

impl core::error::Error for IdentityError {}

/// Host name and domain as configured, and the name that follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    name: String,
    domain: String,
    /// The name is that of an adapter: there was none, or another node had it.
    from_address: bool,
}

impl Identity {
    /// From the host name (the option `host=`, else `_CS_HOSTNAME`) and the domain (`_CS_DOMAIN`), which may be empty.
    pub fn new(host: &str, domain: &str) -> Result<Identity, IdentityError> {
        let from_address = names::is_unnamed(host);
        if !from_address {
            names::node_name(host.as_bytes()).map_err(IdentityError::Name)?;
        }
        if !domain.is_empty() {
            names::domain(domain.as_bytes()).map_err(IdentityError::Domain)?;
        }
        let name = if from_address { String::new() } else { host.to_string() };
        Ok(Identity { name, domain: domain.to_string(), from_address })
    }

    /// The node's name; empty until there is an adapter to take it from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's domain, or empty.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Takes the name of an adapter, if this node has none yet. True when it changed.
    pub fn adapter(&mut self, address: LinkAddress) -> bool {
        let wanted = self.from_address && self.name.is_empty();
        if wanted {
            self.rename(address);
        }
        wanted
    }

    /// Takes the name of an adapter instead of the one it has.
    pub fn rename(&mut self, address: LinkAddress) {
        let mac = match address {
            LinkAddress::Mac(mac) => Mac(mac),
            // Without an adapter of its own the address stands in for it.
            LinkAddress::Ipv4(address) => {
                let [a, b, c, d] = address.octets();
                Mac([0, 0, a, b, c, d])
            }
        };
        self.name = MacName::new(mac).to_string();
        self.from_address = true;
    }

    /// Whether a name with a domain (or none) is this node's.
    pub fn matches(&self, name: &str, domain: &str) -> bool {
        names::same_name(&self.name, name) && names::domains_match(&self.domain, domain)
    }

    /// Whether another node calls itself exactly so (section 9.4).
    pub fn is_same(&self, name: &str, domain: &str) -> bool {
        names::same_name(&self.name, name) && self.domain.eq_ignore_ascii_case(domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_adapters() {
        let mac = |last| LinkAddress::Mac([0, 0x0c, 0x29, 0xdd, 0x35, last]);
        for host in ["", "localhost", "LocalHost"] {
            let mut identity = Identity::new(host, "").unwrap();
            assert_eq!(identity.name(), "");
            assert!(identity.adapter(mac(0x28)));
            assert!(!identity.adapter(mac(0x29)), "the first adapter's");
            assert_eq!(identity.name(), "EAdd3528");
        }
        let mut named = Identity::new("alpha", "lab").unwrap();
        assert!(!named.adapter(mac(1)));
        named.rename(LinkAddress::Ipv4([192, 0, 2, 1].into()));
        assert_eq!(named.name(), "EA201");
    }

    #[test]
    fn matching() {
        let identity = Identity::new("Alpha", "lab.test").unwrap();
        assert!(identity.matches("alpha", "LAB.test") && identity.matches("ALPHA", ""));
        assert!(!identity.matches("alpha", "other") && !identity.matches("beta", "lab.test"));
        assert!(identity.is_same("alpha", "lab.TEST") && !identity.is_same("alpha", ""));
        assert!(matches!(Identity::new("a.b", ""), Err(IdentityError::Name(_))));
        assert!(matches!(Identity::new("a", ".b"), Err(IdentityError::Domain(_))));
    }
}
