//! What is known of one node (section 9.3).

use super::profile::PeerProfile;
use crate::l4::links::MAX_LINKS;
use crate::link::{LinkAddress, LinkId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::names;

/// How far a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeState {
    /// Its address is known, and nothing more.
    Learned,
    /// Its address is being asked for.
    Resolving,
    /// It has a connection that works.
    Up,
    /// It did not answer.
    Failed,
}

/// What the kernel interface has to do with a node: decides how soon silence is noticed, and whether an idle
/// connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// KIF connections to and from it.
    pub connections: usize,
    /// Transactions that wait for it.
    pub waiting: usize,
}

/// A node other than this one.
#[derive(Debug)]
pub struct Entry {
    /// Its number: the low half of its descriptors.
    pub nr: u16,
    /// As it spells it.
    pub name: Box<str>,
    /// As it spells it; empty when not known.
    pub domain: Box<str>,
    /// Its address on each of our links.
    pub addresses: [Option<LinkAddress>; MAX_LINKS],
    /// Another address that used its name: of another adapter, or of another node (section 9.4).
    pub other: Option<(LinkId, LinkAddress)>,
    /// Both addresses use the name in turn.
    pub dup: bool,
    /// Whether it is in `/net`.
    pub listed: bool,
    /// How far it is.
    pub state: NodeState,
    /// When it was heard last.
    pub last_heard: Instant,
    /// No connection is opened before.
    pub hold_until: Instant,
    /// Nobody else is considered for its name before.
    pub claims_from: Instant,
    /// Its number for us; 0 unknown.
    pub remote_nd: u16,
    /// Its ways.
    pub profile: PeerProfile,
    /// Changes whenever it was started anew.
    pub epoch: u32,
    /// Smoothed round-trip time of its connections.
    pub srtt: Option<Duration>,
    /// What KIF has to do with it: nothing until KIF says so.
    pub usage: Usage,
    /// Connections to it.
    pub tx: Vec<u32>,
    /// Connections from it.
    pub rx: Vec<u32>,
}

impl Entry {
    pub(crate) fn new(nr: u16, name: &str, domain: &str) -> Entry {
        Entry {
            nr,
            name: name.into(),
            domain: domain.into(),
            addresses: [None; MAX_LINKS],
            other: None,
            dup: false,
            listed: false,
            state: NodeState::Learned,
            last_heard: Instant::ZERO,
            hold_until: Instant::ZERO,
            claims_from: Instant::ZERO,
            remote_nd: 0,
            profile: PeerProfile::default(),
            epoch: 0,
            srtt: None,
            usage: Usage::default(),
            tx: Vec::new(),
            rx: Vec::new(),
        }
    }

    /// Its address on a link.
    #[inline]
    pub fn address(&self, link: LinkId) -> Option<LinkAddress> {
        self.addresses.get(usize::from(link.0)).copied().flatten()
    }

    /// Whether it is known under an address.
    #[inline]
    pub fn has_address(&self, link: LinkId, address: LinkAddress) -> bool {
        self.address(link) == Some(address) || self.other == Some((link, address))
    }

    /// Whether any address is known.
    pub fn is_resolved(&self) -> bool {
        self.addresses.iter().any(Option::is_some)
    }

    pub(crate) fn set_address(&mut self, link: LinkId, address: LinkAddress) {
        if let Some(slot) = self.addresses.get_mut(usize::from(link.0)) {
            *slot = Some(address);
        }
    }

    /// Takes the other address that uses its name. False when there is none.
    pub(crate) fn swap_address(&mut self) -> bool {
        let Some((link, address)) = self.other.take() else { return false };
        self.other = self.address(link).map(|address| (link, address));
        self.set_address(link, address);
        true
    }

    /// The name by which `/net` shows it: with its domain, unless that is ours (section 11.1, point 4).
    pub fn shown(&self, own_domain: &str) -> Shown<'_> {
        let domain = if names::domains_match(&self.domain, own_domain) { "" } else { &*self.domain };
        Shown { name: &self.name, domain }
    }
}

/// A name and, where it needs one, a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown<'a> {
    /// Host name.
    pub name: &'a str,
    /// Domain, or empty.
    pub domain: &'a str,
}

impl core::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name)?;
        if self.domain.is_empty() { Ok(()) } else { write!(f, ".{}", self.domain) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_shown() {
        let shown = |domain, own| Entry::new(1, "karl", domain).shown(own).to_string();
        assert_eq!(shown("lab.test", "LAB.test"), "karl");
        assert_eq!(shown("other.domain", "lab.test"), "karl.other.domain");
        assert_eq!((shown("", "lab"), shown("lab", "")), ("karl".to_string(), "karl".to_string()));
    }

    #[test]
    fn two_addresses() {
        let mac = |last| LinkAddress::Mac([2, 0, 0, 0, 0, last]);
        let mut entry = Entry::new(1, "karl", "");
        assert!(!entry.swap_address() && !entry.is_resolved());
        entry.set_address(LinkId(1), mac(1));
        entry.other = Some((LinkId(1), mac(2)));
        assert!(entry.has_address(LinkId(1), mac(1)) && entry.has_address(LinkId(1), mac(2)));
        assert!(!entry.has_address(LinkId(0), mac(1)));
        assert!(entry.swap_address());
        assert_eq!((entry.address(LinkId(1)), entry.other), (Some(mac(2)), Some((LinkId(1), mac(1)))));
    }
}
