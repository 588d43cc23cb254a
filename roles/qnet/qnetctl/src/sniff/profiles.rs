//! What nodes were seen to do: the rows of section 28, each answered by the first frame that shows it.

use super::describe::Seen;
use keelson_qnet_wire::Endian;
use keelson_qnet_wire::io::MsgType;
use keelson_qnet_wire::ipv4::{self, Ipv4};
use keelson_qnet_wire::kif::KifMessage;
use keelson_qnet_wire::l4::{Flags, Header, Kind, Layer, Packet};
use keelson_qnet_wire::lr::{LrKind, LrPacket};
use keelson_qnet_wire::nr::NrMessage;
use keelson_qnet_wire::tcs::Init;
use std::collections::BTreeMap;

/// Nodes that are observed.
const NODES: usize = 1024;

/// What one node was seen to do: row of section 28 and question, answer. In the order of the rows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Ways {
    /// Its name, once it said it.
    pub name: String,
    /// Frames it sent.
    pub frames: u64,
    /// Row, what it is about, what was seen.
    pub answers: BTreeMap<(u8, &'static str), String>,
    /// Connections it opened, with the number its INIT had.
    opened: BTreeMap<u32, u32>,
    /// Attachments it asked for, and has no answer to.
    attaching: Vec<u32>,
    /// Connections on which it sent a message: the number of the last one.
    sent: BTreeMap<u32, u32>,
    /// Numbers it acknowledged last, by connection.
    acked: BTreeMap<u32, u32>,
}

impl Ways {
    /// Remembers the first answer to a question.
    fn saw(&mut self, row: u8, about: &'static str, answer: impl Into<String>) {
        self.answers.entry((row, about)).or_insert_with(|| answer.into());
    }
}

/// Observes nodes by their addresses.
#[derive(Default)]
pub struct Observer {
    nodes: BTreeMap<String, Ways>,
}

impl Observer {
    /// What was seen, by address.
    pub fn nodes(&self) -> &BTreeMap<String, Ways> {
        &self.nodes
    }

    /// Learns from a frame. `whole` is the frame itself.
    pub fn observe(&mut self, seen: &Seen<'_>, whole: &[u8], is_ip: bool) {
        let Ok(packet) = &seen.packet else { return };
        if self.nodes.len() >= NODES && !self.nodes.contains_key(&seen.from) {
            return;
        }
        let pending = self.nodes.get(&seen.to).map(|other| other.attaching.clone()).unwrap_or_default();
        let messages = self.nodes.get(&seen.to).map(|other| other.sent.clone()).unwrap_or_default();
        let ways = self.nodes.entry(seen.from.clone()).or_default();
        ways.frames += 1;
        if is_ip && let Ok((_, payload)) = Ipv4::decode(whole) {
            let padded = ipv4::l4_offset(payload) == Ok(ipv4::PAD);
            ways.saw(15, "padding under IP", if padded { "present" } else { "absent" });
        }
        if packet.header.endian == Endian::Big {
            ways.saw(0, "byte order", "big-endian");
        }
        let to_everybody = seen.to == keelson_qnet_wire::frame::Mac::BROADCAST.to_string();
        match packet.header.kind {
            Kind::Lres => lr(ways, packet, to_everybody),
            Kind::TcsInit | Kind::TcsRemUp | Kind::TcsUp => tcs(ways, packet),
            Kind::TcsDown => ways.saw(19, "DOWN sent by", opener(ways, &packet.header)),
            Kind::TcsRemDown => ways.saw(19, "REM_DOWN sent by", opener(ways, &packet.header)),
            Kind::Ack => ack(ways, &packet.header, &messages),
            Kind::Nack => ways.saw(8, "NACK", fields(&packet.header)),
            Kind::User | Kind::UserData => user(ways, packet, &pending),
        }
    }
}

fn fields(header: &Header) -> String {
    let Header { flags, layer, offset, length, .. } = header;
    format!("flags {:#x}, layer {}, offset {offset}, length {length}", flags.0, layer.to_wire())
}

/// Whether the sender of a DOWN opened the connection.
fn opener(ways: &Ways, header: &Header) -> &'static str {
    if ways.opened.contains_key(&header.src_conn_id) { "opener" } else { "acceptor" }
}

fn lr(ways: &mut Ways, packet: &Packet<'_>, to_everybody: bool) {
    let Ok((lr, form)) = LrPacket::decode(packet.payload, packet.header.endian) else { return };
    ways.name = lr.src.name.into();
    ways.saw(1, "LR string length counts NUL", if form.counts_nul { "yes" } else { "no" });
    if lr.src.mac.is_some() {
        let answer = format!("{} bytes, first byte {}", form.address_len, form.address_first);
        ways.saw(2, "LR address", answer);
    }
    ways.saw(4, "domain", if lr.src.domain.is_empty() { "none" } else { lr.src.domain });
    if to_everybody && lr.dst.name.is_empty() {
        let kind = if lr.kind == LrKind::Reply { "reply" } else { "request" };
        ways.saw(3, "announcement", format!("{kind}, empty destination"));
    }
}

fn tcs(ways: &mut Ways, packet: &Packet<'_>) {
    let header = &packet.header;
    if header.kind == Kind::TcsInit {
        if let Ok(init) = Init::decode(packet.payload, header.endian) {
            ways.name = init.src_name.into();
        }
        ways.opened.insert(header.src_conn_id, header.seq);
        ways.saw(6, "seq of INIT", header.seq.to_string());
    }
    let Header { flags, layer, seq, .. } = header;
    let about = match header.kind {
        Kind::TcsInit => "INIT",
        Kind::TcsRemUp => "REM_UP",
        _ => "UP",
    };
    ways.saw(5, about, format!("flags {:#x}, layer {}, seq {seq}", flags.0, layer.to_wire()));
}

fn ack(ways: &mut Ways, header: &Header, messages: &BTreeMap<u32, u32>) {
    ways.saw(9, "ACK", format!("flags {:#x}, layer {}", header.flags.0, header.layer.to_wire()));
    let previous = ways.acked.insert(header.dst_conn_id, header.seq);
    // Numbers left out that had been sent: one ACK stood for several.
    let jump = previous.is_some_and(|previous| header.seq.wrapping_sub(previous) as i32 > 1);
    if jump && messages.contains_key(&header.dst_conn_id) {
        ways.saw(7, "ACK left numbers out", "cumulative, or frames were missed");
    }
}

fn user(ways: &mut Ways, packet: &Packet<'_>, pending: &[u32]) {
    let header = &packet.header;
    if let Some(isn) = ways.opened.get(&header.src_conn_id).copied()
        && !ways.sent.contains_key(&header.src_conn_id)
    {
        ways.saw(6, "first message", format!("INIT's seq + {}", header.seq.wrapping_sub(isn)));
    }
    ways.sent.insert(header.src_conn_id, header.seq);
    if !header.flags.contains(Flags::FIRST) {
        return;
    }
    match header.layer {
        Layer::Seq => ways.saw(10, "heartbeat or hole filler", "SEQ message"),
        Layer::Nr => {
            if let Ok(NrMessage::PingReq) = NrMessage::decode(packet.payload, header.endian) {
                ways.saw(10, "ping", "NR PING_REQ");
            }
        }
        Layer::Kif => kif(ways, packet, pending),
        _ => {}
    }
}

fn kif(ways: &mut Ways, packet: &Packet<'_>, pending: &[u32]) {
    let Ok(decoded) = KifMessage::decode_front(packet.payload, usize::MAX / 2) else { return };
    match decoded.message {
        KifMessage::Connect(connect, _) => {
            ways.saw(11, "KIF version", connect.version.to_string());
            ways.saw(13, "attaches by", "CONNECT, then MSGSEND");
            remember(ways, connect.client_id);
        }
        KifMessage::ConnectMsgSend(connect, ..) => {
            ways.saw(11, "KIF version", connect.version.to_string());
            ways.saw(13, "attaches by", "CONNECT_MSGSEND");
            remember(ways, connect.client_id);
        }
        KifMessage::ConnectFail(fail) => ways.saw(11, "KIF version", fail.version.to_string()),
        KifMessage::ConnectSuccess(success) => {
            ways.saw(11, "KIF version", success.version.to_string());
            if pending.contains(&success.client_id) {
                ways.saw(12, "CONNECT_SUCCESS", "server_id first");
            } else if pending.contains(&success.server_id) {
                ways.saw(12, "CONNECT_SUCCESS", "client_id first");
            }
        }
        KifMessage::MsgSend(send, cred) => {
            if cred.is_some() {
                ways.saw(16, "credentials in MSGSEND", "present");
            }
            let data = packet.payload.get(decoded.data.start..);
            let kind =
                data.and_then(|data| data.first_chunk()).map(|kind| MsgType(u16::from_le_bytes(*kind)));
            if kind == Some(MsgType::IO_STAT) && decoded.endian == Endian::Little {
                ways.saw(18, "room for struct stat", format!("{} bytes", send.vinfo.dstmsglen));
            }
        }
        _ => {}
    }
}

/// Attachments that wait are few; the newest matter.
fn remember(ways: &mut Ways, client_id: u32) {
    ways.attaching.push(client_id);
    if ways.attaching.len() > 64 {
        ways.attaching.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::describe;
    use super::*;

    /// The specification's frames (section 25), kept as raw files beside the codecs.
    fn vectors() -> Vec<(String, Vec<u8>)> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../wire/corpus");
        let mut files: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let name = |path: &std::path::Path| path.file_stem().unwrap().to_string_lossy().into_owned();
        files.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
    }

    #[test]
    fn every_vector_has_words() {
        let mut texts = BTreeMap::new();
        for (name, bytes) in vectors() {
            let seen = Seen::of(&bytes, false).unwrap_or_else(|| panic!("{name}"));
            let packet = seen.packet.unwrap_or_else(|error| panic!("{name}: {error}"));
            texts.insert(name.to_uppercase()[..3].to_string(), describe(&packet));
        }
        for (name, wanted) in [
            ("T01", "LR request: alpha.lab.test asks for beta.lab.test"),
            ("T03", "LR announcement: beta.lab.test"),
            ("T04", "TCS_INIT 0x21->0x0 alpha.lab.test -> beta.lab.test"),
            ("T07", "0x21->0x31 seq 1 CONNECT client 0x1001 to pid 1 chid 0x1 as 100:50"),
            ("T08", "ACK 0x31->0x21 seq 1"),
            ("T14", "0x42->0x52 seq 4 MSGERROR handle 0x2001: ENOENT (2): No such file or directory"),
            ("T17", "NACK 0x31->0x21 seq 6 offset 1456 length 2912"),
            ("T18", "0x21->0x31 seq 7 hole filler"),
            ("T26", "0x21->0x31 seq 11 NR 119: which nd for gamma.lab.test?"),
            ("T29", "0x21->0x31 seq 12 fragment 4128+16"),
        ] {
            assert_eq!(texts[name], wanted, "{name}");
        }
        let ends = |name: &str, end: &str| assert!(texts[name].ends_with(end), "{}", texts[name]);
        ends("T10", "53 bytes: _IO_CONNECT (0x100) ConnectSubtype(2) etc/TIMEZONE");
        ends("T12", "16 bytes: _IO_READ (0x101) 4096");
        ends("T30", ", CRC correct");
        ends("T31", ", big-endian");
    }

    #[test]
    fn ways_of_the_nodes_in_the_vectors() {
        let mut observer = Observer::default();
        for (_, bytes) in vectors() {
            let seen = Seen::of(&bytes, false).unwrap();
            observer.observe(&seen, &bytes, false);
        }
        let alpha = &observer.nodes()["02:00:00:00:0a:01"];
        assert_eq!(alpha.name, "alpha");
        let answer = |row, about| alpha.answers.get(&(row, about)).map(String::as_str);
        assert_eq!(answer(1, "LR string length counts NUL"), Some("yes"));
        assert_eq!(answer(5, "INIT"), Some("flags 0x3, layer 0, seq 0"));
        assert_eq!(answer(6, "first message"), Some("INIT's seq + 1"));
        assert_eq!(answer(10, "heartbeat or hole filler"), Some("SEQ message"));
        assert_eq!(answer(11, "KIF version"), Some("1"));
        assert_eq!(answer(18, "room for struct stat"), Some("72 bytes"));
        let beta = &observer.nodes()["02:00:00:00:0b:02"];
        assert_eq!(beta.answers[&(3, "announcement")], "reply, empty destination");
        assert_eq!(beta.answers[&(12, "CONNECT_SUCCESS")], "server_id first");
        assert_eq!(beta.answers[&(9, "ACK")], "flags 0x3, layer 0");
    }

    #[test]
    fn foreign_and_broken_frames() {
        assert!(Seen::of(&[0; 60], false).is_none());
        let (_, t12) =
            vectors().into_iter().find(|(name, _)| name.to_uppercase().starts_with("T12")).unwrap();
        let mut long = t12.clone();
        long[16 + 28..16 + 30].copy_from_slice(&2000u16.to_le_bytes());
        assert!(Seen::of(&long, false).unwrap().packet.is_err());
        for len in 0..t12.len() {
            let Some(seen) = Seen::of(&t12[..len], false) else { continue };
            assert!(seen.packet.is_err(), "{len}");
        }
    }
}
