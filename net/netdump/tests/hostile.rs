//! Silence, errors, devices that do nothing, and frames that nobody should send: `put` ends, in time, and says why.

mod model;

use keelson_netdump::{PutError, TFTP_PORT, Target};
use model::{
    CLIENT, CLIENT_MAC, Faults, MILLI, Options, Pattern, SECOND, SERVER, SERVER_MAC, World, arp, ip_udp,
    target,
};
use std::net::Ipv4Addr;

/// What `put` says to a server with these options, and after how many seconds.
fn outcome(options: Options, size: u64) -> (PutError, u64) {
    let mut world = World::new(1, options);
    let error = world.check(size).unwrap_err();
    assert!(!error.to_string().is_empty());
    (error, world.time.nanos() / SECOND)
}

fn refused(code: u16, text: &str, acknowledged: u64) -> PutError {
    PutError::Refused { code, text: text.try_into().unwrap(), acknowledged }
}

#[test]
fn silence_ends_at_each_stage_and_the_error_names_who_did_not_answer() {
    let (error, seconds) = outcome(Options { neighbour: None, ..Options::default() }, 9000);
    assert_eq!((error, seconds), (PutError::NoNeighbour(SERVER), 30));
    let (error, seconds) = outcome(Options { silent_after: 0, ..Options::default() }, 9000);
    assert_eq!((error, seconds), (PutError::NoServer(SERVER, TFTP_PORT), 30));
    for blocks in 1..=7 {
        let options = Options { silent_after: blocks, window: None, ..Options::default() };
        // Seven blocks; after the last one nothing is missing.
        if blocks == 7 {
            World::new(1, options).check(9000).unwrap();
            continue;
        }
        let (error, seconds) = outcome(options, 9000);
        assert_eq!(error, PutError::Silent { server: SERVER, acknowledged: blocks * 1468, of: 9000 });
        assert_eq!(seconds, 30);
    }
}

#[test]
fn the_server_is_told_when_it_is_given_up() {
    let mut world = World::new(1, Options { silent_after: 3, window: None, ..Options::default() });
    world.check(9000).unwrap_err();
    world.linger(MILLI);
    assert_eq!(world.server.errors, [0, 0]);
}

#[test]
fn errors_of_the_server_are_reported() {
    let denied = Options { error: Some((2, "Access\x1b[2J violation")), ..Options::default() };
    assert_eq!(outcome(denied, 9000), (refused(2, "Access\\x1b[2J violation", 0), 0));
    let full = Options { room: 2000, window: None, ..Options::default() };
    assert_eq!(outcome(full, 9000), (refused(3, "Disk full or allocation exceeded", 1468), 0));
    // Only options are asked about again, and only once.
    let (refuses, error) = (true, Some((8, "no")));
    assert_eq!(outcome(Options { refuses, error, ..Options::default() }, 9000), (refused(8, "no", 0), 0));
    let long = Options { error: Some((0, LONG)), ..Options::default() };
    assert_eq!(outcome(long, 9000), (refused(0, &LONG[..96], 0), 0));
}

const LONG: &str = "it is a long story, and it begins with a disk that somebody bought in a hurry, without \
    looking at what it was meant for, and ends here";

#[test]
fn options_that_nobody_asked_for_end_it_and_the_server_hears_so() {
    for words in [&b"blksize\x009000\0"[..], b"windowsize\x0065535\0", b"timeout\x003\0", b"blksize\x001\0"] {
        let mut world = World::new(1, Options { words: Some(words.to_vec()), ..Options::default() });
        assert_eq!(world.check(9000), Err(PutError::Options));
        world.linger(MILLI);
        assert_eq!(world.server.errors, [8]);
    }
}

#[test]
fn the_link_is_waited_for_but_not_for_ever() {
    let mut world = World::new(1, Options::default());
    world.link = (7 * SECOND, u64::MAX);
    world.check(9000).unwrap();
    let mut world = World::new(1, Options::default());
    world.link = (11 * SECOND, u64::MAX);
    assert_eq!(world.check(9000), Err(PutError::NoLink));
    assert_eq!(world.time.nanos() / SECOND, 10);
    // A switch that forwards only after a while, and a cable that is pulled.
    let mut world = World::new(1, Options::default());
    world.server.options.think = 20 * SECOND;
    world.check(9000).unwrap();
    let mut world = World::new(1, Options::default());
    world.link = (0, 300 * MILLI);
    world.faults.late = 100;
    assert_eq!(world.check(1_000_000), Err(PutError::NoLink));
}

#[test]
fn a_device_that_sends_nothing_is_named() {
    let mut world = World::new(1, Options::default());
    (world.ring, world.drains) = (4, 0);
    assert_eq!(world.check(9000), Err(PutError::Device));
    let mut world = World::new(1, Options::default());
    world.max_mtu = 500;
    assert_eq!(world.check(9000), Err(PutError::Mtu(500)));
}

#[test]
fn a_target_that_is_not_another_host_or_has_no_name_is_refused() {
    let put =
        |target: Target| World::new(1, Options::default()).put_to(&target, &mut Pattern(1)).unwrap_err();
    for wrong in [Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1), Ipv4Addr::UNSPECIFIED, CLIENT] {
        assert_eq!(put(Target { server: wrong, ..target() }), PutError::NotAHost(wrong));
        assert_eq!(put(Target { next_hop: wrong, ..target() }), PutError::NotAHost(wrong));
    }
    for file in ["", "a\0b"] {
        assert_eq!(put(Target { file: file.try_into().unwrap(), ..target() }), PutError::FileName);
    }
}

/// What strangers send on the server's link, and on its machine, while a file goes over it.
fn strangers(port: u16) -> Vec<Vec<u8>> {
    let macs = (SERVER_MAC, CLIENT_MAC);
    let stranger = Ipv4Addr::new(10, 0, 0, 77);
    let ack = |number: u16| [&[0, 4][..], &number.to_be_bytes()].concat();
    let error = b"\0\x05\0\x02no\0";
    let mut wrong_sum = ip_udp(macs, (SERVER, 30_000), (CLIENT, port), error);
    wrong_sum[40] ^= 1;
    let mut fragment = ip_udp(macs, (SERVER, 30_000), (CLIENT, port), error);
    fragment[20] = 0x20;
    // 0x2000 more in the sum, less in its complement.
    fragment[24] = fragment[24].wrapping_sub(0x20);
    let mut frames = vec![
        ip_udp(macs, (stranger, 30_000), (CLIENT, port), error),
        ip_udp(macs, (SERVER, 30_000), (stranger, port), error),
        ip_udp(macs, (SERVER, 30_000), (CLIENT, port ^ 1), error),
        ip_udp((SERVER_MAC, [2, 0, 0, 0, 0, 9]), (SERVER, 30_000), (CLIENT, port), error),
        wrong_sum,
        fragment,
        // The server's other ports, once a transfer has begun.
        ip_udp(macs, (SERVER, 31_000), (CLIENT, port), b"\0\x06blksize\x008\0"),
        ip_udp(macs, (SERVER, 69), (CLIENT, port), error),
        ip_udp(macs, (SERVER, 31_000), (CLIENT, port), error),
        // Numbers that are out of the window, and what no server says.
        ip_udp(macs, (SERVER, 30_000), (CLIENT, port), &ack(0xfff0)),
        ip_udp(macs, (SERVER, 30_000), (CLIENT, port), &ack(20_000)),
        ip_udp(macs, (SERVER, 30_000), (CLIENT, port), b"\0\x03\0\x01data"),
        ip_udp(macs, (SERVER, 30_000), (CLIENT, port), b"\0\x02core\0octet\0"),
        ip_udp(macs, (SERVER, 30_000), (CLIENT, port), b""),
        // Somebody would like to be the server.
        arp(2, ([2, 0, 0, 0, 0, 7], SERVER), CLIENT_MAC, (CLIENT_MAC, CLIENT)),
        arp(1, ([2, 0, 0, 0, 0, 7], SERVER), [0xff; 6], ([0; 6], CLIENT)),
        arp(1, ([2, 0, 0, 0, 0, 7], stranger), [0xff; 6], ([0; 6], CLIENT)),
        // IPv6, ICMP, an 802.1Q tag.
        [&CLIENT_MAC[..], &SERVER_MAC, &[0x86, 0xdd, 0x60], &[0; 60]].concat(),
        [&CLIENT_MAC[..], &SERVER_MAC, &[0x81, 0, 0, 5, 8, 0, 0x45], &[0; 60]].concat(),
    ];
    frames.push(vec![]);
    frames.push(vec![0xff; 13]);
    frames
}

#[test]
fn strangers_change_nothing() {
    let mut world = World::new(1, Options::default());
    // The server's first port in the model is 30,000; ours is in the first frame that it sends. One of them with each frame
    // that arrives, once all has begun.
    let mut turn = 0;
    world.middle = Some(Box::new(move |frame, _| {
        let mut frames = vec![frame.to_vec()];
        if let Some(datagram) = model::udp(frame).filter(|datagram| datagram.payload.starts_with(&[0, 4])) {
            let all = strangers(datagram.target.1);
            frames.insert(turn % 2, all[turn % all.len()].clone());
            turn += 1;
        }
        frames
    }));
    let sent = world.check(1468 * 16 * 50).unwrap();
    assert_eq!(sent.resent, 0);
    assert!(world.time.nanos() < SECOND);
}

#[test]
fn mutated_and_cut_frames_never_panic_and_never_make_a_wrong_file() {
    let mut arrived = 0;
    for seed in 0..600 {
        let mut world =
            World::new(seed, Options { window: [None, Some(16)][seed as usize % 2], ..Options::default() });
        world.faults = Faults { loss: 2, duplicate: 5, late: 5, corrupt: 0 };
        world.middle = Some(Box::new(move |frame, rng| {
            let mut other = frame.to_vec();
            match rng.next() % 4 {
                0 => other.truncate(rng.next() as usize % (frame.len() + 1)),
                1 => other.extend(vec![0xff; rng.next() as usize % 2000]),
                _ => {
                    for _ in 0..1 + rng.next() % 4 {
                        // Headers more often than their ends.
                        let at = (rng.next() % other.len() as u64).min(rng.next() % other.len() as u64);
                        other[at as usize] = rng.next() as u8;
                    }
                }
            }
            match rng.next() % 3 {
                0 => vec![other],
                1 => vec![other, frame.to_vec()],
                _ => vec![frame.to_vec()],
            }
        }));
        arrived += u32::from(world.check(seed * 171).is_ok());
        assert!(world.time.nanos() < 1_000 * SECOND, "{} s", world.time.nanos() / SECOND);
    }
    assert!(arrived > 400, "{arrived} arrived");
}

#[test]
fn datagrams_of_any_content_from_the_server_itself_never_panic() {
    for seed in 0..600 {
        let mut world = World::new(seed, Options { silent_after: seed % 3, ..Options::default() });
        world.middle = Some(Box::new(move |frame, rng| {
            let mut frames = vec![frame.to_vec()];
            if let Some(datagram) = model::udp(frame) {
                let mut payload = datagram.payload.clone();
                match rng.next() % 3 {
                    0 => payload.truncate(rng.next() as usize % (payload.len() + 1)),
                    1 => payload.iter_mut().skip(1).for_each(|byte| {
                        if rng.percent(20) {
                            *byte = rng.next() as u8;
                        }
                    }),
                    _ => payload = (0..rng.next() % 600).map(|_| rng.next() as u8 % 8).collect(),
                }
                let macs = (SERVER_MAC, CLIENT_MAC);
                frames.push(ip_udp(macs, datagram.source, datagram.target, &payload));
                frames.swap(0, rng.next() as usize % 2);
            }
            frames
        }));
        // A server that says that it has what it has not cannot be helped: only panics and time count.
        let _ = world.put(&mut Pattern(seed * 501));
        assert!(world.time.nanos() < 1_000 * SECOND, "{} s", world.time.nanos() / SECOND);
    }
}
