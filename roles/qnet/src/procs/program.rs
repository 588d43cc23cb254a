//! Programs, and how a path leads to one of them.
//!
//! Programs are linked into the image. In its file tree each has an executable file, whose first line names it and
//! whose rest is its usage message. So a copy of the file or a link to it is the same program, on every node.

use super::process::{Process, absolute};
use crate::client::{Files, OpenFlags};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use keelson_qnet_wire::Errno;

/// A program that runs; its result is the exit status.
pub type Main = Pin<Box<dyn Future<Output = i32>>>;
use alloc::boxed::Box;

/// A program that is part of the image.
#[derive(Clone, Copy)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// How it is used: what `use` prints.
    pub usage: &'static str,
    /// Runs it.
    pub main: fn(Process) -> Main,
}

/// Where programs are looked for.
pub const SEARCH_PATH: &str = "/bin:/usr/bin:/proc/boot";

/// First bytes of a file that stands for a program; its name and a newline follow.
const MARK: &[u8] = b"#!builtin ";

/// How the name of an interpreter is announced.
const SCRIPT: &[u8] = b"#!";

/// Bytes of a file that are looked at.
const HEAD: usize = 256;

/// Type bits of a mode, and those of a regular file and of a directory.
const TYPE: u32 = 0xf000;
const REGULAR: u32 = 0x8000;

/// The files for the programs: path, permission bits, content, for [`crate::io::Archive::new`].
pub fn program_files(programs: &[Program]) -> impl Iterator<Item = (String, u32, Rc<[u8]>)> + '_ {
    programs.iter().map(|program| {
        let text = [MARK, program.name.as_bytes(), b"\n", program.usage.as_bytes()].concat();
        (format!("bin/{}", program.name), 0o755, text.into())
    })
}

/// What a path stands for.
pub(super) struct Loaded {
    pub program: Program,
    pub path: String,
    /// The interpreter and what goes with it, in place of the first argument, if it is a script.
    pub script: Option<Vec<String>>,
}

/// A program to be found.
pub(super) struct Wanted<'a> {
    pub path: &'a str,
    pub cwd: &'a str,
    /// Directories to look in, separated by colons, for a name without a slash.
    pub search: Option<&'a str>,
    /// Whether a script will do.
    pub scripts: bool,
}

/// Finds a program: as the user, who must be allowed to execute it; read by the system, as loading is not reading.
/// `ENOENT`, `EACCES`, `ENOEXEC`.
pub(super) async fn find(
    programs: &[Program],
    (user, system): (&Files, &Files),
    wanted: Wanted<'_>,
) -> Result<Loaded, Errno> {
    let path = locate(user, &wanted).await?;
    let head = head_of(system, &path).await?;
    let first = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if let Some(name) = first.strip_prefix(MARK) {
        let program =
            programs.iter().find(|program| program.name.as_bytes() == name).ok_or(Errno::ENOEXEC)?;
        return Ok(Loaded { program: *program, path, script: None });
    }
    let line = first.strip_prefix(SCRIPT).filter(|_| wanted.scripts).ok_or(Errno::ENOEXEC)?;
    let line = core::str::from_utf8(line).map_err(|_| Errno::ENOEXEC)?.trim();
    let (interpreter, argument) = line.split_once(' ').unwrap_or((line, ""));
    let one_more = Wanted { path: interpreter, search: None, scripts: false, ..wanted };
    let found = Box::pin(find(programs, (user, system), one_more)).await?;
    let mut script = vec![interpreter.to_owned()];
    script.extend(Some(argument.trim().to_string()).filter(|argument| !argument.is_empty()));
    script.push(path);
    Ok(Loaded { script: Some(script), ..found })
}

/// The path of a file that may be executed.
async fn locate(user: &Files, wanted: &Wanted<'_>) -> Result<String, Errno> {
    let search = match wanted.search {
        Some(search) if !wanted.path.contains('/') => search,
        _ => {
            let path = absolute(wanted.cwd, wanted.path);
            return executable(user, &path).await.map(|()| path);
        }
    };
    let mut problem = Errno::ENOENT;
    for dir in search.split(':') {
        let path = absolute(wanted.cwd, &format!("{dir}/{}", wanted.path));
        match executable(user, &path).await {
            Ok(()) => return Ok(path),
            // Another directory may have one that is.
            Err(Errno::EACCES) => problem = Errno::EACCES,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(problem)
}

/// `EACCES` unless it is a file that the user may execute.
async fn executable(user: &Files, path: &str) -> Result<(), Errno> {
    let stat = user.stat(path).await?;
    let who = user.credentials();
    let shift = if who.euid == stat.uid {
        6
    } else if who.egid == stat.gid || who.groups.as_slice().contains(&stat.gid) {
        3
    } else {
        0
    };
    let any = stat.mode & 0o111 != 0;
    let may = any && (who.euid == 0 || stat.mode >> shift & 1 != 0);
    if stat.mode & TYPE == REGULAR && may { Ok(()) } else { Err(Errno::EACCES) }
}

async fn head_of(system: &Files, path: &str) -> Result<Vec<u8>, Errno> {
    let file = system.open(path, OpenFlags::READ).await?;
    let mut head = vec![0; HEAD];
    let len = file.read(&mut head).await?;
    head.truncate(len);
    Ok(head)
}
