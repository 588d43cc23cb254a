//! The block "KEELINFO": what a debugger needs to know of a copy of this machine's memory, page-aligned in the image's data.
//!
//! Its layout is that of `keelson_lwk_wire::dump`, which reads it; a test here holds the two together.

use super::Cut;
use crate::boot::BootInfo;
use crate::console::ring::Place;
use crate::smp::{self, MAX_CORES, PerCpu};
use crate::{arch::cpu, console, image, mm, time};
use alloc::vec::Vec;
use core::fmt::{Arguments, Write};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use core::time::Duration;
use keelson_elf::REGISTERS;

/// Processes that there is room for; more run, but a dump of a dead kernel does not show them.
const MAX_PROCESSES: usize = 256;
/// Bytes of a name, with its zero.
const NAME_LEN: usize = 16;

const MAGIC: u64 = u64::from_le_bytes(*b"KEELINFO");
const VERSION: u32 = 1;

/// The block. Numbers are little-endian, as the machine is.
#[repr(C, align(4096))]
pub struct Block {
    /// Written last.
    magic: AtomicU64,
    version: AtomicU32,
    len: AtomicU32,
    /// Physical address of the block itself.
    physical: AtomicU64,
    image: AtomicU64,
    image_physical: AtomicU64,
    image_len: AtomicU64,
    direct_map: AtomicU64,
    root: AtomicU64,
    log: AtomicU64,
    log_len: AtomicU64,
    log_position: AtomicU64,
    tsc_hz: AtomicU64,
    booted: AtomicU64,
    stopped: AtomicU64,
    memory_end: AtomicU64,
    count: AtomicU32,
    unused: [AtomicU8; 4],
    /// What was built.
    pub build: [AtomicU8; 64],
    /// Why the kernel gave up.
    pub panic: [AtomicU8; 256],
    /// The command line.
    pub kargs: [AtomicU8; 1024],
    reserved: [AtomicU8; 576],
    cores: [Core; MAX_CORES],
    processes: [Process; MAX_PROCESSES],
}

/// What is known of a core's registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CoreState {
    /// Nothing.
    None = 0,
    /// It was stopped.
    Live = 1,
    /// It failed.
    Panicked = 2,
}

/// A core.
#[repr(C)]
pub struct Core {
    state: AtomicU32,
    unused: AtomicU32,
    registers: [AtomicU64; REGISTERS],
    cr2: AtomicU64,
    cr3: AtomicU64,
    /// Process in the low half, thread in the high half.
    running: AtomicU64,
    per_cpu: AtomicU64,
}

/// A process.
#[repr(C)]
struct Process {
    /// 0: free.
    pid: AtomicU32,
    unused: AtomicU32,
    root: AtomicU64,
    name: [AtomicU8; NAME_LEN],
}

const fn zeros<const N: usize>() -> [AtomicU8; N] {
    [const { AtomicU8::new(0) }; N]
}

/// Zeros until [`init`].
pub static BLOCK: Block = Block {
    magic: AtomicU64::new(0),
    version: AtomicU32::new(0),
    len: AtomicU32::new(0),
    physical: AtomicU64::new(0),
    image: AtomicU64::new(0),
    image_physical: AtomicU64::new(0),
    image_len: AtomicU64::new(0),
    direct_map: AtomicU64::new(0),
    root: AtomicU64::new(0),
    log: AtomicU64::new(0),
    log_len: AtomicU64::new(0),
    log_position: AtomicU64::new(0),
    tsc_hz: AtomicU64::new(0),
    booted: AtomicU64::new(0),
    stopped: AtomicU64::new(0),
    memory_end: AtomicU64::new(0),
    count: AtomicU32::new(0),
    unused: zeros(),
    build: zeros(),
    panic: zeros(),
    kargs: zeros(),
    reserved: zeros(),
    cores: [const { Core::new() }; MAX_CORES],
    processes: [const { Process::new() }; MAX_PROCESSES],
};

/// Bytes of the block that have a meaning.
const LEN: usize = core::mem::offset_of!(Block, processes) + MAX_PROCESSES * size_of::<Process>();

/// Fills in where everything is. `memory_end` is the end of RAM.
pub fn init(boot: &BootInfo, memory_end: u64) {
    let block = &BLOCK;
    let layout = image::layout();
    let offset = (&raw const *block as u64).wrapping_sub(image::BASE as u64);
    for (field, value) in [
        (&block.physical, boot.image.start.wrapping_add(offset)),
        (&block.image, image::BASE as u64),
        (&block.image_physical, boot.image.start),
        (&block.image_len, layout.size() as u64),
        (&block.direct_map, mm::DIRECT_MAP as u64),
        (&block.root, cpu::cr3() & !(mm::PAGE_SIZE - 1)),
        (&block.tsc_hz, time::tsc_hz()),
        (&block.memory_end, memory_end),
    ] {
        field.store(value, Ordering::Relaxed);
    }
    set_booted(time::wall_at_boot());
    set_log(console::log::place());
    block.count.store(smp::online() as u32, Ordering::Relaxed);
    for number in 0..smp::online() {
        core(number).per_cpu.store(&raw const *smp::cpu(number) as u64, Ordering::Relaxed);
    }
    publish(block);
}

/// Where the image is in RAM, and its length in bytes; once that is known.
pub fn image_place() -> Option<(u64, u64)> {
    let is_known = BLOCK.magic.load(Ordering::Acquire) == MAGIC;
    is_known.then(|| (BLOCK.image_physical.load(Ordering::Relaxed), BLOCK.image_len.load(Ordering::Relaxed)))
}

/// Notes what time it was at boot.
pub fn set_booted(wall: Duration) {
    BLOCK.booted.store(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Notes where the log is.
pub fn set_log(place: Place) {
    BLOCK.log.store(place.bytes as u64, Ordering::Relaxed);
    BLOCK.log_len.store(place.len as u64, Ordering::Relaxed);
    BLOCK.log_position.store(place.position as u64, Ordering::Relaxed);
}

/// From here on whoever looks for the block finds it.
fn publish(block: &Block) {
    block.version.store(VERSION, Ordering::Relaxed);
    block.len.store(LEN as u32, Ordering::Relaxed);
    block.magic.store(MAGIC, Ordering::Release);
}

/// Writes text into a field, cut to its length.
pub fn set(field: &[AtomicU8], text: Arguments<'_>) {
    field.iter().for_each(|byte| byte.store(0, Ordering::Relaxed));
    // Cannot fail: what there is no room for is left out.
    let _ = Cut { rest: field }.write_fmt(text);
}

/// The entry of a core.
pub fn core(number: usize) -> &'static Core {
    // There are as many as cores can be.
    &BLOCK.cores[number % MAX_CORES]
}

/// Notes that the machine stopped now.
pub fn stopped_now() {
    BLOCK.stopped.store(time::now().as_nanos(), Ordering::Relaxed);
}

/// Notes that all go on.
pub fn going_on() {
    BLOCK.stopped.store(0, Ordering::Relaxed);
    BLOCK.cores.iter().for_each(|core| core.state.store(CoreState::None as u32, Ordering::Relaxed));
}

/// A copy of the block, as it is.
pub fn bytes() -> Vec<u8> {
    // SAFETY: the block is a multiple of eight bytes long and aligned; all of it are atomics, which may be read while others write.
    let words = unsafe { core::slice::from_raw_parts((&raw const BLOCK).cast::<AtomicU64>(), LEN / 8) };
    words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect()
}

impl Core {
    const fn new() -> Core {
        Core {
            state: AtomicU32::new(0),
            unused: AtomicU32::new(0),
            registers: [const { AtomicU64::new(0) }; REGISTERS],
            cr2: AtomicU64::new(0),
            cr3: AtomicU64::new(0),
            running: AtomicU64::new(0),
            per_cpu: AtomicU64::new(0),
        }
    }

    /// Saves the registers of this core, which is `cpu`.
    pub fn save(&self, state: CoreState, registers: &[u64; REGISTERS], cpu: &PerCpu) {
        for (to, from) in self.registers.iter().zip(registers) {
            to.store(*from, Ordering::Relaxed);
        }
        self.cr2.store(cpu::cr2(), Ordering::Relaxed);
        self.cr3.store(cpu::cr3(), Ordering::Relaxed);
        self.per_cpu.store(&raw const *cpu as u64, Ordering::Relaxed);
        self.state.store(state as u32, Ordering::Release);
    }

    /// Its registers, if they were saved; and whether it is the one that failed.
    pub fn registers(&self) -> Option<([u64; REGISTERS], bool)> {
        let registers = core::array::from_fn(|number| self.registers[number].load(Ordering::Relaxed));
        let known = self.state.load(Ordering::Acquire) != CoreState::None as u32;
        known.then(|| (registers, self.has_failed()))
    }

    /// True once it failed.
    pub fn has_failed(&self) -> bool {
        self.state.load(Ordering::Relaxed) == CoreState::Panicked as u32
    }

    /// Says which thread the core runs.
    pub fn set_running(&self, pid: u32, tid: u32) {
        self.running.store(u64::from(pid) | u64::from(tid) << 32, Ordering::Relaxed);
    }
}

impl Process {
    const fn new() -> Process {
        Process { pid: AtomicU32::new(0), unused: AtomicU32::new(0), root: AtomicU64::new(0), name: zeros() }
    }

    fn describe(&self, root: u64, name: &[u8]) {
        self.root.store(root, Ordering::Relaxed);
        let name = name.iter().take(NAME_LEN - 1).chain(core::iter::repeat(&0));
        for (to, from) in self.name.iter().zip(name) {
            to.store(*from, Ordering::Relaxed);
        }
    }
}

/// Adds a process or changes what is said of it.
pub fn add_process(pid: u32, root: u64, name: &[u8]) {
    let processes = &BLOCK.processes;
    if let Some(known) = processes.iter().find(|process| process.pid.load(Ordering::Relaxed) == pid) {
        return known.describe(root, name);
    }
    let taken = |process: &&Process| {
        process.pid.compare_exchange(0, pid, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    if let Some(free) = processes.iter().find(taken) {
        fence(Ordering::Release);
        free.describe(root, name);
    }
}

/// Forgets a process.
pub fn remove_process(pid: u32) {
    for process in BLOCK.processes.iter().filter(|process| process.pid.load(Ordering::Relaxed) == pid) {
        process.describe(0, b"");
        process.pid.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_lwk_wire::dump::{self, Info};

    #[test]
    fn the_block_is_what_dumps_are_read_by() {
        let block = &BLOCK;
        for (field, value) in [
            (&block.physical, 0x1000),
            (&block.image, 2),
            (&block.image_physical, 0x3000),
            (&block.image_len, 4),
            (&block.direct_map, 5),
            (&block.root, 6),
            (&block.log, 7),
            (&block.log_len, 8),
            (&block.log_position, 9),
            (&block.tsc_hz, 10),
            (&block.booted, 11),
            (&block.memory_end, 12),
        ] {
            field.store(value, Ordering::Relaxed);
        }
        block.count.store(2, Ordering::Relaxed);
        set(&block.build, format_args!("build {}", 7));
        set(&block.panic, format_args!("{}", "x".repeat(300)));
        set(&block.kargs, format_args!("a=b"));
        let registers = core::array::from_fn(|n| n as u64 + 100);
        for (to, from) in core(1).registers.iter().zip(registers) {
            to.store(from, Ordering::Relaxed);
        }
        core(1).state.store(CoreState::Panicked as u32, Ordering::Relaxed);
        core(1).cr2.store(20, Ordering::Relaxed);
        core(1).cr3.store(21, Ordering::Relaxed);
        core(1).per_cpu.store(22, Ordering::Relaxed);
        core(1).set_running(30, 31);
        add_process(40, 0x4000, b"a name longer than fifteen");
        add_process(41, 0x5000, b"sh");
        add_process(41, 0x6000, b"ls");
        add_process(42, 0x7000, b"gone");
        remove_process(42);
        publish(block);
        assert_eq!((LEN, align_of::<Block>()), (dump::layout::LEN, 4096));
        let info = Info::decode(&bytes()).unwrap();
        let process = |pid, root, name: &str| dump::Process { pid, root, name: name.into() };
        let expected = Info {
            physical: 0x1000,
            image: 2,
            image_physical: 0x3000,
            image_len: 4,
            direct_map: 5,
            root: 6,
            log: 7,
            log_len: 8,
            log_position: 9,
            tsc_hz: 10,
            booted: 11,
            stopped: 0,
            memory_end: 12,
            build: "build 7".into(),
            panic: "x".repeat(255),
            kargs: "a=b".into(),
            cores: vec![
                dump::Core::default(),
                dump::Core {
                    state: dump::CoreState::Panicked,
                    registers,
                    cr2: 20,
                    cr3: 21,
                    pid: 30,
                    tid: 31,
                    per_cpu: 22,
                },
            ],
            processes: vec![process(40, 0x4000, "a name longer t"), process(41, 0x6000, "ls")],
        };
        assert_eq!(info, expected);
    }
}
