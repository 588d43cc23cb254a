//! `/dev/null`, `/dev/zero`, `/dev/con`; several messages at once; descriptors that are shared.

use crate::node::Lab;
use crate::world::{root, user};
use keelson_qnet::client::{File, OpenFlags};
use keelson_qnet_wire::io::{
    Dcmd, IoDup, IoLseek, IoNotify, IoNotifyReply, IoPathconf, IoReadWrite, IoRequest, MsgInfo, Stat, ioflag,
    notify, pathconf, whence,
};
use keelson_qnet_wire::kif::Sigevent;
use keelson_qnet_wire::{Endian, Errno};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

async fn ask(file: &File, parts: &[IoRequest<'_>], room: usize) -> Result<(i32, Vec<u8>), Errno> {
    let (mut message, mut len) = (vec![0; 1024], 0);
    for (index, part) in parts.iter().enumerate() {
        let room = &mut message[len..];
        let is_last = index + 1 == parts.len();
        len +=
            if is_last { part.emit(room, Endian::Little) } else { part.emit_combined(room, Endian::Little) }
                .unwrap();
    }
    let mut reply = vec![0; room];
    let (status, len) = file.connection().send(&[&message[..len]], &mut reply).await?;
    reply.truncate(len);
    Ok((status, reply))
}

fn read(nbytes: i32) -> IoRequest<'static> {
    IoRequest::Read(IoReadWrite { nbytes, ..IoReadWrite::default() })
}

#[test]
fn null_and_zero() {
    let lab = Lab::new();
    lab.run(|files| async move {
        let mut room = [1; 16];
        let null = files.open("/net/beta/dev/null", OpenFlags::REPLACE.with(ioflag::RD)).await.unwrap();
        assert_eq!((null.write(b"gone").await, null.read(&mut room).await), (Ok(4), Ok(0)));
        let zero = files.open("/net/beta/dev/zero", OpenFlags::READ).await.unwrap();
        assert_eq!((zero.read(&mut room).await, room), (Ok(16), [0; 16]));
        let mut large = vec![1; 200_000];
        assert_eq!(zero.read(&mut large).await, Ok(200_000));
        assert!(large.iter().all(|byte| *byte == 0));
        assert_eq!(zero.stat().await.unwrap().mode, 0x2000 | 0o666);
    });
}

#[test]
fn the_console() {
    let lab = Lab::new();
    let terminal = lab.nodes[1].terminal.clone();
    let files = lab.files(0, &root());
    let console = Rc::new(lab.world.run(async move {
        let console = files.open("/net/beta/dev/con", OpenFlags::READ_WRITE).await.unwrap();
        assert_eq!(console.write(b"login: ").await, Ok(7));
        assert_eq!(console.lseek(0, whence::SET).await, Err(Errno::ESPIPE));
        let mut data = [0; 4];
        assert_eq!(console.devctl(Dcmd(0x4004_0318), &[], &mut data).await, Ok((1, 4)));
        console
    }));
    assert_eq!(*terminal.shown.borrow(), b"login: ");
    let typed = Rc::new(RefCell::new(None));
    let (reader, result) = (console.clone(), typed.clone());
    let task = lab.world.spawn(async move {
        let mut room = [0; 16];
        let len = reader.read(&mut room).await;
        *result.borrow_mut() = Some(len.map(|len| room[..len].to_vec()));
    });
    lab.world.settle();
    assert_eq!(*typed.borrow(), None, "nobody has typed");
    terminal.type_in("root\n");
    lab.world.settle();
    assert_eq!(typed.borrow_mut().take(), Some(Ok(b"root\n".to_vec())));
    drop(task);
    // One that is given up takes nothing away from the next.
    let reader = console.clone();
    let handle = lab.world.executor.handle();
    lab.world.run(async move {
        let mut room = [0; 16];
        assert!(handle.timeout(Duration::from_secs(1), reader.read(&mut room)).await.is_err());
    });
    lab.world.settle();
    assert_eq!(lab.world.kernel(1).transactions(), 0, "the server does not wait any more");
    terminal.type_in("x");
    let reader = console.clone();
    let again = lab.world.run(async move {
        let mut room = [0; 16];
        reader.read(&mut room).await
    });
    assert_eq!(again, Ok(1));
}

#[test]
fn who_does_not_want_to_wait_is_told() {
    let lab = Lab::new();
    let terminal = lab.nodes[1].terminal.clone();
    let kernel = lab.world.kernel(0);
    let channel = kernel.channel(1).unwrap();
    let files = lab.files(0, &root());
    let nonblock = OpenFlags::READ.with(ioflag::NONBLOCK);
    let console =
        Rc::new(lab.world.run(async move { files.open("/net/beta/dev/con", nonblock).await.unwrap() }));
    let file = console.clone();
    let sigevent = Sigevent { notify: 4, signo_or_coid: channel.coid(), value: 0, code: 5, priority: 10 };
    lab.world.run(async move {
        assert_eq!(file.read(&mut [0; 4]).await, Err(Errno::EAGAIN));
        let arm = IoNotify { action: 1, flags: notify::INPUT, sigevent, ..IoNotify::default() };
        let (_, reply) = ask(&file, &[IoRequest::Notify(arm)], 8).await.unwrap();
        assert_eq!(IoNotifyReply::decode(&reply, Endian::Little).unwrap().flags, 0);
        let poll = IoNotify { action: 0, flags: notify::OUTPUT, ..IoNotify::default() };
        let (_, reply) = ask(&file, &[IoRequest::Notify(poll)], 8).await.unwrap();
        assert_eq!(IoNotifyReply::decode(&reply, Endian::Little).unwrap().flags, notify::OUTPUT);
        // Asking disarms.
        ask(&file, &[IoRequest::Notify(arm)], 8).await.unwrap();
    });
    assert!(channel.is_empty());
    terminal.type_in("x");
    lab.world.settle();
    match channel.try_receive() {
        Some(keelson_qnet::api::Received::Pulse(pulse)) => {
            assert_eq!((pulse.code, pulse.value as u32), (5, notify::INPUT));
        }
        _ => panic!("no pulse"),
    }
    assert!(channel.is_empty());
}

#[test]
fn combined_messages() {
    let lab = Lab::new();
    lab.run(|files| async move {
        files.create("/net/beta/f", 0o644).await.unwrap().write_all(b"0123456789").await.unwrap();
        let file = files.open("/net/beta/f", OpenFlags::READ_WRITE).await.unwrap();
        let seek = |offset| IoRequest::Lseek(IoLseek { whence: whence::SET, offset });
        // Replies one behind the other, the status of the last.
        let (status, data) = ask(&file, &[seek(4), read(3)], 64).await.unwrap();
        assert_eq!((status, &data[..]), (3, &[4, 0, 0, 0, 0, 0, 0, 0, b'4', b'5', b'6'][..]));
        let (status, data) = ask(&file, &[IoRequest::Stat, seek(0), read(64)], 100).await.unwrap();
        assert_eq!((status, data.len()), (10, Stat::LEN + 8 + 10));
        // Up to the first that fails.
        let write = IoReadWrite { nbytes: 1, ..IoReadWrite::default() };
        let bad = IoRequest::Lseek(IoLseek { whence: 9, offset: 0 });
        let parts = [seek(0), IoRequest::Write(write, b"A"), bad, IoRequest::Write(write, b"B")];
        assert_eq!(ask(&file, &parts, 64).await, Err(Errno::EINVAL));
        assert_eq!(files.read_to_end("/net/beta/f", 99).await.unwrap(), b"A123456789");
        let (status, _) = ask(&file, &[seek(0), IoRequest::Close], 64).await.unwrap();
        assert_eq!(status, 0);
        assert_eq!(ask(&file, &[read(1)], 64).await, Err(Errno::EBADF), "closed");
    });
}

#[test]
fn limits_of_paths() {
    let lab = Lab::new();
    lab.run(|files| async move {
        let file = files.open("/net/beta/dev/null", OpenFlags::READ).await.unwrap();
        let ask = async |name| {
            ask(&file, &[IoRequest::Pathconf(IoPathconf { name })], 0).await.map(|(status, _)| status)
        };
        assert_eq!(ask(pathconf::NAME_MAX).await, Ok(255));
        assert_eq!(ask(pathconf::PATH_MAX).await, Ok(1024));
        assert_eq!(ask(99).await, Err(Errno::EINVAL));
    });
}

/// A descriptor of another connection for the same open file (section 14.4).
#[test]
fn shared_descriptors() {
    let lab = Lab::new();
    let files = lab.files(0, &user(100));
    let (kernel, nd) = (lab.world.kernel(2), lab.world.nd(1, 2));
    let own = lab.files(0, &root());
    lab.world.run(async move {
        own.create("/net/beta/f", 0o666).await.unwrap().write_all(b"0123456789").await.unwrap();
        let file = files.open("/net/beta/f", OpenFlags::READ).await.unwrap();
        file.read(&mut [0; 4]).await.unwrap();
        let scoid = file.connection().scoid().unwrap() as i32;
        let info = MsgInfo { pid: 200, scoid, coid: file.connection().coid(), ..MsgInfo::default() };
        let dup = |info| {
            let mut message = [0; 64];
            let len = IoRequest::Dup(IoDup { info, key: 0 }).emit(&mut message, Endian::Little).unwrap();
            message[..len].to_vec()
        };
        let other = kernel.connect(nd, 1, 1, &user(101)).await.unwrap();
        assert_eq!(other.send(&[&dup(info)], &mut []).await, Err(Errno::EBADF), "another user");
        let child = kernel.connect(nd, 1, 1, &user(100)).await.unwrap();
        let wrong = MsgInfo { pid: 201, ..info };
        assert_eq!(child.send(&[&dup(wrong)], &mut []).await, Err(Errno::EBADF), "another process");
        assert_eq!(child.send(&[&dup(info)], &mut []).await, Ok((0, 0)));
        let mut message = [0; 16];
        read(2).emit(&mut message, Endian::Little).unwrap();
        let mut data = [0; 2];
        assert_eq!(child.send(&[&message], &mut data).await, Ok((2, 2)));
        assert_eq!(&data, b"45", "one position");
        file.close().await.unwrap();
        assert_eq!(child.send(&[&message], &mut data).await, Ok((2, 2)), "still open");
        assert_eq!(&data, b"67");
    });
    lab.world.settle();
    lab.assert_baseline();
}
