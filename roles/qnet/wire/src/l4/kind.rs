//! What a packet is: kind, flags, layer (section 3).

use core::ops::BitOr;

/// What a packet is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Named by the protocol, never seen used: taken as [`Kind::User`], never sent.
    UserData,
    /// The opener establishes a connection; four strings.
    TcsInit,
    /// The acceptor's receive side is up.
    TcsRemUp,
    /// The opener's transmit side is up.
    TcsUp,
    /// The opener tears its connection down.
    TcsDown,
    /// The acceptor tears it down, or does not know it.
    TcsRemDown,
    /// Data for a layer.
    User,
    /// A message has arrived.
    Ack,
    /// Something is missing.
    Nack,
    /// LAN resolver packet.
    Lres,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 10] = [
        Kind::UserData,
        Kind::TcsInit,
        Kind::TcsRemUp,
        Kind::TcsUp,
        Kind::TcsDown,
        Kind::TcsRemDown,
        Kind::User,
        Kind::Ack,
        Kind::Nack,
        Kind::Lres,
    ];

    /// The kind with a number; others are dropped.
    pub const fn from_wire(value: u8) -> Option<Kind> {
        Some(match value {
            0x00 => Kind::UserData,
            0x01 => Kind::TcsInit,
            0x02 => Kind::TcsRemUp,
            0x03 => Kind::TcsUp,
            0x04 => Kind::TcsDown,
            0x05 => Kind::TcsRemDown,
            0x08 => Kind::User,
            0x09 => Kind::Ack,
            0x0a => Kind::Nack,
            0x0b => Kind::Lres,
            _ => return None,
        })
    }

    /// Its number.
    pub const fn to_wire(self) -> u8 {
        match self {
            Kind::UserData => 0x00,
            Kind::TcsInit => 0x01,
            Kind::TcsRemUp => 0x02,
            Kind::TcsUp => 0x03,
            Kind::TcsDown => 0x04,
            Kind::TcsRemDown => 0x05,
            Kind::User => 0x08,
            Kind::Ack => 0x09,
            Kind::Nack => 0x0a,
            Kind::Lres => 0x0b,
        }
    }

    /// Whether the header's length counts bytes behind it.
    pub const fn has_payload(self) -> bool {
        matches!(self, Kind::UserData | Kind::TcsInit | Kind::User | Kind::Lres)
    }

    /// Whether it carries messages of a connection.
    pub const fn is_user(self) -> bool {
        matches!(self, Kind::UserData | Kind::User)
    }
}

/// Bits of the header. Unknown ones are kept: they count into the CRC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Flags(pub u8);

impl Flags {
    /// None set.
    pub const NONE: Flags = Flags(0);
    /// The first fragment of a message.
    pub const FIRST: Flags = Flags(1);
    /// The last fragment of a message.
    pub const LAST: Flags = Flags(2);
    /// The CRC is valid.
    pub const CRC: Flags = Flags(4);
    /// A message of one packet: first and last.
    pub const WHOLE: Flags = Flags(3);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// Who a payload is for. Means something in user data and LAN resolver packets only; elsewhere it is kept as sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Layer {
    /// Kernel interface.
    Kif,
    /// Node resolver.
    Nr,
    /// LAN resolver.
    Lr,
    /// Nobody: fills a hole in the sequence, or asks whether the peer is there.
    Seq,
    /// Any other number.
    Other(u8),
}

impl Layer {
    /// The layer with a number.
    pub const fn from_wire(value: u8) -> Layer {
        match value {
            0 => Layer::Kif,
            1 => Layer::Nr,
            2 => Layer::Lr,
            3 => Layer::Seq,
            other => Layer::Other(other),
        }
    }

    /// Its number.
    pub const fn to_wire(self) -> u8 {
        match self {
            Layer::Kif => 0,
            Layer::Nr => 1,
            Layer::Lr => 2,
            Layer::Seq => 3,
            Layer::Other(value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let known: Vec<u8> = (0..=255).filter(|value| Kind::from_wire(*value).is_some()).collect();
        assert_eq!(known, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11]);
        assert_eq!(Kind::ALL.map(Kind::to_wire).to_vec(), known);
        assert!(Kind::ALL.iter().all(|kind| Kind::from_wire(kind.to_wire()) == Some(*kind)));
        assert!((0..=255).all(|value| Layer::from_wire(value).to_wire() == value));
    }
}
