//! Does this processor compute what the protocol's cryptography is? A node asks itself before it lets anybody in.
//!
//! One connection with itself, from HELLO to a sealed frame in each direction, with keys and nonces that are always the same.
//! A wrong bit anywhere (Curve25519, BLAKE2s, ChaCha20, Poly1305) changes the tag at the end of the last record, which is
//! known. That both ends agree would not do: they are the same processor.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;

use keelson_hal::Entropy;

use crate::channel::{Channel, ChannelError, Identity, Key, KeyRing, Received};
use crate::frame::{FrameType, Header};
use crate::handshake::{Features, Grant, KEY_LEN, Modes, Purpose, Roles};
use crate::messages::{Data, Message};

/// The key, and the first bytes of what stands in for randomness.
const SECRET: [u8; KEY_LEN] = *b"a key that everybody may know...";
/// Content of the frames: some blocks of ChaCha20, and a part of one.
const CONTENT: [u8; 1000] = [0x4b; 1000];
/// What ends the record of the node's frame, and that of the host's. Other tags come with another version of the protocol: the
/// unit test says which.
const TAGS: [Tag; 2] = [
    0x04a7_a8b7_0d50_3a19_0e17_2999_d790_c487_u128.to_be_bytes(),
    0x02b0_ae01_7892_b7ef_3ef8_9085_cc5b_8542_u128.to_be_bytes(),
];

/// What Poly1305 says of a record.
type Tag = [u8; 16];

/// It computes something else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// The two ends did not understand each other.
    Connection(ChannelError),
    /// What was received is not what was sent.
    Content,
    /// The result is not the known one.
    Tag(Tag),
}

impl core::fmt::Display for Wrong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Wrong::Connection(error) => write!(f, "a connection with itself: {error}"),
            Wrong::Content => f.write_str("a frame was opened to something else than was sealed"),
            Wrong::Tag(tag) => write!(f, "a known frame was sealed by {tag:02x?}"),
        }
    }
}

impl From<ChannelError> for Wrong {
    fn from(error: ChannelError) -> Wrong {
        Wrong::Connection(error)
    }
}

/// Has the processor do it.
///
/// # Errors
///
/// It computes wrongly, and nothing that it says of keys can be relied on.
pub fn run() -> Result<(), Wrong> {
    let tags = converse(SECRET)?;
    match tags.into_iter().zip(TAGS).find(|(tag, known)| tag != known) {
        Some((tag, _)) => Err(Wrong::Tag(tag)),
        None => Ok(()),
    }
}

/// A whole connection with this key: the tags of the node's and the host's frame.
fn converse(secret: [u8; KEY_LEN]) -> Result<[Tag; 2], Wrong> {
    let (mut to_node, mut to_host) = (Vec::new(), Vec::new());
    let key = Key { id: String::new(), secret, modes: Modes::AEAD };
    let mut host = Channel::host(identity(), Some(key), Purpose::Launch, &Counting::from(1), &mut to_node);
    let mut node = Channel::node(identity(), Arc::new(OneKey(secret)), &Counting::from(101), &mut to_host);
    // HELLO and AUTH of both.
    for _ in 0..2 {
        deliver(&mut host, &mut to_host, &mut to_node)?;
        if let Some(Received::Asked(_)) = deliver(&mut node, &mut to_node, &mut to_host)? {
            node.admit(Grant { session: 1, roles: Roles::LAUNCH, bulk: [0; 16] }, &mut to_host)?;
        }
    }
    deliver(&mut host, &mut to_host, &mut to_node)?;
    Ok([exchange(&mut node, &mut host)?, exchange(&mut host, &mut node)?])
}

fn identity() -> Identity {
    let (features, modes) = (Features::AEAD, Modes::AEAD);
    Identity { name: String::new(), build: String::new(), features, modes, boot_id: [0; 16] }
}

/// Hands over what is on its way to `to`, and collects what that says.
fn deliver(to: &mut Channel, on_way: &mut Vec<u8>, said: &mut Vec<u8>) -> Result<Option<Received>, Wrong> {
    let arrived = core::mem::take(on_way);
    Ok(to.receive(&mut &arrived[..], said)?)
}

/// A frame from one to the other; what sealed it.
fn exchange(from: &mut Channel, to: &mut Channel) -> Result<Tag, Wrong> {
    let mut record = Vec::new();
    let data = Data { offset: 0, bytes: &CONTENT };
    from.send(&Header::new(FrameType::Data), &data, &mut record).map_err(|_| Wrong::Content)?;
    match to.receive(&mut &record[..], &mut Vec::new())? {
        Some(Received::Frame(frame)) if Data::decode(&frame.payload) == Ok(data) => {
            record.last_chunk().copied().ok_or(Wrong::Content)
        }
        _ => Err(Wrong::Content),
    }
}

/// Randomness that is always the same.
struct Counting(Cell<u8>);

impl Counting {
    fn from(first: u8) -> Counting {
        Counting(Cell::new(first))
    }
}

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.0.replace(self.0.get().wrapping_add(1));
        }
    }
}

struct OneKey([u8; KEY_LEN]);

impl KeyRing for OneKey {
    fn find(&self, _: &str) -> Option<[u8; KEY_LEN]> {
        Some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_processor_is_right() {
        assert_eq!(run(), Ok(()));
    }

    #[test]
    fn one_bit_changes_both_tags() {
        for bit in [0, 77, 255] {
            let mut secret = SECRET;
            secret[bit / 8] ^= 1 << (bit % 8);
            let tags = converse(secret).unwrap();
            assert!(tags[0] != TAGS[0] && tags[1] != TAGS[1], "{bit}");
        }
    }
}
