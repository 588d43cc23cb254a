//! KIF, the kernel interface: message passing between the kernels of two nodes (section 12).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | [`KifType`] in bits 0 to 6; 0x0100 credentials are present; 0x8080 the sender is big-endian |
//! | 2 | 2 | size: the structure with its credentials, without message data |
//! | 4 | | the structure |
//! | size | | data, in the types that have any |
//!
//! What is sent often has an `encode` that returns an array with the header in it: [`MsgSend`], [`Transfer`],
//! [`MsgRead`]; the data then follow as a slice of their own. [`KifMessage::emit`] writes any message.

mod connect;
mod credentials;
mod decode;
mod event;
mod kif_type;
mod transfer;

pub use connect::{Connect, ConnectDeath, ConnectFail, ConnectSuccess, Disconnect};
pub use credentials::{Cred, Groups};
pub use decode::{Decoded, KifError};
pub use event::{Event, Pulse, Sigevent, Signal, Unblock};
pub use kif_type::KifType;
pub use transfer::{MsgRead, MsgSend, Transfer, VtidInfo};

use crate::endian::Endian;
use crate::layout::{Field, layout};
use crate::out::{NoRoom, Out, len16};

/// Message bytes that a server takes with the first send (`nbytes` of [`ConnectSuccess`]).
pub const FIRST_SEND: u32 = 8192;

layout! {
    /// What every message starts with.
    pub(crate) struct KifHeader: 4, "KIF header" {
        0 msgtype: u16,
        2 size: u16,
    }
}

/// Bit of `msgtype`: credentials are present.
const CRED: u16 = 0x0100;
/// Bits of `msgtype`: the sender is big-endian. The same in either order.
const BIG_ENDIAN: u16 = 0x8080;

impl KifHeader {
    #[inline]
    fn new(kind: KifType, size: usize, cred: bool, endian: Endian) -> KifHeader {
        let order = if endian == Endian::Big { BIG_ENDIAN } else { 0 };
        let cred = if cred { CRED } else { 0 };
        KifHeader { msgtype: u16::from(kind.to_wire()) | order | cred, size: len16(size) }
    }
}

/// A structure whose first four bytes are the KIF header, with that header, as an array.
#[inline]
fn with_header<T: Field, const N: usize>(kind: KifType, body: &T, endian: Endian) -> [u8; N] {
    let mut bytes = [0; N];
    body.put(&mut bytes, 0, endian);
    KifHeader::new(kind, N, false, endian).put(&mut bytes, 0, endian);
    bytes
}

/// A KIF message without its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KifMessage {
    /// Client: attach to a channel, as somebody.
    Connect(Connect, Option<Cred>),
    /// Client: attach and send at once. The send's `server_id` is 0.
    ConnectMsgSend(Connect, Option<Cred>, MsgSend, Option<Cred>),
    /// Server: attached.
    ConnectSuccess(ConnectSuccess),
    /// Server: not attached.
    ConnectFail(ConnectFail),
    /// Client: a thread no longer wants to wait.
    Unblock(Unblock),
    /// Client: a message, or its first bytes. Data follow.
    MsgSend(MsgSend, Option<Cred>),
    /// Server: more of the message, please.
    MsgRead(MsgRead),
    /// Client: here it is. Data follow.
    MsgReadXfer(Transfer),
    /// Server: a part of the reply. Data follow.
    MsgWrite(Transfer),
    /// Server: the end of the transaction. Data follow.
    MsgReply(Transfer),
    /// Server: the transaction failed.
    MsgError(Transfer),
    /// Server: deliver an event to the client.
    Event(Event),
    /// Client: a pulse.
    Pulse(Pulse, Option<Cred>),
    /// Client: a signal to a process or a group.
    Signal(Signal, Option<Cred>),
    /// Client: detached.
    Disconnect(Disconnect),
    /// Server: the channel is gone.
    ConnectDeath(ConnectDeath),
    /// Client: the message could not be read.
    MsgReadError(Transfer),
    /// Client: attach and send a pulse at once.
    ConnectPulse(Connect, Option<Cred>, Pulse, Option<Cred>),
}

impl KifMessage {
    /// Longest structure: both parts of [`KifMessage::ConnectPulse`] with credentials of eight groups.
    pub const MAX_LEN: usize = Connect::LEN + Pulse::LEN + 2 * Cred::MAX_LEN;

    /// What type it has.
    pub const fn kind(&self) -> KifType {
        match self {
            KifMessage::Connect(..) => KifType::Connect,
            KifMessage::ConnectMsgSend(..) => KifType::ConnectMsgSend,
            KifMessage::ConnectSuccess(_) => KifType::ConnectSuccess,
            KifMessage::ConnectFail(_) => KifType::ConnectFail,
            KifMessage::Unblock(_) => KifType::Unblock,
            KifMessage::MsgSend(..) => KifType::MsgSend,
            KifMessage::MsgRead(_) => KifType::MsgRead,
            KifMessage::MsgReadXfer(_) => KifType::MsgReadXfer,
            KifMessage::MsgWrite(_) => KifType::MsgWrite,
            KifMessage::MsgReply(_) => KifType::MsgReply,
            KifMessage::MsgError(_) => KifType::MsgError,
            KifMessage::Event(_) => KifType::Event,
            KifMessage::Pulse(..) => KifType::Pulse,
            KifMessage::Signal(..) => KifType::Signal,
            KifMessage::Disconnect(_) => KifType::Disconnect,
            KifMessage::ConnectDeath(_) => KifType::ConnectDeath,
            KifMessage::MsgReadError(_) => KifType::MsgReadError,
            KifMessage::ConnectPulse(..) => KifType::ConnectPulse,
        }
    }

    /// Writes the structure, behind which the data go, and returns its length.
    pub fn emit(&self, room: &mut [u8], endian: Endian) -> Result<usize, NoRoom> {
        let mut out = Out::new(room, endian);
        match self {
            KifMessage::Connect(body, cred) => structure(&mut out, self.kind(), body, cred, endian),
            KifMessage::ConnectMsgSend(connect, cred, send, send_cred) => {
                structure(&mut out, self.kind(), connect, cred, endian);
                structure(&mut out, KifType::MsgSend, send, send_cred, endian);
            }
            KifMessage::ConnectSuccess(body) => structure(&mut out, self.kind(), body, &None, endian),
            KifMessage::ConnectFail(body) => structure(&mut out, self.kind(), body, &None, endian),
            KifMessage::Unblock(body) => structure(&mut out, self.kind(), body, &None, endian),
            KifMessage::MsgSend(body, cred) => structure(&mut out, self.kind(), body, cred, endian),
            KifMessage::MsgRead(body) => structure(&mut out, self.kind(), body, &None, endian),
            KifMessage::MsgReadXfer(body)
            | KifMessage::MsgWrite(body)
            | KifMessage::MsgReply(body)
            | KifMessage::MsgError(body)
            | KifMessage::MsgReadError(body) => structure(&mut out, self.kind(), body, &None, endian),
            KifMessage::Event(body) => structure(&mut out, self.kind(), body, &None, endian),
            KifMessage::Pulse(body, cred) => structure(&mut out, self.kind(), body, cred, endian),
            KifMessage::Signal(body, cred) => structure(&mut out, self.kind(), body, cred, endian),
            KifMessage::Disconnect(body) => structure(&mut out, self.kind(), body, &None, endian),
            KifMessage::ConnectDeath(body) => structure(&mut out, self.kind(), body, &None, endian),
            KifMessage::ConnectPulse(connect, cred, pulse, pulse_cred) => {
                structure(&mut out, self.kind(), connect, cred, endian);
                structure(&mut out, KifType::Pulse, pulse, pulse_cred, endian);
            }
        }
        out.finish()
    }
}

/// A structure with its header and credentials.
fn structure<T: Field>(out: &mut Out<'_>, kind: KifType, body: &T, cred: &Option<Cred>, endian: Endian) {
    let size = T::LEN + cred.as_ref().map_or(0, Cred::encoded_len);
    let header = KifHeader::new(kind, size, cred.is_some(), endian);
    out.structure(&header, body);
    if let Some(cred) = cred {
        cred.put(out);
    }
}
