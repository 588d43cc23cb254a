//! Messages beyond the vectors, as we send them, in both byte orders.

use super::{check_lines, check_well_formed, dissect, from_layer};
use keelson_qnet_wire::frame::{self, Mac};
use keelson_qnet_wire::io::*;
use keelson_qnet_wire::kif::*;
use keelson_qnet_wire::l4::{Header, Kind};
use keelson_qnet_wire::{Endian, Nd};

fn message(message: KifMessage, data: &[u8], endian: Endian) -> Vec<u8> {
    let mut payload = vec![0; KifMessage::MAX_LEN];
    let len = message.emit(&mut payload, endian).unwrap();
    payload.truncate(len);
    payload.extend(data);
    let mut header = Header { endian, length: payload.len() as u32, seq: 5, ..Header::new(Kind::User) };
    header.seal(&[&payload]);
    let mut room = vec![0; 2048];
    let len = frame::emit(&mut room, Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]), &header, &[&payload]);
    room.truncate(len.unwrap());
    room
}

fn vinfo() -> VtidInfo {
    VtidInfo { tid: 1, coid: 2, priority: 3, srcmsglen: 4, keydata: 5, srcnd: Nd(6), dstmsglen: 7, zero: 0 }
}

fn send(request: IoRequest<'_>, endian: Endian) -> Vec<u8> {
    let mut data = vec![0; 1024];
    let len = request.emit(&mut data, endian).unwrap();
    let send = MsgSend { server_id: 8, client_handle: 9, vinfo: vinfo(), nbytes: len as u32 };
    message(KifMessage::MsgSend(send, None), &data[..len], endian)
}

fn info() -> MsgInfo {
    MsgInfo {
        nd: Nd(21),
        srcnd: Nd(22),
        pid: 23,
        tid: 24,
        chid: 25,
        scoid: 26,
        coid: 27,
        msglen: 28,
        srcmsglen: 29,
        dstmsglen: 30,
        priority: 31,
        flags: 32,
    }
}

fn connect(subtype: ConnectSubtype, extra: Extra<'_>) -> IoRequest<'_> {
    IoRequest::Connect(IoConnect {
        subtype,
        file_type: FileType::ANY,
        reply_max: 41,
        entry_max: 42,
        key: 43,
        handle: 44,
        ioflag: ioflag::RD | ioflag::WR | ioflag::CREAT | ioflag::EXCL,
        mode: 0x81a4,
        sflag: IoConnect::SH_DENYNO,
        access: 3,
        eflag: IoConnect::EFLAG_DIR,
        path: b"some/path",
        extra,
    })
}

/// Messages to a resource manager, and lines that tshark prints of them. Without `_IO_CONNECT_EXTRA_LINK`: tshark
/// takes the message information for a number of 48 bytes.
fn requests(endian: Endian) -> Vec<(IoRequest<'static>, &'static [&'static str])> {
    // Code and priority are printed as one number, which depends on the order unless they are equal.
    let sigevent = Sigevent { notify: 4, signo_or_coid: 51, value: 52, code: 53, priority: 53 };
    let offset = IoReadWrite { nbytes: 61, xtype: Xtype::Offset(62), flags: XtypeFlags::NONBLOCK };
    let condition = Xtype::ReadCond { min: 63, time: 64, timeout: 65 };
    let notify = IoNotify {
        action: 1,
        flags: notify::INPUT | notify::EXTENDED,
        sigevent,
        mgr: [0, 0],
        flags_extra_mask: 55,
        flags_exten: 56,
        nfds: 0,
        fd_first: 58,
        nfds_ready: 59,
        timo: 60,
    };
    let stat: &[u8] =
        if endian == Endian::Little { &[4, 1, 8, 0, 0, 0, 0, 0] } else { &[1, 4, 0, 8, 0, 0, 0, 0] };
    let openfd = IoOpenfd { ioflag: 1, sflag: 2, xtype: 3, info: info(), key: 4 };
    let link = ResmgrLink { nd: Nd(71), pid: 72, chid: 73, handle: 74, flags: 75, file_type: 1 };
    let mount = MountExtra { flags: 0, nbytes: 76, datalen: 0, info: info() };
    vec![
        (
            connect(ConnectSubtype::OPEN, Extra::None),
            &[
                "Reply_max: 0x0029 (41)",
                "Entry_max: 0x002a (42)",
                "Key: 0x0000002b",
                "Handle: 0x0000002c (44)",
                ".... .... .... .... .... ...1 .... .... = creat: True",
                ".... .... .... .... .... .1.. .... .... = exclusive: True",
                "Path: some/path",
            ],
        ),
        (
            connect(ConnectSubtype::COMBINE_CLOSE, Extra::Message(stat)),
            &["Extra_len: 0x0008 (8)", "Type: _IO_STAT (0x0104)"],
        ),
        (connect(ConnectSubtype::RENAME, Extra::Rename(b"old/name")), &["Path: some/path", "Path: old/name"]),
        (
            connect(ConnectSubtype::LINK, Extra::Symlink(b"link/text")),
            &["Path: some/path", "Path: link/text"],
        ),
        (
            connect(ConnectSubtype::LINK, Extra::ResmgrLink(link)),
            &["Extra_type: _IO_CONNECT_EXTRA_RESMGR_LINK (0x07)"],
        ),
        (
            connect(ConnectSubtype::MOUNT, Extra::Mount(mount, b"")),
            &["Extra_type: _IO_CONNECT_EXTRA_MOUNT (0x0a)"],
        ),
        (IoRequest::Read(offset), &["Nbytes: 61", "Xoffset: 62"]),
        (
            IoRequest::Read(IoReadWrite { xtype: condition, ..offset }),
            &["Nbytes: 61", "Min: 63", "Time: 64", "Timeout: 65"],
        ),
        (IoRequest::Write(offset, b"abc"), &["Nbytes: 61", "Xoffset: 62", "Write Data: 616263"]),
        (
            IoRequest::Lseek(IoLseek { whence: 2, offset: 11 }),
            &["Whence: SEEK_END (2)", "Offset: 11 (0x000000000000000b)"],
        ),
        (
            IoRequest::Notify(notify),
            &[
                "...1 .... .... .... .... .... .... .... = Input: True",
                "Sigevent_notify: 4",
                "Sigevent_union1: 51",
                "Sigevent_sigvalue: 52",
                "FlagsExtraMask: 0x00000037",
                "FlagsExten: 0x00000038",
                "Firstfd: 0x0000003a",
                "Ready: 0x0000003b",
                "Timeout: Jan  1, 1970 00:00:00.000000060 UTC",
            ],
        ),
        (IoRequest::Devctl(IoDevctl { dcmd: Dcmd::PROC_INFO, nbytes: 272 }, b""), &["Nbytes: 272"]),
        (IoRequest::Pathconf(IoPathconf { name: pathconf::NAME_MAX }), &["name: _PC_NAME_MAX (4)"]),
        (IoRequest::Chmod(IoChmod { mode: 0o644 }), &["mode: 0x000001a4, Oread, Gread, Uwrite, Uread"]),
        (IoRequest::Chown(IoChown { gid: 12, uid: 13 }), &["gid: 0x0000000c", "uid: 0x0000000d"]),
        (
            IoRequest::Utime(IoUtime { cur_flag: 1, actime: 2, modtime: 3 }),
            &["actime: Jan  1, 1970 00:00:02.000000000 UTC", "modtime: Jan  1, 1970 00:00:03.000000000 UTC"],
        ),
        (IoRequest::Openfd(openfd), INFO),
        (IoRequest::Fdinfo(IoFdinfo { flags: 1, path_len: 2 }), &["flags: Set", "pathlen: 0x00000002"]),
        (
            IoRequest::Lock(IoLock { subtype: 1, nbytes: 2 }, b"ab"),
            &["subtype: 0x00000001", "nbytes: 0x00000002"],
        ),
        (
            IoRequest::Space(IoSpace { subtype: IoSpace::FREE, whence: 1, start: 2, len: 3 }),
            &["whence: SEEK_CUR (0x0001)", "start: 0x0000000000000002", "len: 0x0000000000000003"],
        ),
        (IoRequest::Shutdown, &["Type: _IO_SHUTDOWN (0x0111)"]),
        (
            IoRequest::Msg(IoMsg { mgrid: 14, subtype: 2 }, b"abcd"),
            &["Mgrid: _IOMGR_NETMGR  (0x000e)", "subtype: 0x0002"],
        ),
        (IoRequest::Dup(IoDup { info: info(), key: 15 }), INFO),
        (IoRequest::Close, &["Type: _IO_CLOSE (0x0116)"]),
        (IoRequest::Sync(IoSync { flag: 0x10 }), &["sync: 0x00000010, dsync"]),
        (IoRequest::Mmap(&[0; 84]), &["Type: _IO_MMAP (0x0112)"]),
        (IoRequest::Power(&[0; 12]), &["Type: _IO_POWER (0x011a)"]),
    ]
}

/// Lines of [`info`].
const INFO: &[&str] = &[
    "Node: 21 (0x00000015)",
    "Srcnode: 22 (0x00000016)",
    "Pid: 23",
    "Tid: 24",
    "Chid: 25",
    "Scoid: 26",
    "Coid: 27",
    "Msglen: 28",
    "Srcmsglen: 29",
    "Dstmsglen: 30",
    "Priority: 31",
    "Flags: 32",
];

/// KIF messages that the vectors lack, and lines that tshark prints of them.
fn messages(endian: Endian) -> Vec<(KifMessage, &'static [u8], &'static [&'static str])> {
    let connect = Connect { version: 81, server_pid: 82, server_chid: 83, client_id: 84, client_pid: 85 };
    let groups = Groups::new(&[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    let cred =
        Cred { nd: Nd(86), pid: 87, sid: 88, flags: Cred::STOPPED, ruid: 89, groups, ..Cred::default() };
    let send = MsgSend { server_id: 90, client_handle: 91, vinfo: vinfo(), nbytes: 4 };
    let transfer = Transfer { status: 92, handle: 93, offset: 94, nbytes: 3 };
    let pulse = Pulse { server_id: 95, client_handle: 96, vinfo: vinfo(), code: -1, ..Pulse::default() };
    let close: &[u8] = if endian == Endian::Little { &[0x16, 1, 4, 0] } else { &[1, 0x16, 0, 4] };
    vec![
        (
            KifMessage::ConnectMsgSend(connect, Some(cred), send, None),
            close,
            &[
                "Version: 0x00000051",
                "Server_pid: 82",
                "Server_chid: 0x00000053 (83)",
                "Client_id: 0x00000054 (84)",
                "Client_pid: 85",
                "Nd: 86 (0x00000056)",
                "Pid: 87",
                "Sid: 88",
                "Ruid: 89",
                "Grouplist: 1 2 3 4 5 6 7 8",
                "Server_id: 90",
                "Client_handle: 91",
            ],
        ),
        (
            KifMessage::MsgWrite(transfer),
            b"abc",
            &["Status: 92", "Handle: 93", "Offset: 94 (0x0000005e)", "Nbytes: 3 (0x00000003)"],
        ),
        (
            KifMessage::MsgReadError(transfer),
            b"",
            &["Status: 92", "Handle: 93", "Offset: 94 (0x0000005e)", "Nbytes: 3 (0x00000003)"],
        ),
        (KifMessage::ConnectPulse(connect, Some(cred), pulse, None), b"", &["Size: 0x0064"]),
    ]
}

/// Every sample in one order, with the lines to expect.
fn samples(endian: Endian) -> Vec<(Vec<u8>, &'static [&'static str])> {
    let requests = requests(endian).into_iter().map(|(request, lines)| (send(request, endian), lines));
    let messages = messages(endian).into_iter().map(|(kif, data, lines)| (message(kif, data, endian), lines));
    requests.chain(messages).collect()
}

#[test]
fn sent_frames_are_well_formed() {
    let texts = [Endian::Little, Endian::Big].map(|endian| {
        let (frames, lines): (Vec<_>, Vec<_>) = samples(endian).into_iter().unzip();
        let dissected = dissect(&format!("sent-{endian:?}"), &frames, true);
        for (number, (frame, lines)) in dissected.iter().zip(lines).enumerate() {
            let name = format!("{endian:?} sample {number}");
            check_well_formed(&name, frame);
            check_lines(&name, frame, lines);
            assert!(
                frame.iter().any(|line| line.starts_with("crc32:") && line.ends_with("[correct]")),
                "{name}"
            );
        }
        dissected
    });
    // The same values in both orders.
    let [little, big] = texts;
    for (little, big) in little.iter().zip(&big) {
        let plain = |frame: &[String]| {
            // Raw bytes are as they are.
            let lines = from_layer(frame, "KIF").iter().filter(|line| !line.starts_with("Extra Data:"));
            lines.map(|line| line.replace("BIG_ENDIAN", "LITTLE_ENDIAN")).collect::<Vec<_>>()
        };
        assert_eq!(plain(little), plain(big));
    }
}
