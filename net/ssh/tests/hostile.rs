//! Whatever comes before a key was proved: the connection ends in bounds, is counted once, and nothing is run (which
//! `hostile::serve` looks after).

use keelson_ssh::hostile::{Outcome, Sealer, clear, login, packet, serve, string};
use keelson_ssh::{Cut, End};
use proptest::prelude::*;

#[test]
fn a_client_that_stops_is_given_up() {
    for count in 0..=4 {
        let parts: Vec<Vec<u8>> = clear().into_iter().take(count).collect();
        let Outcome { end, sent, .. } = serve(parts.clone(), true);
        assert_eq!(end, End::Cut(Cut::SlowLogin), "{count}");
        // Up to new keys everything was answered.
        let answers: &[u8] = [&[][..], &[], &[20], &[31], &[21]][count];
        assert!(sent.starts_with(b"SSH-2.0-Keelson_"), "{count}");
        let name = sent.iter().position(|byte| *byte == b'\n').unwrap();
        let (mut rest, mut last) = (&sent[name + 1..], &[][..]);
        while let Some((len, packet)) = rest.split_first_chunk() {
            last = &packet[1..2];
            rest = &packet[u32::from_be_bytes(*len) as usize..];
        }
        assert_eq!(last, answers, "{count}");
        assert_eq!(serve(parts, false).end, End::Closed, "{count}");
    }
}

#[test]
fn who_talks_without_end_is_cut_off() {
    let ignored = [&[2][..], &string(&[0; 500])].concat();
    // In the clear; such messages are allowed where no strict exchange was asked for.
    let mut parts = vec![b"SSH-2.0-hostile\r\n".to_vec()];
    parts.extend(vec![packet(&ignored); 100]);
    let Outcome { end, counters, .. } = serve(parts, true);
    assert_eq!((end, counters.cut(Cut::Verbose)), (End::Cut(Cut::Verbose), 1));
    let mut sealer = Sealer::new();
    let mut parts = clear();
    parts.extend((0..100).map(|_| sealer.seal(&ignored)));
    assert_eq!(serve(parts, true).end, End::Cut(Cut::Verbose));
    assert_eq!(serve(vec![vec![b'S'; 100_000]], true).end, End::Cut(Cut::Protocol));
    assert_eq!(serve(vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()], true).end, End::Cut(Cut::Protocol));
}

/// A request to log in (RFC 4252, section 5).
fn request(user: &[u8], method: &[u8], rest: &[u8]) -> Vec<u8> {
    [&[50][..], &string(user), &string(b"ssh-connection"), &string(method), rest].concat()
}

/// An offer of a key, with as many bytes of a proof.
fn offer(key: &[u8], proof: Option<&[u8]>) -> Vec<u8> {
    let mut rest = vec![u8::from(proof.is_some())];
    rest.extend(string(b"ssh-ed25519"));
    rest.extend(string(&[string(b"ssh-ed25519"), string(key)].concat()));
    proof.iter().for_each(|proof| rest.extend(string(&[string(b"ssh-ed25519"), string(proof)].concat())));
    rest
}

#[test]
fn three_keys_are_enough() {
    // The base point of ed25519 is one: its y is 4/5.
    let mut key = [0x66; 32];
    key[0] = 0x58;
    let mut sealer = Sealer::new();
    let mut parts = clear();
    let mut messages = vec![login(), request(b"root", b"none", &[])];
    messages.extend((0..5).map(|_| request(b"root", b"publickey", &offer(&key, None))));
    parts.extend(messages.iter().map(|message| sealer.seal(message)));
    let Outcome { end, counters, .. } = serve(parts, true);
    assert_eq!((end, counters.refused.get()), (End::Cut(Cut::Attempts), 3));
}

fn sealed(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut sealer = Sealer::new();
    let mut parts = clear();
    parts.extend(messages.iter().map(|message| sealer.seal(message)));
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_bytes_at_any_moment(
        count in 0_usize..=4,
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        is_silent: bool,
    ) {
        let mut parts: Vec<Vec<u8>> = clear().into_iter().take(count).collect();
        parts.push(bytes);
        serve(parts, is_silent);
    }

    #[test]
    fn any_message_in_the_clear(
        count in 1_usize..=3,
        messages in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 1..6),
    ) {
        let mut parts: Vec<Vec<u8>> = clear().into_iter().take(count).collect();
        parts.extend(messages.iter().map(|(number, body)| packet(&[&[*number][..], body].concat())));
        serve(parts, true);
    }

    #[test]
    fn any_message_under_keys(
        messages in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 1..6),
        begins: bool,
    ) {
        let first = begins.then(login).into_iter();
        let more = messages.iter().map(|(number, body)| [&[*number][..], body].concat());
        serve(sealed(&first.chain(more).collect::<Vec<_>>()), true);
    }

    #[test]
    fn any_login(
        user in prop::collection::vec(any::<u8>(), 0..100),
        key in prop::collection::vec(any::<u8>(), 28..36),
        proof in prop::option::of(prop::collection::vec(any::<u8>(), 60..68)),
        method in prop::sample::select(vec!["none", "password", "publickey", "keyboard-interactive", ""]),
        cut in 0_usize..400,
    ) {
        let mut message = request(&user, method.as_bytes(), &offer(&key, proof.as_deref()));
        message.truncate(cut.max(1));
        serve(sealed(&[login(), message.clone(), message]), true);
    }

    #[test]
    fn damaged_beginnings(at in 0_usize..400, with: u8, cut in 1_usize..64) {
        let mut all = clear().concat();
        let at = at % all.len();
        all[at] = with;
        serve(all.chunks(cut).map(<[u8]>::to_vec).collect(), true);
    }
}
