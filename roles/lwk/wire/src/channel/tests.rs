use super::*;
use crate::handshake::Roles;
use crate::messages::{Data, Ping};
use core::cell::Cell;
use proptest::prelude::*;

/// xorshift: not random, but never the same twice.
struct Sequence(Cell<u64>);

impl Entropy for Sequence {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let mut x = self.0.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            self.0.set(x);
            *byte = x as u8;
        }
    }
}

struct OneKey([u8; 32]);

impl KeyRing for OneKey {
    fn find(&self, id: &str) -> Option<[u8; 32]> {
        ["default", "readable"].contains(&id).then_some(self.0)
    }

    fn modes(&self, id: &str) -> Modes {
        if id == "readable" { Modes::AEAD | Modes::MAC } else { Modes::AEAD }
    }
}

fn identity(name: &str, modes: Modes) -> Identity {
    Identity { name: name.into(), build: "test".into(), features: Features::AEAD, modes, boot_id: [0; 16] }
}

/// Both ends, and what each has said.
type Pair = (Channel, Channel, Vec<u8>, Vec<u8>);

fn pair(host_modes: Modes, node_modes: Modes, id: &str, secret: u8) -> Pair {
    pair_of(identity("host", host_modes), identity("node", node_modes), id, secret)
}

fn pair_of(host: Identity, node: Identity, id: &str, secret: u8) -> Pair {
    let entropy = Sequence(Cell::new(0x1234_5678_9abc_def1));
    let (mut to_node, mut to_host) = (Vec::new(), Vec::new());
    let key = Key { id: id.into(), secret: [secret; 32], modes: host.modes };
    let host = Channel::host(host, Some(key), Purpose::Launch, &entropy, &mut to_node);
    let node = Channel::node(node, Arc::new(OneKey([7; 32])), &entropy, &mut to_host);
    (host, node, to_node, to_host)
}

const GRANT: Grant = Grant { session: 9, roles: Roles::LAUNCH, bulk: [3; 16] };

fn open(
    host_modes: Modes,
    node_modes: Modes,
    id: &str,
    secret: u8,
) -> Result<(Channel, Channel), ChannelError> {
    join(pair(host_modes, node_modes, id, secret))
}

/// Lets them speak until both are ready.
fn join((mut host, mut node, mut to_node, mut to_host): Pair) -> Result<(Channel, Channel), ChannelError> {
    for _ in 0..4 {
        let (input, mut out) = (core::mem::take(&mut to_host), Vec::new());
        let mut input = &input[..];
        match host.receive(&mut input, &mut out)? {
            None | Some(Received::Granted(GRANT)) => {}
            other => panic!("{other:?}"),
        }
        to_node.extend(out);
        let (input, mut out) = (core::mem::take(&mut to_node), Vec::new());
        let mut input = &input[..];
        match node.receive(&mut input, &mut out) {
            Ok(Some(Received::Asked(Purpose::Launch))) => node.admit(GRANT, &mut out).unwrap(),
            Ok(None) | Err(_) => {}
            other => panic!("{other:?}"),
        }
        to_host.extend(out);
    }
    assert!(host.is_ready() && node.is_ready());
    Ok((host, node))
}

fn talk(host: &mut Channel, node: &mut Channel) {
    for (number, size) in [0usize, 1, 70_000, 5, 200_000].into_iter().enumerate() {
        let bytes: Vec<u8> = (0..size).map(|i| (i * 7 + number) as u8).collect();
        let (mut wire, mut out) = (Vec::new(), Vec::new());
        let header = Header::new(FrameType::Data).id(number as u64);
        host.send(&header, &Data { offset: 4, bytes: &bytes }, &mut wire).unwrap();
        let mut got = None;
        for mut piece in wire.chunks(1000) {
            while let Some(received) = node.receive(&mut piece, &mut out).unwrap() {
                assert!(got.replace(received).is_none());
            }
        }
        let Some(Received::Frame(frame)) = got else { panic!("no frame") };
        assert_eq!(frame.header, header);
        assert_eq!(Data::decode(&frame.payload).unwrap(), Data { offset: 4, bytes: &bytes });
        assert!(out.is_empty());
    }
}

#[test]
fn sealed() {
    let (mut host, mut node) = open(Modes::AEAD, Modes::AEAD | Modes::NONE, "default", 7).unwrap();
    assert_eq!(host.mode(), Modes::AEAD);
    assert_eq!(host.peer().unwrap().name, "node");
    talk(&mut host, &mut node);
    talk(&mut node, &mut host);
    let mut wire = Vec::new();
    host.send(&Header::new(FrameType::Data), &Data { offset: 0, bytes: b"a secret sentence" }, &mut wire)
        .unwrap();
    assert!(!wire.windows(6).any(|part| part == b"secret"));
}

#[test]
fn sealed_and_readable() {
    let (mut host, mut node) = open(Modes::MAC, Modes::AEAD | Modes::MAC, "readable", 7).unwrap();
    assert_eq!((host.mode(), node.mode()), (Modes::MAC, Modes::MAC));
    assert_eq!(node.allowed(), Roles::all());
    talk(&mut host, &mut node);
    talk(&mut node, &mut host);
    let mut wire = Vec::new();
    let data = Data { offset: 0, bytes: b"no secret" };
    host.send(&Header::new(FrameType::Data), &data, &mut wire).unwrap();
    assert!(wire.windows(9).any(|part| part == b"no secret"));
    // A repeated record is as bad as a changed one.
    node.receive(&mut &wire[..], &mut Vec::new()).unwrap();
    assert_eq!(node.receive(&mut &wire[..], &mut Vec::new()), Err(ChannelError::Broken));
}

#[test]
fn secrecy_where_either_side_wants_it() {
    let refused = |result: Result<(Channel, Channel), ChannelError>| match result {
        Err(ChannelError::Refused(bye)) => bye.reason == ByeReason::Auth,
        Err(error) => error == ChannelError::Mode,
        Ok(_) => false,
    };
    // A key that is not for it, a node that has none for it, another key.
    assert!(refused(open(Modes::MAC, Modes::AEAD | Modes::MAC, "default", 7)));
    assert!(refused(open(Modes::MAC, Modes::AEAD, "readable", 7)));
    assert!(refused(open(Modes::MAC, Modes::MAC, "readable", 8)));
    // Both can do both.
    let (host, _) = open(Modes::AEAD | Modes::MAC, Modes::AEAD | Modes::MAC, "readable", 7).unwrap();
    assert_eq!(host.mode(), Modes::AEAD);
}

#[test]
fn open_link() {
    let (mut host, mut node) = open(Modes::NONE, Modes::AEAD | Modes::NONE, "default", 1).unwrap();
    assert_eq!(node.mode(), Modes::NONE);
    talk(&mut host, &mut node);
    talk(&mut node, &mut host);
}

#[test]
fn checksums_unless_both_do_without() {
    for (host_without, node_without) in [(false, false), (true, false), (false, true), (true, true)] {
        let side = |name, without| {
            let features = if without { Features::AEAD | Features::NOCRC } else { Features::AEAD };
            Identity { features, ..identity(name, Modes::NONE) }
        };
        let pair = pair_of(side("host", host_without), side("node", node_without), "default", 7);
        let (mut host, mut node) = join(pair).unwrap();
        talk(&mut host, &mut node);
        talk(&mut node, &mut host);
        let mut wire = Vec::new();
        let data = Data { offset: 0, bytes: b"some bytes" };
        host.send(&Header::new(FrameType::Data), &data, &mut wire).unwrap();
        // The layout of a header has it at 28.
        assert_eq!(wire[28..32] == [0; 4], host_without && node_without);
        *wire.last_mut().unwrap() ^= 1;
        let received = node.receive(&mut &wire[..], &mut Vec::new());
        assert_eq!(received.is_ok(), host_without && node_without);
    }
}

#[test]
fn refusals() {
    let reason = |result: Result<(Channel, Channel), ChannelError>| match result {
        Err(ChannelError::Refused(bye)) => bye.reason,
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it opened"),
    };
    assert_eq!(reason(open(Modes::AEAD, Modes::AEAD, "default", 8)), ByeReason::Auth);
    assert_eq!(reason(open(Modes::AEAD, Modes::AEAD, "other", 7)), ByeReason::Auth);
    assert_eq!(open(Modes::AEAD, Modes::NONE, "default", 7).err(), Some(ChannelError::Mode));
}

#[test]
fn versions() {
    let (mut host, _, _, _) = pair(Modes::AEAD, Modes::AEAD, "default", 7);
    let (_, mut node, _, _) = pair(Modes::AEAD, Modes::AEAD, "default", 7);
    node.hello.min_version = 2;
    node.hello.max_version = 3;
    let mut wire = Vec::new();
    let mut payload = Vec::new();
    node.hello.write(&mut Writer::new(&mut payload));
    node.say(FrameType::Hello, &payload, &mut wire);
    let mut out = Vec::new();
    assert_eq!(host.receive(&mut &wire[..], &mut out), Err(ChannelError::Version));
    let frame = Decoder::new(Sums::Off).next(&mut &out[..]).unwrap().unwrap();
    assert_eq!(Bye::decode(&frame.payload).unwrap().reason, ByeReason::Version);
    assert_eq!(host.receive(&mut &[][..], &mut out), Err(ChannelError::Closed));
}

#[test]
fn a_changed_hello_is_noticed() {
    // Whoever sits between and takes features out of the host's HELLO.
    let (mut host, mut node, mut to_node, to_host) = pair(Modes::AEAD, Modes::AEAD, "default", 7);
    to_node[40] ^= 1;
    host.receive(&mut &to_host[..], &mut to_node).unwrap();
    let mut out = Vec::new();
    assert_eq!(node.receive(&mut &to_node[..], &mut out), Err(ChannelError::Auth));
}

#[test]
fn an_old_auth_is_good_for_nothing() {
    let (mut host, _, mut recorded, to_host) = pair(Modes::AEAD, Modes::AEAD, "default", 7);
    host.receive(&mut &to_host[..], &mut recorded).unwrap();
    let entropy = Sequence(Cell::new(77));
    let mut out = Vec::new();
    let mut node =
        Channel::node(identity("node", Modes::AEAD), Arc::new(OneKey([7; 32])), &entropy, &mut out);
    assert_eq!(node.receive(&mut &recorded[..], &mut out), Err(ChannelError::Auth));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn changed_records_are_noticed(at in 0usize..100, bit in 0u8..8, mac in any::<bool>()) {
        let mode = if mac { Modes::MAC } else { Modes::AEAD };
        let (mut host, mut node) = open(mode, mode, "readable", 7).unwrap();
        let mut wire = Vec::new();
        host.send(&Header::new(FrameType::Ping), &Ping::default(), &mut wire).unwrap();
        let at = at % wire.len();
        wire[at] ^= 1 << bit;
        let mut out = Vec::new();
        // A longer length waits for more; everything else is an error.
        match node.receive(&mut &wire[..], &mut out) {
            Ok(None) => prop_assert!(at < 2),
            Ok(other) => prop_assert!(false, "{other:?}"),
            Err(_) => {}
        }
    }

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400), ready in any::<bool>()) {
        let (mut host, mut node) = if ready {
            open(Modes::AEAD, Modes::AEAD, "default", 7).unwrap()
        } else {
            let (host, node, _, _) = pair(Modes::AEAD, Modes::AEAD, "default", 7);
            (host, node)
        };
        let mut out = Vec::new();
        for channel in [&mut host, &mut node] {
            let mut input = &bytes[..];
            while let Ok(Some(_)) = channel.receive(&mut input, &mut out) {}
        }
    }
}
