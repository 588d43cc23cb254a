//! LNet proper: interfaces, peers, credits, routes; what is forwarded and what is for this node.

mod config;
mod fault;
pub mod show;

pub use config::{LnetConfig, NiConfig, RouteConfig, Tunables};
pub use fault::{FaultAction, FaultRule, NidPattern, Often};

/// Bits of `peer state` (LNet specification section 6.5).
pub mod peer_state {
    /// The peer's NIDs belong together.
    pub const MULTI_RAIL: u32 = 1 << 0;
    /// The peer, or this node, does not take part in discovery.
    pub const NO_DISCOVERY: u32 = 1 << 1;
    /// The peer forwards.
    pub const ROUTER_ENABLED: u32 = 1 << 2;
    /// An administrator named it.
    pub const CONFIGURED: u32 = 1 << 3;
    /// What it said of itself is known.
    pub const DISCOVERED: u32 = 1 << 4;
    /// It is being asked.
    pub const DISCOVERING: u32 = 1 << 6;
    /// The list of its NIDs is what it said last.
    pub const NIDS_UPTODATE: u32 = 1 << 8;
    /// A ping is under way.
    pub const PING_SENT: u32 = 1 << 9;
    /// A push is under way.
    pub const PUSH_SENT: u32 = 1 << 10;
    /// The last ping failed.
    pub const PING_FAILED: u32 = 1 << 11;
    /// The last push failed.
    pub const PUSH_FAILED: u32 = 1 << 12;
}

/// What LNet remembers with a message: the credits and the buffer it holds, to whom it is charged.
#[derive(Default)]
pub struct Tag {}
