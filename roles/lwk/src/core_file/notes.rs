//! The notes of a core file (`linux/elfcore.h`, `sys/procfs.h`).

use super::Stopped;
use crate::Errno;
use crate::exit::cause;
use crate::mm::{Area, PAGE};
use crate::process::Process;
use crate::room;
use crate::signals::SigInfo;
use crate::signals::frame::{USER_CS, USER_SS, components};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use keelson_elf::{
    CORE, LINUX, NO_CALL, NT_AUXV, NT_FILE, NT_FPREGSET, NT_PRPSINFO, NT_PRSTATUS, NT_SIGINFO, NT_X86_XSTATE,
    Note, ProcessStatus, REGISTERS, ThreadStatus, UserRegisters,
};
use keelson_hal::user::Registers;

/// The legacy part of the XSAVE area: `struct user_fpregs_struct`.
const LEGACY: usize = 512;
/// Where XCR0 is looked for: the bytes of the legacy area that are the software's.
const XCR0_AT: usize = 464;

/// Most bytes of the note of files; a longer one is left out, as on Linux.
const FILES_MOST: usize = 4 << 20;

/// All notes: the thread that crashed, the process, the other threads. ENOMEM.
pub fn all(process: &Process, info: &SigInfo, threads: &[Stopped], areas: &[Area]) -> Result<Vec<u8>, Errno> {
    let mut notes = Vec::new();
    for (index, thread) in threads.iter().enumerate() {
        let signal = if index == 0 { Some(info) } else { None };
        note(&mut notes, CORE, NT_PRSTATUS, &status(process, thread, signal).encode())?;
        if index == 0 {
            note(&mut notes, CORE, NT_PRPSINFO, &process_status(process))?;
            note(&mut notes, CORE, NT_SIGINFO, &info.encode())?;
            note(&mut notes, CORE, NT_AUXV, &auxiliary(process))?;
            if let Some(files) = files(areas)? {
                note(&mut notes, CORE, NT_FILE, &files)?;
            }
        }
        note(&mut notes, CORE, NT_FPREGSET, thread.extended.get(..LEGACY).unwrap_or(&thread.extended))?;
        if thread.extended.len() > LEGACY {
            note(&mut notes, LINUX, NT_X86_XSTATE, &extended(thread, process))?;
        }
    }
    Ok(notes)
}

fn note(notes: &mut Vec<u8>, owner: &str, kind: u32, desc: &[u8]) -> Result<(), Errno> {
    /// What a note has besides: three words, its owner, and what fills them up.
    const BESIDES: usize = 32;
    notes.try_reserve(desc.len() + BESIDES).map_err(|_| Errno::ENOMEM)?;
    Note { owner: owner.as_bytes(), kind, desc }.append_to(notes);
    Ok(())
}

fn status(process: &Process, thread: &Stopped, info: Option<&SigInfo>) -> ThreadStatus {
    let (_, signal) = process.end().map_or((0, 0), cause);
    let (group, session) = process.node.group_and_session(process.pid).unwrap_or_default();
    let (own, children) = (process.usage(), process.children_usage());
    ThreadStatus {
        info: info.map_or([0; 3], |info| [info.signal as i32, info.code, info.errno]),
        signal: signal as u16,
        pending: thread.pending,
        blocked: thread.blocked,
        thread: thread.tid,
        parent: process.parent.load(Ordering::Relaxed),
        group,
        session,
        user: own.user,
        system: own.system,
        children_user: children.user,
        children_system: children.system,
        registers: in_order(&thread.registers),
        has_floats: true,
    }
}

fn in_order(r: &Registers) -> [u64; REGISTERS] {
    let registers = UserRegisters {
        r15: r.r15,
        r14: r.r14,
        r13: r.r13,
        r12: r.r12,
        rbp: r.rbp,
        rbx: r.rbx,
        r11: r.r11,
        r10: r.r10,
        r9: r.r9,
        r8: r.r8,
        rax: r.rax,
        rcx: r.rcx,
        rdx: r.rdx,
        rsi: r.rsi,
        rdi: r.rdi,
        orig_rax: NO_CALL,
        rip: r.rip,
        cs: USER_CS,
        rflags: r.rflags,
        rsp: r.rsp,
        ss: USER_SS,
        fs_base: r.fs_base,
        gs_base: r.gs_base,
    };
    registers.in_order()
}

fn process_status(process: &Process) -> [u8; ProcessStatus::LEN] {
    let ids = process.ids.lock().clone();
    let (group, session) = process.node.group_and_session(process.pid).unwrap_or_default();
    let program = process.program.lock().clone();
    let status = ProcessStatus {
        // Running.
        state: b'R',
        owner: (ids.user.real, ids.group.real),
        process: process.pid,
        parent: process.parent.load(Ordering::Relaxed),
        group,
        session,
        name: program.name(),
        arguments: &beginning(&program.arguments),
    };
    status.encode()
}

/// What a note can show of the arguments, which may be megabytes.
fn beginning(arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut shown = Vec::new();
    for (index, word) in arguments.iter().enumerate().take(ProcessStatus::LEN) {
        shown.extend_from_slice(if index > 0 { b" " } else { b"" });
        shown.extend_from_slice(word.get(..ProcessStatus::LEN).unwrap_or(word));
        if shown.len() >= ProcessStatus::LEN {
            break;
        }
    }
    shown
}

fn auxiliary(process: &Process) -> Vec<u8> {
    let program = process.program.lock().clone();
    let pairs = program.auxiliary.iter().flat_map(|(kind, value)| [*kind, *value]);
    pairs.flat_map(u64::to_le_bytes).collect()
}

/// Which files are mapped where: counts, ranges with offsets in pages, then the names. `None` when there are too many.
fn files(areas: &[Area]) -> Result<Option<Vec<u8>>, Errno> {
    let mapped = || areas.iter().filter_map(|area| Some((area, area.path.as_ref()?)));
    let len = 16 + mapped().map(|(_, path)| 24 + path.len() + 1).sum::<usize>();
    if len > FILES_MOST {
        return Ok(None);
    }
    let mut bytes = room::with_room(len)?;
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
    Ok(Some(bytes))
}

/// The XSAVE area with the processor's components where debuggers look for them.
fn extended(thread: &Stopped, process: &Process) -> Vec<u8> {
    let mut bytes = thread.extended.clone();
    let features = components(&*process.system.machine, bytes.len());
    if let Some(place) = bytes.get_mut(XCR0_AT..XCR0_AT + 8) {
        place.copy_from_slice(&features.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_hal::user::Protection;

    #[test]
    fn a_note_of_too_many_files_is_left_out() {
        let mut area = Area::anonymous(0..PAGE, Protection::default());
        area.path = Some(vec![b'x'; 4000].into());
        let areas = vec![area; 2000];
        assert_eq!(files(&areas), Ok(None));
        let some = files(&areas[..2]).unwrap().unwrap();
        assert_eq!((some.len(), some.capacity()), (16 + 2 * (24 + 4001), some.len()));
    }

    #[test]
    fn arguments_are_shown_as_far_as_there_is_room() {
        let words = |words: &[&str]| {
            beginning(&words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(words(&["a", "", "b"]), b"a  b");
        let long = "y".repeat(1 << 20);
        assert!(words(&["x", &long, &long]).starts_with(b"x yyy"));
        assert!(words(&["x", &long, &long]).len() <= 2 * ProcessStatus::LEN);
    }
}
