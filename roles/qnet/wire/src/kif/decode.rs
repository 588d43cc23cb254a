//! Reading KIF messages, with the checks of section 23, point 4, that need no state.

use super::{
    BIG_ENDIAN, CRED, Connect, ConnectDeath, ConnectFail, ConnectSuccess, Cred, Disconnect, Event, KifHeader,
    KifMessage, KifType, MsgRead, MsgSend, Pulse, Signal, Transfer, Unblock,
};
use crate::endian::Endian;
use crate::layout::{Short, slice};
use core::fmt;
use core::ops::Range;

/// Why a KIF message is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KifError {
    /// It ends within its structure, or its credentials do.
    Short(Short),
    /// A type that does not exist, or a byte order bit without its twin: the whole `msgtype`.
    Type(u16),
    /// `size` is below what the type needs.
    Size {
        /// Type of the structure.
        kind: KifType,
        /// What it says.
        size: u16,
    },
    /// More than eight supplementary groups.
    Groups(u32),
    /// What follows the structure of a combined message is of another type.
    Second {
        /// Type of the message.
        kind: KifType,
        /// Type of what follows.
        second: KifType,
    },
}

impl fmt::Display for KifError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KifError::Short(short) => short.fmt(f),
            KifError::Type(value) => write!(f, "KIF type {value:#06x} does not exist"),
            KifError::Size { kind, size } => {
                write!(f, "KIF size {size} is below the {} of {kind:?}", kind.base_size())
            }
            KifError::Groups(value) => write!(f, "KIF credentials with {value} groups; 8 are allowed"),
            KifError::Second { kind, second } => {
                write!(f, "KIF {kind:?} is followed by {second:?}")
            }
        }
    }
}

impl core::error::Error for KifError {}

/// A message that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// The sender's byte order, as the message itself says.
    pub endian: Endian,
    /// The message.
    pub message: KifMessage,
    /// Where its data are in the L4 message. Empty for types without data.
    pub data: Range<usize>,
    /// Whether `nbytes` promises more data than are there: counted, and otherwise taken as is.
    pub truncated: bool,
}

impl KifMessage {
    /// Reads an L4 message that is in one piece.
    pub fn decode(message: &[u8]) -> Result<Decoded, KifError> {
        KifMessage::decode_front(message, message.len())
    }

    /// Reads an L4 message of `total` bytes of which `front` are at hand: enough to hold the structure, which is at
    /// most [`KifMessage::MAX_LEN`] long and so always in the first fragment of a real sender.
    pub fn decode_front(front: &[u8], total: usize) -> Result<Decoded, KifError> {
        let total = total.max(front.len());
        let first = Structure::split(front)?;
        let Structure { kind, endian, .. } = first;
        let none = |message| Decoded { endian, message, data: 0..0, truncated: false };
        let transfer = || Transfer::decode(first.bytes, endian).map_err(KifError::Short);
        // Data of a structure that starts at `start`: where they are, and whether some are missing.
        let data = |start: usize, size: usize, nbytes: u32| {
            let start = start.saturating_add(size).min(total);
            let end = start.saturating_add(usize::try_from(nbytes).unwrap_or(usize::MAX));
            (start..end.min(total), end > total)
        };
        let with_data = |start, size, nbytes, message| {
            let (data, truncated) = data(start, size, nbytes);
            Decoded { endian, message, data, truncated }
        };
        Ok(match kind {
            KifType::Connect => none(KifMessage::Connect(first.connect()?, first.cred()?)),
            KifType::ConnectMsgSend => {
                let second = first.second(front, KifType::MsgSend)?;
                let send = MsgSend::decode(second.bytes, second.endian).map_err(KifError::Short)?;
                let start = first.bytes.len();
                let (range, truncated) = data(start, second.bytes.len(), send.nbytes);
                let cred = second.send_cred(front, range.end)?;
                let message = KifMessage::ConnectMsgSend(first.connect()?, first.cred()?, send, cred);
                Decoded { endian, message, data: range, truncated }
            }
            KifType::ConnectSuccess => none(KifMessage::ConnectSuccess(
                ConnectSuccess::decode(first.bytes, endian).map_err(KifError::Short)?,
            )),
            KifType::ConnectFail => none(KifMessage::ConnectFail(
                ConnectFail::decode(first.bytes, endian).map_err(KifError::Short)?,
            )),
            KifType::Unblock => {
                none(KifMessage::Unblock(Unblock::decode(first.bytes, endian).map_err(KifError::Short)?))
            }
            KifType::MsgSend => {
                let send = MsgSend::decode(first.bytes, endian).map_err(KifError::Short)?;
                let (range, truncated) = data(0, first.bytes.len(), send.nbytes);
                let cred = first.send_cred(front, range.end)?;
                Decoded { endian, message: KifMessage::MsgSend(send, cred), data: range, truncated }
            }
            KifType::MsgRead => {
                none(KifMessage::MsgRead(MsgRead::decode(first.bytes, endian).map_err(KifError::Short)?))
            }
            KifType::MsgReadXfer => {
                let body = transfer()?;
                with_data(0, first.bytes.len(), body.nbytes, KifMessage::MsgReadXfer(body))
            }
            KifType::MsgWrite => {
                let body = transfer()?;
                with_data(0, first.bytes.len(), body.nbytes, KifMessage::MsgWrite(body))
            }
            KifType::MsgReply => {
                let body = transfer()?;
                with_data(0, first.bytes.len(), body.nbytes, KifMessage::MsgReply(body))
            }
            KifType::MsgError => none(KifMessage::MsgError(transfer()?)),
            KifType::MsgReadError => none(KifMessage::MsgReadError(transfer()?)),
            KifType::Event => {
                none(KifMessage::Event(Event::decode(first.bytes, endian).map_err(KifError::Short)?))
            }
            KifType::Pulse => {
                let pulse = Pulse::decode(first.bytes, endian).map_err(KifError::Short)?;
                none(KifMessage::Pulse(pulse, first.send_cred(front, first.bytes.len())?))
            }
            KifType::Signal => {
                let signal = Signal::decode(first.bytes, endian).map_err(KifError::Short)?;
                none(KifMessage::Signal(signal, first.cred()?))
            }
            KifType::Disconnect => none(KifMessage::Disconnect(
                Disconnect::decode(first.bytes, endian).map_err(KifError::Short)?,
            )),
            KifType::ConnectDeath => none(KifMessage::ConnectDeath(
                ConnectDeath::decode(first.bytes, endian).map_err(KifError::Short)?,
            )),
            KifType::ConnectPulse => {
                let second = first.second(front, KifType::Pulse)?;
                let pulse = Pulse::decode(second.bytes, second.endian).map_err(KifError::Short)?;
                let end = first.bytes.len() + second.bytes.len();
                let cred = second.send_cred(front, end)?;
                none(KifMessage::ConnectPulse(first.connect()?, first.cred()?, pulse, cred))
            }
        })
    }
}

/// A structure cut out by its `size`.
#[derive(Clone, Copy)]
struct Structure<'a> {
    kind: KifType,
    endian: Endian,
    has_cred: bool,
    /// Header, fixed part and credentials.
    bytes: &'a [u8],
}

impl<'a> Structure<'a> {
    fn split(bytes: &'a [u8]) -> Result<Structure<'a>, KifError> {
        // The order bits are the same in either order, so that a wrong guess does no harm.
        let little = KifHeader::decode(bytes, Endian::Little).map_err(KifError::Short)?;
        let (header, endian) = match little.msgtype & BIG_ENDIAN {
            0 => (little, Endian::Little),
            BIG_ENDIAN => (KifHeader::decode(bytes, Endian::Big).map_err(KifError::Short)?, Endian::Big),
            _ => return Err(KifError::Type(little.msgtype)),
        };
        let number = header.msgtype & !(BIG_ENDIAN | CRED);
        let kind = u8::try_from(number).ok().and_then(KifType::from_wire);
        let kind = kind.ok_or(KifError::Type(header.msgtype))?;
        if header.size < kind.base_size() {
            return Err(KifError::Size { kind, size: header.size });
        }
        let bytes = slice("KIF structure", bytes, 0, header.size.into()).map_err(KifError::Short)?;
        let has_cred = header.msgtype & CRED != 0 && kind.may_have_cred();
        Ok(Structure { kind, endian, has_cred, bytes })
    }

    /// What follows this structure.
    fn second(&self, front: &'a [u8], expected: KifType) -> Result<Structure<'a>, KifError> {
        let second = Structure::split(front.get(self.bytes.len()..).unwrap_or_default())?;
        match second.kind == expected {
            true => Ok(second),
            false => Err(KifError::Second { kind: self.kind, second: second.kind }),
        }
    }

    fn connect(&self) -> Result<Connect, KifError> {
        Connect::decode(self.bytes, self.endian).map_err(KifError::Short)
    }

    /// Credentials behind the fixed part.
    fn cred(&self) -> Result<Option<Cred>, KifError> {
        if !self.has_cred {
            return Ok(None);
        }
        let cred = self.bytes.get(usize::from(self.kind.base_size())..).unwrap_or_default();
        Cred::decode(cred, self.endian).map(Some)
    }

    /// Credentials of a send or a pulse: behind the fixed part when `size` has room for them, else behind the
    /// message, where one reading of the protocol puts them (section 12.3).
    fn send_cred(&self, front: &[u8], message_end: usize) -> Result<Option<Cred>, KifError> {
        if self.bytes.len() > self.kind.base_size().into() {
            return self.cred();
        }
        match front.get(message_end..) {
            Some(rest) if self.has_cred && !rest.is_empty() => Cred::decode(rest, self.endian).map(Some),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kif::Groups;

    fn cred() -> Cred {
        Cred { pid: 7, groups: Groups::new(&[1, 2]).unwrap(), ..Cred::default() }
    }

    fn emit(message: KifMessage, data: &[u8]) -> Vec<u8> {
        let mut room = [0; KifMessage::MAX_LEN];
        let len = message.emit(&mut room, Endian::Little).unwrap();
        let mut bytes = room[..len].to_vec();
        bytes.extend(data);
        bytes
    }

    fn send(nbytes: u32) -> MsgSend {
        MsgSend { server_id: 1, nbytes, ..MsgSend::default() }
    }

    /// Section 12.3: both places.
    #[test]
    fn credentials_of_a_send() {
        let before = emit(KifMessage::MsgSend(send(3), Some(cred())), b"abc");
        let decoded = KifMessage::decode(&before).unwrap();
        assert_eq!(
            (decoded.message, &before[decoded.data]),
            (KifMessage::MsgSend(send(3), Some(cred())), &b"abc"[..])
        );
        // Credentials moved behind the message, size as if there were none.
        let mut behind = before[..48].to_vec();
        behind.extend(b"abc");
        behind.extend(&before[48..100]);
        behind[2] = 48;
        let decoded = KifMessage::decode(&behind).unwrap();
        assert_eq!(
            (decoded.message, &behind[decoded.data]),
            (KifMessage::MsgSend(send(3), Some(cred())), &b"abc"[..])
        );
        let decoded = KifMessage::decode(&behind[..51]).unwrap();
        assert_eq!(decoded.message, KifMessage::MsgSend(send(3), None));
    }

    #[test]
    fn all_eight_places_for_groups() {
        let mut bytes = emit(KifMessage::Connect(Connect::default(), Some(cred())), &[0xee; 24]);
        bytes[2] = 24 + Cred::MAX_LEN as u8;
        assert_eq!(
            KifMessage::decode(&bytes).unwrap().message,
            KifMessage::Connect(Connect::default(), Some(cred()))
        );
        bytes[24 + 40] = 9;
        assert_eq!(KifMessage::decode(&bytes), Err(KifError::Groups(9)));
        bytes[24 + 40] = 8;
        bytes[2] = 24 + 44 + 28;
        assert!(matches!(KifMessage::decode(&bytes), Err(KifError::Short(_))));
    }

    #[test]
    fn data_are_cut_to_what_is_there() {
        let bytes = emit(KifMessage::MsgReply(Transfer { nbytes: 9, ..Transfer::default() }), b"abc");
        let decoded = KifMessage::decode(&bytes).unwrap();
        assert_eq!((decoded.data, decoded.truncated), (20..23, true));
        let bytes = emit(KifMessage::MsgSend(send(2), None), b"abc");
        let decoded = KifMessage::decode(&bytes).unwrap();
        assert_eq!((decoded.data, decoded.truncated), (48..50, false));
        // The structure alone is at hand; the data are elsewhere.
        let front = emit(KifMessage::MsgSend(send(4096), None), b"");
        let decoded = KifMessage::decode_front(&front, 4144).unwrap();
        assert_eq!((decoded.data, decoded.truncated), (48..4144, false));
    }

    fn with(at: usize, value: u8) -> Result<KifMessage, KifError> {
        let mut bytes = emit(KifMessage::ConnectMsgSend(Connect::default(), None, send(0), None), b"");
        bytes[at] = value;
        KifMessage::decode(&bytes).map(|decoded| decoded.message)
    }

    #[test]
    fn rejections() {
        assert_eq!(with(0, 18), Err(KifError::Type(18)));
        assert_eq!(with(0, 0x81), Err(KifError::Type(0x81)), "one order bit");
        assert_eq!(with(1, 2), Err(KifError::Type(0x201)));
        assert_eq!(with(2, 23), Err(KifError::Size { kind: KifType::ConnectMsgSend, size: 23 }));
        assert!(matches!(with(2, 73), Err(KifError::Short(_))));
        assert_eq!(
            with(24, 12),
            Err(KifError::Size { kind: KifType::Pulse, size: 48 }),
            "a pulse is longer than the send that is there"
        );
        assert_eq!(
            with(24, 0),
            Err(KifError::Second { kind: KifType::ConnectMsgSend, second: KifType::Connect })
        );
        for len in 0..72 {
            let bytes = emit(KifMessage::ConnectMsgSend(Connect::default(), None, send(0), None), b"");
            assert!(matches!(KifMessage::decode(&bytes[..len]), Err(KifError::Short(_))), "{len}");
        }
    }
}
