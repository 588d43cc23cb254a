//! Messages and their bytes: MSGSEND and what moves data of a transaction (section 12.2).

use super::{KifType, with_header};
use crate::endian::Endian;
use crate::layout::layout;
use crate::nd::Nd;

layout! {
    /// About the client's thread and its message (`_vtid_info`).
    pub struct VtidInfo: 32, "vtid info" {
        /// Client thread, from 1.
        0 tid: i32,
        /// The client's descriptor or connection id; bit 30 marks a side channel.
        4 coid: i32,
        /// Priority of the client thread.
        8 priority: i32,
        /// Bytes that the client offers in all.
        12 srcmsglen: i32,
        /// Message key; without one, the length of the message.
        16 keydata: u32,
        /// The server's node as the client knows it.
        20 srcnd: Nd,
        /// Size of the client's reply buffer.
        24 dstmsglen: i32,
        /// Zero.
        28 zero: i32,
    }
}

layout! {
    /// MSGSEND: a message, or its first bytes.
    pub body struct MsgSend: 48, "KIF MSGSEND" {
        /// The server's handle for the connection.
        4 server_id: u32,
        /// The client's handle for the transaction.
        8 client_handle: u32,
        /// About thread and message.
        12 vinfo: VtidInfo,
        /// Message bytes that follow.
        44 nbytes: u32,
    }
}

layout! {
    /// MSGREAD: the server wants more of the message.
    pub body struct MsgRead: 20, "KIF MSGREAD" {
        /// The client's handle for the transaction.
        4 msgread_handle: u32,
        /// The server's handle for this read.
        8 client_handle: u32,
        /// First byte wanted.
        12 offset: u32,
        /// Bytes wanted.
        16 nbytes: u32,
    }
}

layout! {
    /// What MSGREAD_XFER, MSGWRITE, MSGREPLY, MSGERROR and MSGREAD_ERROR have in common.
    pub body struct Transfer: 20, "KIF transfer" {
        /// Return value of a reply, error number of an error, else unused.
        4 status: u32,
        /// The client's handle for the transaction; in MSGREAD_XFER and MSGREAD_ERROR the server's for the read.
        8 handle: u32,
        /// Where the data belong: in the message (XFER) or in the reply.
        12 offset: u32,
        /// Data bytes that follow.
        16 nbytes: u32,
    }
}

impl MsgSend {
    /// What goes before the message bytes.
    #[inline]
    pub fn encode(&self, endian: Endian) -> [u8; MsgSend::LEN] {
        with_header(KifType::MsgSend, self, endian)
    }
}

impl MsgRead {
    /// The whole message.
    #[inline]
    pub fn encode(&self, endian: Endian) -> [u8; MsgRead::LEN] {
        with_header(KifType::MsgRead, self, endian)
    }
}

/// Each returns what goes before the data.
impl Transfer {
    /// MSGREAD_XFER.
    #[inline]
    pub fn read_xfer(&self, endian: Endian) -> [u8; Transfer::LEN] {
        with_header(KifType::MsgReadXfer, self, endian)
    }

    /// MSGWRITE.
    #[inline]
    pub fn write(&self, endian: Endian) -> [u8; Transfer::LEN] {
        with_header(KifType::MsgWrite, self, endian)
    }

    /// MSGREPLY.
    #[inline]
    pub fn reply(&self, endian: Endian) -> [u8; Transfer::LEN] {
        with_header(KifType::MsgReply, self, endian)
    }

    /// MSGERROR, which has no data.
    pub fn error(&self, endian: Endian) -> [u8; Transfer::LEN] {
        with_header(KifType::MsgError, self, endian)
    }

    /// MSGREAD_ERROR, which has no data.
    pub fn read_error(&self, endian: Endian) -> [u8; Transfer::LEN] {
        with_header(KifType::MsgReadError, self, endian)
    }
}
