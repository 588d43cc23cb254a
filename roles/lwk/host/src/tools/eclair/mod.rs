//! `eclair`: looks into a dump, or into a node that `ihkosctl dump -i` has stopped (section 6.6).
//!
//! What the kernel is asked about (`ps`, `vtop`, `kmsg`, ...) it finds itself; for what the compiler knows (`bt`, names) it runs gdb.

mod gdb;
mod stub;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use keelson_config::parse_unsigned;
use keelson_lwk_wire::dump::{Core, CoreState};
use keelson_lwk_wire::handshake::Roles;

use self::gdb::Session;
use self::stub::{Stub, Thread};
use super::options::{Common, Usage};
use super::remote::{self, Remote};
use super::{Manual, Problem, Stop, options, print};
use crate::boot::image;
use crate::dump::file::Dump;
use crate::dump::live::LiveMemory;
use crate::dump::notes::CORE_TID;
use crate::dump::space;
use crate::dump::view::View;
use crate::problem::code;

const MANUAL: Manual = Manual {
    tool: "eclair",
    help: "usage: eclair [-chli] [-d <dump>] [-k <kernel>] [-o <node>] [-x <command>]
  -d <dump>       file of ihkosctl dump or vmcore2mckdump (mcdump)
  -k <kernel>     the kernel with its symbols (lwk.elf or lwk-compute.elf beside the dump)
  -i              the memory is that of the node, which ihkosctl dump -i has stopped
  -o <node>       which node that is (0)
  -c              cores as threads, with ids from 1000000 on; otherwise threads of programs have their own ids
  -l              cores that run no program, too
  -x <command>    one command instead of a debugger:
     info                   what it is a dump of
     ps                     programs
     threads                what runs on which core
     cpus                   registers of the cores
     bt [<tid>|all]         how a thread came where it is
     x <address> [<count>]  memory of the kernel, 8 bytes each; a name for an address is looked up
     vtop <pid> <address>   where an address is in RAM; with pid 0 one of the kernel
     maps <pid>             what a program has mapped
     kmsg                   the log
     requests               system calls that the host had not answered
     mem                    free memory
  --conf=<file>  --timeout=<seconds>  --version  -h  --help",
};

/// The dump that is looked into when none is named.
const DEFAULT_DUMP: &str = "mcdump";
/// Names of the kernel with its symbols, beside a dump.
const KERNELS: [&str; 2] = ["lwk.elf", "lwk-compute.elf"];
/// Numbers that `x` shows when nobody says how many.
const COUNT: u64 = 8;

/// Runs with these arguments. Returns the exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    MANUAL.run(args, look)
}

#[derive(Default)]
struct Options {
    dump: Option<PathBuf>,
    kernel: Option<PathBuf>,
    node: Option<String>,
    command: Option<String>,
    shown: Shown,
    interactive: bool,
}

/// What the debugger takes for threads.
#[derive(Clone, Copy, Default)]
struct Shown {
    /// Cores, by their numbers.
    cores: bool,
    /// Cores without a program.
    idle: bool,
}

fn look(args: Vec<OsString>) -> Result<i32, Stop> {
    let (common, given) = read(args)?;
    let path = given.dump.clone().unwrap_or_else(|| DEFAULT_DUMP.into());
    let dump = Dump::open(&path)?;
    let waits = View { description: &dump.description, memory: &dump.memory }.waits();
    if given.interactive != waits {
        let reason = match waits {
            true => "its memory is still in the node: look with -i, and -o <node>",
            false => "its memory is in the file: look without -i",
        };
        return Err(Problem::usage(path.display(), reason).into());
    }
    if !waits {
        return show(&path, &given, View { description: &dump.description, memory: &dump.memory });
    }
    let live = connect(&common, &given)?;
    show(&path, &given, View { description: &dump.description, memory: &live })
}

fn read(args: Vec<OsString>) -> Result<(Common, Options), Usage> {
    let mut given = Options::default();
    let (mut common, words) = options::parse(args, false, |option, value| {
        match option {
            "-d" => given.dump = Some(value.take()?.into()),
            "-k" => given.kernel = Some(value.take()?.into()),
            "-o" => given.node = Some(value.take()?),
            "-x" => given.command = Some(value.take()?),
            // As getopt has it: several in one word.
            word => match word.strip_prefix('-') {
                Some(flags) if !flags.is_empty() && flags.chars().all(|flag| "chli".contains(flag)) => {
                    if flags.contains('h') {
                        return Err(Usage::Help);
                    }
                    given.shown.cores |= flags.contains('c');
                    given.shown.idle |= flags.contains('l');
                    given.interactive |= flags.contains('i');
                }
                _ => return Ok(false),
            },
        }
        Ok(true)
    })?;
    if let Some(word) = words.first() {
        return Err(Usage::Wrong(format!("{word}: nothing may stand here; a command follows -x")));
    }
    common.node = given.node.clone().or(common.node);
    Ok((common, given))
}

fn connect(common: &Common, given: &Options) -> Result<LiveMemory, Problem> {
    let wanted = given.node.as_deref().or(common.node.as_deref()).unwrap_or("0");
    let node = remote::find(remote::table(common)?, wanted)?;
    Ok(LiveMemory::new(Remote::connect(&node, Roles::ADMIN, common.timeout)?))
}

fn show(dump: &Path, given: &Options, view: View<'_>) -> Result<i32, Stop> {
    let Some(command) = &given.command else {
        let threads = threads(&view, given.shown);
        return debug(dump, given, view, &threads, &Session::Interactive);
    };
    let words: Vec<&str> = command.split_whitespace().collect();
    let text = match &words[..] {
        ["info"] => view.info(),
        ["ps"] => view.ps(),
        ["threads"] => view.threads(),
        ["cpus"] => view.cpus(),
        ["kmsg"] => view.kmsg()?,
        ["requests"] => view.report("requests")?,
        ["mem"] => view.report("mem")?,
        ["maps", pid] => view.maps(number(pid)? as u32)?,
        ["vtop", pid, address] => view.vtop(number(pid)? as u32, number(address)?)?,
        ["x", address, rest @ ..] if rest.len() < 2 => {
            let count = rest.first().map_or(Ok(COUNT), |count| number(count))?;
            if let Some(address) = parse_unsigned(address) {
                print(&view.words(address, count)?)?;
                return Ok(code::OK);
            }
            let lines = [format!("x/{count}gx {address}")];
            let threads = threads(&view, Shown { cores: true, idle: true });
            return debug(dump, given, view, &threads, &Session::Batch(&lines));
        }
        ["bt"] => return trace(dump, given, view, &threads(&view, given.shown), "backtrace"),
        ["bt", "all"] => {
            let threads = threads(&view, Shown { idle: true, ..given.shown });
            return trace(dump, given, view, &threads, "thread apply all backtrace");
        }
        ["bt", tid] => {
            let tid = number(tid)?;
            let all = [
                threads(&view, Shown { cores: false, idle: true }),
                threads(&view, Shown { cores: true, idle: true }),
            ];
            let one: Vec<Thread> =
                all.into_iter().flatten().filter(|thread| u64::from(thread.tid) == tid).take(1).collect();
            if one.is_empty() {
                let reason = "no such thread on any core; -x threads shows those there are";
                return Err(Problem::usage(format!("thread {tid}"), reason).into());
            }
            return trace(dump, given, view, &one, "backtrace");
        }
        _ => return Err(Usage::Wrong(format!("-x: {command:?} is no command")).into()),
    };
    print(&text)?;
    Ok(code::OK)
}

fn number(word: &str) -> Result<u64, Usage> {
    parse_unsigned(word)
        .ok_or_else(|| Usage::Wrong(format!("{word}: accepted is a number, such as 4096 or 0x1000")))
}

fn trace(
    dump: &Path,
    given: &Options,
    view: View<'_>,
    threads: &[Thread],
    command: &str,
) -> Result<i32, Stop> {
    debug(dump, given, view, threads, &Session::Batch(&[command.to_owned()]))
}

fn debug(
    dump: &Path,
    given: &Options,
    view: View<'_>,
    threads: &[Thread],
    session: &Session<'_>,
) -> Result<i32, Stop> {
    if threads.is_empty() {
        return Err(
            Problem::failed(dump.display(), "no core's registers are in it; -x cpus shows what is").into()
        );
    }
    let kernel = kernel(dump, given)?;
    Ok(gdb::run(&kernel, &mut Stub::new(view, threads), session)?)
}

/// The file with the kernel's symbols.
fn kernel(dump: &Path, given: &Options) -> Result<PathBuf, Problem> {
    if let Some(path) = &given.kernel {
        return image::verify(path).map(|(path, _)| path);
    }
    let beside = dump.parent().unwrap_or(Path::new(""));
    let mut places: Vec<PathBuf> = KERNELS.iter().map(|name| beside.join(name)).collect();
    places.push(image::default().with_extension("elf"));
    let Some(found) = places.iter().find(|place| place.exists()) else {
        let names: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        let reason = format!("not there: {}; name it with -k", names.join(", "));
        return Err(Problem::failed("the kernel with its symbols", reason));
    };
    image::verify(found).map(|(path, _)| path)
}

/// Threads for the debugger: cores that failed first.
fn threads(view: &View<'_>, shown: Shown) -> Vec<Thread> {
    let seen = || view.cores().filter(|(_, core)| core.state != CoreState::None);
    let busy = |core: &Core| core.tid != 0 || core.state == CoreState::Panicked;
    // All of them, rather than none.
    let idle = shown.idle || shown.cores || !seen().any(|(_, core)| busy(core));
    let chosen = seen().filter(|(_, core)| idle || busy(core));
    let mut threads: Vec<Thread> = chosen.map(|(number, core)| thread(view, shown, number, core)).collect();
    threads.sort_by_key(|thread| thread.core.state != CoreState::Panicked);
    threads
}

fn thread(view: &View<'_>, shown: Shown, number: u32, core: &Core) -> Thread {
    let own = core.tid != 0 && !shown.cores;
    let name = match view.process(core.pid) {
        Some(process) => process.name.clone(),
        None => "no program".into(),
    };
    let place = match (core.state, space::in_kernel(core)) {
        (CoreState::Panicked, _) => "panicked",
        (_, true) => "in the kernel",
        (_, false) => "in the program",
    };
    let tid = if own { core.tid } else { CORE_TID.saturating_add(number) };
    Thread { tid, core: *core, text: format!("core {number}: {name}, {place}") }
}
