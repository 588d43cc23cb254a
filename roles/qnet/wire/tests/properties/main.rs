//! Any value comes out of its encoding unchanged, in both byte orders; no decoder panics, whatever it is given; and
//! what decodes encodes to something that decodes to the same.

mod hostile;
mod io;
mod kif;
mod layouts;
mod procs;
mod transport;

use keelson_qnet_wire::{Endian, NoRoom};
use proptest::prelude::*;

const BOTH: [Endian; 2] = [Endian::Little, Endian::Big];

/// Bytes that an encoder writes, after checking that it says what room it needs and writes the same into more.
fn emitted(emit: impl Fn(&mut [u8]) -> Result<usize, NoRoom>) -> Vec<u8> {
    let need = match emit(&mut []) {
        Ok(need) => need,
        Err(error) => error.need,
    };
    let (mut exact, mut more) = (vec![0xee; need], vec![0x11; need + 9]);
    let len = emit(&mut exact).unwrap();
    assert_eq!(emit(&mut more), Ok(len));
    assert_eq!((len, &exact[..len], &more[len..]), (need, &more[..len], &[0x11; 9][..]));
    exact
}

/// A node name.
fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_-]{1,63}"
}

/// A domain, or nothing.
fn domain() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z0-9_-]{1,20}([.][A-Z0-9_-]{1,20}){0,4}"]
}

/// Bytes without NUL.
fn text(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1..=255u8, len)
}
