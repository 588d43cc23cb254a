//! The first stack of a program: strings, auxiliary vector, pointers (System V ABI for AMD64, 3.4.1; section 3.3).
//!
//! ```text
//! high   8 zero bytes
//!        path, environment, arguments: strings
//!        "x86_64"
//!        16 random bytes
//!        auxiliary vector, ends with AT_NULL
//!        envp, 0
//!        argv, 0
//! rsp →  argc                                          a multiple of 16
//! ```

use super::{Arguments, ExecError};
use crate::mm::{Area, Mm, PAGE, Role, layout, page_of};
use crate::room;
use alloc::vec::Vec;
use core::ops::Range;
use keelson_elf::ProgramHeader;
use keelson_hal::user::Protection;

/// Most bytes of one string (`MAX_ARG_STRLEN`).
const STRING_MOST: usize = 128 << 10;
/// Most bytes of all strings and pointers, whatever the limit of the stack is.
const STRINGS_MOST: u64 = 6 << 20;
/// What is always allowed (`ARG_MAX`).
const STRINGS_LEAST: u64 = 128 << 10;

/// Types of entries of the auxiliary vector (getauxval(3)).
mod at {
    pub const NULL: u64 = 0;
    pub const PHDR: u64 = 3;
    pub const PHENT: u64 = 4;
    pub const PHNUM: u64 = 5;
    pub const PAGESZ: u64 = 6;
    pub const BASE: u64 = 7;
    pub const FLAGS: u64 = 8;
    pub const ENTRY: u64 = 9;
    pub const UID: u64 = 11;
    pub const EUID: u64 = 12;
    pub const GID: u64 = 13;
    pub const EGID: u64 = 14;
    pub const PLATFORM: u64 = 15;
    pub const HWCAP: u64 = 16;
    pub const CLKTCK: u64 = 17;
    pub const SECURE: u64 = 23;
    pub const RANDOM: u64 = 25;
    pub const HWCAP2: u64 = 26;
    pub const EXECFN: u64 = 31;
    pub const SYSINFO_EHDR: u64 = 33;
    pub const MINSIGSTKSZ: u64 = 51;
}

/// Where the program's parts are.
pub struct Addresses {
    /// First instruction of the program, not of its interpreter.
    pub entry: u64,
    /// Its program headers.
    pub headers: u64,
    /// How many.
    pub header_count: u64,
    /// What was added to the interpreter's addresses; 0 without one.
    pub interpreter: u64,
    /// The vDSO; 0 without one.
    pub vdso: u64,
}

/// The stack as it was built.
pub struct Built {
    pub pointer: u64,
    pub auxv: Vec<u8>,
    pub arguments: Range<u64>,
    pub environment: Range<u64>,
}

/// Maps the stack and writes what the program finds on it.
pub fn build(
    mm: &Mm,
    addresses: &Addresses,
    arguments: &Arguments<'_>,
    executable: bool,
) -> Result<Built, ExecError> {
    let limit = mm.limits().stack.min(layout::STACK_MOST);
    let most = (limit / 4).clamp(STRINGS_LEAST, STRINGS_MOST);
    let strings = Strings::new(arguments, most)?;
    let mut random = [0; 16];
    mm.system().entropy.fill(&mut random);
    let platform = strings.lowest - 8;
    let random_at = (platform - 16) & !15;
    let auxv = auxv(mm, addresses, arguments, &strings, platform, random_at);
    let pointers = 1 + strings.argv.len() + 1 + strings.envp.len() + 1;
    let pointer = (random_at - (auxv.len() + pointers * 8) as u64) & !15;
    if layout::STACK_TOP - pointer > most + STRINGS_LEAST {
        return Err(ExecError::TooLong);
    }
    let offset = |at: u64| (at - pointer) as usize;
    let mut bytes = with_room(offset(strings.lowest))?;
    let words = core::iter::once(strings.argv.len() as u64)
        .chain(strings.argv.iter().copied().chain([0]))
        .chain(strings.envp.iter().copied().chain([0]));
    words.for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    bytes.extend_from_slice(&auxv);
    bytes.resize(offset(random_at), 0);
    bytes.extend_from_slice(&random);
    bytes.resize(offset(platform), 0);
    bytes.extend_from_slice(b"x86_64\0\0");
    map_stack(mm, layout::STACK_TOP - page_of(pointer), limit, executable, arguments.node)?;
    let written = mm.write(pointer, &bytes).and_then(|()| mm.write(strings.lowest, &strings.bytes));
    written.map_err(|_| ExecError::OutOfMemory)?;
    Ok(Built { pointer, auxv, arguments: strings.arguments, environment: strings.environment })
}

/// The strings as they end up below the top of the stack.
struct Strings {
    bytes: Vec<u8>,
    lowest: u64,
    argv: Vec<u64>,
    envp: Vec<u64>,
    path: u64,
    arguments: Range<u64>,
    environment: Range<u64>,
}

impl Strings {
    fn new(arguments: &Arguments<'_>, most: u64) -> Result<Strings, ExecError> {
        let all = || arguments.argv.iter().chain(arguments.envp).map(Vec::as_slice).chain([arguments.path]);
        if all().any(|string| string.len() >= STRING_MOST) {
            return Err(ExecError::TooLong);
        }
        // Each string has its zero and a pointer.
        let len: u64 = all().map(|string| string.len() as u64 + 1).sum();
        let pointers = (arguments.argv.len() + arguments.envp.len()) as u64 * 8;
        if len + pointers > most {
            return Err(ExecError::TooLong);
        }
        let lowest = (layout::STACK_TOP - 8 - len) & !7;
        let mut bytes: Vec<u8> = with_room((layout::STACK_TOP - lowest) as usize)?;
        let mut put = |string: &[u8]| {
            let at = lowest + bytes.len() as u64;
            bytes.extend_from_slice(string);
            bytes.push(0);
            at
        };
        let (mut argv, mut envp) = (with_room(arguments.argv.len())?, with_room(arguments.envp.len())?);
        argv.extend(arguments.argv.iter().map(|string| put(string)));
        envp.extend(arguments.envp.iter().map(|string| put(string)));
        let path = put(arguments.path);
        let middle = envp.first().copied().unwrap_or(path);
        bytes.resize((layout::STACK_TOP - lowest) as usize, 0);
        Ok(Strings { bytes, lowest, argv, envp, path, arguments: lowest..middle, environment: middle..path })
    }
}

fn with_room<T>(len: usize) -> Result<Vec<T>, ExecError> {
    room::with_room(len).map_err(|_| ExecError::OutOfMemory)
}

fn auxv(
    mm: &Mm,
    addresses: &Addresses,
    arguments: &Arguments<'_>,
    strings: &Strings,
    platform: u64,
    random: u64,
) -> Vec<u8> {
    let facts = &arguments.facts;
    let features = mm.system().machine.cpuid(1, 0)[3];
    let mut entries: Vec<(u64, u64)> = Vec::with_capacity(32);
    if addresses.vdso != 0 {
        entries.push((at::SYSINFO_EHDR, addresses.vdso));
    }
    if facts.min_signal_stack != 0 {
        entries.push((at::MINSIGSTKSZ, facts.min_signal_stack));
    }
    entries.extend([
        (at::HWCAP, u64::from(features)),
        (at::PAGESZ, PAGE),
        (at::CLKTCK, 100),
        (at::PHDR, addresses.headers),
        (at::PHENT, ProgramHeader::LEN as u64),
        (at::PHNUM, addresses.header_count),
        (at::BASE, addresses.interpreter),
        (at::FLAGS, 0),
        (at::ENTRY, addresses.entry),
        (at::UID, u64::from(facts.uid)),
        (at::EUID, u64::from(facts.euid)),
        (at::GID, u64::from(facts.gid)),
        (at::EGID, u64::from(facts.egid)),
        (at::SECURE, 0),
        (at::RANDOM, random),
        (at::HWCAP2, facts.hwcap2),
        (at::EXECFN, strings.path),
        (at::PLATFORM, platform),
    ]);
    entries.push((at::NULL, 0));
    entries.iter().flat_map(|(kind, value)| [kind.to_le_bytes(), value.to_le_bytes()]).flatten().collect()
}

/// Maps the stack: what is needed and what is to be there at the start; it grows below.
fn map_stack(mm: &Mm, needed: u64, limit: u64, executable: bool, node: usize) -> Result<(), ExecError> {
    let premap = mm.settings().stack_premap.min(limit).next_multiple_of(PAGE);
    let len = premap.max(needed.next_multiple_of(PAGE) + 32 * PAGE).min(layout::STACK_MOST);
    let start = layout::STACK_TOP - len;
    let protection = Protection { execute: executable, ..Protection::READ_WRITE };
    let mut area = Area::anonymous(start..layout::STACK_TOP, protection);
    area.role = Role::Stack;
    area.flags.grows_down = true;
    mm.place_area(area, node).map_err(|_| ExecError::OutOfMemory)?;
    mm.fill(layout::STACK_TOP - premap, premap, node).map_err(|_| ExecError::OutOfMemory)
}
