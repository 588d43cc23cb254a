//! Messages to the network manager, `/dev/netmgr`: `_IO_MSG` with manager 14 (section 11.3).

use crate::endian::Endian;
use crate::io::{IoHeader, IoMsg, MsgType};
use crate::layout::{Short, layout, slice, until_nul};
use crate::nd::Nd;
use crate::out::{NoRoom, Out, len16, len32};
use core::fmt;

/// The network manager among the managers.
pub const MGRID: u16 = 0x000e;

const CTL: u16 = 0;
const REMOTE_ND: u16 = 1;
const STRTOND: u16 = 2;
const NDTOSTR: u16 = 3;
const QOS_FLUSH: u16 = 0x100;

/// How NDTOSTR writes a node: bits of its flags.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NdToStrFlags(pub u32);

impl NdToStrFlags {
    /// Network directory in front, slash behind.
    pub const DIR_SHOW: NdToStrFlags = NdToStrFlags(0x01);
    /// No network directory.
    pub const DIR_HIDE: NdToStrFlags = NdToStrFlags(0x02);
    /// Policy.
    pub const QOS_SHOW: NdToStrFlags = NdToStrFlags(0x04);
    /// No policy.
    pub const QOS_HIDE: NdToStrFlags = NdToStrFlags(0x08);
    /// Host name.
    pub const NAME_SHOW: NdToStrFlags = NdToStrFlags(0x10);
    /// No host name.
    pub const NAME_HIDE: NdToStrFlags = NdToStrFlags(0x20);
    /// Domain.
    pub const DOMAIN_SHOW: NdToStrFlags = NdToStrFlags(0x40);
    /// No domain.
    pub const DOMAIN_HIDE: NdToStrFlags = NdToStrFlags(0x80);
    /// The shortest form that works here.
    pub const LOCAL_STR: NdToStrFlags = NdToStrFlags(0x1000);
    /// A separator in any case.
    pub const SEP_FORCE: NdToStrFlags = NdToStrFlags(0x2000);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: NdToStrFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

layout! {
    struct Ctl: 8, "netmgr CTL" {
        0 nd: Nd,
        4 op: i32,
    }
}

layout! {
    struct RemoteNd: 8, "netmgr REMOTE_ND" {
        0 remote_nd: Nd,
        4 local_nd: Nd,
    }
}

layout! {
    struct StrToNd: 8, "netmgr STRTOND" {
        0 len: u32,
    }
}

layout! {
    struct NdToStr: 12, "netmgr NDTOSTR" {
        0 len: u32,
        4 flags: u32,
        8 nd: Nd,
    }
}

layout! {
    /// Reply to STRTOND.
    pub struct StrToNdReply: 12, "netmgr STRTOND reply" {
        /// Bytes of the name that were used: where the path starts.
        4 len: u32,
        /// The node.
        8 nd: Nd,
    }
}

/// Why a message to the network manager is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetmgrError {
    /// It ends early.
    Short(Short),
    /// For another manager.
    Mgrid(u16),
    /// A subtype that does not exist.
    Subtype(u16),
}

impl fmt::Display for NetmgrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetmgrError::Short(short) => short.fmt(f),
            NetmgrError::Mgrid(value) => write!(f, "manager {value:#06x} is not netmgr ({MGRID:#06x})"),
            NetmgrError::Subtype(value) => write!(f, "netmgr subtype {value:#06x} does not exist"),
        }
    }
}

impl core::error::Error for NetmgrError {}

/// A message to the network manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetmgrRequest<'a> {
    /// Private to QNX's own manager.
    Ctl {
        /// Node.
        nd: Nd,
        /// Operation.
        op: i32,
    },
    /// By which descriptor does `remote_nd` know `local_nd`? The reply's status.
    RemoteNd {
        /// Who is asked.
        remote_nd: Nd,
        /// Whom it is about.
        local_nd: Nd,
    },
    /// Which node is this? Answered with [`StrToNdReply`].
    StrToNd {
        /// See [`crate::names::NodePath::parse_path`].
        name: &'a [u8],
    },
    /// How is this node called? Answered with a string.
    NdToStr {
        /// Room for the string.
        len: u32,
        /// Form of the string.
        flags: NdToStrFlags,
        /// The node.
        nd: Nd,
    },
    /// Ask now after everything that is not acknowledged.
    QosFlush,
}

impl<'a> NetmgrRequest<'a> {
    /// Understands a message and its data.
    pub fn decode(msg: IoMsg, data: &'a [u8], endian: Endian) -> Result<NetmgrRequest<'a>, NetmgrError> {
        if msg.mgrid != MGRID {
            return Err(NetmgrError::Mgrid(msg.mgrid));
        }
        Ok(match msg.subtype {
            CTL => {
                let Ctl { nd, op } = Ctl::decode(data, endian).map_err(NetmgrError::Short)?;
                NetmgrRequest::Ctl { nd, op }
            }
            REMOTE_ND => {
                let body = RemoteNd::decode(data, endian).map_err(NetmgrError::Short)?;
                NetmgrRequest::RemoteNd { remote_nd: body.remote_nd, local_nd: body.local_nd }
            }
            STRTOND => {
                let len = StrToNd::decode(data, endian).map_err(NetmgrError::Short)?.len;
                let end = usize::try_from(len).unwrap_or(usize::MAX).saturating_add(StrToNd::LEN);
                let name = slice("netmgr STRTOND name", data, StrToNd::LEN, end);
                NetmgrRequest::StrToNd { name: until_nul(name.map_err(NetmgrError::Short)?) }
            }
            NDTOSTR => {
                let body = NdToStr::decode(data, endian).map_err(NetmgrError::Short)?;
                NetmgrRequest::NdToStr { len: body.len, flags: NdToStrFlags(body.flags), nd: body.nd }
            }
            QOS_FLUSH => NetmgrRequest::QosFlush,
            other => return Err(NetmgrError::Subtype(other)),
        })
    }

    /// Writes the whole `_IO_MSG` and returns its length. A name is sent with its NUL, which is counted.
    pub fn emit(&self, room: &mut [u8], endian: Endian) -> Result<usize, NoRoom> {
        let (subtype, len) = match self {
            NetmgrRequest::Ctl { .. } => (CTL, Ctl::LEN),
            NetmgrRequest::RemoteNd { .. } => (REMOTE_ND, RemoteNd::LEN),
            NetmgrRequest::StrToNd { name } => (STRTOND, StrToNd::LEN + name.len() + 1),
            NetmgrRequest::NdToStr { .. } => (NDTOSTR, NdToStr::LEN),
            NetmgrRequest::QosFlush => (QOS_FLUSH, 0),
        };
        let mut out = Out::new(room, endian);
        let header = IoHeader { kind: MsgType::IO_MSG.0, combine_len: len16(IoMsg::LEN + len) };
        out.structure(&header, &IoMsg { mgrid: MGRID, subtype });
        match *self {
            NetmgrRequest::Ctl { nd, op } => out.put(&Ctl { nd, op }),
            NetmgrRequest::RemoteNd { remote_nd, local_nd } => out.put(&RemoteNd { remote_nd, local_nd }),
            NetmgrRequest::StrToNd { name } => out.put(&StrToNd { len: len32(name.len() + 1) }).string(name),
            NetmgrRequest::NdToStr { len, flags, nd } => out.put(&NdToStr { len, flags: flags.0, nd }),
            NetmgrRequest::QosFlush => &mut out,
        };
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections() {
        let decode =
            |mgrid, subtype, data| NetmgrRequest::decode(IoMsg { mgrid, subtype }, data, Endian::Little);
        assert_eq!(decode(13, 4, &[]), Err(NetmgrError::Mgrid(13)));
        assert_eq!(decode(MGRID, 4, &[]), Err(NetmgrError::Subtype(4)));
        for (subtype, need) in [(0, 8), (1, 8), (2, 8), (3, 12)] {
            let short = &[0; 12][..need - 1];
            assert!(matches!(decode(MGRID, subtype, short), Err(NetmgrError::Short(_))));
        }
        let name = [3, 0, 0, 0, 0, 0, 0, 0, b'a', b'b'];
        assert!(matches!(decode(MGRID, 2, &name), Err(NetmgrError::Short(_))));
        let huge = [0xff; 16];
        assert!(matches!(decode(MGRID, 2, &huge), Err(NetmgrError::Short(_))));
        assert_eq!(decode(MGRID, 0x100, &[]), Ok(NetmgrRequest::QosFlush));
    }

    #[test]
    fn room() {
        let request = NetmgrRequest::StrToNd { name: b"beta" };
        for have in 0..21 {
            let error = NoRoom { need: 21, have };
            assert_eq!(request.emit(&mut vec![0; have], Endian::Big), Err(error));
        }
        assert_eq!(request.emit(&mut [0; 21], Endian::Big), Ok(21));
    }
}
