//! Files are read by somebody else's reader, and structures at the places that Linux's debuggers know.

use super::*;
use core::mem::offset_of;
use core::time::Duration;
use object::LittleEndian;
use object::elf::{FileHeader64, ProgramHeader64, SectionHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};

const E: LittleEndian = LittleEndian;

/// A value for each field that no other one has.
const SEGMENT: ProgramHeader = ProgramHeader {
    kind: PT_LOAD,
    flags: PF_R | PF_X,
    offset: 0x1234_5678_9abc_d000,
    address: 0xffff_8000_0000_1000,
    physical: 0x2000,
    file_len: 0x3000,
    memory_len: 0x4000,
    align: 4096,
};
const SECTION: SectionHeader = SectionHeader {
    name: 1,
    kind: SHT_DYNSYM,
    flags: SHF_ALLOC | SHF_EXECINSTR,
    address: 0x1000_0000_0000_0004,
    offset: 5,
    size: 0x6000_0000_0000_0007,
    link: 8,
    info: 9,
    align: 16,
    entry_len: 24,
};

/// A core file of one segment, its notes and one section.
fn file(notes: &[u8]) -> Vec<u8> {
    let segments_at = FileHeader::LEN as u64;
    let sections_at = segments_at + 2 * ProgramHeader::LEN as u64;
    let notes_at = sections_at + 2 * SectionHeader::LEN as u64;
    let header =
        FileHeader { abi: OSABI_GNU, entry: 0x40_1000, sections_at, sections: 2, ..FileHeader::core(2) };
    let len = notes.len() as u64;
    let of_notes =
        ProgramHeader { kind: PT_NOTE, offset: notes_at, file_len: len, align: 4, ..Default::default() };
    let mut file = header.encode().to_vec();
    file.extend(of_notes.encode());
    file.extend(SEGMENT.encode());
    file.extend(SectionHeader::default().encode());
    file.extend(SECTION.encode());
    file.extend(notes);
    file
}

#[test]
fn others_read_what_is_written() {
    let mut notes = Vec::new();
    let written = [(CORE, NT_PRSTATUS, &[1; 336][..]), (LINUX, NT_X86_XSTATE, b"12345"), ("", 0, b"")];
    for (owner, kind, desc) in written {
        let before = notes.len();
        Note { owner: owner.as_bytes(), kind, desc }.append_to(&mut notes);
        assert_eq!(notes.len() - before, Note::len_of(owner.len(), desc.len()));
    }
    let file = file(&notes);
    let header = FileHeader64::<LittleEndian>::parse(&*file).unwrap();
    assert!(header.is_supported() && header.is_little_endian());
    let ident = header.e_ident;
    assert_eq!((ident.magic, ident.os_abi.0, ident.abi_version), (*b"\x7fELF", 3, 0));
    assert_eq!((header.e_type(E).0, header.e_machine(E).0, header.e_version(E)), (4, 62, 1));
    assert_eq!((header.e_entry(E), header.e_flags(E).0, header.e_ehsize(E)), (0x40_1000, 0, 64));
    assert_eq!((header.e_phoff(E), header.e_phentsize(E), header.e_phnum(E)), (64, 56, 2));
    assert_eq!((header.e_shoff(E), header.e_shentsize(E), header.e_shnum(E)), (64 + 112, 64, 2));

    let [of_notes, segment] = header.program_headers(E, &*file).unwrap() else { panic!() };
    assert_eq!((segment.p_type(E).0, segment.p_flags(E).0), (1, 4 | 1));
    assert_eq!((segment.p_offset(E), segment.p_vaddr(E)), (0x1234_5678_9abc_d000, 0xffff_8000_0000_1000));
    assert_eq!((segment.p_paddr(E), segment.p_align(E)), (0x2000, 4096));
    assert_eq!((segment.p_filesz(E), segment.p_memsz(E)), (0x3000, 0x4000));
    let mut read = of_notes.notes(E, &*file).unwrap().expect("notes");
    for (owner, kind, desc) in written {
        let note = read.next().unwrap().unwrap();
        assert_eq!((note.name(), note.n_type(E).0, note.desc()), (owner.as_bytes(), kind, desc));
    }
    assert!(read.next().unwrap().is_none());

    let sections = header.section_headers(E, &*file).unwrap();
    let section = &sections[1];
    assert_eq!((section.sh_name(E), section.sh_type(E).0, section.sh_flags(E).0), (1, 11, 2 | 4));
    assert_eq!((section.sh_addr(E), section.sh_offset(E)), (0x1000_0000_0000_0004, 5));
    assert_eq!((section.sh_size(E), section.sh_link(E), section.sh_info(E)), (0x6000_0000_0000_0007, 8, 9));
    assert_eq!((section.sh_addralign(E), section.sh_entsize(E)), (16, 24));
}

#[test]
fn what_was_written_is_read() {
    let header = FileHeader {
        abi: 3,
        kind: ET_DYN,
        entry: 0x1_0000_0000_0002,
        segments_at: 0x3_0000_0000_0004,
        segments: PN_XNUM,
        sections_at: 0x5_0000_0000_0006,
        sections: SHN_LORESERVE,
        names: 7,
    };
    assert_eq!(FileHeader::decode(&header.encode()), Some(header));
    assert_eq!(ProgramHeader::decode(&SEGMENT.encode()), SEGMENT);
    assert_eq!(SectionHeader::decode(&SECTION.encode()), SECTION);
    let core = FileHeader::core(3);
    assert_eq!((core.kind, core.segments_at, core.segments), (ET_CORE, 64, 3));
    // As Linux writes it: no length of sections that are not there.
    assert_eq!(core.encode()[58..], [0; 6]);
}

#[test]
fn lengths_are_those_of_the_abi() {
    assert_eq!(FileHeader::LEN, size_of::<FileHeader64<LittleEndian>>());
    assert_eq!(ProgramHeader::LEN, size_of::<ProgramHeader64<LittleEndian>>());
    assert_eq!(SectionHeader::LEN, size_of::<SectionHeader64<LittleEndian>>());
}

#[test]
fn headers_of_others_are_refused() {
    let fine = FileHeader::core(1).encode();
    // Magic, class, byte order, version, machine, length of a program header.
    for at in [0, 1, 2, 3, 4, 5, 6, 18, 19, 54, 55] {
        let mut other = fine;
        other[at] ^= 1;
        assert_eq!(FileHeader::decode(&other), None, "byte {at}");
    }
}

#[test]
fn notes_that_are_cut_off_are_not_read() {
    let mut notes = Vec::new();
    Note { owner: b"OWNER", kind: 7, desc: b"12345" }.append_to(&mut notes);
    Note { owner: b"X", kind: 8, desc: b"123456" }.append_to(&mut notes);
    let (first, rest) = Note::split_first(&notes).unwrap();
    assert_eq!(first, Note { owner: b"OWNER", kind: 7, desc: b"12345" });
    // The last two bytes align what would follow.
    for len in 0..=rest.len() {
        let read = Note::split_first(&rest[..len]);
        let whole = Note { owner: b"X", kind: 8, desc: b"123456" };
        assert_eq!(read.is_some(), len >= rest.len() - 2, "{len} bytes");
        assert!(read.is_none_or(|(note, rest)| note == whole && rest.is_empty()));
    }
    // An owner is over where its zero is, or its bytes are.
    for (owner, read) in [(*b"ab\0d", &b"ab"[..]), (*b"abcd", b"abcd"), ([0; 4], b"")] {
        let note = [&[4, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0][..], &owner].concat();
        assert_eq!(Note::split_first(&note), Some((Note { owner: read, kind: 9, desc: b"" }, &b""[..])));
    }
    // Lengths that no file has.
    assert_eq!(Note::split_first(&[0xff; 64]), None);
}

/// `struct elf_prstatus`, written down once more, as a compiler lays it out.
#[repr(C)]
struct ElfPrStatus {
    info: [i32; 3],
    cursig: i16,
    sigpend: u64,
    sighold: u64,
    pid: i32,
    ppid: i32,
    pgrp: i32,
    sid: i32,
    utime: [i64; 2],
    stime: [i64; 2],
    cutime: [i64; 2],
    cstime: [i64; 2],
    reg: [u64; 27],
    fpvalid: i32,
}

/// `struct elf_prpsinfo`.
#[repr(C)]
struct ElfPrPsInfo {
    state: u8,
    sname: u8,
    zomb: u8,
    nice: u8,
    flag: u64,
    uid: u32,
    gid: u32,
    pid: i32,
    ppid: i32,
    pgrp: i32,
    sid: i32,
    fname: [u8; 16],
    psargs: [u8; 80],
}

/// What is left of `bytes` when fields are taken away that must have these values.
fn without(mut bytes: Vec<u8>, fields: &[(usize, &[u8])]) -> Vec<u8> {
    for (at, value) in fields {
        assert_eq!(bytes[*at..*at + value.len()], **value, "at {at}");
        bytes[*at..*at + value.len()].fill(0);
    }
    bytes
}

#[test]
fn a_thread_lies_as_a_compiler_lays_it_out() {
    assert_eq!(ThreadStatus::LEN, size_of::<ElfPrStatus>());
    let status = ThreadStatus {
        info: [1, -2, 3],
        signal: 0x405,
        pending: 6,
        blocked: 7,
        thread: 8,
        parent: 9,
        group: 10,
        session: 11,
        user: Duration::new(12, 13_999),
        system: Duration::new(14, 15_000),
        children_user: Duration::new(16, 17_000),
        children_system: Duration::new(18, 19_000),
        registers: core::array::from_fn(|register| 1 << 63 | register as u64),
        has_floats: true,
    };
    let bytes = status.encode();
    let time = |seconds: u64, micros: u64| [seconds.to_le_bytes(), micros.to_le_bytes()].concat();
    let registers: Vec<u8> = status.registers.iter().flat_map(|register| register.to_le_bytes()).collect();
    let rest = without(
        bytes.to_vec(),
        &[
            (offset_of!(ElfPrStatus, info), &[1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 3, 0, 0, 0]),
            (offset_of!(ElfPrStatus, cursig), &[5, 4]),
            (offset_of!(ElfPrStatus, sigpend), &6u64.to_le_bytes()),
            (offset_of!(ElfPrStatus, sighold), &7u64.to_le_bytes()),
            (offset_of!(ElfPrStatus, pid), &8u32.to_le_bytes()),
            (offset_of!(ElfPrStatus, ppid), &9u32.to_le_bytes()),
            (offset_of!(ElfPrStatus, pgrp), &10u32.to_le_bytes()),
            (offset_of!(ElfPrStatus, sid), &11u32.to_le_bytes()),
            (offset_of!(ElfPrStatus, utime), &time(12, 13)),
            (offset_of!(ElfPrStatus, stime), &time(14, 15)),
            (offset_of!(ElfPrStatus, cutime), &time(16, 17)),
            (offset_of!(ElfPrStatus, cstime), &time(18, 19)),
            (offset_of!(ElfPrStatus, reg), &registers),
            (offset_of!(ElfPrStatus, fpvalid), &1u32.to_le_bytes()),
        ],
    );
    assert_eq!(rest, [0; ThreadStatus::LEN]);
    assert_eq!(ThreadStatus::registers_in(&bytes), Some(status.registers));
    assert_eq!(ThreadStatus::registers_in(&bytes[..328]), Some(status.registers));
    assert_eq!(ThreadStatus::registers_in(&bytes[..327]), None);
    assert_eq!(ThreadStatus::registers_in(&bytes[..100]), None);
}

#[test]
fn a_process_lies_as_a_compiler_lays_it_out() {
    assert_eq!(ProcessStatus::LEN, size_of::<ElfPrPsInfo>());
    let mut status = ProcessStatus {
        state: b'R',
        owner: (1, 2),
        process: 3,
        parent: 4,
        group: 5,
        session: 6,
        name: b"a.out",
        arguments: b"a.out -v",
    };
    let rest = without(
        status.encode().to_vec(),
        &[
            (offset_of!(ElfPrPsInfo, sname), b"R"),
            (offset_of!(ElfPrPsInfo, uid), &1u32.to_le_bytes()),
            (offset_of!(ElfPrPsInfo, gid), &2u32.to_le_bytes()),
            (offset_of!(ElfPrPsInfo, pid), &3u32.to_le_bytes()),
            (offset_of!(ElfPrPsInfo, ppid), &4u32.to_le_bytes()),
            (offset_of!(ElfPrPsInfo, pgrp), &5u32.to_le_bytes()),
            (offset_of!(ElfPrPsInfo, sid), &6u32.to_le_bytes()),
            (offset_of!(ElfPrPsInfo, fname), b"a.out\0"),
            (offset_of!(ElfPrPsInfo, psargs), b"a.out -v\0"),
        ],
    );
    assert_eq!(rest, [0; ProcessStatus::LEN]);
    // What is too long is cut, and ends with a zero.
    (status.name, status.arguments) = (&[b'n'; 16], &[b'a'; 100]);
    let bytes = status.encode();
    assert_eq!((bytes[40 + 14], bytes[40 + 15], bytes[56 + 78], bytes[56 + 79]), (b'n', 0, b'a', 0));
}

#[test]
fn registers_have_their_places() {
    // In the order of the structure's fields.
    let names = [
        register::R15,
        register::R14,
        register::R13,
        register::R12,
        register::RBP,
        register::RBX,
        register::R11,
        register::R10,
        register::R9,
        register::R8,
        register::RAX,
        register::RCX,
        register::RDX,
        register::RSI,
        register::RDI,
        register::ORIG_RAX,
        register::RIP,
        register::CS,
        register::EFLAGS,
        register::RSP,
        register::SS,
        register::FS_BASE,
        register::GS_BASE,
        register::DS,
        register::ES,
        register::FS,
        register::GS,
    ];
    assert!(names.into_iter().eq(0..REGISTERS));
    let registers = UserRegisters {
        r15: 15,
        r14: 14,
        r13: 13,
        r12: 12,
        rbp: 105,
        rbx: 103,
        r11: 11,
        r10: 10,
        r9: 9,
        r8: 8,
        rax: 100,
        rcx: 101,
        rdx: 102,
        rsi: 106,
        rdi: 107,
        orig_rax: NO_CALL,
        rip: 200,
        cs: 201,
        rflags: 202,
        rsp: 104,
        ss: 203,
        fs_base: 204,
        gs_base: 205,
    };
    let order = registers.in_order();
    for (at, value) in [
        (register::R15, 15),
        (register::R14, 14),
        (register::R13, 13),
        (register::R12, 12),
        (register::R11, 11),
        (register::R10, 10),
        (register::R9, 9),
        (register::R8, 8),
        (register::RAX, 100),
        (register::RCX, 101),
        (register::RDX, 102),
        (register::RBX, 103),
        (register::RSP, 104),
        (register::RBP, 105),
        (register::RSI, 106),
        (register::RDI, 107),
        (register::ORIG_RAX, u64::MAX),
        (register::RIP, 200),
        (register::CS, 201),
        (register::EFLAGS, 202),
        (register::SS, 203),
        (register::FS_BASE, 204),
        (register::GS_BASE, 205),
        (register::DS, 0),
        (register::ES, 0),
        (register::FS, 0),
        (register::GS, 0),
    ] {
        assert_eq!(order[at], value, "register {at}");
    }
}
