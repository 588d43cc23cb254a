//! Memory policies: on which NUMA node a page shall lie (set_mempolicy(2), mbind(2)).

use crate::Errno;
use keelson_hal::user::UserMachine;

/// Most NUMA nodes.
pub const NODES_MOST: usize = 64;

/// What a policy says about its nodes (`MPOL_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// The node of the thread that touches the page.
    #[default]
    Default,
    /// The first of the nodes, else another.
    Preferred,
    /// Only the nodes.
    Bind,
    /// The nodes in turn.
    Interleave,
    /// The node of the thread, whatever the process's policy is.
    Local,
    /// Any of the nodes, else another.
    PreferredMany,
}

/// The flag of a mode: numbers of nodes are not those of the cpuset (`MPOL_F_STATIC_NODES`).
pub const STATIC_NODES: u32 = 1 << 15;
/// The flag of a mode: numbers of nodes are relative to it (`MPOL_F_RELATIVE_NODES`).
pub const RELATIVE_NODES: u32 = 1 << 14;
/// The flag of a mode: pages may be moved to where they are used (`MPOL_F_NUMA_BALANCING`).
const BALANCING: u32 = 1 << 13;

/// A memory policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// What it says.
    pub mode: Mode,
    /// The nodes, a bit for each.
    pub nodes: u64,
    /// `STATIC_NODES` or `RELATIVE_NODES`, as they were given.
    pub flags: u32,
    /// The node to begin with (set_mempolicy_home_node(2)).
    pub home: Option<u8>,
}

/// Where to look for memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The node to ask first.
    pub first: usize,
    /// The nodes to ask, a bit for each: the nearest to the first one first.
    pub nodes: u64,
    /// No other is asked.
    pub strict: bool,
}

impl Policy {
    /// A policy from what set_mempolicy(2) or mbind(2) were given, for a machine whose nodes `present` have memory.
    pub fn new(mode: u64, nodes: u64, present: u64) -> Result<Policy, Errno> {
        let mode = u32::try_from(mode).map_err(|_| Errno::EINVAL)?;
        let flags = mode & (STATIC_NODES | RELATIVE_NODES);
        if flags == STATIC_NODES | RELATIVE_NODES {
            return Err(Errno::EINVAL);
        }
        let mode = match mode & !(STATIC_NODES | RELATIVE_NODES | BALANCING) {
            0 => Mode::Default,
            1 => Mode::Preferred,
            2 => Mode::Bind,
            3 => Mode::Interleave,
            4 => Mode::Local,
            5 => Mode::PreferredMany,
            _ => return Err(Errno::EINVAL),
        };
        let usable = if flags == RELATIVE_NODES { fold(nodes, present) } else { nodes & present };
        match mode {
            Mode::Default | Mode::Local if nodes != 0 || (flags != 0 && mode == Mode::Local) => {
                Err(Errno::EINVAL)
            }
            Mode::Default => Ok(Policy::default()),
            Mode::Local => Ok(Policy { mode, ..Policy::default() }),
            Mode::Preferred if nodes == 0 && flags == 0 => {
                Ok(Policy { mode: Mode::Local, ..Policy::default() })
            }
            _ if usable == 0 => Err(Errno::EINVAL),
            _ => Ok(Policy { mode, nodes: usable, flags, home: None }),
        }
    }

    /// Number of the mode with its flags, as get_mempolicy(2) returns it.
    pub fn number(&self) -> u32 {
        self.mode as u32 | self.flags
    }

    /// True when it says where memory lies: filling memory ahead of its use does not spoil that.
    pub fn is_placed(&self) -> bool {
        !matches!(self.mode, Mode::Default | Mode::Local)
    }

    /// Where to look for the page number `index` of an area or object, for a thread on node `local`.
    pub fn choose(&self, index: u64, local: usize) -> Choice {
        let has = |node: usize| node < NODES_MOST && self.nodes & (1 << node) != 0;
        let home = self.home.map(usize::from).filter(|home| has(*home));
        let near = home.or(has(local).then_some(local)).unwrap_or(lowest(self.nodes));
        let only = |first: usize| Choice { first, nodes: 1 << (first % NODES_MOST), strict: false };
        match self.mode {
            Mode::Default | Mode::Local => only(local),
            Mode::Preferred => only(lowest(self.nodes)),
            Mode::PreferredMany => Choice { first: near, nodes: self.nodes, strict: false },
            Mode::Bind => Choice { first: near, nodes: self.nodes, strict: true },
            Mode::Interleave => {
                only(nth(self.nodes, (index % u64::from(self.nodes.count_ones().max(1))) as usize))
            }
        }
    }
}

/// The nodes of which programs may have memory, a bit for each.
pub fn nodes_with_memory(machine: &dyn UserMachine) -> u64 {
    let nodes = (0..machine.nodes().min(NODES_MOST)).filter(|node| machine.memory(*node).1 != 0);
    nodes.fold(0, |set, node| set | 1 << node)
}

fn lowest(nodes: u64) -> usize {
    if nodes == 0 { 0 } else { nodes.trailing_zeros() as usize }
}

fn nth(nodes: u64, turn: usize) -> usize {
    (0..NODES_MOST).filter(|node| nodes & (1 << node) != 0).nth(turn).unwrap_or(0)
}

/// Relative numbers count the nodes that there are, and wrap around them.
fn fold(nodes: u64, present: u64) -> u64 {
    let count = present.count_ones().max(1) as usize;
    (0..NODES_MOST)
        .filter(|node| nodes & (1 << node) != 0)
        .fold(0, |folded, node| folded | 1 << nth(present, node % count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_checked() {
        assert_eq!(Policy::new(0, 1, 0b11), Err(Errno::EINVAL));
        assert_eq!(Policy::new(2, 0, 0b11), Err(Errno::EINVAL));
        assert_eq!(Policy::new(2, 4, 0b11), Err(Errno::EINVAL));
        assert_eq!(Policy::new(2, 1, 0b10), Err(Errno::EINVAL));
        assert_eq!(Policy::new(9, 1, 0b11), Err(Errno::EINVAL));
        assert_eq!(Policy::new(1, 0, 0b11).unwrap().mode, Mode::Local);
        assert_eq!(Policy::new(2 | 1 << 14, 0b100, 0b11).unwrap().nodes, 1);
        assert_eq!(Policy::new(2 | 1 << 14, 0b101, 0b110).unwrap().nodes, 0b10);
        assert_eq!(Policy::new(3 | 1 << 15, 0b111, 0b11).unwrap().nodes, 0b11);
    }

    #[test]
    fn pages_go_where_the_policy_says() {
        let interleave = Policy::new(3, 0b11, 0b11).unwrap();
        assert_eq!((interleave.choose(0, 1).first, interleave.choose(1, 1).first), (0, 1));
        let bind = Policy::new(2, 0b10, 0b11).unwrap();
        assert_eq!(bind.choose(7, 0), Choice { first: 1, nodes: 0b10, strict: true });
        assert_eq!(Policy::default().choose(7, 1), Choice { first: 1, nodes: 0b10, strict: false });
        let many = Policy::new(5, 0b1101, 0b1111).unwrap();
        assert_eq!(many.choose(7, 2), Choice { first: 2, nodes: 0b1101, strict: false });
        assert_eq!(many.choose(7, 1).first, 0);
    }
}
