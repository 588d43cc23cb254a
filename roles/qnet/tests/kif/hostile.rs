//! Hostile peers: ids of others, data out of place, mutated messages (sections 12.6, 23.4; R21).

use crate::peers::{Puppet, connect};
use crate::world::{World, root, send};
use keelson_qnet::api::{Kernel, KernelConfig};
use keelson_qnet::sessions::memory::NetworkSettings;
use keelson_qnet::sessions::{Body, NodeNr, Qos, Sessions};
use keelson_qnet_wire::kif::{
    ConnectDeath, ConnectFail, ConnectSuccess, Disconnect, Event, KifMessage, KifType, MsgRead, MsgSend,
    Pulse, Sigevent, Signal, Transfer, Unblock, VtidInfo,
};
use keelson_qnet_wire::{Endian, Errno};
use proptest::prelude::*;
use std::rc::Rc;
use std::time::Duration;

fn vinfo() -> VtidInfo {
    VtidInfo { tid: 1, priority: 10, srcmsglen: 9000, dstmsglen: 100, ..VtidInfo::default() }
}

/// Everything that names something, with the same numbers in all places.
fn all_messages(id: u32, handle: u32) -> Vec<KifMessage> {
    let transfer = Transfer { status: 5, handle, offset: 0, nbytes: 4 };
    let send = MsgSend { server_id: id, client_handle: handle, vinfo: vinfo(), nbytes: 4 };
    let pulse = Pulse { server_id: id, client_handle: handle, vinfo: vinfo(), code: 3, ..Pulse::default() };
    vec![
        KifMessage::Connect(connect(id), Some(root())),
        KifMessage::ConnectMsgSend(connect(id ^ 1), Some(root()), send, None),
        KifMessage::ConnectSuccess(ConnectSuccess {
            version: 1,
            server_id: id,
            client_id: id,
            scoid: 1,
            nbytes: 9,
        }),
        KifMessage::ConnectFail(ConnectFail { version: 1, client_id: id, status: 3 }),
        KifMessage::Unblock(Unblock { server_id: id, client_handle: handle, tid: 1 }),
        KifMessage::MsgSend(send, None),
        KifMessage::MsgRead(MsgRead { msgread_handle: handle, client_handle: handle, offset: 0, nbytes: 9 }),
        KifMessage::MsgReadXfer(transfer),
        KifMessage::MsgWrite(transfer),
        KifMessage::MsgReply(transfer),
        KifMessage::MsgError(transfer),
        KifMessage::Event(Event {
            client_handle: handle,
            sigevent: Sigevent { notify: 4, ..Sigevent::default() },
        }),
        KifMessage::Pulse(pulse, None),
        KifMessage::Signal(Signal { client_handle: handle, pid: -1, signo: 9, ..Signal::default() }, None),
        KifMessage::Disconnect(Disconnect { server_id: id }),
        KifMessage::ConnectDeath(ConnectDeath { client_id: id }),
        KifMessage::MsgReadError(transfer),
        KifMessage::ConnectPulse(connect(id ^ 2), Some(root()), pulse, None),
    ]
}

/// Node 2 has a connection to node 0, and node 0 one to node 2. Node 1 knows all numbers, and may not touch them.
#[test]
fn ids_of_others() {
    let world = World::new(3);
    let server = world.serve(0);
    let _remote = world.serve(2);
    let inward = Rc::new(world.connect(2, 0));
    let outward = Rc::new(world.connect(0, 2));
    let waiting = |connection: &Rc<_>| {
        let connection = Rc::clone(connection);
        world.spawn(async move {
            let _ = send(&connection, b"b", 9).await;
        })
    };
    let tasks = [waiting(&inward), waiting(&outward)];
    world.settle();
    let puppet = Puppet::new(&world);
    let kernel = world.kernel(0);
    let before = (kernel.server_connections(), kernel.transactions(), kernel.connections());
    // A server handle is one less than the scoid that the client was told.
    let server_id = inward.scoid().unwrap() - 1;
    // Client ids and handles of node 0: of all places and generations near those that are in use.
    let client = KifMessage::Disconnect(Disconnect { server_id });
    puppet.say(client, &[]);
    for message in all_messages(server_id, 0) {
        if !matches!(message.kind(), KifType::Connect | KifType::ConnectMsgSend | KifType::ConnectPulse) {
            puppet.say(message, b"evil");
        }
        world.settle();
        puppet.hear();
    }
    assert_eq!((kernel.server_connections(), kernel.transactions(), kernel.connections()), before);
    assert!(tasks.iter().all(|task| !task.is_finished()) && inward.is_alive() && outward.is_alive());
    assert_eq!(
        (server.disconnects.borrow().len(), server.unblocks.get(), server.pulses.borrow().len()),
        (0, 0, 0)
    );
    let counters = kernel.counters();
    assert!(counters.inval_server_id >= 5 && counters.inval_client_id >= 5, "{counters:?}");
}

/// A message for a connection that is not there is answered, so that nobody waits for ever.
#[test]
fn sends_to_nothing_are_answered() {
    let world = World::new(2);
    let puppet = Puppet::new(&world);
    for server_id in [0, 0x4000_0000, 0x7fff_ffff, u32::MAX] {
        let send = MsgSend { server_id, client_handle: 9, vinfo: vinfo(), nbytes: 2 };
        puppet.say(KifMessage::MsgSend(send, None), b"hi");
        world.settle();
        let heard = puppet.hear();
        let error = Transfer { status: Errno::ESRCH.0 as u32, handle: 9, offset: 0, nbytes: 0 };
        assert_eq!(heard, [(KifMessage::MsgError(error), vec![])]);
    }
    assert_eq!(world.kernel(0).counters().inval_server_id, 4);
}

/// A server that writes beyond the reply, without end, or what was never asked for.
#[test]
fn hostile_servers() {
    let world = World::with(
        2,
        NetworkSettings { window: 5000, ..NetworkSettings::default() },
        KernelConfig::default(),
    );
    let puppet = Puppet::new(&world);
    let (kernel, nd) = (world.kernel(0), world.nd(1, 0));
    let client = kernel.clone();
    let task = world.spawn(async move {
        let connection = client.connect(nd, 1, 1, &root()).await.unwrap();
        let mut reply = [0; 6];
        let sent = connection.send(&[b"message"], &mut reply).await;
        assert_eq!((sent, &reply), (Ok((5, 6)), b"\0\0abcd"));
        let sent = connection.send(&[b"message"], &mut reply).await;
        assert_eq!(sent, Err(Errno::ESRVRFAULT));
        assert!(!connection.is_alive());
    });
    world.settle();
    let [(KifMessage::Connect(sent, _), _)] = puppet.hear()[..] else { panic!() };
    let success = ConnectSuccess { version: 1, server_id: 1, client_id: sent.client_id, scoid: 3, nbytes: 0 };
    puppet.say(KifMessage::ConnectSuccess(success), &[]);
    world.settle();
    let [(KifMessage::MsgSend(send, None), _)] = puppet.hear()[..] else { panic!() };
    assert_eq!(send.nbytes, 0, "the server wants nothing at first");
    let handle = send.client_handle;
    for (offset, nbytes) in [(u32::MAX, 9), (6, 9), (2, 4), (7, u32::MAX)] {
        puppet.say(KifMessage::MsgWrite(Transfer { status: 0, handle, offset, nbytes }), b"abcdefghi");
    }
    for offset in [0, 3, 7, 8, u32::MAX] {
        let read = MsgRead { msgread_handle: handle, client_handle: offset, offset, nbytes: u32::MAX };
        puppet.say(KifMessage::MsgRead(read), &[]);
    }
    world.settle();
    let heard = puppet.hear();
    let answers: Vec<&[u8]> = heard.iter().map(|(_, data)| data.as_slice()).collect();
    assert_eq!(answers, [&b"message"[..], b"sage", b"", b"", b""]);
    assert!(heard.iter().all(|(answer, _)| matches!(answer, KifMessage::MsgReadXfer(_))));
    puppet.say(KifMessage::MsgReply(Transfer { status: 5, handle, offset: 2, nbytes: 900 }), b"abcd");
    // An answer to what is over already.
    puppet.say(KifMessage::MsgReply(Transfer { status: 6, handle, offset: 0, nbytes: 0 }), &[]);
    world.executor.turn();
    world.settle();
    let [(KifMessage::MsgSend(send, None), _)] = puppet.hear()[..] else { panic!() };
    assert_eq!(send.client_handle, handle, "handles last as long as the connection");
    // So many reads that some are refused, then more parts of a reply than any session delivers at once.
    for number in 0..200 {
        let read = MsgRead { msgread_handle: handle, client_handle: number, offset: 0, nbytes: 1 };
        puppet.say(KifMessage::MsgRead(read), &[]);
    }
    world.settle();
    assert_eq!(puppet.hear().len(), 200);
    for _ in 0..60 {
        puppet.say(KifMessage::MsgWrite(Transfer { status: 0, handle, offset: 0, nbytes: 9000 }), &[1; 9000]);
    }
    world.settle();
    assert!(task.is_finished());
    assert_eq!(kernel.counters().waiting.now, 0);
    assert_eq!((world.network.outstanding(), kernel.connections()), (1, 0), "the DISCONNECT, unheard");
}

/// A client that comes again and again, and does everything twice.
#[test]
fn hostile_clients() {
    let settings = NetworkSettings { window: 10_000, ..NetworkSettings::default() };
    let world = World::with(2, settings, KernelConfig::default());
    let server = world.serve(0);
    let puppet = Puppet::new(&world);
    for client_id in 0..300 {
        puppet.say(KifMessage::Connect(connect(client_id), Some(root())), &[]);
    }
    world.settle();
    let heard = puppet.hear();
    let accepted: Vec<u32> = heard
        .iter()
        .filter_map(|(answer, _)| match answer {
            KifMessage::ConnectSuccess(success) => Some(success.server_id),
            KifMessage::ConnectFail(fail) => {
                assert_eq!(fail.status, Errno::EAGAIN.0);
                None
            }
            _ => panic!(),
        })
        .collect();
    assert_eq!((heard.len(), accepted.len()), (300, 64));
    for server_id in &accepted {
        for client_handle in [1, 1, 2, 3, 4, 5] {
            let send = MsgSend { server_id: *server_id, client_handle, vinfo: vinfo(), nbytes: 1 };
            puppet.say(KifMessage::MsgSend(send, None), b"b");
        }
    }
    world.settle();
    let kernel = world.kernel(0);
    assert_eq!(kernel.transactions(), 256);
    assert!(puppet.hear().iter().all(|(answer, _)| {
        matches!(answer, KifMessage::MsgError(error) if error.status == Errno::EAGAIN.0 as u32)
    }));
    for server_id in &accepted {
        for _ in 0..3 {
            puppet.say(KifMessage::Unblock(Unblock { server_id: *server_id, client_handle: 1, tid: 1 }), &[]);
        }
        for _ in 0..2 {
            puppet.say(KifMessage::Disconnect(Disconnect { server_id: *server_id }), &[]);
        }
    }
    world.settle();
    assert_eq!((kernel.transactions(), kernel.server_connections()), (0, 0));
    assert_eq!(server.disconnects.borrow().len(), 64);
    assert_eq!(kernel.counters().inval_server_id, 64);
}

/// A client that asks for much and takes nothing: what is kept for it is bounded, and every request is answered.
#[test]
fn clients_that_do_not_listen() {
    let settings = NetworkSettings { window: 700, ..NetworkSettings::default() };
    let world = World::with(2, settings, KernelConfig::default());
    let _server = world.serve(0);
    let puppet = Puppet::new(&world);
    puppet.say(KifMessage::Connect(connect(9), Some(root())), &[]);
    world.settle();
    let [(KifMessage::ConnectSuccess(success), _)] = puppet.hear()[..] else { panic!() };
    let vinfo = VtidInfo { srcmsglen: 8000, dstmsglen: 8000, ..vinfo() };
    let ask = |handles: std::ops::Range<u32>| {
        for client_handle in handles {
            let send = MsgSend { server_id: success.server_id, client_handle, vinfo, nbytes: 8000 };
            puppet.say(KifMessage::MsgSend(send, None), &[b'e'; 8000]);
        }
        world.settle();
    };
    for handle in 0..10 {
        ask(handle * 100..handle * 100 + 100);
    }
    let counters = world.kernel(0).counters();
    // As many as the session takes, 131 that fit into a mebibyte, and errors for the others.
    assert_eq!((counters.outbound_msgs.now, counters.server_transactions.now), (300, 0));
    assert_eq!(counters.outbound_lost, 169);
    let mut answers = vec![0; 1000];
    let (mut replies, mut errors) = (0, 0);
    for _ in 0..10 {
        for (answer, _) in puppet.hear() {
            match answer {
                KifMessage::MsgReply(reply) => {
                    answers[reply.handle as usize] += 1;
                    replies += 1;
                }
                KifMessage::MsgError(error) => {
                    assert_eq!(error.status, Errno::EAGAIN.0 as u32);
                    answers[error.handle as usize] += 1;
                    errors += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        world.settle();
    }
    assert!(answers.iter().all(|count| *count == 1));
    assert_eq!((replies, errors), (831, 169));
    world.network.crash(1);
    world.settle();
    world.assert_baseline();
}

#[derive(Clone, Debug)]
enum Step {
    Say { kind: usize, place: usize, number: usize, flips: Vec<(usize, u8)>, cut: Option<usize>, data: usize },
    Noise(Vec<u8>),
    Pass(u64),
    Cut(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let flips = prop::collection::vec((0..90_usize, any::<u8>()), 0..3);
    let cut = prop::option::weighted(0.1, 0..200_usize);
    prop_oneof![
        20 => (0..18_usize, 0..8_usize, 0..8_usize, flips, cut, 0..12_000_usize).prop_map(
            |(kind, place, number, flips, cut, data)| Step::Say { kind, place, number, flips, cut, data }
        ),
        2 => prop::collection::vec(any::<u8>(), 0..100).prop_map(Step::Noise),
        3 => (0..2000_u64).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Cut),
    ]
}

/// Numbers that the kernel has said, so that mutated messages get far.
struct Known {
    ids: Vec<u32>,
    handles: Vec<u32>,
}

impl Known {
    fn learn(&mut self, puppet: &Puppet) {
        for (message, _) in puppet.hear() {
            match message {
                KifMessage::ConnectSuccess(success) => self.ids.push(success.server_id),
                KifMessage::Connect(connect, _) => {
                    // Clients are let in, so that they send something.
                    let client_id = connect.client_id;
                    let server_id = 0x4000_0000 | self.ids.len() as u32;
                    let success = ConnectSuccess { version: 1, server_id, client_id, scoid: 7, nbytes: 8192 };
                    puppet.say(KifMessage::ConnectSuccess(success), &[]);
                    self.ids.push(client_id);
                }
                KifMessage::MsgSend(send, _) => {
                    self.ids.push(send.server_id);
                    self.handles.push(send.client_handle);
                }
                KifMessage::MsgRead(read) => self.handles.push(read.client_handle),
                _ => {}
            }
        }
    }
}

/// Clients that go on whatever the server does.
async fn busy(kernel: Kernel, nd: keelson_qnet_wire::Nd) {
    loop {
        if let Ok(connection) = kernel.connect(nd, 1, 1, &root()).await {
            let mut reply = [0; 200];
            for size in [0, 100, 20_000] {
                let handle = kernel.executor().clone();
                let message = vec![b'e'; size];
                let limit = Duration::from_millis(300);
                let _ = handle.timeout(limit, connection.send(&[&message], &mut reply)).await;
            }
        }
        kernel.executor().sleep(Duration::from_millis(50)).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Mutated messages to a kernel with clients and a server: it neither panics nor leaks, and serves others.
    #[test]
    fn mutated_messages(steps in prop::collection::vec(step(), 1..150)) {
        let settings = NetworkSettings { window: 100_000, ..NetworkSettings::default() };
        let world = World::with(3, settings, KernelConfig::default());
        let server = world.serve(0);
        let kernel = world.kernel(0);
        let puppet = Puppet::new(&world);
        let clients: Vec<_> = (0..2).map(|_| world.spawn(busy(kernel.clone(), world.nd(1, 0)))).collect();
        let mut known = Known { ids: vec![9, 0x4000_0000], handles: vec![1] };
        for step in steps {
            match step {
                Step::Say { kind, place, number, flips, cut, data } => {
                    let id = known.ids[known.ids.len().saturating_sub(1 + place)];
                    let handle = known.handles[known.handles.len().saturating_sub(1 + number)];
                    let mut room = [0; KifMessage::MAX_LEN];
                    let len = all_messages(id, handle)[kind].emit(&mut room, Endian::Little).unwrap();
                    let mut bytes = room[..len].to_vec();
                    bytes.resize(len + data, b'e');
                    for (at, value) in flips {
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte ^= value;
                        }
                    }
                    bytes.truncate(cut.unwrap_or(usize::MAX));
                    puppet.raw(&bytes);
                }
                Step::Noise(bytes) => puppet.raw(&bytes),
                Step::Pass(milliseconds) => world.pass(Duration::from_millis(milliseconds)),
                Step::Cut(true) => world.network.cut(1, 0),
                Step::Cut(false) => world.network.cut(0, 1),
            }
            world.executor.turn();
            known.learn(&puppet);
        }
        // Others are served all the same.
        let connection = Rc::new(world.connect(2, 0));
        prop_assert_eq!(world.send(&connection, b"ex", 9), Ok((2, b"ex".to_vec())));
        drop(connection);
        clients.iter().for_each(|client| client.abort());
        // The hostile node goes, and with it all it had.
        world.network.crash(1);
        world.pass(Duration::from_secs(70));
        prop_assert_eq!(kernel.transactions(), 0);
        world.assert_baseline();
        drop(server);
    }
}

/// A message to a node that does not exist, or to the sender itself, is the caller's mistake.
#[test]
fn sessions_in_memory_refuse_nonsense() {
    let world = World::new(2);
    let sessions = world.network.sessions(0);
    for node in [0, 2, 9] {
        let sent = sessions.send(NodeNr(node), Qos::default(), 1, &[], Body::EMPTY);
        assert_eq!(sent, Err(Errno::ENOENT));
    }
}
