//! Connection types (LNet specification section 3.6).

use core::fmt;

/// What a connection is for, as one end sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ConnType {
    /// In an answer: this connection is not wanted. Never requested.
    None,
    /// Everything. Linux sends nothing on such a connection in versions 3 and 4.
    Any,
    /// Messages below 1 KiB.
    Control,
    /// Receives large messages; sends only acknowledgements and keepalives.
    BulkIn,
    /// Sends large messages; receives only acknowledgements and keepalives.
    BulkOut,
}

impl ConnType {
    /// The same connection seen from the other end.
    pub const fn inverse(self) -> ConnType {
        match self {
            ConnType::BulkIn => ConnType::BulkOut,
            ConnType::BulkOut => ConnType::BulkIn,
            same => same,
        }
    }

    /// The number in a HELLO; -1 for none.
    pub const fn to_wire(self) -> u32 {
        match self {
            ConnType::None => u32::MAX,
            ConnType::Any => 0,
            ConnType::Control => 1,
            ConnType::BulkIn => 2,
            ConnType::BulkOut => 3,
        }
    }

    /// The type with this number.
    pub const fn from_wire(number: u32) -> Option<ConnType> {
        match number {
            u32::MAX => Some(ConnType::None),
            0 => Some(ConnType::Any),
            1 => Some(ConnType::Control),
            2 => Some(ConnType::BulkIn),
            3 => Some(ConnType::BulkOut),
            _ => None,
        }
    }
}

impl fmt::Display for ConnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnType::None => "none",
            ConnType::Any => "any",
            ConnType::Control => "control",
            ConnType::BulkIn => "bulk-in",
            ConnType::BulkOut => "bulk-out",
        })
    }
}
