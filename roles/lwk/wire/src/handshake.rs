//! HELLO, choice of version and protection, AUTH (section 5.3).
//!
//! ```text
//!   host                                  node
//!   HELLO (key id, modes)  ------------>
//!                          <------------  HELLO
//!   AUTH  e, psk; purpose  ------------>             Noise NNpsk0: the key is mixed in before the first message, so that
//!                          <------------  AUTH  e, ee; grant        only its holders can read or make any of them
//!   ============ records sealed with ChaCha20-Poly1305, or with Poly1305 alone ============
//! ```
//!
//! Both HELLOs are the prologue of the Noise handshake: who changes a bit of them (a version, a mode, a key id) makes AUTH
//! fail. Both hold a nonce, so that an old AUTH is good for nothing. Keys last as long as the connection.
//!
//! Of the modes of section 5.3 both ends choose one: `aead`; `mac`, where the key says that its holders may do without secrecy, on
//! links where nobody listens who should not; and `none`, which a side offers only when it was told to, since then nothing tells
//! who the other is, and nobody notices changes.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bitflags::bitflags;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

use crate::bytes::{Malformed, Reader, Writer};
use crate::channel::{Protection, Seals};
use crate::frame::FrameType;
use crate::messages::{Message, Ticket};

/// The version of this crate.
pub const VERSION: u16 = 1;
/// First in every HELLO.
const MAGIC: [u8; 4] = *b"LWKD";
/// Noise protocol name.
const NOISE: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Bytes of a key.
pub const KEY_LEN: usize = 32;

bitflags! {
    /// What a side can do beyond the minimum.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Features: u32 {
        /// Protection by ChaCha20-Poly1305.
        const AEAD = 1;
        /// The node caches attributes of files.
        const ATTRCACHE = 2;
        /// Replies are kept for a reset of the link.
        const RESUME = 4;
        /// The node has sockets of its own.
        const NETLOCAL = 8;
        /// Dumps.
        const DUMP = 16;
        /// Debugger.
        const GDB = 32;
        /// Frames that nothing else protects need no checksum: the link has one of its own, as TCP has.
        const NOCRC = 64;
    }

    /// Protections a side accepts.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Modes: u8 {
        /// Encrypted and authenticated.
        const AEAD = 1;
        /// Authenticated.
        const MAC = 2;
        /// As it is; frames carry a checksum unless both sides do without ([`Features::NOCRC`]).
        const NONE = 4;
    }

    /// What the holder of a key may do.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Roles: u8 {
        /// Start programs.
        const LAUNCH = 1;
        /// Boot, stop, dump, read memory.
        const ADMIN = 2;
        /// Status, log, usage.
        const MONITOR = 4;
    }
}

/// What stands behind a key in a file: what its holders may do, and how they are protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyUse {
    /// What they may do.
    pub roles: Roles,
    /// Protections they may have.
    pub modes: Modes,
}

impl Default for KeyUse {
    /// Without a word: everything, encrypted.
    fn default() -> KeyUse {
        KeyUse { roles: Roles::all(), modes: Modes::AEAD }
    }
}

impl KeyUse {
    /// The words there are.
    pub const ACCEPTED: &str = "accepted are launch, monitor and admin (for everything without one of them), and mac (without \
                                encryption), with commas";

    /// From words as key files have them: `launch,monitor`, `mac`. Who may boot and stop a node may look at it, too.
    pub fn parse(text: &str) -> Option<KeyUse> {
        let (mut roles, mut modes) = (Roles::empty(), Modes::AEAD);
        for word in text.split(',') {
            match word {
                "launch" => roles |= Roles::LAUNCH,
                "monitor" => roles |= Roles::MONITOR,
                "admin" => roles |= Roles::ADMIN | Roles::MONITOR,
                "mac" => modes |= Modes::MAC,
                _ => return None,
            }
        }
        Some(KeyUse { roles: if roles.is_empty() { Roles::all() } else { roles }, modes })
    }

    /// What a host with this key asks for: one protection alone, so that nobody between can choose.
    pub fn asked(self) -> Modes {
        if self.modes.contains(Modes::MAC) { Modes::MAC } else { Modes::AEAD }
    }
}

/// Who I am, what I can.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Lowest version spoken.
    pub min_version: u16,
    /// Highest.
    pub max_version: u16,
    /// Features.
    pub features: Features,
    /// Protections accepted.
    pub modes: Modes,
    /// Name of the node or the host.
    pub name: String,
    /// Build.
    pub build: String,
    /// Which key the host has; empty from a node.
    pub key_id: String,
    /// Largest frame accepted.
    pub max_frame: u32,
    /// Changes at every boot; zero from a host.
    pub boot_id: [u8; 16],
    /// Random.
    pub nonce: [u8; 32],
}

impl Message<'_> for Hello {
    const KIND: FrameType = FrameType::Hello;

    fn read(from: &mut Reader<'_>) -> Result<Hello, Malformed> {
        if from.array()? != MAGIC {
            return Err(Malformed::Value);
        }
        Ok(Hello {
            min_version: from.u16()?,
            max_version: from.u16()?,
            // Of the future; a mode or feature that is not known here is not common either.
            features: Features::from_bits_truncate(from.u32()?),
            modes: Modes::from_bits_truncate(from.u8()?),
            name: from.string(255)?,
            build: from.string(255)?,
            key_id: from.string(255)?,
            max_frame: from.u32()?,
            boot_id: from.array()?,
            nonce: from.array()?,
        })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(&MAGIC)
            .u16(self.min_version)
            .u16(self.max_version)
            .u32(self.features.bits())
            .u8(self.modes.bits());
        to.text(&self.name).text(&self.build).text(&self.key_id);
        to.u32(self.max_frame).bytes(&self.boot_id).bytes(&self.nonce);
    }
}

/// What a host wants of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A new session, to start a program: its `hi` stream.
    Launch,
    /// The session of a forked process: its `hi` stream, with the ticket of FORK.
    Fork(Ticket),
    /// The `bulk` stream of a session, with the ticket of its grant.
    Bulk(Ticket),
    /// A tool, with this role.
    Control(Roles),
}

/// What the node gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The session.
    pub session: u64,
    /// What it may do.
    pub roles: Roles,
    /// Lets its `bulk` stream in.
    pub bulk: Ticket,
}

impl Purpose {
    fn read(bytes: &[u8]) -> Result<Purpose, Malformed> {
        let mut from = Reader::new(bytes);
        let purpose = match from.u8()? {
            0 => Purpose::Launch,
            1 => Purpose::Fork(from.array()?),
            2 => Purpose::Bulk(from.array()?),
            3 => Purpose::Control(Roles::from_bits(from.u8()?).ok_or(Malformed::Value)?),
            _ => return Err(Malformed::Value),
        };
        from.end()?;
        Ok(purpose)
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut to = Writer::new(&mut bytes);
        match self {
            Purpose::Launch => to.u8(0),
            Purpose::Fork(ticket) => to.u8(1).bytes(&ticket),
            Purpose::Bulk(ticket) => to.u8(2).bytes(&ticket),
            Purpose::Control(roles) => to.u8(3).u8(roles.bits()),
        };
        bytes
    }
}

impl Grant {
    fn read(bytes: &[u8]) -> Result<Grant, Malformed> {
        let mut from = Reader::new(bytes);
        let grant = Grant {
            session: from.u64()?,
            roles: Roles::from_bits(from.u8()?).ok_or(Malformed::Value)?,
            bulk: from.array()?,
        };
        from.end()?;
        Ok(grant)
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).u64(self.session).u8(self.roles.bits()).bytes(&self.bulk);
        bytes
    }
}

/// The AUTH payload does not prove the key, or is not an AUTH payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotProven;

/// How the two AUTH frames are protected: by Noise, or not at all.
pub(crate) enum Proof {
    Noise(Box<snow::HandshakeState>),
    None,
}

impl Proof {
    /// `hellos`: the host's payload and the node's. `ephemeral` is fresh randomness.
    pub(crate) fn noise(
        key: &[u8; KEY_LEN],
        hellos: [&[u8]; 2],
        ephemeral: [u8; 32],
        initiator: bool,
    ) -> Result<Proof, NotProven> {
        let mut prologue = b"LWKD/1".to_vec();
        for hello in hellos {
            // With its length, so that the border between the two is part of what is proven.
            Writer::new(&mut prologue).blob(hello);
        }
        let resolver = Resolver { ephemeral };
        let params = NOISE.parse().map_err(|_| NotProven)?;
        let builder = snow::Builder::with_resolver(params, Box::new(resolver));
        let builder =
            builder.psk(0, key).and_then(|builder| builder.prologue(&prologue)).map_err(|_| NotProven)?;
        let state = if initiator { builder.build_initiator() } else { builder.build_responder() };
        Ok(Proof::Noise(Box::new(state.map_err(|_| NotProven)?)))
    }

    fn write(&mut self, plain: &[u8]) -> Result<Vec<u8>, NotProven> {
        match self {
            Proof::None => Ok(plain.to_vec()),
            Proof::Noise(state) => {
                let mut message = alloc::vec![0; plain.len() + 128];
                let len = state.write_message(plain, &mut message).map_err(|_| NotProven)?;
                message.truncate(len);
                Ok(message)
            }
        }
    }

    fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, NotProven> {
        match self {
            Proof::None => Ok(message.to_vec()),
            Proof::Noise(state) => {
                let mut plain = alloc::vec![0; message.len()];
                let len = state.read_message(message, &mut plain).map_err(|_| NotProven)?;
                plain.truncate(len);
                Ok(plain)
            }
        }
    }

    pub(crate) fn write_purpose(&mut self, purpose: Purpose) -> Result<Vec<u8>, NotProven> {
        self.write(&purpose.to_bytes())
    }

    pub(crate) fn read_purpose(&mut self, message: &[u8]) -> Result<Purpose, NotProven> {
        Purpose::read(&self.read(message)?).map_err(|_| NotProven)
    }

    pub(crate) fn write_grant(&mut self, grant: Grant) -> Result<Vec<u8>, NotProven> {
        self.write(&grant.to_bytes())
    }

    pub(crate) fn read_grant(&mut self, message: &[u8]) -> Result<Grant, NotProven> {
        Grant::read(&self.read(message)?).map_err(|_| NotProven)
    }

    /// What seals the connection; `None` without protection.
    pub(crate) fn finish(self, protection: Protection) -> Result<Option<Seals>, NotProven> {
        match self {
            Proof::None => Ok(None),
            Proof::Noise(mut state) if state.is_handshake_finished() => {
                let (first, second) = state.dangerously_get_raw_split();
                Ok(Some(Seals::new(&[first, second], state.is_initiator(), protection)))
            }
            Proof::Noise(_) => Err(NotProven),
        }
    }
}

/// The usual primitives, with randomness that was passed in.
struct Resolver {
    ephemeral: [u8; 32],
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once { bytes: Some(self.ephemeral) }))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// 32 random bytes, for the one ephemeral key of a side; refuses to give them twice.
struct Once {
    bytes: Option<[u8; 32]>,
}

impl Random for Once {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        let bytes = self.bytes.take().filter(|bytes| bytes.len() == dest.len()).ok_or(snow::Error::Rng)?;
        dest.copy_from_slice(&bytes);
        Ok(())
    }
}
