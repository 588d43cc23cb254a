//! Peers that an administrator names: `lnetctl peer add` and `peer del`.
//!
//! As on Linux, the NIDs of such a peer are what the administrator says, whatever it says of itself; what it can do is
//! still learnt from it. A router needs none of this: it decides where the pushes of a peer are believed from, and
//! what `peer show` puts together.

use super::{Lnet, peer_state};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use keelson_lnet_wire::nid::Nid;

/// A peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerConfig {
    /// The NID by which it is known (`--prim_nid`).
    pub primary: Nid,
    /// Its other NIDs (`--nid`).
    pub nids: Vec<Nid>,
    /// Whether its NIDs are used as one (`--non_mr`: not).
    pub multi_rail: bool,
}

/// Why a peer is not added or taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerError {
    /// No node can have this NID.
    Invalid(Nid),
    /// The NID is one of ours.
    Own(Nid),
    /// The NID belongs to another peer that was named: this one.
    Taken(Nid, Nid),
    /// The peer is there, and is not to be changed between multi-rail and not.
    OtherKind(Nid),
    /// A peer that is not multi-rail has one NID on a network.
    SecondOnNet(Nid),
    /// There is no such peer, or it has no such NID.
    Unknown(Nid),
    /// The NID is not the primary one of its peer: this is.
    NotPrimary(Nid, Nid),
    /// There are routes through it.
    Gateway(Nid),
    /// The table of peers is full.
    TooMany,
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerError::Invalid(nid) => write!(f, "{nid} cannot be the NID of a peer"),
            PeerError::Own(nid) => write!(f, "{nid} is a NID of this node"),
            PeerError::Taken(nid, primary) => write!(f, "{nid} belongs to the configured peer {primary}"),
            PeerError::OtherKind(nid) => {
                write!(f, "{nid} is configured already, with another --non_mr: delete it first")
            }
            PeerError::SecondOnNet(nid) => {
                write!(f, "{nid} is a second NID on its network, which only a multi-rail peer may have")
            }
            PeerError::Unknown(nid) => write!(f, "no peer {nid} is known"),
            PeerError::NotPrimary(nid, primary) => {
                write!(f, "{nid} is not the primary NID of its peer, that is {primary}")
            }
            PeerError::Gateway(nid) => write!(f, "{nid} is a router: delete the routes through it first"),
            PeerError::TooMany => f.write_str("too many peers are known"),
        }
    }
}

impl core::error::Error for PeerError {}

impl Lnet {
    /// Adds a peer, or NIDs to one that was added before. What was learnt about these NIDs is forgotten.
    ///
    /// # Errors
    ///
    /// See [`PeerError`]; nothing is changed then.
    pub fn add_peer_config(&self, config: &PeerConfig) -> Result<(), PeerError> {
        for nid in [config.primary].iter().chain(&config.nids) {
            if nid.ip().is_none() {
                return Err(PeerError::Invalid(*nid));
            }
            if self.is_own(nid) {
                return Err(PeerError::Own(*nid));
            }
        }
        self.nodes.borrow_mut().configure(config)
    }

    /// Takes a peer away, or some of its NIDs, and closes the connections to them: whatever it sends from now on, it is
    /// a peer that nobody knows. Without NIDs, or with its primary one, all of it goes.
    ///
    /// # Errors
    ///
    /// See [`PeerError`]; nothing is changed then.
    pub fn del_peer(&self, primary: Nid, nids: &[Nid]) -> Result<(), PeerError> {
        let node = self.nodes.borrow().find(&primary).cloned();
        let all = match &node {
            Some(node) if node.primary.get() != primary => {
                return Err(PeerError::NotPrimary(primary, node.primary.get()));
            }
            Some(node) => node.nids.borrow().clone(),
            // A neighbour that has not said anything of itself.
            None if self.peers.borrow().find(&primary).is_some() => Vec::from([primary]),
            None => return Err(PeerError::Unknown(primary)),
        };
        if let Some(nid) = nids.iter().find(|nid| !all.contains(nid)) {
            return Err(PeerError::Unknown(*nid));
        }
        let whole = nids.is_empty() || nids.contains(&primary);
        let gone = if whole { &all[..] } else { nids };
        if let Some(nid) = gone.iter().find(|nid| self.routes.borrow().gateway(nid).is_some()) {
            return Err(PeerError::Gateway(*nid));
        }
        gone.iter().for_each(|nid| self.nodes.borrow_mut().take_away(nid));
        gone.iter().for_each(|nid| self.forget_neighbour(nid));
        Ok(())
    }

    /// Ends the connections to a neighbour. Whoever still holds its record sees it to its end; the next message makes a
    /// new one.
    fn forget_neighbour(&self, nid: &Nid) {
        let nis: Vec<_> = {
            let peers = self.peers.borrow();
            peers.iter().filter(|peer| peer.nid == *nid).filter_map(|peer| peer.ni.id).collect()
        };
        self.peers.borrow_mut().retain(|peer| peer.nid != *nid);
        for ni in nis {
            if let Some(lnd) = self.lnd.get() {
                lnd.disconnect(ni, *nid);
            }
        }
    }
}

impl super::nodes::Nodes {
    /// Enters a peer that was named.
    fn configure(&mut self, config: &PeerConfig) -> Result<(), PeerError> {
        let PeerConfig { primary, ref nids, multi_rail } = *config;
        let configured = |nid: &Nid| self.find(nid).filter(|node| node.is_configured());
        let known = configured(&primary).cloned();
        let mut all = Vec::from([primary]);
        if let Some(node) = &known {
            if node.primary.get() != primary {
                return Err(PeerError::Taken(primary, node.primary.get()));
            }
            if node.is_multi_rail() != multi_rail {
                return Err(PeerError::OtherKind(primary));
            }
            all.clone_from(&node.nids.borrow());
        }
        for nid in nids {
            if let Some(owner) = configured(nid).filter(|owner| owner.primary.get() != primary) {
                return Err(PeerError::Taken(*nid, owner.primary.get()));
            }
            if all.contains(nid) {
                continue;
            }
            if !multi_rail && all.iter().any(|other| other.net() == nid.net()) {
                return Err(PeerError::SecondOnNet(*nid));
            }
            all.push(*nid);
        }
        let new: Vec<Nid> = all.iter().filter(|nid| configured(nid).is_none()).copied().collect();
        if !self.has_room_for(new.iter().filter(|nid| self.find(nid).is_none()).count()) {
            return Err(PeerError::TooMany);
        }
        new.iter().for_each(|nid| self.take_away(nid));
        let rail = if multi_rail { peer_state::MULTI_RAIL } else { 0 };
        match known {
            Some(node) => self.extend(&node, &new),
            None => self.enter(primary, all, peer_state::CONFIGURED | rail),
        }
        Ok(())
    }

    /// Takes a NID from the node that has it. With the primary one the whole node goes.
    fn take_away(&mut self, nid: &Nid) {
        let Some(node) = self.find(nid).cloned() else { return };
        if node.primary.get() == *nid {
            self.retain(|known| !Rc::ptr_eq(known, &node));
        } else {
            node.nids.borrow_mut().retain(|known| known != nid);
            self.drop_nid(nid);
        }
    }
}
