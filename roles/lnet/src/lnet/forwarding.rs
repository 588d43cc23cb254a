//! Forwarding on and off (LNet specification sections 5.1 and 5.12).
//!
//! ```text
//!                  on                     all peers have had time to ask
//!   Disabled ------------> Starting -------------------------------------> Enabled
//!      ^                      |                                            |    ^
//!      | buffers are empty    | off                                    off |    | on
//!      |                      v                                            v    |
//!      +------------------ Stopping <--------------------------------------+----+
//! ```
//!
//! Messages are forwarded in all states but the first; pings say so in the last only.

use super::ping::Change;
use super::show::RoutingState;
use super::{Life, Lnet};
use core::time::Duration;

/// How often a drain looks whether the buffers are empty.
pub(super) const DRAIN_STEP: Duration = Duration::from_secs(1);

/// What has passed through the router.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Routed {
    /// Messages that have been sent on.
    pub messages: u64,
    /// Messages that have come and are still here.
    pub under_way: u64,
}

impl Lnet {
    /// What has passed through the router so far.
    pub fn routed(&self) -> Routed {
        let statistics = &self.books.statistics;
        Routed { messages: statistics.routed.count.get(), under_way: statistics.routed_now.get() }
    }

    /// Whether messages for others are taken.
    pub(super) fn forwards(&self) -> bool {
        self.life.get() == Life::Running && self.routing.get() != RoutingState::Disabled
    }

    /// Whether this node forwards, and says so.
    pub fn routing_state(&self) -> RoutingState {
        self.routing.get()
    }

    /// Switches forwarding on or off, the way Lustre 2.17 does (section 5.12).
    ///
    /// On: messages are taken at once, and pings say so when all peers have had time to ask. Off: pings say so
    /// at once, and messages are taken until all peers have had time to ask and the buffers are empty.
    pub fn set_routing(&self, on: bool) {
        let (state, then) = match (on, self.routing.get()) {
            (true, RoutingState::Disabled) => (RoutingState::Starting, RoutingState::Enabled),
            (true, RoutingState::Stopping) => (RoutingState::Enabled, RoutingState::Enabled),
            (false, RoutingState::Enabled | RoutingState::Starting) => {
                (RoutingState::Stopping, RoutingState::Disabled)
            }
            _ => return,
        };
        self.enter(state);
        let turn = self.routing_turn.get();
        let Some(me) = self.me.upgrade().filter(|_| state != then) else { return };
        self.handle.spawn("lnet-routing", async move {
            if then == RoutingState::Enabled {
                let wait = {
                    let config = me.config.borrow();
                    config.alive_router_check_interval + config.router_ping_timeout
                };
                me.handle.sleep(wait).await;
            } else {
                me.drained().await;
            }
            if me.routing_turn.get() == turn {
                me.enter(then);
            }
        });
    }

    fn enter(&self, state: RoutingState) {
        self.routing_turn.set(self.routing_turn.get() + 1);
        self.routing.set(state);
        log::info!(target: "lnet", "{}", match state {
            RoutingState::Disabled => "routing is disabled",
            RoutingState::Starting => "routing is starting: messages are forwarded, peers learn of it by their pings",
            RoutingState::Enabled => "routing is enabled",
            RoutingState::Stopping => "routing is stopping: peers turn to other routers as they learn of it",
        });
        self.info_changed(Change::Contents);
        self.queue_contacts();
        if state == RoutingState::Disabled {
            self.books.pools.stir();
        }
    }

    async fn drained(&self) {
        let (least, most) = {
            let config = self.config.borrow();
            (config.drain_at_least, config.drain_at_most)
        };
        let start = self.handle.now();
        self.handle.sleep(least).await;
        while self.books.statistics.routed_now.get() > 0 && self.handle.now() < start + most {
            self.handle.sleep(DRAIN_STEP).await;
        }
        let left = self.books.statistics.routed_now.get();
        if left > 0 {
            log::warn!(target: "lnet", "{left} routed messages are still here after {most:?}: giving up on them");
        }
    }
}
