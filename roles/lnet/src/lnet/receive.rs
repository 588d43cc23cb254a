//! The way in: what becomes of a message (LNet specification section 4.5).

use super::counters::{Count, Drops};
use super::credits::Class;
use super::fault::Fate;
use super::peer::{Charge, PeerNi};
use super::requests::Awaited;
use super::send::{NoHop, carries};
use super::{Life, Lnet, ping};
use crate::lnd::{Disposition, LndUpper, NiId, SendError};
use crate::message::Message;
use crate::portal::Delivery;
use alloc::rc::Rc;
use keelson_lnet_wire::message::{Header, Kind, LNET_MTU};
use keelson_lnet_wire::nid::{LUSTRE_PID, NetId, Nid, ProcessId};

/// What is done with a message.
enum Verdict {
    /// It is lost; the count says why.
    Drop(fn(&Drops) -> &Count),
    /// It is for this node.
    Local,
    /// It goes to this neighbour.
    Forward(Rc<PeerNi>),
}

impl LndUpper for Lnet {
    type Peer = Rc<PeerNi>;

    fn peer(&self, ni: NiId, nid: Nid) -> Option<Rc<PeerNi>> {
        if self.life.get() != Life::Running
            || nid == Nid::ANY
            || nid.net() == NetId::LOOPBACK
            || self.is_own(&nid)
        {
            return None;
        }
        let ni = self.nis.borrow().iter().find(|known| known.id == Some(ni)).cloned()?;
        if nid.net() != ni.net {
            return None;
        }
        if let Some(peer) = self.peers.borrow().find_at(&ni, &nid) {
            return Some(peer.clone());
        }
        let credits = self.config.borrow().peer_buffer_credits;
        self.peers.borrow_mut().add(PeerNi::new(ni, nid, credits), self.handle.now())
    }

    async fn arrived(&self, from: &Rc<PeerNi>, header: &Header) -> Disposition {
        if header.payload_length > LNET_MTU {
            return Disposition::Fatal("payload of more than 1 MiB");
        }
        let mut verdict = self.judge(from, header);
        let mut delay = None;
        if self.faults.any() && !matches!(&verdict, Verdict::Drop(_)) {
            match self.faults.judge(header, from.ni.nid, self.handle.now()) {
                Fate::Pass => {}
                Fate::Drop => verdict = Verdict::Drop(|drops| &drops.fault_rule),
                Fate::Delay(span) => delay = Some(span),
            }
        }
        let tag = match verdict {
            Verdict::Drop(reason) => {
                self.count_drop(from, header, reason(&self.books.statistics.drops));
                return Disposition::Skip;
            }
            Verdict::Local => {
                // Requests are bounded by their sender's credits, so that nobody can pile up answers.
                let request = matches!(header.kind, Kind::Get | Kind::Put);
                let charge = request.then_some(Charge::Local);
                self.hold(from, &self.this_node, charge, header.payload_length).await
            }
            Verdict::Forward(next) => {
                let charge = Charge::Routed(Class::of(header.payload_length));
                let probe = next.is_given_up();
                let tag = self.hold(from, &next, Some(charge), header.payload_length).await;
                tag.map(|mut tag| {
                    tag.set_routed();
                    tag.probe = probe;
                    tag
                })
            }
        };
        let Some(mut tag) = tag else {
            let drops = &self.books.statistics.drops;
            let reason = if self.forwards() { &drops.next_hop_dead } else { &drops.not_routing };
            self.count_drop(from, header, reason);
            return Disposition::Skip;
        };
        tag.delay = delay;
        let payload = self.pieces.payload(header.payload_length as usize);
        Disposition::Take(Message { header: *header, payload, tag })
    }

    fn received(&self, from: &Rc<PeerNi>, mut message: Message) {
        let kind = message.header.kind;
        from.heard(self.handle.now());
        from.ni.traffic.received.one(kind);
        from.traffic.received.one(kind);
        if from.routes.get() > 0 && message.header.src_nid.net() != from.nid.net() {
            self.gateway_forwards(from);
        }
        match message.tag.delay.take() {
            None => self.dispatch(message),
            Some(span) => {
                if let Some(message) = self.faults.hold_back(self.handle.now() + span, message) {
                    self.dispatch(message);
                }
            }
        }
    }

    fn finished(&self, _ni: NiId, _to: Nid, message: Message, result: Result<(), SendError>) {
        self.sent(message, result);
    }

    fn peer_up(&self, ni: NiId, who: ProcessId) {
        let Some(peer) = self.peer_at(ni, &who.nid) else { return };
        peer.connected.set(true);
        peer.revive();
        if peer.routes.get() > 0 {
            self.check_gateways.notify();
        }
        if who.pid == LUSTRE_PID {
            self.made_contact(&peer);
        }
    }

    fn peer_down(&self, ni: NiId, nid: Nid, failed: bool) {
        let Some(peer) = self.peer_at(ni, &nid) else { return };
        peer.connected.set(false);
        if failed {
            if !peer.is_dead() && peer.routes.get() > 0 {
                log::warn!(target: "lnet", "gateway {nid} was lost: its routes are down until it is back");
            }
            peer.died(self.handle.now());
            self.purge(&peer, SendError::Unreachable);
        }
    }
}

impl Lnet {
    fn peer_at(&self, ni: NiId, nid: &Nid) -> Option<Rc<PeerNi>> {
        let ni = self.nis.borrow().iter().find(|known| known.id == Some(ni)).cloned()?;
        self.peers.borrow().find_at(&ni, nid).cloned()
    }

    /// Rows 5 to 12 of section 4.5; rows 1 to 3 are errors of the header's decoder.
    fn judge(&self, from: &Rc<PeerNi>, header: &Header) -> Verdict {
        let ni = &from.ni;
        if header.dest_nid == ni.nid || self.is_own(&header.dest_nid) {
            return self.judge_local(from, header);
        }
        // Linux closes the connection here; one misdirected message shall not disturb the others.
        if header.dest_nid.net() == ni.net {
            return Verdict::Drop(|drops| &drops.misdirected);
        }
        if !self.forwards() {
            return Verdict::Drop(|drops| &drops.not_routing);
        }
        match self.next_hop(&header.dest_nid, Some(from)) {
            // Now rather than when it would be sent: its payload shall not take a buffer for nothing.
            Ok(next) if !carries(&next, header) => Verdict::Drop(|drops| &drops.not_expressible),
            Ok(next) if !next.is_given_up() || next.takes_probe(self.handle.now()) => Verdict::Forward(next),
            Ok(_) => Verdict::Drop(|drops| &drops.next_hop_dead),
            Err(NoHop::Loop) => Verdict::Drop(|drops| &drops.loops),
            Err(NoHop::TableFull) => Verdict::Drop(|drops| &drops.no_peer),
            Err(NoHop::NoRoute | NoHop::NoFamily) => {
                self.books.statistics.local_no_route.one();
                Verdict::Drop(|drops| &drops.no_route)
            }
        }
    }

    fn judge_local(&self, from: &Rc<PeerNi>, header: &Header) -> Verdict {
        let source_net = header.src_nid.net();
        if source_net != from.nid.net()
            && self.config.borrow().drop_asym_route
            && !self.is_local(source_net)
            && !self.routes.borrow().leads_through(source_net, from)
        {
            return Verdict::Drop(|drops| &drops.asymmetric);
        }
        let welcome = match header.kind {
            Kind::Ack => {
                let awaits = |awaited| awaited == Awaited::Ack;
                self.requests.borrow().awaited(&header.ack().dst_wmd, awaits).is_some()
            }
            Kind::Reply => {
                let len = header.payload_length;
                let awaits = |awaited| matches!(awaited, Awaited::Reply(room) if len <= room);
                self.requests.borrow().awaited(&header.reply().dst_wmd, awaits).is_some()
            }
            Kind::Get => {
                let get = header.get();
                get.is_ping() || self.portal(get.portal).is_some()
            }
            Kind::Put => {
                let put = header.put();
                if put.is_push() {
                    header.payload_length <= ping::LONGEST_PUSH
                } else {
                    let delivery = Delivery::of(header, from.nid);
                    self.portal(put.portal).is_some_and(|portal| portal.admits(&delivery))
                }
            }
        };
        if welcome { Verdict::Local } else { Verdict::Drop(|drops| &drops.unmatched) }
    }

    /// A message is lost on its way from or to `peer`.
    pub(super) fn count_drop(&self, peer: &PeerNi, header: &Header, reason: &Count) {
        reason.one();
        self.books.statistics.dropped.one(header.payload_length);
        peer.traffic.dropped.one(header.kind);
        peer.ni.traffic.dropped.one(header.kind);
    }

    /// Goes on with a message that is complete.
    pub(super) fn dispatch(&self, mut message: Message) {
        if !message.tag.routed {
            self.deliver(message);
            return;
        }
        let Some(mut next) = message.tag.to.clone() else { return };
        if next.is_given_up() && !message.tag.probe {
            // It died meanwhile; a route through another gateway may be left.
            let other = self.next_hop(&message.header.dest_nid, message.tag.from.as_ref());
            match other.ok().filter(|other| !other.is_given_up()) {
                Some(other) => {
                    message.tag.redirect(&other);
                    next = other;
                }
                None => {
                    self.count_drop(&next, &message.header, &self.books.statistics.drops.next_hop_dead);
                    return;
                }
            }
        }
        self.launch(&next, message);
    }
}
