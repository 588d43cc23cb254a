//! Whatever comes before a key was proved: the connection ends in bounds, is counted once, and nothing is run.

mod common;

use common::{Bytes, Heard, Kept, serve, setup};
use keelson_exec::Executor;
use keelson_exec::sim::SimClock;
use keelson_ssh::{Counters, Cut, End, Limits};
use proptest::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;

/// What became of a connection.
struct Outcome {
    end: End,
    counters: Rc<Counters>,
    sent: Vec<u8>,
}

/// Serves these pieces; then the stream ends, or nothing more comes.
fn outcome(pieces: Vec<Vec<u8>>, silent: bool) -> Outcome {
    let clock = SimClock::new();
    let executor = Executor::new(clock.clone(), None);
    let setup = Rc::new(setup(&executor.handle(), Vec::new(), Limits::default()));
    let (counters, sent) = (setup.counters.clone(), Rc::new(RefCell::new(Vec::new())));
    let kept = Kept(sent.clone());
    let end = executor.block_on(&*clock, async move {
        serve(&setup, &Heard::default(), Bytes { pieces: pieces.into(), silent }, kept).await
    });
    let sent = sent.borrow().clone();
    assert_eq!((counters.open.get(), counters.sessions.get(), counters.entered.get()), (0, 0, 0));
    let cuts: u64 = counters.cuts().map(|(_, count)| count).sum();
    assert_eq!(cuts, u64::from(matches!(end, End::Cut(_))));
    Outcome { end, counters, sent }
}

/// A packet in the clear (RFC 4253, section 6).
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 4 + (8 - (5 + payload.len() + 4) % 8) % 8;
    let mut packet = Vec::new();
    packet.extend(((1 + payload.len() + padding) as u32).to_be_bytes());
    packet.push(padding as u8);
    packet.extend(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text].concat()
}

/// Everything that a client sends in the clear, part by part: name, algorithms, its half of the exchange, new keys.
fn clear() -> Vec<Vec<u8>> {
    let lists = ["curve25519-sha256,kex-strict-c-v00@openssh.com", "ssh-ed25519"]
        .into_iter()
        .chain(["chacha20-poly1305@openssh.com"; 2])
        .chain(["hmac-sha2-256"; 2])
        .chain(["none"; 2])
        .chain([""; 2]);
    let mut init = vec![20];
    init.extend([9; 16]);
    lists.for_each(|list| init.extend(string(list.as_bytes())));
    init.extend([0; 5]);
    let mut point = vec![30];
    // The base point of curve25519.
    let mut nine = [0; 32];
    nine[0] = 9;
    point.extend(string(&nine));
    vec![b"SSH-2.0-hostile\r\n".to_vec(), packet(&init), packet(&point), packet(&[21])]
}

#[test]
fn a_client_that_stops_is_given_up() {
    for count in 0..=4 {
        let parts: Vec<Vec<u8>> = clear().into_iter().take(count).collect();
        let Outcome { end, sent, .. } = outcome(parts.clone(), true);
        assert_eq!(end, End::Cut(Cut::SlowLogin), "{count}");
        // Up to new keys everything was answered.
        let answers: &[u8] = match count {
            0 => &[],
            1 => &[],
            2 => &[20],
            3 => &[31],
            _ => &[21],
        };
        assert!(sent.starts_with(b"SSH-2.0-Keelson_"), "{count}");
        let name = sent.iter().position(|byte| *byte == b'\n').unwrap();
        let (mut rest, mut last) = (&sent[name + 1..], &[][..]);
        while let Some((len, packet)) = rest.split_first_chunk() {
            last = &packet[1..2];
            rest = &packet[u32::from_be_bytes(*len) as usize..];
        }
        assert_eq!(last, answers, "{count}");
        assert_eq!(outcome(parts, false).end, End::Closed, "{count}");
    }
}

#[test]
fn who_talks_without_end_is_cut_off() {
    // Ignored messages, which are allowed before algorithms; and a name without an end.
    let mut parts = vec![b"SSH-2.0-hostile\r\n".to_vec()];
    parts.extend(vec![packet(&[&[2][..], &string(&[0; 500])].concat()); 100]);
    let Outcome { end, counters, .. } = outcome(parts, true);
    assert_eq!((end, counters.cut(Cut::Verbose)), (End::Cut(Cut::Verbose), 1));
    assert_eq!(outcome(vec![vec![b'S'; 100_000]], true).end, End::Cut(Cut::Protocol));
    assert_eq!(outcome(vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()], true).end, End::Cut(Cut::Protocol));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_at_any_moment(
        count in 0_usize..=4,
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        silent: bool,
    ) {
        let mut parts: Vec<Vec<u8>> = clear().into_iter().take(count).collect();
        parts.push(bytes);
        outcome(parts, silent);
    }

    #[test]
    fn any_message_at_any_moment(
        count in 1_usize..=3,
        messages in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 1..6),
    ) {
        let mut parts: Vec<Vec<u8>> = clear().into_iter().take(count).collect();
        // All numbers but those that nobody uses before a login.
        parts.extend(messages.iter().map(|(number, body)| packet(&[&[number % 100][..], body].concat())));
        outcome(parts, true);
    }

    #[test]
    fn damaged_beginnings(at in 0_usize..400, with: u8, cut in 1_usize..64) {
        let mut all = clear().concat();
        let at = at % all.len();
        all[at] = with;
        outcome(all.chunks(cut).map(<[u8]>::to_vec).collect(), true);
    }
}
