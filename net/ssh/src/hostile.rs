//! Strangers for tests and fuzzing: they speak the protocol up to a moment, and then whatever they are told. Time, random numbers
//! and streams are simulated, so that the same words always get the same answers.

use crate::{Connection, Counters, End, HostKey, Limits, Setup};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use chacha20::ChaCha20Legacy;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use embedded_io_async::{ErrorType, Read, Write};
use keelson_exec::Executor;
use keelson_exec::sim::SimClock;
use keelson_hal::Entropy;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

/// How strangers call themselves.
const NAME: &[u8] = b"SSH-2.0-hostile";
/// Their half of every exchange of keys.
const SECRET: [u8; 32] = [9; 32];

/// What became of a connection.
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// What was counted.
    pub counters: Rc<Counters>,
    /// What the server sent.
    pub sent: Vec<u8>,
}

/// Serves a connection on which these pieces come, then the end, or silence. Nobody may enter.
///
/// # Panics
///
/// When the server does, or does not end, or counts wrongly, or lets anybody do anything.
pub fn serve(pieces: Vec<Vec<u8>>, is_silent: bool) -> Outcome {
    let clock = SimClock::new();
    let executor = Executor::new(clock.clone(), None);
    let setup = Setup {
        host_key: HostKey::from_seed(&[7; 32]),
        keys: Vec::new(),
        limits: Limits::default(),
        handle: executor.handle(),
        entropy: Rc::new(Numbers(Cell::new(42))),
        counters: Rc::default(),
    };
    let (counters, sent) = (setup.counters.clone(), Rc::new(RefCell::new(Vec::new())));
    let (reader, writer) = (Pieces { pieces: pieces.into(), is_silent }, Kept(sent.clone()));
    let end = executor.block_on(&*clock, async move {
        let connection = Connection::new(&setup, reader, writer);
        connection
            .serve(|_| panic!("nobody may enter"), |_| (), async |_, _| panic!("nothing may be done"))
            .await
    });
    executor.abort_all();
    assert_eq!((counters.open.get(), counters.sessions.get(), counters.entered.get()), (0, 0, 0));
    let cuts: u64 = counters.cuts().map(|(_, count)| count).sum();
    assert_eq!(cuts, u64::from(matches!(end, End::Cut(_))));
    let sent = sent.take();
    Outcome { end, counters, sent }
}

/// A packet in the clear (RFC 4253, section 6).
pub fn packet(payload: &[u8]) -> Vec<u8> {
    // All of it is a multiple of eight.
    padded(payload, 5)
}

fn padded(payload: &[u8], before: usize) -> Vec<u8> {
    let padding = 4 + (8 - (before + payload.len() + 4) % 8) % 8;
    let mut packet = Vec::new();
    packet.extend_from_slice(&((1 + payload.len() + padding) as u32).to_be_bytes());
    packet.push(padding as u8);
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// Bytes with their length before them (RFC 4251, section 5).
pub fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn algorithms() -> Vec<u8> {
    let lists = [
        "curve25519-sha256,kex-strict-c-v00@openssh.com",
        "ssh-ed25519",
        "chacha20-poly1305@openssh.com",
        "chacha20-poly1305@openssh.com",
        "",
        "",
        "none",
        "none",
        "",
        "",
    ];
    let mut init = Vec::from([20]);
    init.extend_from_slice(&[9; 16]);
    lists.iter().for_each(|list| init.extend_from_slice(&string(list.as_bytes())));
    init.extend_from_slice(&[0; 5]);
    init
}

fn exchange() -> Vec<u8> {
    [&[30][..], &string(PublicKey::from(&StaticSecret::from(SECRET)).as_bytes())].concat()
}

/// Everything that a client says in the clear, part by part: name, algorithms, its half of the exchange, new keys.
pub fn clear() -> Vec<Vec<u8>> {
    let name = [NAME, b"\r\n"].concat();
    Vec::from([name, packet(&algorithms()), packet(&exchange()), packet(&[21])])
}

/// What a client has agreed on with the server after [`clear`]: seals what follows.
#[derive(Clone)]
pub struct Sealer {
    head: [u8; 32],
    main: [u8; 32],
    sequence: u64,
    /// The session's number, which proofs are about.
    pub session: [u8; 32],
}

impl Sealer {
    /// Of a connection that begins with [`clear`].
    ///
    /// # Panics
    ///
    /// When the server does not answer as it should.
    pub fn new() -> Sealer {
        let Outcome { sent, .. } = serve(clear(), true);
        let name = sent.iter().position(|byte| *byte == b'\n').expect("a name");
        let (name, mut rest) = (&sent[..name - 1], &sent[name + 1..]);
        let mut next = || {
            let len = u32::from_be_bytes(*rest.first_chunk().expect("a packet")) as usize;
            let (packet, more) = rest.split_at(4 + len);
            rest = more;
            &packet[5..packet.len() - usize::from(packet[4])]
        };
        let (init, reply) = (next(), next());
        let mut fields = reply.get(1..).expect("a reply");
        let mut field = || {
            let len = u32::from_be_bytes(*fields.first_chunk().expect("a field")) as usize;
            let (field, more) = fields[4..].split_at(len);
            fields = more;
            field
        };
        let (host_key, theirs) = (field(), field());
        let ours = StaticSecret::from(SECRET);
        let point: [u8; 32] = theirs.try_into().expect("a point");
        let shared = mpint(ours.diffie_hellman(&PublicKey::from(point)).as_bytes());
        let mut hash = Sha256::new();
        let own = PublicKey::from(&ours);
        for part in [NAME, name, &algorithms(), init, host_key, own.as_bytes(), theirs] {
            hash.update(string(part));
        }
        hash.update(&shared);
        let session: [u8; 32] = hash.finalize().into();
        // RFC 4253, section 7.2: the key from client to server is C.
        let main: [u8; 32] = Sha256::digest([&shared[..], &session, b"C", &session].concat()).into();
        let head: [u8; 32] = Sha256::digest([&shared[..], &session, &main].concat()).into();
        Sealer { head, main, sequence: 0, session }
    }

    /// The next packet (PROTOCOL.chacha20poly1305 of OpenSSH).
    pub fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let nonce = self.sequence.to_be_bytes();
        self.sequence += 1;
        let mut packet = padded(payload, 1);
        ChaCha20Legacy::new(&self.head.into(), &nonce.into()).apply_keystream(&mut packet[..4]);
        let mut cipher = ChaCha20Legacy::new(&self.main.into(), &nonce.into());
        let mut key = [0; 32];
        cipher.apply_keystream(&mut key);
        cipher.seek(64_u32);
        cipher.apply_keystream(&mut packet[4..]);
        let tag = Poly1305::new(&key.into()).compute_unpadded(&packet);
        packet.extend_from_slice(&tag);
        packet
    }
}

impl Default for Sealer {
    fn default() -> Sealer {
        Sealer::new()
    }
}

/// A number without leading zeros, positive (RFC 4251, section 5).
fn mpint(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let number = &bytes[start..];
    match number.first() {
        Some(128..) => string(&[&[0], number].concat()),
        _ => string(number),
    }
}

/// Asks for the login (RFC 4252).
pub fn login() -> Vec<u8> {
    [&[5][..], &string(b"ssh-userauth")].concat()
}

/// Numbers that are the same in every run: xorshift.
struct Numbers(Cell<u64>);

impl Entropy for Numbers {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let mut x = self.0.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            self.0.set(x);
            *byte = x as u8;
        }
    }
}

struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    is_silent: bool,
}

impl ErrorType for Pieces {
    type Error = Infallible;
}

impl Read for Pieces {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        while let Some(piece) = self.pieces.front_mut() {
            if piece.is_empty() {
                self.pieces.pop_front();
                continue;
            }
            let count = piece.len().min(buffer.len());
            buffer.iter_mut().zip(piece.drain(..count)).for_each(|(to, from)| *to = from);
            return Ok(count);
        }
        if self.is_silent {
            core::future::pending::<()>().await;
        }
        Ok(0)
    }
}

struct Kept(Rc<RefCell<Vec<u8>>>);

impl ErrorType for Kept {
    type Error = Infallible;
}

impl Write for Kept {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// The other end acknowledges nothing: nobody should wait for that.
    async fn flush(&mut self) -> Result<(), Infallible> {
        core::future::pending().await
    }
}
