//! Nodes: which NIDs belong together, as far as their owners have told.

use super::peer_state;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use keelson_hal::{Entropy, Instant};
use keelson_lnet_wire::nid::Nid;
use keelson_net::hash::{Key, KeyedMap};

/// A node that has said what it is.
pub(crate) struct Node {
    pub primary: Cell<Nid>,
    /// All its NIDs.
    pub nids: RefCell<Vec<Nid>>,
    /// Bits of [`peer_state`].
    pub state: Cell<u32>,
    /// Generation of our own information that it was pushed last; 0: none.
    pub pushed: Cell<u64>,
    /// When it last said what it is.
    pub learnt: Cell<Instant>,
}

impl Node {
    pub fn is_multi_rail(&self) -> bool {
        self.state.get() & peer_state::MULTI_RAIL != 0
    }

    /// Our information is on its way to it, and not acknowledged yet.
    pub fn is_being_pushed(&self) -> bool {
        self.state.get() & peer_state::PUSH_SENT != 0
    }

    /// An administrator named it: its NIDs are not for it to say.
    pub fn is_configured(&self) -> bool {
        self.state.get() & peer_state::CONFIGURED != 0
    }

    /// It wants to hear of our changes.
    pub fn listens(&self) -> bool {
        let state = self.state.get();
        self.is_multi_rail() && state & peer_state::DISCOVERED != 0 && state & peer_state::NO_DISCOVERY == 0
    }

    pub fn has(&self, nid: &Nid) -> bool {
        self.nids.borrow().contains(nid)
    }

    pub fn set(&self, bits: u32) {
        self.state.set(self.state.get() | bits);
    }

    pub fn clear(&self, bits: u32) {
        self.state.set(self.state.get() & !bits);
    }
}

/// All nodes, by each of their NIDs.
pub(crate) struct Nodes {
    table: KeyedMap<Nid, Rc<Node>>,
    /// NIDs that are remembered at most.
    max: usize,
}

impl Nodes {
    pub fn new(entropy: &dyn Entropy, max: usize) -> Nodes {
        Nodes { table: KeyedMap::with_hasher(Key::new(entropy)), max }
    }

    pub fn find(&self, nid: &Nid) -> Option<&Rc<Node>> {
        self.table.get(nid)
    }

    /// Takes up what the node at `source` says: that it has these NIDs, the first of which is `primary`. NIDs
    /// that another node has claimed stay there. `None` when the table is full.
    pub fn update(&mut self, source: Nid, primary: Nid, nids: &[Nid], state: u32) -> Option<Rc<Node>> {
        let known = self.table.get(&source).cloned();
        if let Some(node) = known.as_ref().filter(|node| node.is_configured()) {
            const KEPT: u32 = peer_state::CONFIGURED | peer_state::MULTI_RAIL | peer_state::PUSH_SENT;
            node.state.set(node.state.get() & KEPT | state & !KEPT);
            return known;
        }
        // Who was listed by another node, and now speaks for itself without it, is no part of that one.
        let node = match known {
            Some(node) if source == node.primary.get() || nids.contains(&node.primary.get()) => node,
            Some(other) if other.has(&primary) && primary != source => other,
            stranger => {
                if let Some(other) = stranger {
                    other.nids.borrow_mut().retain(|nid| *nid != source);
                    self.table.remove(&source);
                }
                if self.table.len() >= self.max {
                    return None;
                }
                let node = Rc::new(Node {
                    primary: Cell::new(source),
                    nids: RefCell::new(vec![source]),
                    state: Cell::new(0),
                    pushed: Cell::new(0),
                    learnt: Cell::new(Instant::ZERO),
                });
                self.table.insert(source, node.clone());
                node
            }
        };
        node.state.set(state | node.state.get() & peer_state::PUSH_SENT);
        let mut kept = vec![source];
        for nid in nids {
            let owner = self.table.get(nid);
            let free = owner.is_none_or(|owner| Rc::ptr_eq(owner, &node));
            let room = owner.is_some() || self.table.len() < self.max;
            if free && room && *nid != source {
                self.table.insert(*nid, node.clone());
                kept.push(*nid);
            }
        }
        if kept.contains(&primary) {
            node.primary.set(primary);
            kept.sort_by_key(|nid| nids.iter().position(|listed| listed == nid));
        } else {
            node.primary.set(source);
        }
        let before = node.nids.replace(kept);
        for nid in before.iter().filter(|nid| !node.has(nid)) {
            self.table.remove(nid);
        }
        Some(node)
    }

    /// Enters a node with these NIDs, none of which any other has.
    pub fn enter(&mut self, primary: Nid, nids: Vec<Nid>, state: u32) {
        let node = Rc::new(Node {
            primary: Cell::new(primary),
            nids: RefCell::default(),
            state: Cell::new(state),
            pushed: Cell::new(0),
            learnt: Cell::new(Instant::ZERO),
        });
        self.extend(&node, &nids);
    }

    /// Gives a node more NIDs, none of which any other has.
    pub fn extend(&mut self, node: &Rc<Node>, nids: &[Nid]) {
        node.nids.borrow_mut().extend(nids);
        self.table.extend(nids.iter().map(|nid| (*nid, node.clone())));
    }

    /// Whether so many NIDs more can be remembered.
    pub fn has_room_for(&self, nids: usize) -> bool {
        self.table.len() + nids <= self.max
    }

    /// Forgets some nodes.
    pub fn retain(&mut self, keep: impl Fn(&Rc<Node>) -> bool) {
        self.table.retain(|_, node| keep(node));
    }

    /// Forgets whose a NID is.
    pub fn drop_nid(&mut self, nid: &Nid) {
        self.table.remove(nid);
    }

    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// Each node once.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<Node>> {
        self.table.iter().filter(|(nid, node)| **nid == node.primary.get()).map(|(_, node)| node)
    }
}
