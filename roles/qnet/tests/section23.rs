//! Section 23, rule by rule: what a node does with frames and messages that it should not get. One test for each, from
//! outside; what else there is for a rule:
//!
//! | rule | also |
//! |---|---|
//! | 1 header checks, unknown types and layers | `wire/tests/vectors/damage.rs`, `wire/tests/properties/hostile.rs`, `fuzz` `qnet_wire` |
//! | 2 fragments | `l4/tests/hostile.rs`: `contradictions`, `unfinished_messages`; `fuzz` `qnet_l4` |
//! | 3 ids belong to an address | `l4/tests/hostile.rs`: `foreign_addresses`, `stolen_names`, `half_open_connections` |
//! | 4 KIF sizes, groups, handles | `tests/kif/hostile.rs`; `wire/tests/vectors/kif.rs`; `fuzz` `qnet_kif` |
//! | 5 LR and NR | `wire/src/lr/decode.rs`: `rejections`; `l4/tests/names.rs`: `published_lr_frames` |
//! | 6 `_IO_CONNECT` | `tests/io/nets.rs`: `refusals`; `tests/io/hostile.rs`; `fuzz` `qnet_io` |
//! | 7 spawn | `wire/tests/spawn.rs`, `wire/tests/properties/procs.rs` |
//! | 8 rate limits | `l4/limits.rs`; `l4/tests/hostile.rs`: `refusals_are_limited`; `l4/tests/names.rs`: `replies_are_limited` |
//! | 9 a note for operators | no test: the manual says it |
//! | all of them at once (R21) | `l4/tests/hostile.rs`: `mutated_vectors`; `tests/kif/hostile.rs`; `tests/io/hostile.rs` |

use keelson_hal::{Entropy, Instant};
use keelson_qnet::l4::{Options, Transport};
use keelson_qnet::link::{LinkAddress, LinkId, LinkPort};
use keelson_qnet::nodes::Identity;
use keelson_qnet::sessions::SessionEvent;
use keelson_qnet_wire::io::{ConnectError, ConnectSubtype, Extra, IoConnect};
use keelson_qnet_wire::kif::{KifError, KifMessage};
use keelson_qnet_wire::l4::{Flags, Header, Kind, Layer};
use keelson_qnet_wire::lr::{LrForm, LrKind, LrPacket, Party};
use keelson_qnet_wire::nr::NrMessage;
use keelson_qnet_wire::proc::{Spawn, SpawnError};
use keelson_qnet_wire::tcs::Init;
use keelson_qnet_wire::{Endian, Errno, Mac};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const LINK: LinkId = LinkId(0);
const OWN: LinkAddress = LinkAddress::Mac([2, 0, 0, 0, 0, 1]);
const BETA: LinkAddress = LinkAddress::Mac([2, 0, 0, 0, 0, 2]);
const STRANGER: LinkAddress = LinkAddress::Mac([2, 0, 0, 0, 0, 9]);
/// Beta's id of its connection, and the one that it gives to ours.
const TX: u32 = 0x42;
const RX: u32 = 0x52;

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x21);
    }
}

#[derive(Default)]
struct Port(RefCell<Vec<Header>>);

impl LinkPort for Port {
    fn name(&self) -> &str {
        "en0"
    }

    fn address(&self) -> LinkAddress {
        OWN
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn is_up(&self) -> bool {
        true
    }

    fn room(&self) -> usize {
        100
    }

    fn send(&self, _: Option<LinkAddress>, head: &[u8; Header::LEN], _: &[&[u8]]) -> bool {
        self.0.borrow_mut().push(Header::decode(head).unwrap());
        true
    }

    fn flush(&self) {}
}

/// Alpha, to which beta has a connection, and which has one to beta.
struct Node {
    transport: Transport,
    port: Rc<Port>,
    now: Instant,
    /// Alpha's ids of beta's connection and of its own.
    rx: u32,
    tx: u32,
}

impl Node {
    fn new() -> Node {
        let now = Instant::ZERO + Duration::from_secs(1);
        let identity = Identity::new("alpha", "lab").unwrap();
        let port = Rc::new(Port::default());
        let transport = Transport::new(Options::default(), identity, &Fixed, None, now);
        let mut node = Node { transport, port: port.clone(), now, rx: 0, tx: 0 };
        assert!(node.transport.add_link(now, LINK, port));
        let mut payload = [0; 100];
        let init = Init {
            src_name: "beta",
            src_domain: "lab",
            dst_name: "alpha",
            dst_domain: "lab",
            shares_acks: false,
        };
        let len = init.emit(&mut payload, Endian::Little).unwrap();
        node.give(BETA, Header { src_conn_id: TX, ..Header::new(Kind::TcsInit) }, &payload[..len]);
        let of = |kind| {
            node.port.0.borrow().iter().find(|header| header.kind == kind).map(|header| header.src_conn_id)
        };
        (node.rx, node.tx) = (of(Kind::TcsRemUp).unwrap(), of(Kind::TcsInit).unwrap());
        let up = Header { src_conn_id: RX, dst_conn_id: node.tx, ..Header::new(Kind::TcsRemUp) };
        node.give(BETA, up, &[]);
        node.give(BETA, Header { src_conn_id: TX, dst_conn_id: node.rx, ..Header::new(Kind::TcsUp) }, &[]);
        node.port.0.borrow_mut().clear();
        node
    }

    fn raw(&mut self, from: LinkAddress, bytes: &[u8]) {
        self.transport.input(self.now, LINK, from, false, bytes);
        self.transport.poll(self.now);
    }

    fn give(&mut self, from: LinkAddress, header: Header, payload: &[u8]) {
        let header = Header { length: payload.len() as u32, ..header };
        self.raw(from, &[&header.encode()[..], payload].concat());
    }

    /// A fragment on beta's connection.
    fn user(&mut self, seq: u32, flags: u8, offset: u32, payload: &[u8]) {
        let header = Header { src_conn_id: TX, dst_conn_id: self.rx, seq, offset, ..Header::new(Kind::User) };
        self.give(BETA, Header { flags: Flags(flags), ..header }, payload);
    }

    fn sent(&self, kind: Kind) -> usize {
        self.port.0.borrow().iter().filter(|header| header.kind == kind).count()
    }

    /// Messages that were delivered.
    fn messages(&mut self) -> usize {
        let events = std::iter::from_fn(|| self.transport.take_event());
        events.filter(|event| matches!(event, SessionEvent::Message { .. })).count()
    }
}

#[test]
fn rule_1_headers() {
    let mut node = Node::new();
    let (rx, whole) = (node.rx, Header::new(Kind::User));
    let good = Header { src_conn_id: TX, dst_conn_id: rx, seq: 1, length: 4, ..whole };
    let bytes = [&good.encode()[..], b"good"].concat();
    let with = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        bytes
    };
    let bad = [
        bytes[..35].to_vec(),
        with(0, 0x2b),
        with(0, 0),
        with(1, 0x06),
        with(1, 0x0c),
        with(1, 0xff),
        // LR and layers that do not exist are no data.
        with(3, 2),
        with(3, 4),
        with(28, 5),
        with(31, 0x80),
        vec![],
    ];
    for bytes in &bad {
        node.raw(BETA, bytes);
    }
    let counters = node.transport.counters();
    assert_eq!((counters.rxd_bad_l4, node.messages()), (bad.len() as u64, 0));
    // A wrong CRC is dropped in silence.
    let mut sealed = Header { length: 4, ..good };
    sealed.seal(&[b"good"]);
    let mut wrong = [&sealed.encode()[..], b"good"].concat();
    wrong[36] ^= 1;
    node.raw(BETA, &wrong);
    assert_eq!((node.transport.counters().rxd_bad_crc, node.messages()), (1, 0));
    assert_eq!(node.port.0.borrow().len(), 0, "nobody is answered");
    // A trailer is none of its business.
    node.raw(BETA, &[&bytes[..], &[0; 20]].concat());
    assert_eq!(node.messages(), 1);
}

#[test]
fn rule_2_fragments() {
    let mut node = Node::new();
    let bad = |node: &Node| node.transport.counters().rxd_bad_l4;
    node.user(1, Flags::FIRST.0, 8, b"first behind the start");
    node.user(1, 0, 0, b"not first at the start");
    assert_eq!(bad(&node), 2);
    node.user(1, Flags::LAST.0, 8, b"12345678");
    node.user(1, Flags::LAST.0, 8, b"1234567890");
    node.user(1, 0, 16, b"behind the end");
    assert_eq!(bad(&node), 4, "the end does not move");
    node.user(1, Flags::FIRST.0, 0, b"abcdefgh");
    let event = std::iter::from_fn(|| node.transport.take_event()).find_map(|event| match event {
        SessionEvent::Message { message, .. } => Some(message.bytes().to_vec()),
        _ => None,
    });
    assert_eq!(event.as_deref(), Some(&b"abcdefgh12345678"[..]));
    // Larger than max_msg: that peer is not spoken to any more.
    node.user(2, 0, 131_072, b"x");
    assert_eq!((node.transport.counters().rx_too_big, node.transport.occupancy().rx), (1, 0));
    assert_eq!(node.sent(Kind::TcsRemDown), 1);
}

#[test]
fn rule_3_connections_belong_to_addresses() {
    let mut node = Node::new();
    let (rx, tx) = (node.rx, node.tx);
    let user = Header { src_conn_id: TX, dst_conn_id: rx, seq: 1, ..Header::new(Kind::User) };
    node.give(STRANGER, user, b"from another address");
    node.give(BETA, Header { src_conn_id: TX + 1, ..user }, b"of another connection");
    node.give(BETA, Header { dst_conn_id: tx, ..user }, b"on a connection of ours");
    for kind in [Kind::Ack, Kind::Nack] {
        let answer = Header { src_conn_id: RX, dst_conn_id: tx, ..Header::new(kind) };
        node.give(STRANGER, answer, &[]);
        node.give(BETA, Header { src_conn_id: TX, dst_conn_id: rx, ..answer }, &[]);
    }
    assert_eq!((node.transport.counters().pkts_rxd_no_l4, node.messages()), (7, 0));
    assert_eq!(node.sent(Kind::TcsRemDown), 3, "only data is answered");
    assert_eq!((node.transport.occupancy().rx, node.transport.occupancy().tx), (1, 1));
    node.give(BETA, user, b"and this is right");
    assert_eq!(node.messages(), 1);
}

#[test]
fn rule_4_kif_structures() {
    let head = |kind: u16, size: u16, len: usize| {
        let mut bytes = vec![0; len];
        bytes[..2].copy_from_slice(&kind.to_le_bytes());
        bytes[2..4].copy_from_slice(&size.to_le_bytes());
        bytes
    };
    let bases = [24, 24, 24, 16, 16, 48, 20, 20, 20, 20, 20, 24, 64, 28, 8, 8, 20, 24];
    for (kind, base) in (0_u16..).zip(bases) {
        // The size is the structure's at least, and no more than there is.
        for (size, len) in [(base - 1, 300), (base, usize::from(base) - 1), (base + 64, usize::from(base))] {
            let decoded = KifMessage::decode(&head(kind, size, len));
            assert!(decoded.is_err(), "type {kind} of size {size} in {len} bytes: {decoded:?}");
        }
    }
    assert!(matches!(KifMessage::decode(&head(18, 8, 8)), Err(KifError::Type(_))), "there is no type 18");
    // Nine groups.
    let mut groups = head(0x0100, 24 + 44 + 36, 24 + 44 + 36);
    groups[24 + 40] = 9;
    assert!(KifMessage::decode(&groups).is_err());
    groups[24 + 40] = 8;
    assert!(KifMessage::decode(&groups).is_ok());
    // More data announced than there are: those that are there count.
    let mut send = head(5, 48, 48 + 3);
    send[44] = 200;
    let decoded = KifMessage::decode(&send).unwrap();
    assert_eq!((decoded.truncated, decoded.data.len()), (true, 3));
}

#[test]
fn rule_5_resolvers() {
    let mut node = Node::new();
    let before = node.transport.occupancy().nodes;
    let src = Party { name: "gamma", domain: "lab", mac: Some(Mac([2, 0, 0, 0, 0, 9])) };
    let packet = LrPacket { kind: LrKind::Reply, src, dst: Party::default() };
    let mut payload = [0; 200];
    let len = packet.emit(&mut payload, Endian::Little, LrForm::default()).unwrap();
    let payload = &payload[..len];
    // Version, type, total length, offset and length of the name, a byte of the name.
    let changes = [(0, 2), (2, 3), (4, 255), (11, 1), (12, 200), (56, b'/'), (56, 0)];
    for (at, value) in changes {
        let mut bad = payload.to_vec();
        bad[at] = value;
        node.give(STRANGER, Header::new(Kind::Lres), &bad);
    }
    let counters = node.transport.counters();
    assert_eq!((counters.rxd_bad_lr, node.transport.occupancy().nodes), (changes.len() as u64, before));
    // A name longer than its message, a type that does not exist, nothing at all.
    let mut name = [0; 300];
    let len = NrMessage::RemoteReq { id: 1, name: "gamma" }.emit(&mut name, Endian::Little).unwrap();
    for bad in [&name[..len - 1], &[7, 0, 0, 0], &[]] {
        let seq = 1 + node.transport.counters().rxd_bad_nr as u32;
        let header = Header {
            src_conn_id: TX,
            dst_conn_id: node.rx,
            seq,
            layer: Layer::Nr,
            ..Header::new(Kind::User)
        };
        node.give(BETA, header, bad);
    }
    assert_eq!((node.transport.counters().rxd_bad_nr, node.transport.counters().nr_remote_rx), (3, 0));
}

#[test]
fn rule_6_io_connect() {
    let connect = |path| IoConnect {
        subtype: ConnectSubtype::OPEN,
        file_type: 0,
        reply_max: IoConnect::REPLY_MAX,
        entry_max: 1,
        key: 0,
        handle: IoConnect::REMOTE_ROOT,
        ioflag: 1,
        mode: 0,
        sflag: 0,
        access: 3,
        eflag: 0,
        path,
        extra: Extra::None,
    };
    let emitted = |path| {
        let mut room = vec![0; 2048];
        let len = connect(path).emit(&mut room, Endian::Little).unwrap();
        room.truncate(len);
        room
    };
    let with = |at: usize, value: u16| {
        let mut bytes = emitted(b"etc/passwd");
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let refused =
        |bytes: &[u8]| IoConnect::decode(bytes, Endian::Little).map_err(|error| error.errno()).err();
    assert_eq!(refused(&with(34, 11)), None);
    assert_eq!(refused(&with(34, 0)), Some(Errno::EINVAL), "no path");
    assert_eq!(refused(&with(34, 10)), Some(Errno::EINVAL), "no NUL");
    assert_eq!(refused(&with(34, 2000)), Some(Errno::EINVAL), "longer than the message");
    assert_eq!(refused(&with(10, 0)), Some(Errno::ELOOP));
    assert_eq!(refused(&emitted(&[b'x'; 255])), None);
    assert_eq!(refused(&emitted(&[b'x'; 256])), Some(Errno::ENAMETOOLONG));
    let (longest, long) = (b"abc/".repeat(256), b"abc/".repeat(257));
    assert_eq!(refused(&emitted(&longest)), None);
    assert_eq!(IoConnect::decode(&emitted(&long), Endian::Little), Err(ConnectError::Path(1028)));
    // `..` does not lead out of the root: `tests/io/nets.rs`, `refusals`.
}

#[test]
fn rule_7_spawn() {
    let message = || {
        let mut bytes = vec![0; 108];
        bytes[0] = 0x10;
        bytes[6] = 3;
        bytes[98] = 1;
        bytes[104] = 3;
        bytes.extend(b"ls\0ls\0");
        bytes
    };
    let refused = |at: usize, value: &[u8]| {
        let mut bytes = message();
        bytes[at..at + value.len()].copy_from_slice(value);
        Spawn::decode(&bytes, Endian::Little).err()
    };
    assert_eq!(refused(0, &[0x10]), None);
    // Parts beyond the message.
    for at in [4, 6, 96] {
        assert!(refused(at, &[200, 0]).is_some(), "offset {at}");
    }
    assert!(refused(104, &u32::MAX.to_le_bytes()).is_some());
    // Counts above 1,024, strings that are not there or do not end.
    for at in [96, 98, 100] {
        assert!(refused(at, &1025_u16.to_le_bytes()).is_some(), "offset {at}");
    }
    assert_eq!(refused(98, &[2]), Some(SpawnError::Strings { nargv: 2, narge: 0 }));
    assert!(refused(110, b"x").is_some() && refused(113, b"x").is_some());
}

#[test]
fn rule_8_rate_limits() {
    let mut node = Node::new();
    for seq in 0..100 {
        node.give(
            STRANGER,
            Header { src_conn_id: 7, dst_conn_id: 8, seq, ..Header::new(Kind::User) },
            b"what",
        );
    }
    assert_eq!(node.sent(Kind::TcsRemDown), 10);
    let mut payload = [0; 200];
    let src = Party { name: "gamma", domain: "lab", mac: Some(Mac([2, 0, 0, 0, 0, 9])) };
    let dst = Party { name: "alpha", domain: "lab", mac: None };
    let request = LrPacket { kind: LrKind::Request, src, dst };
    let len = request.emit(&mut payload, Endian::Little, LrForm::default()).unwrap();
    for _ in 0..200 {
        node.give(STRANGER, Header::new(Kind::Lres), &payload[..len]);
    }
    assert_eq!((node.sent(Kind::Lres), node.transport.counters().lr_rep_tx), (50, 50));
    assert_eq!(node.transport.counters().rate_limited, 90 + 150);
    // Another peer is answered at once.
    node.give(BETA, Header { src_conn_id: 7, dst_conn_id: 8, ..Header::new(Kind::User) }, b"what");
    assert_eq!(node.sent(Kind::TcsRemDown), 11);
}
