//! `_PROC_SPAWN` from another node: `on -f node command` (section 14.4).

use super::entry::{Signals, Spawner};
use super::stream::{FileStream, Stream};
use super::table::{Descriptors, Extra, Group, Processes, Start};
use crate::api::{Credentials, PROCESS_MANAGER};
use crate::client::File;
use crate::io::{Caller, Server};
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::io::{IoDup, IoRequest, MsgInfo};
use keelson_qnet_wire::proc::{FdInfo, FdReply, FdRequest, Inheritance, Spawn, SpawnFlags, Strings};
use keelson_qnet_wire::{Endian, Errno, Nd};

/// Where nodes are.
const NET: &str = "/net/";

/// Records that one answer brings.
const RECORDS: usize = 32;

/// Starts what the message says; the process's id.
pub(super) async fn spawn(processes: &Processes, caller: &Caller, bytes: &[u8]) -> Result<u32, Errno> {
    let spawn = Spawn::decode(bytes, Endian::Little).map_err(|error| error.errno())?;
    let flags = spawn.inherit.flags;
    let config = processes.config();
    if spawn.argv.as_bytes().len() + spawn.envp.as_bytes().len() > config.arguments {
        return Err(Errno::E2BIG);
    }
    if flags & SpawnFlags::EXEC != 0 {
        // Nothing of the caller is here that could be replaced.
        return Err(Errno::ENOSYS);
    }
    let local = local_parent(processes, caller);
    let root = spawn.remote.map_or(&b"/"[..], |remote| remote.root);
    own_root(processes, text(root)?).await?;
    // The effective group is saved, as the original does.
    let who =
        Credentials { sgid: caller.credentials.egid, suid: caller.credentials.euid, ..caller.credentials };
    let cwd = spawn.remote.map(|remote| text(remote.cwd)).transpose()?.filter(|cwd| cwd.starts_with('/'));
    let (path, search) = (text(spawn.path)?, text(spawn.search)?);
    let searches = flags & SpawnFlags::SEARCH_PATH != 0;
    let search = if search.is_empty() { super::SEARCH_PATH } else { search };
    let mut start = Start {
        path,
        search: searches.then_some(search),
        args: strings(spawn.argv)?,
        env: strings(spawn.envp)?,
        cwd: cwd.unwrap_or("/").to_string(),
        umask: spawn.remote.map_or(0o22, |remote| remote.umask & 0o777),
        who,
        parent: local.unwrap_or_else(|| processes.network()),
        group: group(&spawn.inherit, local)?,
        fds: Descriptors::new(),
    };
    let loaded = processes.load(&start, flags & SpawnFlags::CHECK_SCRIPT != 0).await?;
    let reserved = processes.reserve(&who)?;
    let explicit = flags & SpawnFlags::EXPLICIT_SCHED != 0;
    let priority = u8::try_from(spawn.inherit.priority).ok().filter(|priority| explicit && *priority < 64);
    start.fds = match local.and_then(|parent| processes.entry(parent)) {
        Some(parent) => inherited(&parent.fds.borrow(), spawn.fd_map()),
        None => {
            let records = records(processes, caller, &spawn).await?;
            let who = processes.kernel().credentials(reserved.pid)?;
            take_over(processes, caller, (&who, priority), records).await?
        }
    };
    let ignored = if flags & SpawnFlags::SETSIGIGN != 0 { spawn.inherit.sigignore } else { [0; 2] };
    let extra = Extra {
        spawner: local.is_none().then_some(Spawner { nd: caller.nd, pid: caller.credentials.pid }),
        nozombie: flags & SpawnFlags::NOZOMBIE != 0,
        ignored: Signals::of_words(ignored),
        priority,
    };
    processes.start_reserved(reserved, start, loaded, extra)
}

/// The caller, if it is a process of this node's table.
fn local_parent(processes: &Processes, caller: &Caller) -> Option<u32> {
    let pid = u32::try_from(caller.credentials.pid).ok()?;
    let is_here = caller.nd == Nd::LOCAL && pid != PROCESS_MANAGER && processes.entry(pid).is_some();
    is_here.then_some(pid)
}

fn group(inherit: &Inheritance, parent: Option<u32>) -> Result<Group, Errno> {
    let wanted = inherit.flags & SpawnFlags::SETGROUP != 0;
    match u32::try_from(inherit.pgroup) {
        // A parent on another node has no group here.
        _ if !wanted => Ok(if parent.is_some() { Group::Parents } else { Group::Own }),
        Ok(0) => Ok(Group::Own),
        Ok(group) if parent.is_some() => Ok(Group::Of(group)),
        _ => Err(Errno::EPERM),
    }
}

/// That the root is this node's. One of another node means that the program would have to come from there: `ENOENT`.
async fn own_root(processes: &Processes, root: &str) -> Result<(), Errno> {
    let Some(rest) = root.strip_prefix(NET) else {
        return if root.trim_end_matches('/').is_empty() { Ok(()) } else { Err(Errno::ENOENT) };
    };
    let (node, below) = rest.split_once('/').unwrap_or((rest, ""));
    let files = processes.files(&Credentials::default());
    let is_here = files.node(node).await.is_ok_and(|nd| nd.node() == 0);
    // Programs of this node know no other root than its own.
    if is_here && below.trim_end_matches('/').is_empty() { Ok(()) } else { Err(Errno::ENOENT) }
}

fn text(bytes: &[u8]) -> Result<&str, Errno> {
    core::str::from_utf8(bytes).map_err(|_| Errno::EILSEQ)
}

fn strings(list: Strings<'_>) -> Result<Vec<String>, Errno> {
    list.iter().map(|string| text(string).map(ToString::to_string)).collect()
}

/// Descriptors of a parent of this node: all, or those of the map.
fn inherited(fds: &Descriptors, map: impl Iterator<Item = i32>) -> Descriptors {
    let mapped: Vec<i32> = map.collect();
    if mapped.is_empty() {
        return fds.clone();
    }
    let entry = |(number, from): (usize, &i32)| Some((i32::try_from(number).ok()?, fds.get(from)?.clone()));
    mapped.iter().enumerate().filter_map(entry).collect()
}

/// The caller's descriptors that the process is to have, under the numbers that it is to have them.
async fn records(
    processes: &Processes,
    caller: &Caller,
    spawn: &Spawn<'_>,
) -> Result<Vec<(i32, FdInfo)>, Errno> {
    let most = processes.config().descriptors;
    let mut all: Vec<FdInfo> = Vec::new();
    if let Some(remote) = spawn.remote {
        all.extend(remote.fds());
    }
    if spawn.remote.is_none_or(|remote| !remote.fds_all_in) {
        ask_for_records(processes, caller, &mut all).await?;
    }
    let map: Vec<i32> = spawn.fd_map().collect();
    let mut wanted = Vec::new();
    if map.is_empty() {
        wanted.extend(all.iter().map(|record| (record.fd, *record)));
    } else {
        for (number, from) in map.iter().enumerate().filter(|(_, from)| **from >= 0) {
            let record = all.iter().find(|record| record.fd == *from).ok_or(Errno::EBADF)?;
            wanted.push((i32::try_from(number).map_err(|_| Errno::EMFILE)?, *record));
        }
    }
    if wanted.len() > most { Err(Errno::EMFILE) } else { Ok(wanted) }
}

/// Asks the process manager of the caller's node for records that did not come along.
async fn ask_for_records(processes: &Processes, caller: &Caller, all: &mut Vec<FdInfo>) -> Result<(), Errno> {
    let most = processes.config().descriptors;
    let kernel = processes.kernel();
    let who = kernel.credentials(PROCESS_MANAGER)?;
    let connection = kernel.connect(caller.nd, PROCESS_MANAGER, 1, &who).await?;
    let mut base = 0;
    loop {
        let nfds = RECORDS as u16;
        let ask = FdRequest { flags: FdRequest::NO_CLOEXEC, nfds, base, ppid: caller.credentials.pid };
        let mut data = vec![0; 4 + FdInfo::LEN * RECORDS];
        let (_, len) = connection.send(&[&ask.encode(Endian::Little)], &mut data).await?;
        let reply = data.get(..len).unwrap_or_default();
        let reply = FdReply::decode(reply, Endian::Little).map_err(|_| Errno::EPROTO)?;
        let before = all.len();
        // What is not ascending would never end.
        for record in reply.fds().filter(|record| record.fd >= base).take(RECORDS) {
            if !all.iter().any(|known| known.fd == record.fd) {
                all.push(record);
            }
        }
        if all.len() > most {
            return Err(Errno::EMFILE);
        }
        let highest = all.iter().map(|record| record.fd).max().unwrap_or(-1);
        if !reply.more || all.len() == before {
            return Ok(());
        }
        base = highest.saturating_add(1);
    }
}

/// Attaches to the server of each descriptor, and takes the descriptor over.
async fn take_over(
    processes: &Processes,
    caller: &Caller,
    (who, priority): (&Credentials, Option<u8>),
    records: Vec<(i32, FdInfo)>,
) -> Result<Descriptors, Errno> {
    let mut fds = Descriptors::new();
    for (number, record) in records {
        let valid = |number: i32| u32::try_from(number).map_err(|_| Errno::EBADF);
        valid(number)?;
        let server = Server { nd: record.nd, pid: valid(record.pid)?, chid: valid(record.chid)?, handle: 0 };
        let connection = processes.kernel().connect(server.nd, server.pid, server.chid, who).await?;
        connection.set_coid(number);
        if let Some(priority) = priority {
            connection.set_priority(priority);
        }
        let info = MsgInfo {
            nd: record.srcnd,
            pid: caller.credentials.pid,
            scoid: record.scoid,
            coid: record.coid,
            ..MsgInfo::default()
        };
        let mut dup = [0; 64];
        let len = IoRequest::Dup(IoDup { info, key: 0 }).emit(&mut dup, Endian::Little);
        let len = len.map_err(|_| Errno::EMSGSIZE)?;
        connection.send(&[dup.get(..len).unwrap_or_default()], &mut []).await?;
        let stream: Rc<dyn Stream> = Rc::new(FileStream(File::new(connection, server)));
        fds.insert(number, stream);
    }
    Ok(fds)
}
