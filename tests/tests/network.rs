//! The network between client and server: links that go and come, lose and reorder, and very many connections.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use keelson_oncrpc::{Buffer, Encoder};
use keelson_qemu::{Board, Drive, Endpoint, Impairment, Nic, NicModel};
use keelson_tests::Appliance;
use keelson_tests::frame::{ICMP, IPV4};
use keelson_tests::nfs3::{Handle, How, NFS_PORT, Nfs, Set, Stable, Transport};
use keelson_tests::rpc::{LAST, NFS, RpcClient, message};
use keelson_tests::world::{MOMENT, SERVER, SOON, World, assert_sound, at, shell};

#[test]
fn the_carrier_goes_and_comes_back() {
    carrier_goes_and_comes_back(&[NicModel::Virtio, NicModel::E1000, NicModel::E1000e]);
}

#[test]
#[ignore = "needs QEMU 8.0 or later, which has igb"]
fn the_carrier_of_igb_goes_and_comes_back() {
    carrier_goes_and_comes_back(&[NicModel::Igb]);
}

fn carrier_goes_and_comes_back(models: &[NicModel]) {
    for &model in models {
        let world = World::new("carrier");
        let disk = world.disk();
        let machine = Appliance::nfs(&world.bench, "nfs", "ip=10.0.0.1/24:eth0 nfs.exports=\"/ *(rw)\"")
            .board(Board::Q35)
            .nic(Nic::on(&world.port, model))
            .drive(Drive::file(disk.path()))
            .start()
            .unwrap();
        machine.expect("serving NFS", SOON).unwrap();
        let mut client = RpcClient::tcp(&world.host, at(SERVER, 2049)).unwrap();
        client.null(NFS, 3).unwrap();
        for _ in 0..2 {
            machine.set_link(0, false).unwrap();
            machine.expect("eth0: link down", SOON).unwrap();
            assert!(shell(&machine, "ip").concat().contains("eth0: <UP,NO-CARRIER>"));
            assert!(world.host.ping(SERVER.parse().unwrap(), 56, MOMENT / 4).is_err(), "{model:?}");
            machine.set_link(0, true).unwrap();
            machine.expect("eth0: link up", SOON).unwrap();
            world.host.wait_for(SERVER.parse().unwrap(), SOON).unwrap();
            // The connection of before.
            client.null(NFS, 3).unwrap();
        }
        assert_sound(&machine);
    }
}

#[test]
fn calls_wait_for_a_cable_that_was_cut() {
    let world = World::new("cut");
    let machine = world.serving("");
    let mut tcp = RpcClient::tcp(&world.host, at(SERVER, 2049)).unwrap();
    let mut udp = RpcClient::udp(&world.host, at(SERVER, 2049)).unwrap();
    tcp.null(NFS, 3).unwrap();
    for client in [&mut tcp, &mut udp] {
        world.port.cut();
        let port = world.port.clone();
        let start = Instant::now();
        let repair = std::thread::spawn(move || {
            std::thread::sleep(MOMENT);
            port.restore();
        });
        client.null(NFS, 3).unwrap();
        assert!(start.elapsed() >= MOMENT, "an answer through a cut cable");
        repair.join().unwrap();
    }
    assert_sound(&machine);
}

fn create(nfs: &mut Nfs, root: &[u8]) -> Handle {
    nfs.create(root, b"file", How::Unchecked(Set::default())).unwrap().ok().handle
}

fn write(nfs: &mut Nfs, file: &[u8], offset: usize, data: &[u8]) {
    let written = nfs.write(file, offset as u64, data, Stable::Unstable).unwrap().ok();
    assert_eq!(written.count as usize, data.len());
}

fn read(nfs: &mut Nfs, file: &[u8], offset: usize, count: usize) -> Vec<u8> {
    nfs.read(file, offset as u64, count as u32).unwrap().ok().data
}

#[test]
fn a_bad_cable_changes_no_byte() {
    const PIECE: usize = 32 << 10;
    let world = World::new("bad-cable");
    let machine = world.serving("");
    let (mut tcp, root) = Transport::Tcp.mount(&world.host, SERVER.parse().unwrap(), "/");
    let rule = Impairment { loss: 0.05, reorder: 0.05, duplicate: 0.05, ..Impairment::default() };
    world.port.impair(rule, 77);
    let data: Vec<u8> = (0..24 * PIECE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = create(&mut tcp, &root);
    for (i, piece) in data.chunks(PIECE).enumerate() {
        write(&mut tcp, &file, i * PIECE, piece);
    }
    for (i, piece) in data.chunks(PIECE).enumerate() {
        assert!(read(&mut tcp, &file, i * PIECE, PIECE) == piece, "TCP, piece {i}");
    }
    let mut udp = Nfs::new(RpcClient::udp(&world.host, at(SERVER, NFS_PORT)).unwrap());
    for (i, piece) in data.chunks(8 << 10).enumerate().take(8) {
        assert!(read(&mut udp, &file, i * (8 << 10), 8 << 10) == piece, "UDP, piece {i}");
    }
    // The cable was bad indeed, and the server noticed.
    assert!(world.port.stats().impaired > 20, "{:?}", world.port.stats());
    let counted = shell(&machine, "netstat").concat();
    assert!(counted.contains("tcp_retransmitted"), "{counted}");
    world.port.impair(Impairment::default(), 0);
    world.assert_serves(SERVER);
    assert_sound(&machine);
}

#[test]
fn damaged_frames_are_noticed() {
    let world = World::new("damage");
    let machine = world.serving("");
    let (mut tcp, root) = Transport::Tcp.mount(&world.host, SERVER.parse().unwrap(), "/");
    let file = create(&mut tcp, &root);
    let data: Vec<u8> = (0..256 << 10).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    // To the server only: what the host's side does with damaged frames is not the question.
    let rule = Impairment { corrupt: 0.05, truncate: 0.02, ..Impairment::default() };
    world.port.impair_one(keelson_qemu::Direction::In, rule, 78);
    for (i, piece) in data.chunks(32 << 10).enumerate() {
        write(&mut tcp, &file, i * (32 << 10), piece);
    }
    world.port.impair(Impairment::default(), 0);
    assert!(read(&mut tcp, &file, 0, data.len()) == data);
    let counted = shell(&machine, "netstat").concat();
    assert!(counted.contains("tcp_bad_checksum"), "{counted}");
    assert_sound(&machine);
}

#[test]
fn five_hundred_connections() {
    const HOSTS: usize = 8;
    const EACH: usize = 64;
    let world = World::new("connections");
    let machine = world.serving("nfs.connections=600 nfs.connections_per_host=64");
    let hosts: Vec<Endpoint> = (0..HOSTS)
        .map(|i| {
            let address = format!("10.0.0.{}/24", 100 + i);
            world.bench.endpoint(&world.lan, &format!("host{i}"), &[&address]).unwrap()
        })
        .collect();
    let mut clients = Vec::new();
    for _ in 0..EACH {
        for host in &hosts {
            let mut client = RpcClient::over(host.tcp_connect(at(SERVER, 2049), SOON).unwrap());
            client.null(NFS, 3).unwrap();
            clients.push(client);
        }
    }
    assert_eq!(shell(&machine, "netstat")[0], format!("{} TCP connections", HOSTS * EACH));
    // All of them still work, the last as well as the first.
    for client in &mut clients {
        client.null(NFS, 3).unwrap();
    }
    let memory = shell(&machine, "mem").join("\n");
    assert!(memory.contains("allocations refused 0"), "{memory}");
    drop(clients);
    world.assert_serves(SERVER);
    assert_sound(&machine);
}

#[test]
fn the_seventeenth_connection_of_a_host_is_turned_away() {
    let world = World::new("per-host");
    let machine = world.serving("");
    let mut clients: Vec<RpcClient> =
        (0..16).map(|_| RpcClient::over(world.host.tcp_connect(at(SERVER, 2049), SOON).unwrap())).collect();
    for client in &mut clients {
        client.null(NFS, 3).unwrap();
    }
    let mut surplus = world.host.tcp_connect(at(SERVER, 2049), SOON).unwrap();
    surplus.set_timeout(SOON);
    assert!(!matches!(surplus.read(&mut [0]), Ok(1..)), "closed without a word");
    machine.expect("turned away", SOON).unwrap();
    // Neither the sixteen nor other hosts suffer.
    for client in &mut clients {
        client.null(NFS, 3).unwrap();
    }
    let other = world.bench.endpoint(&world.lan, "other", &["10.0.0.10/24"]).unwrap();
    RpcClient::over(other.tcp_connect(at(SERVER, 2049), SOON).unwrap()).null(NFS, 3).unwrap();
    // One goes, one may come.
    clients.pop();
    let mut next = None;
    let deadline = Instant::now() + SOON;
    while next.is_none() && Instant::now() < deadline {
        let mut client = RpcClient::over(world.host.tcp_connect(at(SERVER, 2049), SOON).unwrap());
        next = client.null(NFS, 3).ok();
    }
    assert!(next.is_some(), "no room after a connection was closed");
}

#[test]
fn closed_ports_say_so() {
    let world = World::new("closed-ports");
    let machine = world.serving("");
    for port in [1, 22, 2048, 65_535] {
        let start = Instant::now();
        let error = world.host.tcp_connect(at(SERVER, port), SOON).map(drop).unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5), "refused by a reset, not by silence");
    }
    let frames = world.host.frames(Some(IPV4));
    let udp = world.host.udp(0).unwrap();
    udp.send_to(b"anybody?", at(SERVER, 2050)).unwrap();
    // Destination unreachable, port unreachable, and our datagram's header from byte 28 of the packet on.
    let frame = frames.receive(SOON).unwrap();
    assert_eq!((frame[23], frame[34], frame[35]), (ICMP, 3, 3), "{frame:02x?}");
    let quoted = &frame[14 + 20 + 8 + 20..];
    assert_eq!(quoted[..4], [udp.port().to_be_bytes(), 2050u16.to_be_bytes()].concat());
    // Nothing for what is broadcast.
    udp.send_to(b"anybody?", at("10.0.0.255", 2050)).unwrap();
    assert!(frames.receive(MOMENT).is_err());
    assert_sound(&machine);
}

#[test]
fn a_peer_that_resets_or_stops_reading_disturbs_nobody() {
    let world = World::new("rude-peers");
    let machine = world.serving("");
    let (mut good, root) = Transport::Tcp.mount(&world.host, SERVER.parse().unwrap(), "/");
    let file = create(&mut good, &root);
    write(&mut good, &file, 0, &vec![5; 512 << 10]);
    // Asks for 64 MiB and never reads; a second one resets in the middle of it.
    let mut arguments = Encoder::new(Buffer::unpooled(128), 0);
    arguments.opaque(&file);
    arguments.u64(0);
    arguments.u32(512 << 10);
    let read_call = |xid: u32| {
        let call = message(xid, [2, NFS, 3, 6], arguments.written());
        [&(LAST | call.len() as u32).to_be_bytes()[..], &call].concat()
    };
    let mut greedy = world.host.tcp_connect(at(SERVER, 2049), SOON).unwrap();
    let mut rude = world.host.tcp_connect_from(900, at(SERVER, 2049), SOON).unwrap();
    for xid in 0..128 {
        greedy.write_all(&read_call(xid)).unwrap();
        rude.write_all(&read_call(xid)).unwrap();
    }
    rude.reset();
    for _ in 0..20 {
        assert!(read(&mut good, &file, 0, 1024) == [5; 1024]);
    }
    world.assert_serves(SERVER);
    assert_sound(&machine);
}
