//! The memory of a small machine with a kernel and a program, as dumps of it are made.
//!
//! ```text
//!   0x010000  tables of the kernel: the direct map as one page of 1 GiB, stacks of cores 0 and 2
//!   0x020000  tables of process 77: 0x400000 code, 0x401000 data, 0x40000000 a page of 2 MiB
//!   0x100000  image: code, the kernel's block, its log, the log's position
//!   0x200000  stack of core 0     0x205000  stack of core 2     0x300000  code and data of process 77
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use keelson_lwk_host::dump::elf::PAGE;
use keelson_lwk_wire::dump::{Core, CoreState, Info, Process, layout, register};

pub const RAM: u64 = 4 << 20;
/// Firmware has the last pages of RAM.
pub const MEMORY_END: u64 = RAM - 8192;
pub const LINK: u64 = 0xffff_ffff_8000_0000;
pub const IMAGE: u64 = 0x10_0000;
pub const DIRECT: u64 = 0xffff_8000_0000_0000;
pub const STACK0: u64 = 0xffff_d000_0004_0000;
pub const STACK2: u64 = 0xffff_d000_0004_6000;
const BLOCK: u64 = 0x1000;
const LOG: u64 = 0x8000;
const POSITION: u64 = 0x9000;
const IMAGE_LEN: u64 = 0xa000;

/// `inner` and `outer`, which calls it, with frame pointers.
const CODE: [u8; 20] = [
    0x55, 0x48, 0x89, 0xe5, 0x90, 0x90, 0xc9, 0xc3, // push, mov, nop, nop, leave, ret
    0x55, 0x48, 0x89, 0xe5, 0xe8, 0xef, 0xff, 0xff, 0xff, 0x90, 0xc9, 0xc3,
];
const INNER: u64 = LINK;
const OUTER: u64 = LINK + 8;

/// Pages that a dump of level 24 has of it.
pub const KERNEL: [std::ops::Range<u64>; 5] = [
    0x1_0000..0x1_5000,
    0x2_0000..0x2_5000,
    IMAGE..IMAGE + IMAGE_LEN,
    0x20_0000..0x20_1000,
    0x20_5000..0x20_6000,
];

pub struct World {
    pub ram: Vec<u8>,
    pub info: Info,
}

impl World {
    /// As it was when core 0 failed. Core 3 was not seen.
    pub fn new() -> World {
        let mut world = World { ram: vec![0; RAM as usize], info: info() };
        world.tables();
        world.put(IMAGE, &CODE);
        // The ring has gone round once.
        let text = "half a line\nlwk: one\nlwk: two\n";
        let (early, late) = text.split_at(16);
        world.put(IMAGE + LOG + 4096 - 16, early.as_bytes());
        world.put(IMAGE + LOG, late.as_bytes());
        world.put(IMAGE + POSITION, &(4096 + late.len() as u64).to_le_bytes());
        world.words(0x20_0f00, &[STACK0 + 0xf20, OUTER + 9]);
        world.put(0x30_1000, b"secret of the program");
        world.put_block();
        world
    }

    /// Writes the block where the kernel has it.
    pub fn put_block(&mut self) {
        let block = self.info.encode();
        self.put(IMAGE + BLOCK, &block);
    }

    pub fn put(&mut self, physical: u64, bytes: &[u8]) {
        self.ram[physical as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn words(&mut self, physical: u64, words: &[u64]) {
        for (at, word) in (physical..).step_by(8).zip(words) {
            self.put(at, &word.to_le_bytes());
        }
    }

    fn tables(&mut self) {
        const TABLE: u64 = 7;
        const NO_EXECUTE: u64 = 1 << 63;
        for root in [0x1_0000, 0x2_0000] {
            self.words(root + 416 * 8, &[0x1_1000 | 3]);
            self.words(root + 256 * 8, &[0x1_4000 | 3]);
        }
        self.words(0x1_1000, &[0x1_2000 | 3]);
        self.words(0x1_2000, &[0x1_3000 | 3]);
        self.words(0x1_3000 + 64 * 8, &[0x20_0000 | 3 | NO_EXECUTE]);
        self.words(0x1_3000 + 70 * 8, &[0x20_5000 | 3 | NO_EXECUTE]);
        self.words(0x1_4000, &[0x83 | NO_EXECUTE]);

        self.words(0x2_0000, &[0x2_1000 | TABLE]);
        self.words(0x2_1000, &[0x2_2000 | TABLE, 0x2_4000 | TABLE]);
        self.words(0x2_2000 + 2 * 8, &[0x2_3000 | TABLE]);
        self.words(0x2_3000, &[0x30_0000 | 5, 0x30_1000 | TABLE | NO_EXECUTE]);
        self.words(0x2_4000, &[0x20_0000 | 0x87 | NO_EXECUTE]);
    }

    pub fn range(&self, range: std::ops::Range<u64>) -> &[u8] {
        &self.ram[range.start as usize..range.end as usize]
    }
}

fn info() -> Info {
    let core = |state, values: &[(usize, u64)], cr3, pid, tid| {
        let mut core = Core { state, cr3, pid, tid, ..Core::default() };
        for (register, value) in values {
            core.registers[*register] = *value;
        }
        core
    };
    let kernel = |rip, stack: u64| {
        [(register::RIP, rip), (register::RBP, stack), (register::RSP, stack), (register::CS, 8)]
    };
    let program = [(register::RIP, 0x40_0010), (register::CS, 0x33), (register::RBX, 0x1122)];
    Info {
        physical: IMAGE + BLOCK,
        image: LINK,
        image_physical: IMAGE,
        image_len: IMAGE_LEN,
        direct_map: DIRECT,
        root: 0x1_0000,
        log: LINK + LOG,
        log_len: 4096,
        log_position: LINK + POSITION,
        tsc_hz: 1_000_000_000,
        booted: 1_709_210_096_000_000_000,
        stopped: 1_500_000_000,
        memory_end: MEMORY_END,
        build: "0.1.0 Nov 28 2026 at 02:00:00".into(),
        panic: "core 0: panic: the test says so".into(),
        kargs: "hidos cpus=1-3".into(),
        cores: vec![
            core(CoreState::Panicked, &kernel(INNER + 4, STACK0 + 0xf00), 0x1_0000, 0, 0),
            core(CoreState::Live, &program, 0x2_0000, 77, 78),
            core(CoreState::Live, &kernel(OUTER + 9, STACK2 + 0xf00), 0x1_0000, 0, 0),
            core(CoreState::None, &[], 0, 0, 0),
        ],
        processes: vec![Process { pid: 77, root: 0x2_0000, name: "a.out".into() }],
    }
}

/// An ELF file with the symbols of the code, as the image has them, and its note.
pub fn kernel(dir: &Path) -> PathBuf {
    let (source, file) = (dir.join("kernel.s"), dir.join("lwk.elf"));
    let bytes: Vec<String> = CODE.iter().map(u8::to_string).collect();
    let (inner, outer) = bytes.split_at(8);
    let function = |name: &str, bytes: &[String]| {
        format!(
            ".globl {name}\n.type {name},@function\n{name}: .byte {}\n.size {name}, .-{name}\n",
            bytes.join(",")
        )
    };
    let note = note();
    let text = format!(
        ".text\n{}{}.section .note.GNU-stack,\"\",@progbits\n.section .role,\"\",@progbits\n.balign 4\n.byte {}\n",
        function("inner", inner),
        function("outer", outer),
        note.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
    );
    std::fs::write(&source, text).unwrap();
    let built = Command::new("gcc")
        .args(["-nostdlib", "-static", "-no-pie", "-Wl,-e,outer", "-Wl,--build-id=none"])
        .arg(format!("-Wl,-Ttext={LINK:#x}"))
        .arg("-o")
        .args([&file, &source])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    file
}

/// The note of an image (`keelson-kernel`, `note`).
fn note() -> Vec<u8> {
    let mut bytes: Vec<u8> = [8u32, 112, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(b"Keelson\0");
    let mut desc = b"lwk-compute\0Nov 28 2026 at 02:00:00\0".to_vec();
    desc.resize(112, 0);
    bytes.extend(desc);
    bytes
}

const _: () = assert!(layout::LEN as u64 <= LOG - BLOCK && RAM.is_multiple_of(PAGE));
