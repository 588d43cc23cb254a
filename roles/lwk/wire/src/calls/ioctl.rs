//! ioctl(2): requests that are understood, and what they point to (section 4.6).
//!
//! Numbers: `asm-generic/ioctls.h`, `linux/sockios.h`, `linux/fs.h`, `linux/random.h`.

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoctlClass {
    /// To the host.
    Delegated,
    /// To the host, and the node remembers the flag too (FIONBIO).
    Side,
    /// Nowhere: the node's own table of descriptors (FIOCLEX, FIONCLEX).
    Local,
    /// Nowhere: EOPNOTSUPP, so that callers copy (FICLONE).
    Refused,
}

/// What the third argument is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoctlArg {
    /// A number, or nothing.
    Scalar,
    /// Points to so many bytes that are read.
    In(u32),
    /// Points to so many bytes that are written.
    Out(u32),
    /// Both.
    InOut(u32),
    /// `struct ifconf` of 16 bytes, which points to a buffer.
    Ifconf,
    /// `struct ifreq` of 40 bytes, which points to a structure whose size its first word, the command, tells.
    Ethtool,
}

/// A request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ioctl {
    /// Its number.
    pub request: u32,
    /// Its name.
    pub name: &'static str,
    /// Where it goes.
    pub class: IoctlClass,
    /// Its argument.
    pub arg: IoctlArg,
}

const fn to_host(request: u32, name: &'static str, arg: IoctlArg) -> Ioctl {
    Ioctl { request, name, class: IoctlClass::Delegated, arg }
}

const fn here(request: u32, name: &'static str, class: IoctlClass) -> Ioctl {
    Ioctl { request, name, class, arg: IoctlArg::Scalar }
}

use IoctlArg::{Ethtool, Ifconf, In, InOut, Out, Scalar};

/// By number.
static TABLE: &[Ioctl] = &[
    to_host(0x1268, "BLKSSZGET", Out(4)),
    to_host(0x5401, "TCGETS", Out(36)),
    to_host(0x5402, "TCSETS", In(36)),
    to_host(0x5403, "TCSETSW", In(36)),
    to_host(0x5404, "TCSETSF", In(36)),
    to_host(0x5409, "TCSBRK", Scalar),
    to_host(0x540a, "TCXONC", Scalar),
    to_host(0x540b, "TCFLSH", Scalar),
    to_host(0x540e, "TIOCSCTTY", Scalar),
    to_host(0x540f, "TIOCGPGRP", Out(4)),
    to_host(0x5410, "TIOCSPGRP", In(4)),
    to_host(0x5411, "TIOCOUTQ", Out(4)),
    to_host(0x5413, "TIOCGWINSZ", Out(8)),
    to_host(0x5414, "TIOCSWINSZ", In(8)),
    to_host(0x541b, "FIONREAD", Out(4)),
    Ioctl { request: 0x5421, name: "FIONBIO", class: IoctlClass::Side, arg: In(4) },
    to_host(0x5429, "TIOCGSID", Out(4)),
    here(0x5450, "FIONCLEX", IoctlClass::Local),
    here(0x5451, "FIOCLEX", IoctlClass::Local),
    to_host(0x8905, "SIOCATMARK", Out(4)),
    to_host(0x8910, "SIOCGIFNAME", InOut(40)),
    to_host(0x8912, "SIOCGIFCONF", Ifconf),
    to_host(0x8913, "SIOCGIFFLAGS", InOut(40)),
    to_host(0x8915, "SIOCGIFADDR", InOut(40)),
    to_host(0x8917, "SIOCGIFDSTADDR", InOut(40)),
    to_host(0x8919, "SIOCGIFBRDADDR", InOut(40)),
    to_host(0x891b, "SIOCGIFNETMASK", InOut(40)),
    to_host(0x891d, "SIOCGIFMETRIC", InOut(40)),
    to_host(0x8921, "SIOCGIFMTU", InOut(40)),
    to_host(0x8927, "SIOCGIFHWADDR", InOut(40)),
    to_host(0x8933, "SIOCGIFINDEX", InOut(40)),
    to_host(0x8942, "SIOCGIFTXQLEN", InOut(40)),
    to_host(0x8946, "SIOCETHTOOL", Ethtool),
    here(0x4004_9409, "FICLONE", IoctlClass::Refused),
    // An int, whatever its number says.
    to_host(0x4008_6602, "FS_IOC_SETFLAGS", In(4)),
    here(0x4020_940d, "FICLONERANGE", IoctlClass::Refused),
    to_host(0x402c_542b, "TCSETS2", In(44)),
    to_host(0x402c_542c, "TCSETSW2", In(44)),
    to_host(0x402c_542d, "TCSETSF2", In(44)),
    to_host(0x8004_5200, "RNDGETENTCNT", Out(4)),
    to_host(0x8008_1272, "BLKGETSIZE64", Out(8)),
    to_host(0x8008_6601, "FS_IOC_GETFLAGS", Out(8)),
    to_host(0x802c_542a, "TCGETS2", Out(44)),
];

/// The request with this number; `None` is ENOTTY, but see [`flat`].
pub fn find(request: u32) -> Option<&'static Ioctl> {
    TABLE.binary_search_by_key(&request, |entry| entry.request).ok().and_then(|at| TABLE.get(at))
}

/// All that are known.
pub fn all() -> &'static [Ioctl] {
    TABLE
}

/// What an unknown request points to, going by the direction and size in its number (`asm-generic/ioctl.h`); for
/// `--ioctl=flat`.
pub fn flat(request: u32) -> Option<IoctlArg> {
    let size = request >> 16 & 0x3fff;
    match (request >> 30, size) {
        (_, 0) => None,
        (1, size) => Some(In(size)),
        (2, size) => Some(Out(size)),
        (3, size) => Some(InOut(size)),
        _ => None,
    }
}

/// Bytes of the structure that an ethtool command reads and fills (`linux/ethtool.h`), for those that find out about a link.
pub fn ethtool_size(command: u32) -> Option<u32> {
    match command {
        // ETHTOOL_GSET: ethtool_cmd
        0x1 => Some(44),
        // ETHTOOL_GDRVINFO
        0x3 => Some(196),
        // ETHTOOL_GLINK: ethtool_value
        0xa => Some(8),
        // ETHTOOL_GLINKSETTINGS: header and three masks of up to 127 words
        0x4c => Some(48 + 3 * 4 * 127),
        _ => None,
    }
}
