//! Random calls against a model: what a program should see, byte by byte.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Where the calls happen: pages from here, around two large pages.
const BASE: u64 = 0x4000_0000 - 16 * PAGE;
const PAGES: u64 = 1024 + 48;
const PROCESSES_MOST: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Op {
    Map { first: u64, count: u64, protection: u8, shared: bool },
    Unmap { first: u64, count: u64 },
    Protect { first: u64, count: u64, protection: u8 },
    Move { first: u64, count: u64, new: u64, to: u64 },
    Resize { first: u64, count: u64, new: u64 },
    Write { at: u64, len: u64, value: u8 },
    Read { at: u64, len: u64 },
    Discard { first: u64, count: u64 },
    Fork,
    Exit,
}

/// Bytes that are not 0, by place.
type Content = BTreeMap<u16, u8>;

#[derive(Clone)]
enum Memory {
    Private(Content),
    /// Object and page in it.
    Shared(usize, u64),
}

#[derive(Clone)]
struct ModelPage {
    protection: u8,
    memory: Memory,
}

#[derive(Clone, Default)]
struct Model {
    pages: BTreeMap<u64, ModelPage>,
}

/// Content of shared objects, by object and page.
type Objects = BTreeMap<(usize, u64), Content>;

struct Run {
    processes: Vec<(Arc<Mm>, Model)>,
    objects: Objects,
    next_object: usize,
}

fn protection_of(bits: u8) -> Protection {
    Protection { read: bits & 1 != 0, write: bits & 2 != 0, execute: bits & 4 != 0 }
}

fn at_page(page: u64) -> u64 {
    BASE + page * PAGE
}

impl Model {
    /// The pages of a range up to the first gap.
    fn leading(&self, first: u64, count: u64) -> u64 {
        (first..first + count).take_while(|page| self.pages.contains_key(page)).count() as u64
    }

    fn alike(&self, first: u64, count: u64) -> bool {
        let mut kinds = (first..first + count).map(|page| {
            let page = self.pages.get(&page)?;
            let shared = match page.memory {
                Memory::Private(_) => None,
                Memory::Shared(object, _) => Some(object),
            };
            Some((page.protection, shared))
        });
        let one = kinds.next().flatten();
        one.is_some() && kinds.all(|other| other == one)
    }

    /// A page behind another one that continues it.
    fn continued(&self, last: u64, by: u64) -> ModelPage {
        let page = &self.pages[&last];
        let memory = match page.memory {
            Memory::Private(_) => Memory::Private(Content::new()),
            Memory::Shared(object, index) => Memory::Shared(object, index + by),
        };
        ModelPage { protection: page.protection, memory }
    }

    fn byte(&self, objects: &Objects, at: u64) -> u8 {
        let (page, offset) = (at / PAGE, (at % PAGE) as u16);
        let content = match &self.pages[&page].memory {
            Memory::Private(content) => Some(content),
            Memory::Shared(object, index) => objects.get(&(*object, *index)),
        };
        content.and_then(|content| content.get(&offset)).copied().unwrap_or(0)
    }

    /// Bytes from `at` that `allowed` protections let through.
    fn reach(&self, at: u64, len: u64, allowed: impl Fn(u8) -> bool) -> u64 {
        let open = |at: &u64| self.pages.get(&(at / PAGE)).is_some_and(|page| allowed(page.protection));
        (at..at + len).take_while(open).count() as u64
    }
}

impl Run {
    fn step(&mut self, who: usize, op: Op) {
        let who = who % self.processes.len();
        let forks = self.processes.len() < PROCESSES_MOST;
        let Run { processes, objects, next_object } = self;
        let (mm, model) = &mut processes[who];
        match op {
            Op::Map { first, count, protection, shared } => {
                let kind = if shared { map::SHARED } else { map::PRIVATE };
                let flags = kind | map::ANONYMOUS | map::FIXED;
                let request = anonymous(at_page(first), count * PAGE, protection_of(protection), flags);
                assert_eq!(mm.mmap(&request), Ok(at_page(first)));
                *next_object += 1;
                for index in 0..count {
                    let memory = if shared {
                        Memory::Shared(*next_object, index)
                    } else {
                        Memory::Private(Content::new())
                    };
                    model.pages.insert(first + index, ModelPage { protection, memory });
                }
            }
            Op::Unmap { first, count } => {
                assert_eq!(mm.munmap(at_page(first), count * PAGE), Ok(()));
                model.pages.retain(|page, _| !(first..first + count).contains(page));
            }
            Op::Protect { first, count, protection } => {
                let reached = model.leading(first, count);
                let expected = if reached == count { Ok(()) } else { Err(Errno::ENOMEM) };
                let result = mm.mprotect(at_page(first), count * PAGE, protection_of(protection), false);
                assert_eq!(result, expected);
                for page in first..first + reached {
                    model.pages.get_mut(&page).unwrap().protection = protection;
                }
            }
            Op::Move { first, count, new, to } => {
                let flags = super::super::flags::remap::MAYMOVE | super::super::flags::remap::FIXED;
                let result = mm.mremap(at_page(first), count * PAGE, new * PAGE, flags, at_page(to), 0);
                let Ok(at) = result else { return };
                assert_eq!(at, at_page(to));
                assert!(model.alike(first, count.min(new)));
                let moved: Vec<ModelPage> = (0..new)
                    .map(|index| match index < count {
                        true => model.pages[&(first + index)].clone(),
                        false => model.continued(first + count - 1, index + 1 - count),
                    })
                    .collect();
                model.pages.retain(|page, _| !(first..first + count).contains(page));
                for (index, page) in moved.into_iter().enumerate() {
                    model.pages.insert(to + index as u64, page);
                }
            }
            Op::Resize { first, count, new } => {
                let result = mm.mremap(at_page(first), count * PAGE, new * PAGE, 0, 0, 0);
                let Ok(at) = result else { return };
                assert_eq!(at, at_page(first));
                assert!(model.alike(first, count.min(new)));
                for page in first + new..first + count {
                    model.pages.remove(&page);
                }
                for page in first + count..first + new {
                    let next = model.continued(first + count - 1, page - (first + count - 1));
                    assert!(model.pages.insert(page, next).is_none());
                }
            }
            Op::Write { at, len, value } => {
                let reach = model.reach(at, len, |protection| protection & 2 != 0);
                let expected = if reach == len { Ok(()) } else { Err(Errno::EFAULT) };
                assert_eq!(mm.write(BASE + at, &vec![value; len as usize]), expected);
                // What comes before the page that fails may be there or not, but by pages.
                for here in at..at + reach {
                    let page = model.pages.get_mut(&(here / PAGE)).unwrap();
                    let content = match &mut page.memory {
                        Memory::Private(content) => content,
                        Memory::Shared(object, index) => objects.entry((*object, *index)).or_default(),
                    };
                    content.insert((here % PAGE) as u16, value);
                }
            }
            Op::Read { at, len } => {
                let reach = model.reach(at, len, |protection| protection != 0);
                let mut bytes = vec![0xee; len as usize];
                let expected = if reach == len { Ok(()) } else { Err(Errno::EFAULT) };
                assert_eq!(mm.read(BASE + at, &mut bytes), expected);
                for index in 0..reach {
                    assert_eq!(
                        bytes[index as usize],
                        model.byte(objects, at + index),
                        "at {:#x}",
                        at + index
                    );
                }
            }
            Op::Discard { first, count } => {
                let expected = if model.leading(first, count) == count { Ok(()) } else { Err(Errno::ENOMEM) };
                assert_eq!(mm.madvise(at_page(first), count * PAGE, madv::DONTNEED), expected);
                for page in first..first + count {
                    if let Some(ModelPage { memory: Memory::Private(content), .. }) =
                        model.pages.get_mut(&page)
                    {
                        content.clear();
                    }
                }
            }
            Op::Fork if forks => {
                let child = (mm.fork().unwrap(), model.clone());
                processes.push(child);
            }
            Op::Exit if processes.len() > 1 => drop(processes.remove(who)),
            Op::Fork | Op::Exit => {}
        }
    }

    /// Everything is as the model says, and the books are right.
    fn check(&self) {
        for (mm, model) in &self.processes {
            let mut bytes = vec![0; PAGE as usize];
            for (page, its) in model.pages.iter().filter(|(_, its)| its.protection != 0) {
                assert_eq!(mm.read(at_page(*page), &mut bytes), Ok(()));
                let mut expected = vec![0; PAGE as usize];
                let content = match &its.memory {
                    Memory::Private(content) => Some(content),
                    Memory::Shared(object, index) => self.objects.get(&(*object, *index)),
                };
                content
                    .into_iter()
                    .flatten()
                    .for_each(|(offset, byte)| expected[usize::from(*offset)] = *byte);
                assert!(bytes == expected, "page {page}");
            }
            let pages: u64 = mm.areas().map(|area| area.len() / PAGE).sum();
            assert_eq!(pages, model.pages.len() as u64);
            let (mut resident, mut at) = (0, 0);
            while let Some(page) = mm.next_page(at, layout::TOP) {
                let area = mm.area(page.at).expect("a page without an area");
                assert!(area.end >= page.at + page.size.bytes());
                assert!(area.protection.write || !page.protection.write);
                resident += page.size.bytes();
                at = page.at + page.size.bytes();
            }
            assert_eq!(mm.usage().resident, resident);
            let areas: Vec<Area> = mm.areas().collect();
            assert!(areas.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }
}

fn range() -> impl Strategy<Value = (u64, u64)> {
    let edges = prop_oneof![0..PAGES, Just(16), Just(16 + 512), Just(15), Just(17)];
    let counts = prop_oneof![1u64..8, Just(512), Just(1024), 1..PAGES];
    (edges, counts).prop_map(|(first, count)| (first, count.min(PAGES - first).max(1)))
}

fn op() -> impl Strategy<Value = Op> {
    // Mostly something that can be touched.
    let protection = prop_oneof![4 => Just(3u8), 1 => Just(1), 1 => Just(0), 1 => Just(5), 1 => Just(7)];
    let place = prop_oneof![0..PAGES * PAGE - 9000, 16 * PAGE - 20..16 * PAGE + 20];
    prop_oneof![
        4 => (range(), protection.clone(), any::<bool>()).prop_map(|((first, count), protection, shared)| {
            Op::Map { first, count, protection, shared }
        }),
        2 => range().prop_map(|(first, count)| Op::Unmap { first, count }),
        3 => (range(), protection).prop_map(|((first, count), protection)| {
            Op::Protect { first, count, protection }
        }),
        2 => (range(), range()).prop_map(|((first, count), (to, new))| Op::Move { first, count, new, to }),
        2 => (range(), 1u64..40).prop_map(|((first, count), new)| {
            Op::Resize { first, count: count.min(20), new: new.min(PAGES - first) }
        }),
        6 => (place.clone(), 1u64..9000, 1u8..).prop_map(|(at, len, value)| Op::Write { at, len, value }),
        4 => (place, 1u64..9000).prop_map(|(at, len)| Op::Read { at, len }),
        1 => range().prop_map(|(first, count)| Op::Discard { first, count }),
        1 => Just(Op::Fork),
        1 => Just(Op::Exit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn programs_see_what_they_should(
        ops in prop::collection::vec((0usize..3, op()), 1..60),
        cow in any::<bool>(),
        demand in any::<bool>(),
        large in any::<bool>(),
    ) {
        let (mm, machine) = mm_with(|settings| {
            settings.duplicate = if cow { Duplicate::CopyOnWrite } else { Duplicate::Copy };
            settings.prefault = if demand { Prefault::None } else { Prefault::All };
            settings.large = large;
        });
        let mut run = Run { processes: vec![(mm, Model::default())], objects: Objects::new(), next_object: 0 };
        for (who, op) in ops {
            run.step(who, op);
        }
        run.check();
        drop(run);
        drop(machine);
        prop_assert_eq!(pool().used(), 0);
    }
}
