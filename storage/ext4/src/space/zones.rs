//! Runs of blocks that belong to the filesystem itself.

use crate::engine::BlockNr;
use alloc::collections::BTreeMap;

/// Start and end of runs, which neither overlap nor touch.
#[derive(Default)]
pub struct Zones(BTreeMap<BlockNr, BlockNr>);

impl Zones {
    /// Adds a run.
    pub fn add(&mut self, start: BlockNr, count: u64) {
        let (mut start, mut end) = (start, start.saturating_add(count));
        while let Some((&from, &to)) = self.0.range(..=end).next_back().filter(|&(_, &to)| to >= start) {
            (start, end) = (start.min(from), end.max(to));
            self.0.remove(&from);
        }
        if start < end {
            self.0.insert(start, end);
        }
    }

    /// True when any block of the run is in one.
    pub fn overlaps(&self, start: BlockNr, count: u64) -> bool {
        let end = start.saturating_add(count);
        self.0.range(..end).next_back().is_some_and(|(_, &to)| to > start)
    }

    /// The parts of the runs that lie in a range.
    pub fn within(&self, from: BlockNr, to: BlockNr) -> impl Iterator<Item = (BlockNr, BlockNr)> + '_ {
        let first = self.0.range(..from).next_back().map(|(&start, &end)| (start, end));
        let rest = self.0.range(from..to).map(|(&start, &end)| (start, end));
        first.into_iter().chain(rest).filter_map(move |(start, end)| {
            let (start, end) = (start.max(from), end.min(to));
            (start < end).then_some((start, end))
        })
    }
}
