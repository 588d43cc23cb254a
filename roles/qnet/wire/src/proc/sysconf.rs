//! `_SYS_CONF`: configuration strings (section 14.3).

use super::ProcHeader;
use crate::endian::Endian;
use crate::io::MsgType;
use crate::layout::{Field, layout};

layout! {
    /// `_SYS_CONF`.
    pub body struct SysConf: 24, "_SYS_CONF" {
        /// [`SysConf::STRING`].
        4 cmd: u32,
        /// Which one, such as [`SysConf::RELEASE`].
        8 name: i32,
        /// Room for the string.
        16 value: i64,
    }
}

layout! {
    /// Reply to `_SYS_CONF`. The string follows, with its NUL.
    pub struct SysConfReply: 24, "_SYS_CONF reply" {
        /// 1: there is such a value.
        12 matched: i32,
        /// A number, or the length of the string.
        16 value: i64,
    }
}

impl SysConf {
    /// A string is wanted.
    pub const STRING: u32 = 0x0010_0000;
    /// Name of the host (`_CS_HOSTNAME`).
    pub const HOSTNAME: i32 = 2;
    /// Release of the system (`_CS_RELEASE`).
    pub const RELEASE: i32 = 3;
    /// Domain of the host (`_CS_DOMAIN`).
    pub const DOMAIN: i32 = 201;

    /// The whole message.
    pub fn encode(&self, endian: Endian) -> [u8; SysConf::LEN] {
        let mut bytes = [0; Self::LEN];
        self.put(&mut bytes, 0, endian);
        ProcHeader { kind: MsgType::SYS_CONF.0, subtype: 0 }.put(&mut bytes, 0, endian);
        bytes
    }
}
