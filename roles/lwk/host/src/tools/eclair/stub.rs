//! The far end of a debugger (GDB manual, appendix E, "GDB Remote Serial Protocol"): gives it registers and memory of a node that
//! does not run. It cannot change anything, and nothing moves.

use std::io::{self, BufRead, BufReader, Read, Write};

use keelson_lwk_wire::dump::{Core, register};

use crate::dump::space::Space;
use crate::dump::view::View;

/// Bytes of a packet.
const MAX_PACKET: usize = 16 << 10;
/// Bytes of memory in one answer: two digits each.
const MAX_READ: u64 = 4096;

/// Without it the debugger would believe what its symbol file says, or that it is a machine of 16 bit.
const TARGET: &str = "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">\
    <target><architecture>i386:x86-64</architecture></target>";

/// The debugger's order of registers: 64 bits each, and then 32 bits each.
const WIDE: [usize; 17] = [
    register::RAX,
    register::RBX,
    register::RCX,
    register::RDX,
    register::RSI,
    register::RDI,
    register::RBP,
    register::RSP,
    register::R8,
    register::R9,
    register::R10,
    register::R11,
    register::R12,
    register::R13,
    register::R14,
    register::R15,
    register::RIP,
];
const NARROW: [usize; 7] =
    [register::EFLAGS, register::CS, register::SS, register::DS, register::ES, register::FS, register::GS];

/// What the debugger takes for a thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thread {
    /// Its id: a thread's, or 1000000 and the number of a core.
    pub tid: u32,
    /// Where its registers are.
    pub core: Core,
    /// For people.
    pub text: String,
}

/// A node that does not run.
pub struct Stub<'a> {
    /// Its memory.
    pub view: View<'a>,
    /// Its threads; the debugger begins with the first. There is at least one.
    pub threads: &'a [Thread],
    /// The one that the debugger looks at.
    current: usize,
}

/// What follows a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Reply {
    Text(String),
    /// The debugger ends it all.
    End,
}

impl<'a> Stub<'a> {
    /// Of this node.
    pub fn new(view: View<'a>, threads: &'a [Thread]) -> Stub<'a> {
        Stub { view, threads, current: 0 }
    }

    /// Answers until the debugger leaves.
    pub fn serve(&mut self, from: impl Read, mut to: impl Write) -> io::Result<()> {
        let mut from = BufReader::new(from);
        while let Some(packet) = packet(&mut from, &mut to)? {
            match self.answer(&packet) {
                Reply::End => return Ok(()),
                Reply::Text(text) => send(&mut to, &text)?,
            }
        }
        Ok(())
    }

    /// The answer to a packet; an empty one to what is not known.
    fn answer(&mut self, packet: &str) -> Reply {
        let text = match packet.split_at_checked(1) {
            Some(("?", _)) => self.stopped(),
            Some(("g", "")) => self.current().map(registers).unwrap_or_default(),
            Some(("m", range)) => self.memory(range),
            Some(("H", whom)) => self.choose(whom),
            Some(("T", tid)) => match self.find(tid) {
                Some(_) => "OK".into(),
                None => "E03".into(),
            },
            // It leaves things as they are, and the connection when it has heard that.
            Some(("D", _)) => "OK".into(),
            Some(("k", _)) => return Reply::End,
            // It does not run, and memory is as it was.
            Some(("c" | "s" | "C" | "S", _)) => self.stopped(),
            Some(("M" | "X" | "G" | "P", _)) => "E0d".into(),
            Some(("q", question)) => self.tell(question),
            _ => String::new(),
        };
        Reply::Text(text)
    }

    fn current(&self) -> Option<&Thread> {
        self.threads.get(self.current)
    }

    /// Stopped by SIGTRAP, whatever it was.
    fn stopped(&self) -> String {
        self.current().map_or("W00".into(), |thread| format!("T05thread:{:x};", thread.tid))
    }

    fn find(&self, tid: &str) -> Option<usize> {
        let tid = u32::from_str_radix(tid, 16).ok()?;
        self.threads.iter().position(|thread| thread.tid == tid)
    }

    /// `g` and a thread, or `c` and anything, because nothing continues. Any thread is 0, all are -1.
    fn choose(&mut self, whom: &str) -> String {
        if let Some(tid) = whom.strip_prefix('g').filter(|tid| *tid != "0" && *tid != "-1") {
            match self.find(tid) {
                Some(found) => self.current = found,
                None => return "E03".into(),
            }
        }
        "OK".into()
    }

    fn memory(&self, range: &str) -> String {
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let asked = range.split_once(',').and_then(|(at, len)| Some((hex(at)?, hex(len)?)));
        let (Some((address, len)), Some(thread)) = (asked, self.current()) else { return "E16".into() };
        let space = Space::of_core(&self.view.description.info, self.view.memory, &thread.core);
        let mut bytes = vec![0; len.min(MAX_READ) as usize];
        if space.read(address, &mut bytes).is_err() {
            // What there is before the end of what there is.
            let to_page = bytes.len().min(4096 - (address % 4096) as usize);
            bytes.truncate(to_page);
            if space.read(address, &mut bytes).is_err() {
                return "E0e".into();
            }
        }
        digits(&bytes)
    }

    fn tell(&self, question: &str) -> String {
        let (name, rest) = question.split_once([':', ',']).unwrap_or((question, ""));
        match name {
            "Supported" => format!("PacketSize={MAX_PACKET:x};qXfer:features:read+"),
            "Xfer" => match rest.strip_prefix("features:read:target.xml:") {
                Some(range) => excerpt(TARGET, range),
                None => String::new(),
            },
            // A process that was there before, which is left alone in the end.
            "Attached" => "1".into(),
            "C" => self.current().map_or(String::new(), |thread| format!("QC{:x}", thread.tid)),
            "fThreadInfo" => {
                let all: Vec<String> =
                    self.threads.iter().map(|thread| format!("{:x}", thread.tid)).collect();
                format!("m{}", all.join(","))
            }
            "sThreadInfo" => "l".into(),
            "ThreadExtraInfo" => {
                let thread = self.find(rest).and_then(|found| self.threads.get(found));
                thread.map_or("E03".into(), |thread| digits(thread.text.as_bytes()))
            }
            _ => String::new(),
        }
    }
}

/// `offset,length` of a document; `l` before its last part, `m` before others.
fn excerpt(document: &str, range: &str) -> String {
    let hex = |text: &str| usize::from_str_radix(text, 16).ok();
    let Some((at, len)) = range.split_once(',').and_then(|(at, len)| Some((hex(at)?, hex(len)?))) else {
        return "E16".into();
    };
    let rest = document.get(at.min(document.len())..).unwrap_or_default();
    match rest.get(..len) {
        Some(part) if part.len() < rest.len() => format!("m{part}"),
        _ => format!("l{rest}"),
    }
}

fn registers(thread: &Thread) -> String {
    let value = |at: &usize| thread.core.registers.get(*at).copied().unwrap_or_default();
    let mut bytes = Vec::new();
    bytes.extend(WIDE.iter().flat_map(|at| value(at).to_le_bytes()));
    bytes.extend(NARROW.iter().flat_map(|at| (value(at) as u32).to_le_bytes()));
    digits(&bytes)
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The next packet, acknowledged; `None` when the debugger is gone. Ctrl-C (3) asks to stop what is stopped.
fn packet(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<Option<String>> {
    loop {
        let mut byte = [0];
        if from.read(&mut byte)? == 0 {
            return Ok(None);
        }
        if byte != *b"$" {
            continue;
        }
        let mut body = Vec::new();
        let got = Read::by_ref(from).take(MAX_PACKET as u64).read_until(b'#', &mut body)?;
        let mut sum = [0; 2];
        if got == 0 || body.pop() != Some(b'#') || from.read_exact(&mut sum).is_err() {
            return Ok(None);
        }
        let said = std::str::from_utf8(&sum).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
        if said != Some(checksum(&body)) {
            to.write_all(b"-")?;
            continue;
        }
        to.write_all(b"+")?;
        return Ok(Some(String::from_utf8_lossy(&body).into_owned()));
    }
}

fn send(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(format!("${text}#{:02x}", checksum(text.as_bytes())).as_bytes())?;
    to.flush()
}

fn checksum(body: &[u8]) -> u8 {
    body.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}
