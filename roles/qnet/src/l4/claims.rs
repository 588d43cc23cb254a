//! Who has the name of a node that seems alive, and another address (sections 6.3 and 9.4).
//!
//! It may be that node after a change of its adapter, or another node that was given the same name. So the node is asked
//! where it was: it answers, and the newcomer is refused; or it does not, for long enough that lost frames are no
//! explanation, and the newcomer has the name. It waits for that without an answer, which comes before its own patience
//! with a TCS_INIT, two ticks, is over.
//!
//! A stranger can cause a question a second to each node that we have a connection with, and more only to one that does
//! not answer. Nothing of a node that answers is changed.

use super::tx::TxState;
use super::{Arrival, Single, Transport};
use crate::l4::links::MAX_LINKS;
use crate::link::LinkId;
use crate::nodes::{Learnt, NodeState};
use crate::sessions::{NodeNr, Qos};
use alloc::vec::Vec;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::l4::Header;

/// Questions before silence is believed. With a fifth of the frames lost each way, one in 200,000 living nodes would
/// not be heard.
const QUESTIONS: u32 = 12;
/// So many questions are asked in a tick: all of them take a tick and a half.
const A_TICK: u32 = 8;
/// Least time between two: peers farther away than this are not given up for their distance.
const LEAST_GAP: Duration = Duration::from_millis(25);
/// Ticks after a question to a node in which nobody else is heard who claims its name.
const PAUSE_TICKS: u32 = 5;
/// Names that are claimed at once; those who claim others are refused.
const MAX: usize = 16;

/// Somebody who waits for another node's name.
#[derive(Clone, Copy, Debug)]
struct Claim {
    node: NodeNr,
    /// Where its last TCS_INIT came from, and its header.
    arrival: Arrival,
    header: Header,
    shares_acks: bool,
    since: Instant,
    /// Questions that the node was asked.
    asked: u32,
    next: Instant,
}

/// All who wait.
#[derive(Default)]
pub(crate) struct Claims(Vec<Claim>);

impl Claims {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nobody waits for a node's name any more.
    pub fn forget(&mut self, node: NodeNr) {
        self.0.retain(|claim| claim.node != node);
    }
}

impl Transport {
    /// TCS_INIT in the name of a node that has a connection, from another address.
    pub(crate) fn on_claim(&mut self, node: NodeNr, arrival: Arrival, header: &Header, shares_acks: bool) {
        if let Some(claim) = self.claims.0.iter_mut().find(|claim| claim.node == node) {
            if (claim.arrival.link, claim.arrival.from) == (arrival.link, arrival.from) {
                // It asks again, perhaps for another connection.
                (claim.header, claim.shares_acks) = (*header, shares_acks);
                return;
            }
            return self.refuse(arrival, header);
        }
        let now = self.now;
        let may_ask = self.nodes.get(node.0).is_some_and(|entry| entry.claims_from <= now);
        if !may_ask || self.claims.0.len() >= MAX || !self.question(node) {
            return self.refuse(arrival, header);
        }
        self.counters.lr_claims += 1;
        let pause = self.options.ticks(PAUSE_TICKS);
        if let Some(entry) = self.nodes.get_mut(node.0) {
            entry.claims_from = now + pause;
        }
        let next = now + self.question_gap();
        let header = *header;
        self.claims.0.push(Claim { node, arrival, header, shares_acks, since: now, asked: 1, next });
        self.timers.bring_forward(self.single_key(Single::Claims), next);
    }

    fn question_gap(&self) -> Duration {
        (self.options.tick / A_TICK).max(LEAST_GAP)
    }

    /// Asks a node for a sign of life, wherever it is known to be: by a TCS_INIT for a connection that exists, which
    /// waits for nothing and changes nothing. False when that is not possible.
    fn question(&mut self, node: NodeNr) -> bool {
        let Some(entry) = self.nodes.get(node.0) else { return false };
        let is_begun = |id: &u32| self.tx.get(*id).is_some_and(|tx| tx.state != TxState::Resolving);
        match entry.tx.iter().copied().find(is_begun) {
            Some(id) => {
                for link in 0..MAX_LINKS {
                    // Nothing is sent where it has no address.
                    self.send_init(id, LinkId(link as u8));
                }
                true
            }
            None => {
                let qos = Qos { policy: self.options.policy, index: 0 };
                self.find_tx(node, qos).is_none() && self.open(node, qos).is_ok()
            }
        }
    }

    pub(crate) fn on_claims_timer(&mut self) {
        let now = self.now;
        while let Some(place) = self.claims.0.iter().position(|claim| claim.next <= now) {
            let claim = self.claims.0.swap_remove(place);
            self.decide(claim);
        }
        if let Some(next) = self.claims.0.iter().map(|claim| claim.next).min() {
            self.timers.set(self.single_key(Single::Claims), next);
        }
    }

    /// Whether the node has answered; if not, whether to ask once more.
    fn decide(&mut self, claim: Claim) {
        let Claim { node, arrival, ref header, since, asked, .. } = claim;
        let Some(entry) = self.nodes.get(node.0) else { return };
        let is_reachable = self.links.get(arrival.link).is_some_and(|link| link.is_up());
        if entry.last_heard > since || !is_reachable {
            return self.refuse(arrival, header);
        }
        // Without a connection it is known to be gone.
        if entry.state != NodeState::Up || asked >= QUESTIONS {
            return self.give_name(claim);
        }
        if !self.question(node) {
            return self.refuse(arrival, header);
        }
        let next = self.now + self.question_gap();
        self.claims.0.push(Claim { asked: asked + 1, next, ..claim });
    }

    /// A node is not where it was, and who came under its name is that node from now on.
    fn give_name(&mut self, claim: Claim) {
        let Claim { node, arrival, header, shares_acks, .. } = claim;
        self.counters.lr_claims_won += 1;
        self.node_failed(node.0, self.now);
        for id in self.nodes.get(node.0).map(|entry| entry.tx.clone()).unwrap_or_default() {
            self.tx_down(id, Errno::ESRCH);
        }
        for id in self.nodes.get(node.0).map(|entry| entry.rx.clone()).unwrap_or_default() {
            self.rx_down(id);
        }
        self.forget_answers(node);
        let Some(entry) = self.nodes.get_mut(node.0) else { return };
        entry.epoch = entry.epoch.wrapping_add(1);
        entry.dup = false;
        let (name, domain) = (entry.name.clone(), entry.domain.clone());
        if let Some((_, Learnt::Address)) = self.learn(&name, &domain, arrival) {
            self.counters.nd_changed += 1;
            self.admit(node, arrival, &header, shares_acks);
        }
    }
}
