//! Physical memory of a node, wherever it is: in a file, or still in the node.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Why memory cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unread {
    /// What is at this physical address is not in the dump.
    Absent(u64),
    /// The file or the node does not give it.
    Failed(String),
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unread::Absent(physical) => write!(f, "physical address {physical:#x} is not in the dump"),
            Unread::Failed(reason) => f.write_str(reason),
        }
    }
}

/// Physical memory.
pub trait Memory {
    /// Reads all of `into`, or nothing.
    fn read(&self, physical: u64, into: &mut [u8]) -> Result<(), Unread>;

    /// A 64-bit number.
    fn read_u64(&self, physical: u64) -> Result<u64, Unread> {
        let mut bytes = [0; 8];
        self.read(physical, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// A piece of memory in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Where it was in RAM.
    pub physical: u64,
    /// Its bytes.
    pub len: u64,
    /// Where it is in the file.
    pub offset: u64,
}

impl Extent {
    /// The end in RAM; pieces that go round it are none, and refused by [`FileMemory::new`].
    pub fn end(&self) -> u64 {
        self.physical.saturating_add(self.len)
    }
}

/// Memory in a file.
#[derive(Debug)]
pub struct FileMemory {
    file: File,
    /// Sorted, apart.
    extents: Vec<Extent>,
}

impl FileMemory {
    /// Of these pieces, in any order. Where they overlap, the first in memory counts.
    pub fn new(file: File, mut extents: Vec<Extent>) -> FileMemory {
        extents.retain(|extent| extent.len > 0 && extent.physical.checked_add(extent.len).is_some());
        extents.sort_by_key(|extent| (extent.physical, std::cmp::Reverse(extent.len)));
        let mut end = 0;
        extents.retain(|extent| {
            let apart = extent.physical >= end;
            end = if apart { extent.end() } else { end };
            apart
        });
        FileMemory { file, extents }
    }

    /// The pieces, in the order of their addresses.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The piece that holds an address.
    pub fn extent(&self, physical: u64) -> Option<&Extent> {
        let next = self.extents.partition_point(|extent| extent.physical <= physical);
        let found = self.extents.get(next.checked_sub(1)?)?;
        (physical < found.end()).then_some(found)
    }
}

impl Memory for FileMemory {
    fn read(&self, physical: u64, into: &mut [u8]) -> Result<(), Unread> {
        let (mut at, mut rest) = (physical, into);
        while !rest.is_empty() {
            let extent = self.extent(at).ok_or(Unread::Absent(at))?;
            let within = at - extent.physical;
            let here = usize::try_from(extent.len - within).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(here);
            self.file
                .read_exact_at(now, extent.offset.saturating_add(within))
                .map_err(|error| Unread::Failed(error.to_string()))?;
            (at, rest) = (at.saturating_add(here as u64), later);
        }
        Ok(())
    }
}
