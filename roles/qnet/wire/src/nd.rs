//! Node descriptors (section 11.2).

use core::fmt;

/// How one node names another: low 16 bits node number, high 16 bits QoS index. Valid on the node that gave it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Nd(pub u32);

impl Nd {
    /// This node (`ND_LOCAL_NODE`).
    pub const LOCAL: Nd = Nd(0);

    /// The descriptor of a node number under a QoS index; index 0 is the default policy.
    pub const fn new(node: u16, qos_idx: u16) -> Nd {
        Nd((qos_idx as u32) << 16 | node as u32)
    }

    /// The node number, which travels in the LwL4 header.
    pub const fn node(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The QoS index.
    pub const fn qos_idx(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Whether both name the same node, whatever the policy: comparison masks the index.
    pub const fn same_node(self, other: Nd) -> bool {
        self.node() == other.node()
    }
}

impl fmt::Display for Nd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.qos_idx() {
            0 => write!(f, "{}", self.node()),
            index => write!(f, "{}/{index}", self.node()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let nd = Nd::new(4, 2);
        assert_eq!((nd.0, nd.node(), nd.qos_idx()), (0x2_0004, 4, 2));
        assert!(nd.same_node(Nd(4)) && !nd.same_node(Nd(2)));
        assert_eq!((nd.to_string().as_str(), Nd(4).to_string().as_str()), ("4/2", "4"));
    }
}
