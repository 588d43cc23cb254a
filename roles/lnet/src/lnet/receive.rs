//! The way in: what becomes of a message (LNet specification section 4.5), and the back-pressure on those who
//! send more than there is room for.

use super::counters::{Count, Drops};
use super::credits::{Class, Gate, Queue};
use super::fault::Fate;
use super::peer::{Charge, PeerNi};
use super::pools::Pools;
use super::requests::Awaited;
use super::send::NoHop;
use super::tag::Tag;
use super::{Life, Lnet, ping};
use crate::lnd::{Disposition, LndUpper, NiId, SendError};
use crate::message::Message;
use crate::portal::Delivery;
use alloc::rc::Rc;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_lnet_wire::message::{Header, Kind, LNET_MTU};
use keelson_lnet_wire::nid::{NetId, Nid};

/// A message that waits for a buffer asks for one of the reserve this often, once it has waited long enough.
const RESCUE_INTERVAL: Duration = Duration::from_millis(250);

/// What is done with a message.
enum Verdict {
    /// It is lost; the count says why.
    Drop(fn(&Drops) -> &Count),
    /// It is for this node.
    Local,
    /// It goes to this neighbour.
    Forward(Rc<PeerNi>),
}

/// The end of a wait.
enum Turn {
    /// What was waited for is there.
    Served,
    /// It takes long.
    Overdue,
    /// It will not come.
    Refused,
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

    fn peer_up(&self, ni: NiId, nid: Nid) {
        let Some(peer) = self.peer_at(ni, &nid) else { return };
        peer.connected.set(true);
        peer.revive();
        if peer.routes.get() > 0 {
            self.check_gateways.notify();
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
            Ok(next) if !next.is_given_up() || next.takes_probe(self.handle.now()) => Verdict::Forward(next),
            Ok(_) => Verdict::Drop(|drops| &drops.next_hop_dead),
            Err(NoHop::Loop) => Verdict::Drop(|drops| &drops.loops),
            Err(NoHop::TableFull) => Verdict::Drop(|drops| &drops.no_peer),
            Err(NoHop::NoRoute) => {
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

    /// Takes the credit and the buffer that a message needs, waiting for them if need be. While this waits, the
    /// connection is not read. `None` when there is no more use in waiting.
    async fn hold(
        &self,
        from: &Rc<PeerNi>,
        to: &Rc<PeerNi>,
        charge: Option<Charge>,
        len: u32,
    ) -> Option<Tag> {
        let mut tag = Tag::incoming(&self.books, from);
        let pools = &self.books.pools;
        let mut overdue = Instant::ZERO;
        if let Some(charge) = charge {
            let gate = from.gate(charge);
            if !gate.try_take() {
                let mut place = AtGate { gate, ticket: gate.join(), served: false };
                overdue = self.overdue();
                loop {
                    match self.turn(&gate.queue, place.ticket, overdue, to).await {
                        Turn::Served => break,
                        Turn::Refused => return None,
                        Turn::Overdue => {
                            if let Some(buffer) = pools.rescue(to, len) {
                                tag.hold_buffer(to, buffer);
                                return Some(tag);
                            }
                            overdue = self.handle.now() + RESCUE_INTERVAL;
                        }
                    }
                }
                place.served = true;
            }
            tag.hold_credit(charge);
        }
        // What is for this node and has no payload needs no memory either.
        if len == 0 && Rc::ptr_eq(to, &self.this_node) {
            tag.to = Some(to.clone());
            return Some(tag);
        }
        if let Some(buffer) = pools.try_take(to, len) {
            tag.hold_buffer(to, buffer);
            return Some(tag);
        }
        if overdue == Instant::ZERO {
            overdue = self.overdue();
        }
        let mut place = AtPool { pools, hop: to, ticket: pools.join(to, len), len, served: false };
        let queue = &pools.lane(to, len).queue;
        let buffer = loop {
            match self.turn(queue, place.ticket, overdue, to).await {
                Turn::Served => break pools.served(to, place.ticket, len)?,
                Turn::Refused => return None,
                Turn::Overdue => {
                    if let Some(buffer) = pools.rescue(to, len) {
                        tag.hold_buffer(to, buffer);
                        return Some(tag);
                    }
                    overdue = self.handle.now() + RESCUE_INTERVAL;
                }
            }
        };
        place.served = true;
        tag.hold_buffer(to, buffer);
        Some(tag)
    }

    fn overdue(&self) -> Instant {
        self.handle.now() + self.config.borrow().rescue_after
    }

    /// Waits for a turn in a queue, at most until `overdue`, and only while the next hop is worth waiting for.
    async fn turn(&self, queue: &Queue, ticket: u64, overdue: Instant, to: &Rc<PeerNi>) -> Turn {
        let mut sleep = self.handle.sleep_until(overdue);
        poll_fn(|cx| {
            if queue.is_served(ticket) {
                return Poll::Ready(Turn::Served);
            }
            if self.gave_up(to) {
                return Poll::Ready(Turn::Refused);
            }
            if Pin::new(&mut sleep).poll(cx).is_ready() {
                return Poll::Ready(Turn::Overdue);
            }
            queue.watch(ticket, cx.waker());
            Poll::Pending
        })
        .await
    }

    fn gave_up(&self, to: &Rc<PeerNi>) -> bool {
        let local = Rc::ptr_eq(to, &self.this_node);
        self.life.get() == Life::Stopped || (!local && (!self.forwards() || to.is_given_up()))
    }
}

/// A place in the queue for a sender's credits. Given up when dropped.
struct AtGate<'a> {
    gate: &'a Gate,
    ticket: u64,
    served: bool,
}

impl Drop for AtGate<'_> {
    fn drop(&mut self) {
        if !self.served {
            self.gate.leave(self.ticket);
        }
    }
}

/// A place in the queue for a next hop's buffers. Given up when dropped.
struct AtPool<'a> {
    pools: &'a Pools,
    hop: &'a Rc<PeerNi>,
    ticket: u64,
    len: u32,
    served: bool,
}

impl Drop for AtPool<'_> {
    fn drop(&mut self) {
        if !self.served {
            self.pools.leave(self.hop, self.ticket, self.len);
        }
    }
}
