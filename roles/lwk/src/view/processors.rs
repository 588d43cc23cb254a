//! Logical CPUs: what they are, where they lie, what they share.

use crate::cpuid::{Cache, Cpuid};
use crate::node::Node;
use crate::pseudo::{CacheView, CpuView};
use crate::{Errno, room};
use alloc::vec::Vec;
use core::time::Duration;

/// The logical CPUs, which have these APIC ids, `up` after boot.
pub fn all(node: &Node, apics: &[u32], up: Duration) -> Result<Vec<CpuView>, Errno> {
    let machine = &node.system.machine;
    let read = |leaf, sub| machine.cpuid(leaf, sub);
    let cpuid = Cpuid(&read);
    let (common, topology, caches) = (cpuid.describe(), cpuid.topology(), cpuid.caches());
    let view = |(cpu, (core, apic)): (usize, (&usize, &u32))| {
        let used = node.core_of_cpu(cpu).map(|core| core.usage(up)).unwrap_or_default();
        let package = above(*apic, topology.package);
        let in_package = apic - package.checked_shl(topology.package).unwrap_or(0);
        CpuView {
            numa: machine.node_of(*core),
            package,
            die: above(in_package, topology.die),
            core: above(in_package, topology.core),
            apic: *apic,
            caches: caches.iter().map(|cache| cache_view(cache, *apic, apics)).collect(),
            times: (used.user, used.system, up.saturating_sub(used.user + used.system)),
            ..common.clone()
        }
    };
    room::collect(node.settings.compute.iter().zip(apics).enumerate().map(view))
}

/// A cache as the CPU with the number `apic` has it.
fn cache_view(cache: &Cache, apic: u32, apics: &[u32]) -> CacheView {
    let id = above(apic, cache.shift);
    let sharing = apics.iter().enumerate().filter(|(_, other)| above(**other, cache.shift) == id);
    CacheView {
        level: cache.level,
        kind: cache.kind,
        size: cache.size,
        line: cache.line,
        ways: cache.ways,
        sets: cache.sets,
        id,
        shared: sharing.map(|(cpu, _)| cpu).collect(),
    }
}

/// The bits of a number from `shift` on.
fn above(number: u32, shift: u32) -> u32 {
    number.checked_shr(shift).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_shared_by_neighbours_of_the_partition() {
        let cache =
            Cache { level: 2, kind: "Unified", size: 1 << 20, line: 64, ways: 16, sets: 1024, shift: 1 };
        // The sibling of number 2 is not in the partition.
        let apics = [2, 4, 5, 64];
        let shared = |apic| cache_view(&cache, apic, &apics).shared;
        assert_eq!((shared(2), shared(4), shared(64)), (vec![0], vec![1, 2], vec![3]));
        assert_eq!(cache_view(&cache, 5, &apics).id, 2);
        let all = Cache { shift: 32, ..cache };
        assert_eq!(cache_view(&all, 5, &apics).shared, [0, 1, 2, 3]);
    }
}
