//! Types of the messages that KIF carries (section 13.1).

use core::fmt;

/// First field of a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MsgType(pub u16);

macro_rules! types {
    ($($number:literal $name:ident $fixed:literal,)*) => {
        impl MsgType {
            $(#[doc = concat!("`_", stringify!($name), "`, ", stringify!($fixed), " bytes without data.")]
            pub const $name: MsgType = MsgType($number);)*

            /// Every type that has a layout.
            pub const ALL: &[MsgType] = &[$(MsgType::$name),*];

            /// QNX's name without the underscore before it.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// Length of the part that is always there.
            pub const fn fixed_len(self) -> Option<usize> {
                match self.0 {
                    $($number => Some($fixed),)*
                    _ => None,
                }
            }
        }
    };
}

types! {
    0x000 SYS_CONF 24,
    0x010 PROC_SPAWN 4,
    0x011 PROC_WAIT 12,
    0x013 PROC_GETSETID 20,
    0x100 IO_CONNECT 40,
    0x101 IO_READ 16,
    0x102 IO_WRITE 16,
    0x104 IO_STAT 8,
    0x105 IO_NOTIFY 64,
    0x106 IO_DEVCTL 16,
    0x108 IO_PATHCONF 8,
    0x109 IO_LSEEK 16,
    0x10a IO_CHMOD 8,
    0x10b IO_CHOWN 12,
    0x10c IO_UTIME 16,
    0x10d IO_OPENFD 68,
    0x10e IO_FDINFO 16,
    0x10f IO_LOCK 12,
    0x110 IO_SPACE 24,
    0x111 IO_SHUTDOWN 4,
    0x112 IO_MMAP 88,
    0x113 IO_MSG 8,
    0x115 IO_DUP 60,
    0x116 IO_CLOSE 4,
    0x119 IO_SYNC 8,
    0x11a IO_POWER 16,
}

impl fmt::Display for MsgType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "_{name} ({:#x})", self.0),
            None => write!(f, "{:#x}", self.0),
        }
    }
}
