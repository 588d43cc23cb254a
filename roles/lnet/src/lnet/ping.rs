//! What this node says of itself, and what others say of themselves: pings, discovery, pushes (LNet
//! specification sections 5.6 to 5.8).

use super::local::Source;
use super::nodes::Node;
use super::peer::PeerNi;
use super::requests::RequestError;
use super::show::RoutingState;
use super::{Lnet, PutArgs, peer_state};
use crate::buffers::Payload;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_exec::sync::Semaphore;
use keelson_lnet_wire::message::{Header, Put, Wmd};
use keelson_lnet_wire::nid::{LUSTRE_PID, Nid, ProcessId};
use keelson_lnet_wire::ping::{Entry, Features, MAX_INTERFACES, PingError, PingInfo, Status};

/// The longest ping information that is taken: as many large entries as a peer may have.
pub(super) const LONGEST_PUSH: u32 = 32 + 24 * MAX_INTERFACES;
/// Pushes that wait for their ACK at once.
const PUSHES_AT_ONCE: usize = 16;
/// How long a push waits for its ACK before the next peer gets its place. The peer hears of the change with its
/// next ping in any case.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads ping information, wherever it lies.
pub(super) fn decode(payload: &Payload, most: u32) -> Result<PingInfo, PingError> {
    match payload.as_slice() {
        Some(bytes) => PingInfo::decode(bytes, most),
        None => PingInfo::decode(&payload.slices().flatten().copied().collect::<Vec<u8>>(), most),
    }
}

/// What a change of our own information is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// NIDs or features: the sequence number goes up, if anybody has seen the current one.
    Contents,
    /// The status of a NID: the sequence number stays, as on Linux.
    Status,
}

/// Our ping information.
pub(super) struct OwnInfo {
    pub sequence: u32,
    /// Somebody was told what goes with this sequence number.
    pub told: bool,
    /// Its encoded form.
    pub bytes: Vec<u8>,
    /// Goes up with every change; peers that were pushed an older one are pushed again.
    pub generation: u64,
}

impl Lnet {
    /// Builds our ping information anew, and lets the multi-rail peers know.
    pub(super) fn info_changed(&self, change: Change) {
        let mut own = self.own.borrow_mut();
        if change == Change::Contents && own.told {
            own.sequence = own.sequence.wrapping_add(1);
            own.told = false;
        }
        let status = |up: bool| if up { Status::Up } else { Status::Down };
        let nis = self.nis.borrow();
        let entries = nis.iter().map(|ni| Entry { nid: ni.nid, status: status(ni.up.get()) }).collect();
        let mut features = self.features();
        // As on Linux, the node is known by its first NID. Peers that know no IPv6 NIDs (before 2.16) take the
        // first one that they can read.
        if nis.first().is_some_and(|ni| ni.nid.is_large()) {
            features |= Features::PRIMARY_LARGE;
        }
        own.bytes = PingInfo::new(features, own.sequence, entries).encode();
        own.generation += 1;
        self.push_wanted.notify();
    }

    fn features(&self) -> Features {
        let mut features = Features::NI_STATUS | Features::MULTI_RAIL;
        if self.config.borrow().discovery {
            features |= Features::DISCOVERY;
        }
        if self.routing.get() != RoutingState::Enabled {
            features |= Features::RTE_DISABLED;
        }
        features
    }

    /// Our ping information from `offset` on, at most `room` bytes of it.
    pub(super) fn own_info(&self, offset: u32, room: u32) -> Payload {
        self.own.borrow_mut().told = true;
        let own = self.own.borrow();
        let bytes = own.bytes.get(offset as usize..).unwrap_or_default();
        let bytes = bytes.get(..room as usize).unwrap_or(bytes);
        let mut payload = self.pieces.payload(bytes.len());
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let place = payload.from_mut(at);
            let len = place.len().min(rest.len());
            place[..len].copy_from_slice(&rest[..len]);
            at += len;
        }
        payload
    }

    /// A node pushes what it says of itself.
    pub(super) fn take_push(&self, from: &Rc<PeerNi>, header: &Header, payload: &Payload) {
        let source = header.src_nid;
        // A neighbour speaks for itself, for its other NIDs, and as a router for whom we have asked before.
        let known = self.nodes.borrow().find(&source).cloned();
        let same_node = known.as_ref().is_some_and(|node| node.has(&from.nid));
        let behind_router = source.net() != from.nid.net() && known.is_some();
        if source != from.nid && !same_node && !behind_router {
            return;
        }
        let most = self.config.borrow().max_interfaces;
        match decode(payload, most) {
            Ok(info) if !info.features.contains(Features::MULTI_RAIL) => {
                log::debug!(target: "lnet", "{source} pushed information although it is not multi-rail: ignored");
            }
            Ok(info) => {
                self.learn(source, &info);
            }
            Err(error) => log::debug!(target: "lnet", "push of {source} ignored: {error}"),
        }
    }

    /// Takes up what the node at `source` says of itself.
    pub(super) fn learn(&self, source: Nid, info: &PingInfo) -> Option<Rc<Node>> {
        let discovery = self.config.borrow().discovery;
        let told_multi_rail = info.features.contains(Features::MULTI_RAIL);
        let told_discovery = info.features.contains(Features::DISCOVERY);
        let multi_rail = discovery && told_multi_rail && told_discovery;
        let mut state = peer_state::DISCOVERED | peer_state::NIDS_UPTODATE;
        if multi_rail {
            state |= peer_state::MULTI_RAIL;
        }
        if !discovery || !told_discovery {
            state |= peer_state::NO_DISCOVERY;
        }
        if !info.features.contains(Features::RTE_DISABLED) {
            state |= peer_state::ROUTER_ENABLED;
        }
        let foreign = |nid: &Nid| {
            let gateway = *nid != source && self.routes.borrow().gateway(nid).is_some();
            !self.is_own(nid) && nid.ip().is_some() && !gateway
        };
        let nids: Vec<Nid> = match multi_rail {
            true => info.entries.iter().map(|entry| entry.nid).filter(foreign).collect(),
            false => Vec::new(),
        };
        let primary = info.primary().filter(|nid| multi_rail && nids.contains(nid)).unwrap_or(source);
        let node = self.nodes.borrow_mut().update(source, primary, &nids, state)?;
        node.learnt.set(self.handle.now());
        self.gateway_says(source, &node, info);
        if node.listens() && node.pushed.get() != self.own.borrow().generation {
            self.push_wanted.notify();
        }
        Some(node)
    }

    /// Asks a node what it has to say of itself, and tells it what we have to say if it wants to know (section
    /// 5.8). The node's information is returned.
    pub async fn discover(&self, to: ProcessId, timeout: Duration) -> Result<PingInfo, RequestError> {
        let deadline = self.handle.now() + timeout;
        let generation = self.own.borrow().generation;
        let (info, source) = match self.ping_from(Source::Leaving, to, timeout).await {
            Ok(answer) => answer,
            Err(error) => {
                if let Some(node) = self.nodes.borrow().find(&to.nid) {
                    node.set(peer_state::PING_FAILED);
                }
                return Err(error);
            }
        };
        // The answer came from the NID that was asked, or from whoever knew our handle; that is not taken as a
        // name.
        if source != to.nid {
            return Ok(info);
        }
        let Some(node) = self.learn(source, &info) else { return Ok(info) };
        // What is being pushed right now is followed by another push, if it is out of date.
        if node.listens() && !node.is_being_pushed() {
            node.pushed.set(generation);
            self.push_to(&node, to, deadline - self.handle.now()).await?;
        }
        Ok(info)
    }

    async fn push_to(&self, node: &Node, to: ProcessId, timeout: Duration) -> Result<(), RequestError> {
        let payload = self.own_info(0, u32::MAX);
        let Put { portal, match_bits, hdr_data, offset, .. } = Put::push(Wmd::NONE);
        let args = PutArgs { portal, match_bits, hdr_data, offset };
        let under_way = UnderWay::new(self, node);
        let result = self.put_acked(None, to, args, payload, timeout).await;
        drop(under_way);
        node.clear(peer_state::PUSH_FAILED);
        if result.is_err() {
            node.set(peer_state::PUSH_FAILED);
        }
        result.map(|_| ())
    }

    /// Pushes our information to the multi-rail peers whenever it has changed: a few at once, the others after
    /// them, and to each of them one after another, as a Linux router does. Of two that come together a Linux
    /// peer may take the older one, because a change of status does not change the sequence number.
    pub(super) async fn push_for_ever(self: Rc<Self>) {
        let places = Semaphore::new(PUSHES_AT_ONCE);
        loop {
            let wanted = self.push_wanted.notified();
            let generation = self.own.borrow().generation;
            let outdated: Vec<Rc<Node>> = {
                let nodes = self.nodes.borrow();
                let wants = |node: &&Rc<Node>| {
                    node.listens() && node.pushed.get() != generation && !node.is_being_pushed()
                };
                nodes.iter().filter(wants).cloned().collect()
            };
            for node in outdated {
                let place = places.acquire().await;
                let Some(nid) = self.way_to(&node).filter(|_| !node.is_being_pushed()) else { continue };
                node.pushed.set(generation);
                node.set(peer_state::PUSH_SENT);
                let lnet = self.clone();
                self.handle.spawn("lnet-push", async move {
                    let to = ProcessId { nid, pid: LUSTRE_PID };
                    if let Err(error) = lnet.push_to(&node, to, PUSH_TIMEOUT).await {
                        log::debug!(target: "lnet", "push to {nid} failed: {error}");
                    }
                    drop(place);
                });
            }
            wanted.await;
        }
    }

    /// Whether all nodes that want to hear of changes, and can be reached, have acknowledged the last one.
    pub fn everybody_knows(&self) -> bool {
        let generation = self.own.borrow().generation;
        let waits = |node: &Rc<Node>| {
            let outdated = node.listens() && node.pushed.get() != generation;
            node.is_being_pushed() || (outdated && self.way_to(node).is_some())
        };
        !self.nodes.borrow().iter().any(waits)
    }

    /// The NID by which a node is reached best: that of a neighbour we are connected to, else any on a network
    /// that there is a way to. None when the node is dead, as far as we know, or behind a link that is down: what
    /// is sent there arrives when it is back, and is wrong then.
    fn way_to(&self, node: &Node) -> Option<Nid> {
        let peers = self.peers.borrow();
        let nids = node.nids.borrow();
        let connected =
            |nid: &&Nid| peers.find(nid).is_some_and(|peer| peer.connected.get() && peer.ni.up.get());
        let remote =
            |nid: &&Nid| !self.is_local(nid.net()) && self.routes.borrow().select(nid.net()).is_some();
        nids.iter().find(connected).or_else(|| nids.iter().find(remote)).copied()
    }
}

/// A push that waits for its ACK. When it ends, however it does, it is looked whether there is more to push.
struct UnderWay<'a> {
    lnet: &'a Lnet,
    node: &'a Node,
}

impl<'a> UnderWay<'a> {
    fn new(lnet: &'a Lnet, node: &'a Node) -> UnderWay<'a> {
        node.set(peer_state::PUSH_SENT);
        UnderWay { lnet, node }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.node.clear(peer_state::PUSH_SENT);
        self.lnet.push_wanted.notify();
    }
}
