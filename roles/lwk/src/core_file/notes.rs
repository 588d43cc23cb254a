//! The notes of a core file (`linux/elfcore.h`, `sys/procfs.h`).

use super::Stopped;
use crate::exit::cause;
use crate::mm::{Area, PAGE};
use crate::process::Process;
use crate::signals::{SigInfo, frame::components};
use alloc::vec::Vec;
use core::time::Duration;
use keelson_hal::user::Registers;

const NT_PRSTATUS: u32 = 1;
const NT_FPREGSET: u32 = 2;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_FILE: u32 = 0x4649_4c45;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_X86_XSTATE: u32 = 0x202;

/// Bytes of `struct elf_prstatus` and `struct elf_prpsinfo`.
const PRSTATUS: usize = 336;
const PRPSINFO: usize = 136;
/// The legacy part of the XSAVE area: `struct user_fpregs_struct`.
const LEGACY: usize = 512;
/// Where XCR0 is looked for: the bytes of the legacy area that are the software's.
const XCR0_AT: usize = 464;

/// All notes: the thread that crashed, the process, the other threads.
pub fn all(process: &Process, info: &SigInfo, threads: &[Stopped], areas: &[Area]) -> Vec<u8> {
    let mut notes = Vec::new();
    for (index, thread) in threads.iter().enumerate() {
        let signal = if index == 0 { Some(info) } else { None };
        note(&mut notes, b"CORE\0", NT_PRSTATUS, &status(process, thread, signal));
        if index == 0 {
            note(&mut notes, b"CORE\0", NT_PRPSINFO, &process_info(process));
            note(&mut notes, b"CORE\0", NT_SIGINFO, &info.encode());
            note(&mut notes, b"CORE\0", NT_AUXV, &auxiliary(process));
            note(&mut notes, b"CORE\0", NT_FILE, &files(areas));
        }
        note(&mut notes, b"CORE\0", NT_FPREGSET, thread.extended.get(..LEGACY).unwrap_or(&thread.extended));
        if thread.extended.len() > LEGACY {
            note(&mut notes, b"LINUX\0", NT_X86_XSTATE, &extended(thread, process));
        }
    }
    notes
}

/// A note: sizes, type, owner and content, each padded to 4 bytes.
fn note(notes: &mut Vec<u8>, owner: &[u8], kind: u32, content: &[u8]) {
    for word in [owner.len() as u32, content.len() as u32, kind] {
        notes.extend_from_slice(&word.to_le_bytes());
    }
    for part in [owner, content] {
        notes.extend_from_slice(part);
        notes.resize(notes.len().next_multiple_of(4), 0);
    }
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn status(process: &Process, thread: &Stopped, info: Option<&SigInfo>) -> [u8; PRSTATUS] {
    let mut bytes = [0; PRSTATUS];
    if let Some(info) = info {
        put(&mut bytes, 0, &(info.signal as i32).to_le_bytes());
        put(&mut bytes, 4, &info.code.to_le_bytes());
        put(&mut bytes, 8, &info.errno.to_le_bytes());
    }
    let (_, current) = process.end().map_or((0, 0), cause);
    put(&mut bytes, 12, &(current as u16).to_le_bytes());
    put(&mut bytes, 16, &thread.pending.to_le_bytes());
    put(&mut bytes, 24, &thread.blocked.to_le_bytes());
    let (group, session) = process.node.group_and_session(process.pid).unwrap_or_default();
    let parent = process.parent.load(core::sync::atomic::Ordering::Relaxed);
    for (index, id) in [thread.tid, parent, group, session].into_iter().enumerate() {
        put(&mut bytes, 32 + index * 4, &id.to_le_bytes());
    }
    let (own, children) = (process.usage(), process.children_usage());
    for (index, time) in [own.user, own.system, children.user, children.system].into_iter().enumerate() {
        put(&mut bytes, 48 + index * 16, &timeval(time));
    }
    for (index, register) in user_registers(&thread.registers).into_iter().enumerate() {
        put(&mut bytes, 112 + index * 8, &register.to_le_bytes());
    }
    // pr_fpvalid.
    put(&mut bytes, 328, &1u32.to_le_bytes());
    bytes
}

fn timeval(time: Duration) -> [u8; 16] {
    let mut bytes = [0; 16];
    put(&mut bytes, 0, &time.as_secs().to_le_bytes());
    put(&mut bytes, 8, &u64::from(time.subsec_micros()).to_le_bytes());
    bytes
}

/// `struct user_regs_struct` (`sys/user.h`).
fn user_registers(r: &Registers) -> [u64; 27] {
    const USER_CS: u64 = 0x33;
    const USER_SS: u64 = 0x2b;
    // orig_rax: not in a system call.
    let original = u64::MAX;
    [
        r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx, r.rdx, r.rsi,
        r.rdi, original, r.rip, USER_CS, r.rflags, r.rsp, USER_SS, r.fs_base, r.gs_base, 0, 0, 0, 0,
    ]
}

fn process_info(process: &Process) -> [u8; PRPSINFO] {
    let mut bytes = [0; PRPSINFO];
    // State: running.
    bytes[1] = b'R';
    let ids = process.ids.lock().clone();
    let (group, session) = process.node.group_and_session(process.pid).unwrap_or_default();
    let parent = process.parent.load(core::sync::atomic::Ordering::Relaxed);
    let numbers = [ids.user.real, ids.group.real, process.pid, parent, group, session];
    for (index, id) in numbers.into_iter().enumerate() {
        put(&mut bytes, 16 + index * 4, &id.to_le_bytes());
    }
    let program = process.program.lock().clone();
    let name = program.name();
    put(&mut bytes, 40, &name[..name.len().min(15)]);
    let arguments = program.arguments.join(&b' ');
    put(&mut bytes, 56, &arguments[..arguments.len().min(79)]);
    bytes
}

fn auxiliary(process: &Process) -> Vec<u8> {
    let program = process.program.lock().clone();
    let pairs = program.auxiliary.iter().flat_map(|(kind, value)| [*kind, *value]);
    pairs.flat_map(u64::to_le_bytes).collect()
}

/// Which files are mapped where: counts, ranges with offsets in pages, then the names.
fn files(areas: &[Area]) -> Vec<u8> {
    let mapped = || areas.iter().filter_map(|area| Some((area, area.path.as_ref()?)));
    let mut bytes = Vec::new();
    let mut put = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
    put(mapped().count() as u64);
    put(PAGE);
    for (area, _) in mapped() {
        put(area.start);
        put(area.end);
        put(area.offset / PAGE);
    }
    for (_, path) in mapped() {
        bytes.extend_from_slice(path);
        bytes.push(0);
    }
    bytes
}

/// The XSAVE area with the processor's components where debuggers look for them.
fn extended(thread: &Stopped, process: &Process) -> Vec<u8> {
    let mut bytes = thread.extended.clone();
    let features = components(&*process.system.machine, bytes.len());
    put(&mut bytes, XCR0_AT, &features.to_le_bytes());
    bytes
}
