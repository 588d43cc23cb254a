//! Many LNet nodes that share one stack, and so one socket LND with one listener: it is the host's, the nodes know
//! nothing of each other.
//!
//! An NI of a node has a number in which the upper half names the node, so that the LND, which goes by the number,
//! keeps everything of different nodes apart.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use keelson_lnet::lnd::{
    Disposition, Lnd, LndConnectionStatus, LndNi, LndPeerStatus, LndUpper, NiId, SendError,
};
use keelson_lnet::lnet::Lnet;
use keelson_lnet::message::Message;
use keelson_lnet::socklnd::Socklnd;
use keelson_lnet_wire::message::Header;
use keelson_lnet_wire::nid::{Nid, ProcessId};

/// Numbers that the NIs of one node may have.
const NIS: u32 = 1 << 8;

/// The nodes.
#[derive(Default)]
pub struct Crowd {
    nodes: RefCell<Vec<Rc<Lnet>>>,
}

/// What a node knows of a peer.
type PeerOf = <Lnet as LndUpper>::Peer;

impl Crowd {
    /// Adds a node and connects it to the LND.
    pub fn add(&self, node: &Rc<Lnet>, lnd: &Rc<Socklnd<Crowd>>) {
        let mut nodes = self.nodes.borrow_mut();
        let first = nodes.len() as u32 * NIS;
        node.attach(Rc::new(Share { lnd: Rc::downgrade(lnd), first }));
        nodes.push(node.clone());
    }

    fn node(&self, ni: NiId) -> Option<(Rc<Lnet>, NiId)> {
        let node = self.nodes.borrow().get((ni.0 / NIS) as usize)?.clone();
        Some((node, NiId(ni.0 % NIS)))
    }
}

impl LndUpper for Crowd {
    type Peer = (Rc<Lnet>, PeerOf);

    fn peer(&self, ni: NiId, nid: Nid) -> Option<Self::Peer> {
        let (node, ni) = self.node(ni)?;
        let peer = node.peer(ni, nid)?;
        Some((node, peer))
    }

    async fn arrived(&self, (node, peer): &Self::Peer, header: &Header) -> Disposition {
        node.arrived(peer, header).await
    }

    fn received(&self, (node, peer): &Self::Peer, message: Message) {
        node.received(peer, message);
    }

    fn finished(&self, ni: NiId, to: Nid, message: Message, result: Result<(), SendError>) {
        if let Some((node, ni)) = self.node(ni) {
            node.finished(ni, to, message, result);
        }
    }

    fn peer_up(&self, ni: NiId, peer: ProcessId) {
        if let Some((node, ni)) = self.node(ni) {
            node.peer_up(ni, peer);
        }
    }

    fn peer_down(&self, ni: NiId, nid: Nid, failed: bool) {
        if let Some((node, ni)) = self.node(ni) {
            node.peer_down(ni, nid, failed);
        }
    }
}

/// One node's part of the LND.
struct Share {
    lnd: Weak<Socklnd<Crowd>>,
    first: u32,
}

impl Share {
    fn number(&self, ni: NiId) -> NiId {
        assert!(ni.0 < NIS, "a node of a crowd has had {NIS} NIs");
        NiId(self.first + ni.0)
    }

    fn with(&self, act: impl FnOnce(&Socklnd<Crowd>)) {
        if let Some(lnd) = self.lnd.upgrade() {
            act(&lnd);
        }
    }
}

impl Lnd for Share {
    fn add_ni(&self, ni: LndNi) {
        let ni = LndNi { id: self.number(ni.id), ..ni };
        self.with(|lnd| lnd.add_ni(ni));
    }

    fn remove_ni(&self, ni: NiId) {
        self.with(|lnd| lnd.remove_ni(self.number(ni)));
    }

    fn send(&self, ni: NiId, to: Nid, message: Message) {
        self.with(|lnd| lnd.send(self.number(ni), to, message));
    }

    fn disconnect(&self, ni: NiId, nid: Nid) {
        self.with(|lnd| lnd.disconnect(self.number(ni), nid));
    }

    fn peers(&self) -> Vec<LndPeerStatus> {
        let all = self.lnd.upgrade().map(|lnd| lnd.peers()).unwrap_or_default();
        let own = all.into_iter().filter(|peer| peer.ni.0 / NIS == self.first / NIS);
        own.map(|peer| LndPeerStatus { ni: NiId(peer.ni.0 % NIS), ..peer }).collect()
    }

    fn connections(&self) -> Vec<LndConnectionStatus> {
        let all = self.lnd.upgrade().map(|lnd| lnd.connections()).unwrap_or_default();
        let own = all.into_iter().filter(|connection| connection.ni.0 / NIS == self.first / NIS);
        own.map(|connection| LndConnectionStatus { ni: NiId(connection.ni.0 % NIS), ..connection }).collect()
    }
}
