//! Clients that vanish, never end a handshake, never end a request, or never read a reply: each is given up in time, counted,
//! and in nobody's way.

use std::io::Write;
use std::time::{Duration, Instant};

use keelson_oncrpc::{AuthSys, Buffer, Credential, Encoder};
use keelson_qemu::{Endpoint, Machine, TcpStream};
use keelson_tests::nfs3::{Procedure, Stable, kind};
use keelson_tests::rpc::{LAST, NFS, RpcClient, message, reserved_connection};
use keelson_tests::world::{SERVER, SOON, World, assert_sound, at, shell};

use super::{counter, create, hosts, mounted};

/// Times that let a test end soon.
const TIMES: &str = "nfs.idle_timeout=6 nfs.stall_timeout=4 nfs.tcp_keepalive=2 nfs.tcp_user_timeout=4";
/// What the longest of them takes, with room for a host that is busy.
const PATIENCE: Duration = Duration::from_secs(40);

/// Connections that `ss` shows of a host.
fn connections_of(machine: &Machine, address: &str) -> Vec<String> {
    let lines = shell(machine, "ss");
    assert!(lines.iter().any(|line| line.starts_with("State")), "{lines:?}");
    lines.into_iter().filter(|line| line.contains(&format!(" {address}:"))).collect()
}

/// Waits until the appliance has no connection of these hosts left, while another one is served.
fn are_given_up(world: &World, machine: &Machine, addresses: &[&str]) {
    let (mut nfs, root) = mounted(&world.host);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left: Vec<_> = addresses.iter().flat_map(|address| connections_of(machine, address)).collect();
        assert_eq!(nfs.getattr(&root).unwrap().ok().kind, kind::DIRECTORY);
        // A new one gets in all the time.
        RpcClient::tcp(&world.host, at(SERVER, 2049)).unwrap().null(NFS, 3).unwrap();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still there: {left:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Sends bytes and sees them acknowledged.
fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    while !stream.is_flushed() {
        std::thread::yield_now();
    }
}

fn connect(host: &Endpoint) -> TcpStream {
    host.tcp_connect(at(SERVER, 2049), SOON).unwrap()
}

fn null_record() -> Vec<u8> {
    let call = message(7, [2, NFS, 3, 0], &[]);
    [&(LAST | call.len() as u32).to_be_bytes()[..], &call].concat()
}

#[test]
fn hosts_that_vanish_are_given_up() {
    let world = World::new("vanished");
    let machine = world.serving(TIMES);
    let hosts = hosts(&world, 3);
    // Idle after a call; in the middle of a request; with replies that never arrive.
    let mut idle = connect(&hosts[0]);
    send(&mut idle, &null_record());
    let mut half = connect(&hosts[1]);
    send(&mut half, &null_record()[..20]);
    let mut asking = connect(&hosts[2]);
    send(&mut asking, &null_record());
    for address in ["10.0.0.100", "10.0.0.101", "10.0.0.102"] {
        let shown = connections_of(&machine, address);
        assert!(shown.len() == 1 && shown[0].starts_with("ESTAB"), "{shown:?}");
    }
    // No FIN, no reset: the cable is cut.
    hosts[0].port().cut();
    hosts[1].port().cut();
    hosts[2].port().cut();
    are_given_up(&world, &machine, &["10.0.0.100", "10.0.0.101", "10.0.0.102"]);
    let given_up = counter(&machine, "netstat", "tcp_timed_out");
    assert!(given_up >= 3, "{given_up} were counted");
    assert_sound(&machine);
}

#[test]
fn silent_clients_are_closed_and_counted() {
    let world = World::new("silent");
    let machine = world.serving(TIMES);
    let hosts = hosts(&world, 2);
    // These answer every probe: only their silence tells.
    let mut idle = connect(&hosts[0]);
    send(&mut idle, &null_record());
    let mut half = connect(&hosts[1]);
    send(&mut half, &null_record()[..20]);
    are_given_up(&world, &machine, &["10.0.0.100", "10.0.0.101"]);
    assert_eq!(counter(&machine, "nfsstat", r#"rpc_cut_total{reason="stalled"}"#), 1);
    assert!(counter(&machine, "nfsstat", r#"rpc_cut_total{reason="idle"}"#) >= 1);
    assert_sound(&machine);
}

#[test]
fn a_client_that_never_reads_is_given_up() {
    let world = World::new("unread");
    // It answers all probes of its window, so that TCP has no reason to give it up.
    let machine = world.serving("nfs.stall_timeout=4");
    let (mut nfs, root) = mounted(&world.host);
    let file = create(&mut nfs, &root, "file");
    nfs.write(&file, 0, &vec![5; 512 << 10], Stable::Unstable).unwrap().ok();
    let hosts = hosts(&world, 1);
    // From a port that the server trusts.
    let mut greedy = reserved_connection(&hosts[0], at(SERVER, 2049), SOON).unwrap();
    for xid in 0..16 {
        let mut call = Encoder::new(Buffer::unpooled(256), 0);
        [xid, 0, 2, NFS, 3, Procedure::Read as u32].into_iter().for_each(|word| call.u32(word));
        Credential::Sys(AuthSys::new(b"greedy", 0, 0, &[])).emit(&mut call);
        Credential::None.emit(&mut call);
        call.opaque(&file);
        call.u64(0);
        call.u32(512 << 10);
        let call = call.written();
        greedy.write_all(&[&(LAST | call.len() as u32).to_be_bytes()[..], call].concat()).unwrap();
    }
    are_given_up(&world, &machine, &["10.0.0.100"]);
    assert_eq!(counter(&machine, "nfsstat", r#"rpc_cut_total{reason="stalled"}"#), 1);
    assert_sound(&machine);
}

/// Two hosts begin 32 requests of a mebibyte, as many as there are buffers for, and stop. A third one writes: it has to
/// wait for them to be given up, which is soon when somebody waits.
#[test]
fn half_requests_do_not_keep_the_buffers() {
    let world = World::new("half-requests");
    // The times as they are: a minute for those who stop.
    let machine = world.serving("");
    let (mut nfs, root) = mounted(&world.host);
    let file = create(&mut nfs, &root, "file");
    let hosts = hosts(&world, 2);
    let mut halves = vec![];
    for host in &hosts {
        for _ in 0..16 {
            let mut half = connect(host);
            send(&mut half, &[&(LAST | (1 << 20)).to_be_bytes()[..], &[0; 100]].concat());
            halves.push(half);
        }
    }
    let start = Instant::now();
    for at in 0..8 {
        nfs.write(&file, at * 65_536, &[9; 65_536], Stable::Unstable).unwrap().ok();
    }
    let waited = start.elapsed();
    let stalled = counter(&machine, "nfsstat", r#"rpc_cut_total{reason="stalled"}"#);
    eprintln!("eight writes took {waited:?}; {stalled} connections were given up");
    assert!((1..=32).contains(&stalled));
    // Less than the minute that they would have had otherwise.
    assert!(waited < Duration::from_secs(45), "{waited:?}");
    assert_sound(&machine);
}

/// A client that was reset comes back from the same port, where the appliance still has its old connection.
#[test]
fn a_new_connection_from_the_same_port_replaces_the_old_one() {
    const PORT: u16 = 901;
    let world = World::new("same-port");
    let machine = world.serving("");
    let first = world.bench.endpoint(&world.lan, "first", &["10.0.0.50/24"]).unwrap();
    let mut old = first.tcp_connect_from(PORT, at(SERVER, 2049), SOON).unwrap();
    send(&mut old, &null_record());
    first.port().cut();
    drop((old, first));
    let second = world.bench.endpoint(&world.lan, "second", &["10.0.0.50/24"]).unwrap();
    let stream = second.tcp_connect_from(PORT, at(SERVER, 2049), SOON).unwrap();
    // Open until it was looked at.
    let mut client = RpcClient::over(stream);
    client.null(NFS, 3).unwrap();
    let connections = connections_of(&machine, "10.0.0.50");
    assert_eq!(connections.iter().filter(|line| line.starts_with("ESTAB")).count(), 1, "{connections:?}");
    drop(client);
    assert!(counter(&machine, "netstat", "tcp_challenge_acks") >= 1);
    assert_sound(&machine);
}

/// SYNs from addresses that nobody has: no more of them are kept than the backlog says, clients get in meanwhile, and
/// nothing is left of it.
#[test]
fn a_flood_of_syns_keeps_nobody_out() {
    let world = World::new("flood");
    let machine = world.serving("");
    let flooder = &world.host;
    let client = world.bench.endpoint(&world.lan, "client", &["10.0.0.50/24"]).unwrap();
    RpcClient::tcp(&client, at(SERVER, 2049)).unwrap().null(NFS, 3).unwrap();
    let mac = world.port.default_mac();
    let (mut calls, mut sent) = (0, 0u32);
    let deadline = Instant::now() + SOON;
    while calls < 20 {
        for _ in 0..200 {
            sent += 1;
            let from = [10, 0, 0, 128 + (sent % 100) as u8];
            flooder.send_frame(&syn(mac, flooder.mac(), from, 1024 + (sent % 50_000) as u16, sent));
        }
        // From a port that was not used before: a handshake in the middle of it.
        RpcClient::tcp(&client, at(SERVER, 2049)).unwrap().null(NFS, 3).unwrap();
        calls += 1;
        assert!(Instant::now() < deadline, "{calls} calls during {sent} SYNs");
    }
    let half_open = shell(&machine, "ss").iter().filter(|line| line.starts_with("SYN-RECV")).count();
    eprintln!("{sent} SYNs, {half_open} half-open connections");
    assert!((1..=128).contains(&half_open), "{half_open}");
    let turned = counter(&machine, "netstat", "tcp_syn_dropped")
        + counter(&machine, "netstat", "tcp_half_open_evicted");
    assert!(turned > 0);
    // Nobody answers: they expire.
    let deadline = Instant::now() + PATIENCE;
    while shell(&machine, "ss").iter().any(|line| line.starts_with("SYN-RECV")) {
        assert!(Instant::now() < deadline, "{:?}", shell(&machine, "ss"));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(counter(&machine, "netstat", "tcp_half_open_expired") > 0);
    world.assert_serves(SERVER);
    assert_sound(&machine);
}

/// A frame with a SYN to the NFS port.
fn syn(to: [u8; 6], from: [u8; 6], source: [u8; 4], port: u16, sequence: u32) -> Vec<u8> {
    let mut segment = [port.to_be_bytes(), 2049u16.to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, 0x02, 0x20, 0, 0, 0, 0, 0]);
    let pseudo = [&source[..], &[10, 0, 0, 1, 0, 6, 0, 20], &segment].concat();
    let checksum = !sum(&pseudo);
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    let mut header = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
    header.extend(source);
    header.extend([10, 0, 0, 1]);
    let checksum = !sum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [&to[..], &from, &[8, 0], &header, &segment, &[0; 6]].concat()
}

/// The Internet checksum before its complement (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let total = words.sum::<u32>();
    let folded = (total & 0xffff) + (total >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}
