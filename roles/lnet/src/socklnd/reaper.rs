//! One task that watches everything with a time limit (lnet specification section 3.11), a part of the peers in
//! each tick, so that nothing on the path of a message touches a timer.

use super::Socklnd;
use super::connection::{Connection, Ending, Watch};
use super::peer::{Heard, Peer};
use crate::lnd::{LndUpper, SendError};
use alloc::rc::Rc;
use core::time::Duration;
use keelson_hal::Instant;

/// The longest tick, and how exact the age of queued messages is.
const TICK: Duration = Duration::from_secs(1);
/// Ticks in T at least.
const TICKS: u32 = 16;

impl<U: LndUpper> Socklnd<U> {
    /// Ticks for ever.
    pub(super) async fn reap(self: Rc<Self>) {
        let timeout = self.config.timeout;
        let tick = TICK.min(timeout / TICKS).max(Duration::from_millis(1));
        // Each peer is looked at four times in T, and in time for its keepalive.
        let round =
            if self.config.keepalive.is_zero() { timeout } else { timeout.min(self.config.keepalive) } / 4;
        let slices = usize::try_from((round.as_nanos() / tick.as_nanos()).max(1)).unwrap_or(1);
        let mut at = 0;
        loop {
            self.handle.sleep(tick).await;
            let now = self.handle.now();
            self.coarse_now.set(now);
            let peers = self.order.borrow().len();
            for _ in 0..peers.div_ceil(slices) {
                at = if at < self.order.borrow().len() { at } else { 0 };
                let peer = self.order.borrow().get(at).cloned();
                let Some(peer) = peer else { break };
                self.examine(&peer, now);
                at += 1;
            }
        }
    }

    fn examine(self: &Rc<Self>, peer: &Rc<Peer<U>>, now: Instant) {
        if !peer.can_send() {
            self.expire(peer, now);
        }
        let mut bytes = 0;
        let mut n = 0;
        loop {
            let connection = peer.connections.borrow().get(n).cloned();
            let Some(connection) = connection else { break };
            if self.is_stuck(&connection, now) {
                return;
            }
            bytes += connection.received.get();
            n += 1;
        }
        if n > 0 {
            self.keep_alive(peer, bytes, now);
        }
        self.forget_if_idle(peer);
    }

    /// Returns messages that have waited too long for a connection.
    fn expire(&self, peer: &Peer<U>, now: Instant) {
        let age = now - Instant::ZERO;
        let Some(limit) = age.checked_sub(self.config.timeout) else { return };
        loop {
            let message = peer.queues.borrow_mut().pop_older(Instant::ZERO + limit);
            let Some(message) = message else { return };
            self.lose(peer, message, SendError::TimedOut);
        }
    }

    /// Closes a connection that makes no progress although it should; true when it did.
    fn is_stuck(self: &Rc<Self>, connection: &Connection<U>, now: Instant) -> bool {
        let nid = connection.peer.key.nid;
        let received = connection.received.get();
        // A peer need not go on while we do not read.
        let waits_for_peer = connection.inside.get() && !connection.parked.get();
        if self.stands_still(&connection.watch_in, received, waits_for_peer, now) {
            self.warn(format_args!(
                "LNet: closing the connections to {nid}: silent in the middle of a message"
            ));
            let failed = Ending::Failed(SendError::Broken);
            self.close(connection, failed, &self.counters.closed_stalled_in);
            return true;
        }
        let unacknowledged = connection.write.unacknowledged() as u64;
        let (written, partly) = {
            let tx = connection.tx.borrow();
            (tx.written, tx.has_message())
        };
        let pending = unacknowledged > 0 || partly;
        if self.stands_still(&connection.watch_out, written.saturating_sub(unacknowledged), pending, now) {
            self.warn(format_args!("LNet: closing the connections to {nid}: it took nothing for too long"));
            let failed = Ending::Failed(SendError::TimedOut);
            self.close(connection, failed, &self.counters.closed_stalled_out);
            return true;
        }
        false
    }

    /// True when `bytes` has been the same for T while something was pending.
    fn stands_still(&self, watch: &core::cell::Cell<Watch>, bytes: u64, pending: bool, now: Instant) -> bool {
        let Watch { bytes: before, since } = watch.get();
        if !pending || bytes != before {
            watch.set(Watch { bytes, since: now });
            return false;
        }
        now - since >= self.config.timeout
    }

    /// Sends a NOOP to a peer that has been silent; at most one in a third of the time that makes it silent.
    fn keep_alive(&self, peer: &Peer<U>, bytes: u64, now: Instant) {
        let Heard { bytes: before, at, probed } = peer.heard.get();
        let after = self.config.keepalive;
        if bytes != before {
            peer.heard.set(Heard { bytes, at: now, probed });
        } else if !after.is_zero() && now - at >= after && now - probed >= after / 3 {
            peer.heard.set(Heard { bytes, at, probed: now });
            peer.probe();
        }
    }
}
