//! T00, T07, T09 to T16, T19 to T25, T33, T34, T37: the kernel interface and what it carries.

use crate::transport::read_4096;
use crate::{CLIENT_ID, HANDLE, SERVER_ID};
use crate::{check, check_alpha, check_beta, from_alpha, from_beta, kif_payload, vinfo};
use keelson_qnet_wire::frame::Mac;
use keelson_qnet_wire::io::{
    ConnectSubtype, Dcmd, Extra, FileType, IoConnect, IoDevctl, IoReadWrite, IoRequest, MsgType, Parts,
    ioflag,
};
use keelson_qnet_wire::kif::{
    Connect, ConnectDeath, ConnectFail, ConnectSuccess, Cred, Disconnect, Event, Groups, KifMessage, MsgRead,
    MsgSend, Pulse, Sigevent, Signal, Transfer, Unblock, VtidInfo,
};
use keelson_qnet_wire::l4::{Header, Kind};
use keelson_qnet_wire::proc::{ProcWait, type_and_subtype};
use keelson_qnet_wire::{Endian, Errno, Nd};

/// The message to a resource manager as bytes, after checking that it decodes to the same.
fn io(request: IoRequest<'_>) -> Vec<u8> {
    let mut bytes = vec![0xee; 256];
    let len = request.emit(&mut bytes, Endian::Little).unwrap();
    bytes.truncate(len);
    let parts: Vec<_> = Parts::new(&bytes, Endian::Little).collect();
    let [Ok(part)] = parts[..] else { panic!("not one part") };
    assert_eq!(IoRequest::decode(part, Endian::Little), Ok(request));
    bytes
}

fn check_send(name: &str, seq: u32, vinfo: VtidInfo, message: &[u8]) {
    let nbytes = message.len() as u32;
    let send = MsgSend { server_id: SERVER_ID, client_handle: HANDLE, vinfo, nbytes };
    let payload = kif_payload(KifMessage::MsgSend(send, None), message);
    assert_eq!(payload[..MsgSend::LEN], send.encode(Endian::Little));
    check_alpha(name, from_alpha(Kind::User, seq, payload.len() as u32), &payload);
}

fn check_client(name: &str, seq: u32, message: KifMessage, data: &[u8]) {
    let payload = kif_payload(message, data);
    check_alpha(name, from_alpha(Kind::User, seq, payload.len() as u32), &payload);
}

fn check_server(name: &str, seq: u32, message: KifMessage, data: &[u8]) {
    let payload = kif_payload(message, data);
    check_beta(name, from_beta(seq, payload.len() as u32), &payload);
}

/// The one frame of a real node.
#[test]
fn captured() {
    let write = IoReadWrite { nbytes: 1, ..IoReadWrite::default() };
    let message = io(IoRequest::Write(write, b"\n"));
    let send = MsgSend {
        server_id: 0x4000_0267,
        client_handle: 278,
        vinfo: VtidInfo {
            tid: 1,
            coid: 2,
            priority: 10,
            srcmsglen: 17,
            keydata: 17,
            srcnd: Nd(3),
            dstmsglen: 0,
            zero: 0,
        },
        nbytes: 17,
    };
    let header = Header {
        src_nd_for_dst: 3,
        dst_nd_for_src: 7,
        src_conn_id: 1,
        dst_conn_id: 3,
        seq: 103_852,
        length: 65,
        ..Header::new(Kind::User)
    };
    let (dst, src) = (Mac([0, 0x0e, 0x0c, 0xb8, 0x48, 0x51]), Mac([0, 0xd0, 0xc9, 0x95, 0x7d, 0xb0]));
    check("T00", dst, src, header, &kif_payload(KifMessage::MsgSend(send, None), &message));
}

fn cred() -> Cred {
    Cred {
        nd: Nd(9),
        pid: 12_299,
        sid: 8,
        flags: 0,
        ruid: 100,
        euid: 100,
        suid: 100,
        rgid: 50,
        egid: 50,
        sgid: 50,
        groups: Groups::new(&[50, 10]).unwrap(),
    }
}

#[test]
fn connecting() {
    let connect = Connect {
        version: Connect::VERSION,
        server_pid: 1,
        server_chid: 1,
        client_id: CLIENT_ID,
        client_pid: 12_299,
    };
    check_client("T07", 1, KifMessage::Connect(connect, Some(cred())), &[]);
    let success = ConnectSuccess {
        version: 1,
        server_id: SERVER_ID,
        client_id: CLIENT_ID,
        scoid: 0x4000_0003,
        nbytes: keelson_qnet_wire::kif::FIRST_SEND,
    };
    assert_eq!((SERVER_ID, success.scoid, success.nbytes), (1_073_741_831, 1_073_741_827, 8192));
    check_server("T09", 1, KifMessage::ConnectSuccess(success), &[]);
    assert_eq!(kif_payload(KifMessage::ConnectSuccess(success), &[]), success.encode(Endian::Little));
    assert_eq!((success.swapped().server_id, success.swapped().client_id), (CLIENT_ID, SERVER_ID));
    let fail = ConnectFail { version: 1, client_id: 0x1002, status: Errno::ESRCH.0 };
    check_server("T23", 7, KifMessage::ConnectFail(fail), &[]);
    check_client("T16", 5, KifMessage::Disconnect(Disconnect { server_id: SERVER_ID }), &[]);
    check_server("T24", 8, KifMessage::ConnectDeath(ConnectDeath { client_id: CLIENT_ID }), &[]);
}

#[test]
fn sending() {
    let open = IoConnect {
        subtype: ConnectSubtype::OPEN,
        file_type: FileType::ANY,
        reply_max: 2584,
        entry_max: 16,
        key: 0,
        handle: IoConnect::REMOTE_ROOT,
        ioflag: ioflag::RD,
        mode: 0,
        sflag: IoConnect::SH_DENYNO,
        access: 3,
        eflag: 0,
        path: b"etc/TIMEZONE",
        extra: Extra::None,
    };
    check_send("T10", 2, vinfo(53, 2584), &io(IoRequest::Connect(open)));
    check_alpha("T12", from_alpha(Kind::User, 3, 64), &read_4096());
    check_send("T33", 13, vinfo(8, 72), &io(IoRequest::Stat));
    let info = IoDevctl { dcmd: Dcmd::PROC_INFO, nbytes: 272 };
    check_send("T34", 14, vinfo(16, 288), &io(IoRequest::Devctl(info, &[])));
    let wait = ProcWait { idtype: ProcWait::PID, options: ProcWait::EXITED, id: 40_971 };
    let message = wait.encode(Endian::Little);
    assert_eq!(type_and_subtype(&message, Endian::Little), Ok((MsgType::PROC_WAIT, 1)));
    assert_eq!(ProcWait::decode(&message, Endian::Little), Ok(wait));
    check_send("T37", 15, VtidInfo { coid: 0x4000_0003, ..vinfo(12, 40) }, &message);
}

#[test]
fn transfers() {
    let reply = Transfer { status: 0, handle: HANDLE, offset: 0, nbytes: 0 };
    check_server("T11", 2, KifMessage::MsgReply(reply), &[]);
    let data = Transfer { status: 5, nbytes: 5, ..reply };
    check_server("T13", 3, KifMessage::MsgReply(data), b"UTC0\n");
    let error = Transfer { status: Errno::ENOENT.0 as u32, ..reply };
    check_server("T14", 4, KifMessage::MsgError(error), &[]);
    let read = MsgRead { msgread_handle: HANDLE, client_handle: 0x3001, offset: 8192, nbytes: 8192 };
    check_server("T19", 5, KifMessage::MsgRead(read), &[]);
    let xfer = Transfer { status: 0, handle: 0x3001, offset: 8192, nbytes: 8 };
    check_client("T20", 8, KifMessage::MsgReadXfer(xfer), b"ABCDEFGH");
    // The arrays of the data path are the same bytes.
    let front = |message, data| kif_payload(message, data)[..20].to_vec();
    assert_eq!(front(KifMessage::MsgRead(read), b""), read.encode(Endian::Little));
    assert_eq!(front(KifMessage::MsgReply(data), b"UTC0\n"), data.reply(Endian::Little));
    assert_eq!(front(KifMessage::MsgError(error), b""), error.error(Endian::Little));
    assert_eq!(front(KifMessage::MsgReadXfer(xfer), b"ABCDEFGH"), xfer.read_xfer(Endian::Little));
    assert_eq!(front(KifMessage::MsgWrite(data), b"UTC0\n"), data.write(Endian::Little));
    assert_eq!(front(KifMessage::MsgReadError(error), b""), error.read_error(Endian::Little));
}

#[test]
fn notifying() {
    let pulse = Pulse {
        server_id: SERVER_ID,
        client_handle: HANDLE,
        vinfo: vinfo(0, 0),
        code: 5,
        value: 0x1234,
        priority: 15,
        ..Pulse::default()
    };
    check_client("T15", 4, KifMessage::Pulse(pulse, None), &[]);
    let sigevent = Sigevent { notify: 4, signo_or_coid: 0x4000_0001, value: 0x55, code: 6, priority: 21 };
    check_server("T21", 6, KifMessage::Event(Event { client_handle: HANDLE, sigevent }), &[]);
    let unblock = Unblock { server_id: SERVER_ID, client_handle: HANDLE, tid: 1 };
    check_client("T22", 9, KifMessage::Unblock(unblock), &[]);
    let signal = Signal { client_handle: HANDLE, pid: -40_971, tid: 0, signo: 15, code: 0, value: 0 };
    check_client("T25", 10, KifMessage::Signal(signal, Some(cred())), &[]);
}
