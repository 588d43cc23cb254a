//! Nodes, their memory and the distances between them, as the firmware's tables have them.

use super::{NODES_MAX, TopologyError};
use crate::acpi::{Affinity, Slit, Srat};
use crate::mm::PAGE_SIZE;
use core::ops::Range;
use heapless::Vec;

/// Most ranges of memory. A node of a large machine has two: one below the window of devices, one above.
const RANGES_MAX: usize = 128;
/// Distances where the firmware says nothing: of a node to itself, and to any other (the values that section 5.2.17 of ACPI 6.5
/// takes as the scale).
const HERE: u8 = 10;
const THERE: u8 = 20;

/// The nodes of a machine.
#[derive(Debug)]
pub struct Topology {
    /// Proximity domain of each node.
    domains: Vec<u32, NODES_MAX>,
    /// Memory and its node: rising, apart, in whole pages.
    ranges: Vec<(Range<u64>, u8), RANGES_MAX>,
    /// Distances from each node to each.
    distances: [[u8; NODES_MAX]; NODES_MAX],
}

impl Topology {
    /// A machine of which nothing is known: one node that has everything.
    pub const fn one() -> Topology {
        let mut distances = [[THERE; NODES_MAX]; NODES_MAX];
        let mut node = 0;
        while node < NODES_MAX {
            distances[node][node] = HERE;
            node += 1;
        }
        Topology { domains: Vec::new(), ranges: Vec::new(), distances }
    }

    /// Numbers the proximity domains in the order in which they appear, processors before memory, which makes them the numbers
    /// that Linux gives them.
    pub fn read(srat: &Srat<'_>, slit: Option<&Slit<'_>>) -> Result<Topology, TopologyError> {
        let mut topology = Topology::one();
        let is_memory = |entry: &Affinity| matches!(entry, Affinity::Memory { .. });
        for entry in srat.entries().filter(|entry| !is_memory(entry)) {
            topology.number(entry.domain())?;
        }
        for entry in srat.entries() {
            if let Affinity::Memory { range, domain } = entry {
                let node = topology.number(domain)?;
                topology.add(range, node)?;
            }
        }
        topology.join();
        let nodes = topology.domains.iter().enumerate();
        for (from, domain) in nodes.clone() {
            for (to, other) in nodes.clone() {
                let known = slit.and_then(|slit| slit.distance(*domain, *other));
                if let Some(distance) = known {
                    topology.distances[from][to] = distance;
                }
            }
        }
        Ok(topology)
    }

    /// The node of a proximity domain, which becomes one now if it is not yet.
    fn number(&mut self, domain: u32) -> Result<u8, TopologyError> {
        if let Some(node) = self.node_of_domain(domain) {
            return Ok(node as u8);
        }
        self.domains.push(domain).map_err(|_| TopologyError::Nodes)?;
        Ok((self.domains.len() - 1) as u8)
    }

    /// Enters memory in order. A page that two nodes share belongs to the later one.
    fn add(&mut self, range: Range<u64>, node: u8) -> Result<(), TopologyError> {
        let range = range.start & !(PAGE_SIZE - 1)..range.end & !(PAGE_SIZE - 1);
        if range.is_empty() {
            return Ok(());
        }
        let at = self.ranges.partition_point(|(other, _)| other.start < range.start);
        let apart = |(other, _): &(Range<u64>, u8)| other.end <= range.start || range.end <= other.start;
        let before = at.checked_sub(1).and_then(|before| self.ranges.get(before));
        if !before.into_iter().chain(self.ranges.get(at)).all(apart) {
            return Err(TopologyError::Overlap);
        }
        self.ranges.insert(at, (range, node)).map_err(|_| TopologyError::Ranges)
    }

    /// Makes one of ranges of a node that touch, as far as that is easy.
    fn join(&mut self) {
        let mut joined: Vec<(Range<u64>, u8), RANGES_MAX> = Vec::new();
        for (range, node) in &self.ranges {
            match joined.last_mut() {
                Some((last, same)) if same == node && last.end == range.start => last.end = range.end,
                // There are not more than before.
                _ => drop(joined.push((range.clone(), *node))),
            }
        }
        self.ranges = joined;
    }

    /// Nodes, at least one.
    pub fn nodes(&self) -> usize {
        self.domains.len().max(1)
    }

    /// The node of a proximity domain.
    pub fn node_of_domain(&self, domain: u32) -> Option<usize> {
        self.domains.iter().position(|known| *known == domain)
    }

    /// The node of the memory at an address; the first for memory of which the firmware says nothing.
    pub fn node_of_memory(&self, address: u64) -> usize {
        self.at(address).map_or(0, |(_, node)| usize::from(*node))
    }

    fn at(&self, address: u64) -> Option<&(Range<u64>, u8)> {
        let behind = self.ranges.partition_point(|(range, _)| range.end <= address);
        self.ranges.get(behind).filter(|(range, _)| range.contains(&address))
    }

    /// A range of whole pages cut where another node begins.
    pub fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = (Range<u64>, usize)> + '_ {
        let mut at = range.start;
        core::iter::from_fn(move || {
            if at >= range.end {
                return None;
            }
            let start = at;
            let node = self.node_of_memory(start);
            let next = self.ranges.iter().map(|(range, _)| range.start).find(|next| *next > start);
            let end = self.at(start).map(|(range, _)| range.end).or(next);
            at = end.unwrap_or(range.end).min(range.end);
            Some((start..at, node))
        })
    }

    /// Distance from a node to another.
    pub fn distance(&self, from: usize, to: usize) -> u8 {
        self.distances.get(from).and_then(|row| row.get(to)).copied().unwrap_or(THERE)
    }

    /// All nodes, the nearest to `from` first: itself. Of those that are equally near the one with the next number, so that not
    /// all go to the same.
    pub fn nearest(&self, from: usize) -> impl Iterator<Item = usize> + '_ {
        let nodes = self.nodes();
        let from = if from < nodes { from } else { 0 };
        let key = move |node: usize| (node != from, self.distance(from, node), (node + nodes - from) % nodes);
        let mut last = None;
        core::iter::from_fn(move || {
            let ahead = (0..nodes).filter(|node| last.is_none_or(|last| key(*node) > key(last)));
            last = Some(ahead.min_by_key(|node| key(*node))?);
            last
        })
    }
}

#[cfg(test)]
mod tests;
