//! The way out: next hop, send credits, what became of a message (LNet specification sections 4.7 and 5.4).

use super::Lnet;
use super::credits::Class;
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
            if let Some(peer) = self.peers.borrow().find(nid) {
                return Ok(peer.clone());
            }
            return self.add_peer(net, *nid).ok_or(NoHop::TableFull);
        }
        let routes = self.routes.borrow();
        // Whatever comes from a router that we would send it to is going round: there is no hop limit in LNet.
        if from.is_some_and(|from| routes.leads_through(net, from)) {
            return Err(NoHop::Loop);
        }
        routes.select(net).cloned().ok_or(NoHop::NoRoute)
    }

    /// Whether this node is on the network.
    pub(super) fn is_local(&self, net: NetId) -> bool {
        self.nis.borrow().iter().any(|ni| ni.net == net)
    }

    /// Begins to remember a neighbour, at the NI of its network whose link is up.
    pub(super) fn add_peer(&self, net: NetId, nid: Nid) -> Option<Rc<PeerNi>> {
        let ni = {
            let nis = self.nis.borrow();
            let mut on_net = nis.iter().filter(|ni| ni.net == net);
            let first = on_net.next()?;
            if first.up.get() {
                first.clone()
            } else {
                on_net.find(|ni| ni.up.get()).unwrap_or(first).clone()
            }
        };
        let credits = self.config.borrow().peer_buffer_credits;
        self.peers.borrow_mut().add(PeerNi::new(ni, nid, credits), self.handle.now())
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
    pub(super) fn sent(&self, mut message: Message, result: Result<(), SendError>) {
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
            Err(error) => {
                self.note_loss(&to, error);
                if message.tag.routed {
                    let reason = match error {
                        SendError::NotExpressible => &statistics.drops.not_expressible,
                        _ => &statistics.drops.send_failed,
                    };
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
    pub(super) fn purge_ni(&self, ni: &super::ni::Ni) {
        for sending in ni.tx.all() {
            while let Some(message) = sending.pop() {
                self.sent(message, Err(SendError::Down));
            }
        }
    }
}

/// What a message counts in `tx_q_num_of_buf`.
fn wire_bytes(message: &Message) -> u64 {
    Header::SMALL as u64 + u64::from(message.header.payload_length)
}
