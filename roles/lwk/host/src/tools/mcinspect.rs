//! `mcinspect`: looks into the memory of a node that runs (section 6.8).

use std::ffi::OsString;

use keelson_config::parse_unsigned;
use keelson_lwk_wire::handshake::Roles;

use super::options::Usage;
use super::remote::{self, Remote};
use super::{Manual, Problem, Stop, code, options, print};
use crate::boot::image;
use crate::dump::live::LiveMemory;
use crate::dump::{tables, view};

const MANUAL: Manual = Manual {
    tool: "mcinspect",
    help: "usage: mcinspect --ps | --vtop [-p <pid>] -v <address>
  --ps             programs, the cores they run on, and their page tables
  --vtop           where an address is in RAM, and how one gets there
  -p <pid>         of this program; otherwise of the kernel
  -v <address>     4096 or 0x1000
  --kernel <path>  must be the image that the node runs
  --debug          what the kernel says of itself, too
  --conf=<file>          node table; otherwise $LWK_CONF or /etc/lwk/nodes.conf
  --node=<name|index>    the node (0); needs a key for admin
  --timeout=<seconds>    for each answer of the node (10)
  --version  -h  --help",
};

/// What is asked.
#[derive(Default)]
struct Options {
    ps: bool,
    vtop: bool,
    pid: u32,
    address: Option<u64>,
    kernel: Option<String>,
    debug: bool,
}

/// Runs with these arguments. Returns the exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    MANUAL.run(args, inspect)
}

fn inspect(args: Vec<OsString>) -> Result<i32, Stop> {
    let mut given = Options::default();
    let (common, words) = options::parse(args, false, |option, value| {
        match option {
            "-h" => return Err(Usage::Help),
            "--ps" => given.ps = true,
            "--vtop" => given.vtop = true,
            "--debug" => given.debug = true,
            "--kernel" => given.kernel = Some(value.take()?),
            "-p" => given.pid = value.number("a process id")?,
            "-v" => {
                let text = value.take()?;
                let wrong =
                    || Usage::Wrong(format!("-v: {text}: accepted is a number, such as 4096 or 0x1000"));
                given.address = Some(parse_unsigned(&text).ok_or_else(wrong)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if let Some(word) = words.first() {
        return Err(Usage::Wrong(format!("{word}: nothing may stand here")).into());
    }
    if given.ps == given.vtop {
        return Err(Usage::Wrong("one of --ps and --vtop must be given".into()).into());
    }
    if given.vtop != given.address.is_some() {
        return Err(Usage::Wrong("--vtop and -v <address> belong together".into()).into());
    }
    let node = remote::find(remote::table(&common)?, common.node.as_deref().unwrap_or("0"))?;
    let memory = LiveMemory::new(Remote::connect(&node, Roles::ADMIN, common.timeout)?);
    let info = memory.info()?;
    if let Some(path) = &given.kernel {
        let (_, identity) = image::verify(path.as_ref())?;
        if !info.build.contains(&identity.built) {
            let reason = format!("built {}; the node runs {}", identity.built, info.build);
            return Err(Problem::usage(path, reason).into());
        }
    }
    if given.debug {
        eprintln!(
            "{}: kernel {:#x} at {:#x}, direct map {:#x}, root {:#x}, {} cores, {}",
            MANUAL.tool,
            info.image,
            info.image_physical,
            info.direct_map,
            info.root,
            info.cores.len(),
            info.build
        );
    }
    let Some(address) = given.address else {
        print(&view::processes(&info.processes, &info.cores))?;
        return Ok(code::OK);
    };
    let process = info.processes.iter().find(|process| process.pid == given.pid);
    let root = match (given.pid, process) {
        (0, _) => info.root,
        (_, Some(process)) => process.root,
        (pid, None) => {
            return Err(Problem::usage(
                format!("process {pid}"),
                "not on the node; --ps shows those there are",
            )
            .into());
        }
    };
    let walk = tables::walk(&memory, root, address);
    let walk = walk.map_err(|unread| Problem::failed(format!("{address:#x}"), unread))?;
    print(&view::way(given.pid, root, address, &walk))?;
    Ok(if walk.page.is_some() { code::OK } else { code::FAILED })
}
