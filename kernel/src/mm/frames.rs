//! The machine's free physical memory: a buddy allocator for each NUMA node, each under one lock.
//!
//! What the kernel takes comes from its own node first ([`numa::home`]). Where there are programs it keeps a reserve there:
//!
//! ```text
//!   programs: pages, tables        leave the whole reserve
//!   calls that make what stays     fail while less than half of it is left ([`is_short`])
//!   large blocks of the heap       leave a quarter: there, a call that finds none fails
//!   small blocks                   take what there is: code that asks for them has no other way
//! ```

use super::PAGE_SIZE;
use super::buddy::{Buddy, FrameStatistics, MAX_ORDER};
use crate::numa::{self, NODES_MAX, Topology};
use crate::sync::SpinLock;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use heapless::Vec;

pub use super::buddy::order_for;

/// Memory of the kernel's node that programs do not get, so that the kernel can go on when they took all there is: at least this,
/// and so much more for each core, whose calls are what it is needed for, but of a small machine with many cores no more than a
/// part.
const RESERVE: u64 = 8 << 20;
const RESERVE_OF_CORE: u64 = 1 << 20;
const RESERVE_PART: u64 = 8;

type Zone = SpinLock<Option<Buddy<'static>>>;

/// Memory by node; nothing where a node has none.
static ZONES: [Zone; NODES_MAX] = [const { SpinLock::new(None) }; NODES_MAX];

/// Free frames of each node, to be read without its lock.
static FREE: [AtomicU64; NODES_MAX] = [const { AtomicU64::new(0) }; NODES_MAX];

/// Bytes of the reserve: none where there are no programs.
static RESERVED: AtomicU64 = AtomicU64::new(0);

/// Who takes a block, and what has to stay free then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taker {
    Kernel,
    KernelIfItCan,
    Program,
}

impl Taker {
    /// Bytes of a node that stay free.
    fn leaves(self, node: usize) -> u64 {
        match self {
            Taker::Kernel => 0,
            Taker::KernelIfItCan => reserve(node) / 4,
            Taker::Program => reserve(node),
        }
    }
}

/// From the first to the last free address of each node.
type Spans = Vec<Range<u64>, NODES_MAX>;

fn spans(topology: &Topology, free: impl Iterator<Item = Range<u64>>) -> Spans {
    let mut spans: Spans = (0..topology.nodes()).map(|_| 0..0).collect();
    for (piece, node) in free.flat_map(|range| topology.pieces(range)) {
        if let Some(span) = spans.get_mut(node) {
            let start = if span.is_empty() { piece.start } else { span.start.min(piece.start) };
            *span = start..span.end.max(piece.end);
        }
    }
    spans
}

fn words(span: &Range<u64>) -> usize {
    Buddy::bitmap_words(span.clone())
}

/// Bytes of bitmap that [`init`] needs for these free ranges.
pub fn bitmap_len(topology: &Topology, free: impl Iterator<Item = Range<u64>>) -> usize {
    spans(topology, free).iter().map(words).sum::<usize>() * 8
}

/// Starts the allocators with `free` ranges.
///
/// # Safety
/// The ranges are usable memory in the direct map that nothing else uses.
pub unsafe fn init(
    topology: &Topology,
    mut bitmap: &'static mut [u64],
    free: impl Iterator<Item = Range<u64>> + Clone,
) {
    for (node, span) in spans(topology, free.clone()).into_iter().enumerate() {
        let Some((own, rest)) = core::mem::take(&mut bitmap).split_at_mut_checked(words(&span)) else {
            panic!("the frame allocator's bitmap is too short for {span:#x?}")
        };
        bitmap = rest;
        if span.is_empty() {
            continue;
        }
        let mut buddy = Buddy::new(span, own);
        let pieces = free.clone().flat_map(|range| topology.pieces(range));
        pieces.filter(|(_, its)| *its == node).for_each(|(piece, _)| buddy.add(piece));
        FREE[node].store(buddy.statistics().free, Ordering::Relaxed);
        *ZONES[node].lock() = Some(buddy);
    }
}

/// Sets the reserve aside, for a machine with so many cores on which programs are going to run.
pub fn reserve_for(cores: usize) {
    let node = statistics_of(numa::home()).total * PAGE_SIZE;
    RESERVED.store(reserve_of(cores, node), Ordering::Relaxed);
}

fn reserve_of(cores: usize, node: u64) -> u64 {
    RESERVE + (RESERVE_OF_CORE * cores as u64).min((node / RESERVE_PART).saturating_sub(RESERVE))
}

/// Takes 2^`order` contiguous frames for the kernel, aligned to their size; contents undefined.
pub fn allocate(order: usize) -> Option<u64> {
    // The reserve is for when nobody has anything else.
    let spare = if numa::nodes() == 1 { None } else { nearest(order, Taker::Program) };
    spare.or_else(|| nearest(order, Taker::Kernel))
}

/// The same for somebody who can do without: nothing of the last of the reserve.
pub fn allocate_if_possible(order: usize) -> Option<u64> {
    nearest(order, Taker::KernelIfItCan)
}

/// The same for what the kernel keeps for a program: the reserve stays.
pub fn allocate_beside_program(order: usize) -> Option<u64> {
    nearest(order, Taker::Program)
}

/// The same for a program, on this node, where the reserve stays.
pub fn allocate_for_program(order: usize, node: usize) -> Option<u64> {
    take(node, order, Taker::Program)
}

/// A block of the kernel's node, or of the nearest that has one.
fn nearest(order: usize, taker: Taker) -> Option<u64> {
    numa::nearest(numa::home()).find_map(|node| take(node, order, taker))
}

/// Takes a block of a node.
fn take(node: usize, order: usize, taker: Taker) -> Option<u64> {
    let mut zone = ZONES.get(node)?.lock();
    let zone = zone.as_mut()?;
    let leaves = taker.leaves(node);
    if leaves != 0 && zone.statistics().free < leaves / PAGE_SIZE + (1 << order) {
        return None;
    }
    let block = zone.allocate(order);
    FREE[node].store(zone.statistics().free, Ordering::Relaxed);
    block
}

/// Bytes of a node that programs do not get.
pub fn reserve(node: usize) -> u64 {
    if node == numa::home() { RESERVED.load(Ordering::Relaxed) } else { 0 }
}

/// Less than half of the reserve is left, and nothing else: what stays should not be made.
pub fn is_short() -> bool {
    let free: u64 = FREE[..numa::nodes()].iter().map(|free| free.load(Ordering::Relaxed)).sum();
    free * PAGE_SIZE < RESERVED.load(Ordering::Relaxed) / 2
}

/// Gives a block back.
///
/// # Safety
/// Nothing uses the block, which came from [`allocate`] with this order or is an aligned part of one.
pub unsafe fn free(block: u64, order: usize) {
    let node = numa::node_of_memory(block);
    let mut zone = ZONES[node].lock();
    let Some(zone) = zone.as_mut() else { return };
    if let Err(error) = zone.free(block, order) {
        panic!("memory at {block:#x} (order {order}) given back: {error}");
    }
    FREE[node].store(zone.statistics().free, Ordering::Relaxed);
}

/// Gives whole frames back, in the largest aligned pieces.
///
/// # Safety
/// Nothing uses them, and they are parts of blocks of this allocator.
pub unsafe fn free_range(range: Range<u64>) {
    let mut at = range.start;
    while at < range.end {
        let order = super::buddy::largest_order_at(at / PAGE_SIZE, range.end / PAGE_SIZE);
        // SAFETY: the caller's.
        unsafe { free(at, order) };
        at += PAGE_SIZE << order;
    }
}

/// Frees all zones, whoever holds them: to look at, not to allocate from.
///
/// # Safety
/// As [`SpinLock::break_lock`].
pub(super) unsafe fn break_locks() {
    // SAFETY: the caller's. A zone that was being changed says of a block too much or too little that it is free.
    ZONES.iter().for_each(|zone| unsafe { zone.break_lock() });
}

fn zone_of(address: u64) -> &'static Zone {
    &ZONES[numa::node_of_memory(address)]
}

/// The free block that contains physical address `address`.
pub fn free_block(address: u64) -> Option<Range<u64>> {
    zone_of(address).lock().as_ref()?.free_block(address)
}

/// Free blocks of each order.
pub fn free_blocks() -> [u64; MAX_ORDER + 1] {
    let mut sum = [0; MAX_ORDER + 1];
    for zone in &ZONES[..numa::nodes()] {
        let blocks = zone.lock().as_ref().map(Buddy::free_blocks).unwrap_or_default();
        sum.iter_mut().zip(blocks).for_each(|(sum, blocks)| *sum += blocks);
    }
    sum
}

/// How the memory of a node is used.
pub fn statistics_of(node: usize) -> FrameStatistics {
    ZONES.get(node).and_then(|zone| zone.lock().as_ref().map(Buddy::statistics)).unwrap_or_default()
}

/// How all memory is used. With several nodes the most that was ever allocated at once is the sum of what it was on each.
pub fn statistics() -> FrameStatistics {
    (0..numa::nodes()).map(statistics_of).fold(FrameStatistics::default(), |sum, node| FrameStatistics {
        total: sum.total + node.total,
        free: sum.free + node.free,
        high_water: sum.high_water + node.high_water,
        failures: sum.failures + node.failures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_cores_do_not_take_a_small_machine() {
        const MIB: u64 = 1 << 20;
        assert_eq!(reserve_of(4, 512 * MIB), 12 * MIB);
        assert_eq!(reserve_of(64, 1024 * MIB), 72 * MIB);
        assert_eq!(reserve_of(64, 256 * MIB), 32 * MIB);
        assert_eq!(reserve_of(2, 48 * MIB), 8 * MIB);
    }
}
