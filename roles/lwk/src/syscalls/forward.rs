//! Calls that the host does, as the table of the wire crate describes them: nothing here knows a particular call.

use super::Caller;
use super::transfer::too_large;
use crate::Errno;
use crate::delegate::{Call, Delegate, Handle, Opened, Reply};
use crate::files::flags::{AT_FDCWD, O_CLOEXEC, O_NONBLOCK, O_RDWR};
use crate::files::{Description, FdFlags, HostFile};
use crate::mm::Mm;
use crate::restart::RESTART;
use crate::room;
use alloc::sync::Arc;
use alloc::vec::Vec;
use keelson_hal::user::Access;
use keelson_lwk_wire::calls::{self, Arg, Makes, Memory, Plan, PlanError, plan};
use keelson_lwk_wire::layout::{Stat, each_right};
use keelson_lwk_wire::messages::{Direction, OutPart, Part, Sysret};

/// Most bytes that one call moves: longer ones are cut, as a socket may.
const MOST_DATA: u64 = 1 << 20;

/// The memory of the caller, for the planner.
struct Program<'a>(&'a Mm);

impl Memory for Program<'_> {
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), usize> {
        self.0.read_some(at, into).map_err(|(done, _)| done)
    }

    fn write(&self, at: u64, from: &[u8]) -> Result<(), usize> {
        self.0.write_some(at, from).map_err(|(done, _)| done)
    }

    fn accessible(&self, at: u64, len: u64, access: calls::Access) -> u64 {
        let mut done = 0;
        while done < len {
            let here = at.saturating_add(done);
            let fine = match access {
                calls::Access::Read => self.0.read(here, &mut [0]).is_ok(),
                calls::Access::Write => crate::files::is_writable(self.0, here),
            };
            if !fine {
                break;
            }
            done += (4096 - here % 4096).min(len - done);
        }
        done
    }
}

/// What differs from the arguments of the program.
#[derive(Default)]
pub struct Changes {
    /// Paths by argument: where a path leads to that the host would see differently. None of them counts from a directory; an
    /// empty one is what the descriptor in front of it is.
    pub paths: Vec<(u8, Vec<u8>)>,
    /// The call is for this host, not for that of the process.
    pub delegate: Option<Arc<dyn Delegate>>,
}

/// Has the host do call `number`. Descriptors become handles, a handle that comes back becomes a descriptor.
pub async fn forward(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    forward_with(caller, number, args, Changes::default()).await
}

/// The same with changes.
pub async fn forward_with(
    caller: &Caller<'_>,
    number: u32,
    args: [u64; 6],
    changes: Changes,
) -> Result<u64, Errno> {
    match host_call(caller, number, args, changes).await? {
        Answer::Value(value) => Ok(value),
        Answer::File(file, name) => {
            let (flags, fd_flags) = flags_of(name, &args);
            caller.thread.process.files().insert(Description::new(file, flags), fd_flags).map(u64::from)
        }
    }
}

/// Has the host do a call that opens a file, which has no descriptor yet.
pub async fn open_at_host(
    caller: &Caller<'_>,
    number: u32,
    args: [u64; 6],
    changes: Changes,
) -> Result<Arc<HostFile>, Errno> {
    match host_call(caller, number, args, changes).await? {
        Answer::Value(_) => Err(Errno::EIO),
        Answer::File(file, _) => Ok(file),
    }
}

/// What came of a call.
enum Answer {
    Value(u64),
    /// A file, and the name of the call that made it.
    File(Arc<HostFile>, &'static str),
}

async fn host_call(
    caller: &Caller<'_>,
    number: u32,
    mut args: [u64; 6],
    changes: Changes,
) -> Result<Answer, Errno> {
    let call = calls::call(number).filter(|call| call.travels()).ok_or(Errno::ENOSYS)?;
    let mm = caller.thread.process.mm();
    if let Some(len) = call.args.iter().find_map(|arg| match arg {
        Arg::DataIn(len) | Arg::DataOut(len) => Some(*len as usize),
        _ => None,
    }) {
        args[len] = args[len].min(MOST_DATA);
    }
    let mut plan = plan_call(&mm, call, &args).await?;
    let mut on: Option<Arc<Description>> = None;
    for index in call.handles() {
        let fd = args[index] as u32;
        if changes.paths.iter().any(|(path, text)| usize::from(*path) == index + 1 && !text.is_empty())
            || args[index] as i32 == AT_FDCWD && call.args[index] == Arg::Dir
        {
            plan.args[index] = calls::AT_FDCWD;
            continue;
        }
        let description = match caller.thread.process.files().get(fd) {
            Ok(description) => description,
            // In front of an absolute path not even the number matters.
            Err(_) if call.args[index] == Arg::Dir && is_absolute(&mm, args[index + 1]) => {
                plan.args[index] = calls::AT_FDCWD;
                continue;
            }
            Err(error) => return Err(error),
        };
        // A directory of the node in front of an absolute path is not looked at.
        let host = description.file().host().map(HostFile::handle);
        plan.args[index] = match host {
            Some(Handle(handle)) => handle,
            None if call.args[index] == Arg::Dir => calls::AT_FDCWD,
            None => return Err(Errno::EINVAL),
        };
        on = on.or(Some(description));
    }
    for (index, path) in &changes.paths {
        let piece = plan.pieces.iter_mut().find(|piece| piece.desc.arg == *index);
        if let Some(piece) = piece {
            let bytes = [&path[..], b"\0"].concat();
            piece.desc.len = bytes.len() as u32;
            piece.kept = Some(bytes);
        }
    }
    if let Some(control) = plan.control() {
        rights_to_handles(caller, control)?;
    }
    let host = on.as_ref().and_then(|on| on.file().host());
    let delegate = match (changes.delegate, host) {
        (Some(delegate), _) => delegate,
        (None, Some(host)) => host.delegate().clone(),
        (None, None) => caller.thread.process.delegate.clone(),
    };
    let call_to_make = make_call(caller, number, &plan, &mm)?;
    let reply = send(caller, &delegate, call_to_make, call.waits == calls::Waits::Yes).await;
    if let Some(host) = host {
        host.answered(reply.events);
    }
    if let Some(error) = Errno::from_result(reply.result) {
        let may_restart = error == Errno::EINTR && call.waits == calls::Waits::Yes;
        return Err(if may_restart { RESTART } else { too_large(caller, error) });
    }
    let received = received_handles(&delegate, &reply).await?;
    let result = commit(caller, &plan, &reply, &mm, &delegate, received)?;
    if call.makes == Makes::Nothing {
        return Ok(Answer::Value(result));
    }
    let opened = reply.opened.ok_or(Errno::EIO)?;
    Ok(Answer::File(Arc::new(HostFile::new(delegate, Handle(result), opened)), call.name))
}

/// Whether a path that was looked at already begins at the root.
fn is_absolute(mm: &Mm, at: u64) -> bool {
    let mut first = [0];
    mm.read(at, &mut first).is_ok() && first == *b"/"
}

/// Sends a call; a signal makes the host break it off when it may wait for somebody.
async fn send(caller: &Caller<'_>, delegate: &Arc<dyn Delegate>, call: Call, waits: bool) -> Reply {
    let mut pending = delegate.call(call);
    if !waits {
        return pending.await;
    }
    match caller.thread.interruptible(&mut pending).await {
        Ok(reply) => reply,
        Err(_) => {
            delegate.cancel(caller.thread.tid);
            pending.await
        }
    }
}

async fn plan_call(mm: &Mm, call: &calls::Call, args: &[u64; 6]) -> Result<Plan, Errno> {
    // Each turn brings in a page that was missing; a program cannot have more of them than this.
    for _ in 0..1024 {
        match plan(call, args, &Program(mm), false) {
            Ok(plan) => return Ok(plan),
            Err(PlanError::Errno(error)) => return Err(error),
            Err(PlanError::Fault(fault)) => {
                let access = match fault.access {
                    calls::Access::Read => Access::Read,
                    calls::Access::Write => Access::Write,
                };
                mm.touch_wait(fault.address, 1, access, 0).await?;
            }
        }
    }
    Err(Errno::EFAULT)
}

fn make_call(caller: &Caller<'_>, number: u32, plan: &Plan, mm: &Mm) -> Result<Call, Errno> {
    let mut call =
        Call { tid: caller.thread.tid, number, arguments: plan.args, input: Vec::new(), output: Vec::new() };
    for piece in &plan.pieces {
        let key = piece.desc.arg | (piece.desc.part as u8) << 3;
        let len = u64::from(piece.desc.len).min(MOST_DATA);
        if piece.desc.direction != Direction::Out {
            let bytes = match &piece.kept {
                Some(bytes) => room::copy_of(bytes)?,
                None => {
                    let mut bytes = room::with_room(len as usize)?;
                    for range in &piece.ranges {
                        let start = bytes.len();
                        let part = range.len.min(len - start as u64) as usize;
                        bytes.resize(start + part, 0);
                        mm.read(range.addr, &mut bytes[start..])?;
                    }
                    bytes
                }
            };
            call.input.push((key, bytes));
        }
        if piece.desc.direction != Direction::In {
            call.output.push((key, len as u32));
        }
    }
    Ok(call)
}

/// SCM_RIGHTS of sendmsg: files of the node cannot go to the host.
fn rights_to_handles(caller: &Caller<'_>, control: &mut [u8]) -> Result<(), Errno> {
    let (files, mut result) = (caller.thread.process.files(), Ok(()));
    each_right(control, |fd| match files.handle(fd as u32) {
        Ok(Some(Handle(handle))) if i32::try_from(handle).is_ok() => handle as i32,
        Ok(_) => {
            result = Err(Errno::EOPNOTSUPP);
            -1
        }
        Err(error) => {
            result = Err(error);
            -1
        }
    });
    result
}

fn is_control(key: u8) -> bool {
    key >> 3 == Part::Control as u8
}

/// Handles that came with recvmsg, with what the host says of each.
async fn received_handles(
    delegate: &Arc<dyn Delegate>,
    reply: &Reply,
) -> Result<Vec<(Handle, Opened)>, Errno> {
    let mut handles = Vec::new();
    if let Some((_, control)) = reply.output.iter().find(|(key, _)| is_control(*key)) {
        each_right(&mut control.clone(), |handle| {
            handles.push(Handle(handle as u64));
            handle
        });
    }
    let mut list = Vec::new();
    for handle in handles {
        let arguments = [handle.0, 0, 0, 0, 0, 0];
        let call =
            Call { number: 5, arguments, output: alloc::vec![(1, Stat::LEN as u32)], ..Call::default() };
        let answer = delegate.call(call).await;
        answer.failure()?;
        let stat = answer.output.first().and_then(|(_, bytes)| Stat::read(bytes)).ok_or(Errno::EIO)?;
        let opened = Opened { stat, seekable: stat.mode & 0o170000 == 0o100000, terminal: false };
        list.push((handle, opened));
    }
    Ok(list)
}

/// Copies what came back to the program.
fn commit(
    caller: &Caller<'_>,
    plan: &Plan,
    reply: &Reply,
    mm: &Mm,
    delegate: &Arc<dyn Delegate>,
    received: Vec<(Handle, Opened)>,
) -> Result<u64, Errno> {
    let (mut outs, mut joined) = (Vec::new(), Vec::new());
    if reply.output.len() > 1 {
        joined = room::with_room(reply.output.iter().map(|(_, part)| part.len()).sum())?;
    }
    for (key, part) in &reply.output {
        let index = plan.pieces.iter().position(|piece| {
            let own = piece.desc.part;
            let same = if own == Part::Data { 0 } else { own as u8 };
            piece.desc.direction != Direction::In
                && (piece.desc.arg | same << 3 == *key || piece.desc.arg | (own as u8) << 3 == *key)
        });
        let index = index.ok_or(Errno::EIO)?;
        let len = part.len().min(plan.pieces[index].desc.len as usize);
        outs.push(OutPart { desc: index as u8, len: len as u32 });
        if reply.output.len() > 1 {
            joined.extend_from_slice(&part[..len]);
        }
    }
    // What is alone need not be copied.
    let bytes = match (&reply.output[..], &outs[..]) {
        ([(_, part)], [out]) => &part[..out.len as usize],
        _ => &joined,
    };
    let answer = Sysret { result: reply.result, revents: reply.events, hint: None, outs, bytes };
    let files = caller.thread.process.files();
    let mut received = received.into_iter();
    let mut install = |control: &mut [u8]| {
        each_right(control, |_| {
            let Some((handle, opened)) = received.next() else { return -1 };
            let file = Arc::new(HostFile::new(delegate.clone(), handle, opened));
            let description = Description::new(file, O_RDWR);
            files.insert(description, FdFlags::NONE).map_or(-1, |fd| fd as i32)
        });
    };
    let result = plan.commit(&answer, &Program(mm), &mut install).map_err(PlanError::errno)?;
    u64::try_from(result).map_err(|_| Errno::EIO)
}

/// Status flags and flags of the number of what a call makes.
fn flags_of(name: &str, args: &[u64; 6]) -> (u32, FdFlags) {
    let given = match name {
        "openat" => return (args[2] as u32, FdFlags::of(args[2] as u32)),
        "mq_open" => return (args[1] as u32, FdFlags { close_on_exec: true }),
        "socket" => args[1],
        "accept4" => args[3],
        "inotify_init1" => args[0],
        _ => 0,
    };
    // SOCK_NONBLOCK, SOCK_CLOEXEC, IN_NONBLOCK and IN_CLOEXEC are the bits of open(2).
    (O_RDWR | given as u32 & O_NONBLOCK, FdFlags::of(given as u32 & O_CLOEXEC))
}
