//! Layouts of ELF files of x86-64, for all who write or read some: core files of a failed kernel, of programs and of whole
//! nodes, programs to be loaded, the vDSO.
//!
//! ```text
//!   header     FileHeader: what a file is, and where its tables are
//!   program    ProgramHeader: a part of memory, or notes
//!   section    SectionHeader: a part of the file with a name
//!   note       Note: an owner, a type, bytes
//!   status     what notes of core files say: of a thread, of a process
//!   registers  the order in which such notes have registers
//! ```
//!
//! Principles:
//!
//! 1. **A layout is a struct with names and an array of bytes**: `encode` makes one of the other, `decode` goes back, and both
//!    know the same places. Numbers are little-endian.
//! 2. **No memory of its own**: arrays have fixed sizes, notes are appended to whatever takes bytes, and are read in place.
//! 3. **Reading cannot fail halfway**: `decode` takes as many bytes as it looks at. What the numbers mean is for its caller to
//!    check, who knows how long the file is.
//!
//! Sources: System V Application Binary Interface (gABI), chapters "Object Files" and "Program Loading"; its AMD64 supplement
//! (psABI), section 4.1; for notes of core files Linux's `include/uapi/linux/elf.h`, `include/linux/elfcore.h` and
//! `arch/x86/include/asm/user_64.h`.
//!
//! Not here: what goes into a core file, in which order, and where in the file it is; symbols and dynamic linking.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod bytes;
mod header;
mod note;
mod program;
mod registers;
mod section;
mod status;
#[cfg(test)]
mod tests;

pub use header::{
    ET_CORE, ET_DYN, ET_EXEC, FileHeader, MAGIC, OSABI_GNU, OSABI_SYSV, PN_XNUM, SHN_LORESERVE,
};
pub use note::{
    CORE, LINUX, NT_AUXV, NT_FILE, NT_FPREGSET, NT_PRPSINFO, NT_PRSTATUS, NT_SIGINFO, NT_X86_XSTATE, Note,
};
pub use program::{PF_R, PF_W, PF_X, PT_DYNAMIC, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_NOTE, ProgramHeader};
pub use registers::{NO_CALL, REGISTERS, UserRegisters, register};
pub use section::{
    SHF_ALLOC, SHF_EXECINSTR, SHT_DYNAMIC, SHT_DYNSYM, SHT_GNU_VERDEF, SHT_GNU_VERSYM, SHT_HASH,
    SHT_PROGBITS, SHT_STRTAB, SectionHeader,
};
pub use status::{ProcessStatus, ThreadStatus};
