//! Tests of address spaces on the fake machine.

use super::flags::map;
use super::*;
use crate::testing::{Machine, pool, system};
use keelson_hal::user::{Access, PageSize};
use std::sync::atomic::Ordering;

mod calls;
mod files;
mod many;
mod model;
mod nodes;
mod sharing;

const ANON: u64 = map::PRIVATE | map::ANONYMOUS;
const MIB: u64 = 1 << 20;
const RW: Protection = Protection::READ_WRITE;

/// An address space on a machine with one NUMA node, where prefault applies.
fn mm_with(change: impl FnOnce(&mut MmSettings)) -> (Arc<Mm>, Arc<Machine>) {
    let (system, machine, _) = system();
    // The machine has two nodes: what is to be filled at once must be below the threshold.
    let mut settings = MmSettings { policy_threshold: u64::MAX, ..MmSettings::default() };
    change(&mut settings);
    (Mm::new(&system, settings).unwrap(), machine)
}

fn mm() -> Arc<Mm> {
    mm_with(|_| {}).0
}

fn anonymous(at: u64, len: u64, protection: Protection, flags: u64) -> Map {
    Map { at, len, protection, flags, ..Map::default() }
}

fn sizes(mm: &Mm, at: u64) -> (u64, u64, u64) {
    let usage = mm.area_usage(&mm.area(at).unwrap());
    (usage.small, usage.large, usage.huge)
}

#[test]
fn anonymous_memory_has_the_largest_pages_at_once() {
    let mm = mm();
    let at = mm.mmap(&anonymous(0, 64 * MIB, RW, ANON)).unwrap();
    assert_eq!(at % (2 * MIB), 0);
    assert_eq!(sizes(&mm, at), (0, 64 * MIB, 0));
    let big = mm.mmap(&anonymous(0, 1024 * MIB + 4096, RW, ANON)).unwrap();
    assert_eq!(sizes(&mm, big), (4096, 0, 1 << 30));
    mm.write(at + 5, b"hello").unwrap();
    let mut five = [0; 5];
    mm.read(at + 5, &mut five).unwrap();
    assert_eq!(&five, b"hello");
    mm.munmap(at, 64 * MIB).unwrap();
    mm.munmap(big, 1024 * MIB + 4096).unwrap();
    assert_eq!(mm.read(at, &mut five), Err(Errno::EFAULT));
    assert_eq!(pool().used(), 0);
    assert_eq!(mm.usage().resident, 0);
}

#[test]
fn arrays_do_not_all_begin_at_a_large_page() {
    let mm = mm();
    let len = 8 * MIB + 4096;
    let arrays: Vec<u64> = (0..4).map(|_| mm.mmap(&anonymous(0, len, RW, ANON)).unwrap()).collect();
    for (n, at) in arrays.iter().enumerate() {
        assert_eq!(at % (2 * MIB), n as u64 * 4096, "array {n}");
        assert!(sizes(&mm, *at).1 >= 6 * MIB, "array {n}");
    }
}

#[test]
fn memory_without_access_is_filled_by_touch_in_units_of_two_mebibytes() {
    let mm = mm();
    let at = mm.mmap(&anonymous(0, 8 * MIB + 4096, Protection::NONE, ANON | map::STACK)).unwrap();
    assert_eq!(mm.fault(at, Access::Read, 0), Err(Fault::AccErr));
    mm.mprotect(at + 4096, 8 * MIB, RW, false).unwrap();
    assert_eq!(mm.usage().resident, 0);
    mm.write(at + 5 * MIB, b"x").unwrap();
    assert_eq!(mm.usage().resident, 2 * MIB);
    mm.write(at + 4096, b"x").unwrap();
    assert_eq!(mm.usage().resident, 2 * MIB + 15 * 4096);
}

#[test]
fn cutting_a_large_page_splits_its_edge_only() {
    let mm = mm();
    let at = mm.mmap(&anonymous(0, 8 * MIB, RW, ANON)).unwrap();
    mm.munmap(at + 4096, 4096).unwrap();
    assert_eq!(pool().used(), 8 * MIB - 4096);
    let low = mm.area(at).unwrap();
    let high = mm.area(at + 8192).unwrap();
    assert_eq!((low.len(), high.len()), (4096, 8 * MIB - 8192));
    assert_eq!(sizes(&mm, at + 8192), (2 * MIB - 8192, 6 * MIB, 0));
    mm.mprotect(at + 3 * MIB, 4096, Protection::READ, false).unwrap();
    assert_eq!(mm.write(at + 3 * MIB, b"x"), Err(Errno::EFAULT));
    mm.write(at + 3 * MIB + 4096, b"x").unwrap();
}

#[test]
fn areas_join_again() {
    let mm = mm();
    let at = mm.mmap(&anonymous(0, 16 * 4096, RW, ANON)).unwrap();
    mm.mprotect(at + 4096, 4096, Protection::READ, false).unwrap();
    assert_eq!(mm.areas().count(), 3);
    mm.mprotect(at + 4096, 4096, RW, false).unwrap();
    assert_eq!(mm.areas().count(), 1);
    let next = mm.mmap(&anonymous(0, 4096, RW, ANON)).unwrap();
    assert_eq!((next, mm.areas().count()), (at + 16 * 4096, 1));
}

#[test]
fn without_memory_a_fault_says_so() {
    let (mm, machine) = mm_with(|_| {});
    machine.limit.store(2 * MIB, Ordering::Relaxed);
    let at = mm.mmap(&anonymous(0, 64 * MIB, RW, ANON)).unwrap();
    assert_eq!(mm.usage().resident, 0, "more than half of what is free is not filled");
    mm.write(at, b"x").unwrap();
    assert_eq!(mm.fault(at + 4 * MIB, Access::Write, 0), Err(Fault::OutOfMemory));
    assert_eq!(mm.write(at + 4 * MIB, b"x"), Err(Errno::ENOMEM));
    assert!(mm.system().memory.shortages() > 0);
    let demanded = anonymous(0, 4 * MIB, RW, ANON | map::HUGETLB);
    assert_eq!(mm.mmap(&demanded), Err(Errno::ENOMEM));
    assert_eq!(mm.areas().count(), 1);
}

#[test]
fn what_is_resident_is_told_while_somebody_fills_memory() {
    let mm = mm();
    mm.mmap(&anonymous(0, 2 * MIB, RW, ANON)).unwrap();
    let _filling = mm.lock();
    assert_eq!((mm.resident(), mm.resident_most()), (2 * MIB, 2 * MIB));
}

#[test]
fn the_break_is_exactly_what_was_asked_for() {
    let mm = mm();
    mm.set_brk(0x60_1234).unwrap();
    let start = mm.brk(0, 0);
    assert_eq!(start, 0x60_2000);
    assert_eq!(mm.brk(start + 100, 0), start + 100);
    mm.write(start, &[7; 100]).unwrap();
    assert_eq!(mm.brk(start + 10, 0), start + 10);
    assert_eq!(mm.brk(start + 8192, 0), start + 8192);
    let mut bytes = [1; 100];
    mm.read(start, &mut bytes).unwrap();
    assert_eq!(bytes[..10], [7; 10]);
    assert_eq!(bytes[10..], [0; 90]);
    assert_eq!(mm.brk(start - 1, 0), start + 8192);
    assert_eq!(mm.area(start).unwrap().role, Role::Heap);
}

#[test]
fn the_heap_grows_in_steps_when_told_to() {
    let (mm, _) = mm_with(|settings| settings.extend_heap_by = 8 * MIB);
    mm.set_brk(0x60_1234).unwrap();
    let start = mm.brk(0, 0);
    assert_eq!(start, 0x80_0000);
    // The break is where the program wants it, whatever is there behind it.
    assert_eq!(mm.brk(start + 100, 0), start + 100);
    assert_eq!(sizes(&mm, start), (0, 8 * MIB, 0));
    assert_eq!(mm.brk(start + 200, 0), start + 200);
    assert_eq!(mm.brk(start + 8 * MIB, 0), start + 8 * MIB);
    assert_eq!(sizes(&mm, start), (0, 8 * MIB, 0));
    assert_eq!(mm.brk(start + 8 * MIB + 1, 0), start + 8 * MIB + 1);
    assert_eq!(sizes(&mm, start), (0, 16 * MIB, 0));
    assert_eq!((mm.brk(0, 0), mm.heap()), (start + 8 * MIB + 1, start..start + 8 * MIB + 1));
}

#[test]
fn strings_end_where_they_end() {
    let mm = mm();
    let at = mm.mmap(&anonymous(0, 8192, RW, ANON)).unwrap();
    mm.write(at + 8189, b"ab\0").unwrap();
    assert_eq!(mm.read_string(at + 8189, 100).unwrap(), b"ab");
    mm.write(at + 8191, b"c").unwrap();
    assert_eq!(mm.read_string(at + 8189, 100), Err(Errno::EFAULT));
    assert_eq!(mm.read_string(at + 8189, 3), Err(Errno::ENAMETOOLONG));
    mm.write(at + 4094, b"abcd\0").unwrap();
    assert_eq!(mm.read_string(at + 4094, 100).unwrap(), b"abcd");
}

#[test]
fn futex_words_are_the_same_in_whoever_shares_them() {
    let mm = mm();
    let own = mm.mmap(&anonymous(0, 4096, RW, ANON)).unwrap();
    let shared = mm.mmap(&anonymous(0, 4096, RW, map::SHARED | map::ANONYMOUS)).unwrap();
    let child = mm.fork().unwrap();
    assert_ne!(mm.futex_key(own, false).unwrap(), child.futex_key(own, false).unwrap());
    assert_eq!(mm.futex_key(shared + 4, false).unwrap(), child.futex_key(shared + 4, false).unwrap());
    assert_ne!(mm.futex_key(shared + 4, true).unwrap(), child.futex_key(shared + 4, true).unwrap());
    assert_eq!(mm.compare_exchange_u32(shared, 0, 5), Ok(0));
    assert_eq!(child.load_u32(shared), Ok(5));
    assert_eq!(mm.load_u32(shared + 2), Err(Errno::EINVAL));
}

#[test]
fn a_stack_grows_down_to_its_limit() {
    let mm = mm();
    mm.set_limits(Limits { stack: MIB, ..Limits::default() });
    let at = 0x7000_0000_0000;
    mm.mmap(&anonymous(at, 4096, RW, ANON | map::GROWSDOWN | map::FIXED)).unwrap();
    mm.write(at - 0x2_0000, b"x").unwrap();
    assert_eq!(mm.area(at).unwrap().start, at - 0x2_0000);
    assert_eq!(mm.write(at - 2 * MIB, b"x"), Err(Errno::EFAULT));
}

#[test]
fn other_cores_forget_before_addresses_are_used_again() {
    let mm = mm();
    let at = mm.mmap(&anonymous(0, 2 * MIB, RW, ANON)).unwrap();
    mm.munmap(at, 2 * MIB).unwrap();
    assert!(!mm.lock().stale.is_empty());
    assert_eq!(mm.mmap(&anonymous(0, 2 * MIB, RW, ANON)).unwrap(), at);
    assert!(mm.lock().stale.is_empty());
    assert_eq!(mm.usage().size, 2 * MIB);
    assert!(PageSize::Large.bytes() == 2 * MIB);
}
