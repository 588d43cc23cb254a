//! The way out: next hop, send credits, what became of a message (LNet specification sections 4.7 and 5.4).

use super::Lnet;
use super::counters::Count;
use super::credits::Class;
use super::health::HealthError;
use super::ni::Ni;
use super::peer::PeerNi;
use super::tag::Stage;
use crate::lnd::SendError;
use crate::message::Message;
use alloc::rc::Rc;
use alloc::vec::Vec;
use keelson_lnet_wire::message::Header;
use keelson_lnet_wire::nid::{NetId, Nid};

/// Why there is no next hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoHop {
    /// No route to the network, or none that is up.
    NoRoute,
    /// The NID is on a network of ours, but none of our NIs there has an address of its kind (IPv4, IPv6).
    NoFamily,
    /// The message came from the very gateway that leads there.
    Loop,
    /// The table of peers is full.
    TableFull,
}

impl Lnet {
    /// The neighbour that takes a message for `nid` that came from `from`.
    pub(super) fn next_hop(&self, nid: &Nid, from: Option<&Rc<PeerNi>>) -> Result<Rc<PeerNi>, NoHop> {
        let net = nid.net();
        if self.is_local(net) {
            // A neighbour of the other kind can have connected to us, but we cannot connect to it.
            let known = self.peers.borrow().find(nid).cloned();
            if let Some(peer) = known.filter(|peer| peer.connected.get() || same_family(&peer.ni.nid, nid)) {
                return Ok(peer);
            }
            return self.add_peer(*nid);
        }
        let routes = self.routes.borrow();
        // Whatever comes from a router that we would send it to is going round: there is no hop limit in LNet.
        if from.is_some_and(|from| routes.leads_through(net, from)) {
            return Err(NoHop::Loop);
        }
        routes.select(net).cloned().ok_or(NoHop::NoRoute)
    }

    /// The neighbour that takes a message for `nid` that leaves through the NI of `own`.
    pub(super) fn next_hop_through(&self, own: &Nid, nid: &Nid) -> Result<Rc<PeerNi>, NoHop> {
        let ni = self.nis.borrow().iter().find(|ni| ni.nid == *own).cloned().ok_or(NoHop::NoRoute)?;
        if nid.net() == ni.net {
            let known = self.peers.borrow().find_at(&ni, nid).cloned();
            return match known {
                Some(peer) => Ok(peer),
                None if same_family(own, nid) => self.remember(ni, *nid),
                None => Err(NoHop::NoFamily),
            };
        }
        let through = |peer: &PeerNi| peer.ni.id == ni.id;
        self.routes.borrow().select_if(nid.net(), through).cloned().ok_or(NoHop::NoRoute)
    }

    /// Whether this node is on the network.
    pub(super) fn is_local(&self, net: NetId) -> bool {
        self.nis.borrow().iter().any(|ni| ni.net == net)
    }

    /// Begins to remember a neighbour, at an NI that can reach it: on its network, with an address of its kind,
    /// with a link if there is one.
    fn add_peer(&self, nid: Nid) -> Result<Rc<PeerNi>, NoHop> {
        let ni = {
            let nis = self.nis.borrow();
            let mut on_net = nis.iter().filter(|ni| ni.net == nid.net() && same_family(&ni.nid, &nid));
            let first = on_net.next().ok_or(NoHop::NoFamily)?;
            if first.up.get() {
                first.clone()
            } else {
                on_net.find(|ni| ni.up.get()).unwrap_or(first).clone()
            }
        };
        self.remember(ni, nid)
    }

    fn remember(&self, ni: Rc<Ni>, nid: Nid) -> Result<Rc<PeerNi>, NoHop> {
        let credits = self.config.borrow().peer_buffer_credits;
        let added = self.peers.borrow_mut().add(PeerNi::new(ni, nid, credits), self.handle.now());
        added.ok_or(NoHop::TableFull)
    }

    /// Sends a message to a neighbour, when its credits allow.
    pub(super) fn launch(&self, to: &Rc<PeerNi>, mut message: Message) {
        let class = Class::of(message.header.payload_length);
        let sending = to.tx.of(class);
        sending.credits.take();
        if message.tag.to.as_ref().is_none_or(|known| !Rc::ptr_eq(known, to)) {
            message.tag.redirect(to);
        }
        if sending.has_room() {
            self.pass(to, class, message);
        } else {
            message.tag.set_stage(Stage::WaitsForPeer, class);
            to.tx_bytes.set(to.tx_bytes.get() + wire_bytes(&message));
            sending.push(message);
        }
    }

    /// Goes on with a message that has the credit of its next hop.
    fn pass(&self, to: &Rc<PeerNi>, class: Class, mut message: Message) {
        let (peer, ni) = (to.tx.of(class), to.ni.tx.of(class));
        peer.start();
        ni.credits.take();
        // The first message of a neighbour goes out even so: others that take nothing shall not stop it.
        if ni.has_room() || peer.under_way.get() == 1 {
            self.hand_over(to, class, message);
        } else {
            message.tag.set_stage(Stage::WaitsForNi, class);
            ni.push(message);
        }
    }

    fn hand_over(&self, to: &Rc<PeerNi>, class: Class, mut message: Message) {
        to.ni.tx.of(class).start();
        message.tag.set_stage(Stage::Sending, class);
        if self.faults.any_for_sending()
            && let Some(error) = self.faults.judge_sending(&message.header, to.ni.nid, self.handle.now())
        {
            return self.faults.fail(message, error);
        }
        match (self.lnd.get(), to.ni.id) {
            (Some(lnd), Some(id)) if !to.ni.removed.get() => lnd.send(id, to.nid, message),
            _ => self.sent(message, Err(SendError::Down)),
        }
    }

    /// Sends what waited for the credits that have come back.
    fn pump(&self, to: &Rc<PeerNi>, class: Class) {
        let (peer, ni) = (to.tx.of(class), to.ni.tx.of(class));
        while ni.has_room() {
            let Some(message) = ni.pop() else { break };
            let Some(hop) = message.tag.to.clone() else { continue };
            self.hand_over(&hop, class, message);
        }
        while peer.has_room() {
            let Some(message) = peer.pop() else { break };
            to.tx_bytes.set(to.tx_bytes.get() - wire_bytes(&message));
            self.pass(to, class, message);
        }
    }

    /// A message has been sent, or is lost.
    pub(super) fn sent(&self, message: Message, result: Result<(), SendError>) {
        let error = result.err();
        self.ended(message, result, |to| {
            if let Some(error) = error {
                self.note_loss(to, error);
            }
            match error {
                Some(SendError::NotExpressible) => &self.books.statistics.drops.not_expressible,
                _ => &self.books.statistics.drops.send_failed,
            }
        });
    }

    /// A message is lost because a fault rule says so.
    pub(super) fn failed_on_purpose(&self, message: Message, error: HealthError) {
        self.ended(message, Err(error.as_sent()), |to| {
            self.books.statistics.of(error).one();
            match error {
                HealthError::RemoteDropped => to.lost_dropped.one(),
                HealthError::NetworkTimeout => to.lost_timeout.one(),
                HealthError::RemoteError => to.lost_error.one(),
                _ => {}
            }
            &self.books.statistics.drops.fault_rule
        });
    }

    /// The end of a message that was handed over; `lost` notes its loss and tells what that counts as.
    fn ended<'a>(
        &'a self,
        mut message: Message,
        result: Result<(), SendError>,
        lost: impl FnOnce(&PeerNi) -> &'a Count,
    ) {
        let (_, class) = message.tag.stage();
        message.tag.release_sending();
        let Some(to) = message.tag.to.clone() else { return };
        let Header { kind, payload_length, .. } = message.header;
        let statistics = &self.books.statistics;
        match result {
            Ok(()) => {
                to.ni.traffic.sent.one(kind);
                to.traffic.sent.one(kind);
                if message.tag.routed {
                    statistics.routed.one(payload_length);
                } else {
                    statistics.sent.one(payload_length);
                }
            }
            Err(_) => {
                let reason = lost(&to);
                if message.tag.routed {
                    self.count_drop(&to, &message.header, reason);
                }
            }
        }
        if message.tag.request != 0 {
            self.requests.borrow_mut().sent(message.tag.request, result);
        }
        drop(message);
        self.pump(&to, class);
    }

    fn note_loss(&self, to: &PeerNi, error: SendError) {
        let statistics = &self.books.statistics;
        match error {
            SendError::Unreachable => {
                statistics.remote_dropped.one();
                to.lost_dropped.one();
            }
            SendError::TimedOut => {
                statistics.network_timeout.one();
                to.lost_timeout.one();
            }
            SendError::Broken => {
                statistics.remote_error.one();
                to.lost_error.one();
            }
            SendError::NotExpressible => statistics.local_error.one(),
            SendError::Down => statistics.local_dropped.one(),
        }
    }

    /// Gives up what waits for a neighbour: routed messages when it is dead, all when its NI goes.
    pub(super) fn purge(&self, to: &Rc<PeerNi>, error: SendError) {
        let removed = to.ni.removed.get();
        for class in [Class::Small, Class::Bulk] {
            let sending = to.tx.of(class);
            let waiting: Vec<Message> = sending.queue.borrow_mut().drain(..).collect();
            for mut message in waiting {
                if !message.tag.routed && !removed {
                    sending.push(message);
                    continue;
                }
                to.tx_bytes.set(to.tx_bytes.get() - wire_bytes(&message));
                message.tag.release_sending();
                self.note_loss(to, error);
                if message.tag.routed {
                    self.count_drop(to, &message.header, &self.books.statistics.drops.next_hop_dead);
                }
                if message.tag.request != 0 {
                    self.requests.borrow_mut().sent(message.tag.request, Err(error));
                }
            }
        }
    }

    /// Gives up what waits for the credits of an NI that goes.
    pub(super) fn purge_ni(&self, ni: &Ni) {
        for sending in ni.tx.all() {
            while let Some(message) = sending.pop() {
                self.sent(message, Err(SendError::Down));
            }
        }
    }
}

/// Whether an NI with one of these NIDs can connect to the other.
fn same_family(a: &Nid, b: &Nid) -> bool {
    a.is_large() == b.is_large()
}

/// Whether the connections of a neighbour carry these NIDs: those between IPv4 NIDs have the 72-byte header, which
/// has no room for others (LNet specification section 4.8).
pub(super) fn carries(next: &PeerNi, header: &Header) -> bool {
    let small = !header.dest_nid.is_large() && !header.src_nid.is_large();
    small || next.nid.is_large() || next.ni.nid.is_large()
}

/// What a message counts in `tx_q_num_of_buf`.
fn wire_bytes(message: &Message) -> u64 {
    Header::SMALL as u64 + u64::from(message.header.payload_length)
}
