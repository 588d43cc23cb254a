//! `_PROC_SPAWN` START: run a program (section 14.4).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 108 | fixed part |
//! | 108 | 4 nfds | descriptor map |
//! | | searchlen | PATH, with NUL, or nothing |
//! | | pathlen | program, with NUL |
//! | | nbytes | arguments, then environment, each with NUL |
//! | | rest | [`RemoteBlock`], not aligned |

use super::{RemoteBlock, Strings, spawn_subtype};
use crate::endian::Endian;
use crate::errno::Errno;
use crate::io::MsgType;
use crate::layout::{Short, layout, until_nul};
use crate::nd::Nd;
use crate::out::{NoRoom, Out, len16, len32};
use core::fmt;

layout! {
    struct Fixed: 108, "_PROC_SPAWN" {
        0 kind: u16,
        2 subtype: u16,
        4 searchlen: u16,
        6 pathlen: u16,
        8 inherit: Inheritance,
        96 nfds: u16,
        98 nargv: u16,
        100 narge: u16,
        104 nbytes: u32,
    }
}

layout! {
    /// What the program starts with (`struct inheritance`).
    pub struct Inheritance: 88, "inheritance" {
        /// See [`SpawnFlags`].
        0 flags: u32,
        /// Process group.
        4 pgroup: i32,
        /// Signals that are blocked.
        8 sigmask: [u32; 2],
        /// Signals with their default action.
        16 sigdefault: [u32; 2],
        /// Signals that are ignored.
        24 sigignore: [u32; 2],
        /// Largest stack in bytes.
        32 stack_max: u32,
        /// Scheduling policy.
        36 policy: i32,
        /// Node to run on.
        40 nd: Nd,
        /// CPUs to run on.
        44 runmask: u32,
        /// Priority.
        48 priority: i32,
        /// Priority at the moment.
        52 curpriority: i32,
        /// Further scheduling parameters.
        56 reserved: [u32; 8],
    }
}

/// Which fields of [`Inheritance`] count, and what else to do.
pub struct SpawnFlags;

impl SpawnFlags {
    /// Process group.
    pub const SETGROUP: u32 = 0x1;
    /// Blocked signals.
    pub const SETSIGMASK: u32 = 0x2;
    /// Default signals.
    pub const SETSIGDEF: u32 = 0x4;
    /// Ignored signals.
    pub const SETSIGIGN: u32 = 0x8;
    /// Make its group the terminal's.
    pub const TCSETPGROUP: u32 = 0x80;
    /// Node.
    pub const SETND: u32 = 0x100;
    /// A session of its own.
    pub const NEWSESSION: u32 = 0x200;
    /// Policy and priority.
    pub const EXPLICIT_SCHED: u32 = 0x400;
    /// CPUs.
    pub const EXPLICIT_CPU: u32 = 0x800;
    /// Nobody will wait for it.
    pub const NOZOMBIE: u32 = 0x2000;
    /// Start stopped.
    pub const HOLD: u32 = 0x8000;
    /// In place of the caller.
    pub const EXEC: u32 = 0x1_0000;
    /// Look for the program in PATH.
    pub const SEARCH_PATH: u32 = 0x2_0000;
    /// It may be a script.
    pub const CHECK_SCRIPT: u32 = 0x4_0000;
}

/// Most descriptors, arguments or variables (section 23, point 7).
const MAX_COUNT: u16 = 1024;

/// Why a spawn is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpawnError {
    /// The parts are longer than the message.
    Short(Short),
    /// Another subtype.
    Subtype(u16),
    /// More than 1,024.
    Count {
        /// Of what.
        field: &'static str,
        /// How many.
        count: u16,
    },
    /// No NUL at the end.
    Unterminated(&'static str),
    /// Fewer arguments and variables than announced.
    Strings {
        /// Arguments announced.
        nargv: u16,
        /// Variables announced.
        narge: u16,
    },
}

impl SpawnError {
    /// The number with which to answer.
    pub const fn errno(&self) -> Errno {
        match self {
            SpawnError::Subtype(_) => Errno::ENOSYS,
            SpawnError::Count { .. } => Errno::E2BIG,
            _ => Errno::EINVAL,
        }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::Short(short) => short.fmt(f),
            SpawnError::Subtype(value) => write!(f, "_PROC_SPAWN subtype {value} is not START"),
            SpawnError::Count { field, count } => {
                write!(f, "_PROC_SPAWN {field} is {count}; {MAX_COUNT} are allowed")
            }
            SpawnError::Unterminated(field) => write!(f, "_PROC_SPAWN {field} has no NUL"),
            SpawnError::Strings { nargv, narge } => {
                write!(f, "_PROC_SPAWN has fewer than {nargv} arguments and {narge} variables")
            }
        }
    }
}

impl core::error::Error for SpawnError {}

/// `_PROC_SPAWN` START.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spawn<'a> {
    /// What the program starts with.
    pub inherit: Inheritance,
    /// Where to look for the program with [`SpawnFlags::SEARCH_PATH`]; may be empty.
    pub search: &'a [u8],
    /// The program.
    pub path: &'a [u8],
    /// Its arguments.
    pub argv: Strings<'a>,
    /// Its environment.
    pub envp: Strings<'a>,
    /// About the caller, when it is on another node.
    pub remote: Option<RemoteBlock<'a>>,
    fd_map: FdMap<'a>,
}

/// The map as it came, or to be sent.
#[derive(Clone, Copy, Debug)]
enum FdMap<'a> {
    Wire(&'a [u8], Endian),
    List(&'a [i32]),
}

impl<'a> FdMap<'a> {
    fn iter(self) -> impl Iterator<Item = i32> + 'a {
        let (bytes, endian, list) = match self {
            FdMap::Wire(bytes, endian) => (bytes, endian, &[][..]),
            FdMap::List(list) => (&[][..], Endian::Little, list),
        };
        let (words, _) = bytes.as_chunks::<4>();
        words.iter().map(move |word| endian.read_i32(*word)).chain(list.iter().copied())
    }
}

impl PartialEq for FdMap<'_> {
    fn eq(&self, other: &FdMap<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for FdMap<'_> {}

impl<'a> Spawn<'a> {
    /// A message to be sent.
    pub fn new(inherit: Inheritance, path: &'a [u8], argv: Strings<'a>, envp: Strings<'a>) -> Spawn<'a> {
        Spawn { inherit, search: b"", path, argv, envp, remote: None, fd_map: FdMap::List(&[]) }
    }

    /// With a descriptor map: entry n says which of the caller's becomes the program's n.
    pub fn with_fd_map(self, fd_map: &'a [i32]) -> Spawn<'a> {
        Spawn { fd_map: FdMap::List(fd_map), ..self }
    }

    /// The descriptor map.
    pub fn fd_map(&self) -> impl Iterator<Item = i32> + 'a {
        self.fd_map.iter()
    }

    /// Reads a whole message.
    pub fn decode(message: &'a [u8], endian: Endian) -> Result<Spawn<'a>, SpawnError> {
        let fixed = Fixed::decode(message, endian).map_err(SpawnError::Short)?;
        if fixed.subtype != spawn_subtype::START {
            return Err(SpawnError::Subtype(fixed.subtype));
        }
        count("nfds", fixed.nfds)?;
        count("nargv", fixed.nargv)?;
        count("narge", fixed.narge)?;
        let mut parts = Split { rest: message.get(Fixed::LEN..).unwrap_or_default() };
        let fd_map = parts.take("_PROC_SPAWN fd map", 4 * usize::from(fixed.nfds))?;
        let search = parts.take("_PROC_SPAWN search path", fixed.searchlen.into())?;
        let path = parts.take("_PROC_SPAWN path", fixed.pathlen.into())?;
        let nbytes = usize::try_from(fixed.nbytes).unwrap_or(usize::MAX);
        let strings = parts.take("_PROC_SPAWN strings", nbytes)?;
        let missing = SpawnError::Strings { nargv: fixed.nargv, narge: fixed.narge };
        let (argv, rest) = Strings::split(strings, fixed.nargv.into()).ok_or(missing)?;
        let (envp, _) = Strings::split(rest, fixed.narge.into()).ok_or(missing)?;
        let remote = match parts.rest {
            [] => None,
            rest => Some(RemoteBlock::decode(rest, endian)?),
        };
        Ok(Spawn {
            inherit: fixed.inherit,
            search: if search.is_empty() { search } else { terminated("search path", search)? },
            path: terminated("path", path)?,
            argv,
            envp,
            remote,
            fd_map: FdMap::Wire(fd_map, endian),
        })
    }

    /// Writes the message and returns its length.
    pub fn emit(&self, room: &mut [u8], endian: Endian) -> Result<usize, NoRoom> {
        let strings = self.argv.as_bytes().len() + self.envp.as_bytes().len();
        let fixed = Fixed {
            kind: MsgType::PROC_SPAWN.0,
            subtype: spawn_subtype::START,
            searchlen: len16(if self.search.is_empty() { 0 } else { self.search.len() + 1 }),
            pathlen: len16(self.path.len() + 1),
            inherit: self.inherit,
            nfds: len16(self.fd_map().count()),
            nargv: len16(self.argv.iter().count()),
            narge: len16(self.envp.iter().count()),
            nbytes: len32(strings),
        };
        let mut out = Out::new(room, endian);
        out.put(&fixed);
        for fd in self.fd_map() {
            out.put(&fd);
        }
        if !self.search.is_empty() {
            out.string(self.search);
        }
        out.string(self.path).bytes(self.argv.as_bytes()).bytes(self.envp.as_bytes());
        if let Some(remote) = &self.remote {
            remote.put(&mut out);
        }
        out.finish()
    }
}

/// What is left of a message.
struct Split<'a> {
    rest: &'a [u8],
}

impl<'a> Split<'a> {
    fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], SpawnError> {
        let short = SpawnError::Short(Short { what, need: len, have: self.rest.len() });
        let (part, rest) = self.rest.split_at_checked(len).ok_or(short)?;
        self.rest = rest;
        Ok(part)
    }
}

pub(super) fn count(field: &'static str, count: u16) -> Result<(), SpawnError> {
    if count > MAX_COUNT { Err(SpawnError::Count { field, count }) } else { Ok(()) }
}

/// The string in a part that must contain a NUL.
pub(super) fn terminated<'a>(field: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], SpawnError> {
    let text = until_nul(bytes);
    if text.len() == bytes.len() { Err(SpawnError::Unterminated(field)) } else { Ok(text) }
}
