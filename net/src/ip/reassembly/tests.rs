//! Order, duplicates, overlaps, bounds.

use super::*;
use proptest::prelude::*;

fn fresh() -> Reassembly {
    Reassembly::new(Key::for_tests())
}

fn add(set: &mut Reassembly, id: u32, offset: usize, more: bool, payload: &[u8]) -> Outcome {
    let packet = Packet {
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        protocol: 17,
        hop_limit: 64,
        fragment: None,
        whole: payload,
        payload,
    };
    set.add(&packet, Fragment { id, offset, more }, Instant::ZERO, &mut 0)
}

#[test]
fn many_large_datagrams_interleaved() {
    let mut set = fresh();
    let content = |id: u32| (0..48_000usize).map(|n| (n as u32 * 7 + id) as u8).collect::<Vec<_>>();
    let data: Vec<_> = (0..16).map(content).collect();
    let mut complete = 0;
    for piece in (0..48_000usize.div_ceil(1480)).rev() {
        for id in 0..16 {
            let (start, end) = (piece * 1480, 48_000.min(piece * 1480 + 1480));
            let bytes = &data[id as usize][start..end];
            if let Outcome::Complete(whole) = add(&mut set, id, start, end != 48_000, bytes) {
                assert!(whole == data[id as usize]);
                complete += 1;
            }
        }
    }
    assert_eq!((complete, set.bytes, set.partial.len()), (16, 0, 0));
}

#[test]
fn overlaps_end_the_datagram_and_copies_do_not() {
    let mut set = fresh();
    assert_eq!(add(&mut set, 1, 0, true, &[1; 16]), Outcome::Waiting);
    assert_eq!(add(&mut set, 1, 0, true, &[1; 16]), Outcome::Waiting);
    assert_eq!(add(&mut set, 1, 8, true, &[2; 16]), Outcome::Failed);
    assert_eq!(add(&mut set, 1, 0, true, &[1; 16]), Outcome::Waiting);
    assert_eq!(add(&mut set, 1, 0, true, &[2; 16]), Outcome::Failed);
    assert_eq!(add(&mut set, 2, 0, true, &[1; 12]), Outcome::Failed, "only the last may be uneven");
    assert_eq!(add(&mut set, 3, 65_528, true, &[1; 16]), Outcome::Failed, "the ping of death");
    assert_eq!(add(&mut set, 4, 24, false, &[1; 8]), Outcome::Waiting);
    assert_eq!(add(&mut set, 4, 32, false, &[1; 8]), Outcome::Failed, "two different ends");
    assert_eq!(add(&mut set, 5, 32, true, &[1; 8]), Outcome::Waiting);
    assert_eq!(add(&mut set, 5, 8, false, &[1; 8]), Outcome::Failed, "an end before what came already");
    assert_eq!(set.bytes, 0);
}

#[test]
fn memory_and_time_are_bounded() {
    let mut set = fresh();
    for id in 0..10_000 {
        add(&mut set, id, 60_000, true, &[0; 8]);
        assert!(set.bytes <= MAX_BYTES && set.partial.len() <= MAX_DATAGRAMS);
    }
    let held = set.partial.len() as u64;
    assert_eq!(set.expire(Instant::ZERO + LIFETIME), held);
    assert_eq!(set.bytes, 0);
}

proptest! {
    /// Whatever arrives: no panic, the account is right, and a completed datagram is what was sent first.
    #[test]
    fn any_sequence_keeps_the_account(pieces in prop::collection::vec(
        (0u32..3, 0usize..40, 1usize..6, any::<bool>(), any::<u8>()), 0..200)) {
        let mut set = fresh();
        for (id, offset, len, more, fill) in pieces {
            add(&mut set, id, offset * 8, more, &alloc::vec![fill; len * 8]);
            let actual: usize = set.partial.values().map(|p| p.bytes.capacity()).sum();
            prop_assert_eq!(actual, set.bytes);
        }
    }

    #[test]
    fn any_order_gives_the_same_datagram(
        len in 1usize..20_000, seed in any::<u64>(), size in 1usize..180) {
        let data: Vec<u8> = (0..len).map(|n| (n as u64 ^ seed) as u8).collect();
        let size = size * 8;
        let mut order: Vec<usize> = (0..len.div_ceil(size)).collect();
        let mut state = seed;
        for n in (1..order.len()).rev() {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            order.swap(n, (state >> 33) as usize % (n + 1));
        }
        prop_assume!(order.len() <= MAX_RUNS);
        let mut set = fresh();
        let mut result = None;
        for index in order {
            let (start, end) = (index * size, len.min(index * size + size));
            if let Outcome::Complete(whole) = add(&mut set, 1, start, end != len, &data[start..end]) {
                result = Some(whole);
            }
        }
        prop_assert!(result.as_deref() == Some(&data[..]));
    }
}
