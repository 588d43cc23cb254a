//! The machine's free physical memory: a buddy allocator for each NUMA node, each under one lock.
//!
//! What the kernel takes comes from its own node first ([`numa::home`]), where it keeps a reserve that programs do not get.

use super::PAGE_SIZE;
use super::buddy::{Buddy, FrameStatistics, MAX_ORDER};
use crate::numa::{self, NODES_MAX, Topology};
use crate::sync::SpinLock;
use core::ops::Range;
use heapless::Vec;

pub use super::buddy::order_for;

/// Memory of the kernel's node that programs do not get, so that the kernel can go on when they took all there is.
const KERNEL_RESERVE: u64 = 8 << 20;

type Zone = SpinLock<Option<Buddy<'static>>>;

/// Memory by node; nothing where a node has none.
static ZONES: [Zone; NODES_MAX] = [const { SpinLock::new(None) }; NODES_MAX];

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
        *ZONES[node].lock() = Some(buddy);
    }
}

/// Takes 2^`order` contiguous frames for the kernel, aligned to their size; contents undefined.
pub fn allocate(order: usize) -> Option<u64> {
    if numa::nodes() == 1 {
        return take(0, order, 0);
    }
    // The reserve is for when nobody has anything else.
    let nodes = || numa::nearest(numa::home());
    let spare = nodes().find_map(|node| take(node, order, reserve(node)));
    spare.or_else(|| nodes().find_map(|node| take(node, order, 0)))
}

/// The same for a program, on this node, where the reserve stays.
pub fn allocate_for_program(order: usize, node: usize) -> Option<u64> {
    take(node, order, reserve(node))
}

/// Takes a block of a node if more than `reserve` bytes stay free.
fn take(node: usize, order: usize, reserve: u64) -> Option<u64> {
    let mut zone = ZONES.get(node)?.lock();
    let zone = zone.as_mut()?;
    if reserve != 0 && zone.statistics().free < reserve / PAGE_SIZE + (1 << order) {
        return None;
    }
    zone.allocate(order)
}

/// Bytes of a node that programs do not get.
pub fn reserve(node: usize) -> u64 {
    if node == numa::home() { KERNEL_RESERVE } else { 0 }
}

/// Gives a block back.
///
/// # Safety
/// Nothing uses the block, which came from [`allocate`] with this order or is an aligned part of one.
pub unsafe fn free(block: u64, order: usize) {
    let result = zone_of(block).lock().as_mut().map(|zone| zone.free(block, order));
    if let Some(Err(error)) = result {
        panic!("memory at {block:#x} (order {order}) given back: {error}");
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
