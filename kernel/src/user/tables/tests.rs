use super::*;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Tables at 0x1000, 0x2000, ... up to a limit; they stay until the end of the test.
struct Fake {
    tables: RefCell<Vec<&'static Table>>,
    left: Cell<usize>,
}

impl TableMemory for Fake {
    fn allocate(&self) -> Option<u64> {
        self.left.set(self.left.get().checked_sub(1)?);
        let table: Table = std::array::from_fn(|_| AtomicU64::new(0));
        self.tables.borrow_mut().push(Box::leak(Box::new(table)));
        Some(self.tables.borrow().len() as u64 * 4096)
    }
    fn table(&self, phys: u64) -> &Table {
        self.tables.borrow()[phys as usize / 4096 - 1]
    }
}

fn tables(limit: usize) -> Tables<Fake> {
    let memory = Fake { tables: RefCell::default(), left: Cell::new(limit) };
    let root = memory.allocate().unwrap();
    Tables::new(memory, root)
}

const RW: Protection = Protection::READ_WRITE;
const S: PageSize = PageSize::Small;
const L: PageSize = PageSize::Large;
const H: PageSize = PageSize::Huge;

fn map(t: &Tables<Fake>, at: u64, frame: u64, size: PageSize) -> Result<(), MapFault> {
    t.map(at, frame, size, RW, &mut Retired::default())
}

#[test]
fn pages_of_every_size_are_found() {
    let t = tables(20);
    map(&t, 0x7fff_ffff_e000, 0x5000, S).unwrap();
    map(&t, 0x20_0000, 0x40_0000, L).unwrap();
    map(&t, 0x4000_0000, 0x8000_0000, H).unwrap();
    let page = t.find(0x7fff_ffff_efff).unwrap();
    assert_eq!((page.at, page.size, page.frame), (0x7fff_ffff_e000, S, 0x5000));
    assert_eq!(t.find(0x3f_ffff).unwrap().frame, 0x40_0000);
    assert_eq!(t.find(0x4000_0000).unwrap().size, H);
    assert_eq!(t.find(0x1f_ffff), None);
    assert_eq!(t.find(1 << 47), None);
    assert_eq!(t.find(u64::MAX), None);
    assert_eq!(t.translate(0x20_1234, Intent::Read), Some((0x40_1234, 0x20_0000 - 0x1234)));
}

#[test]
fn what_does_not_fit_is_refused() {
    let t = tables(20);
    assert_eq!(map(&t, 0x1000, 0x2000, L), Err(MapFault::Unaligned));
    assert_eq!(map(&t, 0x20_0000, 0x2000, L), Err(MapFault::Unaligned));
    assert_eq!(map(&t, 1 << 47, 0, S), Err(MapFault::Unaligned));
    map(&t, 0x1000, 0x2000, S).unwrap();
    assert_eq!(map(&t, 0x1000, 0x2000, S), Err(MapFault::Occupied));
    assert_eq!(map(&t, 0, 0x20_0000, L), Err(MapFault::Occupied));
    map(&t, 0x20_0000, 0x20_0000, L).unwrap();
    assert_eq!(map(&t, 0x20_1000, 0x2000, S), Err(MapFault::Occupied));
    assert_eq!(map(&tables(3), 0x1000, 0x1000, S), Err(MapFault::OutOfMemory));
}

#[test]
fn tables_go_when_they_are_empty() {
    let t = tables(20);
    map(&t, 0x1000, 0x2000, S).unwrap();
    map(&t, 0x2000, 0x3000, S).unwrap();
    let mut retired = Retired::default();
    assert_eq!(t.unmap(0x1234, &mut retired), Some((0x2000, S)));
    assert_eq!(retired, Retired::default(), "another page is left");
    assert_eq!(t.unmap(0x1234, &mut retired), None);
    assert_eq!(t.unmap(0x2000, &mut retired), Some((0x3000, S)));
    assert_eq!(retired.tables.iter().flatten().count(), 3);
    map(&t, 0, 0x4000_0000, H).unwrap();
}

#[test]
fn a_table_left_by_a_lack_of_memory_is_no_obstacle() {
    // Root, one for 512 GiB, one for 1 GiB; none for the small page.
    let t = tables(3);
    assert_eq!(map(&t, 0x1000, 0x1000, S), Err(MapFault::OutOfMemory));
    let mut retired = Retired::default();
    t.map(0, 0, H, RW, &mut retired).unwrap();
    assert_eq!(retired.tables[1], Some(0x3000));
    assert_eq!(t.unmap(0, &mut Retired::default()), Some((0, H)));
    map(&t, 0, 0, H).expect_err("the upper table went with it");
}

#[test]
fn a_split_page_keeps_content_and_rights() {
    let t = tables(20);
    map(&t, 0x4000_0000, 0x8000_0000, H).unwrap();
    t.translate(0x4000_0000, Intent::Write).unwrap();
    t.protect(0x4000_0000, Protection::NONE);
    assert_eq!(t.split(0x4020_0000), Ok((0x8000_0000, H)));
    assert_eq!(t.split(0x4020_0000), Ok((0x8020_0000, L)));
    assert_eq!(t.split(0x4020_0000), Err(MapFault::Unaligned));
    assert_eq!(t.split(0), Err(MapFault::Unaligned));
    for (at, size) in [(0x4000_0000, L), (0x4020_0000, S), (0x403f_f000, S), (0x7fe0_0000, L)] {
        let page = t.find(at).unwrap();
        assert_eq!((page.at, page.size, page.frame), (at, size, at + 0x4000_0000));
        assert!(page.dirty && page.protection == Protection::NONE);
    }
    let mut retired = Retired::default();
    for part in 0..512 {
        assert_eq!(t.unmap(0x4020_0000 + part * 4096, &mut retired), Some((0x8020_0000 + part * 4096, S)));
    }
    assert_eq!(retired.tables.iter().flatten().count(), 1);
    map(&t, 0x4020_0000, 0, L).unwrap();
}

#[test]
fn rights_are_those_asked_for() {
    let t = tables(20);
    map(&t, 0x1000, 0x2000, S).unwrap();
    for protection in [Protection::NONE, Protection::READ, RW, Protection::READ_EXECUTE] {
        assert!(t.protect(0x1000, protection));
        assert_eq!(t.find(0x1000).unwrap().protection, protection);
        assert_eq!(t.translate(0x1000, Intent::Read).is_some(), protection.read);
        assert_eq!(t.translate(0x1000, Intent::Write).is_some(), protection.write);
    }
    assert!(!t.protect(0x2000, RW));
    let write_only = Protection { read: false, write: true, execute: false };
    t.protect(0x1000, write_only);
    assert_eq!(t.find(0x1000).unwrap().protection, RW, "x86-64 has no pages that are only writable");
}

#[test]
fn dirty_follows_writes_only() {
    let t = tables(20);
    map(&t, 0x1000, 0x2000, S).unwrap();
    t.translate(0x1000, Intent::Read).unwrap();
    assert!(!t.take_dirty(0x1000));
    t.translate(0x1000, Intent::Write).unwrap();
    assert!(t.find(0x1000).unwrap().dirty);
    t.protect(0x1000, Protection::READ);
    assert!(t.take_dirty(0x1000), "a change of rights does not lose it");
    assert!(!t.take_dirty(0x1000));
    assert!(!t.take_dirty(0x9000));
}

#[test]
fn the_end_finds_every_page_and_table() {
    let t = tables(20);
    map(&t, 0x1000, 0x2000, S).unwrap();
    map(&t, 0x20_0000, 0x40_0000, L).unwrap();
    map(&t, 1 << 40, 0x8000_0000, H).unwrap();
    let mut pages = Vec::new();
    t.clear(|frame, size| pages.push((frame, size)));
    assert_eq!(pages, [(0x2000, S), (0x40_0000, L), (0x8000_0000, H)]);
    let mut found = Vec::new();
    t.for_each_table(|table| found.push(table));
    found.sort();
    assert_eq!(found, [0x2000, 0x3000, 0x4000, 0x5000]);
}

#[derive(Clone, Debug)]
enum Step {
    Map(u64, PageSize),
    Unmap(u64),
    Split(u64),
    Next(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    // Around two boundaries of 1 GiB, in a few pages, so that steps meet.
    let at = (0u64..3, 0u64..3, 0u64..3).prop_map(|(h, l, s)| h << 30 | l << 21 | s << 12);
    let size = prop_oneof![4 => Just(S), 2 => Just(L), 1 => Just(H)];
    prop_oneof![
        3 => (at.clone(), size).prop_map(|(at, size)| Step::Map(at & !(size.bytes() - 1), size)),
        3 => at.clone().prop_map(Step::Unmap),
        1 => at.clone().prop_map(Step::Split),
        1 => (at.clone(), at).prop_map(|(from, end)| Step::Next(from, end)),
    ]
}

proptest! {
    /// Against a map of pages.
    #[test]
    fn agrees_with_a_model(steps in prop::collection::vec(step(), 0..60)) {
        let t = tables(10_000);
        let mut model: BTreeMap<u64, PageSize> = BTreeMap::new();
        let mut live = 1i64;
        for step in steps {
            let before = t.memory.tables.borrow().len() as i64;
            let mut retired = Retired::default();
            let containing = |model: &BTreeMap<u64, PageSize>, at: u64| {
                model.iter().map(|(start, size)| (*start, *size))
                    .find(|(start, size)| (*start..start + size.bytes()).contains(&at))
            };
            match step {
                Step::Map(at, size) => {
                    let overlaps = model.iter()
                        .any(|(start, other)| *start < at + size.bytes() && at < start + other.bytes());
                    let done = t.map(at, at, size, RW, &mut retired);
                    prop_assert_eq!(done, if overlaps { Err(MapFault::Occupied) } else { Ok(()) });
                    if !overlaps {
                        model.insert(at, size);
                    }
                }
                Step::Unmap(at) => {
                    let page = containing(&model, at);
                    prop_assert_eq!(t.unmap(at, &mut retired), page);
                    if let Some((start, _)) = page {
                        model.remove(&start);
                    }
                }
                Step::Split(at) => {
                    let page = containing(&model, at).filter(|(_, size)| *size != S);
                    prop_assert_eq!(t.split(at), page.ok_or(MapFault::Unaligned));
                    if let Some((start, size)) = page {
                        let part = size.smaller().unwrap();
                        model.extend((0..512).map(|n| (start + n * part.bytes(), part)));
                    }
                }
                Step::Next(from, end) => {
                    let expected = model.iter()
                        .find(|(start, size)| **start + size.bytes() > from && **start < end && from < end);
                    let found = t.next(from, end);
                    prop_assert_eq!(found.map(|page| page.at), expected.map(|(start, _)| *start));
                }
            }
            let after = t.memory.tables.borrow().len() as i64;
            live += after - before - retired.tables.iter().flatten().count() as i64;
        }
        let mut found = 1;
        t.for_each_table(|_| found += 1);
        prop_assert_eq!(found, live, "tables in place are those allocated and not retired");
        let mut pages = BTreeMap::new();
        t.clear(|frame, size| { pages.insert(frame, size); });
        prop_assert_eq!(pages, model);
    }
}
