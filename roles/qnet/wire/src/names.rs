//! Names of nodes: what they may contain, what a node without a name is called, how domains compare
//! (sections 9.1, 9.2 and 11.1).

mod node_path;
mod policy;

pub use node_path::{NodePath, NodePathError};
pub use policy::{Policy, PolicyChoice};

use crate::frame::Mac;
use core::fmt;

/// Longest node name in bytes.
pub const MAX_NAME: usize = 63;
/// Longest domain in bytes.
pub const MAX_DOMAIN: usize = 127;

/// Why text is no node name or no domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameError {
    /// Nothing there, or nothing between two dots.
    Empty,
    /// Longer than allowed.
    TooLong {
        /// Bytes it has.
        length: usize,
        /// Bytes it may have.
        maximum: usize,
    },
    /// A byte other than letters, digits, `_` and `-`.
    Character {
        /// The byte.
        byte: u8,
        /// Where it stands.
        position: usize,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => f.write_str("name is empty"),
            NameError::TooLong { length, maximum } => {
                write!(f, "name has {length} bytes, {maximum} are allowed")
            }
            NameError::Character { byte, position } => write!(
                f,
                "'{}' at position {position} is not allowed in a name; use letters, digits, '_' and '-'",
                byte.escape_ascii()
            ),
        }
    }
}

impl core::error::Error for NameError {}

/// A node name: 1 to 63 letters, digits, `_` and `-`.
pub fn node_name(bytes: &[u8]) -> Result<&str, NameError> {
    checked(bytes, MAX_NAME, false)
}

/// A domain: up to 127 bytes, names with dots between them.
pub fn domain(bytes: &[u8]) -> Result<&str, NameError> {
    let text = checked(bytes, MAX_DOMAIN, true)?;
    if text.split('.').any(str::is_empty) { Err(NameError::Empty) } else { Ok(text) }
}

fn checked(bytes: &[u8], maximum: usize, dots: bool) -> Result<&str, NameError> {
    if bytes.is_empty() {
        return Err(NameError::Empty);
    }
    if bytes.len() > maximum {
        return Err(NameError::TooLong { length: bytes.len(), maximum });
    }
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || dots && byte == b'.';
    match bytes.iter().position(|byte| !allowed(*byte)) {
        Some(position) => {
            let byte = bytes.get(position).copied().unwrap_or_default();
            Err(NameError::Character { byte, position })
        }
        // ASCII throughout.
        None => core::str::from_utf8(bytes).map_err(|_| NameError::Empty),
    }
}

/// Whether two node names are the same: letters of either case are.
pub fn same_name(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Whether two domains match: a missing one matches any.
pub fn domains_match(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one.eq_ignore_ascii_case(other)
}

/// Splits a fully qualified node name at its first dot: host, and domain (empty when there is none).
pub fn split_fqnn(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or((name, ""))
}

/// Whether a host name is one with which a node takes the name of its adapter instead.
pub fn is_unnamed(host: &str) -> bool {
    host.is_empty() || host.eq_ignore_ascii_case("localhost")
}

/// Name of a node without one: "EA" and the last three bytes of its adapter's address, in hexadecimal without
/// leading zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MacName {
    text: [u8; 8],
    len: u8,
}

impl MacName {
    /// The name that an address gives.
    pub fn new(mac: Mac) -> MacName {
        let Mac([_, _, _, a, b, c]) = mac;
        let number = u32::from_be_bytes([0, a, b, c]);
        let digits = (24 - number.leading_zeros().saturating_sub(8)).div_ceil(4).max(1) as u8;
        let mut text = *b"EA      ";
        let places = text.iter_mut().skip(2).take(digits.into());
        for (place, index) in places.zip((0..digits).rev()) {
            let digit = number >> (4 * u32::from(index)) & 0xf;
            *place = char::from_digit(digit, 16).map_or(b'0', |digit| digit as u8);
        }
        MacName { text, len: 2 + digits }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..self.len.into()).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Display for MacName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_names() {
        let name = |a, b, c| MacName::new(Mac([0, 0x0c, 0x29, a, b, c])).to_string();
        assert_eq!(name(0xdd, 0x35, 0x28), "EAdd3528");
        assert_eq!(name(0x03, 0xbf, 0x47), "EA3bf47", "five digits");
        assert_eq!(
            (name(0, 0, 0), name(0, 0, 0xf), name(0, 0x10, 0)),
            ("EA0".into(), "EAf".into(), "EA1000".into())
        );
        for number in (0..1 << 24).step_by(997) {
            let [_, a, b, c] = u32::to_be_bytes(number);
            assert_eq!(name(a, b, c), format!("EA{number:x}"));
        }
    }

    #[test]
    fn characters_and_lengths() {
        assert_eq!(node_name(b"Lab-2_x"), Ok("Lab-2_x"));
        assert_eq!(node_name(b""), Err(NameError::Empty));
        assert_eq!(node_name(&[b'a'; 63]).map(str::len), Ok(63));
        assert_eq!(node_name(&[b'a'; 64]), Err(NameError::TooLong { length: 64, maximum: 63 }));
        assert_eq!(node_name(b"a.b"), Err(NameError::Character { byte: b'.', position: 1 }));
        assert_eq!(node_name(b"\xffx"), Err(NameError::Character { byte: 0xff, position: 0 }));
        assert_eq!(domain(b"lab.test"), Ok("lab.test"));
        assert_eq!(
            (domain(b".a"), domain(b"a..b"), domain(b"a.")),
            (Err(NameError::Empty), Err(NameError::Empty), Err(NameError::Empty))
        );
        assert_eq!(domain(&[b'a'; 128]), Err(NameError::TooLong { length: 128, maximum: 127 }));
        assert_eq!(
            NameError::Character { byte: b'/', position: 3 }.to_string(),
            "'/' at position 3 is not allowed in a name; use letters, digits, '_' and '-'"
        );
    }

    #[test]
    fn comparison() {
        assert!(same_name("Alpha", "aLPHA") && !same_name("alpha", "alph"));
        assert!(domains_match("", "net") && domains_match("LAB.test", "lab.TEST"));
        assert!(!domains_match("lab.test", "test"));
        assert_eq!(split_fqnn("karl.other.domain"), ("karl", "other.domain"));
        assert_eq!(split_fqnn("karl"), ("karl", ""));
        assert!(is_unnamed("") && is_unnamed("localhost") && !is_unnamed("localhost2"));
    }
}
