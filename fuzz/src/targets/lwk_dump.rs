//! Dumps of an LWK node: files that eclair reads, and those of QEMU that `vmcore2mckdump` makes such a file of.

use crate::input::Input;
use keelson_lwk_host::dump::elf::{self, Load, Note, PAGE};
use keelson_lwk_host::dump::file::Dump;
use keelson_lwk_host::dump::memory::{FileMemory, Memory};
use keelson_lwk_host::dump::notes::{Description, Source};
use keelson_lwk_host::dump::qemu;
use keelson_lwk_host::dump::view::View;
use keelson_lwk_host::dump::writer::Writer;
use keelson_lwk_wire::dump::{Core, CoreState, Info, Level, Process, layout, register};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the machine's image is, in RAM and to the kernel; what it consists of.
const IMAGE: u64 = 0x8000;
const LINK: u64 = 0xffff_ffff_8000_0000;
const BLOCK: u64 = 0x1000;
const LOG: u64 = 0x8000;
const POSITION: u64 = 0x9000;
const IMAGE_LEN: u64 = 0xa000;
/// All RAM is the image, and tables before it.
const RAM: u64 = IMAGE + IMAGE_LEN;
const DIRECT: u64 = 0xffff_8000_0000_0000;
/// The program's number, and an address that it has.
const PID: u32 = 77;
const CODE: u64 = 0x40_0000;

/// The first byte says what the rest is: the file itself, or changes to a dump that is whole: of the node, or of QEMU's.
pub fn lwk_dump(input: &[u8]) {
    let mut input = Input::new(input);
    match input.u8() % 3 {
        0 => {
            look(input.rest());
            convert(input.rest());
        }
        1 => look(&changed(&bases().node, input)),
        _ => convert(&changed(&bases().machine, input)),
    }
}

/// Each change is a place, a length up to 16, and bytes for it; without any the file ends there.
fn changed(base: &[u8], mut input: Input<'_>) -> Vec<u8> {
    let mut file = base.to_vec();
    while !input.is_empty() && !file.is_empty() {
        let at = input.u32() as usize % file.len();
        let len = usize::from(input.u8() % 17);
        if len == 0 {
            file.truncate(at);
        }
        for (to, from) in file.iter_mut().skip(at).zip(input.bytes(len)) {
            *to = *from;
        }
    }
    file
}

/// Everything that eclair shows, of a file that may be none.
fn look(bytes: &[u8]) {
    let file = Scratch::with(bytes);
    let dump = match Dump::open(&file.0) {
        Ok(dump) => dump,
        Err(problem) => return assert!(!problem.to_string().is_empty()),
    };
    apart(&dump.memory);
    let Description { info, .. } = &dump.description;
    assert!(info.cores.len() <= layout::MAX_CORES && info.processes.len() <= layout::MAX_PROCESSES);
    let view = View { description: &dump.description, memory: &dump.memory };
    for text in [view.info(), view.cpus(), view.ps(), view.threads()] {
        assert!(text.ends_with('\n'));
    }
    // What cannot be shown is refused in words.
    let said = |shown: Result<String, keelson_lwk_host::problem::Problem>| match shown {
        Ok(_) => {}
        Err(problem) => assert!(!problem.to_string().is_empty()),
    };
    said(view.kmsg());
    said(view.report("remarks"));
    for pid in info.processes.iter().map(|process| process.pid).take(4).chain([PID]) {
        said(view.maps(pid));
        said(view.vtop(pid, CODE));
    }
    let registers = info
        .cores
        .iter()
        .take(4)
        .flat_map(|core| [register::RIP, register::RSP].map(|at| core.registers[at]));
    for address in [0, LINK, DIRECT, info.log, u64::MAX].into_iter().chain(registers) {
        said(view.vtop(0, address));
        said(view.words(address, 3));
    }
}

/// What `vmcore2mckdump` makes is a dump; what it cannot make anything of leaves no file.
fn convert(bytes: &[u8]) {
    let (from, to) = (Scratch::with(bytes), Scratch::new());
    let made = Writer::create(&to.0).and_then(|writer| qemu::convert(&from.0, writer));
    match made {
        Ok(()) => {
            let dump = Dump::open(&to.0).expect("what was written can be read");
            assert_eq!(dump.description.source, Source::Machine);
            assert!(
                dump.memory.extents().iter().all(|extent| extent.end() <= dump.description.info.memory_end)
            );
            apart(&dump.memory);
        }
        Err(problem) => {
            assert!(!problem.to_string().is_empty());
            assert!(!to.0.exists(), "half a dump is left: {problem}");
        }
    }
}

/// Pieces of memory lie one behind the other, and are in the file.
fn apart(memory: &FileMemory) {
    let mut end = 0;
    for extent in memory.extents() {
        assert!(extent.physical >= end && extent.len > 0);
        end = extent.end();
        let mut byte = [0];
        memory.read(extent.physical, &mut byte).expect("the first byte of a piece");
        memory.read(end - 1, &mut byte).expect("the last byte of a piece");
    }
}

/// Dumps of the same small machine.
struct Bases {
    node: Vec<u8>,
    machine: Vec<u8>,
}

fn bases() -> &'static Bases {
    static BASES: OnceLock<Bases> = OnceLock::new();
    BASES.get_or_init(|| {
        let (ram, info) = (ram(), info());
        Bases { node: node(&ram, info), machine: machine(&ram) }
    })
}

fn node(ram: &[u8], info: Info) -> Vec<u8> {
    let file = Scratch::new();
    let mut writer = Writer::create(&file.0).expect("a new file");
    writer.memory_with_zeros(0, ram).expect("memory");
    let reports = Vec::from([("remarks".into(), "none\n".into()), ("maps.78".into(), "there\n".into())]);
    let description = Description { info, level: Level::Kernel, source: Source::Node, reports };
    writer.finish(&description).expect("a dump");
    fs::read(&file.0).expect("the dump")
}

/// As QEMU writes it: registers and states of two processors, all of RAM.
fn machine(ram: &[u8]) -> Vec<u8> {
    let mut notes = Vec::new();
    for (owner, kind, len) in [("CORE", 1, 336), ("CORE", 1, 336), ("QEMU", 0, 440), ("QEMU", 0, 440)] {
        Note { owner: owner.into(), kind, desc: vec![0; len] }.write(&mut notes);
    }
    let loads = [Load { address: 0, physical: 0, offset: PAGE, len: RAM }];
    let mut file = elf::header(2, 64, 0, 0);
    file.extend(elf::program_headers((512, notes.len() as u64), &loads));
    file.resize(512, 0);
    file.extend(notes);
    file.resize(PAGE as usize, 0);
    file.extend(ram);
    file
}

fn ram() -> Vec<u8> {
    let mut ram = vec![0; RAM as usize];
    let mut put = |at: u64, bytes: &[u8]| ram[at as usize..][..bytes.len()].copy_from_slice(bytes);
    // The direct map is a page of 1 GiB; the program has two pages of the image. Each table has a page.
    let entries: [(Range<u64>, u64); 6] = [
        (256..257, 0x1003),
        (512..513, 0x83),
        (2 * 512..2 * 512 + 1, 0x3007),
        (3 * 512..3 * 512 + 1, 0x4007),
        (4 * 512 + 2..4 * 512 + 3, 0x5007),
        (5 * 512..5 * 512 + 2, IMAGE | 5),
    ];
    for (places, entry) in entries {
        for (place, page) in places.zip(0u64..) {
            put(place * 8, &(entry + (page << 12)).to_le_bytes());
        }
    }
    put(IMAGE + BLOCK, &info().encode());
    put(IMAGE + LOG, b"half a line\nlwk: one\nlwk: two\n");
    put(IMAGE + POSITION, &(4096u64 + 30).to_le_bytes());
    ram
}

fn info() -> Info {
    let mut core = Core { state: CoreState::Panicked, ..Core::default() };
    core.registers[register::RIP] = LINK + 16;
    core.registers[register::CS] = 8;
    let mut other = Core { state: CoreState::Live, cr3: 0x2000, pid: PID, tid: PID, ..Core::default() };
    other.registers[register::RIP] = CODE;
    other.registers[register::CS] = 0x33;
    Info {
        physical: IMAGE + BLOCK,
        image: LINK,
        image_physical: IMAGE,
        image_len: IMAGE_LEN,
        direct_map: DIRECT,
        root: 0,
        log: LINK + LOG,
        log_len: 4096,
        log_position: LINK + POSITION,
        booted: 1_709_210_096_000_000_000,
        memory_end: RAM,
        build: "build".into(),
        panic: "core 0: panic".into(),
        kargs: "hidos".into(),
        cores: Vec::from([core, other]),
        processes: Vec::from([Process { pid: PID, root: 0x2000, name: "a.out".into() }]),
        ..Info::default()
    }
}

/// A file that goes with this; it need not be there.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("keelson-fuzz-dump-{}-{number}", std::process::id());
        Scratch(Path::new(&std::env::temp_dir()).join(name))
    }

    fn with(bytes: &[u8]) -> Scratch {
        let file = Scratch::new();
        fs::write(&file.0, bytes).unwrap_or_else(|error| panic!("{}: {error}", file.0.display()));
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may not be there.
        let _ = fs::remove_file(&self.0);
    }
}
