//! LAUNCH and LAUNCH_ACK (section 3.1): everything the node needs to start a program.

use alloc::string::String;
use alloc::vec::Vec;

use bitflags::bitflags;

use super::Message;
use crate::bytes::{Malformed, Reader, Writer};
use crate::errno::Errno;
use crate::frame::FrameType;

/// Limits of what a LAUNCH may hold.
pub mod limits {
    /// Arguments, and variables of the environment, each.
    pub const STRINGS: usize = 65_536;
    /// Bytes of one of them: Linux's MAX_ARG_STRLEN.
    pub const STRING: usize = 128 << 10;
    /// Bytes of a path.
    pub const PATH: usize = 4096;
    /// Supplementary groups: Linux's NGROUPS_MAX.
    pub const GROUPS: usize = 65_536;
    /// Inherited file descriptors.
    pub const FDS: usize = 4096;
    /// Resources of setrlimit(2).
    pub const RLIMITS: usize = 16;
}

/// What an inherited number stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FdKind {
    /// Something else.
    Other = 0,
    /// Regular file.
    Regular = 1,
    /// Directory.
    Directory = 2,
    /// Terminal.
    Terminal = 3,
    /// Another character device.
    Character = 4,
    /// Block device.
    Block = 5,
    /// Pipe or FIFO.
    Pipe = 6,
    /// Socket.
    Socket = 7,
    /// Symbolic link opened by itself (O_PATH).
    Link = 8,
    /// inotify instance.
    Inotify = 9,
    /// POSIX message queue.
    MessageQueue = 10,
}

impl FdKind {
    /// The kind with this number.
    pub fn from_raw(raw: u8) -> Option<FdKind> {
        use FdKind::*;
        let all = [
            Other,
            Regular,
            Directory,
            Terminal,
            Character,
            Block,
            Pipe,
            Socket,
            Link,
            Inotify,
            MessageQueue,
        ];
        all.into_iter().find(|kind| *kind as u8 == raw)
    }

    /// True when reading or writing may wait for somebody else, and readiness means something.
    pub fn may_block(self) -> bool {
        !matches!(self, FdKind::Regular | FdKind::Directory | FdKind::Block | FdKind::Link)
    }
}

/// A file descriptor that the program finds open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExportedFd {
    /// Its number.
    pub number: u32,
    /// The host's handle.
    pub handle: u64,
    /// What it is.
    pub kind: FdKind,
    /// Its status flags, as F_GETFL gives them.
    pub flags: u32,
}

/// A process among `-n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rank {
    /// Processes that share the node: `-n`. 0 when the option is absent.
    pub processes: u32,
    /// Which of them this is; [`Rank::UNKNOWN`] lets the node number them as they come.
    pub index: u32,
}

impl Rank {
    /// The node numbers.
    pub const UNKNOWN: u32 = u32::MAX;
}

/// `-s`: bytes of stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StackOptions {
    /// Populated at the start.
    pub premap: u64,
    /// Largest; `None` = RLIMIT_STACK.
    pub most: Option<u64>,
}

/// Where AF_INET sockets live (section 5.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum NetMode {
    /// As the node was told.
    Default = 0,
    /// On the host.
    Delegate = 1,
    /// On the node.
    Local = 2,
}

bitflags! {
    /// Options of mcexec that are on or off.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct LaunchFlags: u32 {
        /// `--mpol-no-heap`
        const MPOL_NO_HEAP = 1;
        /// `--mpol-no-stack`
        const MPOL_NO_STACK = 1 << 1;
        /// `--mpol-no-bss`
        const MPOL_NO_BSS = 1 << 2;
        /// `--mpol-shm-premap`
        const MPOL_SHM_PREMAP = 1 << 3;
        /// `--disable-sched-yield`
        const NO_SCHED_YIELD = 1 << 4;
        /// `--enable-uti`
        const UTI = 1 << 5;
        /// `--uti-use-last-cpu`
        const UTI_LAST_CPU = 1 << 6;
        /// `--disable-vdso`
        const NO_VDSO = 1 << 7;
        /// `--profile`
        const PROFILE = 1 << 8;
        /// `--profile=json`
        const PROFILE_JSON = 1 << 9;
        /// `--trace`
        const TRACE = 1 << 10;
        /// `-O`
        const OVERSUBSCRIBE = 1 << 11;
        /// `--helper-auto`
        const HELPER_AUTO = 1 << 12;
        /// `--noise-audit`
        const NOISE_AUDIT = 1 << 13;
        /// `--ioctl=flat`
        const IOCTL_FLAT = 1 << 14;
        /// `--core=off`
        const NO_CORE = 1 << 15;
        /// `--ro`: the host refuses writes
        const READ_ONLY = 1 << 16;
        /// mcexec itself was started with `PR_SET_THP_DISABLE`, which programs inherit. An older node does not know it.
        const NO_THP = 1 << 17;
    }
}

/// What the options of mcexec ask of the node (section 6.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaunchOptions {
    /// On or off.
    pub flags: LaunchFlags,
    /// `-c`: core of the first thread, in the partition's numbering.
    pub core: Option<u32>,
    /// `-M`: smallest allocation that follows the memory policy, bytes. 0 = all.
    pub mpol_threshold: u64,
    /// `-m`: NUMA nodes as a list (`0,2-3`, `all`, `!1`, `+0,1`); empty when absent.
    pub numa: String,
    /// `-h`: bytes by which the heap grows.
    pub heap_step: u64,
    /// `-s`.
    pub stack: StackOptions,
    /// `--uti-thread-rank`; 0 = none.
    pub uti_thread_rank: u32,
    /// `--helper-first`.
    pub helper_first: u32,
    /// `--net`.
    pub net: NetMode,
    /// `--write-behind`, bytes.
    pub write_behind: u64,
    /// `MCEXEC_ALT_ROOT`: before the path of the ELF interpreter; empty when absent.
    pub alt_root: String,
}

impl Default for LaunchOptions {
    fn default() -> LaunchOptions {
        LaunchOptions {
            flags: LaunchFlags::empty(),
            core: None,
            mpol_threshold: 0,
            numa: String::new(),
            heap_step: 4096,
            stack: StackOptions { premap: 2 << 20, most: None },
            uti_thread_rank: 0,
            helper_first: 0,
            net: NetMode::Default,
            write_behind: 0,
            alt_root: String::new(),
        }
    }
}

/// Start this program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// Handle of the file that the node loads: the program, or the interpreter of a script.
    pub executable: u64,
    /// Its path, as AT_EXECFN shows it.
    pub path: Vec<u8>,
    /// Arguments, the name of the program first.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
    /// Working directory of the proxy, for display.
    pub cwd: Vec<u8>,
    /// Process id of the proxy, and so of the program.
    pub pid: u32,
    /// The proxy's parent, process group and session.
    pub ppid: u32,
    /// Process group.
    pub pgid: u32,
    /// Session.
    pub sid: u32,
    /// Real, effective, saved user id.
    pub uids: [u32; 3],
    /// Real, effective, saved group id.
    pub gids: [u32; 3],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Soft and hard limit of each resource of setrlimit(2), by number.
    pub rlimits: [(u64, u64); limits::RLIMITS],
    /// File mode creation mask.
    pub umask: u32,
    /// Blocked signals: bit n-1 for signal n.
    pub blocked: u64,
    /// Ignored signals.
    pub ignored: u64,
    /// `-n`.
    pub rank: Rank,
    /// Helper threads wanted on service cores; `None` = what the node allows.
    pub helpers: Option<u32>,
    /// The host's wall clock, nanoseconds since 1970.
    pub wall: u64,
    /// Random bytes from the host, to be mixed into the node's.
    pub entropy: [u8; 32],
    /// Inherited file descriptors.
    pub fds: Vec<ExportedFd>,
    /// Options.
    pub options: LaunchOptions,
}

fn read_strings(from: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, Malformed> {
    let count = from.count(limits::STRINGS, 4)?;
    let mut strings = Vec::with_capacity(count);
    for _ in 0..count {
        strings.push(read_string(from, limits::STRING)?);
    }
    Ok(strings)
}

/// A string without a NUL, since C cannot see behind it.
fn read_string(from: &mut Reader<'_>, most: usize) -> Result<Vec<u8>, Malformed> {
    let bytes = from.blob(most)?;
    if bytes.contains(&0) { Err(Malformed::Value) } else { Ok(bytes.to_vec()) }
}

fn write_strings(to: &mut Writer<'_>, strings: &[Vec<u8>]) {
    to.count(strings.len());
    for string in strings {
        to.blob(string);
    }
}

fn read_option(from: &mut Reader<'_>) -> Result<Option<u64>, Malformed> {
    let (some, value) = (from.flag()?, from.u64()?);
    match (some, value) {
        (true, value) => Ok(Some(value)),
        (false, 0) => Ok(None),
        (false, _) => Err(Malformed::Value),
    }
}

fn read_small_option(from: &mut Reader<'_>) -> Result<Option<u32>, Malformed> {
    read_option(from)?.map(|value| u32::try_from(value).map_err(|_| Malformed::Value)).transpose()
}

fn write_option(to: &mut Writer<'_>, value: Option<u64>) {
    to.flag(value.is_some()).u64(value.unwrap_or(0));
}

impl LaunchOptions {
    fn read(from: &mut Reader<'_>) -> Result<LaunchOptions, Malformed> {
        Ok(LaunchOptions {
            flags: LaunchFlags::from_bits(from.u32()?).ok_or(Malformed::Value)?,
            core: read_small_option(from)?,
            mpol_threshold: from.u64()?,
            numa: from.string(256)?,
            heap_step: from.u64()?,
            stack: StackOptions { premap: from.u64()?, most: read_option(from)? },
            uti_thread_rank: from.u32()?,
            helper_first: from.u32()?,
            net: match from.u8()? {
                0 => NetMode::Default,
                1 => NetMode::Delegate,
                2 => NetMode::Local,
                _ => return Err(Malformed::Value),
            },
            write_behind: from.u64()?,
            alt_root: from.string(limits::PATH)?,
        })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u32(self.flags.bits());
        write_option(to, self.core.map(u64::from));
        to.u64(self.mpol_threshold).text(&self.numa).u64(self.heap_step).u64(self.stack.premap);
        write_option(to, self.stack.most);
        to.u32(self.uti_thread_rank).u32(self.helper_first).u8(self.net as u8).u64(self.write_behind);
        to.text(&self.alt_root);
    }
}

fn read_fds(from: &mut Reader<'_>) -> Result<Vec<ExportedFd>, Malformed> {
    let count = from.count(limits::FDS, 17)?;
    let mut fds = Vec::with_capacity(count);
    for _ in 0..count {
        fds.push(ExportedFd {
            number: from.u32()?,
            handle: from.u64()?,
            kind: FdKind::from_raw(from.u8()?).ok_or(Malformed::Value)?,
            flags: from.u32()?,
        });
    }
    Ok(fds)
}

impl Message<'_> for Launch {
    const KIND: FrameType = FrameType::Launch;

    fn read(from: &mut Reader<'_>) -> Result<Launch, Malformed> {
        Ok(Launch {
            executable: from.u64()?,
            path: read_string(from, limits::PATH)?,
            argv: read_strings(from)?,
            envp: read_strings(from)?,
            cwd: read_string(from, limits::PATH)?,
            pid: from.u32()?,
            ppid: from.u32()?,
            pgid: from.u32()?,
            sid: from.u32()?,
            uids: [from.u32()?, from.u32()?, from.u32()?],
            gids: [from.u32()?, from.u32()?, from.u32()?],
            groups: {
                let count = from.count(limits::GROUPS, 4)?;
                (0..count).map(|_| from.u32()).collect::<Result<_, _>>()?
            },
            rlimits: {
                let mut rlimits = [(0, 0); limits::RLIMITS];
                for limit in &mut rlimits {
                    *limit = (from.u64()?, from.u64()?);
                }
                rlimits
            },
            umask: from.u32()?,
            blocked: from.u64()?,
            ignored: from.u64()?,
            rank: Rank { processes: from.u32()?, index: from.u32()? },
            helpers: read_small_option(from)?,
            wall: from.u64()?,
            entropy: from.array()?,
            fds: read_fds(from)?,
            options: LaunchOptions::read(from)?,
        })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.executable).blob(&self.path);
        write_strings(to, &self.argv);
        write_strings(to, &self.envp);
        to.blob(&self.cwd).u32(self.pid).u32(self.ppid).u32(self.pgid).u32(self.sid);
        for id in self.uids.iter().chain(&self.gids) {
            to.u32(*id);
        }
        to.count(self.groups.len());
        for group in &self.groups {
            to.u32(*group);
        }
        for (soft, hard) in &self.rlimits {
            to.u64(*soft).u64(*hard);
        }
        to.u32(self.umask).u64(self.blocked).u64(self.ignored);
        to.u32(self.rank.processes).u32(self.rank.index);
        write_option(to, self.helpers.map(u64::from));
        to.u64(self.wall).bytes(&self.entropy).count(self.fds.len());
        for fd in &self.fds {
            to.u32(fd.number).u64(fd.handle).u8(fd.kind as u8).u32(fd.flags);
        }
        self.options.write(to);
    }
}

/// The answer to LAUNCH.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LaunchAck {
    /// It starts.
    Started {
        /// Cores the process may use, in the partition's numbering.
        cores: Vec<u32>,
        /// Bytes of memory it may use.
        memory: u64,
    },
    /// It does not.
    Refused {
        /// EAGAIN: the pid is taken; ENOEXEC: not a program for this node; EBUSY: no free cores; ENOMEM; EACCES: not with
        /// this key; EINVAL: bad `-n`.
        error: Errno,
        /// For people.
        text: String,
    },
}

impl Message<'_> for LaunchAck {
    const KIND: FrameType = FrameType::LaunchAck;

    fn read(from: &mut Reader<'_>) -> Result<LaunchAck, Malformed> {
        if from.flag()? {
            let count = from.count(4096, 4)?;
            let cores = (0..count).map(|_| from.u32()).collect::<Result<_, _>>()?;
            Ok(LaunchAck::Started { cores, memory: from.u64()? })
        } else {
            let error = Errno::from_raw(from.i32()?).ok_or(Malformed::Value)?;
            Ok(LaunchAck::Refused { error, text: from.string(1024)? })
        }
    }

    fn write(&self, to: &mut Writer<'_>) {
        match self {
            LaunchAck::Started { cores, memory } => {
                to.flag(true).count(cores.len());
                for core in cores {
                    to.u32(*core);
                }
                to.u64(*memory);
            }
            LaunchAck::Refused { error, text } => {
                to.flag(false).i32(error.raw()).text(text);
            }
        }
    }
}
