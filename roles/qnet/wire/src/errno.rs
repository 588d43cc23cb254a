//! Error numbers as QNX has them (section 18). They differ from Linux's above 34.

use core::fmt;

/// An error number. 0 is `EOK`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($number:literal $name:ident $message:literal,)*) => {
        impl Errno {
            /// 0: no error.
            pub const EOK: Errno = Errno(0);
            $(#[doc = concat!(stringify!($number), ": ", $message, ".")]
            pub const $name: Errno = Errno($number);)*

            /// Every number with a name, ascending.
            pub const ALL: &[Errno] = &[Errno::EOK, $(Errno::$name),*];

            /// The name that QNX's headers give the number.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    0 => Some("EOK"),
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// What it means.
            pub const fn message(self) -> Option<&'static str> {
                match self.0 {
                    0 => Some("no error"),
                    $($number => Some($message),)*
                    _ => None,
                }
            }
        }
    };
}

impl Errno {
    /// Whether a network condition may pass: `on` then keeps trying (section 18).
    pub const fn is_network(self) -> bool {
        matches!(self.0, 250..=265)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.message()) {
            (Some(name), Some(message)) => write!(f, "{name} ({}): {message}", self.0),
            _ => write!(f, "unknown error {}", self.0),
        }
    }
}

impl core::error::Error for Errno {}

// Numbers: openqnx trunk/lib/c/public/errno.h.
errnos! {
    1 EPERM "Operation not permitted",
    2 ENOENT "No such file or directory",
    3 ESRCH "No such process",
    4 EINTR "Interrupted function call",
    5 EIO "I/O error",
    6 ENXIO "No such device or address",
    7 E2BIG "Arg list too long",
    8 ENOEXEC "Exec format error",
    9 EBADF "Bad file descriptor",
    10 ECHILD "No child processes",
    11 EAGAIN "Resource temporarily unavailable",
    12 ENOMEM "Not enough memory",
    13 EACCES "Permission denied",
    14 EFAULT "Bad address",
    15 ENOTBLK "Block device required",
    16 EBUSY "Resource busy",
    17 EEXIST "File exists",
    18 EXDEV "Cross-device link",
    19 ENODEV "No such device",
    20 ENOTDIR "Not a directory",
    21 EISDIR "Is a directory",
    22 EINVAL "Invalid argument",
    23 ENFILE "Too many open files in the system",
    24 EMFILE "Too many open files",
    25 ENOTTY "Inappropriate I/O control operation",
    26 ETXTBSY "Program is running",
    27 EFBIG "File too large",
    28 ENOSPC "No space left on device",
    29 ESPIPE "Illegal seek",
    30 EROFS "Read-only file system",
    31 EMLINK "Too many links",
    32 EPIPE "Broken pipe",
    33 EDOM "Argument outside the domain of the function",
    34 ERANGE "Result too large",
    35 ENOMSG "No message of that type",
    36 EIDRM "Identifier removed",
    37 ECHRNG "Channel number out of range",
    38 EL2NSYNC "Level 2 not synchronized",
    39 EL3HLT "Level 3 halted",
    40 EL3RST "Level 3 reset",
    41 ELNRNG "Link number out of range",
    42 EUNATCH "Protocol driver not attached",
    43 ENOCSI "No CSI structure available",
    44 EL2HLT "Level 2 halted",
    45 EDEADLK "Would deadlock",
    46 ENOLCK "No locks available",
    47 ECANCELED "Cancelled",
    48 ENOTSUP "Not supported",
    49 EDQUOT "Quota exceeded",
    50 EBADE "Invalid exchange",
    51 EBADR "Invalid request descriptor",
    52 EXFULL "Exchange full",
    53 ENOANO "No anode",
    54 EBADRQC "Invalid request code",
    55 EBADSLT "Invalid slot",
    56 EDEADLOCK "File locking deadlock",
    57 EBFONT "Bad font file",
    58 EOWNERDEAD "Owner of the lock died",
    60 ENOSTR "Not a stream",
    61 ENODATA "No data available",
    62 ETIME "Timer expired",
    63 ENOSR "Out of stream resources",
    64 ENONET "Machine is not on the network",
    65 ENOPKG "Package not installed",
    66 EREMOTE "Object is remote",
    67 ENOLINK "Link severed",
    68 EADV "Advertise error",
    69 ESRMNT "Remote mount error",
    70 ECOMM "Communication error on send",
    71 EPROTO "Protocol error",
    74 EMULTIHOP "Multihop attempted",
    77 EBADMSG "Bad message",
    78 ENAMETOOLONG "Name too long",
    79 EOVERFLOW "Value too large for its type",
    80 ENOTUNIQ "Name not unique",
    81 EBADFD "Descriptor invalid for this operation",
    82 EREMCHG "Remote address changed",
    83 ELIBACC "Cannot access shared library",
    84 ELIBBAD "Corrupted shared library",
    85 ELIBSCN "Corrupted library section",
    86 ELIBMAX "Too many shared libraries",
    87 ELIBEXEC "Cannot execute a shared library",
    88 EILSEQ "Illegal byte sequence",
    89 ENOSYS "Function not implemented",
    90 ELOOP "Too many levels of links or prefixes",
    91 ERESTART "System call can be restarted",
    92 ESTRPIPE "Do not sleep at the stream head",
    93 ENOTEMPTY "Directory not empty",
    94 EUSERS "Too many users",
    103 EOPNOTSUPP "Operation not supported",
    110 EFPOS "File position error",
    122 ESTALE "Stale file handle",
    236 EINPROGRESS "Operation in progress",
    237 EALREADY "Operation already in progress",
    238 ENOTSOCK "Not a socket",
    239 EDESTADDRREQ "Destination address required",
    240 EMSGSIZE "Wrong message length",
    241 EPROTOTYPE "Wrong protocol for the socket",
    242 ENOPROTOOPT "Protocol option not available",
    243 EPROTONOSUPPORT "Protocol not supported",
    244 ESOCKTNOSUPPORT "Socket type not supported",
    246 EPFNOSUPPORT "Protocol family not supported",
    247 EAFNOSUPPORT "Address family not supported",
    248 EADDRINUSE "Address in use",
    249 EADDRNOTAVAIL "Address not available",
    250 ENETDOWN "Network is down",
    251 ENETUNREACH "Network is unreachable",
    252 ENETRESET "Connection reset by the network",
    253 ECONNABORTED "Connection aborted",
    254 ECONNRESET "Connection reset by peer",
    255 ENOBUFS "No buffer space available",
    256 EISCONN "Already connected",
    257 ENOTCONN "Not connected",
    258 ESHUTDOWN "Cannot send after shutdown",
    259 ETOOMANYREFS "Too many references",
    260 ETIMEDOUT "Connection timed out",
    261 ECONNREFUSED "Connection refused",
    264 EHOSTDOWN "Host is down",
    265 EHOSTUNREACH "No route to host",
    272 EBADRPC "Bad RPC structure",
    273 ERPCMISMATCH "Wrong RPC version",
    274 EPROGUNAVAIL "RPC program not available",
    275 EPROGMISMATCH "Wrong program version",
    276 EPROCUNAVAIL "No such RPC procedure",
    300 ENOREMOTE "Must be done on the local machine",
    301 ENONDP "Needs a numeric coprocessor",
    302 EBADFSYS "Corrupted file system",
    309 EMORE "More to do, send again",
    310 ECTRLTERM "Refers to the controlling terminal",
    311 ENOLIC "No licence",
    312 ESRVRFAULT "Server fault while passing the message",
    313 EENDIAN "Byte order not supported",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_distinct_and_named() {
        assert!(Errno::ALL.is_sorted_by(|one, next| one.0 < next.0));
        assert!(Errno::ALL.iter().all(|errno| errno.name().is_some() && errno.message().is_some()));
        assert_eq!(Errno::EENDIAN.to_string(), "EENDIAN (313): Byte order not supported");
        assert_eq!(Errno(1000).to_string(), "unknown error 1000");
        // Every number that the specification mentions.
        for (number, name) in [
            (2, "ENOENT"),
            (3, "ESRCH"),
            (4, "EINTR"),
            (6, "ENXIO"),
            (8, "ENOEXEC"),
            (9, "EBADF"),
            (11, "EAGAIN"),
            (16, "EBUSY"),
            (22, "EINVAL"),
            (25, "ENOTTY"),
            (30, "EROFS"),
            (44, "EL2HLT"),
            (48, "ENOTSUP"),
            (89, "ENOSYS"),
            (90, "ELOOP"),
            (250, "ENETDOWN"),
            (260, "ETIMEDOUT"),
            (264, "EHOSTDOWN"),
            (265, "EHOSTUNREACH"),
            (300, "ENOREMOTE"),
            (302, "EBADFSYS"),
            (313, "EENDIAN"),
        ] {
            assert_eq!(Errno(number).name(), Some(name));
        }
        assert!(Errno::EHOSTDOWN.is_network() && !Errno::ENOREMOTE.is_network());
    }
}
