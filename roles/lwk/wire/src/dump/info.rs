//! The block that says where everything is: a page-aligned piece of the kernel's image, found in a copy of RAM by its magic.
//!
//! The kernel writes it in place, field by field, so that it is there when nothing else answers any more. All numbers are
//! little-endian, all text is UTF-8 with zeros behind it, what is not named is zero. Offsets are in [`layout`].
//!
//! ```text
//!      0  u8[8]  magic "KEELINFO"          72  u64  bytes of the log's ring
//!      8  u32    version                   80  u64  address of the log's position: bytes ever written, u64
//!     12  u32    bytes of the block        88  u64  ticks of the time stamp counter in a second
//!     16  u64    own physical address      96  u64  when it booted, nanoseconds since 1970; 0 = unknown
//!     24  u64    link address             104  u64  when it stopped, nanoseconds since boot; 0 = it runs
//!     32  u64    physical address of it   112  u64  end of RAM: the direct map ends here
//!     40  u64    bytes of the image       120  u32  cores
//!     48  u64    base of the direct map   128  u8[64]    build id
//!     56  u64    kernel's root table      192  u8[256]   panic text; empty = none
//!     64  u64    address of the log's     448  u8[1024]  command line, without secrets
//!                ring
//!   2048  64 cores of 256 bytes:     0 u32 state, 8 u64[27] registers, 224 u64 CR2, 232 u64 CR3, 240 u32 pid, 244 u32 tid,
//!                                    248 u64 address of the core's own block
//!  18432  256 processes of 32 bytes: 0 u32 pid (0 = none), 8 u64 physical address of the root table, 16 u8[16] name
//!  26624  end
//! ```
//!
//! Addresses are virtual unless they are called physical. Those in the block lie in the image or in the direct map. The stacks
//! of the cores do not (at `0xffffd00000000000`, each above a guard): who wants a backtrace finds them through the root table.

use alloc::string::String;
use alloc::vec::Vec;

use keelson_elf::REGISTERS;

use crate::bytes::{Malformed, Reader, Writer};

/// Where the fields are; a kernel writes them there.
pub mod layout {
    /// First bytes.
    pub const MAGIC: [u8; 8] = *b"KEELINFO";
    /// Version of this layout.
    pub const VERSION: u32 = 1;
    /// Bytes of the block.
    pub const LEN: usize = PROCESSES + MAX_PROCESSES * PROCESS_LEN;
    /// The block begins at a multiple of this.
    pub const ALIGN: u64 = 4096;

    /// Of the build id.
    pub const BUILD: usize = 128;
    /// Bytes of it.
    pub const BUILD_LEN: usize = 64;
    /// Of the panic text.
    pub const PANIC: usize = BUILD + BUILD_LEN;
    /// Bytes of it.
    pub const PANIC_LEN: usize = 256;
    /// Of the command line.
    pub const KARGS: usize = PANIC + PANIC_LEN;
    /// Bytes of it.
    pub const KARGS_LEN: usize = 1024;

    /// Of the first core.
    pub const CORES: usize = 2048;
    /// Bytes of a core.
    pub const CORE_LEN: usize = 256;
    /// Cores that there is room for.
    pub const MAX_CORES: usize = 64;

    /// Of the first process.
    pub const PROCESSES: usize = CORES + MAX_CORES * CORE_LEN;
    /// Bytes of a process.
    pub const PROCESS_LEN: usize = 32;
    /// Processes that there is room for.
    pub const MAX_PROCESSES: usize = 256;
    /// Bytes of a process's name.
    pub const NAME_LEN: usize = 16;
}

use layout::*;

/// What is known of a core's registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u32)]
pub enum CoreState {
    /// Nothing: it was not stopped.
    #[default]
    None = 0,
    /// It was stopped, and these are those it had then.
    Live = 1,
    /// It failed, and these are those it had then.
    Panicked = 2,
}

/// A core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Core {
    /// What the rest is worth.
    pub state: CoreState,
    /// General registers; see [`keelson_elf::register`].
    pub registers: [u64; REGISTERS],
    /// Where the last page fault was.
    pub cr2: u64,
    /// Physical address of the root table, and flags below bit 12.
    pub cr3: u64,
    /// Process that it runs; 0 = none.
    pub pid: u32,
    /// Thread that it runs; 0 = none.
    pub tid: u32,
    /// Address of the kernel's block of the core: its GS base in the kernel.
    pub per_cpu: u64,
}

/// A process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Physical address of the root table.
    pub root: u64,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// The block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Info {
    /// Where it says that it is; a copy of it is elsewhere.
    pub physical: u64,
    /// Address that the image is linked at.
    pub image: u64,
    /// Physical address that it was loaded at.
    pub image_physical: u64,
    /// Its bytes, whole pages.
    pub image_len: u64,
    /// All RAM is mapped from this address on.
    pub direct_map: u64,
    /// Physical address of the kernel's root table.
    pub root: u64,
    /// Address of the log's ring.
    pub log: u64,
    /// Bytes of the ring. The byte number `n` since boot is at `n % log_len`.
    pub log_len: u64,
    /// Address of the 64-bit count of bytes ever written to it.
    pub log_position: u64,
    /// Ticks of the time stamp counter in a second.
    pub tsc_hz: u64,
    /// When it booted, nanoseconds since 1970; 0 = unknown.
    pub booted: u64,
    /// When it stopped, nanoseconds since boot; 0 = it runs.
    pub stopped: u64,
    /// First physical address behind all RAM.
    pub memory_end: u64,
    /// Version and time of the build.
    pub build: String,
    /// Why the kernel gave up; empty = it did not.
    pub panic: String,
    /// Command line, without secrets.
    pub kargs: String,
    /// Cores, in their order.
    pub cores: Vec<Core>,
    /// Processes, as far as there was room.
    pub processes: Vec<Process>,
}

impl Info {
    /// Reads a block; bytes behind it are of no interest.
    pub fn decode(bytes: &[u8]) -> Result<Info, Malformed> {
        let block = bytes.get(..LEN).ok_or(Malformed::Short)?;
        let from = &mut Reader::new(block);
        let (magic, version, len) = (from.array()?, from.u32()?, from.u32()?);
        if magic != MAGIC || version != VERSION || len as usize != LEN {
            return Err(Malformed::Value);
        }
        let mut info = Info {
            physical: from.u64()?,
            image: from.u64()?,
            image_physical: from.u64()?,
            image_len: from.u64()?,
            direct_map: from.u64()?,
            root: from.u64()?,
            log: from.u64()?,
            log_len: from.u64()?,
            log_position: from.u64()?,
            tsc_hz: from.u64()?,
            booted: from.u64()?,
            stopped: from.u64()?,
            memory_end: from.u64()?,
            ..Info::default()
        };
        let cores = from.u32()? as usize;
        if cores > MAX_CORES {
            return Err(Malformed::Limit);
        }
        if !info.physical.is_multiple_of(ALIGN) || !info.image_physical.is_multiple_of(ALIGN) {
            return Err(Malformed::Value);
        }
        info.build = text(block, BUILD, BUILD_LEN)?;
        info.panic = text(block, PANIC, PANIC_LEN)?;
        info.kargs = text(block, KARGS, KARGS_LEN)?;
        let entries = |at, len, count| {
            let all = block.get(at..).unwrap_or_default().chunks_exact(len);
            all.take(count)
        };
        info.cores = entries(CORES, CORE_LEN, cores).map(core).collect::<Result<_, _>>()?;
        for entry in entries(PROCESSES, PROCESS_LEN, MAX_PROCESSES) {
            info.processes.extend(process(entry)?);
        }
        Ok(info)
    }

    /// The bytes of the block. What there is no room for is left out.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN);
        let cores = self.cores.get(..MAX_CORES).unwrap_or(&self.cores);
        Writer::new(&mut bytes)
            .bytes(&MAGIC)
            .u32(VERSION)
            .u32(LEN as u32)
            .u64(self.physical)
            .u64(self.image)
            .u64(self.image_physical)
            .u64(self.image_len)
            .u64(self.direct_map)
            .u64(self.root)
            .u64(self.log)
            .u64(self.log_len)
            .u64(self.log_position)
            .u64(self.tsc_hz)
            .u64(self.booted)
            .u64(self.stopped)
            .u64(self.memory_end)
            .count(cores.len());
        for (value, at, len) in [
            (&self.build, BUILD, BUILD_LEN),
            (&self.panic, PANIC, PANIC_LEN),
            (&self.kargs, KARGS, KARGS_LEN),
        ] {
            put(&mut bytes, at, len, value);
        }
        for (number, core) in cores.iter().enumerate() {
            bytes.resize(CORES + number * CORE_LEN, 0);
            let mut to = Writer::new(&mut bytes);
            to.u32(core.state as u32).u32(0);
            for register in core.registers {
                to.u64(register);
            }
            to.u64(core.cr2).u64(core.cr3).u32(core.pid).u32(core.tid).u64(core.per_cpu);
        }
        for (number, process) in self.processes.iter().take(MAX_PROCESSES).enumerate() {
            let at = PROCESSES + number * PROCESS_LEN;
            bytes.resize(at, 0);
            Writer::new(&mut bytes).u32(process.pid).u32(0).u64(process.root);
            put(&mut bytes, at + 16, NAME_LEN, &process.name);
        }
        bytes.resize(LEN, 0);
        bytes
    }

    /// True when a block found at `physical` is the one that the kernel writes, and not a copy of it.
    pub fn is_at(&self, physical: u64) -> bool {
        self.physical == physical
    }
}

/// Appends text at `at`, cut so that a zero follows it.
fn put(bytes: &mut Vec<u8>, at: usize, len: usize, text: &str) {
    bytes.resize(at, 0);
    let cut = text.floor_char_boundary(len.saturating_sub(1));
    bytes.extend_from_slice(text.as_bytes().get(..cut).unwrap_or_default());
    bytes.resize(at + len, 0);
}

/// Text up to its zero. A kernel that fails may have cut it anywhere.
fn text(block: &[u8], at: usize, len: usize) -> Result<String, Malformed> {
    let field = block.get(at..at + len).ok_or(Malformed::Short)?;
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn core(entry: &[u8]) -> Result<Core, Malformed> {
    let from = &mut Reader::new(entry);
    let state = match from.u32()? {
        0 => CoreState::None,
        1 => CoreState::Live,
        2 => CoreState::Panicked,
        _ => return Err(Malformed::Value),
    };
    from.u32()?;
    let mut registers = [0; REGISTERS];
    for register in &mut registers {
        *register = from.u64()?;
    }
    Ok(Core {
        state,
        registers,
        cr2: from.u64()?,
        cr3: from.u64()?,
        pid: from.u32()?,
        tid: from.u32()?,
        per_cpu: from.u64()?,
    })
}

fn process(entry: &[u8]) -> Result<Option<Process>, Malformed> {
    let from = &mut Reader::new(entry);
    let pid = from.u32()?;
    from.u32()?;
    let process = Process { pid, root: from.u64()?, name: text(entry, 16, NAME_LEN)? };
    Ok((pid != 0).then_some(process))
}
