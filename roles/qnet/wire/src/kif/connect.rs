//! Attaching and detaching (section 12.2).

use super::{KifType, with_header};
use crate::endian::Endian;
use crate::layout::layout;

layout! {
    /// CONNECT: a client attaches to a channel.
    pub body struct Connect: 24, "KIF CONNECT" {
        /// Protocol version of the sender. Ours is [`Connect::VERSION`]; a peer's is mirrored once seen.
        4 version: u32,
        /// Process that owns the channel.
        8 server_pid: i32,
        /// The channel; bit 30 marks a global one.
        12 server_chid: u32,
        /// The client's handle for the connection.
        16 client_id: u32,
        /// Process of the client.
        20 client_pid: i32,
    }
}

layout! {
    /// CONNECT_SUCCESS.
    pub body struct ConnectSuccess: 24, "KIF CONNECT_SUCCESS" {
        /// Protocol version of the sender.
        4 version: u32,
        /// The server's handle, which every message on the connection names; bit 30 is set.
        8 server_id: u32,
        /// The client's handle.
        12 client_id: u32,
        /// Server connection id.
        16 scoid: u32,
        /// Most message bytes that a MSGSEND may carry.
        20 nbytes: u32,
    }
}

layout! {
    /// CONNECT_FAIL.
    pub body struct ConnectFail: 16, "KIF CONNECT_FAIL" {
        /// Protocol version of the sender.
        4 version: u32,
        /// The client's handle.
        8 client_id: u32,
        /// Error number.
        12 status: i32,
    }
}

layout! {
    /// DISCONNECT: the client is gone.
    pub body struct Disconnect: 8, "KIF DISCONNECT" {
        /// The server's handle.
        4 server_id: u32,
    }
}

layout! {
    /// CONNECT_DEATH: the channel is gone.
    pub body struct ConnectDeath: 8, "KIF CONNECT_DEATH" {
        /// The client's handle.
        4 client_id: u32,
    }
}

impl Connect {
    /// The version that we send first.
    pub const VERSION: u32 = 1;
}

impl ConnectSuccess {
    /// With the two handles exchanged: section 12.4 does not know which order a real peer uses.
    pub fn swapped(self) -> ConnectSuccess {
        ConnectSuccess { server_id: self.client_id, client_id: self.server_id, ..self }
    }

    /// The whole message.
    pub fn encode(&self, endian: Endian) -> [u8; ConnectSuccess::LEN] {
        with_header(KifType::ConnectSuccess, self, endian)
    }
}
