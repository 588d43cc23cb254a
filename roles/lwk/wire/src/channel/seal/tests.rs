//! Records beside those of a library that makes all of them at once.

use super::*;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::task::Waker;
use proptest::prelude::*;
use std::task::Wake;
use std::thread;

/// The record of `text` with this number, behind its length.
fn expected(key: &[u8; 32], number: u64, protection: Protection, text: &[u8]) -> Vec<u8> {
    let mut nonce = Nonce::default();
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    let cipher = ChaCha20Poly1305::new(key.into());
    let mut record = text.to_vec();
    let tag = match protection {
        Protection::Aead => cipher.encrypt_inout_detached(&nonce, &[], (&mut record[..]).into()),
        Protection::Mac => cipher.encrypt_inout_detached(&nonce, text, (&mut [][..]).into()),
    };
    let len = (record.len() + TAG) as u16;
    [&len.to_le_bytes()[..], &record, &tag.unwrap()].concat()
}

/// Appends the record of `text`.
fn append(seal: &mut Seal, text: &[u8], out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; LENGTH]);
    out.extend_from_slice(text);
    seal.seal(out, at);
}

fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..300, 0usize..9000, Just(MOST)]
}

proptest! {
    #[test]
    fn records_are_the_librarys_however_much_was_prepared(
        key in any::<[u8; 32]>(),
        is_mac in any::<bool>(),
        records in prop::collection::vec((lengths(), 0usize..20, 0u64..3, 0usize..20), 1..12),
    ) {
        let protection = if is_mac { Protection::Mac } else { Protection::Aead };
        let (mut out, mut into) = (Seal::new(&key, protection), Seal::new(&key, protection));
        let mut plain = Vec::new();
        for (number, (len, before, skipped, behind)) in records.into_iter().enumerate() {
            // For this one, and for one that may be the next.
            (0..before).for_each(|_| _ = out.ahead().prepare(out.ahead().next() + skipped, 0, Waker::noop()));
            (0..behind).for_each(|_| _ = into.ahead().prepare(0, 0, Waker::noop()));
            let text: Vec<u8> = (0..len).map(|at| (at * 31 + number) as u8).collect();
            let mut record = Vec::new();
            append(&mut out, &text, &mut record);
            prop_assert_eq!(&record, &expected(&key, number as u64, protection, &text));
            into.open(&record[2..], &mut plain).unwrap();
            prop_assert_eq!(&plain, &text);
        }
    }
}

#[test]
fn what_was_changed_is_refused() {
    for protection in [Protection::Aead, Protection::Mac] {
        let mut record = Vec::new();
        append(&mut Seal::new(&[7; 32], protection), &[9; 100], &mut record);
        for at in 2..record.len() {
            let mut changed = record[2..].to_vec();
            changed[at - 2] ^= 1;
            let mut plain = Vec::new();
            assert!(Seal::new(&[7; 32], protection).open(&changed, &mut plain).is_err());
            assert!(plain.is_empty(), "nothing of it is shown");
        }
        assert!(Seal::new(&[7; 32], protection).open(&record[2..17], &mut Vec::new()).is_err(), "too short");
        let mut second = Seal::new(&[7; 32], protection);
        append(&mut second, &[], &mut Vec::new());
        assert!(second.open(&record[2..], &mut Vec::new()).is_err(), "another number");
    }
}

#[test]
fn as_much_is_prepared_as_the_last_records_had() {
    let mut seal = Seal::new(&[1; 32], Protection::Aead);
    let parts = |seal: &mut Seal| {
        1 + std::iter::from_fn(|| seal.ahead().prepare(0, 0, Waker::noop()).then_some(())).count()
    };
    assert_eq!(parts(&mut seal), 1);
    // A long text is made in larger parts, and one short record behind it does not count for more than half.
    for (len, expected) in [(100, 1), (4096, 9), (60_000, 17), (10, 17), (10, 17), (10, 16), (10, 8), (10, 5)]
    {
        append(&mut seal, &vec![0; len], &mut Vec::new());
        assert_eq!(parts(&mut seal), expected, "behind {len} bytes");
        assert!(!seal.ahead().prepare(0, 0, Waker::noop()), "nothing is left to make");
    }
    (0..10).for_each(|_| append(&mut seal, &[0; 10], &mut Vec::new()));
    assert_eq!(parts(&mut seal), 1);
    let mut mac = Seal::new(&[1; 32], Protection::Mac);
    append(&mut mac, &[0; 4096], &mut Vec::new());
    assert_eq!(parts(&mut mac), 1, "only the key of the tag");
}

/// Who made all there was to make for a long text goes on when that has begun; for a short one nobody is woken.
#[test]
fn a_row_of_long_records_goes_on_being_prepared() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    let mut seal = Seal::new(&[1; 32], Protection::Aead);
    let mut last = vec![];
    for (len, woken) in [(4096, 0), (60_000, 0), (60_000, 1), (4096, 2)] {
        while seal.ahead().prepare(0, 0, &waker) {}
        last.clear();
        append(&mut seal, &vec![0; len], &mut last);
        assert_eq!(count.0.load(Ordering::Relaxed), woken, "at {len} bytes");
    }
    assert_eq!(last, expected(&[1; 32], 3, Protection::Aead, &[0; 4096]));
    append(&mut seal, &[], &mut last);
    assert_eq!(count.0.load(Ordering::Relaxed), 2, "nobody prepared");
}

#[test]
fn others_prepare_on_other_processors() {
    let (key, mut seal) = ([3; 32], Seal::new(&[3; 32], Protection::Aead));
    let (over, ahead) = (AtomicBool::new(false), seal.ahead().clone());
    thread::scope(|scope| {
        for skipped in 0..2 {
            let (over, ahead) = (&over, &ahead);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    ahead.prepare(ahead.next() + skipped, 0, Waker::noop());
                }
            });
        }
        let mut record = Vec::new();
        let wrong = (0..3000u64).find(|number| {
            record.clear();
            let text = vec![*number as u8; (number * 37 % 5000) as usize];
            append(&mut seal, &text, &mut record);
            record != expected(&key, *number, Protection::Aead, &text)
        });
        over.store(true, Ordering::Relaxed);
        assert_eq!(wrong, None);
    });
}

#[test]
fn nothing_is_made_for_texts_that_stay_as_they_are() {
    let rounds = |protection| {
        let seal = Seal::new(&[7; 32], protection);
        (1..).find(|_| !seal.ahead().prepare(0, MOST, Waker::noop())).unwrap()
    };
    assert_eq!(rounds(Protection::Mac), 1, "the key of its tag is all that such a record needs");
    assert!(rounds(Protection::Aead) > 10);
}
