//! Peers that speak otherwise, seen from their session: raw KIF messages in, raw KIF messages out (sections 2.4, 12.3,
//! 12.4 and 28).

use crate::world::{World, root, user};
use keelson_qnet::api::{CredentialRules, KernelConfig, Received, User};
use keelson_qnet::sessions::memory::{MemorySessions, NetworkSettings};
use keelson_qnet::sessions::{Body, NodeNr, Qos, SessionEvent, Sessions};
use keelson_qnet_wire::kif::{
    Connect, ConnectFail, ConnectSuccess, Cred, Disconnect, KifMessage, MsgSend, Pulse, Transfer, VtidInfo,
};
use keelson_qnet_wire::{Endian, Errno};
use std::rc::Rc;
use std::time::Duration;

/// A node that is played by the test: node 1, for the kernel of node 0.
pub struct Puppet {
    pub sessions: Rc<MemorySessions>,
    pub kernel_nr: NodeNr,
}

impl Puppet {
    pub fn new(world: &World) -> Puppet {
        world.kernel(1).unmount();
        Puppet { sessions: world.network.reboot(1), kernel_nr: NodeNr(world.nd(0, 1).node()) }
    }

    pub fn raw(&self, bytes: &[u8]) {
        let parts = [bytes];
        self.sessions.send(self.kernel_nr, Qos::default(), 10, &[], Body::new(&parts)).unwrap();
    }

    pub fn say(&self, message: KifMessage, data: &[u8]) {
        self.say_in(Endian::Little, message, data);
    }

    pub fn say_in(&self, endian: Endian, message: KifMessage, data: &[u8]) {
        let mut room = [0; KifMessage::MAX_LEN];
        let len = message.emit(&mut room, endian).unwrap();
        let parts = [data];
        self.sessions.send(self.kernel_nr, Qos::default(), 10, &room[..len], Body::new(&parts)).unwrap();
    }

    /// What the kernel has said since.
    pub fn hear(&self) -> Vec<(KifMessage, Vec<u8>)> {
        let mut heard = Vec::new();
        while let Some(event) = self.sessions.take_event() {
            let SessionEvent::Message { rx, message, .. } = event else { continue };
            let decoded = KifMessage::decode(message.bytes()).unwrap();
            assert_eq!(decoded.endian, Endian::Little);
            heard.push((decoded.message, message.bytes()[decoded.data].to_vec()));
            self.sessions.release(rx, message);
        }
        heard
    }
}

pub fn connect(client_id: u32) -> Connect {
    Connect { version: 1, server_pid: 1, server_chid: 1, client_id, client_pid: 77 }
}

fn message(handle: u32, nbytes: u32) -> MsgSend {
    let vinfo =
        VtidInfo { tid: 1, priority: 10, srcmsglen: nbytes as i32, dstmsglen: 100, ..VtidInfo::default() };
    MsgSend { server_id: 0, client_handle: handle, vinfo, nbytes }
}

fn world() -> World {
    let users = vec![User { uid: 5, gid: 50 }];
    let credentials = CredentialRules { maproot: Some(5), users, ..CredentialRules::default() };
    World::with(2, NetworkSettings::default(), KernelConfig { credentials, ..KernelConfig::default() })
}

/// R20, the second half.
#[test]
fn big_endian_clients_are_refused() {
    let world = world();
    let _server = world.serve(0);
    let puppet = Puppet::new(&world);
    puppet.say_in(Endian::Big, KifMessage::Connect(connect(9), Some(root())), &[]);
    puppet.say_in(Endian::Big, KifMessage::ConnectMsgSend(connect(10), None, message(1, 1), None), b"e");
    puppet.say_in(Endian::Big, KifMessage::Disconnect(Disconnect { server_id: 0x4000_0000 }), &[]);
    let big = Cred { flags: Cred::BIG_ENDIAN, ..root() };
    puppet.say(KifMessage::Connect(connect(11), Some(big)), &[]);
    world.settle();
    let refused = |client_id| {
        let fail = ConnectFail { version: 1, client_id, status: Errno::EENDIAN.0 };
        (KifMessage::ConnectFail(fail), vec![])
    };
    assert_eq!(puppet.hear(), [refused(9), refused(10), refused(11)]);
    assert_eq!((world.kernel(0).counters().endian, world.kernel(0).server_connections()), (3, 0));
}

/// The server may be the big-endian one: its refusal is understood.
#[test]
fn big_endian_servers_refuse() {
    let world = world();
    let puppet = Rc::new(Puppet::new(&world));
    let (kernel, nd) = (world.kernel(0), world.nd(1, 0));
    let task = world.spawn(async move {
        assert_eq!(kernel.connect(nd, 1, 1, &root()).await.map(|_| ()), Err(Errno::EENDIAN));
    });
    world.settle();
    let [(KifMessage::Connect(sent, Some(cred)), _)] = puppet.hear()[..] else { panic!() };
    assert_eq!((sent.version, sent.server_pid, sent.server_chid, sent.client_pid), (1, 1, 1, 1));
    assert_eq!(sent.client_id >> 20, 0x0c1);
    // What the server calls the client's node.
    assert_eq!(cred.nd, world.nd(0, 1));
    let fail = ConnectFail { version: 1, client_id: sent.client_id, status: Errno::EENDIAN.0 };
    puppet.say_in(Endian::Big, KifMessage::ConnectFail(fail), &[]);
    world.settle();
    assert!(task.is_finished());
    assert_eq!(world.kernel(0).connections(), 0);
}

/// Section 12.4: a peer that has the client's id first is understood, and answered in kind.
#[test]
fn swapped_ids() {
    let world = world();
    let _server = world.serve(0);
    let puppet = Puppet::new(&world);
    let (kernel, nd) = (world.kernel(0), world.nd(1, 0));
    let task = world.spawn(async move {
        let connection = kernel.connect(nd, 1, 1, &root()).await.unwrap();
        assert_eq!(connection.scoid(), Ok(88));
        let mut reply = [0; 4];
        assert_eq!(connection.send(&[b"hello world"], &mut reply).await, Ok((3, 4)));
        assert_eq!(&reply, b"okay");
    });
    world.settle();
    let [(KifMessage::Connect(sent, _), _)] = puppet.hear()[..] else { panic!() };
    let success = ConnectSuccess {
        version: 1,
        server_id: 0x4000_0267,
        client_id: sent.client_id,
        scoid: 88,
        nbytes: 5,
    };
    // For somebody else, and for nobody.
    puppet.say(KifMessage::ConnectSuccess(ConnectSuccess { client_id: 1, ..success }), &[]);
    puppet.say(KifMessage::ConnectSuccess(success.swapped()), &[]);
    world.settle();
    assert!(world.kernel(0).peer_profile(NodeNr(1)).cs_swapped);
    let heard = puppet.hear();
    let [(KifMessage::MsgSend(send, None), data)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(
        (send.server_id, send.nbytes, send.vinfo.srcmsglen, send.vinfo.keydata),
        (0x4000_0267, 5, 11, 11)
    );
    assert_eq!(data, b"hello");
    let reply = Transfer { status: 3, handle: send.client_handle, offset: 0, nbytes: 6 };
    puppet.say(KifMessage::MsgReply(reply), b"okay!!");
    world.settle();
    assert!(task.is_finished());
    assert!(matches!(
        puppet.hear()[..],
        [(KifMessage::Disconnect(Disconnect { server_id: 0x4000_0267 }), _)]
    ));
    assert_eq!(world.kernel(0).counters().inval_client_id, 1);
    puppet.say(KifMessage::Connect(connect(9), Some(root())), &[]);
    world.settle();
    let [(KifMessage::ConnectSuccess(swapped), _)] = puppet.hear()[..] else { panic!() };
    assert_eq!((swapped.server_id, swapped.client_id & 0x4000_0000), (9, 0x4000_0000));
}

/// Section 28, row 11: a server of another version is asked again in that, once.
#[test]
fn other_versions() {
    let world = world();
    let puppet = Puppet::new(&world);
    let (kernel, nd) = (world.kernel(0), world.nd(1, 0));
    let task = world.spawn(async move {
        assert_eq!(kernel.connect(nd, 1, 1, &root()).await.map(|_| ()), Err(Errno::EIO));
    });
    world.settle();
    for version in [1, 4] {
        let [(KifMessage::Connect(sent, _), _)] = puppet.hear()[..] else { panic!() };
        assert_eq!(sent.version, version);
        let fail = ConnectFail { version: version + 3, client_id: sent.client_id, status: Errno::EIO.0 };
        puppet.say(KifMessage::ConnectFail(fail), &[]);
        world.settle();
    }
    assert!(task.is_finished() && puppet.hear().is_empty());
    // A client of a version gets answers of that version.
    let _server = world.serve(0);
    puppet.say(KifMessage::Connect(Connect { version: 6, ..connect(3) }, Some(root())), &[]);
    world.settle();
    assert!(matches!(
        puppet.hear()[..],
        [(KifMessage::ConnectSuccess(ConnectSuccess { version: 6, .. }), _)]
    ));
}

/// A CONNECT that is repeated changes the credentials; one to another channel is another connection.
#[test]
fn duplicate_connects() {
    let world = world();
    let server = world.serve(0);
    let _other = world.kernel(0).channel(1).unwrap();
    let puppet = Puppet::new(&world);
    let mut ids = Vec::new();
    for who in [user(3), user(4), root()] {
        puppet.say(KifMessage::Connect(connect(9), Some(who)), &[]);
        world.settle();
        let [(KifMessage::ConnectSuccess(success), _)] = puppet.hear()[..] else { panic!() };
        ids.push((success.server_id, success.scoid));
        let send = MsgSend { server_id: success.server_id, ..message(1, 1) };
        puppet.say(KifMessage::MsgSend(send, None), b"x");
        world.settle();
        assert!(matches!(puppet.hear()[..], [(KifMessage::MsgError(_), _)]));
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(*server.users.borrow(), [3, 4, 5], "root is mapped");
    assert_eq!(world.kernel(0).server_connections(), 1);
    puppet.say(KifMessage::Connect(Connect { server_chid: 2, ..connect(9) }, Some(root())), &[]);
    world.settle();
    let [(KifMessage::ConnectSuccess(success), _)] = puppet.hear()[..] else { panic!() };
    assert_ne!(success.server_id, ids[0].0);
    assert_eq!(*server.disconnects.borrow(), [ids[0].1]);
}

/// A client's number is used again: at once, while the server has not been told of the first use; on another node; in
/// another epoch; after the channel is gone. Each is a connection of its own, and a repeated CONNECT finds the last.
#[test]
fn numbers_of_clients_are_used_again() {
    let world = World::new(3);
    let kernel = world.kernel(0);
    let channel = kernel.channel(1).unwrap();
    let puppet = Puppet::new(&world);
    let attach = |puppet: &Puppet| {
        puppet.say(KifMessage::Connect(connect(9), Some(root())), &[]);
        world.settle();
        let [(KifMessage::ConnectSuccess(success), _)] = puppet.hear()[..] else { panic!() };
        success.server_id
    };
    let first = attach(&puppet);
    puppet.say(KifMessage::Disconnect(Disconnect { server_id: first }), &[]);
    let second = attach(&puppet);
    assert_ne!(first, second);
    // The server learns of the first one's end, and its place is free.
    let Some(Received::Disconnect { scoid }) = channel.try_receive() else { panic!() };
    assert_eq!((scoid, kernel.server_connections()), (first + 1, 1));
    assert_eq!(attach(&puppet), second, "the second is still known");
    // Many others come and go in its place.
    for number in 100..400 {
        puppet.say(KifMessage::Connect(connect(number), Some(root())), &[]);
        world.pass(Duration::from_millis(10));
        let [(KifMessage::ConnectSuccess(success), _)] = puppet.hear()[..] else { panic!() };
        assert_ne!(success.server_id, second);
        puppet.say(KifMessage::Disconnect(Disconnect { server_id: success.server_id }), &[]);
        world.pass(Duration::from_millis(10));
        assert!(matches!(channel.try_receive(), Some(Received::Disconnect { .. })));
    }
    assert_eq!((attach(&puppet), kernel.server_connections()), (second, 1));
    // Other nodes have the same numbers.
    let others: Vec<_> = (0..12).map(|_| world.connect(2, 0)).collect();
    assert_eq!((attach(&puppet), kernel.server_connections()), (second, 13));
    drop(others);
    // The node starts anew; the server has not looked yet.
    let puppet = Puppet { sessions: world.network.reboot(1), ..puppet };
    world.settle();
    let third = attach(&puppet);
    assert_ne!(third, second);
    while let Some(received) = channel.try_receive() {
        assert!(matches!(received, Received::Disconnect { scoid } if scoid != third + 1));
    }
    assert_eq!((attach(&puppet), kernel.server_connections()), (third, 1));
    // Without a channel there is nothing to find.
    drop(channel);
    world.settle();
    puppet.hear();
    puppet.say(KifMessage::Connect(connect(9), Some(root())), &[]);
    world.settle();
    let fail = ConnectFail { version: 1, client_id: 9, status: Errno::ESRCH.0 };
    assert_eq!(puppet.hear(), [(KifMessage::ConnectFail(fail), vec![])]);
    assert_eq!(kernel.server_connections(), 0);
}

/// Attaching and sending at once, or with a pulse; credentials may also come with the message.
#[test]
fn combined_forms() {
    let world = world();
    let server = world.serve(0);
    let puppet = Puppet::new(&world);
    puppet.say(KifMessage::ConnectMsgSend(connect(9), Some(user(3)), message(7, 4), None), b"echo");
    let pulse = Pulse { code: 5, value: 6, priority: 12, ..Pulse::default() };
    puppet.say(KifMessage::ConnectPulse(connect(10), Some(user(3)), pulse, None), &[]);
    world.settle();
    let heard = puppet.hear();
    let [
        (KifMessage::ConnectSuccess(first), _),
        (KifMessage::ConnectSuccess(second), _),
        (KifMessage::MsgReply(reply), data),
    ] = &heard[..]
    else {
        panic!("{heard:?}")
    };
    assert_eq!((first.client_id, second.client_id, reply.handle, data.as_slice()), (9, 10, 7, &b"echo"[..]));
    assert_eq!(*server.pulses.borrow(), [(5, 6, 12)]);
    let send = MsgSend { server_id: first.server_id, ..message(7, 1) };
    puppet.say(KifMessage::MsgSend(send, Some(user(4))), b"?");
    world.settle();
    assert_eq!(*server.users.borrow(), [3, 4]);
    puppet.hear();
    // Nobody there: the message that travelled with it is refused by that.
    let nowhere = Connect { server_pid: 55, ..connect(11) };
    puppet.say(KifMessage::ConnectMsgSend(nowhere, None, message(8, 1), None), b"e");
    world.settle();
    assert!(matches!(
        puppet.hear()[..],
        [(KifMessage::ConnectFail(ConnectFail { client_id: 11, status: 3, .. }), _)]
    ));
}

/// Nodes that combine get it in kind; those that refuse it because of the version are asked again.
#[test]
fn we_combine_with_those_who_do() {
    let world = world();
    let _server = world.serve(0);
    let puppet = Puppet::new(&world);
    puppet.say(KifMessage::ConnectMsgSend(connect(9), Some(user(3)), message(7, 1), None), b"?");
    world.settle();
    puppet.hear();
    assert!(world.kernel(0).peer_profile(NodeNr(1)).combined);
    let open = |expected: Result<(i32, usize), Errno>| {
        let (kernel, nd) = (world.kernel(0), world.nd(1, 0));
        let task = world.spawn(async move {
            let mut reply = [0; 4];
            let opened = kernel.connect_and_send((nd, 1, 1), &root(), &[b"open"], &mut reply).await;
            assert_eq!(opened.map(|(_, status, len)| (status, len)), expected);
        });
        world.settle();
        let heard = puppet.hear();
        let [(KifMessage::ConnectMsgSend(connect, Some(_), send, None), data)] = &heard[..] else {
            panic!("{heard:?}")
        };
        assert_eq!((send.server_id, data.as_slice()), (0, &b"open"[..]));
        (task, *connect, send.client_handle)
    };
    let success = |client_id| {
        let success =
            ConnectSuccess { version: 1, server_id: 0x4000_0001, client_id, scoid: 3, nbytes: 8192 };
        puppet.say(KifMessage::ConnectSuccess(success), &[]);
    };
    let reply = |handle| {
        puppet.say(KifMessage::MsgReply(Transfer { status: 2, handle, offset: 0, nbytes: 3 }), b"yes");
        world.settle();
    };
    let fail = |client_id, version, status: Errno| {
        puppet.say(KifMessage::ConnectFail(ConnectFail { version, client_id, status: status.0 }), &[]);
        world.settle();
    };
    let (task, connect, handle) = open(Ok((2, 3)));
    success(connect.client_id);
    reply(handle);
    assert!(task.is_finished());
    puppet.hear();
    let (task, connect, _) = open(Err(Errno::EAGAIN));
    fail(connect.client_id, 1, Errno::EAGAIN);
    assert!(task.is_finished());
    let (task, connect, _) = open(Ok((2, 3)));
    fail(connect.client_id, 2, Errno::EINVAL);
    let [(KifMessage::Connect(again, _), _)] = puppet.hear()[..] else { panic!() };
    assert_eq!(again.version, 2);
    success(again.client_id);
    world.settle();
    let [(KifMessage::MsgSend(send, _), _)] = puppet.hear()[..] else { panic!() };
    reply(send.client_handle);
    assert!(task.is_finished());
    puppet.hear();
    // A transaction that fails leaves no connection either.
    let (task, connect, handle) = open(Err(Errno::EACCES));
    success(connect.client_id);
    let error = Transfer { status: Errno::EACCES.0 as u32, handle, ..Transfer::default() };
    puppet.say(KifMessage::MsgError(error), &[]);
    world.settle();
    assert!(task.is_finished());
    assert!(matches!(puppet.hear()[..], [(KifMessage::Disconnect(_), _)]));
    assert_eq!(world.kernel(0).connections(), 0);
}

/// Changed credentials travel before the next message.
#[test]
fn credential_updates() {
    let world = World::new(2);
    let server = world.serve(1);
    let kernel = world.kernel(0);
    let pid = kernel.create_process(&user(1)).unwrap();
    let who = kernel.credentials(pid).unwrap();
    let connection = Rc::new(world.try_connect(0, 1, &who).unwrap());
    let scoid = connection.scoid();
    let send = || world.send(&connection, b"?", 0).unwrap();
    send();
    connection.set_credentials(&Cred { euid: 2, ..who });
    send();
    kernel.set_credentials(pid, &user(3)).unwrap();
    send();
    send();
    connection.pulse(1, 1, 1).unwrap();
    assert_eq!(*server.users.borrow(), [1, 2, 3, 3]);
    assert_eq!(connection.scoid(), scoid);
    assert_eq!(world.kernel(1).server_connections(), 1);
}

/// The server does not take the new credentials: nothing more is done with the old ones.
#[test]
fn a_refused_update() {
    let world = world();
    let puppet = Puppet::new(&world);
    let (kernel, nd) = (world.kernel(0), world.nd(1, 0));
    let task = world.spawn(async move {
        let connection = kernel.connect(nd, 1, 1, &user(1)).await.unwrap();
        connection.set_credentials(&user(2));
        assert_eq!(connection.send(&[b"?"], &mut []).await, Err(Errno::EPERM));
        assert_eq!(connection.send(&[b"?"], &mut []).await, Err(Errno::EBADF));
    });
    world.settle();
    let [(KifMessage::Connect(sent, _), _)] = puppet.hear()[..] else { panic!() };
    let success =
        ConnectSuccess { version: 1, server_id: 1, client_id: sent.client_id, scoid: 3, nbytes: 8192 };
    puppet.say(KifMessage::ConnectSuccess(success), &[]);
    world.settle();
    let heard = puppet.hear();
    assert!(
        matches!(heard[..], [(KifMessage::Connect(again, Some(cred)), _), (KifMessage::MsgSend(..), _)]
            if again.client_id == sent.client_id && cred.euid == 2),
        "{heard:?}"
    );
    let fail = ConnectFail { version: 1, client_id: sent.client_id, status: Errno::EPERM.0 };
    puppet.say(KifMessage::ConnectFail(fail), &[]);
    world.settle();
    assert!(task.is_finished());
    assert!(matches!(puppet.hear()[..], [(KifMessage::Disconnect(_), _)]));
}
