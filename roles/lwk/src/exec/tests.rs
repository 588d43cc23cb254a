//! Tests of loading.

use super::*;
use crate::mm::{
    Bytes, Fetch, FileId, FileMapping, FileVersion, Limits, Mm, MmSettings, PAGE, PageSource, Role, Written,
    layout,
};
use crate::testing::{pool, system};
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is ready at once.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("waits"),
    }
}

/// Kind, flags, offset, address, bytes in the file, bytes in memory, alignment.
type Entry = (u32, u32, u64, u64, u64, u64, u64);

fn elf(kind: u16, entry: u64, entries: &[Entry], len: usize) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend(kind.to_le_bytes());
    file.extend(62u16.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for word in [entry, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64, 56, entries.len() as u16, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for (kind, flags, offset, at, file_len, len, align) in entries {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [offset, at, at, file_len, len, align] {
            file.extend(word.to_le_bytes());
        }
    }
    while file.len() < len {
        file.push((file.len() % 251) as u8);
    }
    file
}

/// Code, then data of which 0x800 bytes are in the file and a little more than a page is not.
fn program(kind: u16, base: u64) -> Vec<u8> {
    let entries = [
        (1, 5, 0, base, 0x1800, 0x1800, 0x1000),
        (1, 6, 0x2000, base + 0x3000, 0x800, 0x1900, 0x1000),
        (0x6474_e551, 6, 0, 0, 0, 0, 16),
    ];
    elf(kind, base + 0x1000, &entries, 0x2800)
}

fn file(bytes: Vec<u8>) -> FileMapping {
    let inode = bytes.len() as u64;
    FileMapping {
        source: Arc::new(Bytes::new(FileId { host: 1, device: 1, inode }, bytes)),
        readable: true,
        writable: false,
        offset: 0,
        path: Some(b"/bin/program"[..].into()),
    }
}

fn read(file: FileMapping) -> Result<Program, ExecError> {
    now(async { Program::read(&file, &start_of(&file).await?).await })
}

fn arguments<'a>(argv: &'a [Vec<u8>], envp: &'a [Vec<u8>]) -> Arguments<'a> {
    let facts = Facts { uid: 1000, euid: 1000, gid: 100, egid: 100, ..Facts::default() };
    Arguments { argv, envp, path: b"./program", facts, vdso: None, node: 0 }
}

fn words(mm: &Mm, at: u64, count: usize) -> Vec<u64> {
    mm.read_words(at, count).unwrap()
}

/// Arguments, environment and auxiliary vector.
type Stack = (Vec<Vec<u8>>, Vec<Vec<u8>>, Vec<(u64, u64)>);

/// What a program finds on its stack.
fn walk(mm: &Mm, start: &Start) -> Stack {
    let mut at = start.stack;
    let argc = mm.read_u64(at).unwrap();
    let list = |at: &mut u64| {
        let mut strings = Vec::new();
        loop {
            *at += 8;
            match mm.read_u64(*at).unwrap() {
                0 => return strings,
                string => strings.push(mm.read_string(string, 4096).unwrap()),
            }
        }
    };
    let argv = list(&mut at);
    assert_eq!(argv.len() as u64, argc);
    let envp = list(&mut at);
    at += 8;
    let mut auxv = Vec::new();
    loop {
        let pair = words(mm, at, 2);
        auxv.push((pair[0], pair[1]));
        at += 16;
        if pair[0] == 0 {
            return (argv, envp, auxv);
        }
    }
}

/// A file that counts how often something of it is asked for.
struct Counted(Bytes, AtomicUsize);

impl PageSource for Counted {
    fn id(&self) -> FileId {
        self.0.id()
    }

    fn version(&self) -> FileVersion {
        self.0.version()
    }

    fn fetch(&self, offset: u64, len: u32) -> Fetch {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.fetch(offset, len)
    }

    fn write_back(&self, offset: u64, bytes: Vec<u8>) -> Written {
        self.0.write_back(offset, bytes)
    }
}

#[test]
fn segments_side_by_side_are_asked_for_together() {
    let apart = |distance: u64| {
        let entries = [
            (1, 5, 0, 0x40_0000, 0x1800, 0x1800, 0x1000),
            (1, 4, 0x2000, 0x40_2000, 0x100, 0x100, 0x1000),
            (1, 6, 0x3000 + distance, 0x40_3000, 0x800, 0x1900, 0x1000),
        ];
        let bytes = elf(2, 0x40_1000, &entries, 0x3800 + distance as usize);
        let source = Arc::new(Counted(
            Bytes::new(FileId { host: 1, device: 1, inode: 9 }, bytes),
            AtomicUsize::new(0),
        ));
        let program = read(FileMapping { source: source.clone(), ..file(Vec::new()) }).unwrap();
        let (system, ..) = system();
        let mm = Mm::new(&system, MmSettings::default()).unwrap();
        now(load(&mm, &program, None, &arguments(&[], &[]))).unwrap();
        source.1.load(Ordering::Relaxed)
    };
    // The start of the file, then all that is mapped of it.
    assert_eq!(apart(0), 2);
    // What lies far behind is a question of its own, and what is between them is not read.
    assert_eq!(apart(1 << 20), 3);
}

#[test]
fn a_static_program_is_loaded_where_it_wants_to_be() {
    let (system, ..) = system();
    let mm = Mm::new(&system, MmSettings::default()).unwrap();
    let bytes = program(2, 0x40_0000);
    let program = read(file(bytes.clone())).unwrap();
    let (argv, envp) = ([b"./program".to_vec(), b"".to_vec()], [b"A=b".to_vec()]);
    let start = now(load(&mm, &program, None, &arguments(&argv, &envp))).unwrap();
    assert_eq!((start.entry, start.base, start.stack % 16), (0x40_1000, 0, 0));

    let mut text = vec![0; 0x1800];
    mm.read(0x40_0000, &mut text).unwrap();
    assert_eq!(text, bytes[..0x1800]);
    assert_eq!(mm.write(0x40_0000, b"x"), Err(Errno::EFAULT));
    let mut data = vec![1; 0x1900];
    mm.read(0x40_3000, &mut data).unwrap();
    assert_eq!(data[..0x800], bytes[0x2000..0x2800]);
    assert!(data[0x800..].iter().all(|byte| *byte == 0));
    assert_eq!(mm.brk(0, 0), 0x40_5000);

    let (found_argv, found_envp, auxv) = walk(&mm, &start);
    assert_eq!((found_argv, found_envp), (argv.to_vec(), envp.to_vec()));
    let value = |kind| auxv.iter().find(|(its, _)| *its == kind).unwrap().1;
    assert_eq!((value(3), value(4), value(5)), (0x40_0040, 56, 3));
    assert_eq!((value(6), value(7), value(9), value(17)), (PAGE, 0, 0x40_1000, 100));
    assert_eq!((value(11), value(12), value(13), value(14), value(23)), (1000, 1000, 100, 100, 0));
    assert_eq!(mm.read_string(value(31), 100).unwrap(), b"./program");
    assert_eq!(mm.read_string(value(15), 100).unwrap(), b"x86_64");
    assert_ne!(words(&mm, value(25), 2), [0, 0]);
    let mut cmdline = vec![0; (start.arguments.end - start.arguments.start) as usize];
    mm.read(start.arguments.start, &mut cmdline).unwrap();
    assert_eq!(cmdline, b"./program\0\0");
    let mut environ = vec![0; (start.environment.end - start.environment.start) as usize];
    mm.read(start.environment.start, &mut environ).unwrap();
    assert_eq!(environ, b"A=b\0");

    let stack = mm.area(start.stack).unwrap();
    assert!(stack.role == Role::Stack && !stack.protection.execute);
    assert_eq!(mm.area_usage(&stack).large, 2 << 20, "one page to begin with");
    mm.write(stack.start - 8, b"x").unwrap();
}

#[test]
fn a_second_start_takes_the_pages_of_the_first() {
    let (system, ..) = system();
    let first = Mm::new(&system, MmSettings::default()).unwrap();
    let read = || read(file(program(3, 0))).unwrap();
    let start = now(load(&first, &read(), None, &arguments(&[], &[]))).unwrap();
    assert_eq!((start.base, start.entry), (layout::PROGRAM, layout::PROGRAM + 0x1000));
    let second = Mm::new(&system, MmSettings::default()).unwrap();
    now(load(&second, &read(), None, &arguments(&[], &[]))).unwrap();
    let frame = |mm: &Mm, at| mm.space().find(at).unwrap().frame;
    assert_eq!(frame(&first, start.base), frame(&second, start.base));
    assert_ne!(frame(&first, start.base + 0x3000), frame(&second, start.base + 0x3000));
    assert_eq!(system.memory.cached(), 3 * PAGE);
    drop((first, second));
    assert_eq!(pool().used(), 3 * PAGE, "the cache");
    drop(system);
    assert_eq!(pool().used(), 0);
}

#[test]
fn an_interpreter_is_loaded_beside_the_program() {
    let (system, ..) = system();
    let mm = Mm::new(&system, MmSettings::default()).unwrap();
    let mut entries = vec![(3, 4, 0x1900, 0, 10, 10, 1), (1, 5, 0, 0, 0x2000, 0x2000, 0x20_0000)];
    let mut bytes = elf(3, 0x100, &entries, 0x2000);
    bytes[0x1900..0x190a].copy_from_slice(b"/lib/ld.so");
    assert_eq!(read(file(bytes.clone())).err(), Some(ExecError::NotExecutable), "no zero");
    bytes[0x1909] = 0;
    let program = read(file(bytes)).unwrap();
    assert_eq!(program.interpreter(), Some(&b"/lib/ld.s"[..]));
    entries[0].0 = 0;
    let interpreter = read(file(elf(3, 0x200, &entries, 0x2008))).unwrap();
    let start = now(load(&mm, &program, Some(&interpreter), &arguments(&[], &[]))).unwrap();
    assert_eq!(start.entry, layout::INTERPRETER + 0x200);
    let (_, _, auxv) = walk(&mm, &start);
    assert!(auxv.contains(&(7, layout::INTERPRETER)) && auxv.contains(&(9, layout::PROGRAM + 0x100)));
    let fixed = read(file(super::tests::program(2, 0x40_0000))).unwrap();
    let other = Mm::new(&system, MmSettings::default()).unwrap();
    let refused = now(load(&other, &program, Some(&fixed), &arguments(&[], &[])));
    assert_eq!(refused.unwrap_err(), ExecError::BadInterpreter);
}

#[test]
fn other_files_are_refused() {
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = program(2, 0x40_0000);
        change(&mut bytes);
        assert_eq!(read(file(bytes)).err(), Some(ExecError::NotExecutable));
    };
    refused(&|bytes| bytes.truncate(63));
    refused(&|bytes| bytes[0] = 0);
    refused(&|bytes| bytes[4] = 1); // 32 bits
    refused(&|bytes| bytes[5] = 2); // big endian
    refused(&|bytes| bytes[7] = 9); // FreeBSD
    refused(&|bytes| bytes[16] = 1); // object file
    refused(&|bytes| bytes[18] = 183); // AArch64
    refused(&|bytes| bytes[54] = 32); // size of program headers
    refused(&|bytes| bytes[56] = 0); // none of them
    refused(&|bytes| bytes[32..40].fill(0xff)); // far away
    refused(&|bytes| bytes[64 + 16..64 + 24].fill(0xff)); // address
    refused(&|bytes| bytes[64 + 18] = 0); // address 0
    refused(&|bytes| bytes[64 + 33] = 0x90); // more in the file than in memory
    refused(&|bytes| bytes[64 + 48] = 3); // alignment
    refused(&|bytes| bytes[64 + 56 + 17] = 0x10); // overlaps the first
    refused(&|bytes| bytes.truncate(0x2700)); // cut off
}

#[test]
fn long_arguments_are_too_long() {
    let (system, ..) = system();
    let program = read(file(program(2, 0x40_0000))).unwrap();
    let start = |argv: &[Vec<u8>], stack| {
        let limits = Limits { stack, ..Limits::default() };
        let mm = Mm::new(&system, MmSettings { limits, ..MmSettings::default() }).unwrap();
        now(load(&mm, &program, None, &arguments(argv, &[]))).map(|start| mm.read_u64(start.stack).unwrap())
    };
    assert_eq!(start(&[vec![b'x'; 128 << 10]], 8 << 20), Err(ExecError::TooLong));
    let many = vec![vec![b'x'; 1000]; 200];
    assert_eq!(start(&many, 64 << 10), Err(ExecError::TooLong));
    assert_eq!(start(&many, 8 << 20), Ok(200));
    assert_eq!(start(&vec![vec![b'x'; 1000]; 3000], 8 << 20), Err(ExecError::TooLong));
    assert_eq!(start(&vec![vec![]; 10_000], 8 << 20), Ok(10_000));
}

#[test]
fn scripts_name_their_interpreter() {
    let script = |line: &[u8]| shebang(line).map(|script| (script.interpreter, script.argument));
    assert_eq!(script(b"#!/bin/sh\necho"), Some((b"/bin/sh".to_vec(), None)));
    let with = Some((b"/usr/bin/env".to_vec(), Some(b"python3 -u".to_vec())));
    assert_eq!(script(b"#! /usr/bin/env \t python3 -u \n"), with);
    assert_eq!(script(b"#!/bin/sh"), Some((b"/bin/sh".to_vec(), None)));
    assert_eq!(script(b"#!\n"), None);
    assert_eq!(script(b"\x7fELF"), None);
    assert_eq!(script(&[b"#!".to_vec(), vec![b'x'; 300]].concat()), None);
}

/// The real thing, where there is one.
#[test]
fn programs_of_the_host_are_loaded() {
    let Ok(bytes) = std::fs::read("/bin/true") else { return };
    let (system, ..) = system();
    let mm = Mm::new(&system, MmSettings::default()).unwrap();
    let program = read(file(bytes.clone())).unwrap();
    let path = program.interpreter().map(|path| String::from_utf8_lossy(path).into_owned());
    let interpreter = path.map(|path| read(file(std::fs::read(path).unwrap())).unwrap());
    let vdso = Vdso::new(&system).unwrap();
    let argv = [b"true".to_vec()];
    let arguments = Arguments { vdso: Some(&vdso), ..arguments(&argv, &[]) };
    let start = now(load(&mm, &program, interpreter.as_ref(), &arguments)).unwrap();
    let mut head = vec![0; 4096];
    mm.read(start.base, &mut head).unwrap();
    assert_eq!(head, bytes[..4096]);
    assert!(mm.area(start.entry).unwrap().protection.execute);
    // `--disable-vdso`: neither mapped nor told of (AT_SYSINFO_EHDR, 33).
    let has_vdso = |mm: &Mm| mm.areas().any(|area| area.role == Role::Vdso);
    let told = |auxv: &[u8]| auxv.chunks(16).any(|entry| entry[..8] == 33u64.to_le_bytes());
    assert!(told(&start.auxv) && has_vdso(&mm));
    let without = Mm::new(&system, MmSettings { vdso: false, ..MmSettings::default() }).unwrap();
    let start = now(load(&without, &program, interpreter.as_ref(), &arguments)).unwrap();
    assert!(!told(&start.auxv) && !has_vdso(&without));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a file says, nothing panics and nothing is lost.
    #[test]
    fn hostile_files_are_harmless(changes in prop::collection::vec((0usize..64 + 56 * 3, any::<u8>()), 1..8)) {
        let (system, ..) = system();
        let mut bytes = program(3, 0);
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let mm = Mm::new(&system, MmSettings { policy_threshold: 0, ..MmSettings::default() }).unwrap();
        if let Ok(program) = read(file(bytes)) {
            let _ = now(load(&mm, &program, None, &arguments(&[], &[])));
        }
        drop((mm, system));
        prop_assert_eq!(pool().used(), 0);
    }
}
