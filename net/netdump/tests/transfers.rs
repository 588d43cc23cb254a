//! Files that arrive, over links that lose, double and reorder, at servers that grant more or less.

mod model;

use keelson_netdump::PutError;
use model::{Faults, Options, Pattern, World, target};

#[test]
fn all_of_a_file_arrives_whatever_its_length() {
    for size in [0, 1, 511, 512, 513, 1467, 1468, 1469, 2936, 1468 * 16, 1468 * 16 + 1, 100_000] {
        let mut world = World::new(size, Options::default());
        let sent = world.check(size).unwrap();
        assert_eq!((sent.block_size, sent.window, sent.resent), (1468, 16, 0));
        assert_eq!(world.server.requests.len(), 1);
        assert_eq!(world.server.data, size / 1468 + 1);
        let options = format!("core\0octet\0blksize\x001468\0windowsize\x0016\0tsize\0{size}\0");
        assert_eq!(world.server.requests[0], options.as_bytes());
    }
}

#[test]
fn each_option_may_be_granted_or_not() {
    let blocks = [None, Some(8), Some(512), Some(1000), Some(65_464)];
    for (block_size, window, tsize) in blocks
        .into_iter()
        .flat_map(|block| [None, Some(1), Some(7), Some(64)].map(|window| (block, window)))
        .flat_map(|(block, window)| [false, true].map(|tsize| (block, window, tsize)))
    {
        let mut world = World::new(1, Options { block_size, window, tsize, ..Options::default() });
        let sent = world.check(30_000).unwrap();
        let expected = (block_size.unwrap_or(512).min(1468), window.unwrap_or(1).min(16));
        assert_eq!((sent.block_size, sent.window, sent.resent), (expected.0, expected.1, 0));
    }
}

#[test]
fn a_server_that_refuses_options_is_asked_without() {
    let mut world = World::new(1, Options { refuses: true, ..Options::default() });
    let sent = world.check(5_000).unwrap();
    assert_eq!((sent.block_size, sent.window), (512, 1));
    assert_eq!(world.server.requests[1], b"core\0octet\0");
    // From another port: what is still on the way to the first one means nothing any more.
    assert_ne!(world.server.ports[0], world.server.ports[1]);
}

#[test]
fn jumbo_frames_are_used_and_given_up_where_they_do_not_arrive() {
    for path in [usize::MAX, 1514] {
        let mut world = World::new(1, Options { locks: true, ..Options::default() });
        world.path = path;
        let jumbo = keelson_netdump::Target { mtu: 9000, ..target() };
        let sent = world.put_to(&jumbo, &mut Pattern(200_000)).unwrap();
        world.assert_stored(200_000);
        let expected = if path == 1514 { (1468, 16) } else { (8968, 7) };
        assert_eq!((sent.block_size, sent.window), expected);
        // The device's limit counts too.
        world.max_mtu = 4000;
        world.path = usize::MAX;
        world.server = model::Server::new(Options::default());
        assert_eq!(world.put_to(&jumbo, &mut Pattern(200_000)).unwrap().block_size, 3968);
    }
}

#[test]
fn what_was_stored_is_the_source_on_any_link() {
    let (mut arrived, mut given_up) = (0, 0);
    for seed in 0..400 {
        let faults = [
            Faults { loss: 5, ..Faults::default() },
            Faults { duplicate: 30, late: 30, ..Faults::default() },
            Faults { loss: 10, duplicate: 10, late: 20, corrupt: 5 },
            Faults { loss: 40, duplicate: 10, late: 10, corrupt: 10 },
        ][seed as usize % 4];
        let window = [None, Some(1), Some(4), Some(16)][seed as usize / 4 % 4];
        let mut world = World::new(seed, Options { window, locks: seed % 3 == 0, ..Options::default() });
        world.faults = faults;
        match world.check(seed * 331) {
            Ok(_) => arrived += 1,
            Err(PutError::Silent { .. } | PutError::NoServer(..) | PutError::NoNeighbour(_)) => given_up += 1,
            // The answer to the last block got lost, and the transfer was over.
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(arrived > 350, "{arrived} arrived, {given_up} were given up");
}

#[test]
fn numbers_wrap_twice_and_more() {
    for (seed, window, zero) in [(1, None, false), (2, Some(16), false), (3, None, true), (4, Some(7), false)]
    {
        let block_size = Some(8);
        let options = Options { block_size, window, oack_for_zero: zero, ..Options::default() };
        let mut world = World::new(seed, options);
        if seed == 4 {
            world.faults = Faults { loss: 1, duplicate: 2, late: 1, corrupt: 0 };
        }
        let size = 8 * 140_000 + 5;
        let sent = world.check(size).unwrap();
        assert_eq!(sent.block_size, 8);
        assert!(world.server.data > 140_000);
    }
}

#[test]
fn a_server_that_counts_on_from_1_ends_in_an_error_and_not_in_a_wrong_file() {
    for window in [None, Some(2), Some(16)] {
        let mut world =
            World::new(1, Options { block_size: Some(8), after_last: 1, window, ..Options::default() });
        let error = world.check(8 * 70_000).unwrap_err();
        assert!(
            matches!(error, PutError::Silent { acknowledged, .. } if acknowledged <= 65_535 * 8),
            "{error}"
        );
    }
}

#[test]
fn a_duplicate_acknowledgement_causes_no_second_block() {
    for window in [None, Some(4)] {
        let mut world = World::new(1, Options { window, ..Options::default() });
        world.keep = true;
        world.middle = Some(Box::new(|frame, _| vec![frame.to_vec(); 3]));
        let sent = world.check(60_000).unwrap();
        assert_eq!(sent.resent, 0);
        assert_eq!(world.data_sent(), (1..=60_000 / 1468 + 1).collect::<Vec<u16>>());
    }
}

#[test]
fn a_window_goes_on_where_a_block_got_lost() {
    // One frame is lost, and nothing but what follows it in its window is sent twice: no wait of a second, since the server
    // says what it misses.
    let mut world = World::new(1, Options { window: Some(16), ..Options::default() });
    world.keep = true;
    let mut seen = 0;
    world.lose = Some(Box::new(move |frame| {
        let block = model::udp(frame).is_some_and(|datagram| datagram.payload.starts_with(&[0, 3, 0, 5]));
        seen += u32::from(block);
        block && seen == 1
    }));
    let sent = world.check(1468 * 40).unwrap();
    assert_eq!(sent.resent, 12);
    let expected: Vec<u16> = (1..=16).chain(5..=41).collect();
    assert_eq!(world.data_sent(), expected);
    assert!(world.time.nanos() < model::SECOND, "{} ns", world.time.nanos());
}

#[test]
fn what_is_sent_again_does_not_make_for_more() {
    // The end of a window is lost, so it is sent again after a second. The server has its beginning, and says so in the middle
    // of all that; it gets no third copy of anything.
    let options = Options { window: Some(16), patience: 5 * model::SECOND, ..Options::default() };
    let mut world = World::new(1, options);
    world.keep = true;
    let mut seen = 0;
    world.lose = Some(Box::new(move |frame| {
        let block = model::udp(frame).map(|datagram| datagram.payload);
        let lost = block.is_some_and(|block| block.starts_with(&[0, 3, 0]) && (13..=16).contains(&block[3]));
        seen += u32::from(lost);
        lost && seen <= 4
    }));
    let sent = world.check(1468 * 400).unwrap();
    assert_eq!(sent.resent, 16);
    assert_eq!(world.data_sent(), (1..=16).chain(1..=401).collect::<Vec<u16>>());
    // Even if the way doubles everything, it is not all sent twice for that.
    let mut world = World::new(1, Options { window: Some(16), ..Options::default() });
    world.faults.duplicate = 100;
    let sent = world.check(1468 * 4000).unwrap();
    assert!(sent.resent < 4100, "{} were sent again", sent.resent);
}

#[test]
fn a_ring_of_two_slots_is_enough() {
    let mut world = World::new(1, Options::default());
    (world.ring, world.drains) = (2, 1);
    world.check(100_000).unwrap();
}

#[test]
fn a_request_that_was_repeated_empties_no_file() {
    // The server takes its time, so the request is sent again, and each copy starts a transfer that empties the file.
    for think in [500, 1500, 3500, 12_000] {
        let mut world = World::new(think, Options { think: think * model::MILLI, ..Options::default() });
        world.faults.duplicate = 50;
        world.check(50_000).unwrap();
        // Nor does one that is still waiting for its turn.
        world.linger(60 * model::SECOND);
        world.assert_stored(50_000);
    }
}

#[test]
fn a_server_behind_a_router_and_one_that_forgets_who_we_are() {
    let router = [10, 0, 9, 1].into();
    let mut world =
        World::new(1, Options { neighbour: Some(router), forgets_after: 20, ..Options::default() });
    let far = keelson_netdump::Target { next_hop: router, ..target() };
    world.put_to(&far, &mut Pattern(100_000)).unwrap();
    world.assert_stored(100_000);
}

#[test]
fn checksums_may_be_left_out_or_left_to_the_device() {
    // What stands in the field, whether the device vouches for it, and whether the datagram counts.
    for (field, vouches, counts) in
        [([0, 0], false, true), ([0x12, 0x34], true, true), ([0x12, 0x34], false, false)]
    {
        let mut world = World::new(1, Options::default());
        world.vouches = vouches;
        world.middle = Some(Box::new(move |frame, _| {
            let mut frame = frame.to_vec();
            if model::udp(&frame).is_some() {
                frame[40..42].copy_from_slice(&field);
            }
            vec![frame]
        }));
        assert_eq!(world.check(5_000).is_ok(), counts);
    }
}
