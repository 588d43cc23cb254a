//! QoS policies: which link a connection uses (section 8).

use core::fmt;

/// How traffic is spread over links.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Policy {
    /// Any live link.
    #[default]
    LoadBalance,
    /// All live links at once. Known from the packet format alone.
    Redundant,
    /// The given link, even if it fails.
    Exclusive,
    /// The given link while it works.
    Preferred,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Policy; 4] =
        [Policy::LoadBalance, Policy::Redundant, Policy::Exclusive, Policy::Preferred];

    /// The policy with a number in the LwL4 header.
    pub const fn from_wire(qos_type: u16) -> Option<Policy> {
        Some(match qos_type {
            0 => Policy::LoadBalance,
            1 => Policy::Redundant,
            2 => Policy::Exclusive,
            3 => Policy::Preferred,
            _ => return None,
        })
    }

    /// Its number.
    pub const fn to_wire(self) -> u16 {
        self as u16
    }

    /// The name by which paths choose it.
    pub const fn name(self) -> &'static str {
        match self {
            Policy::LoadBalance => "loadbalance",
            Policy::Redundant => "redundant",
            Policy::Exclusive => "exclusive",
            Policy::Preferred => "preferred",
        }
    }

    /// The policy with a name.
    pub fn from_name(name: &str) -> Option<Policy> {
        Policy::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// What stands behind the tilde of a path: a policy, and the link it is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PolicyChoice<'a> {
    /// The policy.
    pub policy: Policy,
    /// Name of an interface, such as `en0`; empty when none is given.
    pub interface: &'a str,
}

impl fmt::Display for PolicyChoice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "~{}", self.policy.name())?;
        if self.interface.is_empty() { Ok(()) } else { write!(f, ":{}", self.interface) }
    }
}
