//! One frame in words.

use keelson_qnet_wire::frame::{Frame, FrameError};
use keelson_qnet_wire::io::{IoRequest, MsgType, Parts};
use keelson_qnet_wire::ipv4::{Ipv4, l4_offset};
use keelson_qnet_wire::kif::{Connect, KifMessage, MsgSend, Transfer};
use keelson_qnet_wire::l4::{Flags, Header, Kind, Layer, Packet};
use keelson_qnet_wire::lr::{LrKind, LrPacket};
use keelson_qnet_wire::nr::NrMessage;
use keelson_qnet_wire::tcs::Init;
use keelson_qnet_wire::{Endian, Errno};

/// A frame: who sent it to whom, and what it carries.
pub struct Seen<'a> {
    /// Ethernet or IP address of the sender.
    pub from: String,
    /// Ethernet or IP address of the receiver.
    pub to: String,
    /// What it carries, or why that cannot be read.
    pub packet: Result<Packet<'a>, String>,
}

impl<'a> Seen<'a> {
    /// Takes a frame apart; `None` when it is of another protocol.
    pub fn of(frame: &'a [u8], is_ip: bool) -> Option<Seen<'a>> {
        if is_ip { Seen::of_packet(frame) } else { Seen::of_frame(frame) }
    }

    fn of_frame(bytes: &'a [u8]) -> Option<Seen<'a>> {
        let [to, from] = [0, 6].map(|at| {
            let mac = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
            keelson_qnet_wire::frame::Mac(mac).to_string()
        });
        let packet = match Frame::decode(bytes) {
            Ok(frame) => Ok(frame.packet),
            Err(FrameError::EtherType(kind)) => {
                // IP inside of Ethernet: the other binding, seen from outside.
                let inner = (kind == 0x0800).then(|| bytes.get(14..)).flatten()?;
                return Seen::of_packet(inner);
            }
            Err(FrameError::Packet(error)) => Err(error.to_string()),
            Err(error @ FrameError::Short(_)) if bytes.get(12..14) == Some(&[0x82, 0x04]) => {
                Err(error.to_string())
            }
            Err(FrameError::Short(_)) => return None,
        };
        Some(Seen { from, to, packet })
    }

    fn of_packet(bytes: &'a [u8]) -> Option<Seen<'a>> {
        let (header, payload) = Ipv4::decode(bytes).ok()?;
        let packet = l4_offset(payload).map_err(|error| error.to_string()).and_then(|at| {
            Packet::decode(payload.get(at..).unwrap_or_default()).map_err(|error| error.to_string())
        });
        Some(Seen { from: header.src.to_string(), to: header.dst.to_string(), packet })
    }
}

/// A packet in words.
pub fn describe(packet: &Packet<'_>) -> String {
    let header = &packet.header;
    let ids = || format!("{:#x}->{:#x}", header.src_conn_id, header.dst_conn_id);
    let mut text = match header.kind {
        Kind::TcsInit => match Init::decode(packet.payload, header.endian) {
            Ok(init) => format!(
                "TCS_INIT {} {} -> {}",
                ids(),
                node(init.src_name, init.src_domain),
                node(init.dst_name, init.dst_domain)
            ),
            Err(error) => format!("TCS_INIT {}: {error}", ids()),
        },
        Kind::TcsRemUp => format!("TCS_REM_UP {}", ids()),
        Kind::TcsUp => format!("TCS_UP {}", ids()),
        Kind::TcsDown => format!("TCS_DOWN {}", ids()),
        Kind::TcsRemDown => format!("TCS_REM_DOWN {}", ids()),
        Kind::Ack => format!("ACK {} seq {}", ids(), header.seq),
        Kind::Nack => {
            format!("NACK {} seq {} offset {} length {}", ids(), header.seq, header.offset, header.length)
        }
        Kind::Lres => lr(packet.payload, header.endian),
        Kind::User | Kind::UserData => format!("{} seq {} {}", ids(), header.seq, user(packet)),
    };
    if packet.has_crc() {
        let state = if packet.check_crc().is_ok() { "correct" } else { "wrong" };
        text.push_str(&format!(", CRC {state}"));
    }
    if header.endian == Endian::Big {
        text.push_str(", big-endian");
    }
    text
}

fn node(name: &str, domain: &str) -> String {
    if domain.is_empty() { name.to_string() } else { format!("{name}.{domain}") }
}

fn lr(payload: &[u8], endian: Endian) -> String {
    let packet = match LrPacket::decode(payload, endian) {
        Ok((packet, _)) => packet,
        Err(error) => return format!("LR: {error}"),
    };
    let (src, dst) = (node(packet.src.name, packet.src.domain), node(packet.dst.name, packet.dst.domain));
    match packet.kind {
        LrKind::Request => format!("LR request: {src} asks for {dst}"),
        LrKind::Reply if packet.is_announcement() => format!("LR announcement: {src}"),
        LrKind::Reply => format!("LR reply: {src} to {dst}"),
    }
}

fn user(packet: &Packet<'_>) -> String {
    let Header { flags, offset, length, layer, endian, .. } = packet.header;
    if !flags.contains(Flags::FIRST) {
        return format!("fragment {offset}+{length}");
    }
    let whole = flags.contains(Flags::LAST);
    match layer {
        Layer::Kif => kif(packet.payload, whole),
        Layer::Nr => match NrMessage::decode(packet.payload, endian) {
            Ok(NrMessage::PingReq) => "NR ping".into(),
            Ok(NrMessage::PingAns) => "NR ping answer".into(),
            Ok(NrMessage::RemoteReq { id, name }) => format!("NR {id}: which nd for {name}?"),
            Ok(NrMessage::RemoteAns { id, nd }) => format!("NR {id}: nd {}", nd.0),
            Ok(NrMessage::RemoteError { id, status }) => format!("NR {id}: {status}"),
            Err(error) => format!("NR: {error}"),
        },
        Layer::Seq => "hole filler".into(),
        other => format!("layer {}, {length} bytes", other.to_wire()),
    }
}

fn kif(payload: &[u8], whole: bool) -> String {
    // Of a message in several fragments only the first is here: what it says of the rest is believed.
    let total = if whole { payload.len() } else { usize::MAX / 2 };
    let decoded = match KifMessage::decode_front(payload, total) {
        Ok(decoded) => decoded,
        Err(error) => return format!("KIF: {error}"),
    };
    let data = payload.get(decoded.data.start.min(payload.len())..decoded.data.end.min(payload.len()));
    let data = data.unwrap_or_default();
    let mut text = message(&decoded.message, data, decoded.endian);
    if decoded.truncated {
        text.push_str(", cut short");
    }
    text
}

fn message(message: &KifMessage, data: &[u8], endian: Endian) -> String {
    match message {
        KifMessage::Connect(body, cred) => {
            let who = cred.map(|cred| format!(" as {}:{}", cred.euid, cred.egid)).unwrap_or_default();
            format!("CONNECT {}{who}", connect(body))
        }
        KifMessage::ConnectMsgSend(body, _, send, _) => {
            format!("CONNECT_MSGSEND {} {}", connect(body), sent(send, data, endian))
        }
        KifMessage::ConnectSuccess(body) => format!(
            "CONNECT_SUCCESS server {:#x} client {:#x} scoid {:#x}",
            body.server_id, body.client_id, body.scoid
        ),
        KifMessage::ConnectFail(body) => {
            format!("CONNECT_FAIL client {:#x}: {}", body.client_id, Errno(body.status))
        }
        KifMessage::Unblock(body) => format!("UNBLOCK handle {:#x}", body.client_handle),
        KifMessage::MsgSend(body, _) => format!("MSGSEND {}", sent(body, data, endian)),
        KifMessage::MsgRead(body) => {
            format!("MSGREAD handle {:#x} {}+{}", body.msgread_handle, body.offset, body.nbytes)
        }
        KifMessage::MsgReadXfer(body) => format!("MSGREAD_XFER {}", moved(body)),
        KifMessage::MsgWrite(body) => format!("MSGWRITE {}", moved(body)),
        KifMessage::MsgReply(body) => format!("MSGREPLY status {} {}", body.status as i32, moved(body)),
        KifMessage::MsgError(body) => {
            format!("MSGERROR handle {:#x}: {}", body.handle, Errno(body.status as i32))
        }
        KifMessage::MsgReadError(body) => {
            format!("MSGREAD_ERROR handle {:#x}: {}", body.handle, Errno(body.status as i32))
        }
        KifMessage::Event(body) => {
            format!("EVENT handle {:#x} notify {}", body.client_handle, body.sigevent.notify)
        }
        KifMessage::Pulse(body, _) => {
            format!("PULSE server {:#x} code {} value {}", body.server_id, body.code, body.value as i32)
        }
        KifMessage::ConnectPulse(body, _, pulse, _) => {
            format!("CONNECT_PULSE {} code {} value {}", connect(body), pulse.code, pulse.value as i32)
        }
        KifMessage::Signal(body, _) => format!("SIGNAL {} to {}", body.signo, body.pid),
        KifMessage::Disconnect(body) => format!("DISCONNECT server {:#x}", body.server_id),
        KifMessage::ConnectDeath(body) => format!("CONNECT_DEATH client {:#x}", body.client_id),
    }
}

fn connect(body: &Connect) -> String {
    format!("client {:#x} to pid {} chid {:#x}", body.client_id, body.server_pid, body.server_chid)
}

fn moved(body: &Transfer) -> String {
    format!("handle {:#x} {}+{}", body.handle, body.offset, body.nbytes)
}

fn sent(send: &MsgSend, data: &[u8], endian: Endian) -> String {
    let MsgSend { server_id, client_handle, vinfo, .. } = send;
    let (len, what) = (vinfo.srcmsglen, carried(data, endian));
    format!("server {server_id:#x} handle {client_handle:#x} {len} bytes: {what}")
}

/// What a message for a server asks.
fn carried(data: &[u8], endian: Endian) -> String {
    let Some(Ok(part)) = Parts::new(data, endian).next() else {
        let kind = data.first_chunk().map(|bytes| match endian {
            Endian::Little => MsgType(u16::from_le_bytes(*bytes)),
            Endian::Big => MsgType(u16::from_be_bytes(*bytes)),
        });
        return kind.map_or_else(|| "nothing".into(), |kind| kind.to_string());
    };
    let name = part.kind.to_string();
    match IoRequest::decode(part, endian) {
        Ok(IoRequest::Connect(connect)) => {
            format!("{name} {:?} {}", connect.subtype, String::from_utf8_lossy(connect.path))
        }
        Ok(IoRequest::Read(read)) => format!("{name} {}", read.nbytes),
        Ok(IoRequest::Write(write, _)) => format!("{name} {}", write.nbytes),
        Ok(IoRequest::Devctl(devctl, _)) => format!("{name} {:#x}", devctl.dcmd.0),
        _ => name,
    }
}
