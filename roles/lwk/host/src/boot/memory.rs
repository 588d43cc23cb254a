//! Lists of memory as McKernel writes them: `512M@0,1G@1`, so much of each NUMA node.

use std::collections::BTreeMap;

use keelson_lwk::options::memory;

/// Memory of NUMA nodes: bytes by number.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory(pub BTreeMap<u32, u64>);

impl Memory {
    /// So much of node 0.
    pub fn of_first(bytes: u64) -> Memory {
        Memory(BTreeMap::from([(0, bytes)]))
    }

    /// Reads a list. Without `@` it is node 0; entries of one node add up.
    ///
    /// # Errors
    ///
    /// In words.
    pub fn parse(text: &str) -> Result<Memory, String> {
        let sizes = memory::parse(text)?;
        Ok(Memory(sizes.into_iter().map(|(node, bytes)| (node as u32, bytes)).collect()))
    }

    /// Nothing of any node.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it together.
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Adds another list.
    pub fn add(&mut self, other: &Memory) {
        for (node, bytes) in &other.0 {
            let sum = self.0.entry(*node).or_default();
            *sum = sum.saturating_add(*bytes);
        }
    }

    /// Takes a list away.
    ///
    /// # Errors
    ///
    /// In words, when there is less; nothing is taken then.
    pub fn take(&mut self, other: &Memory) -> Result<(), String> {
        self.covers(other)?;
        for (node, bytes) in &other.0 {
            if let Some(sum) = self.0.get_mut(node) {
                *sum -= bytes;
            }
        }
        self.0.retain(|_, bytes| *bytes != 0);
        Ok(())
    }

    /// Whether so much is there.
    ///
    /// # Errors
    ///
    /// In words, when it is not.
    pub fn covers(&self, other: &Memory) -> Result<(), String> {
        for (node, bytes) in &other.0 {
            let there = self.0.get(node).copied().unwrap_or_default();
            if there < *bytes {
                return Err(format!("{} of NUMA node {node}: only {} is there", size(*bytes), size(there)));
            }
        }
        Ok(())
    }

    /// In bytes: `536870912@0`.
    pub fn in_bytes(&self) -> String {
        self.join(|bytes| bytes.to_string())
    }

    fn join(&self, write: impl Fn(u64) -> String) -> String {
        let parts: Vec<String> =
            self.0.iter().map(|(node, bytes)| format!("{}@{node}", write(*bytes))).collect();
        parts.join(",")
    }
}

impl std::fmt::Display for Memory {
    /// As it is read: `512M@0`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.join(size))
    }
}

/// Bytes in the largest unit that shows them exactly, as QEMU reads it too.
pub fn size(bytes: u64) -> String {
    let mut units = [(30, "G"), (20, "M"), (10, "K")].into_iter();
    match units.find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (text, written) in [
            ("512M@0", "512M@0"),
            ("1g", "1G@0"),
            ("512M@0,1G@1,512m@0", "1G@0,1G@1"),
            ("2049K@3", "2M@3"),
            ("1536M@1", "1536M@1"),
        ] {
            assert_eq!(Memory::parse(text).unwrap().to_string(), written);
        }
        assert_eq!(Memory::parse("4M@1,2M").unwrap().in_bytes(), "2097152@0,4194304@1");
        assert_eq!(Memory::default().to_string(), "");
    }

    #[test]
    fn mistakes_are_named() {
        for bad in
            ["", "x", "1M@0", "512M@", "512M@x", "512M@-1", "0@0", "512M@64", "99999999999t@0", "512M,,1G"]
        {
            assert!(Memory::parse(bad).unwrap_err().contains('"'), "{bad}");
        }
    }

    #[test]
    fn memory_is_taken_and_given_back() {
        let mut memory = Memory::parse("1G@0,512M@1").unwrap();
        memory.take(&Memory::parse("512M@1,256M@0").unwrap()).unwrap();
        assert_eq!(memory.to_string(), "768M@0");
        let problem = memory.take(&Memory::parse("256M@0,2M@1").unwrap()).unwrap_err();
        assert_eq!(
            (problem.as_str(), memory.to_string()),
            ("2M of NUMA node 1: only 0 is there", "768M@0".into())
        );
        memory.add(&Memory::of_first(256 << 20));
        assert_eq!((memory.total(), memory.to_string()), (1 << 30, "1G@0".into()));
    }
}
