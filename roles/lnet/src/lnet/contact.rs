//! First contact: a router tells its neighbours what it is, without being asked.
//!
//! A peer that has been told that this router stops routing, or that has lost it, uses it again when it hears better:
//! from its own check, which may be a minute away, or from the router (LNet specification sections 5.8 and 5.9). A
//! router that has just booted knows nobody whom it could tell, but its peers make contact sooner or later.
//!
//! ```text
//!   peer_up --> queue of neighbours --(settled, its turn)--> GET ping --(multi-rail, with discovery)--> push, ACK
//! ```
//!
//! Once for each life of the connections of a neighbour; a neighbour is in the queue once at most, however often it
//! comes and goes. Routed messages never wait for any of this: it is done by tasks of its own, with messages that are
//! small, few at a time and paced, so that neither thousands who come at once nor some who do not answer are felt.

use super::peer::PeerNi;
use super::show::RoutingState;
use super::{Life, Lnet};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::time::Duration;
use keelson_exec::sync::{Notify, Semaphore};
use keelson_hal::Instant;
use keelson_lnet_wire::nid::{LUSTRE_PID, ProcessId};

/// How long a neighbour has to ask for itself, and to tell of itself, before it is asked: one that makes contact does so
/// as a rule because it checks this router.
const SETTLE: Duration = Duration::from_millis(250);
/// Neighbours that are asked or told at once.
const AT_ONCE: usize = 32;
/// The next one is asked after so much time: 500 a second, each of whom costs four small messages.
const PACE: Duration = Duration::from_millis(2);
/// How long a neighbour has for its answer and its ACK.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The neighbours that are to be told, and when at the earliest.
#[derive(Default)]
pub(super) struct Contacts {
    queue: RefCell<VecDeque<(Instant, Rc<PeerNi>)>>,
    more: Notify,
}

impl Contacts {
    pub fn clear(&self) {
        self.queue.borrow_mut().clear();
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.queue.borrow().len()
    }
}

impl Lnet {
    /// Whether neighbours are told.
    fn introduces_itself(&self) -> bool {
        self.life.get() == Life::Running
            && self.routing.get() == RoutingState::Enabled
            && self.config.borrow().discovery
    }

    /// A neighbour has connected, or was connected to. A gateway of ours is checked then, which tells it as well.
    pub(super) fn made_contact(&self, peer: &Rc<PeerNi>) {
        let checked = self.config.borrow().alive_router_check_interval > Duration::ZERO;
        if peer.routes.get() > 0 && checked {
            return;
        }
        let waits = peer.contact.replace(Some(self.handle.now())).is_some();
        // While others are told, whoever has made contact and was not told is in the queue.
        if self.introduces_itself() {
            self.books.statistics.contacts.made.one();
            if !waits {
                self.queue_contact(peer);
            }
        }
    }

    fn queue_contact(&self, peer: &Rc<PeerNi>) {
        let mut queue = self.contacts.queue.borrow_mut();
        if queue.len() >= self.config.borrow().max_peers {
            peer.contact.set(None);
            self.books.statistics.contacts.left_out.one();
            return;
        }
        queue.push_back((self.handle.now() + SETTLE, peer.clone()));
        drop(queue);
        self.contacts.more.notify();
    }

    /// Neighbours are told from now on: those that have made contact before, too.
    pub(super) fn queue_contacts(&self) {
        if !self.introduces_itself() {
            return;
        }
        self.contacts.clear();
        for peer in self.peers.borrow().iter().filter(|peer| peer.contact.get().is_some()) {
            if peer.connected.get() {
                self.books.statistics.contacts.made.one();
                self.queue_contact(peer);
            } else {
                peer.contact.set(None);
            }
        }
    }

    pub(super) async fn introduce_for_ever(self: Rc<Self>) {
        let places = Semaphore::new(AT_ONCE);
        loop {
            let more = self.contacts.more.notified();
            let next = self.contacts.queue.borrow_mut().pop_front();
            let Some((due, peer)) = next else {
                more.await;
                continue;
            };
            self.handle.sleep_until(due).await;
            let place = places.acquire().await;
            if !self.needs_introduction(&peer) {
                continue;
            }
            let lnet = self.clone();
            self.handle.spawn("lnet-contact", async move {
                lnet.introduce(&peer).await;
                drop(place);
            });
            self.handle.sleep(PACE).await;
        }
    }

    /// Whether a neighbour is still to be told now that it is its turn.
    fn needs_introduction(&self, peer: &Rc<PeerNi>) -> bool {
        // Otherwise it is queued again when neighbours are told again.
        if !self.introduces_itself() {
            return false;
        }
        let Some(made) = peer.contact.take() else { return false };
        let counts = &self.books.statistics.contacts;
        let peers = self.peers.borrow();
        let known = peers.find_at(&peer.ni, &peer.nid).is_some_and(|known| Rc::ptr_eq(known, peer));
        if !known || !peer.connected.get() || peer.is_dead() {
            counts.gone.one();
            return false;
        }
        let nodes = self.nodes.borrow();
        let spoke = nodes.find(&peer.nid).is_some_and(|node| node.listens() && node.learnt.get() > made);
        if spoke {
            counts.spoke_first.one();
        }
        !spoke
    }

    async fn introduce(&self, peer: &PeerNi) {
        let result = self.discover(ProcessId { nid: peer.nid, pid: LUSTRE_PID }, TIMEOUT).await;
        let listens = || self.nodes.borrow().find(&peer.nid).is_some_and(|node| node.listens());
        let counts = &self.books.statistics.contacts;
        match result {
            Ok(_) if listens() => counts.told.one(),
            Ok(_) => counts.without_discovery.one(),
            Err(error) => {
                counts.failed.one();
                log::debug!(target: "lnet", "{} was not told of this router: {error}", peer.nid);
            }
        }
    }
}
