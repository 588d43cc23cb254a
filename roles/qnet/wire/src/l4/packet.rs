//! A packet as it came: checked header, payload, CRC.

use super::{Crc, Flags, Header, Kind, Layer};
use crate::layout::Short;
use core::fmt;

/// Why a packet is dropped (sections 2.1 and 23, point 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketError {
    /// It ends within the header.
    Short(Short),
    /// Neither 0x2A nor 0xAA.
    Version(u8),
    /// A type that does not exist.
    Kind(u8),
    /// A layer that this type of packet does not have.
    Layer {
        /// Type of the packet.
        kind: Kind,
        /// What it names.
        layer: Layer,
    },
    /// The header announces more payload than is there.
    Length {
        /// Bytes announced.
        length: u32,
        /// Bytes behind the header.
        present: usize,
    },
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PacketError::Short(short) => short.fmt(f),
            PacketError::Version(value) => write!(f, "LwL4 version {value:#04x} is neither 0x2a nor 0xaa"),
            PacketError::Kind(value) => write!(f, "LwL4 type {value:#04x} does not exist"),
            PacketError::Layer { kind, layer } => {
                write!(f, "LwL4 layer {} does not go with type {:#04x}", layer.to_wire(), kind.to_wire())
            }
            PacketError::Length { length, present } => {
                write!(f, "LwL4 length {length} is more than the {present} bytes present")
            }
        }
    }
}

impl core::error::Error for PacketError {}

/// The CRC of a packet is wrong: it is dropped silently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrcMismatch {
    /// What the header says.
    pub stated: u32,
    /// What its bytes say.
    pub computed: u32,
}

impl fmt::Display for CrcMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LwL4 CRC is {:#010x}, the bytes give {:#010x}", self.stated, self.computed)
    }
}

impl core::error::Error for CrcMismatch {}

/// An LwL4 packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// Its header.
    pub header: Header,
    /// What the header's length counts; nothing for kinds without payload, whatever the length says.
    pub payload: &'a [u8],
    /// The header's bytes up to the CRC.
    covered: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet. What follows the payload is a link's trailer and ignored. The CRC is not looked at.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Packet<'a>, PacketError> {
        let header = Header::decode(bytes)?;
        let known = match header.kind {
            Kind::User | Kind::UserData => matches!(header.layer, Layer::Kif | Layer::Nr | Layer::Seq),
            Kind::Lres => header.layer == Layer::Lr,
            _ => true,
        };
        if !known {
            return Err(PacketError::Layer { kind: header.kind, layer: header.layer });
        }
        let behind = bytes.get(Header::LEN..).unwrap_or_default();
        let payload = match header.kind.has_payload() {
            true => usize::try_from(header.length).ok().and_then(|length| behind.get(..length)),
            false => Some(&[][..]),
        };
        let payload = payload.ok_or(PacketError::Length { length: header.length, present: behind.len() })?;
        Ok(Packet { header, payload, covered: bytes.get(..Header::LEN - 4).unwrap_or_default() })
    }

    /// Whether the packet has a CRC at all.
    pub fn has_crc(&self) -> bool {
        self.header.flags.contains(Flags::CRC)
    }

    /// Compares the CRC, if the packet has one, with that of its bytes.
    pub fn check_crc(&self) -> Result<(), CrcMismatch> {
        if !self.has_crc() {
            return Ok(());
        }
        let computed = self.computed_crc();
        match computed == self.header.crc {
            true => Ok(()),
            false => Err(CrcMismatch { stated: self.header.crc, computed }),
        }
    }

    /// The CRC that the packet's bytes have, whether it says so or not.
    pub fn computed_crc(&self) -> u32 {
        let mut crc = Crc::new();
        crc.update(self.covered);
        crc.update(&[0; 4]);
        crc.update(self.payload);
        crc.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endian::Endian;

    fn sealed(endian: Endian) -> Vec<u8> {
        let mut header = Header { endian, length: 11, seq: 3, ..Header::new(Kind::User) };
        header.seal(&[b"hello", b"", b" world"]);
        let mut bytes = header.encode().to_vec();
        bytes.extend(b"hello world");
        bytes.extend([0; 5]);
        bytes
    }

    /// Every bit of header and payload is covered; the trailer is not.
    #[test]
    fn crc_covers_header_and_payload() {
        for endian in [Endian::Little, Endian::Big] {
            let bytes = sealed(endian);
            assert_eq!(Packet::decode(&bytes).unwrap().check_crc(), Ok(()));
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let Ok(packet) = Packet::decode(&damaged) else { continue };
                let unnoticed = bit / 8 >= 47 || !packet.has_crc();
                assert_eq!(packet.check_crc().is_ok(), unnoticed, "{endian:?} bit {bit}");
            }
        }
    }

    fn with(at: usize, value: u8) -> Result<usize, PacketError> {
        let mut bytes = sealed(Endian::Little);
        bytes[at] = value;
        Packet::decode(&bytes).map(|packet| packet.payload.len())
    }

    #[test]
    fn rejections() {
        assert_eq!(with(0, 0x2b), Err(PacketError::Version(0x2b)));
        assert_eq!(with(1, 6), Err(PacketError::Kind(6)));
        assert_eq!(with(3, 2), Err(PacketError::Layer { kind: Kind::User, layer: Layer::Lr }));
        assert_eq!(with(1, 0x0b), Err(PacketError::Layer { kind: Kind::Lres, layer: Layer::Kif }));
        assert_eq!((with(28, 16), with(28, 0)), (Ok(16), Ok(0)));
        assert_eq!(with(28, 17), Err(PacketError::Length { length: 17, present: 16 }));
        assert_eq!(with(31, 0xff), Err(PacketError::Length { length: 0xff00_000b, present: 16 }));
        assert!(matches!(Packet::decode(&sealed(Endian::Big)[..35]), Err(PacketError::Short(_))));
        assert!(matches!(Packet::decode(&[]), Err(PacketError::Short(_))));
        // A NACK's length counts what is missing, not what is there.
        assert_eq!(with(1, 0x0a), Ok(0));
    }
}
