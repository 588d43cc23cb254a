//! Messages to resource managers, their replies, directory entries, netmgr.

use crate::layouts::any_layout;
use crate::{BOTH, emitted, text};
use keelson_qnet_wire::Nd;
use keelson_qnet_wire::io::*;
use keelson_qnet_wire::netmgr::{NdToStrFlags, NetmgrRequest};
use proptest::collection::vec;
use proptest::prelude::*;

fn read_write() -> impl Strategy<Value = IoReadWrite> {
    let xtype = prop_oneof![
        Just(Xtype::None),
        any::<(i32, i32, i32)>().prop_map(|(min, time, timeout)| Xtype::ReadCond { min, time, timeout }),
        any::<i64>().prop_map(Xtype::Offset),
    ];
    (any::<i32>(), xtype, any::<u32>()).prop_map(|(nbytes, xtype, flags)| IoReadWrite {
        nbytes,
        xtype,
        flags: XtypeFlags(flags & !0xff),
    })
}

/// A request with data of its own kind from a buffer.
fn request(data: &'static [u8]) -> impl Strategy<Value = IoRequest<'static>> {
    let mmap = &[7; 84];
    let power = &[8; 12];
    prop_oneof![
        read_write().prop_map(IoRequest::Read),
        read_write().prop_map(move |write| IoRequest::Write(write, data)),
        Just(IoRequest::Stat),
        any_layout!(IoNotify).prop_map(IoRequest::Notify),
        any_layout!(IoDevctl).prop_map(move |devctl| IoRequest::Devctl(devctl, data)),
        any_layout!(IoPathconf).prop_map(IoRequest::Pathconf),
        any_layout!(IoLseek).prop_map(IoRequest::Lseek),
        any_layout!(IoChmod).prop_map(IoRequest::Chmod),
        any_layout!(IoChown).prop_map(IoRequest::Chown),
        any_layout!(IoUtime).prop_map(IoRequest::Utime),
        any_layout!(IoOpenfd).prop_map(IoRequest::Openfd),
        any_layout!(IoFdinfo).prop_map(IoRequest::Fdinfo),
        any_layout!(IoLock).prop_map(move |lock| IoRequest::Lock(lock, data)),
        any_layout!(IoSpace).prop_map(IoRequest::Space),
        any_layout!(IoMsg).prop_map(move |msg| IoRequest::Msg(msg, data)),
        any_layout!(IoDup).prop_map(IoRequest::Dup),
        any_layout!(IoSync).prop_map(IoRequest::Sync),
        prop::sample::select(vec![
            IoRequest::Shutdown,
            IoRequest::Close,
            IoRequest::Mmap(mmap),
            IoRequest::Power(power)
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Alone, and combined: one to four requests in one message.
    #[test]
    fn requests(requests in vec(request(b"data of the message"), 1..5)) {
        for endian in BOTH {
            let (last, before) = requests.split_last().unwrap();
            let mut bytes = Vec::new();
            for request in before {
                bytes.extend(emitted(|room| request.emit_combined(room, endian)));
            }
            bytes.extend(emitted(|room| last.emit(room, endian)));
            let parts = Parts::new(&bytes, endian).map(Result::unwrap);
            let decoded: Vec<_> = parts.map(|part| IoRequest::decode(part, endian).unwrap()).collect();
            prop_assert_eq!(&decoded, &requests);
        }
    }

    #[test]
    fn connects(
        numbers: [u32; 5],
        shorts: [u16; 5],
        eflag: u8,
        components in vec(text(0..256), 0..4),
        (extra, bytes) in (0..8u8, text(0..300)),
        other in 11..=255u8,
        (info, link, mount) in (any_layout!(MsgInfo), any_layout!(ResmgrLink), any_layout!(MountExtra)),
    ) {
        let path = components.join(&b'/');
        let extra = match extra {
            0 => Extra::None,
            1 if bytes.is_empty() => Extra::None,
            1 => Extra::Message(&bytes),
            2 => Extra::Link(info),
            3 => Extra::Symlink(&bytes),
            4 => Extra::ResmgrLink(link),
            5 => Extra::Rename(&bytes),
            6 => Extra::Mount(mount, &bytes),
            _ if bytes.is_empty() => Extra::None,
            _ => Extra::Other(ExtraType(other), &bytes),
        };
        let [file_type, key, handle, ioflag, mode] = numbers;
        let [subtype, reply_max, entry_max, sflag, access] = shorts;
        let connect = IoConnect {
            subtype: ConnectSubtype(subtype),
            file_type,
            reply_max,
            entry_max: entry_max.max(1),
            key,
            handle,
            ioflag,
            mode,
            sflag,
            access,
            eflag,
            path: &path,
            extra,
        };
        let longest = path.split(|byte| *byte == b'/').map(<[u8]>::len).max().unwrap();
        for endian in BOTH {
            let bytes = emitted(|room| IoRequest::Connect(connect).emit(room, endian));
            let decoded = IoConnect::decode(&bytes, endian);
            if longest > 255 || path.len() > 1024 {
                prop_assert!(decoded.is_err());
                continue;
            }
            prop_assert_eq!(decoded, Ok(connect));
            prop_assert!(IoConnect::decode(&bytes[..bytes.len() - 1], endian).is_err());
        }
    }

    #[test]
    fn replies_to_connect(
        status in 0..=i32::MAX as u32,
        flags in 0..8u32,
        (head, entries) in (any_layout!(LinkHead), vec(any_layout!(ConnectEntry), 0..6)),
        path in text(1..100),
        (ftype, info) in (any_layout!(FtypeReply), any_layout!(MsgInfo)),
    ) {
        for endian in BOTH {
            let data = emitted(|room| emit_link_reply(room, endian, head, &entries, &path));
            let status = (status, ConnectReply::LINK | flags << 17);
            let link = ConnectReply::decode(status.1, &data, endian).unwrap();
            prop_assert_eq!(link.status(), status.1);
            prop_assert_eq!(emitted(|room| link.emit(room, endian)), data.clone());
            let ConnectReply::Link { flags: bits, link } = link else { panic!("no link") };
            prop_assert_eq!((bits, link.path, link.is_symlink()), (flags << 17, &path[..], entries.is_empty()));
            prop_assert_eq!(link.entries().collect::<Vec<_>>(), entries.clone());
            let numbers = (link.head.nentries, link.head.path_len);
            prop_assert_eq!(LinkHead { nentries: head.nentries, path_len: head.path_len, ..link.head }, head);
            prop_assert_eq!(numbers, (entries.len() as u16, path.len() as u16 + 1));
            for reply in [
                ConnectReply::Opened { status: status.0, data: &path },
                ConnectReply::Ftype(ftype),
                ConnectReply::Server { head, info, message: &path },
            ] {
                let data = emitted(|room| reply.emit(room, endian));
                prop_assert_eq!(ConnectReply::decode(reply.status(), &data, endian), Ok(reply));
            }
        }
    }

    #[test]
    fn directories(entries in vec((any::<u64>(), any::<u64>(), text(0..256)), 0..20), room in 0..4000usize) {
        for endian in BOTH {
            let mut bytes = vec![0xee; room];
            let mut writer = DirWriter::new(&mut bytes, endian);
            let entries: Vec<_> =
                entries.iter().map(|(ino, offset, name)| Dirent { ino: *ino, offset: *offset, name }).collect();
            let fitting = entries.iter().take_while(|entry| writer.push(entry).is_ok()).count();
            let len = writer.len();
            prop_assert_eq!(len, entries[..fitting].iter().map(Dirent::encoded_len).sum::<usize>());
            prop_assert!(entries.get(fitting).is_none_or(|next| len + next.encoded_len() > room));
            let read: Vec<_> = Dirents::new(&bytes[..len], endian).map(Result::unwrap).collect();
            prop_assert_eq!(&read[..], &entries[..fitting]);
        }
    }

    #[test]
    fn netmgr(nds: [u32; 2], op: i32, len: u32, name in text(0..100)) {
        let [nd, other] = nds.map(Nd);
        for request in [
            NetmgrRequest::Ctl { nd, op },
            NetmgrRequest::RemoteNd { remote_nd: nd, local_nd: other },
            NetmgrRequest::StrToNd { name: &name },
            NetmgrRequest::NdToStr { len, flags: NdToStrFlags(other.0), nd },
            NetmgrRequest::QosFlush,
        ] {
            for endian in BOTH {
                let bytes = emitted(|room| request.emit(room, endian));
                let part = Parts::new(&bytes, endian).next().unwrap().unwrap();
                let Ok(IoRequest::Msg(msg, data)) = IoRequest::decode(part, endian) else { panic!("no _IO_MSG") };
                prop_assert_eq!(NetmgrRequest::decode(msg, data, endian), Ok(request));
            }
        }
    }
}
