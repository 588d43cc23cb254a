//! What programs may have much or many of: it takes no memory in proportion, or fails.

use super::*;

const NORESERVE: u64 = ANON | map::NORESERVE;

/// So many areas of one page each in a row, of two kinds in turn.
fn areas(mm: &Mm, count: u64) -> Range<u64> {
    let len = count * PAGE;
    let at = mm.mmap(&anonymous(0, len, Protection::NONE, NORESERVE)).unwrap();
    for page in (0..count).step_by(2) {
        mm.mprotect(at + page * PAGE, PAGE, Protection::READ, false).unwrap();
    }
    at..at + len
}

#[test]
fn as_many_areas_as_there_can_be_are_changed_and_unmapped_in_one_call() {
    let mm = mm();
    let range = areas(&mm, 65_000);
    assert_eq!(mm.areas().count(), 65_000);
    mm.munmap(range.start + 10 * PAGE, 64_980 * PAGE).unwrap();
    let left: Vec<u64> = mm.areas().map(|area| (area.start - range.start) / PAGE).collect();
    assert_eq!(left, (0..10).chain(64_990..65_000).collect::<Vec<_>>());
    mm.munmap(range.start, 65_000 * PAGE).unwrap();
    assert_eq!((mm.areas().count(), mm.usage()), (0, Usage::default()));
    let range = areas(&mm, 65_000);
    mm.mprotect(range.start, 65_000 * PAGE, RW, false).unwrap();
    assert_eq!(mm.areas().map(|area| area.range()).collect::<Vec<_>>(), [range]);
    assert_eq!((mm.usage().size, mm.usage().data), (65_000 * PAGE, 65_000 * PAGE));
}

#[test]
fn sums_follow_what_changes() {
    let mm = mm();
    let range = areas(&mm, 6);
    mm.mlock(range.start + PAGE, 3 * PAGE, Fill::OnFault, 0).unwrap();
    mm.mprotect(range.start, 2 * PAGE, RW, false).unwrap();
    let usage = mm.usage();
    assert_eq!((usage.size, usage.data, usage.locked), (6 * PAGE, 2 * PAGE, 3 * PAGE));
    mm.munlock(range.start, 6 * PAGE).unwrap();
    mm.munmap(range.start, PAGE).unwrap();
    let usage = mm.usage();
    assert_eq!((usage.size, usage.data, usage.locked), (5 * PAGE, PAGE, 0));
}

#[test]
fn without_memory_of_the_kernel_there_are_no_more_areas() {
    let (mm, machine) = mm_with(|_| {});
    mm.set_brk(0x60_0000).unwrap();
    let at = mm.mmap(&anonymous(0, 16 * PAGE, RW, ANON)).unwrap();
    let gone = mm.mmap(&anonymous(0, PAGE, Protection::READ, ANON)).unwrap();
    machine.short.store(true, Ordering::Relaxed);
    assert_eq!(mm.mmap(&anonymous(0, PAGE, RW, ANON)), Err(Errno::ENOMEM));
    assert_eq!(mm.mprotect(at, PAGE, Protection::READ, false), Err(Errno::ENOMEM));
    assert_eq!(mm.mlock(at, PAGE, Fill::OnFault, 0), Err(Errno::ENOMEM));
    assert_eq!(mm.munlock(at, PAGE), Err(Errno::ENOMEM));
    assert_eq!(mm.madvise(at, PAGE, madv::DONTFORK), Err(Errno::ENOMEM));
    assert_eq!(mm.munmap(at + PAGE, PAGE), Err(Errno::ENOMEM), "a hole");
    assert_eq!(mm.brk(0x60_0000 + PAGE, 0), 0x60_0000);
    // What is there can be used and given back.
    mm.write(at, b"x").unwrap();
    mm.madvise(at, 16 * PAGE, madv::DONTNEED).unwrap();
    mm.munmap(gone, PAGE).unwrap();
    mm.munmap(at, PAGE).unwrap();
    mm.munmap(at, 16 * PAGE).unwrap();
    assert_eq!((mm.areas().count(), pool().used()), (0, 0));
}

#[test]
fn without_memory_of_the_kernel_there_is_no_child() {
    let (mm, machine) = mm_with(|_| {});
    areas(&mm, 100);
    let at = mm.mmap(&anonymous(0, 4 * PAGE, RW, ANON)).unwrap();
    mm.write(at, b"a").unwrap();
    let used = pool().used();
    machine.short.store(true, Ordering::Relaxed);
    assert_eq!(mm.fork().err(), Some(Errno::ENOMEM));
    assert_eq!((pool().used(), mm.areas().count()), (used, 101));
    machine.short.store(false, Ordering::Relaxed);
    mm.write(at, b"b").unwrap();
    let child = mm.fork().unwrap();
    let ranges = |mm: &Mm| mm.areas().map(|area| (area.range(), area.protection)).collect::<Vec<_>>();
    assert_eq!(ranges(&child), ranges(&mm));
}

/// A child gets each page once, although the areas of its parent are joined on the way.
#[test]
fn areas_that_a_fork_joins_are_copied_once() {
    let (mm, _) = mm_with(|settings| settings.duplicate = Duplicate::CopyOnWrite);
    let at = mm.mmap(&anonymous(0, 2 * PAGE, RW, ANON)).unwrap();
    mm.write(at, b"ab").unwrap();
    mm.madvise(at, PAGE, madv::DONTFORK).unwrap();
    drop(mm.fork().unwrap());
    // Now the second page is one that is copied when it is written, and the first is not.
    mm.madvise(at, PAGE, madv::DOFORK).unwrap();
    assert_eq!(mm.areas().count(), 2);
    let child = mm.fork().unwrap();
    assert_eq!((mm.areas().count(), child.areas().count()), (1, 1));
    assert_eq!((child.usage().size, child.usage().resident), (2 * PAGE, 2 * PAGE));
    let mut two = [0; 2];
    child.read(at, &mut two).unwrap();
    assert_eq!(&two, b"ab");
}

#[test]
fn mincore_looks_at_pages_and_not_at_addresses() {
    let mm = mm();
    let at = mm.mmap(&anonymous(0, 1 << 40, RW, NORESERVE)).unwrap();
    mm.write(at + (1 << 39), b"x").unwrap();
    let mut pages = [7; 4096];
    mm.mincore(at, &mut pages).unwrap();
    assert!(pages.iter().all(|page| *page == 0));
    // A large page, of which some is before the range.
    mm.mincore(at + (1 << 39) + 2 * PAGE, &mut pages).unwrap();
    assert_eq!(pages.iter().position(|page| *page == 0), Some(510));
    assert!(pages[510..].iter().all(|page| *page == 0));
    assert_eq!(mm.mincore(at + (1 << 40) - PAGE, &mut pages), Err(Errno::ENOMEM));
    // Of shared memory, also what another mapping brought.
    let shared = mm.mmap(&anonymous(0, 64 * PAGE, RW, map::SHARED | map::ANONYMOUS)).unwrap();
    let child = mm.fork().unwrap();
    child.write(shared + 5 * PAGE, b"x").unwrap();
    child.write(shared + 7 * PAGE, b"x").unwrap();
    mm.mincore(shared + 2 * PAGE, &mut pages[..8]).unwrap();
    assert_eq!(pages[..8], [0, 0, 0, 1, 0, 1, 0, 0]);
}

#[test]
fn a_hole_is_made_in_many_areas() {
    let mm = mm();
    let at = mm.mmap(&anonymous(0, 8 * PAGE, RW, map::SHARED | map::ANONYMOUS)).unwrap();
    mm.write(at, &[1; 8 * PAGE as usize]).unwrap();
    for page in [1, 3, 5] {
        mm.madvise(at + page * PAGE, PAGE, madv::DONTDUMP).unwrap();
    }
    assert_eq!(mm.areas().count(), 7);
    mm.madvise(at + PAGE, 4 * PAGE, madv::REMOVE).unwrap();
    let mut pages = [0; 8];
    mm.mincore(at, &mut pages).unwrap();
    assert_eq!(pages, [1, 0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(mm.madvise(at + 7 * PAGE, 2 * PAGE, madv::REMOVE), Err(Errno::ENOMEM));
}

/// Pages that several mappings share are split for those who want small ones, which takes memory of the kernel.
#[test]
fn shared_pages_are_not_split_without_memory() {
    let (_, machine, _) = system();
    let object = Object::memory(machine.clone(), 4 * MIB, PageSize::Large);
    object.write(0, &[1; 8192], 0).unwrap();
    object.write(2 * MIB, &[2; 8192], 0).unwrap();
    let page = |offset, most| object.page(offset, most, &Policy::default(), 0).map(|page| page.frame.size());
    machine.short.store(true, Ordering::Relaxed);
    assert_eq!(page(4096, PageSize::Small), Err(NoPage::OutOfMemory));
    assert_eq!(page(4096, PageSize::Large), Ok(PageSize::Large));
    // Memory can be given back all the same: what is only a part of a page is zeroed.
    object.punch(4096, 2 * MIB);
    let mut bytes = [7; 8192];
    object.read(0, &mut bytes).unwrap();
    assert!(bytes[..4096] == [1; 4096] && bytes[4096..] == [0; 4096]);
    object.set_size(2 * MIB + 100);
    object.set_size(4 * MIB);
    object.read(2 * MIB, &mut bytes).unwrap();
    assert!(bytes[..100] == [2; 100] && bytes[100..].iter().all(|byte| *byte == 0));
    assert_eq!(object.resident(), 4 * MIB);
    object.set_size(2 * MIB);
    assert_eq!(object.resident(), 2 * MIB);
    machine.short.store(false, Ordering::Relaxed);
    assert_eq!(page(4096, PageSize::Small), Ok(PageSize::Small));
}
