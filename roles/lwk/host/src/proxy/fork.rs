//! FORK without fork(2).
//!
//! The specification forks the proxy. In a process with many threads fork(2) is `unsafe` for a reason: the child may do next to
//! nothing before it executes another program. So that is what happens: this program is started anew with
//! [`Command`], as a child of this process. It inherits the open files of the program *as they are* (the same numbers, the same
//! open file descriptions, so offsets and flags stay shared), and with them working directory, umask, process group, session,
//! terminal, limits and ids. Its parent, and what wait(2) says of it, are right too. What else it needs (ticket, address, key, handle
//! numbers) it reads from a pipe: a memory file would be one of those that RLIMIT_FSIZE keeps small. Record locks are not
//! inherited, as with fork(2).
//!
//! Over serial ports the child needs one of its own. Its parent claims it, so that a fork fails at once when there is none, and the
//! child inherits the claim. Ports of the parent's connections it does not inherit: those are closed on exec.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use keelson_lwk_wire::bytes::{Malformed, Reader, Writer};
use keelson_lwk_wire::channel::Key;
use keelson_lwk_wire::frame::{FrameType, Header};
use keelson_lwk_wire::handshake::Modes;
use keelson_lwk_wire::messages::{FdKind, Fork, ForkErr, ForkOk, Ticket, limits};
use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;

use super::confine::{Root, Rules};
use super::handles::{Handle, Handles};
use super::{Proxy, lock};
use crate::fail::Fail;
use crate::mcexec::inherit;
use crate::nodes::Address;
use crate::serial::{self, Claim, Traffic};

/// The number of the pipe, in the environment of a further proxy.
pub const STATE: &str = "LWK_PROXY_STATE";

/// What all proxies of a program share.
#[derive(Clone, Debug)]
pub struct Family {
    /// The node.
    pub address: Address,
    /// Its name, for messages.
    pub node: String,
    /// Its key.
    pub key: Option<Key>,
    /// Workers at the start.
    pub workers: u32,
    /// Where core files go.
    pub core_pattern: Option<String>,
    /// The node has something to say about every process, also when that has closed its standard error: `--profile`, `--trace`.
    pub shows: bool,
    /// Where the lines of `--trace=` go.
    pub trace: Option<Arc<File>>,
}

/// What a further proxy starts from.
pub struct ForkState {
    /// The family.
    pub family: Family,
    /// With which it connects.
    pub ticket: Ticket,
    /// By what, where the node has serial ports.
    pub port: Option<Claim>,
    /// Restrictions, as they were given.
    pub rules: Rules,
    /// Handles and the descriptors behind them.
    pub handles: Vec<(u64, i32, FdKind)>,
    /// The next handle.
    pub next: u64,
    /// Standard error.
    pub complaints: Option<u64>,
}

/// Proxies that this one made.
#[derive(Default)]
pub(super) struct Children {
    table: Mutex<Vec<Child>>,
}

impl Children {
    pub(super) fn reap(&self) {
        // An error means that it is gone.
        lock(&self.table).retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    pub(super) fn kill(&self) {
        for child in lock(&self.table).iter_mut() {
            // It may be gone already.
            let _ = child.kill();
        }
    }
}

impl Proxy {
    pub(super) fn fork(self: &Arc<Proxy>, header: &Header, fork: Fork) {
        match self.spawn_proxy(fork.ticket) {
            Ok(pid) => self.send(&header.reply(FrameType::ForkOk), &ForkOk { pid }),
            Err(fail) => self.send(&header.reply(FrameType::ForkErr), &ForkErr { error: fail.0 }),
        }
    }

    fn spawn_proxy(&self, ticket: Ticket) -> Result<u32, Fail> {
        let family = self.family().ok_or(Fail(keelson_lwk_wire::Errno::EAGAIN))?;
        let port = claim_port(&family.address)?;
        let handles = self.handles.all();
        let (next, complaints) = (self.handles.next(), self.handles.complaining());
        let state = encode(family, ticket, port.as_ref(), &self.rules, &handles, next, complaints);
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("mcexec").env(STATE, reader.as_raw_fd().to_string());
        // One child at a time, so that each inherits what is meant for it.
        let mut children = lock(&self.children.table);
        let files = || family.trace.iter().map(|file| file.as_fd()).chain(port.iter().map(Claim::as_fd));
        let own = || files().chain([reader.as_fd()]);
        let inherited = || handles.iter().map(|(_, handle)| handle.as_fd()).chain(own());
        let marked = inherited().try_for_each(|fd| keep(fd, true));
        let spawned = marked.and_then(|()| Ok(command.spawn()?));
        for fd in inherited() {
            // It worked the other way round.
            let _ = keep(fd, false);
        }
        let child = spawned?;
        let pid = child.id();
        children.push(child);
        drop(children);
        // It begins with reading this, however long it is; if it ends instead nobody reads. Its end is noticed with the others'.
        drop(reader);
        File::from(writer).write_all(&state)?;
        Ok(pid)
    }
}

/// A port for the child, where the node has such. Without one there can be no more processes for now.
fn claim_port(address: &Address) -> Result<Option<Claim>, Fail> {
    let Address::Unix(path) = address else { return Ok(None) };
    let claim = serial::claim(path, Traffic::Hi);
    claim.map(Some).map_err(|_| Fail(keelson_lwk_wire::Errno::EAGAIN))
}

/// Whether a descriptor survives the start of another program.
fn keep(fd: BorrowedFd<'_>, kept: bool) -> Result<(), Fail> {
    let flags = if kept { FdFlags::empty() } else { FdFlags::CLOEXEC };
    Ok(rustix::io::fcntl_setfd(fd, flags)?)
}

fn encode(
    family: &Family,
    ticket: Ticket,
    port: Option<&Claim>,
    rules: &Rules,
    handles: &[(u64, Arc<Handle>)],
    next: u64,
    complaints: Option<u64>,
) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut bytes = Vec::new();
    let mut to = Writer::new(&mut bytes);
    to.text(&family.address.to_string()).text(&family.node).flag(family.key.is_some());
    if let Some(key) = &family.key {
        to.text(&key.id).bytes(&key.secret).u8(key.modes.bits());
    }
    to.u32(family.workers)
        .flag(family.core_pattern.is_some())
        .text(family.core_pattern.as_deref().unwrap_or_default());
    to.flag(family.shows).i32(family.trace.as_ref().map_or(-1, |file| file.as_raw_fd()));
    to.i32(port.map_or(-1, |port| port.as_fd().as_raw_fd()));
    to.blob(port.map_or(&[][..], |port| port.path().as_os_str().as_bytes()));
    to.bytes(&ticket)
        .flag(rules.read_only)
        .flag(rules.deny_net)
        .flag(rules.flat_ioctl)
        .flag(rules.root.is_some());
    to.blob(rules.root.as_ref().map_or(&[][..], |root| root.path().as_os_str().as_bytes()));
    to.count(handles.len());
    for (number, handle) in handles {
        to.u64(*number).i32(handle.as_fd().as_raw_fd()).u8(handle.kind as u8);
    }
    to.u64(next).flag(complaints.is_some()).u64(complaints.unwrap_or(0));
    bytes
}

impl ForkState {
    /// From the pipe with this number, which is closed then.
    pub fn take(number: &str) -> Result<ForkState, String> {
        let number: i32 = number.parse().map_err(|_| format!("{STATE}: not a number"))?;
        let fd = inherit::take(number).map_err(|fail| format!("{STATE}: {}", fail.0))?;
        let mut bytes = Vec::new();
        File::from(fd).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        ForkState::decode(&bytes).map_err(|error| format!("{STATE}: {error}"))
    }

    fn decode(bytes: &[u8]) -> Result<ForkState, Malformed> {
        use std::os::unix::ffi::OsStrExt;
        let mut from = Reader::new(bytes);
        let address = Address::parse(from.text(limits::PATH)?).ok_or(Malformed::Value)?;
        let node = from.string(256)?;
        let key = match from.flag()? {
            true => Some(Key {
                id: from.string(255)?,
                secret: from.array()?,
                modes: Modes::from_bits(from.u8()?).ok_or(Malformed::Value)?,
            }),
            false => None,
        };
        let workers = from.u32()?;
        let (has_core, core) = (from.flag()?, from.string(limits::PATH)?);
        let shows = from.flag()?;
        let trace = match from.i32()? {
            -1 => None,
            number => Some(Arc::new(File::from(inherit::take(number).map_err(|_| Malformed::Value)?))),
        };
        let (port, path) = (from.i32()?, from.blob(limits::PATH)?);
        let port = match port {
            -1 => None,
            number => {
                let socket = inherit::take(number).map_err(|_| Malformed::Value)?;
                Some(Claim::inherited(socket, std::ffi::OsStr::from_bytes(path).into()))
            }
        };
        let ticket = from.array()?;
        let mut rules =
            Rules { root: None, read_only: from.flag()?, deny_net: from.flag()?, flat_ioctl: from.flag()? };
        let (has_root, root) = (from.flag()?, from.blob(limits::PATH)?);
        if has_root {
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(root));
            rules.root = Some(Root::open(&path).map_err(|_| Malformed::Value)?);
        }
        let count = from.count(1 << 20, 13)?;
        let mut handles = Vec::with_capacity(count);
        for _ in 0..count {
            handles.push((from.u64()?, from.i32()?, FdKind::from_raw(from.u8()?).ok_or(Malformed::Value)?));
        }
        let next = from.u64()?;
        let (has_complaints, complaints) = (from.flag()?, from.u64()?);
        from.end()?;
        let family =
            Family { address, node, key, workers, core_pattern: has_core.then_some(core), shows, trace };
        Ok(ForkState {
            family,
            ticket,
            port,
            rules,
            handles,
            next,
            complaints: has_complaints.then_some(complaints),
        })
    }

    /// The handles, with the descriptors taken from their inherited numbers.
    pub fn handles(&self) -> Result<Handles, Fail> {
        let mut taken: Vec<(u64, Handle)> = Vec::with_capacity(self.handles.len());
        for (handle, number, kind) in &self.handles {
            let fd: OwnedFd = inherit::take(*number)?;
            taken.push((*handle, Handle::of_kind(fd, *kind)));
        }
        let handles = Handles::inherited(taken, self.next);
        if let Some(number) = self.complaints {
            handles.complain_to(number);
        }
        Ok(handles)
    }
}
