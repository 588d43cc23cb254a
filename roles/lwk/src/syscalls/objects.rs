//! System calls on open files that are neither reads nor writes, and those that make objects of the node (sections 4.1, 4.2, 4.6).

use super::Caller;
use super::forward::forward;
use super::mapped::Mapped;
use super::transfer;
use crate::Errno;
use crate::files::flags::*;
use crate::files::{
    BytesSource, BytesTarget, Content, Description, Device, EventFd, FdFlags, FileType, MemoryFile, Pipe,
    SignalFd, TimerFd,
};
use crate::pseudo::DirectoryFile;
use crate::room;
use crate::signals::SigSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_lwk_wire::layout::{Dirent, makedev, push_dirent, push_old_dirent};

/// Most bytes that sendfile moves before it looks around.
const PIECE: usize = 64 << 10;

/// Bytes of directory entries that are told at once.
const ENTRIES: usize = 16 << 10;

fn is_host(description: &Description) -> bool {
    description.file().host().is_some()
}

fn insert(caller: &Caller<'_>, description: Arc<Description>, flags: FdFlags) -> Result<u64, Errno> {
    caller.thread.process.files().insert(description, flags).map(u64::from)
}

/// pipe(fds) and pipe2(fds, flags).
pub fn sys_pipe2(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let flags = args[1] as u32;
    if flags & !(O_CLOEXEC | O_NONBLOCK | O_DIRECT) != 0 {
        return Err(Errno::EINVAL);
    }
    let files = caller.thread.process.files();
    let (reader, writer) = Pipe::ends();
    let status = flags & (O_NONBLOCK | O_DIRECT);
    let read = files.insert(Description::new(reader, O_RDONLY | status), FdFlags::of(flags))?;
    let write = files.insert(Description::new(writer, O_WRONLY | status), FdFlags::of(flags));
    let stored = write.and_then(|write| {
        let both = u64::from(read) | u64::from(write) << 32;
        caller.mm().write(args[0], &both.to_le_bytes()).inspect_err(|_| drop(files.close(write)))
    });
    stored.inspect_err(|_| drop(files.close(read))).map(|()| 0)
}

/// eventfd(count) and eventfd2(count, flags).
pub fn sys_eventfd2(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    const EFD_SEMAPHORE: u32 = 1;
    let flags = args[1] as u32;
    if flags & !(O_CLOEXEC | O_NONBLOCK | EFD_SEMAPHORE) != 0 {
        return Err(Errno::EINVAL);
    }
    let file = Arc::new(EventFd::new(args[0] as u32, flags & EFD_SEMAPHORE != 0));
    insert(caller, Description::new(file, O_RDWR | flags & O_NONBLOCK), FdFlags::of(flags))
}

/// signalfd(fd, set, size) and signalfd4(fd, set, size, flags).
pub fn sys_signalfd4(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if args[2] != 8 {
        return Err(Errno::EINVAL);
    }
    let wanted = SigSet(super::get_u64(&caller.mm(), args[1])?);
    let flags = args[3] as u32;
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let process = &caller.thread.process;
    if args[0] as i32 == -1 {
        let file = Arc::new(SignalFd::new(&process.node, wanted));
        return insert(caller, Description::new(file, O_RDWR | flags & O_NONBLOCK), FdFlags::of(flags));
    }
    let description = process.files().get_open(args[0] as u32)?;
    let file = description.file().as_any().downcast_ref::<SignalFd>().ok_or(Errno::EINVAL)?;
    file.set(wanted);
    Ok(u64::from(args[0] as u32))
}

/// memfd_create(name, flags).
pub async fn sys_memfd_create(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    const MFD_CLOEXEC: u64 = 1;
    const MFD_ALLOW_SEALING: u64 = 2;
    const MFD_HUGETLB: u64 = 4;
    const MFD_HUGE_SIZES: u64 = 0x3f << 26;
    let sizes = if args[1] & MFD_HUGETLB != 0 { MFD_HUGE_SIZES } else { 0 };
    if args[1] & !(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | sizes) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = super::request::read_name(caller, args[0], 250).await.map_err(|error| match error {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        error => error,
    })?;
    let sealed = if args[1] & MFD_ALLOW_SEALING != 0 { 0 } else { crate::files::seal::SEAL };
    let content = Content::new(&caller.thread.process.system, makedev(0, 1), 0o777, sealed);
    let name = format!("/memfd:{} (deleted)", String::from_utf8_lossy(&name));
    let file = Arc::new(MemoryFile::new(content, name));
    let flags = FdFlags { close_on_exec: args[1] & MFD_CLOEXEC != 0 };
    insert(caller, Description::new(file, O_RDWR | O_LARGEFILE), flags)
}

/// timerfd_create(clock, flags).
pub fn sys_timerfd_create(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let (clock, flags) = (args[0], args[1] as u32);
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let realtime = match clock {
        0 => true,
        1 | 7 => false,
        8 | 9 => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    };
    let file = Arc::new(TimerFd::new(caller.thread.process.system.timers.clone(), realtime));
    insert(caller, Description::new(file, O_RDWR | flags & O_NONBLOCK), FdFlags::of(flags))
}

/// Runs `act` with the timer behind a descriptor.
fn with_timer<T>(caller: &Caller<'_>, fd: u64, act: impl FnOnce(&TimerFd) -> T) -> Result<T, Errno> {
    let description = caller.thread.process.files().get_open(fd as u32)?;
    description.file().as_any().downcast_ref::<TimerFd>().map(act).ok_or(Errno::EINVAL)
}

/// timerfd_settime(fd, flags, new, old).
pub fn sys_timerfd_settime(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    const TFD_TIMER_ABSTIME: u64 = 1;
    const TFD_TIMER_CANCEL_ON_SET: u64 = 2;
    let (mm, system) = (caller.mm(), &caller.thread.process.system);
    if args[1] & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL);
    }
    let interval = read_timespec(&mm, args[2])?;
    let value = read_timespec(&mm, args[2].wrapping_add(16))?;
    let before = with_timer(caller, args[0], |timer| {
        let now = system.timers.now();
        let first = match (value.is_zero(), args[1] & TFD_TIMER_ABSTIME != 0) {
            (true, _) => None,
            (false, false) => Some(now + value),
            (false, true) if timer.realtime => Some(now + value.saturating_sub(system.clock.wall())),
            (false, true) => Some(Instant::ZERO + value),
        };
        timer.set(first, interval)
    })?;
    if args[3] != 0 {
        store_timer(&mm, args[3], before)?;
    }
    Ok(0)
}

/// timerfd_gettime(fd, value).
pub fn sys_timerfd_gettime(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let left = with_timer(caller, args[0], TimerFd::left)?;
    store_timer(&caller.mm(), args[1], left).map(|()| 0)
}

fn store_timer(mm: &crate::mm::Mm, at: u64, (left, interval): (Duration, Duration)) -> Result<(), Errno> {
    let words = [interval, left].map(|span| [span.as_secs(), u64::from(span.subsec_nanos())]);
    super::put_words(mm, at, words.as_flattened())
}

/// `struct timespec`; EINVAL for what is none.
pub fn read_timespec(mm: &crate::mm::Mm, at: u64) -> Result<Duration, Errno> {
    let (seconds, nanos) = (mm.read_u64(at)?, mm.read_u64(at.wrapping_add(8))?);
    if seconds > i64::MAX as u64 || nanos >= 1_000_000_000 {
        return Err(Errno::EINVAL);
    }
    Ok(Duration::new(seconds, nanos as u32))
}

/// ftruncate(fd, length).
pub async fn sys_ftruncate(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = caller.thread.process.files().get_open(args[0] as u32)?;
    if is_host(&description) {
        let mapped = pushed(caller, &description).await?;
        let result = forward(caller, 77, args).await?;
        if let Some(mapped) = mapped {
            mapped.cut(args[1]);
        }
        return Ok(result);
    }
    if !description.writable() || args[1] > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    transfer::may_grow(caller, &description, args[1])?;
    description.file().truncate(args[1]).map(|()| 0)
}

/// fallocate(fd, mode, offset, length).
pub async fn sys_fallocate(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = caller.thread.process.files().get_open(args[0] as u32)?;
    if is_host(&description) {
        let mapped = pushed(caller, &description).await?;
        let result = forward(caller, 285, args).await?;
        if let Some(mapped) = mapped {
            mapped.changed(caller, &description).await?;
        }
        return Ok(result);
    }
    if !description.writable() {
        return Err(Errno::EBADF);
    }
    if args[2] > i64::MAX as u64 || args[3] > i64::MAX as u64 || args[3] == 0 {
        return Err(Errno::EINVAL);
    }
    if args[1] == 0 {
        transfer::may_grow(caller, &description, args[2].saturating_add(args[3]))?;
    }
    description.file().allocate(args[1] as u32, args[2], args[3]).map(|()| 0)
}

/// The memory of a file that is mapped, after what mappings changed went to the host.
async fn pushed(caller: &Caller<'_>, description: &Description) -> Result<Option<Mapped>, Errno> {
    let mapped = Mapped::of(caller, description);
    if let Some(mapped) = &mapped {
        mapped.push().await?;
    }
    Ok(mapped)
}

/// fsync, fdatasync, syncfs, sync_file_range: memory of the node is nowhere to be written to.
pub async fn sys_sync(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    let description = caller.thread.process.files().get_open(args[0] as u32)?;
    if is_host(&description) {
        pushed(caller, &description).await?;
        return forward(caller, number, args).await;
    }
    // Devices have a position, but nothing that could be written anywhere.
    let device = description.file().as_any().is::<Device>();
    if number == 306 || description.file().positioned() && !device { Ok(0) } else { Err(Errno::EINVAL) }
}

/// fchmod, fchown, fgetxattr and what else the host does for its files only.
pub async fn sys_on_handle(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    let description = caller.thread.process.files().get_open(args[0] as u32)?;
    if is_host(&description) {
        return forward(caller, number, args).await;
    }
    let memory = description.file().as_any().downcast_ref::<MemoryFile>();
    match (number, memory) {
        (91, Some(file)) => {
            file.content.with_attributes(|attributes| attributes.permissions = args[1] as u32 & 0o7777);
            Ok(0)
        }
        (93, Some(file)) => {
            file.content.with_attributes(|attributes| {
                let [uid, gid] = [args[1] as u32, args[2] as u32];
                attributes.uid = if uid == u32::MAX { attributes.uid } else { uid };
                attributes.gid = if gid == u32::MAX { attributes.gid } else { gid };
            });
            Ok(0)
        }
        (190 | 193 | 199, _) => Err(Errno::EOPNOTSUPP),
        (196, _) => Ok(0),
        (91 | 93, None) => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

/// fstatfs(fd, buffer).
pub async fn sys_fstatfs(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let description = caller.thread.process.files().get(args[0] as u32)?;
    if is_host(&description) {
        return forward(caller, 138, args).await;
    }
    let tree = description.path().and_then(crate::files::paths::tree);
    let tree = tree.unwrap_or(crate::files::paths::Tree::Shm);
    caller.mm().write(args[1], &super::local::statfs(caller, tree).to_bytes()).map(|()| 0)
}

/// getdents64(fd, buffer, size), and getdents with entries of the old form.
pub async fn sys_getdents(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    let description = caller.thread.process.files().get_open(args[0] as u32)?;
    if is_host(&description) {
        return forward(caller, number, args).await;
    }
    let directory = description.file().as_any().downcast_ref::<DirectoryFile>().ok_or(Errno::ENOTDIR)?;
    let most = (args[2] as u32 as usize).min(ENTRIES);
    let push = if number == 78 { push_old_dirent } else { push_dirent };
    let mut out = room::with_room(most)?;
    let (before, mut full) = (description.with_position(|position| *position), false);
    let mut after = before;
    directory.read(before, |next, ino, kind, name| {
        let entry = Dirent { ino, off: next as i64, kind: kind.entry_type(), name };
        if !push(&mut out, most, &entry) {
            full = true;
            return false;
        }
        after = next;
        true
    });
    if out.is_empty() && full {
        return Err(Errno::EINVAL);
    }
    caller.mm().write(args[1], &out)?;
    description.with_position(|position| *position = after);
    Ok(out.len() as u64)
}

/// ioctl(fd, request, argument).
pub async fn sys_ioctl(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    const FIONREAD: u32 = 0x541b;
    const FIONBIO: u32 = 0x5421;
    const FIONCLEX: u32 = 0x5450;
    const FIOCLEX: u32 = 0x5451;
    const FICLONE: u32 = 0x4004_9409;
    let files = caller.thread.process.files();
    let (fd, request) = (args[0] as u32, args[1] as u32);
    let description = files.get_open(fd)?;
    match request {
        FIOCLEX => return files.set_flags(fd, FdFlags { close_on_exec: true }).map(|()| 0),
        FIONCLEX => return files.set_flags(fd, FdFlags::NONE).map(|()| 0),
        FICLONE => return Err(Errno::EOPNOTSUPP),
        _ => {}
    }
    if let Some(result) = super::sigio::ioctl(caller, &description, fd, request, args[2]).await {
        return result;
    }
    if let Some(host) = description.file().host() {
        // What is known to be a file is not a terminal: C libraries ask for each.
        let is_file = matches!(host.file_type(), Some(FileType::Regular | FileType::Directory));
        if is_file && request >> 8 == 0x54 && request != FIONREAD && request != FIONBIO {
            return Err(Errno::ENOTTY);
        }
        let result = forward(caller, 16, [args[0], u64::from(request), args[2], 0, 0, 0]).await?;
        if request == FIONBIO {
            let on = caller.mm().read_u32(args[2])? != 0;
            description.set_flags(if on { O_NONBLOCK } else { 0 }, O_NONBLOCK);
        }
        return Ok(result);
    }
    match request {
        FIONBIO => {
            let on = caller.mm().read_u32(args[2])? != 0;
            description.set_flags(if on { O_NONBLOCK } else { 0 }, O_NONBLOCK);
            Ok(0)
        }
        FIONREAD => {
            let readable = match description.file().readable() {
                Some(readable) => readable as u64,
                None if description.file().positioned() => {
                    let at = description.with_position(|position| *position);
                    description.file().stat().size.saturating_sub(at)
                }
                None => return Err(Errno::ENOTTY),
            };
            caller.mm().write(args[2], &(readable.min(i32::MAX as u64) as u32).to_le_bytes()).map(|()| 0)
        }
        _ => Err(Errno::ENOTTY),
    }
}

/// sendfile(out, in, offset, count): at the host when both are there, else the node copies.
pub async fn sys_sendfile(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let files = caller.thread.process.files();
    let (out, from) = (files.get_open(args[0] as u32)?, files.get_open(args[1] as u32)?);
    if is_host(&out) && is_host(&from) {
        return copied(caller, 40, args, &from, &out).await;
    }
    if !out.writable() || !from.readable() {
        return Err(Errno::EBADF);
    }
    let mm = caller.mm();
    let mut at = match args[2] {
        0 => None,
        address => Some(mm.read_u64(address)?),
    };
    let (count, mut moved) = (args[3].min(crate::files::MAX_TRANSFER as u64), 0);
    let mut buffer = room::zeros(PIECE)?;
    let result = loop {
        let len = PIECE.min((count - moved) as usize);
        if len == 0 {
            break Ok(());
        }
        let mut target = BytesTarget::new(&mut buffer[..len]);
        let read = transfer::wait(caller, from.flags(), |cx, operation| {
            from.poll_read(cx, operation, at, &mut target)
        });
        let got = match read.await {
            Ok(0) => break Ok(()),
            Ok(got) => got,
            Err(error) => break Err(error),
        };
        let mut source = BytesSource(&buffer[..got]);
        let write = transfer::wait(caller, out.flags(), |cx, operation| {
            out.poll_write(cx, operation, None, &mut source)
        });
        let put = match write.await {
            Ok(put) => put,
            Err(error) => break Err(transfer::too_large(caller, transfer::broken_pipe(caller, error))),
        };
        moved += put as u64;
        at = at.map(|at| at + put as u64);
        if put < got {
            // What was read and not written is read again next time.
            if at.is_none() && from.file().positioned() {
                let _ = from.seek(put as i64 - got as i64, SEEK_CUR);
            }
            break Ok(());
        }
    };
    if let Some(at) = at {
        mm.write(args[2], &at.to_le_bytes())?;
    }
    if moved > 0 { Ok(moved) } else { result.map(|()| 0) }
}

/// copy_file_range(in, offset, out, offset, count, flags): at the host, or by the caller.
pub async fn sys_copy_file_range(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let files = caller.thread.process.files();
    let (from, to) = (files.get_open(args[0] as u32)?, files.get_open(args[2] as u32)?);
    if is_host(&from) && is_host(&to) {
        copied(caller, 326, args, &from, &to).await
    } else {
        Err(Errno::EXDEV)
    }
}

/// A copy at the host, of files that may be mapped here.
async fn copied(
    caller: &Caller<'_>,
    number: u32,
    args: [u64; 6],
    from: &Description,
    to: &Description,
) -> Result<u64, Errno> {
    pushed(caller, from).await?;
    let mapped = pushed(caller, to).await?;
    let result = forward(caller, number, args).await?;
    if let Some(mapped) = mapped {
        mapped.changed(caller, to).await?;
    }
    Ok(result)
}
