//! LNet proper: interfaces, peers, credits, routes; what is forwarded and what is for this node.

/// What LNet remembers with a message: the credits and the buffer it holds, to whom it is charged.
#[derive(Default)]
pub struct Tag {}
