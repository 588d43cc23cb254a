//! The notes of a dump: registers as debuggers read them, and what the node said of itself.
//!
//! ```text
//!   "CORE"     1           NT_PRSTATUS: a core as a thread with id 1000000 + core
//!   "LWKINFO"  0x4c574b01  the block of the kernel: keelson-lwk-wire, dump::Info
//!   "LWKINFO"  0x4c574b02  lines `name value`: what kind of dump it is
//!   "LWKINFO"  0x4c574b03  a report of the node: name, 0, text
//! ```
//!
//! Debuggers look at types before they look at owners, so those of LWKINFO are like no other's.

use keelson_elf::{CORE, NT_PRSTATUS, REGISTERS, ThreadStatus};
use keelson_lwk_wire::dump::{Core, CoreState, Info, Level, layout};

use super::elf::Note;

/// Of the signal of a core that failed.
const SIGABRT: u16 = 6;

/// Owner of our notes.
const OWNER: &str = "LWKINFO";
const BLOCK: u32 = 0x4c57_4b01;
const FACTS: u32 = 0x4c57_4b02;
const REPORT: u32 = 0x4c57_4b03;

/// Thread ids of cores begin here (McKernel's eclair).
pub const CORE_TID: u32 = 1_000_000;

/// Where the memory of a dump is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// In the file. The node answered.
    Node,
    /// In the file, which was made of a machine's whole memory.
    Machine,
    /// Still in the node, which waits.
    Waiting,
}

impl Source {
    const ALL: [(Source, &str); 3] =
        [(Source::Node, "node"), (Source::Machine, "machine"), (Source::Waiting, "waiting")];

    /// Its word.
    pub fn word(self) -> &'static str {
        Source::ALL.iter().find(|(source, _)| *source == self).map_or("", |(_, word)| word)
    }
}

/// All that a dump says besides memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The kernel's block.
    pub info: Info,
    /// What the file holds.
    pub level: Level,
    /// Where its memory is.
    pub source: Source,
    /// Reports of the node: names and texts.
    pub reports: Vec<(String, String)>,
}

impl Description {
    /// A report, if there is one of this name.
    pub fn report(&self, name: &str) -> Option<&str> {
        self.reports.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// As notes: those of debuggers first, of these the cores that failed first, because debuggers begin with the first.
    pub fn notes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let cores = || (0u32..).zip(&self.info.cores);
        // Debuggers want it of all threads, as Linux has it: the last one counts.
        let failed = cores().any(|(_, core)| core.state == CoreState::Panicked);
        let signal = if failed { SIGABRT } else { 0 };
        for state in [CoreState::Panicked, CoreState::Live] {
            for (number, core) in cores().filter(|(_, core)| core.state == state) {
                let desc = status(CORE_TID + number, signal, core);
                Note { owner: CORE.into(), kind: NT_PRSTATUS, desc }.write(&mut bytes);
            }
        }
        let own = |kind, desc| Note { owner: OWNER.into(), kind, desc };
        own(BLOCK, self.info.encode()).write(&mut bytes);
        let facts = format!("level {}\nsource {}\n", self.level as u8, self.source.word());
        own(FACTS, facts.into_bytes()).write(&mut bytes);
        for (name, text) in &self.reports {
            own(REPORT, [name.as_bytes(), b"\0", text.as_bytes()].concat()).write(&mut bytes);
        }
        bytes
    }

    /// From the notes of a file.
    ///
    /// # Errors
    ///
    /// In words, when they are not those of a dump.
    pub fn read(notes: &[Note]) -> Result<Description, String> {
        let ours = || notes.iter().filter(|note| note.owner == OWNER);
        let of_kind = |kind| ours().find(|note| note.kind == kind).map(|note| note.desc.as_slice());
        let block = of_kind(BLOCK).ok_or("not a dump of an LWK node: it has no note LWKINFO")?;
        let info = Info::decode(block).map_err(|error| format!("its note LWKINFO: {error}"))?;
        let facts = String::from_utf8_lossy(of_kind(FACTS).unwrap_or_default()).into_owned();
        let fact = |name: &str| facts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let level = fact("level").and_then(|word| word.parse().ok()).and_then(Level::from_raw);
        let source =
            fact("source").and_then(|word| Source::ALL.into_iter().find(|(_, known)| *known == word));
        let report = |note: &Note| {
            let at = note.desc.iter().position(|byte| *byte == 0)?;
            let (name, text) = note.desc.split_at_checked(at)?;
            let text = text.get(1..).unwrap_or_default();
            Some((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(text).into_owned()))
        };
        Ok(Description {
            info,
            level: level.ok_or("its note LWKINFO names no level that is known")?,
            source: source.ok_or("its note LWKINFO names no source that is known")?.0,
            reports: ours().filter(|note| note.kind == REPORT).filter_map(report).collect(),
        })
    }
}

/// A core as a thread.
fn status(thread: u32, signal: u16, core: &Core) -> Vec<u8> {
    let info = [signal.into(), 0, 0];
    let status = ThreadStatus { info, signal, thread, registers: core.registers, ..ThreadStatus::default() };
    status.encode().to_vec()
}

/// Registers of a note `NT_PRSTATUS`; `None` for other notes.
pub fn registers(note: &Note) -> Option<[u64; REGISTERS]> {
    let of_thread = note.kind == NT_PRSTATUS && note.owner == CORE;
    of_thread.then(|| ThreadStatus::registers_in(&note.desc)).flatten()
}

/// Where a block may begin.
pub const BLOCK_ALIGN: u64 = layout::ALIGN;
