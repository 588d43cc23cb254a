//! What strangers send to the SSH server: it ends in bounds, is counted once, and nothing is done (`keelson_ssh::hostile` looks
//! after that).

use keelson_ssh::hostile::{Sealer, clear, login, packet, serve};
use std::sync::OnceLock;

/// Most messages of an input.
const MESSAGES: usize = 16;

/// How far the beginning goes, in which pieces it comes, how it ends; then messages with their lengths before them.
pub fn ssh(input: &[u8]) {
    let [how, pieces, messages @ ..] = input else { return };
    let (parts, is_silent, is_raw, begins) = (how % 5, how & 0x20 != 0, how & 0x40 != 0, how & 0x80 != 0);
    let mut stream: Vec<u8> = clear().into_iter().take(usize::from(parts)).flatten().collect();
    if is_raw {
        stream.extend(messages);
    } else {
        let mut seal = seal(parts);
        if begins {
            stream.extend(seal(&login()));
        }
        let mut rest = messages;
        for _ in 0..MESSAGES {
            let [high, low, more @ ..] = rest else { break };
            let len = usize::from(u16::from_be_bytes([*high, *low])).min(more.len());
            let (message, more) = more.split_at(len);
            stream.extend(seal(message));
            rest = more;
        }
    }
    let pieces = stream.chunks(usize::from(*pieces).max(1)).map(<[u8]>::to_vec).collect();
    serve(pieces, is_silent);
}

/// How messages are sent after so many parts of the beginning.
fn seal(parts: u8) -> Box<dyn FnMut(&[u8]) -> Vec<u8>> {
    static KEYS: OnceLock<Sealer> = OnceLock::new();
    if parts < 4 {
        return Box::new(packet);
    }
    let mut sealer = KEYS.get_or_init(Sealer::new).clone();
    Box::new(move |message| sealer.seal(message))
}
