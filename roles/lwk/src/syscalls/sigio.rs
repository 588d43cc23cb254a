//! Signal-driven I/O: the commands of fcntl(2) and the ioctls that say who is told of a file, and how.

use super::Caller;
use super::poll::settle;
use crate::Errno;
use crate::files::flags::*;
use crate::files::{Description, FileType, Owner, OwnerKind};
use alloc::sync::Arc;

/// `asm-generic/ioctls.h`
const FIOASYNC: u32 = 0x5452;
/// `asm-generic/sockios.h`
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;
const FIOGETOWN: u32 = 0x8903;
const SIOCGPGRP: u32 = 0x8904;

/// A command of fcntl(2), if it is one of these.
pub fn control(
    caller: &Caller<'_>,
    file: &Description,
    command: u32,
    argument: u64,
) -> Option<Result<u64, Errno>> {
    Some(match command {
        F_SETOWN => set_owner(caller, file, argument as i32),
        F_GETOWN => Ok(i64::from(owner(file)) as u64),
        F_SETOWN_EX => set_owner_by_kind(caller, file, argument),
        F_GETOWN_EX => {
            let (kind, number) = file.sigio().owner().number();
            let bytes = [kind as u32, number].map(u32::to_le_bytes).concat();
            caller.mm().write(argument, &bytes).map(|()| 0)
        }
        F_SETSIG if argument > 64 => Err(Errno::EINVAL),
        F_SETSIG => {
            file.sigio().set_signal(argument as u32);
            Ok(0)
        }
        F_GETSIG => Ok(file.sigio().signal().into()),
        _ => return None,
    })
}

/// A request of ioctl(2), if it is one of these.
pub async fn ioctl(
    caller: &Caller<'_>,
    file: &Arc<Description>,
    fd: u32,
    request: u32,
    at: u64,
) -> Option<Result<u64, Errno>> {
    let is_socket = || file.file().stat().file_type() == Some(FileType::Socket);
    match request {
        FIOASYNC => {}
        FIOSETOWN | SIOCSPGRP if is_socket() => {
            let number = caller.mm().read_u32(at);
            return Some(number.and_then(|number| set_owner(caller, file, number as i32)));
        }
        FIOGETOWN | SIOCGPGRP if is_socket() => {
            return Some(caller.mm().write(at, &owner(file).to_le_bytes()).map(|()| 0));
        }
        _ => return None,
    }
    let on = match caller.mm().read_u32(at) {
        Ok(on) => on != 0,
        Err(error) => return Some(Err(error)),
    };
    if !file.file().signals() && on != (file.flags() & O_ASYNC != 0) {
        return Some(Err(Errno::ENOTTY));
    }
    Some(set_async(caller, file, fd, on).await.map(|()| 0))
}

/// Sets O_ASYNC or takes it away. What happens from the end of the call on is told, so the host has answered by then.
pub async fn set_async(caller: &Caller<'_>, file: &Arc<Description>, fd: u32, on: bool) -> Result<(), Errno> {
    let terminal = file.file().host().is_some_and(|host| host.opened().terminal);
    if on && terminal && file.sigio().owner().is_nobody() {
        // A terminal has an owner without being told one (fcntl(2)).
        let me = &caller.thread.process;
        let group = me.node.group_and_session(me.pid).map_or(0, |(group, _)| group);
        if let Ok(owner) = Owner::of(me, OwnerKind::Group, group) {
            file.sigio().set_owner(owner);
        }
    }
    file.set_async(on, fd)?;
    if on && file.file().signals() {
        settle(caller, core::slice::from_ref(file)).await;
    }
    Ok(())
}

/// A process, or a group as a negative number; 0 for nobody.
fn owner(file: &Description) -> i32 {
    match file.sigio().owner().number() {
        (OwnerKind::Group, group) => (group as i32).wrapping_neg(),
        (_, number) => number as i32,
    }
}

fn set_owner(caller: &Caller<'_>, file: &Description, number: i32) -> Result<u64, Errno> {
    let kind = if number < 0 { OwnerKind::Group } else { OwnerKind::Process };
    if number == i32::MIN {
        return Err(Errno::EINVAL);
    }
    file.sigio().set_owner(Owner::of(&caller.thread.process, kind, number.unsigned_abs())?);
    Ok(0)
}

/// F_SETOWN_EX: `struct f_owner_ex`, a kind and a number.
fn set_owner_by_kind(caller: &Caller<'_>, file: &Description, at: u64) -> Result<u64, Errno> {
    let both = caller.mm().read_u64(at)?;
    let kind = OwnerKind::of(both as u32).ok_or(Errno::EINVAL)?;
    file.sigio().set_owner(Owner::of(&caller.thread.process, kind, (both >> 32) as u32)?);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::FdFlags;
    use crate::signals::{SIGIO, SigSet};
    use crate::syscalls::files::{sys_close, sys_fcntl, sys_read, sys_write};
    use crate::syscalls::paths::sys_open;
    use crate::testing::programs::{Program, fails, now};

    /// A pipe of the node: the numbers of its ends.
    fn pipe(program: &Program) -> (u64, u64) {
        let (reader, writer) = crate::files::Pipe::ends();
        let insert = |end, flags| {
            u64::from(program.files().insert(Description::new(end, flags), FdFlags::NONE).unwrap())
        };
        (insert(reader, O_RDONLY), insert(writer, O_WRONLY | O_NONBLOCK))
    }

    fn fcntl(program: &Program, fd: u64, command: u32, argument: u64) -> Result<u64, Errno> {
        now(sys_fcntl(&program.caller(), [fd, u64::from(command), argument, 0, 0, 0]))
    }

    /// Signal, code, band and descriptor of the next signal.
    fn told(program: &Program) -> Option<(u32, i32, u64, u32)> {
        let info = program.thread.take_signal(!SigSet::EMPTY)?;
        let bytes = info.encode();
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        Some((info.signal, info.code, word(16).into(), word(24)))
    }

    #[test]
    fn a_pipe_tells_its_owner() {
        let program = Program::new();
        let caller = program.caller();
        program.thread.set_mask(!SigSet::EMPTY);
        let (reader, writer) = pipe(&program);
        let (byte, room) = (program.put(b"x"), program.room(1 << 17));
        let write = || now(sys_write(&caller, [writer, byte, 1, 0, 0, 0]));
        assert_eq!(fcntl(&program, reader, F_SETFL, O_ASYNC.into()), Ok(0));
        assert_eq!(fcntl(&program, reader, F_GETFL, 0), Ok(O_ASYNC.into()));
        assert_eq!(write(), Ok(1));
        assert_eq!(told(&program), None, "nobody owns it");
        assert_eq!(fcntl(&program, reader, F_SETOWN, 100), Ok(0));
        assert_eq!(fcntl(&program, reader, F_GETOWN, 0), Ok(100));
        assert_eq!(write(), Ok(1));
        assert_eq!(told(&program), Some((SIGIO, 0x80, 0, 0)));
        assert_eq!(fcntl(&program, reader, F_SETSIG, 40), Ok(0));
        assert_eq!(fcntl(&program, reader, F_GETSIG, 0), Ok(40));
        assert_eq!(write(), Ok(1));
        assert_eq!(write(), Ok(1));
        assert_eq!(told(&program), Some((40, 1, 0x41, reader as u32)));
        assert_eq!(told(&program), Some((40, 1, 0x41, reader as u32)), "real-time signals queue");
        assert_eq!(told(&program), None);
        assert_eq!(fcntl(&program, reader, F_SETFL, 0), Ok(0));
        assert_eq!(write(), Ok(1));
        assert_eq!(told(&program), None, "O_ASYNC is gone");

        // The end for writing tells when something was read, and when nobody reads any more.
        assert_eq!(fcntl(&program, writer, F_SETOWN, 100), Ok(0));
        assert_eq!(fcntl(&program, writer, F_SETSIG, 41), Ok(0));
        assert_eq!(fcntl(&program, writer, F_SETFL, u64::from(O_ASYNC | O_NONBLOCK)), Ok(0));
        assert_eq!(now(sys_read(&caller, [reader, room, 1, 0, 0, 0])), Ok(1));
        assert_eq!(told(&program), Some((41, 2, 0x304, writer as u32)));
        assert_eq!(now(sys_write(&caller, [writer, room, 1 << 17, 0, 0, 0])), Ok((1 << 16) - 4));
        assert_eq!(now(sys_read(&caller, [reader, room, 1 << 16, 0, 0, 0])), Ok(1 << 16));
        assert_eq!(told(&program), Some((41, 2, 0x304, writer as u32)));
        assert_eq!(now(sys_close(&caller, [reader, 0, 0, 0, 0, 0])), Ok(0));
        assert_eq!(told(&program), Some((41, 2, 0x304, writer as u32)));
        // Its own end is not told.
        assert_eq!(now(sys_close(&caller, [writer, 0, 0, 0, 0, 0])), Ok(0));
        assert_eq!(told(&program), None);
    }

    #[test]
    fn a_file_of_the_host_tells_what_happens_and_not_what_holds() {
        let program = Program::new();
        program.thread.set_mask(!SigSet::EMPTY);
        let (handle, opened) = program.host.stream();
        let delegate = &program.thread.process.delegate;
        program.files().install_host(5, delegate, handle, opened, O_RDONLY).unwrap();
        program.host.feed(handle, b"early");
        assert_eq!(program.host.subscribed(handle), None);
        assert_eq!(fcntl(&program, 5, F_SETOWN, 100), Ok(0));
        assert_eq!(fcntl(&program, 5, F_SETSIG, 40), Ok(0));
        assert_eq!(fcntl(&program, 5, F_SETFL, O_ASYNC.into()), Ok(0));
        assert!(program.host.subscribed(handle).is_some());
        let status = program.host.calls().into_iter().find(|call| call.number == 72).unwrap();
        assert_eq!(status.arguments[2], 0, "the host hears nothing of O_ASYNC");
        assert_eq!(told(&program), None);
        program.host.feed(handle, b"late");
        assert_eq!(told(&program), Some((40, 1, 0x41, 5)));
        assert_eq!(told(&program), None);
        // A regular file tells nobody, and has no such flag.
        program.host.file("/tmp/plain", b"");
        let path = program.text("/tmp/plain");
        let fd = now(sys_open(&program.caller(), [path, 0, 0, 0, 0, 0])).unwrap();
        assert_eq!(fcntl(&program, fd, F_SETFL, O_ASYNC.into()), Ok(0));
        assert_eq!(fcntl(&program, fd, F_GETFL, 0).unwrap() as u32 & O_ASYNC, 0);
    }

    #[test]
    fn owners() {
        let program = Program::new();
        let (reader, _) = pipe(&program);
        let at = program.put(&[9; 8]);
        assert_eq!(fcntl(&program, reader, F_GETOWN_EX, at), Ok(0));
        assert_eq!(program.bytes(at, 8), [0; 8], "nobody");
        assert_eq!(fcntl(&program, reader, F_GETOWN, 0), Ok(0));
        assert_eq!(fails(fcntl(&program, reader, F_SETOWN, 77)), Errno::ESRCH);
        assert_eq!(fails(fcntl(&program, reader, F_SETOWN, -77i32 as u64)), Errno::ESRCH);
        assert_eq!(fails(fcntl(&program, reader, F_SETOWN, i32::MIN as u64)), Errno::EINVAL);
        assert_eq!(fails(fcntl(&program, reader, F_SETSIG, 65)), Errno::EINVAL);
        let process = program.put(&[1u32, 100].map(u32::to_le_bytes).concat());
        assert_eq!(fcntl(&program, reader, F_SETOWN_EX, process), Ok(0));
        assert_eq!(fcntl(&program, reader, F_GETOWN_EX, at), Ok(0));
        assert_eq!(program.bytes(at, 8), program.bytes(process, 8));
        let wrong = program.put(&[3u32, 100].map(u32::to_le_bytes).concat());
        assert_eq!(fails(fcntl(&program, reader, F_SETOWN_EX, wrong)), Errno::EINVAL);
        assert_eq!(fails(fcntl(&program, reader, F_SETOWN_EX, 8)), Errno::EFAULT);
        assert_eq!(fcntl(&program, reader, F_SETOWN, 0), Ok(0));
        assert_eq!(fcntl(&program, reader, F_GETOWN, 0), Ok(0));
    }
}
