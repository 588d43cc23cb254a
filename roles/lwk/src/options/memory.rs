//! Lists of memory as McKernel writes them: `512M@0,1G@1`, so much of each NUMA node (section 2).

use crate::mm::NODES_MOST;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use keelson_config::parse_size;

/// What sizes are rounded down to: a large page.
const GRANULE: u64 = 2 << 20;
/// Least that the kernel keeps of a node, and the part of it that it keeps of a large one, in percent.
const RESERVE: u64 = 64 << 20;
const RESERVE_PERCENT: u64 = 2;

/// Bytes by number of the node.
pub type Sizes = BTreeMap<usize, u64>;

/// Reads a list. Without `@` it is node 0; entries of one node add up.
///
/// # Errors
///
/// In words: a size or a node that is none, nothing, too much.
pub fn parse(text: &str) -> Result<Sizes, String> {
    let mut sizes = Sizes::new();
    for part in text.split(',') {
        let (size, node) = part.split_once('@').unwrap_or((part, "0"));
        let wrong = || format!("{part:?} is not a size and a NUMA node, such as 512M@0");
        let size = parse_size(size).ok_or_else(wrong)? / GRANULE * GRANULE;
        let is_number = node.bytes().all(|byte| byte.is_ascii_digit());
        let node: usize =
            node.parse().ok().filter(|node| is_number && *node < NODES_MOST).ok_or_else(wrong)?;
        if size == 0 {
            return Err(format!("{part:?} is nothing; the least is 2M"));
        }
        let sum = sizes.entry(node).or_default();
        *sum = sum.checked_add(size).ok_or_else(|| format!("{part:?} is too much"))?;
    }
    Ok(sizes)
}

/// What programs may have of each node of a machine that has so many bytes of each: nothing of those that the list does not name.
///
/// # Errors
///
/// In words: a node that does not exist, or has less.
pub fn shares(sizes: &Sizes, present: &[u64]) -> Result<Vec<u64>, String> {
    for (node, wanted) in sizes {
        let Some(bytes) = present.get(*node) else {
            return Err(format!("there is no NUMA node {node}; the machine has {}, from 0", present.len()));
        };
        let most = most(*bytes);
        if *wanted > most {
            return Err(format!(
                "{}M of NUMA node {node} is too much; of its {}M programs can have {}M, the rest is the kernel's",
                wanted >> 20,
                bytes >> 20,
                most >> 20
            ));
        }
    }
    Ok((0..present.len()).map(|node| sizes.get(&node).copied().unwrap_or(0)).collect())
}

/// What programs can have of a node with so many bytes.
pub fn most(present: u64) -> u64 {
    let reserve = RESERVE.max(present / 100 * RESERVE_PERCENT);
    present.saturating_sub(reserve) / GRANULE * GRANULE
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn sizes_are_whole_large_pages_and_add_up() {
        let sizes = |text: &str| parse(text).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(sizes("512M@0"), [(0, 512 * MIB)]);
        assert_eq!(sizes("1g@1,2m@0,2049K@1"), [(0, 2 * MIB), (1, 1026 * MIB)]);
        assert_eq!(sizes("5767168"), [(0, 4 * MIB)]);
        assert_eq!(sizes("1t@63"), [(63, 1 << 40)]);
    }

    #[test]
    fn mistakes_are_named() {
        for bad in ["", "x", "512M@", "512M@x", "512M@-1", "512M@+1", "512M@64", "512M,,1G", "-1M@0", "9z@0"]
        {
            assert!(
                parse(bad).unwrap_err().contains("is not a size and a NUMA node, such as 512M@0"),
                "{bad}"
            );
        }
        for nothing in ["0@0", "0", "1M@0", "2097151@1"] {
            assert!(parse(nothing).unwrap_err().ends_with("is nothing; the least is 2M"), "{nothing}");
        }
        assert_eq!(parse("15E@0,15E@0").unwrap_err(), "\"15E@0\" is too much");
    }

    #[test]
    fn programs_get_what_the_kernel_can_spare() {
        let present = [1024 * MIB, 8192 * MIB, 0];
        let shares = |text: &str| shares(&parse(text).unwrap(), &present);
        assert_eq!(shares("960M@0,2G@1").unwrap(), [960 * MIB, 2048 * MIB, 0]);
        assert_eq!(shares("2M@1").unwrap(), [0, 2 * MIB, 0]);
        assert_eq!(shares("2M@3").unwrap_err(), "there is no NUMA node 3; the machine has 3, from 0");
        assert_eq!(
            shares("500M@0,462M@0").unwrap_err(),
            "962M of NUMA node 0 is too much; of its 1024M programs can have 960M, the rest is the kernel's"
        );
        // 2 percent of 8 GiB are more than 64 MiB.
        assert!(shares("8030M@1").unwrap_err().contains("programs can have 8028M"));
        assert!(shares("2M@2").unwrap_err().contains("of its 0M programs can have 0M"));
    }
}
