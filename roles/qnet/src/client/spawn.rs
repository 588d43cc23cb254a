//! Programs on other nodes: `on -f node command` (sections 14.4 and 14.5).

use super::console::ConsoleServer;
use super::files::Files;
use crate::api::{Connection, Credentials, Kernel, PROCESS_MANAGER, SignalRequest};
use crate::procs::{End, SEARCH_PATH, Stream};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::proc::{Inheritance, ProcWait, RemoteBlock, Siginfo, Spawn, SpawnFlags, Strings};
use keelson_qnet_wire::{Endian, Errno, Nd};

/// Longest message: the arguments, and some paths.
const MESSAGE: usize = 131_072;

/// Which node a program runs on, and whose files it takes for its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Where<'a> {
    /// `on -f`: that node's root; `/net/<node>` is told.
    Root(&'a str),
    /// `on -n`: no root is told. Programs do not travel, so that node's own runs there, from this directory.
    Node(&'a str),
}

impl<'a> Where<'a> {
    fn node(self) -> &'a str {
        match self {
            Where::Root(node) | Where::Node(node) => node,
        }
    }
}

/// A program to be run on another node.
pub struct SpawnRequest<'a> {
    /// Where.
    pub place: Where<'a>,
    /// The program and its arguments.
    pub args: &'a [String],
    /// Environment: `NAME=value`.
    pub env: &'a [String],
    /// Working directory.
    pub cwd: &'a str,
    /// Mask for new files.
    pub umask: u32,
    /// Priority, if it is to have another one.
    pub priority: Option<u8>,
}

/// A program that runs on another node, with descriptors of this one. Dropping it leaves the program to itself: what it
/// reads or writes then fails.
pub struct Spawned {
    kernel: Kernel,
    who: Credentials,
    nd: Nd,
    pid: i32,
    console: ConsoleServer,
    connection: Connection,
}

/// Starts a program on another node. `pid` is the process whose descriptors it gets; entry `n` of the list is its
/// descriptor `n`.
///
/// Errors are those of the node (`EHOSTDOWN`, ...) and of the program (`ENOENT`, `EACCES`, `ENOEXEC`, ...).
pub async fn spawn(
    files: &Files,
    pid: u32,
    request: &SpawnRequest<'_>,
    streams: Vec<Rc<dyn Stream>>,
) -> Result<Spawned, Errno> {
    let kernel = files.kernel().clone();
    let nd = files.node(request.place.node()).await?;
    let who = Credentials { pid: i32::try_from(pid).map_err(|_| Errno::EINVAL)?, ..*files.credentials() };
    let connection = kernel.connect(nd, PROCESS_MANAGER, 1, &who).await?;
    let console = ConsoleServer::new(&kernel, pid, nd, streams)?;
    // The answer to the CONNECT has told how that node knows this one.
    let remote_nd = kernel.remote_nd_for_us(nd);
    if remote_nd == Nd::LOCAL && nd.node() != 0 {
        return Err(Errno::EHOSTUNREACH);
    }
    let records = console.records(remote_nd);
    let map: Vec<i32> = records.iter().map(|record| record.fd).collect();
    let (root, cwd) = match request.place {
        Where::Root(node) => {
            // Over which link is nothing to that node.
            let name = node.split('~').next().unwrap_or_default();
            (format!("/net/{name}/"), "/")
        }
        Where::Node(_) => (String::from("/"), request.cwd),
    };
    let argv = joined(request.args)?;
    let envp = joined(request.env)?;
    let strings = |bytes, list: &[String]| Strings::split(bytes, list.len()).map(|(strings, _)| strings);
    let argv = strings(&argv, request.args).ok_or(Errno::EINVAL)?;
    let envp = strings(&envp, request.env).ok_or(Errno::EINVAL)?;
    let path = request.args.first().ok_or(Errno::EINVAL)?;
    let scheduling = if request.priority.is_some() { SpawnFlags::EXPLICIT_SCHED } else { 0 };
    let flags = SpawnFlags::SETND | SpawnFlags::SETGROUP | SpawnFlags::SEARCH_PATH | SpawnFlags::CHECK_SCRIPT;
    let priority = request.priority.map_or(0, i32::from);
    let inherit = Inheritance {
        flags: flags | scheduling,
        // Of its own, so that signals for it reach its children too.
        pgroup: 0,
        nd,
        priority,
        curpriority: priority,
        ..Inheritance::default()
    };
    let mut spawn = Spawn::new(inherit, path.as_bytes(), argv, envp).with_fd_map(&map);
    spawn.search = SEARCH_PATH.as_bytes();
    spawn.remote = Some(RemoteBlock::new(0, request.umask, root.as_bytes(), cwd.as_bytes(), &records));
    let mut message = vec![0; MESSAGE];
    let len = spawn.emit(&mut message, Endian::Little).map_err(|_| Errno::E2BIG)?;
    let (pid, _) = connection.send(&[message.get(..len).unwrap_or_default()], &mut []).await?;
    if pid <= 0 {
        return Err(Errno::EPROTO);
    }
    Ok(Spawned { kernel, who, nd, pid, console, connection })
}

/// Strings one behind another.
fn joined(list: &[String]) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    for text in list {
        if text.as_bytes().contains(&0) {
            return Err(Errno::EINVAL);
        }
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    Ok(bytes)
}

impl Spawned {
    /// Its process on its node.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its node.
    pub fn nd(&self) -> Nd {
        self.nd
    }

    /// Descriptors that it and its children have open.
    pub fn descriptors(&self) -> usize {
        self.console.taken()
    }

    /// Waits for its end.
    pub async fn wait(&self) -> Result<End, Errno> {
        let wait = ProcWait { idtype: ProcWait::PID, options: ProcWait::EXITED, id: self.pid };
        let mut reply = [0; Siginfo::LEN];
        self.connection.send(&[&wait.encode(Endian::Little)], &mut reply).await?;
        let info = Siginfo::decode(&reply, Endian::Little).map_err(|_| Errno::EPROTO)?;
        Ok(match info.code {
            Siginfo::EXITED => End::Exited(info.status & 0xff),
            _ => End::Killed(info.status),
        })
    }

    /// Sends a signal to it and its children.
    pub fn signal(&self, signo: i32) -> Result<(), Errno> {
        let pid = self.pid.checked_neg().ok_or(Errno::ESRCH)?;
        self.kernel.signal(self.nd, &self.who, SignalRequest { pid, signo, ..SignalRequest::default() })
    }
}
