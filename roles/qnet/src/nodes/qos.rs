//! QoS choices that paths name (section 8): each distinct one gets an index, which is the high half of its descriptors.

use crate::sessions::{NodeNr, Qos};
use alloc::boxed::Box;
use alloc::vec::Vec;
use keelson_qnet_wire::Nd;
use keelson_qnet_wire::names::{Policy, PolicyChoice};

/// Most choices: paths are made up by whoever opens them.
const MAX: usize = 1024;

/// A node, and how it is to be reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QosChoice {
    /// The node.
    pub node: NodeNr,
    /// The policy.
    pub policy: Policy,
    /// The link it is about; empty when none was named.
    pub interface: Box<str>,
}

/// All choices so far; the first has index 1.
#[derive(Default)]
pub struct QosTable(Vec<QosChoice>);

impl QosTable {
    /// Index of a choice, which is added if it is new. `None` when there are too many.
    pub fn index(&mut self, node: NodeNr, choice: PolicyChoice) -> Option<u16> {
        let known = |known: &QosChoice| {
            known.node == node && known.policy == choice.policy && *known.interface == *choice.interface
        };
        let place = match self.0.iter().position(known) {
            Some(place) => place,
            None if self.0.len() >= MAX => return None,
            None => {
                let interface = choice.interface.into();
                self.0.push(QosChoice { node, policy: choice.policy, interface });
                self.0.len() - 1
            }
        };
        u16::try_from(place + 1).ok()
    }

    /// The choice with an index.
    pub fn get(&self, index: u16) -> Option<&QosChoice> {
        self.0.get(usize::from(index.checked_sub(1)?))
    }

    /// The link that an index names.
    pub(crate) fn interface(&self, index: u16) -> Option<&str> {
        self.get(index).map(|choice| &*choice.interface).filter(|name| !name.is_empty())
    }

    /// How a descriptor's node is reached; `default` without an index. `None` when the index is not of that node.
    pub fn qos(&self, nd: Nd, default: Policy) -> Option<Qos> {
        match nd.qos_idx() {
            0 => Some(Qos { policy: default, index: 0 }),
            index => {
                let choice = self.get(index).filter(|choice| choice.node.0 == nd.node())?;
                Some(Qos { policy: choice.policy, index })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices() {
        let mut table = QosTable::default();
        let exclusive = |interface| PolicyChoice { policy: Policy::Exclusive, interface };
        assert_eq!(table.index(NodeNr(4), exclusive("en0")), Some(1));
        assert_eq!(table.index(NodeNr(4), exclusive("en1")), Some(2));
        assert_eq!(table.index(NodeNr(5), exclusive("en0")), Some(3));
        assert_eq!(table.index(NodeNr(4), exclusive("en0")), Some(1), "again");
        let bare = PolicyChoice { policy: Policy::LoadBalance, interface: "" };
        assert_eq!(table.index(NodeNr(4), bare), Some(4));
        assert_eq!((table.interface(2), table.interface(4), table.interface(0)), (Some("en1"), None, None));
        let qos = |nd| table.qos(nd, Policy::Redundant);
        assert_eq!(qos(Nd::new(4, 2)), Some(Qos { policy: Policy::Exclusive, index: 2 }));
        assert_eq!(qos(Nd::new(4, 0)), Some(Qos { policy: Policy::Redundant, index: 0 }));
        assert_eq!((qos(Nd::new(4, 3)), qos(Nd::new(4, 9))), (None, None));
    }

    #[test]
    fn bounded() {
        let mut table = QosTable::default();
        let bare = PolicyChoice { policy: Policy::Preferred, interface: "en0" };
        let given = (0..2000).filter(|node| table.index(NodeNr(*node), bare).is_some()).count();
        assert_eq!(given, MAX);
    }
}
