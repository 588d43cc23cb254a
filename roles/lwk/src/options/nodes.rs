//! The NUMA nodes that a program shall have its memory of first (`mcexec -m`, section 6.1): `0,2-3`, `all`, `!1`, `+0,1`.

use super::cpulist;
use crate::Errno;
use crate::mm::{Mode, NODES_MOST, Policy};

/// The policy for the words of the launcher on a machine whose nodes `present` have memory, a bit for each. None of them is
/// ENODEV, what is no list EINVAL. Behind `+` numbers count the nodes with memory, as numactl(8) has it.
pub fn policy(words: &str, present: u64) -> Result<Policy, Errno> {
    if words.is_empty() {
        return Ok(Policy::default());
    }
    let listed = |list: &str| -> Result<u64, Errno> {
        let nodes = cpulist::parse(list).map_err(|_| Errno::EINVAL)?;
        Ok(nodes.into_iter().filter(|node| *node < NODES_MOST).fold(0, |set, node| set | 1 << node))
    };
    let (inverted, list) = stripped(words, '!');
    let (relative, list) = stripped(list, '+');
    let listed = match list {
        "all" => present,
        list if relative => nth_of(present, listed(list)?),
        list => listed(list)?,
    };
    let nodes = present & if inverted { !listed } else { listed };
    match nodes.count_ones() {
        0 => Err(Errno::ENODEV),
        1 => Ok(Policy { mode: Mode::Preferred, nodes, ..Policy::default() }),
        _ => Ok(Policy { mode: Mode::PreferredMany, nodes, ..Policy::default() }),
    }
}

/// Whether text begins with a mark, and the rest.
fn stripped(text: &str, mark: char) -> (bool, &str) {
    text.strip_prefix(mark).map_or((false, text), |rest| (true, rest))
}

/// The nodes of `present` that have these places among them.
fn nth_of(present: u64, places: u64) -> u64 {
    let nodes = (0..NODES_MOST).filter(|node| present & 1 << node != 0);
    nodes.enumerate().filter(|(place, _)| places & 1 << place != 0).fold(0, |set, (_, node)| set | 1 << node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_preferred_nodes() {
        let chosen = |words| policy(words, 0b1011).map(|policy| (policy.mode, policy.nodes));
        assert_eq!(chosen(""), Ok((Mode::Default, 0)));
        assert_eq!(chosen("1"), Ok((Mode::Preferred, 0b10)));
        assert_eq!(chosen("0,2-3"), Ok((Mode::PreferredMany, 0b1001)));
        assert_eq!(chosen("all"), Ok((Mode::PreferredMany, 0b1011)));
        assert_eq!(chosen("!1"), Ok((Mode::PreferredMany, 0b1001)));
        assert_eq!(chosen("!0-1"), Ok((Mode::Preferred, 0b1000)));
        assert_eq!(chosen("2"), Err(Errno::ENODEV));
        assert_eq!(chosen("!0-3"), Err(Errno::ENODEV));
        assert_eq!(chosen("1-"), Err(Errno::EINVAL));
        // The third node with memory is number 3.
        assert_eq!(chosen("+0,2"), Ok((Mode::PreferredMany, 0b1001)));
        assert_eq!(chosen("!+2"), Ok((Mode::PreferredMany, 0b11)));
        assert_eq!(chosen("+all"), Ok((Mode::PreferredMany, 0b1011)));
        assert_eq!(chosen("+3"), Err(Errno::ENODEV));
        assert_eq!(chosen("+"), Err(Errno::EINVAL));
    }
}
