use super::*;
use crate::bytes::Writer;
use crate::frame::MAX_INLINE;
use crate::messages::{Message, OutPart, Part, Syscall, Sysret};
use alloc::vec::Vec;
use core::cell::RefCell;
use proptest::prelude::*;

#[test]
fn complete() {
    let numbers: Vec<u32> = table::CALLS.iter().map(|call| call.nr).collect();
    let wanted: Vec<u32> = (0..=334).chain(424..=450).collect();
    assert_eq!(numbers, wanted);
    assert_eq!(numbers.len(), 362);
    let mut names: Vec<&str> = all().map(|call| call.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 365);
    assert!(ioctl::all().is_sorted_by(|a, b| a.request < b.request));
    assert_eq!((call(335), call(423), call(451), call(999)), (None, None, None, None));
    assert_eq!(by_name("futex").map(|call| call.nr), Some(202));
}

/// The rows of sections 4.1 to 4.5, in their order, as they stand there.
#[test]
fn classes() {
    let is = |class: fn(Class) -> bool, numbers: &[u32]| {
        for nr in numbers {
            let call = call(*nr).unwrap();
            assert!(class(call.class), "{} {}: {:?}", call.nr, call.name, call.class);
        }
        numbers.len()
    };
    let local = |class| class == Class::Local;
    let both = |class| class == Class::Both;
    let delegated = |class| class == Class::Delegated;
    let side = |class| matches!(class, Class::Side(_));
    let nothing = |class| class == Class::NoEffect;
    let mut sum = 0;
    // 4.1
    sum += is(both, &[0, 17, 19, 295, 327, 1, 18, 20, 296, 328, 8, 2, 85, 257, 437]);
    sum += is(side, &[3, 436, 95]);
    sum += is(local, &[32, 33, 292]);
    sum += is(both, &[72, 16, 4, 5, 6, 262, 332, 21, 269, 439, 89, 267, 78, 217, 76, 77, 285]);
    sum += is(delegated, &[79, 80, 81, 74, 75, 162, 306, 277]);
    sum += is(nothing, &[221, 187]);
    sum +=
        is(both, &[82, 264, 316, 83, 258, 84, 86, 265, 87, 263, 88, 266, 133, 259, 137, 138, 136, 40, 326]);
    sum += is(delegated, &[90, 91, 268, 92, 93, 94, 260, 132, 235, 261, 280]);
    sum +=
        is(delegated, &[188, 189, 190, 191, 192, 193, 194, 195, 196, 197, 198, 199, 73, 253, 294, 254, 255]);
    // 4.2
    sum += is(
        local,
        &[22, 293, 284, 290, 319, 53, 7, 271, 23, 270, 213, 291, 233, 232, 281, 441, 283, 286, 287],
    );
    sum += is(both, &[41, 42, 49, 43, 288, 50, 48, 51, 52, 54, 55, 44, 45, 46, 47, 307, 299]);
    // 4.3
    sum += is(local, &[9, 10, 11, 12, 25, 27, 28, 216, 237, 238, 239, 450, 279, 310, 311, 29, 30, 31, 67]);
    sum += is(side, &[26]);
    sum += is(nothing, &[149, 150, 325, 151, 152]);
    // Semaphores and messages are the node's, as shared memory is: the specification would delegate them.
    sum += is(local, &[64, 65, 66, 220, 68, 69, 70, 71]);
    sum += is(delegated, &[240, 241, 242, 243, 245]);
    // 4.4; of kill and rt_sigqueueinfo "any other pid is D", and so it is of what asks for the group or session of another pid.
    sum += is(side, &[56, 435, 57, 58, 59, 322, 231, 109, 111, 112]);
    sum +=
        is(local, &[60, 61, 247, 200, 234, 297, 39, 186, 110, 218, 273, 274, 202, 334, 158, 157, 135, 324]);
    sum += is(both, &[62, 121, 124, 129]);
    sum += is(local, &[102, 104, 107, 108, 115, 118, 120, 125, 126, 24, 203, 204, 309]);
    sum += is(side, &[105, 106, 113, 114, 117, 119, 116, 122, 123]);
    sum += is(local, &[142, 143, 144, 145, 146, 147, 148, 314, 315, 13, 14, 15, 127, 128, 130, 131, 34, 219]);
    sum += is(nothing, &[251, 252]);
    // Without effect, but remembered.
    sum += is(local, &[140, 141]);
    sum += is(local, &[35, 230, 36, 37, 38, 222, 223, 224, 225, 226, 96, 201, 228, 229, 100]);
    sum += is(local, &[97, 160, 302, 98, 99, 63, 318]);
    // The specification leaves these for later.
    sum += is(local, &[282, 289]);
    // Refused, by error.
    let refused: &[(Errno, &[u32])] = &[
        (Errno::EPERM, &[161, 300, 301, 101, 312, 272, 308, 164, 227, 305, 159, 103]),
        (
            Errno::EPERM,
            &[
                155, 165, 166, 167, 168, 169, 170, 171, 172, 173, 175, 176, 313, 163, 153, 179, 443, 246,
                320, 321,
            ],
        ),
        (Errno::EOPNOTSUPP, &[303, 304]),
        (Errno::EINVAL, &[275, 276, 278, 317]),
        (Errno::ENOSPC, &[329, 330, 331]),
        (Errno::ENOENT, &[298]),
        (
            Errno::ENOSYS,
            &[206, 207, 208, 209, 210, 333, 425, 426, 427, 214, 215, 256, 244, 323, 447, 440, 448],
        ),
        (
            Errno::ENOSYS,
            &[449, 205, 211, 154, 434, 424, 438, 428, 429, 430, 431, 432, 433, 442, 444, 445, 446],
        ),
        (
            Errno::ENOSYS,
            &[248, 249, 250, 134, 139, 156, 174, 177, 178, 180, 181, 182, 183, 184, 185, 212, 236],
        ),
    ];
    for (error, numbers) in refused {
        for nr in *numbers {
            assert_eq!(call(*nr).unwrap().class, Class::Refused(*error), "{nr}");
        }
        sum += numbers.len();
    }
    assert_eq!(sum, 362);
    for nr in [700, 731, 732] {
        assert_eq!(call(nr).unwrap().class, Class::Local);
    }
    let question = call(PATH_OF).unwrap();
    assert!(question.travels() && question.makes == Makes::Nothing && by_name(question.name).is_none());
}

#[test]
fn signatures() {
    for call in all() {
        let needs_signature = matches!(call.class, Class::Delegated | Class::Both);
        let has_none = matches!(call.name, "sync" | "inotify_init");
        assert_eq!(
            !call.args.is_empty() && call.travels(),
            needs_signature && !has_none && !call.name.ends_with("mmsg")
                || matches!(call.name, "close" | "execve" | "execveat"),
            "{}",
            call.name
        );
        assert!(call.args.len() <= 6);
        for arg in call.args {
            let index = match arg {
                Arg::In(len) | Arg::Out(len) | Arg::InOut(len) => match len {
                    Len::Const(_) => continue,
                    Len::Arg(index) => index,
                },
                Arg::DataIn(index) | Arg::DataOut(index) | Arg::IovIn(index) | Arg::IovOut(index) => index,
                Arg::OutBy(index, _) => {
                    assert_eq!(call.args[usize::from(*index)], Arg::InOut(Len::Const(4)), "{}", call.name);
                    continue;
                }
                _ => continue,
            };
            assert_eq!(
                call.args[usize::from(*index)],
                Arg::Scalar,
                "{}: length in argument {index}",
                call.name
            );
        }
    }
}

/// 64 KiB of memory at 0x10000; nothing else is there. From 0x1e000 on it can only be read.
struct Small(RefCell<Vec<u8>>);

const BASE: u64 = 0x10000;
const READ_ONLY: u64 = 0x1e000;
const END: u64 = 0x20000;

impl Memory for Small {
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), usize> {
        let good = self.accessible(at, into.len() as u64, Access::Read) as usize;
        if good > 0 {
            let from = (at - BASE) as usize;
            into[..good].copy_from_slice(&self.0.borrow()[from..from + good]);
        }
        if good == into.len() { Ok(()) } else { Err(good) }
    }

    fn write(&self, at: u64, from: &[u8]) -> Result<(), usize> {
        let good = self.accessible(at, from.len() as u64, Access::Write) as usize;
        if good > 0 {
            let to = (at - BASE) as usize;
            self.0.borrow_mut()[to..to + good].copy_from_slice(&from[..good]);
        }
        if good == from.len() { Ok(()) } else { Err(good) }
    }

    fn accessible(&self, at: u64, len: u64, access: Access) -> u64 {
        let end = if access == Access::Read { END } else { READ_ONLY };
        if at < BASE || at >= end { 0 } else { len.min(end - at) }
    }
}

fn memory() -> Small {
    Small(RefCell::new((0..0x10000u32).map(|i| (i % 251) as u8).collect()))
}

/// What the host sees of a call.
fn travel(nr: u32, args: [u64; 6], memory: &Small) -> (Plan, Vec<u8>) {
    let planned = plan(call(nr).unwrap(), &args, memory, false).unwrap();
    let mut payload = Vec::new();
    planned.write(&mut Writer::new(&mut payload), memory).unwrap();
    let request = Syscall::decode(&payload).unwrap();
    check(nr, &request, planned.streams, false).unwrap();
    (planned, payload)
}

#[test]
fn a_read() {
    let memory = memory();
    let (plan, payload) = travel(0, [5, BASE + 100, 30, 0, 0, 0], &memory);
    let request = Syscall::decode(&payload).unwrap();
    let checked = check(0, &request, false, false).unwrap();
    let room = checked.data_out().unwrap();
    assert_eq!(room.len, 30);
    let answer = Sysret { outs: alloc::vec![room.filled(4)], bytes: b"data", ..Sysret::plain(4) };
    assert_eq!(plan.commit(&answer, &memory, &mut |_| ()), Ok(4));
    assert_eq!(&memory.0.borrow()[99..106], &[99, b'd', b'a', b't', b'a', 104, 105]);
    let too_much =
        Sysret { outs: alloc::vec![OutPart { desc: 0, len: 31 }], bytes: &[0; 31], ..Sysret::plain(31) };
    assert_eq!(plan.commit(&too_much, &memory, &mut |_| ()), Err(PlanError::Errno(Errno::EPROTO)));
}

#[test]
fn a_vector_is_flattened() {
    let memory = memory();
    let vector: Vec<u8> = [(BASE, 3u64), (0, 0), (BASE + 10, 2)]
        .iter()
        .flat_map(|(a, l)| [a.to_le_bytes(), l.to_le_bytes()].concat())
        .collect();
    memory.write(BASE + 0x1000, &vector).unwrap();
    let (plan, payload) = travel(20, [5, BASE + 0x1000, 3, 0, 0, 0], &memory);
    let request = Syscall::decode(&payload).unwrap();
    assert_eq!(
        check(20, &request, false, false).unwrap().data_in().unwrap().bytes,
        Some(&[0, 1, 2, 10, 11][..])
    );
    let mut middle = [0; 2];
    plan.read_data(&memory, 2, &mut middle).unwrap();
    assert_eq!(middle, [2, 10]);
    let (plan, _) = travel(19, [5, BASE + 0x1000, 3, 0, 0, 0], &memory);
    plan.write_data(&memory, 2, b"XY").unwrap();
    assert_eq!((memory.0.borrow()[2], memory.0.borrow()[10], memory.0.borrow()[3]), (b'X', b'Y', 3));
}

#[test]
fn the_end_of_memory() {
    let memory = memory();
    // As many bytes as are there.
    assert_eq!(travel(1, [1, END - 10, 4096, 0, 0, 0], &memory).0.data_len(), 10);
    assert_eq!(travel(0, [1, READ_ONLY - 10, 4096, 0, 0, 0], &memory).0.data_len(), 10);
    let fails = |nr, args| plan(call(nr).unwrap(), &args, &memory, false).unwrap_err();
    let fault = |address, access| PlanError::Fault(Fault { address, access });
    assert_eq!(fails(1, [1, END, 1, 0, 0, 0]), fault(END, Access::Read));
    assert_eq!(fails(0, [0, READ_ONLY, 1, 0, 0, 0]), fault(READ_ONLY, Access::Write));
    assert_eq!(fails(5, [0, READ_ONLY - 100, 0, 0, 0, 0]), fault(READ_ONLY, Access::Write));
    memory.0.borrow_mut()[0xff00..].fill(b'a');
    assert_eq!(fails(80, [END - 10, 0, 0, 0, 0, 0]), fault(END, Access::Read));
    memory.0.borrow_mut()[..0x2000].fill(b'a');
    assert_eq!(fails(80, [BASE, 0, 0, 0, 0, 0]), PlanError::Errno(Errno::ENAMETOOLONG));
    assert_eq!(fails(16, [0, 0xdead, BASE, 0, 0, 0]), PlanError::Errno(Errno::ENOTTY));
}

#[test]
fn paths_and_names() {
    let memory = memory();
    memory.write(BASE + 250, b"/a/rather/long/path\0").unwrap();
    let (_, payload) = travel(257, [AT_FDCWD, BASE + 250, 0, 0, 0, 0], &memory);
    let request = Syscall::decode(&payload).unwrap();
    assert_eq!(check(257, &request, false, false).unwrap().path(1), Some(&b"/a/rather/long/path"[..]));
    // accept with room for an address of 16 bytes
    memory.write(BASE, &16u32.to_le_bytes()).unwrap();
    let (plan, payload) = travel(43, [7, BASE + 64, BASE, 0, 0, 0], &memory);
    let request = Syscall::decode(&payload).unwrap();
    let checked = check(43, &request, false, false).unwrap();
    let outs = [
        checked.output(1, Part::Whole).unwrap().filled(16),
        checked.output(2, Part::Whole).unwrap().filled(4),
    ];
    let mut bytes = alloc::vec![0xee; 16];
    bytes.extend(28u32.to_le_bytes());
    let answer = Sysret { outs: outs.to_vec(), bytes: &bytes, ..Sysret::plain(8) };
    plan.commit(&answer, &memory, &mut |_| ()).unwrap();
    assert_eq!(memory.0.borrow()[..4], 28u32.to_le_bytes());
    assert_eq!(memory.0.borrow()[79..81], [0xee, 80]);
    // and without
    travel(43, [7, 0, 0, 0, 0, 0], &memory);
}

#[test]
fn messages() {
    let memory = memory();
    let at = BASE + 0x2000;
    memory.write(BASE + 0x3000, &[(BASE + 0x100).to_le_bytes(), 8u64.to_le_bytes()].concat()).unwrap();
    let header = crate::layout::Msghdr {
        name: BASE + 0x200,
        namelen: 200,
        iov: BASE + 0x3000,
        iovlen: 1,
        control: BASE + 0x400,
        controllen: 32,
        flags: 0,
    };
    memory.write(at, &header.to_bytes()).unwrap();
    let (plan, payload) = travel(47, [3, at, 0, 0, 0, 0], &memory);
    let request = Syscall::decode(&payload).unwrap();
    let checked = check(47, &request, false, false).unwrap();
    let part = |part| checked.output(1, part).unwrap();
    assert_eq!((part(Part::Name).len, part(Part::Data).len, part(Part::Control).len), (128, 8, 32));
    let outs = alloc::vec![
        part(Part::Data).filled(2),
        part(Part::Control).filled(1),
        part(Part::Lengths).filled(12)
    ];
    let bytes = [&b"hic"[..], &16u32.to_le_bytes(), &20u32.to_le_bytes(), &64u32.to_le_bytes()].concat();
    let mut seen = Vec::new();
    let answer = Sysret { outs, bytes: &bytes, ..Sysret::plain(2) };
    plan.commit(&answer, &memory, &mut |control| seen.extend_from_slice(control)).unwrap();
    assert_eq!(seen, b"c");
    let mut after = [0; 56];
    memory.read(at, &mut after).unwrap();
    let wanted = crate::layout::Msghdr { namelen: 16, controllen: 20, flags: 64, ..header };
    assert_eq!(crate::layout::Msghdr::from_bytes(&after), wanted);
    let (mut plan, payload) = travel(46, [3, at, 0, 0, 0, 0], &memory);
    let request = Syscall::decode(&payload).unwrap();
    assert_eq!(check(46, &request, false, false).unwrap().input(1, Part::Name).unwrap().len(), 16);
    assert_eq!(plan.control().unwrap().len(), 20);
}

#[test]
fn large_writes_stream() {
    struct Endless;
    impl Memory for Endless {
        fn read(&self, at: u64, into: &mut [u8]) -> Result<(), usize> {
            into.fill(at as u8);
            Ok(())
        }
        fn write(&self, _: u64, _: &[u8]) -> Result<(), usize> {
            Ok(())
        }
        fn accessible(&self, _: u64, len: u64, _: Access) -> u64 {
            len
        }
    }
    for (count, streams) in [(MAX_INLINE as u64, false), (MAX_INLINE as u64 + 1, true), (u64::MAX, true)] {
        let plan = plan(call(1).unwrap(), &[1, 64, count, 0, 0, 0], &Endless, false).unwrap();
        assert_eq!(plan.streams, streams);
        assert_eq!(u64::from(plan.data_len()), count.min(MAX_RW_COUNT));
        let mut payload = Vec::new();
        plan.write(&mut Writer::new(&mut payload), &Endless).unwrap();
        let request = Syscall::decode(&payload).unwrap();
        assert!(check(1, &request, streams, false).is_ok());
        assert!(check(1, &request, !streams, false).is_err());
    }
    // Too much besides the data.
    assert_eq!(
        plan(call(44).unwrap(), &[1, 64, 1, 0, 64, 1 << 20], &Endless, false),
        Err(PlanError::Errno(Errno::E2BIG))
    );
}

#[test]
fn what_a_host_refuses() {
    let memory = memory();
    memory.write(BASE, b"/x\0").unwrap();
    let (_, payload) = travel(257, [AT_FDCWD, BASE, 0, 0, 0, 0], &memory);
    let good = Syscall::decode(&payload).unwrap();
    let refused = |nr, change: &dyn Fn(&mut Syscall<'_>)| {
        let mut request = good.clone();
        change(&mut request);
        check(nr, &request, false, false).unwrap_err()
    };
    for nr in [9, 56, 101, 231, 335, 425, 307, u32::MAX] {
        assert_eq!(refused(nr, &|_| ()), Violation::Call(nr));
    }
    assert_eq!(refused(3, &|_| ()), Violation::Descriptor(1));
    assert_eq!(refused(257, &|request| request.descs.to_mut().clear()), Violation::Inline);
    assert_eq!(refused(257, &|request| request.descs.to_mut()[0].len = 2), Violation::Inline);
    assert_eq!(
        refused(257, &|request| {
            let again = request.descs[0];
            request.descs.to_mut().push(again);
        }),
        Violation::Inline
    );
    assert_eq!(refused(257, &|request| request.inline = b"/xy"), Violation::Path(1));
    assert_eq!(refused(257, &|request| request.inline = b"/\0\0"), Violation::Path(1));
    assert_eq!(
        refused(257, &|request| {
            request.descs.to_mut().clear();
            request.inline = b"";
        }),
        Violation::Missing(1)
    );
    let fstat = |len| Syscall {
        args: [1, BASE, 0, 0, 0, 0],
        descs: alloc::vec![crate::messages::Desc {
            addr: BASE,
            len,
            direction: crate::messages::Direction::Out,
            arg: 1,
            part: Part::Whole
        }]
        .into(),
        inline: b"",
    };
    assert!(check(5, &fstat(144), false, false).is_ok());
    assert_eq!(check(5, &fstat(145), false, false), Err(Violation::Signature(1)));
    let mut ioctl = fstat(36);
    ioctl.descs.to_mut()[0].arg = 2;
    ioctl.args = [1, 0x5401, BASE, 0, 0, 0];
    assert!(check(16, &ioctl, false, false).is_ok());
    ioctl.args[1] = 0x8024_5555;
    assert_eq!(check(16, &ioctl, false, false), Err(Violation::Command(0x8024_5555)));
    assert!(check(16, &ioctl, false, true).is_ok());
    ioctl.args[1] = 0x4004_9409;
    assert_eq!(check(16, &ioctl, false, true), Err(Violation::Command(0x4004_9409)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever a program passes, what the node makes of it is what the host accepts.
    #[test]
    fn what_is_sent_is_accepted(nr in 0u32..451, args in any::<[u64; 6]>(), kinds in any::<[u8; 6]>(), flat in any::<bool>()) {
        let memory = memory();
        let args: [u64; 6] = core::array::from_fn(|i| match kinds[i] % 6 {
            0 => 0,
            1 => args[i],
            2 => args[i] % 64,
            3 => args[i] % 0x10000,
            _ => BASE + args[i] % 0x10000,
        });
        let Some(call) = call(nr).filter(|call| call.travels()) else { return Ok(()) };
        let Ok(planned) = plan(call, &args, &memory, flat) else { return Ok(()) };
        let mut payload = Vec::new();
        if planned.write(&mut Writer::new(&mut payload), &memory).is_err() {
            return Ok(());
        }
        let request = Syscall::decode(&payload).unwrap();
        if let Err(violation) = check(nr, &request, planned.streams, flat) {
            // The node does not send what its own table keeps from travelling.
            prop_assert!(matches!(violation, Violation::Command(_)), "{}: {violation:?} {planned:?}", call.name);
        }
    }

    #[test]
    fn arbitrary_requests(nr in 0u32..451, payload in proptest::collection::vec(any::<u8>(), 0..200), streams in any::<bool>()) {
        if let Ok(request) = Syscall::decode(&payload) {
            let _ = check(nr, &request, streams, true);
        }
    }
}
