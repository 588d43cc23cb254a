//! Requests that nobody should send, into a server that works for others at the same time.

use crate::node::Lab;
use crate::world::{root, user};
use keelson_qnet::api::Connection;
use keelson_qnet::client::OpenFlags;
use keelson_qnet_wire::io::{
    ConnectSubtype, Dcmd, Extra, IoConnect, IoDevctl, IoDup, IoFdinfo, IoLseek, IoMsg, IoNotify, IoReadWrite,
    IoRequest, IoSpace, Xtype, ioflag,
};
use keelson_qnet_wire::{Endian, Errno};
use std::rc::Rc;
use std::time::Duration;

/// One of each kind, to be damaged.
fn seeds() -> Vec<Vec<u8>> {
    let connect = |subtype, path, extra| IoConnect {
        subtype,
        file_type: 0,
        reply_max: 2584,
        entry_max: 16,
        key: 0,
        handle: 1,
        ioflag: ioflag::RD | ioflag::WR | ioflag::CREAT,
        mode: 0o666,
        sflag: 0x40,
        access: 3,
        eflag: 0,
        path,
        extra,
    };
    let stat = [4, 1, 8, 0, 0, 0, 0, 0];
    let data = IoReadWrite { nbytes: 64, xtype: Xtype::Offset(3), ..IoReadWrite::default() };
    let requests = [
        IoRequest::Connect(connect(ConnectSubtype::OPEN, b"public/a", Extra::None)),
        IoRequest::Connect(connect(ConnectSubtype::OPEN, b"dev/con", Extra::None)),
        IoRequest::Connect(connect(ConnectSubtype::OPEN, b"net", Extra::None)),
        IoRequest::Connect(connect(ConnectSubtype::COMBINE_CLOSE, b"etc/TIMEZONE", Extra::Message(&stat))),
        IoRequest::Connect(connect(ConnectSubtype::RENAME, b"public/b", Extra::Rename(b"public/a"))),
        IoRequest::Connect(connect(ConnectSubtype::LINK, b"public/c", Extra::Symlink(b"c/../../public"))),
        IoRequest::Connect(connect(ConnectSubtype::MKNOD, b"public/d", Extra::None)),
        IoRequest::Connect(connect(ConnectSubtype::UNLINK, b"public/b", Extra::None)),
        IoRequest::Connect(connect(ConnectSubtype::READLINK, b"public/c", Extra::None)),
        IoRequest::Read(data),
        IoRequest::Read(IoReadWrite { nbytes: i32::MAX, ..data }),
        IoRequest::Write(data, &[7; 64]),
        IoRequest::Write(IoReadWrite { nbytes: i32::MAX, ..data }, &[7; 64]),
        IoRequest::Stat,
        IoRequest::Notify(IoNotify { action: 1, flags: 0xf000_0000, ..IoNotify::default() }),
        IoRequest::Devctl(IoDevctl { dcmd: Dcmd(0xc004_0102), nbytes: 4 }, &[1; 4]),
        IoRequest::Lseek(IoLseek { whence: 1, offset: u64::MAX }),
        IoRequest::Fdinfo(IoFdinfo { flags: 0, path_len: 64 }),
        IoRequest::Space(IoSpace { subtype: 111, whence: 0, start: 9, len: 0 }),
        IoRequest::Msg(IoMsg { mgrid: 14, subtype: 3 }, &[0; 12]),
        IoRequest::Dup(IoDup { info: Default::default(), key: 0 }),
        IoRequest::Close,
    ];
    let emit = |request: &IoRequest<'_>| {
        let mut room = vec![0; 512];
        let len = request.emit(&mut room, Endian::Little).unwrap();
        room.truncate(len);
        room
    };
    requests.iter().map(emit).collect()
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % below
    }
}

fn damaged(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut message = seeds[random.next(seeds.len())].clone();
    for _ in 0..random.next(5) {
        let at = random.next(message.len());
        match random.next(4) {
            0 => message[at] = random.next(256) as u8,
            1 => message[at] ^= 1 << random.next(8),
            2 => message.truncate(at.max(1)),
            // Another message behind it.
            _ => {
                let len = message.len() as u16 | 0x8000;
                if message.len() >= 4 {
                    message[2..4].copy_from_slice(&len.to_le_bytes());
                }
                message.extend_from_slice(&seeds[random.next(seeds.len())]);
            }
        }
    }
    message
}

#[test]
fn mutated_messages() {
    let lab = Lab::new();
    lab.run(|files| async move {
        files.mkdir("/net/beta/public", 0o777).await.unwrap();
        files.create("/net/beta/precious", 0o600).await.unwrap().write_all(b"precious").await.unwrap();
    });
    let seeds = seeds();
    let attackers: Vec<_> = (0..8_u64)
        .map(|seed| {
            let (kernel, nd, seeds) = (lab.world.kernel(2), lab.world.nd(1, 2), seeds.clone());
            let handle = lab.world.executor.handle();
            lab.world.spawn(async move {
                let mut random = Random(seed);
                let mut connection: Option<Rc<Connection>> = None;
                for _ in 0..2500 {
                    let message = damaged(&seeds, &mut random);
                    let mut reply = vec![0; random.next(3000)];
                    if connection.is_none() || random.next(20) == 0 {
                        connection = Some(Rc::new(kernel.connect(nd, 1, 1, &user(100)).await.unwrap()));
                    }
                    let connection = connection.as_ref().unwrap();
                    connection.set_coid(random.next(4) as i32);
                    // Whatever is said, except nothing: a read of the console waits.
                    let parts = [&message[..]];
                    let sent = connection.send(&parts, &mut reply);
                    let _ = handle.timeout(Duration::from_millis(50), sent).await;
                }
            })
        })
        .collect();
    // Somebody else, meanwhile.
    let files = lab.files(0, &root());
    let handle = lab.world.executor.handle();
    lab.world.run(async move {
        let file = files.open("/net/beta/precious", OpenFlags::READ).await.unwrap();
        for _ in 0..200 {
            let mut room = [0; 16];
            assert_eq!(file.read_at(0, &mut room).await, Ok(8));
            assert_eq!(&room[..8], b"precious");
            handle.sleep(Duration::from_millis(5)).await;
        }
    });
    lab.world.pass(Duration::from_secs(300));
    for attacker in &attackers {
        assert!(attacker.is_finished(), "every message is answered");
    }
    lab.world.pass(Duration::from_secs(10));
    lab.assert_baseline();
    let counters = lab.nodes[1].dispatcher.counters();
    assert!(counters.malformed > 500 && counters.messages > counters.errors + 1000, "{counters:?}");
}

#[test]
fn more_than_there_is() {
    let lab = Lab::new();
    lab.run(|files| async move {
        let file = files.create("/net/beta/f", 0o644).await.unwrap();
        let ask = async |message: &[u8], room: usize| {
            let mut reply = vec![0; room];
            file.connection().send(&[message], &mut reply).await.map(|(status, _)| status)
        };
        let mut room = [0; 64];
        // A write that promises more than it has: what is there counts (section 23).
        let write = IoReadWrite { nbytes: 1_000_000, ..IoReadWrite::default() };
        let len = IoRequest::Write(write, b"abc").emit(&mut room, Endian::Little).unwrap();
        assert_eq!(ask(&room[..len], 0).await, Ok(3));
        let negative = IoReadWrite { nbytes: -1, ..IoReadWrite::default() };
        let len = IoRequest::Write(negative, b"abc").emit(&mut room, Endian::Little).unwrap();
        assert_eq!(ask(&room[..len], 0).await, Err(Errno::EINVAL));
        // A read with less room for it than it asks for.
        let read = IoReadWrite { nbytes: i32::MAX, xtype: Xtype::Offset(0), ..IoReadWrite::default() };
        let len = IoRequest::Read(read).emit(&mut room, Endian::Little).unwrap();
        assert_eq!(ask(&room[..len], 2).await, Ok(2));
        let before = IoReadWrite { nbytes: 1, xtype: Xtype::Offset(-1), ..IoReadWrite::default() };
        let len = IoRequest::Read(before).emit(&mut room, Endian::Little).unwrap();
        assert_eq!(ask(&room[..len], 2).await, Err(Errno::EINVAL));
        assert_eq!(ask(&[0x1a, 1, 4, 0, 0], 2).await, Err(Errno::EINVAL), "too short");
        assert_eq!(ask(&[0x14, 1, 4, 0, 0], 2).await, Err(Errno::ENOSYS), "reserved");
        assert_eq!(ask(&[0x99], 2).await, Err(Errno::ENOSYS), "no type");
    });
}
