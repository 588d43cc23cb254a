//! A count for each group, and the next group whose count is large enough.

use alloc::vec;
use alloc::vec::Vec;

/// A tree of maxima: leaf `n` is group `n`.
pub struct FreeTree {
    /// `nodes[1]` is the root, the children of `n` are `2 n` and `2 n + 1`.
    nodes: Vec<u32>,
    leaves: usize,
}

impl FreeTree {
    /// All zeros.
    pub fn new(groups: u32) -> FreeTree {
        let leaves = (groups.max(1) as usize).next_power_of_two();
        FreeTree { nodes: vec![0; 2 * leaves], leaves }
    }

    /// A group's count.
    pub fn get(&self, group: u32) -> u32 {
        self.nodes.get(self.leaves + group as usize).copied().unwrap_or(0)
    }

    /// The largest count of any group.
    pub fn most(&self) -> u32 {
        self.nodes[1]
    }

    /// Sets a group's count.
    pub fn set(&mut self, group: u32, count: u32) {
        let mut node = self.leaves + group as usize;
        if node >= self.nodes.len() || self.nodes[node] == count {
            return;
        }
        self.nodes[node] = count;
        while node > 1 {
            node /= 2;
            let most = self.nodes[2 * node].max(self.nodes[2 * node + 1]);
            if self.nodes[node] == most {
                break;
            }
            self.nodes[node] = most;
        }
    }

    /// The first group from `from` on with at least `least` free.
    pub fn find(&self, from: u32, least: u32) -> Option<u32> {
        let mut node = self.leaves + from as usize;
        if node >= self.nodes.len() {
            return None;
        }
        // Up until a subtree to the right has enough, then down to its first such leaf.
        while self.nodes[node] < least {
            while node & 1 == 1 {
                if node == 1 || (node + 1).is_power_of_two() {
                    return None;
                }
                node /= 2;
            }
            node += 1;
        }
        while node < self.leaves {
            node *= 2;
            if self.nodes[node] < least {
                node += 1;
            }
        }
        Some((node - self.leaves) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::FreeTree;

    #[test]
    fn finds_what_a_scan_finds() {
        for groups in [1u32, 2, 3, 7, 8, 33] {
            let mut tree = FreeTree::new(groups);
            let mut counts = vec![0i64; groups as usize];
            let mut random = 12345u64;
            for _ in 0..500 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (group, value) = ((random >> 33) as u32 % groups, (random >> 20) as i64 % 5);
                tree.set(group, value as u32);
                counts[group as usize] = value;
                assert_eq!(i64::from(tree.most()), *counts.iter().max().unwrap());
                for from in 0..groups {
                    for least in 1..5 {
                        let scan = (from..groups).find(|&group| counts[group as usize] >= i64::from(least));
                        assert_eq!(tree.find(from, least), scan, "{counts:?} from {from} least {least}");
                    }
                }
            }
        }
    }
}
