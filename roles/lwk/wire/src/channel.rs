//! A connection without its I/O: bytes in, frames out; frames in, bytes out; whatever the protection.
//!
//! A [`Channel`] does the handshake. Afterwards it serves both directions itself, or [splits](Channel::split) into a
//! [`Sender`] and a [`Receiver`] for two threads.
//!
//! With `aead` and `mac` the stream is a row of records: 16-bit length, then so many bytes, sealed (`seal`). Records have nothing
//! to do with the borders of frames; what they hold is the stream of frames.

mod seal;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use keelson_hal::Entropy;

use crate::bytes::{Malformed, Writer};
use crate::frame::{Decoder, Frame, FrameError, FrameType, Header, MAX_FRAME, Sums, TooLarge, begin, finish};
use crate::handshake::{Features, Grant, Hello, KEY_LEN, Modes, NotProven, Proof, Purpose, Roles, VERSION};
use crate::messages::{Bye, ByeReason, Message};
use seal::{LENGTH, MOST, Seal};

pub use seal::Ahead;
pub(crate) use seal::{Protection, Seals};

/// Largest frame during the handshake.
const HANDSHAKE_FRAME: usize = 4096;

/// What a side says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Name of the node or the host.
    pub name: String,
    /// Build.
    pub build: String,
    /// Features.
    pub features: Features,
    /// Protections accepted. [`Modes::NONE`] only where the link itself is trusted.
    pub modes: Modes,
    /// Changes at every boot of a node; zero for a host.
    pub boot_id: [u8; 16],
}

/// A key and its name.
#[derive(Clone)]
pub struct Key {
    /// Name.
    pub id: String,
    /// The secret.
    pub secret: [u8; KEY_LEN],
    /// The one protection that a host with it asks for.
    pub modes: Modes,
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// A node's keys.
pub trait KeyRing: Send + Sync {
    /// The secret of the key with this name.
    fn find(&self, id: &str) -> Option<[u8; KEY_LEN]>;

    /// How its holders may be protected.
    fn modes(&self, id: &str) -> Modes {
        let _ = id;
        Modes::AEAD
    }

    /// What its holders may do; a key without further words is for everything.
    fn roles(&self, id: &str) -> Roles {
        let _ = id;
        Roles::all()
    }
}

/// What comes out of a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// Node only: a host has proven its key (or need not) and wants this. [`Channel::admit`] or [`Channel::refuse`] it.
    Asked(Purpose),
    /// Host only: the node agreed.
    Granted(Grant),
    /// A frame, after the handshake.
    Frame(Frame),
}

/// Why a connection is of no use any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChannelError {
    /// Bytes that are not frames.
    Frame(FrameError),
    /// A handshake frame that is not one.
    Malformed(Malformed),
    /// No version in common.
    Version,
    /// No protection in common.
    Mode,
    /// The other side has not proven the key.
    Auth,
    /// The other side said so.
    Refused(Bye),
    /// A frame that has no place here.
    Unexpected(FrameType),
    /// A record was changed on its way.
    Broken,
    /// After an error.
    Closed,
}

impl core::fmt::Display for ChannelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            ChannelError::Frame(error) => write!(f, "{error}"),
            ChannelError::Malformed(error) => write!(f, "{error}"),
            ChannelError::Version => f.write_str("no common protocol version"),
            ChannelError::Mode => f.write_str(
                "no common protection: one end has no key, or says mac behind it (no encryption) where the other does not",
            ),
            ChannelError::Auth => f.write_str("key not proven"),
            ChannelError::Refused(bye) => write!(f, "refused: {} ({:?})", bye.text, bye.reason),
            ChannelError::Unexpected(kind) => write!(f, "unexpected {kind:?}"),
            ChannelError::Broken => f.write_str("record was changed on its way"),
            ChannelError::Closed => f.write_str("closed"),
        }
    }
}

impl core::error::Error for ChannelError {}

impl ChannelError {
    /// What to tell the other side, if it is to be told.
    fn bye(&self) -> Option<Bye> {
        let reason = match self {
            ChannelError::Version => ByeReason::Version,
            ChannelError::Mode | ChannelError::Auth => ByeReason::Auth,
            ChannelError::Refused(_) | ChannelError::Closed => return None,
            _ => ByeReason::Protocol,
        };
        Some(Bye { reason, text: alloc::format!("{self}") })
    }
}

impl From<FrameError> for ChannelError {
    fn from(error: FrameError) -> ChannelError {
        ChannelError::Frame(error)
    }
}

impl From<Malformed> for ChannelError {
    fn from(error: Malformed) -> ChannelError {
        ChannelError::Malformed(error)
    }
}

impl From<NotProven> for ChannelError {
    fn from(_: NotProven) -> ChannelError {
        ChannelError::Auth
    }
}

/// Turns frames into bytes.
pub struct Sender {
    seal: Option<Seal>,
    sums: Sums,
    /// What of a frame is beyond its first record, before it is sealed.
    beyond: Vec<u8>,
}

impl Sender {
    const fn plain() -> Sender {
        Sender { seal: None, sums: Sums::Off, beyond: Vec::new() }
    }

    /// What others can do ahead of the next frame, where frames are protected.
    pub fn ahead(&self) -> Option<Arc<Ahead>> {
        self.seal.as_ref().map(|seal| seal.ahead().clone())
    }

    /// Appends a frame to `out`.
    pub fn send<'a, M: Message<'a>>(
        &mut self,
        header: &Header,
        message: &M,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        self.send_with(header, out, |writer| {
            message.write(writer);
            Ok::<(), TooLarge>(())
        })
    }

    /// Appends a frame whose payload `fill` writes. When it fails, or the frame is too large, nothing is appended.
    pub fn send_with<E: From<TooLarge>>(
        &mut self,
        header: &Header,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(seal) = &mut self.seal else { return frame(header, self.sums, out, fill) };
        let at = out.len();
        out.extend_from_slice(&[0; LENGTH]);
        if let Err(error) = frame(header, self.sums, out, fill) {
            out.truncate(at);
            return Err(error);
        }
        // Sealed where it is; only what does not fit into its first record moves.
        let first = at + LENGTH + MOST;
        self.beyond.clear();
        self.beyond.extend_from_slice(out.get(first..).unwrap_or_default());
        out.truncate(first);
        seal.seal(out, at);
        for piece in self.beyond.chunks(MOST) {
            let at = out.len();
            out.extend_from_slice(&[0; LENGTH]);
            out.extend_from_slice(piece);
            seal.seal(out, at);
        }
        if self.beyond.capacity() > 2 * MOST {
            self.beyond = Vec::new();
        }
        Ok(())
    }
}

fn frame<E: From<TooLarge>>(
    header: &Header,
    sums: Sums,
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Writer<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let at = begin(out, header);
    if let Err(error) = fill(&mut Writer::new(out)) {
        out.truncate(at);
        return Err(error);
    }
    Ok(finish(out, at, sums)?)
}

/// Turns bytes into frames.
pub struct Receiver {
    open: Option<Opener>,
    decoder: Decoder,
}

struct Opener {
    seal: Seal,
    /// Length and bytes of a record that has not arrived whole.
    record: Vec<u8>,
    /// The last record, opened, and how much of it the decoder has had.
    plain: Vec<u8>,
    used: usize,
}

impl Receiver {
    fn plain() -> Receiver {
        let mut decoder = Decoder::new(Sums::Off);
        decoder.limit(HANDSHAKE_FRAME);
        Receiver { open: None, decoder }
    }

    /// Takes bytes from the front of `input` until a frame is complete; `None` when they are used up.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, ChannelError> {
        let Some(opener) = &mut self.open else { return Ok(self.decoder.next(input)?) };
        loop {
            let mut plain = opener.plain.get(opener.used..).unwrap_or_default();
            let before = plain.len();
            let frame = self.decoder.next(&mut plain)?;
            opener.used += before - plain.len();
            if frame.is_some() {
                return Ok(frame);
            }
            if !opener.refill(input)? {
                return Ok(None);
            }
        }
    }

    /// What others can do ahead of the next frame, where frames are protected.
    pub fn ahead(&self) -> Option<Arc<Ahead>> {
        self.open.as_ref().map(|opener| opener.seal.ahead().clone())
    }
}

impl Opener {
    /// Opens the next record; false when it is not whole yet.
    fn refill(&mut self, input: &mut &[u8]) -> Result<bool, ChannelError> {
        let length = |bytes: &[u8]| bytes.first_chunk().map(|len| usize::from(u16::from_le_bytes(*len)) + 2);
        // A record that lies in the input as a whole is opened from there.
        if self.record.is_empty()
            && let Some(len) = length(input)
            && let Some((record, rest)) = input.split_at_checked(len)
        {
            *input = rest;
            self.open(record.get(2..).unwrap_or_default())?;
            return Ok(true);
        }
        loop {
            let wanted = length(&self.record).unwrap_or(2);
            if self.record.len() == wanted && wanted > 2 {
                let record = core::mem::take(&mut self.record);
                self.open(record.get(2..).unwrap_or_default())?;
                self.record = record;
                self.record.clear();
                return Ok(true);
            }
            if self.record.len() == wanted && length(&self.record).is_some() {
                return Err(ChannelError::Broken);
            }
            if input.is_empty() {
                return Ok(false);
            }
            let take = wanted.saturating_sub(self.record.len()).min(input.len());
            let (taken, rest) = input.split_at(take);
            self.record.extend_from_slice(taken);
            *input = rest;
        }
    }

    fn open(&mut self, sealed: &[u8]) -> Result<(), ChannelError> {
        self.used = 0;
        self.seal.open(sealed, &mut self.plain)
    }
}

enum Phase {
    Hello,
    /// Host: AUTH was sent. Node: AUTH is to come.
    Auth(Proof),
    /// Node: the caller is to say.
    Admission(Proof),
    Ready,
    Closed,
}

enum Side {
    Host { key: Option<Key>, purpose: Purpose },
    Node { keys: Arc<dyn KeyRing> },
}

/// A connection.
pub struct Channel {
    side: Side,
    hello: Hello,
    /// The payload of `hello`, as it was sent.
    said: Vec<u8>,
    ephemeral: [u8; 32],
    peer: Option<Hello>,
    mode: Modes,
    phase: Phase,
    sender: Sender,
    receiver: Receiver,
}

impl Channel {
    /// The host's end. Its HELLO is put into `out`. `modes` of `own` should be `NONE` alone when there is no key, and `AEAD` or
    /// `MAC` alone otherwise: then nobody between can talk the two out of protection.
    pub fn host(
        own: Identity,
        key: Option<Key>,
        purpose: Purpose,
        entropy: &dyn Entropy,
        out: &mut Vec<u8>,
    ) -> Channel {
        let key_id = key.as_ref().map_or_else(String::new, |key| key.id.clone());
        Channel::new(Side::Host { key, purpose }, own, key_id, entropy, out)
    }

    /// The node's end. Its HELLO is put into `out`.
    pub fn node(own: Identity, keys: Arc<dyn KeyRing>, entropy: &dyn Entropy, out: &mut Vec<u8>) -> Channel {
        Channel::new(Side::Node { keys }, own, String::new(), entropy, out)
    }

    fn new(side: Side, own: Identity, key_id: String, entropy: &dyn Entropy, out: &mut Vec<u8>) -> Channel {
        let (mut nonce, mut ephemeral) = ([0; 32], [0; 32]);
        entropy.fill(&mut nonce);
        entropy.fill(&mut ephemeral);
        let hello = Hello {
            min_version: VERSION,
            max_version: VERSION,
            features: own.features,
            modes: own.modes,
            name: own.name,
            build: own.build,
            key_id,
            max_frame: MAX_FRAME as u32,
            boot_id: own.boot_id,
            nonce,
        };
        let mut said = Vec::new();
        hello.write(&mut Writer::new(&mut said));
        let mut channel = Channel {
            side,
            hello,
            said,
            ephemeral,
            peer: None,
            mode: Modes::empty(),
            phase: Phase::Hello,
            sender: Sender::plain(),
            receiver: Receiver::plain(),
        };
        channel.say(FrameType::Hello, &channel.said.clone(), out);
        channel
    }

    /// Who is at the other end, once its HELLO was here.
    pub fn peer(&self) -> Option<&Hello> {
        self.peer.as_ref()
    }

    /// The protection that was chosen.
    pub fn mode(&self) -> Modes {
        self.mode
    }

    /// Node: what the key allows that the host proves. Whoever comes over a trusted link may do everything.
    pub fn allowed(&self) -> Roles {
        match (&self.side, &self.peer) {
            (Side::Node { keys }, Some(peer)) if self.mode != Modes::NONE => keys.roles(&peer.key_id),
            (Side::Node { .. }, Some(_)) => Roles::all(),
            _ => Roles::empty(),
        }
    }

    /// What both sides can do.
    fn common(&self) -> Features {
        self.peer.as_ref().map_or(Features::empty(), |peer| peer.features & self.hello.features)
    }

    /// Frames may be sent.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    /// Takes bytes from the front of `input`; what is to be sent for them goes to `out`, also when they are an error. Call again
    /// until it gives `None`.
    pub fn receive(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Received>, ChannelError> {
        let result = self.advance(input, out);
        if let Err(error) = &result {
            if let Some(bye) = error.bye() {
                self.bye(&bye, out);
            }
            self.phase = Phase::Closed;
        }
        result
    }

    fn advance(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<Received>, ChannelError> {
        loop {
            match self.phase {
                Phase::Closed => return Err(ChannelError::Closed),
                // The host has nothing to say before it is admitted.
                Phase::Admission(_) if input.is_empty() => return Ok(None),
                Phase::Admission(_) => return Err(ChannelError::Unexpected(FrameType::Auth)),
                _ => {}
            }
            let Some(frame) = self.receiver.next(input)? else { return Ok(None) };
            if let Some(received) = self.frame(frame, out)? {
                return Ok(Some(received));
            }
        }
    }

    fn frame(&mut self, frame: Frame, out: &mut Vec<u8>) -> Result<Option<Received>, ChannelError> {
        let kind = frame.header.kind;
        if matches!(self.phase, Phase::Ready) {
            return match kind {
                FrameType::Hello | FrameType::Auth => Err(ChannelError::Unexpected(kind)),
                _ => Ok(Some(Received::Frame(frame))),
            };
        }
        if kind == FrameType::Bye {
            return Err(ChannelError::Refused(Bye::decode(&frame.payload)?));
        }
        match core::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Hello if kind == FrameType::Hello => self.hello(&frame.payload, out).map(|()| None),
            Phase::Auth(proof) if kind == FrameType::Auth => self.auth(proof, &frame.payload).map(Some),
            _ => Err(ChannelError::Unexpected(kind)),
        }
    }

    fn hello(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), ChannelError> {
        let peer = Hello::decode(payload)?;
        let version = peer.max_version.min(self.hello.max_version);
        if version < peer.min_version.max(self.hello.min_version) {
            return Err(ChannelError::Version);
        }
        let mut common = peer.modes & self.hello.modes;
        if let Side::Node { keys } = &self.side {
            common &= keys.modes(&peer.key_id) | Modes::NONE;
        }
        // The strongest first.
        let modes = [Modes::AEAD, Modes::MAC, Modes::NONE];
        self.mode = modes.into_iter().find(|mode| common.contains(*mode)).ok_or(ChannelError::Mode)?;
        let proof = match &self.side {
            _ if self.mode == Modes::NONE => Proof::None,
            Side::Host { key, .. } => {
                let key = key.as_ref().ok_or(ChannelError::Auth)?;
                Proof::noise(&key.secret, [&self.said, payload], self.ephemeral, true)?
            }
            Side::Node { keys } => {
                let key = keys.find(&peer.key_id).ok_or(ChannelError::Auth)?;
                Proof::noise(&key, [payload, &self.said], self.ephemeral, false)?
            }
        };
        self.ephemeral = [0; 32];
        self.peer = Some(peer);
        let mut proof = proof;
        if let Side::Host { purpose, .. } = &self.side {
            let message = proof.write_purpose(*purpose)?;
            self.say(FrameType::Auth, &message, out);
        }
        self.phase = Phase::Auth(proof);
        Ok(())
    }

    fn auth(&mut self, mut proof: Proof, payload: &[u8]) -> Result<Received, ChannelError> {
        match &self.side {
            Side::Host { .. } => {
                let grant = proof.read_grant(payload)?;
                self.ready(proof)?;
                Ok(Received::Granted(grant))
            }
            Side::Node { .. } => {
                let purpose = proof.read_purpose(payload)?;
                self.phase = Phase::Admission(proof);
                Ok(Received::Asked(purpose))
            }
        }
    }

    /// Node: the host may do what it [asked](Received::Asked) for.
    pub fn admit(&mut self, grant: Grant, out: &mut Vec<u8>) -> Result<(), ChannelError> {
        let Phase::Admission(mut proof) = core::mem::replace(&mut self.phase, Phase::Closed) else {
            return Err(ChannelError::Closed);
        };
        let message = proof.write_grant(grant)?;
        self.say(FrameType::Auth, &message, out);
        self.ready(proof)
    }

    /// Ends the connection for a reason.
    pub fn refuse(&mut self, reason: ByeReason, text: &str, out: &mut Vec<u8>) {
        self.bye(&Bye { reason, text: String::from(text) }, out);
        self.phase = Phase::Closed;
    }

    fn ready(&mut self, proof: Proof) -> Result<(), ChannelError> {
        let protection = if self.mode == Modes::MAC { Protection::Mac } else { Protection::Aead };
        let (out, into) = proof.finish(protection)?.map(|seals| (seals.out, seals.into)).unzip();
        let summed = out.is_none() && !self.common().contains(Features::NOCRC);
        let sums = if summed { Sums::On } else { Sums::Off };
        self.sender.seal = out;
        self.sender.sums = sums;
        self.receiver.open = into.map(|seal| Opener { seal, record: Vec::new(), plain: Vec::new(), used: 0 });
        self.receiver.decoder = Decoder::new(sums);
        self.phase = Phase::Ready;
        Ok(())
    }

    /// A frame of the handshake.
    fn say(&mut self, kind: FrameType, payload: &[u8], out: &mut Vec<u8>) {
        let written = frame(&Header::new(kind), Sums::Off, out, |writer| {
            writer.bytes(payload);
            Ok::<(), TooLarge>(())
        });
        debug_assert!(written.is_ok(), "handshake frames are small");
    }

    fn bye(&mut self, bye: &Bye, out: &mut Vec<u8>) {
        let sent = self.sender.send(&Header::new(FrameType::Bye), bye, out);
        debug_assert!(sent.is_ok(), "BYE is small");
    }

    /// Appends a frame to `out`. Before the handshake is over, nothing can be sent.
    pub fn send<'a, M: Message<'a>>(
        &mut self,
        header: &Header,
        message: &M,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        debug_assert!(self.is_ready(), "frame before the end of the handshake");
        self.sender.send(header, message, out)
    }

    /// The two directions, for two threads; only after the handshake.
    pub fn split(self) -> Option<(Sender, Receiver)> {
        self.is_ready().then_some((self.sender, self.receiver))
    }

    /// As [`Channel::split`], but borrowed: for what [`Sender::send_with`] can do.
    pub fn sender(&mut self) -> &mut Sender {
        &mut self.sender
    }
}

#[cfg(test)]
mod tests;
