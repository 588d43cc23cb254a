//! Section 4.2's rows, and readiness.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use keelson_lwk_wire::frame::{FrameType, Header};
use keelson_lwk_wire::layout::{Cmsghdr, Msghdr, Sockaddr};
use keelson_lwk_wire::messages::{FdKind, Message, Ready, Subscribe, Unsubscribe};

use crate::sim::*;

fn inet(port: u16) -> Vec<u8> {
    Sockaddr::Inet { ip: [127, 0, 0, 1], port }.to_bytes()
}

fn port(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[2], bytes[3]])
}

#[test]
fn tcp() {
    let bench = bench();
    let sim = &bench.sim;
    let server = sim.call(41, &[N(2), N(1), N(0)]);
    assert_eq!(server.hint.unwrap().kind, FdKind::Socket);
    let server = server.ok();
    assert_eq!(sim.call(54, &[N(server), N(1), N(2), In(&1u32.to_le_bytes()), N(4)]).ok(), 0);
    assert_eq!(sim.call(49, &[N(server), In(&inet(0)), N(16)]).ok(), 0);
    assert_eq!(sim.call(50, &[N(server), N(5)]).ok(), 0);
    let name = sim.call(51, &[N(server), Out(16), Io(&16u32.to_le_bytes())]);
    assert_eq!((name.ok(), name.at(2)), (0, &16u32.to_le_bytes()[..]));
    let option = sim.call(55, &[N(server), N(1), N(2), Out(4), Io(&4u32.to_le_bytes())]);
    assert_eq!((option.at(3), option.at(4)), (&1u32.to_le_bytes()[..], &4u32.to_le_bytes()[..]));
    assert_eq!(
        sim.call(55, &[N(server), N(77), N(2), Out(4), Io(&4u32.to_le_bytes())]).error(),
        "ENOPROTOOPT"
    );

    // The node waits for a connection before there is one.
    let accept = sim.start(288, &[N(server), Out(16), Io(&16u32.to_le_bytes()), N(0)]);
    let mut client = TcpStream::connect(("127.0.0.1", port(name.at(1)))).unwrap();
    let accepted = sim.wait(accept);
    assert_eq!(port(accepted.at(1)), client.local_addr().unwrap().port());
    let socket = accepted.ok();
    let peer = sim.call(52, &[N(socket), Out(16), Io(&16u32.to_le_bytes())]);
    assert_eq!(port(peer.at(1)), client.local_addr().unwrap().port());
    let receive = sim.start(45, &[N(socket), Out(5), N(5), N(0x100), N(0), N(0)]);
    client.write_all(b"ab").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(30));
    client.write_all(b"cdef").unwrap();
    // MSG_WAITALL
    let received = sim.wait(receive);
    assert_eq!((received.ok(), received.at(1)), (5, &b"abcde"[..]));
    assert_eq!(sim.call(0, &[N(socket), Out(9), N(9)]).ok(), 1);
    assert_eq!(sim.call(45, &[N(socket), Out(9), N(9), N(0x40), N(0), N(0)]).error(), "EAGAIN");
    // More than the socket takes at once: it must come out whole.
    let big: Vec<u8> = (0..3_000_000u32).map(|i| (i >> 3) as u8).collect();
    let wanted = big.clone();
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; wanted.len()];
        client.read_exact(&mut got).unwrap();
        assert!(got == wanted);
        client
    });
    assert_eq!(
        sim.call(44, &[N(socket), In(&big), N(big.len() as u64), N(0), N(0), N(0)]).ok(),
        big.len() as u64
    );
    let client = reader.join().unwrap();
    assert_eq!(sim.call(48, &[N(socket), N(1)]).ok(), 0);
    drop(client);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let out = sim.call(41, &[N(2), N(1), N(0)]).ok();
    assert_eq!(sim.call(42, &[N(out), In(&inet(listener.local_addr().unwrap().port())), N(16)]).ok(), 0);
    let (mut server, _) = listener.accept().unwrap();
    assert_eq!(sim.call(1, &[N(out), In(b"hi"), N(2)]).ok(), 2);
    let mut got = [0; 2];
    server.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hi");
    drop((server, listener));
    let refused = sim.call(41, &[N(2), N(1), N(0)]).ok();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(sim.call(42, &[N(refused), In(&inet(free)), N(16)]).error(), "ECONNREFUSED");
    assert_eq!(sim.call(42, &[N(refused), In(&[9, 0, 0, 0]), N(4)]).error(), "EAFNOSUPPORT");
}

#[test]
fn datagrams() {
    let bench = bench();
    let sim = &bench.sim;
    let socket = sim.call(41, &[N(2), N(2), N(0)]).ok();
    sim.call(49, &[N(socket), In(&inet(0)), N(16)]).ok();
    let own = port(sim.call(51, &[N(socket), Out(16), Io(&16u32.to_le_bytes())]).at(1));
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = inet(other.local_addr().unwrap().port());
    assert_eq!(sim.call(44, &[N(socket), In(b"ping"), N(4), N(0), In(&to), N(16)]).ok(), 4);
    let mut buffer = [0; 10];
    assert_eq!(other.recv_from(&mut buffer).unwrap().0, 4);
    other.send_to(b"pong!", ("127.0.0.1", own)).unwrap();
    let got = sim.call(45, &[N(socket), Out(3), N(3), N(0x20), Out(16), Io(&16u32.to_le_bytes())]);
    // MSG_TRUNC reports the datagram's whole length.
    assert_eq!((got.at(1), port(got.at(4))), (&b"pon"[..], other.local_addr().unwrap().port()));
    let message = sim.call(46, &[N(socket), Msg(&to, b"by sendmsg", b""), N(0)]);
    assert_eq!(message.ok(), 10);
    assert_eq!(other.recv_from(&mut buffer).unwrap().0, 10);
    other.send_to(b"yes", ("127.0.0.1", own)).unwrap();
    let got = sim.call(47, &[N(socket), Msg(&[0; 16], &[0; 8], b""), N(0)]);
    assert_eq!(got.ok(), 3);
    let memory = got.at(1);
    assert_eq!((port(memory), &memory[32..36]), (other.local_addr().unwrap().port(), &b"yes\0"[..]));
    assert_eq!(Msghdr::read(&memory[memory.len() - 56..]).unwrap().namelen, 16);
}

#[test]
fn rights() {
    let bench = bench();
    let sim = &bench.sim;
    let (one, two) = UnixStream::pair().unwrap();
    let (one, two) = (bench.handle(one), bench.handle(two));
    let (reader, writer) = std::io::pipe().unwrap();
    let pipe = bench.handle(std::os::fd::OwnedFd::from(reader));
    let mut control = Cmsghdr { len: 20, level: 1, kind: 1 }.to_bytes().to_vec();
    control.extend((pipe as u32).to_le_bytes());
    assert_eq!(sim.call(46, &[N(one), Msg(b"", b"x", &control), N(0)]).ok(), 1);
    let got = sim.call(47, &[N(two), Msg(b"", &[0], &[0; 24]), N(0)]);
    assert_eq!(got.ok(), 1);
    let memory = got.at(1);
    let control = &memory[16 + 17..];
    assert_eq!(Cmsghdr::read(control).unwrap(), Cmsghdr { len: 20, level: 1, kind: 1 });
    let passed = u64::from(u32::from_le_bytes(*control[16..].first_chunk().unwrap()));
    assert_ne!(passed, pipe);
    (&writer).write_all(b"through").unwrap();
    assert_eq!(sim.call(0, &[N(passed), Out(9), N(9)]).ok(), 7);
    let unknown = [&Cmsghdr { len: 20, level: 1, kind: 99 }.to_bytes()[..], &[0; 4]].concat();
    assert_eq!(sim.call(46, &[N(one), Msg(b"", b"x", &unknown), N(0)]).error(), "EOPNOTSUPP");
}

#[test]
fn readiness() {
    const IN: u32 = 1;
    const OUT: u32 = 4;
    const HUP: u32 = 16;
    let bench = bench();
    let sim = &bench.sim;
    let (reader, mut writer) = std::io::pipe().unwrap();
    let pipe = bench.handle(std::os::fd::OwnedFd::from(reader));
    let subscribe = Subscribe { handle: pipe, events: IN, generation: 3 };
    sim.hi.send(&Header::new(FrameType::Subscribe), &subscribe);
    // There may be more of them than things that happened; what counts is that the last word is right.
    let ready_of = |handle: u64, revents: u32, generation: u32| loop {
        let ready = Ready::decode(&sim.expect(FrameType::Ready).payload).unwrap();
        if ready == (Ready { handle, revents, generation }) {
            break;
        }
    };
    let ready = |revents: u32| ready_of(pipe, revents, 3);
    ready(0);
    writer.write_all(b"123").unwrap();
    ready(IN);
    // Edge: more of it is news, and an answer tells what is left.
    writer.write_all(b"4").unwrap();
    ready(IN);
    assert_eq!(sim.call(0, &[N(pipe), Out(2), N(2)]).revents, IN);
    assert_eq!(sim.call(0, &[N(pipe), Out(2), N(2)]).revents, 0);
    drop(writer);
    ready(HUP);
    sim.hi.send(&Header::new(FrameType::Unsubscribe), &Unsubscribe { handle: pipe });
    // Files are always ready, and that once.
    let file = bench.handle(std::fs::File::open("/proc/version").unwrap());
    sim.hi.send(
        &Header::new(FrameType::Subscribe),
        &Subscribe { handle: file, events: IN | OUT, generation: 1 },
    );
    ready_of(file, IN | OUT, 1);
    // inotify is pollable too.
    let scratch = Scratch::new("inotify");
    let inotify = sim.call(294, &[N(0)]);
    assert_eq!(inotify.hint.unwrap().kind, FdKind::Inotify);
    let inotify = inotify.ok();
    assert!(sim.call(254, &[N(inotify), P(scratch.0.to_str().unwrap()), N(0x100)]).ok() > 0);
    sim.hi
        .send(&Header::new(FrameType::Subscribe), &Subscribe { handle: inotify, events: IN, generation: 1 });
    ready_of(inotify, 0, 1);
    std::fs::write(scratch.path("new"), b"").unwrap();
    ready_of(inotify, IN, 1);
    assert!(sim.call(0, &[N(inotify), Out(300), N(300)]).ok() >= 16);
}

#[test]
fn interfaces() {
    let bench = bench();
    let sim = &bench.sim;
    let socket = sim.call(41, &[N(2), N(2), N(0)]).ok();
    let mut request = [0; 40];
    request[..2].copy_from_slice(b"lo");
    let ask = |nr: u64| sim.call(16, &[N(socket), N(nr), Io(&request)]);
    let index = ask(0x8933);
    let real =
        rustix::net::netdevice::name_to_index(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd(), "lo").unwrap();
    assert_eq!(index.at(2)[16..20], real.to_le_bytes());
    assert_eq!(ask(0x8913).at(2)[16] & 8, 8, "IFF_LOOPBACK");
    assert_eq!(ask(0x8915).at(2)[16..24], [2, 0, 0, 0, 127, 0, 0, 1]);
    let mtu: u32 = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap().trim().parse().unwrap();
    assert_eq!(ask(0x8921).at(2)[16..20], mtu.to_le_bytes());
    assert_eq!(sim.call(16, &[N(socket), N(0x8913), Io(&[b'x'; 40])]).error(), "ENODEV");
    let file = bench.handle(std::fs::File::open("/proc/version").unwrap());
    assert_eq!(sim.call(16, &[N(file), N(0x8913), Io(&request)]).error(), "ENOTTY");
}
