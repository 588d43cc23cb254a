use super::*;
use crate::files::{BytesSource, BytesTarget, EventFd, Operation, Pipe};
use core::task::{Poll, Waker};
use proptest::prelude::*;

const IN: u32 = Events::IN.0;
const OUT: u32 = Events::OUT.0;

fn counter() -> Arc<Description> {
    Description::new(Arc::new(EventFd::new(0, false)), crate::files::flags::O_RDWR)
}

fn add(description: &Description, value: u64) {
    let cx = &mut Context::from_waker(Waker::noop());
    let from = &mut BytesSource(&value.to_le_bytes());
    let done = description.poll_write(cx, &mut Operation::new(1, 0), None, from);
    assert_eq!(done, Poll::Ready(Ok(8)));
}

fn take(description: &Description) -> bool {
    let (mut into, cx) = ([0; 8], &mut Context::from_waker(Waker::noop()));
    let target = &mut BytesTarget::new(&mut into);
    description.poll_read(cx, &mut Operation::new(1, 0), None, target).is_ready()
}

fn wait(epoll: &Epoll, most: usize) -> Vec<(u32, u64)> {
    let mut list = Vec::new();
    let count = epoll.collect(1, most, |events, data| {
        list.push((events.0, data));
        Ok(())
    });
    assert_eq!(count, Ok(list.len()));
    list
}

#[test]
fn entries_come_and_go() {
    let (epoll, a) = (Epoll::default(), counter());
    assert_eq!(epoll.modify(1, 3, &a, IN, 0), Err(Errno::ENOENT));
    epoll.add(1, 3, &a, IN, 33).unwrap();
    assert_eq!(epoll.add(1, 3, &a, IN, 0), Err(Errno::EEXIST));
    epoll.add(1, 4, &a, IN | OUT, 44).unwrap();
    assert_eq!(wait(&epoll, 9), [(OUT, 44)]);
    add(&a, 1);
    let mut both = wait(&epoll, 9);
    both.sort();
    assert_eq!(both, [(IN, 33), (IN | OUT, 44)]);
    epoll.remove(3, &a).unwrap();
    assert_eq!(epoll.remove(3, &a), Err(Errno::ENOENT));
    assert_eq!(wait(&epoll, 9), [(IN | OUT, 44)]);
    drop(a);
    assert_eq!(wait(&epoll, 9), [], "closed files leave the set");
    let file = Description::new(
        Arc::new(crate::files::Device::new(
            crate::files::DeviceKind::Null,
            crate::testing::system().0.entropy.clone(),
        )),
        2,
    );
    assert_eq!(epoll.add(1, 5, &file, IN, 0), Err(Errno::EPERM));
}

#[test]
fn the_other_end_goes() {
    let epoll = Epoll::default();
    let (reader, writer) = Pipe::ends();
    let (reader, writer) = (Description::new(reader, 0), Description::new(writer, 1));
    epoll.add(1, 0, &reader, 0, 7).unwrap();
    assert_eq!(wait(&epoll, 9), []);
    drop(writer);
    assert_eq!(wait(&epoll, 9), [(Events::HUP.0, 7)]);
}

#[test]
fn sets_in_sets() {
    let inner = Description::new(Arc::new(Epoll::default()), 0);
    let outer = Description::new(Arc::new(Epoll::default()), 0);
    let set = |description: &Arc<Description>| description.file().clone();
    let (inner_set, outer_set) = (set(&inner), set(&outer));
    let (inner_set, outer_set) = (
        inner_set.as_any().downcast_ref::<Epoll>().unwrap(),
        outer_set.as_any().downcast_ref::<Epoll>().unwrap(),
    );
    let a = counter();
    inner_set.add(1, 1, &a, IN, 1).unwrap();
    outer_set.add(1, 2, &inner, IN, 2).unwrap();
    assert_eq!(inner_set.add(1, 3, &outer, IN, 0), Err(Errno::ELOOP));
    assert_eq!(inner_set.add(1, 3, &inner, IN, 0), Err(Errno::EINVAL));
    assert_eq!(wait(outer_set, 9), []);
    add(&a, 1);
    assert_eq!(wait(outer_set, 9), [(IN, 2)]);
    assert_eq!(wait(inner_set, 9), [(IN, 1)]);
    assert_eq!(wait(outer_set, 9), [(IN, 2)]);
    assert!(take(&a));
    assert_eq!(wait(outer_set, 9), []);
    let mut all = vec![outer];
    for depth in 0..9 {
        let next = Description::new(Arc::new(Epoll::default()), 0);
        let file = next.file().clone();
        let set = file.as_any().downcast_ref::<Epoll>().unwrap();
        match set.add(1, 1, all.last().unwrap(), IN, 0) {
            Ok(()) => all.push(next),
            Err(error) => {
                assert_eq!((error, depth), (Errno::ELOOP, 3));
                return;
            }
        }
    }
    panic!("sets without end");
}

#[test]
fn a_report_that_fails_is_made_again() {
    let (epoll, a) = (Epoll::default(), counter());
    epoll.add(1, 1, &a, IN | EDGE | ONCE, 5).unwrap();
    add(&a, 1);
    assert_eq!(epoll.collect(1, 9, |_, _| Err(Errno::EFAULT)), Err(Errno::EFAULT));
    assert_eq!(wait(&epoll, 9), [(IN, 5)]);
    assert_eq!(wait(&epoll, 9), []);
}

/// What a program does with a few counters in a set.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add { file: usize, interest: u32 },
    Modify { file: usize, interest: u32 },
    Remove { file: usize },
    Write { file: usize },
    Read { file: usize },
    Wait { most: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let interest = prop_oneof![Just(IN), Just(OUT), Just(IN | OUT), Just(0)];
    let how = prop_oneof![Just(0), Just(EDGE), Just(ONCE), Just(EDGE | ONCE)];
    let interest = (interest, how).prop_map(|(events, how)| events | how);
    (0usize..6, 0usize..4, interest, 1usize..5).prop_map(|(kind, file, interest, most)| match kind {
        0 => Step::Add { file, interest },
        1 => Step::Modify { file, interest },
        2 => Step::Remove { file },
        3 => Step::Write { file },
        4 => Step::Read { file },
        _ => Step::Wait { most },
    })
}

/// The set as the manual describes it.
#[derive(Clone, Copy)]
struct Model {
    interest: u32,
    armed: bool,
    /// Something happened since the last report.
    news: bool,
}

proptest! {
    #[test]
    fn behaves_like_the_manual_says(steps in proptest::collection::vec(step(), 1..60)) {
        let epoll = Epoll::default();
        let files: Vec<_> = (0..4).map(|_| counter()).collect();
        let mut counts = [0u64; 4];
        let mut model: [Option<Model>; 4] = [None; 4];
        let ready = |count: u64| (if count > 0 { IN } else { 0 }) | OUT;
        for step in steps {
            match step {
                Step::Add { file, interest } => {
                    let added = epoll.add(1, file as u32, &files[file], interest, file as u64);
                    prop_assert_eq!(added.is_ok(), model[file].is_none());
                    if added.is_ok() {
                        let news = ready(counts[file]) & interest != 0;
                        model[file] = Some(Model { interest, armed: true, news });
                    }
                }
                Step::Modify { file, interest } => {
                    let changed = epoll.modify(1, file as u32, &files[file], interest, file as u64);
                    prop_assert_eq!(changed.is_ok(), model[file].is_some());
                    if let Some(entry) = &mut model[file] {
                        let news = entry.news || ready(counts[file]) & interest != 0;
                        *entry = Model { interest, armed: true, news };
                    }
                }
                Step::Remove { file } => {
                    let removed = epoll.remove(file as u32, &files[file]);
                    prop_assert_eq!(removed.is_ok(), model[file].take().is_some());
                }
                Step::Write { file } => {
                    add(&files[file], 1);
                    counts[file] += 1;
                    if let Some(entry) = model[file].as_mut().filter(|entry| entry.armed) {
                        entry.news |= entry.interest & IN != 0;
                    }
                }
                Step::Read { file } => {
                    if counts[file] > 0 {
                        prop_assert!(take(&files[file]));
                        counts[file] = 0;
                        if let Some(entry) = model[file].as_mut().filter(|entry| entry.armed) {
                            entry.news |= entry.interest & OUT != 0;
                        }
                    }
                }
                Step::Wait { most } => {
                    let got = wait(&epoll, most);
                    let expected: Vec<usize> = (0..4)
                        .filter(|&file| model[file].is_some_and(|entry| {
                            let holds = ready(counts[file]) & entry.interest != 0;
                            let level = entry.interest & EDGE == 0;
                            entry.armed && holds && (level || entry.news)
                        }))
                        .collect();
                    prop_assert_eq!(got.len(), expected.len().min(most));
                    for (events, file) in got {
                        let file = file as usize;
                        prop_assert!(expected.contains(&file));
                        let entry = model[file].as_mut().unwrap();
                        prop_assert_eq!(events, ready(counts[file]) & entry.interest);
                        entry.news = false;
                        entry.armed = entry.interest & ONCE == 0;
                    }
                    // An event that is over when it is looked at is no news any more.
                    if expected.len() < most {
                        for (entry, count) in model.iter_mut().zip(counts) {
                            if let Some(entry) = entry && ready(count) & entry.interest == 0 {
                                entry.news = false;
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn one_of_the_exclusive_sets_is_told() {
    let (reader, writer) = Pipe::ends();
    let (reader, writer) = (Description::new(reader, 0), Description::new(writer, 1));
    let write = || {
        let cx = &mut Context::from_waker(Waker::noop());
        let done = writer.poll_write(cx, &mut Operation::new(1, 0), None, &mut BytesSource(b"x"));
        assert_eq!(done, Poll::Ready(Ok(1)));
    };
    let sets: Vec<Epoll> = (0..4).map(|_| Epoll::default()).collect();
    for (set, more) in sets.iter().zip([EXCLUSIVE, EXCLUSIVE, EXCLUSIVE, 0]) {
        set.add(1, 3, &reader, IN | EDGE | more, 3).unwrap();
    }
    let told = || sets.iter().map(|set| wait(set, 9).len()).collect::<Vec<_>>();
    // Nobody waits: it is for whoever comes first.
    write();
    assert_eq!(told(), [1, 1, 1, 1]);
    // The first one's threads are elsewhere, the second one's is woken and has not gone yet.
    let (second, third) = (sets[1].wait(), sets[2].wait());
    write();
    assert_eq!(told(), [1, 1, 0, 1]);
    write();
    assert_eq!(told(), [1, 1, 1, 1]);
    drop((second, third));
    write();
    assert_eq!(told(), [1, 1, 1, 1]);
}

#[test]
fn what_goes_with_exclusive() {
    let (epoll, a) = (Epoll::default(), counter());
    let inner = Description::new(Arc::new(Epoll::default()), 0);
    assert_eq!(epoll.add(1, 4, &inner, IN | EXCLUSIVE, 0), Err(Errno::EINVAL));
    for wrong in [ONCE, Events::PRI.0, Events::READ_HUP.0, Events::READ_NORMAL.0] {
        assert_eq!(epoll.add(1, 3, &a, IN | EXCLUSIVE | wrong, 0), Err(Errno::EINVAL));
    }
    epoll.add(1, 3, &a, IN | OUT | EDGE | WAKEUP | EXCLUSIVE, 0).unwrap();
    assert_eq!(epoll.modify(1, 3, &a, IN, 0), Err(Errno::EINVAL));
    epoll.remove(3, &a).unwrap();
    epoll.add(1, 3, &a, IN, 0).unwrap();
    assert_eq!(epoll.modify(1, 3, &a, IN | EXCLUSIVE, 0), Err(Errno::EINVAL));
    assert_eq!(epoll.modify(1, 3, &a, IN, 0), Ok(()));
}

#[test]
fn what_is_added_and_removed_again_and_again_takes_no_memory() {
    let (epoll, a) = (Epoll::default(), counter());
    add(&a, 1);
    for _ in 0..1000 {
        epoll.add(1, 3, &a, IN, 33).unwrap();
        epoll.remove(3, &a).unwrap();
        // A number that is closed while it is ready.
        epoll.add(1, 4, &counter(), OUT, 44).unwrap();
    }
    let listed = epoll.ready.list.lock().len();
    assert!(listed <= 1, "{listed} entries of which nobody will hear");
}

#[test]
fn the_list_has_room_for_every_entry() {
    let epoll = Epoll::default();
    let files: Vec<_> = (0..100).map(|_| counter()).collect();
    for (fd, file) in (0..).zip(&files) {
        epoll.add(1, fd, file, IN, fd.into()).unwrap();
    }
    let room = epoll.ready.list.lock().capacity();
    assert!(room >= files.len());
    files.iter().for_each(|file| add(file, 1));
    assert_eq!(epoll.ready.list.lock().capacity(), room);
    assert_eq!(wait(&epoll, 200).len(), files.len());
}

#[test]
fn entries_of_all_sets_are_limited() {
    let watches = Arc::new(Budget::new(3));
    let (one, other) = (Epoll::new(&watches), Epoll::new(&watches));
    let (a, b) = (counter(), counter());
    one.add(1, 3, &a, OUT, 3).unwrap();
    one.add(1, 4, &b, OUT, 4).unwrap();
    other.add(1, 3, &a, OUT, 3).unwrap();
    assert_eq!(other.add(1, 4, &b, OUT, 4), Err(Errno::ENOSPC));
    assert_eq!(other.add(1, 3, &a, OUT, 3), Err(Errno::EEXIST));
    other.modify(1, 3, &a, IN, 3).unwrap();
    assert_eq!(watches.left(), 0);
    one.remove(3, &a).unwrap();
    assert_eq!(watches.left(), 1);
    drop(b);
    // What is closed leaves the set when something comes into it.
    one.add(1, 3, &a, OUT, 3).unwrap();
    assert_eq!(watches.left(), 1);
    assert_eq!(wait(&one, 9), [(OUT, 3)]);
    drop((one, other));
    assert_eq!(watches.left(), 3);
}
