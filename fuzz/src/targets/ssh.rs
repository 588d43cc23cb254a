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
        let mut seal = Seal::after(parts);
        if begins {
            stream.extend(seal.seal(&login()));
        }
        let mut rest = messages;
        for _ in 0..MESSAGES {
            let [high, low, more @ ..] = rest else { break };
            let len = usize::from(u16::from_be_bytes([*high, *low])).min(more.len());
            let (message, more) = more.split_at(len);
            stream.extend(seal.seal(message));
            rest = more;
        }
    }
    let pieces = stream.chunks(usize::from(*pieces).max(1)).map(<[u8]>::to_vec).collect();
    serve(pieces, is_silent);
}

/// How messages are sent.
enum Seal {
    /// Before there are keys.
    Clear,
    Sealed(Sealer),
}

impl Seal {
    /// After so many parts of the beginning.
    fn after(parts: u8) -> Seal {
        static KEYS: OnceLock<Sealer> = OnceLock::new();
        if parts < 4 { Seal::Clear } else { Seal::Sealed(KEYS.get_or_init(Sealer::new).clone()) }
    }

    fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        match self {
            Seal::Clear => packet(message),
            Seal::Sealed(sealer) => sealer.seal(message),
        }
    }
}
