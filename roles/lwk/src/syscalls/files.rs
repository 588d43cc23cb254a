//! Reading, writing and the numbers of files (section 4.1).

use super::Caller;
use super::request::{Request, check_writable, result_of, store};
use super::{filelocks, sigio, transfer};
use crate::Errno;
use crate::files::flags::*;
use crate::files::{Description, FdFlags, FdTable, Iovec, Stat, read_iovecs};
use crate::mm::Mm;
use alloc::sync::Arc;

/// The descriptors of the caller.
fn files(caller: &Caller<'_>) -> Arc<FdTable> {
    caller.thread.process.files()
}

/// The memory of the caller.
fn mm(caller: &Caller<'_>) -> Arc<Mm> {
    caller.thread.process.mm()
}

/// A position that a program gave; EINVAL when it is negative.
fn position(at: u64) -> Result<Option<u64>, Errno> {
    if at > i64::MAX as u64 { Err(Errno::EINVAL) } else { Ok(Some(at)) }
}

/// read(fd, buffer, count).
pub async fn sys_read(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let file = files(caller).get_open(args[0] as u32)?;
    let pieces = [Iovec::new(args[1], args[2])?];
    transfer::read(caller, &mm(caller), &file, None, &pieces, 0).await
}

/// write(fd, buffer, count).
pub async fn sys_write(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let file = files(caller).get_open(args[0] as u32)?;
    let pieces = [Iovec::new(args[1], args[2])?];
    transfer::write(caller, &mm(caller), &file, None, &pieces, 0).await
}

/// pread64(fd, buffer, count, offset).
pub async fn sys_pread64(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let at = position(args[3])?;
    let file = files(caller).get_open(args[0] as u32)?;
    let pieces = [Iovec::new(args[1], args[2])?];
    transfer::read(caller, &mm(caller), &file, at, &pieces, 0).await
}

/// pwrite64(fd, buffer, count, offset).
pub async fn sys_pwrite64(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let at = position(args[3])?;
    let file = files(caller).get_open(args[0] as u32)?;
    let pieces = [Iovec::new(args[1], args[2])?];
    transfer::write(caller, &mm(caller), &file, at, &pieces, 0).await
}

/// readv(fd, array, count).
pub async fn sys_readv(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    read_vector(caller, args, None, 0).await
}

/// writev(fd, array, count).
pub async fn sys_writev(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    write_vector(caller, args, None, 0).await
}

/// preadv(fd, array, count, offset).
pub async fn sys_preadv(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    read_vector(caller, args, position(args[3])?, 0).await
}

/// pwritev(fd, array, count, offset).
pub async fn sys_pwritev(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    write_vector(caller, args, position(args[3])?, 0).await
}

/// preadv2(fd, array, count, offset, 0, flags). An offset of -1 is the file's own position.
pub async fn sys_preadv2(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let at = if args[3] == u64::MAX { None } else { position(args[3])? };
    read_vector(caller, args, at, args[5] as u32).await
}

/// pwritev2(fd, array, count, offset, 0, flags).
pub async fn sys_pwritev2(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let at = if args[3] == u64::MAX { None } else { position(args[3])? };
    write_vector(caller, args, at, args[5] as u32).await
}

async fn read_vector(caller: &Caller<'_>, args: [u64; 6], at: Option<u64>, how: u32) -> Result<u64, Errno> {
    let (file, mm) = (files(caller).get_open(args[0] as u32)?, mm(caller));
    let pieces = read_iovecs(&mm, args[1], args[2])?;
    transfer::read(caller, &mm, &file, at, &pieces, how).await
}

async fn write_vector(caller: &Caller<'_>, args: [u64; 6], at: Option<u64>, how: u32) -> Result<u64, Errno> {
    let (file, mm) = (files(caller).get_open(args[0] as u32)?, mm(caller));
    let pieces = read_iovecs(&mm, args[1], args[2])?;
    transfer::write(caller, &mm, &file, at, &pieces, how).await
}

/// lseek(fd, offset, whence).
pub async fn sys_lseek(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let file = files(caller).get_open(args[0] as u32)?;
    match file.file().host() {
        None => file.seek(args[1] as i64, args[2] as u32),
        Some(host) => result_of(&Request::new(caller, 8, args).handle(0, host).send_to(host).await?),
    }
}

/// close(fd). The number is free whatever the result is.
pub async fn sys_close(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let closed = files(caller).close(args[0] as u32)?;
    finish(caller, closed).await
}

/// The end of a descriptor. For a host file that was written the result of the close matters (EIO, EDQUOT), so it is waited
/// for; other handles are released by and by.
async fn finish(caller: &Caller<'_>, closed: Arc<Description>) -> Result<u64, Errno> {
    // Ours is the last reference when there is one: the number is gone, so nobody can make another.
    filelocks::closed(caller, &closed).await?;
    if Arc::strong_count(&closed) > 1 || !closed.writable() {
        return Ok(0);
    }
    let Some(host) = closed.file().host() else { return Ok(0) };
    let is_regular = host.file_type() == Some(crate::files::FileType::Regular);
    if is_regular && Arc::strong_count(closed.file()) == 1 && host.take_over() {
        let request = Request::new(caller, 3, [host.handle().0, 0, 0, 0, 0, 0]);
        request.send_through(host.delegate()).await?;
    }
    Ok(0)
}

/// close_range(first, last, flags).
pub async fn sys_close_range(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    const CLOSE_RANGE_UNSHARE: u64 = 2;
    const CLOSE_RANGE_CLOEXEC: u64 = 4;
    let (first, last, flags) = (args[0] as u32, args[1] as u32, args[2]);
    if flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    if flags & CLOSE_RANGE_UNSHARE != 0 {
        let process = &caller.thread.process;
        // Tables belong to processes here: those of the other threads must not be closed along.
        if process.thread_count() > 1 {
            return Err(Errno::EINVAL);
        }
        process.own_files()?;
    }
    if flags & CLOSE_RANGE_CLOEXEC != 0 {
        files(caller).mark_range(first, last);
        return Ok(0);
    }
    let mut next = first;
    while let Some((fd, closed)) = files(caller).close_first(next, last) {
        // Errors of a close are not told here, as on Linux.
        let _ = finish(caller, closed).await;
        next = fd + 1;
    }
    Ok(0)
}

/// dup(fd).
pub fn sys_dup(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    files(caller).dup(args[0] as u32, 0, FdFlags::NONE).map(u64::from)
}

/// dup2(old, new).
pub async fn sys_dup2(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if args[0] as u32 == args[1] as u32 {
        files(caller).get(args[0] as u32)?;
        return Ok(args[1] as u32 as u64);
    }
    dup_to(caller, args, FdFlags::NONE).await
}

/// dup3(old, new, flags).
pub async fn sys_dup3(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if args[2] & !u64::from(O_CLOEXEC) != 0 || args[0] as u32 == args[1] as u32 {
        return Err(Errno::EINVAL);
    }
    dup_to(caller, args, FdFlags::of(args[2] as u32)).await
}

async fn dup_to(caller: &Caller<'_>, args: [u64; 6], flags: FdFlags) -> Result<u64, Errno> {
    if let Some(before) = files(caller).dup_to(args[0] as u32, args[1] as u32, flags)? {
        let _ = finish(caller, before).await;
    }
    Ok(args[1] as u32 as u64)
}

/// fcntl(fd, command, argument).
pub async fn sys_fcntl(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let (fd, command, argument) = (args[0] as u32, args[1] as u32, args[2]);
    let table = files(caller);
    let file = table.get(fd)?;
    let close_on_exec = FdFlags { close_on_exec: argument & FD_CLOEXEC != 0 };
    match command {
        F_DUPFD => return table.dup(fd, argument as u32, FdFlags::NONE).map(u64::from),
        F_DUPFD_CLOEXEC => {
            return table.dup(fd, argument as u32, FdFlags { close_on_exec: true }).map(u64::from);
        }
        F_GETFD => return table.flags(fd).map(|flags| u64::from(flags.close_on_exec)),
        F_SETFD => return table.set_flags(fd, close_on_exec).map(|()| 0),
        F_GETFL => return Ok(u64::from(file.flags())),
        _ if file.is_path() => return Err(Errno::EBADF),
        _ => {}
    }
    if let Some(result) = sigio::control(caller, &file, command, argument) {
        return result;
    }
    let host = file.file().host();
    match (command, host) {
        (F_SETFL, _) => set_status(caller, &file, fd, argument as u32).await,
        (F_GETLK | F_SETLK | F_SETLKW | F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW, _) => {
            // Not while the call waits: exec and whoever else looks would take the table for one that is shared.
            drop(table);
            filelocks::record(caller, &file, args).await
        }
        (F_GETPIPE_SZ | F_SETPIPE_SZ | F_ADD_SEALS | F_GET_SEALS, Some(host)) => {
            result_of(&Request::new(caller, 72, args).handle(0, host).send_to(host).await?)
        }
        (F_ADD_SEALS, None) if !file.writable() => Err(Errno::EPERM),
        (_, None) => file.file().control(command, argument),
        _ => Err(Errno::EINVAL),
    }
}

/// F_SETFL: here and, so that calls there wait or do not, at the host. There nobody is told of readiness by signals: the owner of
/// the file is known here only.
async fn set_status(caller: &Caller<'_>, file: &Arc<Description>, fd: u32, flags: u32) -> Result<u64, Errno> {
    if let Some(host) = file.file().host() {
        let arguments = [0, u64::from(F_SETFL), u64::from(flags & !O_ASYNC), 0, 0, 0];
        Request::new(caller, 72, arguments).handle(0, host).send_to(host).await?;
    }
    file.set_flags(flags, SETTABLE & !O_ASYNC);
    if (flags ^ file.flags()) & O_ASYNC != 0 {
        sigio::set_async(caller, file, fd, flags & O_ASYNC != 0).await?;
    }
    Ok(0)
}

/// fstat(fd, buffer).
pub async fn sys_fstat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let (file, mm) = (files(caller).get(args[0] as u32)?, mm(caller));
    let Some(host) = file.file().host() else {
        mm.write(args[1], &file.file().stat().to_bytes())?;
        return Ok(0);
    };
    check_writable(&mm, args[1], Stat::BYTES as u64)?;
    let request = Request::new(caller, 5, args).handle(0, host).output(1, Stat::BYTES as u64);
    store(&mm, &request.send_to(host).await?, 1, args[1], Stat::BYTES as u64)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::FileType;
    use crate::testing::programs::{MEMORY, MEMORY_BYTES, Program, fails, now, once};
    use core::pin::pin;
    use core::task::Poll;

    fn open(program: &Program, path: &str, flags: u32) -> u64 {
        let path = program.text(path);
        now(super::super::paths::sys_open(&program.caller(), [path, u64::from(flags), 0o644, 0, 0, 0]))
            .unwrap()
    }

    #[test]
    fn a_host_file_is_written_read_and_closed() {
        let program = Program::new();
        let (caller, host) = (program.caller(), program.host.clone());
        let fd = open(&program, "/tmp/a", O_RDWR | O_CREAT);
        assert_eq!(fd, 0);
        let text = program.put(b"hello world");
        assert_eq!(now(sys_write(&caller, [fd, text, 11, 0, 0, 0])), Ok(11));
        assert_eq!(host.content("/tmp/a").unwrap(), b"hello world");
        assert_eq!(now(sys_lseek(&caller, [fd, 6, 0, 0, 0, 0])), Ok(6));
        let into = program.room(64);
        assert_eq!(now(sys_read(&caller, [fd, into, 64, 0, 0, 0])), Ok(5));
        assert_eq!(program.bytes(into, 6), b"world\0");
        assert_eq!(now(sys_read(&caller, [fd, into, 64, 0, 0, 0])), Ok(0));
        assert_eq!(now(sys_pread64(&caller, [fd, into, 4, 1, 0, 0])), Ok(4));
        assert_eq!(program.bytes(into, 5), b"ellod");
        assert_eq!(now(sys_fstat(&caller, [fd, into, 0, 0, 0, 0])), Ok(0));
        let stat = program.bytes(into, 144);
        assert_eq!(stat[48..56], 11u64.to_le_bytes());
        host.numbers();
        let second = sys_dup(&caller, [fd, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(now(sys_close(&caller, [fd, 0, 0, 0, 0, 0])), Ok(0));
        assert_eq!(host.numbers(), [], "the other number holds the file");
        assert_eq!(now(sys_close(&caller, [second, 0, 0, 0, 0, 0])), Ok(0));
        assert_eq!(host.numbers(), [3], "what was written is closed with a result");
        let fd = open(&program, "/tmp/a", O_RDONLY);
        host.numbers();
        assert_eq!(fails(now(sys_write(&caller, [fd, text, 1, 0, 0, 0]))), Errno::EBADF);
        assert_eq!(now(sys_close(&caller, [fd, 0, 0, 0, 0, 0])), Ok(0));
        assert_eq!(host.numbers(), []);
        assert_eq!(host.closed().len(), 1, "what was read is released");
        assert_eq!(fails(now(sys_close(&caller, [fd, 0, 0, 0, 0, 0]))), Errno::EBADF);
    }

    #[test]
    fn long_transfers_go_in_pieces_and_end_where_the_file_does() {
        let program = Program::new();
        let caller = program.caller();
        let content: Vec<u8> = (0..2_500_000u32).map(|index| (index % 251) as u8).collect();
        program.host.file("/tmp/big", &content);
        let fd = open(&program, "/tmp/big", O_RDWR);
        let into = program.room(3 << 20);
        program.host.numbers();
        assert_eq!(now(sys_read(&caller, [fd, into, 3 << 20, 0, 0, 0])), Ok(2_500_000));
        assert_eq!(program.bytes(into, 2_500_000), content);
        assert_eq!(program.host.numbers(), [0, 0, 0]);
        assert_eq!(now(sys_pread64(&caller, [fd, into, 2 << 20, 1, 0, 0])), Ok(2 << 20));
        assert_eq!(program.bytes(into, 2 << 20), &content[1..(2 << 20) + 1]);
        assert_eq!(now(sys_pwrite64(&caller, [fd, into, 2 << 20, 2_000_000, 0, 0])), Ok(2 << 20));
        let after = program.host.content("/tmp/big").unwrap();
        assert_eq!(after.len(), 2_000_000 + (2 << 20));
        assert_eq!(after[2_000_000..], content[1..(2 << 20) + 1]);
    }

    #[test]
    fn memory_that_is_not_there() {
        let program = Program::new();
        let caller = program.caller();
        program.host.file("/tmp/a", &[7; 10_000]);
        let fd = open(&program, "/tmp/a", O_RDWR);
        let end = MEMORY + MEMORY_BYTES;
        assert_eq!(now(sys_read(&caller, [fd, end - 100, 4096, 0, 0, 0])), Ok(100));
        // Nothing more was taken from the file than the program got.
        assert_eq!(now(sys_lseek(&caller, [fd, 0, 1, 0, 0, 0])), Ok(100));
        assert_eq!(fails(now(sys_read(&caller, [fd, end, 1, 0, 0, 0]))), Errno::EFAULT);
        assert_eq!(fails(now(sys_read(&caller, [fd, u64::MAX, 2, 0, 0, 0]))), Errno::EFAULT);
        assert_eq!(now(sys_write(&caller, [fd, end - 10, 4096, 0, 0, 0])), Ok(10));
        assert_eq!(fails(now(sys_write(&caller, [fd, end, 4096, 0, 0, 0]))), Errno::EFAULT);
        assert_eq!(now(sys_read(&caller, [fd, end, 0, 0, 0, 0])), Ok(0));
        assert_eq!(fails(now(sys_fstat(&caller, [fd, end - 100, 0, 0, 0, 0]))), Errno::EFAULT);
    }

    #[test]
    fn vectors() {
        let program = Program::new();
        let caller = program.caller();
        let fd = open(&program, "/tmp/v", O_RDWR | O_CREAT);
        let (a, b) = (program.put(b"abc"), program.put(b"defgh"));
        let array = [a, 3, 0, 0, b, 5].map(u64::to_le_bytes).concat();
        let array = program.put(&array);
        assert_eq!(now(sys_writev(&caller, [fd, array, 3, 0, 0, 0])), Ok(8));
        assert_eq!(program.host.content("/tmp/v").unwrap(), b"abcdefgh");
        let into = program.room(32);
        let array = program.put(&[into, 2, into + 8, 20].map(u64::to_le_bytes).concat());
        assert_eq!(now(sys_preadv(&caller, [fd, array, 2, 1, 0, 0])), Ok(7));
        assert_eq!(program.bytes(into, 16), b"bc\0\0\0\0\0\0defgh\0\0\0");
        assert_eq!(fails(now(sys_readv(&caller, [fd, array, 1025, 0, 0, 0]))), Errno::EINVAL);
        let negative = program.put(&[into, u64::MAX].map(u64::to_le_bytes).concat());
        assert_eq!(fails(now(sys_readv(&caller, [fd, negative, 1, 0, 0, 0]))), Errno::EINVAL);
    }

    #[test]
    fn flags_of_vectors() {
        const NO_APPEND_AND_APPEND: u64 = (RWF_NOAPPEND | RWF_APPEND) as u64;
        let program = Program::new();
        let caller = program.caller();
        let piece = program.put(b"abc");
        let array = program.put(&[piece, 3].map(u64::to_le_bytes).concat());
        // The host is asked as the program asks.
        let fd = open(&program, "/tmp/f", O_RDWR | O_CREAT);
        let write = |fd, at, how: u32| now(sys_pwritev2(&caller, [fd, array, 1, at, 0, how.into()]));
        let read = |fd, at, how: u32| now(sys_preadv2(&caller, [fd, array, 1, at, 0, how.into()]));
        program.host.numbers();
        assert_eq!(write(fd, u64::MAX, RWF_SYNC), Ok(3));
        assert_eq!(write(fd, 0, RWF_APPEND | RWF_DSYNC), Ok(3));
        assert_eq!(read(fd, 1, RWF_NOWAIT), Ok(3));
        assert_eq!(read(fd, 1, 0), Ok(3));
        let calls = program.host.calls();
        let told: Vec<_> =
            calls.iter().map(|call| (call.number, call.arguments[3], call.arguments[5])).collect();
        assert_eq!(told, [(328, u64::MAX, 4), (328, 0, 0x12), (327, 1, 8), (17, 1, 0)]);
        assert_eq!(program.host.content("/tmp/f").unwrap(), b"abcabc");
        assert_eq!(program.bytes(piece, 3), b"bca");
        assert_eq!(fails(read(fd, 0, 0x100)), Errno::EOPNOTSUPP);
        assert_eq!(
            fails(now(sys_pwritev2(&caller, [fd, array, 1, 0, 0, NO_APPEND_AND_APPEND]))),
            Errno::EINVAL
        );

        // A pipe that is empty.
        let (reader, writer) = crate::files::Pipe::ends();
        let insert =
            |end, flags| program.files().insert(Description::new(end, flags), FdFlags::NONE).unwrap();
        let (reader, writer) = (insert(reader, O_RDONLY).into(), insert(writer, O_WRONLY).into());
        assert_eq!(fails(read(reader, u64::MAX, RWF_NOWAIT)), Errno::EAGAIN);
        assert_eq!(write(writer, u64::MAX, RWF_NOWAIT | RWF_HIPRI), Ok(3));
        assert_eq!(read(reader, u64::MAX, RWF_NOWAIT), Ok(3));
    }

    #[test]
    fn a_signal_breaks_off_what_the_host_waits_for() {
        use crate::thread::Attention;
        let program = Program::new();
        let caller = program.caller();
        let (handle, opened) = program.host.stream();
        assert_eq!(FileType::of(opened.stat.mode), Some(FileType::Fifo));
        let delegate = &program.thread.process.delegate;
        program.files().install_host(5, delegate, handle, opened, O_RDWR).unwrap();
        let into = program.room(16);
        let mut read = pin!(sys_read(&caller, [5, into, 16, 0, 0, 0]));
        assert_eq!(once(read.as_mut()), Poll::Pending);
        program.thread.demand(Attention::END);
        assert_eq!(once(read.as_mut()), Poll::Ready(Err(crate::restart::RESTART)));
        program.thread.settled(Attention::END);
        // What arrives before the host hears of the signal is not lost.
        let mut read = pin!(sys_read(&caller, [5, into, 16, 0, 0, 0]));
        assert_eq!(once(read.as_mut()), Poll::Pending);
        program.host.feed(handle, b"data");
        program.thread.demand(Attention::END);
        assert_eq!(once(read.as_mut()), Poll::Ready(Ok(4)));
        assert_eq!(program.bytes(into, 4), b"data");
    }

    #[test]
    fn numbers_are_small_and_limited() {
        let program = Program::with_files(FdTable::new(4));
        let caller = program.caller();
        program.host.file("/tmp/a", b"");
        for expected in 0..4 {
            assert_eq!(open(&program, "/tmp/a", O_RDONLY | O_CLOEXEC), expected);
        }
        let path = program.text("/tmp/a");
        assert_eq!(fails(now(super::super::paths::sys_open(&caller, [path, 0, 0, 0, 0, 0]))), Errno::EMFILE);
        assert_eq!(now(sys_close(&caller, [1, 0, 0, 0, 0, 0])), Ok(0));
        assert_eq!(sys_dup(&caller, [3, 0, 0, 0, 0, 0]), Ok(1));
        assert_eq!(fails(sys_dup(&caller, [9, 0, 0, 0, 0, 0])), Errno::EBADF);
        assert_eq!(now(sys_dup2(&caller, [3, 2, 0, 0, 0, 0])), Ok(2));
        assert_eq!(now(sys_dup2(&caller, [2, 2, 0, 0, 0, 0])), Ok(2));
        assert_eq!(fails(now(sys_dup3(&caller, [2, 2, 0, 0, 0, 0]))), Errno::EINVAL);
        assert_eq!(fails(now(sys_dup2(&caller, [2, 4, 0, 0, 0, 0]))), Errno::EBADF);
        assert_eq!(now(sys_fcntl(&caller, [1, 1, 0, 0, 0, 0])), Ok(0));
        assert_eq!(now(sys_fcntl(&caller, [3, 1, 0, 0, 0, 0])), Ok(1));
        assert_eq!(now(sys_fcntl(&caller, [1, 2, 1, 0, 0, 0])), Ok(0));
        assert_eq!(now(sys_fcntl(&caller, [1, 1, 0, 0, 0, 0])), Ok(1));
        assert_eq!(fails(now(sys_fcntl(&caller, [1, 0, 4, 0, 0, 0]))), Errno::EINVAL);
        program.files().close_on_exec(100);
        assert_eq!(program.files().numbers(), Ok(vec![2]));
        assert_eq!(now(sys_close_range(&caller, [0, 0xffff_ffff, 0, 0, 0, 0])), Ok(0));
        assert_eq!(program.files().numbers(), Ok(Vec::new()));
    }

    #[test]
    fn record_locks_end_with_any_number_of_their_file() {
        let program = Program::new();
        let caller = program.caller();
        program.host.file("/tmp/a", b"abc");
        let fd = open(&program, "/tmp/a", O_RDWR);
        let close_another = || {
            let other = sys_dup(&caller, [fd, 0, 0, 0, 0, 0]).unwrap();
            program.host.numbers();
            assert_eq!(now(sys_close(&caller, [other, 0, 0, 0, 0, 0])), Ok(0));
            program.host.numbers()
        };
        assert_eq!(close_another(), []);
        let lock = program.put(&[1u8; 1].iter().chain(&[0; 31]).copied().collect::<Vec<u8>>());
        assert_eq!(now(sys_fcntl(&caller, [fd, u64::from(F_SETLK), lock, 0, 0, 0])), Ok(0));
        assert_eq!(close_another(), [72], "unlocked");
        assert_eq!(close_another(), [], "once");
    }

    #[test]
    fn a_child_has_descriptions_of_its_own_that_share_flags() {
        let program = Program::new();
        let caller = program.caller();
        program.host.file("/tmp/a", b"abc");
        let fd = open(&program, "/tmp/a", O_RDWR);
        sys_dup(&caller, [fd, 0, 0, 0, 0, 0]).unwrap();
        let parent = program.thread.process.delegate.clone();
        let child: Arc<dyn crate::delegate::Delegate> = Arc::new(program.host.clone());
        let table = program.files().fork(&parent, &child, || false).unwrap();
        let (first, second) = (table.get(0).unwrap(), table.get(1).unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!Arc::ptr_eq(&first, &program.files().get(0).unwrap()));
        assert!(Arc::ptr_eq(first.file().host().unwrap().delegate(), &child));
        assert_eq!(now(sys_fcntl(&caller, [fd, 4, u64::from(O_NONBLOCK), 0, 0, 0])), Ok(0));
        assert_eq!(first.flags(), O_RDWR | O_NONBLOCK);
    }
}
