//! Addresses of names for `bind=ip`: from DNS, or from a file of this node.

use crate::api::Credentials;
use crate::node::Node;
use crate::nodes::{Resolution, ResolveId, Resolver};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use core::net::{IpAddr, Ipv4Addr};
use keelson_net::Stack;
use keelson_qnet_wire::{Errno, names};

/// Largest file of addresses.
const FILE_MAX: usize = 1 << 20;

/// Asks the stack's name servers.
pub(super) fn dns(node: &Node, stack: &Stack) -> Rc<dyn Resolver> {
    Rc::new(Dns { node: node.clone(), stack: stack.clone() })
}

/// Reads a file anew for each name.
pub(super) fn file(node: &Node, path: &str) -> Rc<dyn Resolver> {
    Rc::new(File { node: node.clone(), path: path.into() })
}

struct Dns {
    node: Node,
    stack: Stack,
}

impl Resolver for Dns {
    fn resolve(&self, id: ResolveId, host: &str, domain: &str) -> Resolution {
        let name = if domain.is_empty() { String::from(host) } else { format!("{host}.{domain}") };
        let (node, stack) = (self.node.clone(), self.stack.clone());
        self.node.handle().spawn("qnet-dns", async move {
            let result = match stack.resolve(&name).await {
                Ok(addresses) => addresses.into_iter().find_map(v4).ok_or(Errno::ENOENT),
                Err(error) => {
                    log::debug!(target: "qnet", "{name}: {error}");
                    Err(Errno::ENOENT)
                }
            };
            node.resolved(id, result);
        });
        Resolution::Pending
    }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

struct File {
    node: Node,
    path: String,
}

impl Resolver for File {
    fn resolve(&self, id: ResolveId, host: &str, domain: &str) -> Resolution {
        let (node, path) = (self.node.clone(), self.path.clone());
        let (host, domain) = (String::from(host), String::from(domain));
        self.node.handle().spawn("qnet-hosts", async move {
            let files = node.files(&Credentials::default());
            let result = match files.read_to_end(&path, FILE_MAX).await {
                Ok(bytes) => find(&String::from_utf8_lossy(&bytes), &host, &domain).ok_or(Errno::ENOENT),
                Err(errno) => {
                    log::warn!(target: "qnet", "resolve=file:{path}: {errno}; make the file, with lines \"address name\"");
                    Err(Errno::ENOENT)
                }
            };
            node.resolved(id, result);
        });
        Resolution::Pending
    }
}

/// The address of a name in lines `address name ...`, as in `/etc/hosts`.
fn find(text: &str, host: &str, domain: &str) -> Option<Ipv4Addr> {
    let is_it = |name: &str| {
        let (name, of) = names::split_fqnn(name);
        names::same_name(name, host) && names::domains_match(of, domain)
    };
    text.lines().find_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(is_it).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_addresses() {
        let text =
            "# nodes\n::1 alpha\n10.0.0.1 alpha.lab.test\tA # first\n10.0.0.2 beta # alpha2\nx gamma\n";
        let found = |host, domain| find(text, host, domain).map(|address| address.to_string());
        assert_eq!(found("ALPHA", "lab.test").as_deref(), Some("10.0.0.1"));
        assert_eq!(found("a", "any").as_deref(), Some("10.0.0.1"));
        assert_eq!((found("alpha", "other"), found("alpha2", ""), found("gamma", "")), (None, None, None));
        assert_eq!(found("beta", "lab.test").as_deref(), Some("10.0.0.2"));
    }
}
