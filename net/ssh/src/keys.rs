//! Keys of people and of the node.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use data_encoding::BASE64_NOPAD;
use sha2::{Digest, Sha256};
use zssh::ed25519_dalek::{SigningKey, VerifyingKey};

/// The one kind of key (RFC 8709).
const ED25519: &str = "ssh-ed25519";
/// Its length in bytes, public or seed.
const KEY: usize = 32;
/// How OpenSSH's private key files begin, the terminating zero included (PROTOCOL.key of OpenSSH).
const PRIVATE_MAGIC: &[u8] = b"openssh-key-v1\0";

/// What a public key is called, as `ssh-keygen -l` prints it: `SHA256:` and Base64.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of the 32 bytes of an ed25519 key.
    pub fn of(key: &[u8; KEY]) -> Fingerprint {
        Fingerprint(format!("SHA256:{}", BASE64_NOPAD.encode(&Sha256::digest(blob(key)))))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key as it stands in files and on the wire: name and bytes, each with its length before it.
fn blob(key: &[u8; KEY]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(8 + ED25519.len() + KEY);
    for part in [ED25519.as_bytes(), key] {
        // Neither is longer than 32 bytes.
        blob.extend_from_slice(&(part.len() as u32).to_be_bytes());
        blob.extend_from_slice(part);
    }
    blob
}

/// Why a text is no key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// It is a key of another kind.
    Kind(String),
    /// There is a name of a kind, but no key after it.
    Missing,
    /// What should be the key is none.
    Malformed,
    /// A private key that a passphrase protects.
    Encrypted,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Kind(kind) => {
                write!(f, "\"{kind}\" keys are not supported; make one with ssh-keygen -t ed25519")
            }
            KeyError::Missing => write!(f, "the key is missing; expected is {ED25519} AAAA... NAME, a line of a .pub file"),
            KeyError::Malformed => f.write_str("this is no whole ed25519 key; copy it anew"),
            KeyError::Encrypted => {
                f.write_str("this key has a passphrase, which nobody could type here; make one with ssh-keygen -t ed25519 -N ''")
            }
        }
    }
}

/// A public key that may enter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorizedKey {
    key: [u8; KEY],
    name: String,
}

impl AuthorizedKey {
    /// Reads a line of a `.pub` file: `ssh-ed25519 AAAA... NAME`, where the name may be missing or have several words.
    ///
    /// # Errors
    ///
    /// When it is no ed25519 key.
    pub fn parse(line: &str) -> Result<AuthorizedKey, KeyError> {
        let mut words = line.split_ascii_whitespace();
        let kind = words.next().unwrap_or_default();
        if kind != ED25519 {
            return Err(KeyError::Kind(kind.to_owned()));
        }
        let text = words.next().ok_or(KeyError::Missing)?;
        let bytes = decode(text).ok_or(KeyError::Malformed)?;
        let key: [u8; KEY] = bytes.last_chunk().copied().ok_or(KeyError::Malformed)?;
        // Not every 32 bytes are a point of the curve.
        if bytes != blob(&key) || VerifyingKey::from_bytes(&key).is_err() {
            return Err(KeyError::Malformed);
        }
        let name = words.collect::<Vec<_>>().join(" ");
        Ok(AuthorizedKey { key, name })
    }

    /// Whose key it is: what stands after it, or its fingerprint.
    pub fn name(&self) -> String {
        if self.name.is_empty() { self.fingerprint().to_string() } else { self.name.clone() }
    }

    /// Its fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.key)
    }

    /// Whether it is this key.
    pub(crate) fn is(&self, key: &[u8; KEY]) -> bool {
        self.key == *key
    }
}

/// What the node proves with that it is itself.
#[derive(Clone)]
pub struct HostKey(SigningKey);

impl HostKey {
    /// From 32 random bytes.
    pub fn from_seed(seed: &[u8; KEY]) -> HostKey {
        HostKey(SigningKey::from_bytes(seed))
    }

    /// Reads either the Base64 of 32 random bytes, or the private key file that `ssh-keygen -t ed25519 -N ''` writes, with or
    /// without its first and last line; white space does not count.
    ///
    /// # Errors
    ///
    /// When it is neither, or has a passphrase.
    pub fn parse(text: &str) -> Result<HostKey, KeyError> {
        let body = text.split_once("PRIVATE KEY-----").map_or(text, |(_, rest)| rest);
        let body = body.split_once("-----END").map_or(body, |(body, _)| body);
        let body: String = body.split_ascii_whitespace().collect();
        let bytes = decode(&body).ok_or(KeyError::Malformed)?;
        match <&[u8; KEY]>::try_from(bytes.as_slice()) {
            Ok(seed) => Ok(HostKey::from_seed(seed)),
            Err(_) => HostKey::from_file(&bytes),
        }
    }

    fn from_file(bytes: &[u8]) -> Result<HostKey, KeyError> {
        let mut file = Fields(bytes.strip_prefix(PRIVATE_MAGIC).ok_or(KeyError::Malformed)?);
        let cipher = file.string()?;
        let (_kdf, _kdf_options) = (file.string()?, file.string()?);
        if cipher != b"none" {
            return Err(KeyError::Encrypted);
        }
        if file.number()? != 1 {
            return Err(KeyError::Malformed);
        }
        let _public = file.string()?;
        let mut secret = Fields(file.string()?);
        // Two numbers that are equal when a passphrase was right.
        if secret.number()? != secret.number()? {
            return Err(KeyError::Malformed);
        }
        let kind = secret.string()?;
        if kind != ED25519.as_bytes() {
            return Err(KeyError::Kind(String::from_utf8_lossy(kind).into_owned()));
        }
        let public = secret.string()?;
        // Seed and public key.
        let seed = secret.string()?.first_chunk().ok_or(KeyError::Malformed)?;
        let key = HostKey::from_seed(seed);
        if key.0.verifying_key().as_bytes() == public { Ok(key) } else { Err(KeyError::Malformed) }
    }

    /// The fingerprint of its public half.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.0.verifying_key().as_bytes())
    }

    /// A line of `known_hosts` without the host's name, or of a `.pub` file.
    pub fn public_line(&self) -> String {
        format!("{ED25519} {}", BASE64_NOPAD.encode(&blob(self.0.verifying_key().as_bytes())))
    }

    pub(crate) fn signing(&self) -> SigningKey {
        self.0.clone()
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}

/// The bytes that Base64 stands for (RFC 4648, section 4), padded as in key files or not; `None` when it is none.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if padding > 2 || padding > 0 && !text.len().is_multiple_of(4) {
        return None;
    }
    BASE64_NOPAD.decode(digits.as_bytes()).ok()
}

/// Numbers and strings one after the other (RFC 4251, section 5).
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u32, KeyError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(KeyError::Malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Result<&'a [u8], KeyError> {
        let len = usize::try_from(self.number()?).map_err(|_| KeyError::Malformed)?;
        let (string, rest) = self.0.split_at_checked(len).ok_or(KeyError::Malformed)?;
        self.0 = rest;
        Ok(string)
    }
}

#[cfg(test)]
mod tests;
