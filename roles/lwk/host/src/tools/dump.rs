//! `ihkosctl <node> dump`: the memory of a node's kernel in a file (section 6.6).
//!
//! The node is asked for it. One that does not answer, and runs in a machine of this host, is dumped with its machine.

use std::path::PathBuf;
use std::time::SystemTime;

use keelson_lwk_wire::bytes::Malformed;
use keelson_lwk_wire::dump::{DumpRecord, Info, Level, PAGE, STREAM_VERSION};
use keelson_lwk_wire::handshake::Roles;

use super::options::{Common, Usage};
use super::remote::{Answer, Remote};
use super::{Problem, Stop, code, print, time};
use crate::boot::crash;
use crate::boot::place::Place;
use crate::dump::notes::{Description, Source};
use crate::dump::qemu;
use crate::dump::writer::Writer;
use crate::nodes::Node;

/// Bytes of reports that a node may send.
const MAX_REPORTS: usize = 64 << 20;

/// What the command line says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Options {
    level: Option<Level>,
    interactive: bool,
    file: Option<PathBuf>,
}

/// Makes a dump.
pub(super) fn run(place: &Place, node: &Node, common: &Common, args: &[String]) -> Result<i32, Stop> {
    let given = read(args)?;
    let chosen = given.file.is_none().then(|| format!("mcdump_{}", time::compact(SystemTime::now())));
    let path = given.file.clone().or(chosen.clone().map(PathBuf::from)).unwrap_or_default();
    // Before the node is stopped for it.
    let writer = Writer::create(&path)?;
    match connect(place, node, common)? {
        Ok(remote) => ask(remote, &given, writer)?,
        Err(silence) => dump_machine(place, node, &given, writer, silence)?,
    }
    if let Some(name) = chosen {
        print(&format!("{name}\n"))?;
    }
    Ok(code::OK)
}

fn read(args: &[String]) -> Result<Options, Usage> {
    let mut given = Options::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-d" => {
                let level = words.next().map(String::as_str).unwrap_or_default();
                let known = level.parse().ok().and_then(Level::from_raw);
                let wrong = || Usage::Wrong(format!("dump: -d {level}: accepted are 0 and 24"));
                given.level = Some(known.ok_or_else(wrong)?);
            }
            "-i" | "--interactive" => given.interactive = true,
            option if option.starts_with('-') => {
                return Err(Usage::Wrong(format!("dump: {option}: accepted are -d 0|24, -i and a file")));
            }
            file if given.file.is_none() => given.file = Some(file.into()),
            file => return Err(Usage::Wrong(format!("dump: {file}: one file only"))),
        }
    }
    Ok(given)
}

/// A connection, or why the node does not answer.
fn connect(place: &Place, node: &Node, common: &Common) -> Result<Result<Remote, Problem>, Problem> {
    if crash::gave_up(place, node) {
        return Ok(Err(Problem::state(format!("node {}", node.name), "its kernel gave up")));
    }
    match Remote::connect(node, Roles::ADMIN, common.timeout) {
        Err(problem) if [code::UNREACHABLE, code::TIMEOUT].contains(&problem.code) => Ok(Err(problem)),
        other => other.map(Ok),
    }
}

fn ask(mut remote: Remote, given: &Options, mut writer: Writer) -> Result<(), Problem> {
    // Without a level it is the node's `dump_level`.
    let level = given.level.map(|level| ["-d".to_owned(), (level as u8).to_string()]);
    let mut args: Vec<String> = level.into_iter().flatten().collect();
    if given.interactive {
        args.push("-i".into());
    }
    let id = remote.send("dump", &args)?;
    let mut stream = Stream::default();
    loop {
        let Answer::Bytes { bytes, more } = remote.next_answer(id, "dump")? else {
            return Err(remote.nonsense());
        };
        let record = DumpRecord::decode(&bytes).map_err(|_| remote.nonsense())?;
        stream.take(record, &mut writer)?.map_err(|_| remote.nonsense())?;
        if !more {
            break;
        }
    }
    let source = if given.interactive { Source::Waiting } else { Source::Node };
    let description = stream.end(source, &writer).ok_or_else(|| remote.nonsense())?;
    writer.finish(&description)?;
    if let Some(remarks) = description.report("remarks") {
        eprintln!("ihkosctl: {}: {}", remote.name(), remarks.trim_end());
    }
    Ok(())
}

/// What has come of a dump so far.
#[derive(Default)]
struct Stream {
    level: Option<Level>,
    info: Option<Info>,
    reports: Vec<(String, String)>,
    reported: usize,
    pages: Option<u64>,
}

impl Stream {
    fn take(
        &mut self,
        record: DumpRecord<'_>,
        writer: &mut Writer,
    ) -> Result<Result<(), Malformed>, Problem> {
        match record {
            DumpRecord::Begin { level, version: STREAM_VERSION } => self.level = Some(level),
            DumpRecord::Begin { .. } => return Ok(Err(Malformed::Value)),
            DumpRecord::Info(bytes) => match Info::decode(bytes) {
                Ok(info) => self.info = Some(info),
                Err(error) => return Ok(Err(error)),
            },
            DumpRecord::Text { name, text } => {
                self.reported += name.len() + text.len();
                if self.reported > MAX_REPORTS {
                    return Ok(Err(Malformed::Limit));
                }
                match self.reports.last_mut() {
                    Some((last, report)) if *last == name => *report += &text,
                    _ => self.reports.push((name, text)),
                }
            }
            DumpRecord::Memory { physical, bytes } => writer.memory(physical, bytes)?,
            DumpRecord::Zero { physical, len } => writer.zeros(physical, len)?,
            DumpRecord::End { pages } => self.pages = Some(pages),
        }
        Ok(Ok(()))
    }

    /// `None` when something is missing.
    fn end(self, source: Source, writer: &Writer) -> Option<Description> {
        let whole = self.pages == Some(writer.len() / PAGE);
        let (Some(level), Some(info), true) = (self.level, self.info, whole) else { return None };
        Some(Description { info, level, source, reports: self.reports })
    }
}

/// Dumps the machine of a node that does not answer.
fn dump_machine(
    place: &Place,
    node: &Node,
    given: &Options,
    writer: Writer,
    silence: Problem,
) -> Result<(), Problem> {
    let name = format!("node {}", node.name);
    let Some(machine) = crash::machine(place, node) else { return Err(silence) };
    if given.interactive {
        let reason = format!("{}: it cannot be stopped for eclair -i; dump it without -i", silence.reason);
        return Err(Problem::state(name, reason));
    }
    if given.level == Some(Level::Kernel) {
        let reason = format!("{}: nobody can tell its pages apart; say -d 0 for all of them", silence.reason);
        return Err(Problem::state(name, reason));
    }
    // To standard error: who asked for no level gets more than usual.
    eprintln!("ihkosctl: {name}: {}; its whole machine is dumped (level 0)", silence.reason);
    let core = machine.dump()?;
    qemu::convert(core.path(), writer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Options, Usage> {
        read(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn command_lines() {
        assert_eq!(of(""), Ok(Options::default()));
        let all = Options { level: Some(Level::All), interactive: true, file: Some("f".into()) };
        assert_eq!(of("-d 0 -i f"), Ok(all.clone()));
        assert_eq!(of("f --interactive -d 0"), Ok(all));
        assert_eq!(of("-d 24").unwrap().level, Some(Level::Kernel));
        for (line, message) in [
            ("-d", "dump: -d : accepted are 0 and 24"),
            ("-d 7", "dump: -d 7: accepted are 0 and 24"),
            ("-x", "dump: -x: accepted are -d 0|24, -i and a file"),
            ("a b", "dump: b: one file only"),
        ] {
            assert_eq!(of(line), Err(Usage::Wrong(message.into())), "{line}");
        }
    }
}
