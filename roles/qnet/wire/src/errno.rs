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
    1 EPERM "operation not permitted",
    2 ENOENT "no such file or directory",
    3 ESRCH "no such process",
    4 EINTR "interrupted",
    5 EIO "input/output error",
    6 ENXIO "no such device or address",
    7 E2BIG "arguments too long",
    8 ENOEXEC "not an executable format",
    9 EBADF "bad file descriptor",
    10 ECHILD "no child processes",
    11 EAGAIN "resource unavailable, try again",
    12 ENOMEM "not enough memory",
    13 EACCES "permission denied",
    14 EFAULT "bad address",
    15 ENOTBLK "block device required",
    16 EBUSY "in use",
    17 EEXIST "exists already",
    18 EXDEV "on different devices",
    19 ENODEV "no such device",
    20 ENOTDIR "not a directory",
    21 EISDIR "is a directory",
    22 EINVAL "invalid argument",
    23 ENFILE "too many open files in the system",
    24 EMFILE "too many open files",
    25 ENOTTY "not a terminal, or unknown control operation",
    26 ETXTBSY "program is running",
    27 EFBIG "file too large",
    28 ENOSPC "no space left on device",
    29 ESPIPE "cannot seek",
    30 EROFS "read-only file system",
    31 EMLINK "too many links",
    32 EPIPE "broken pipe",
    33 EDOM "argument outside the domain of the function",
    34 ERANGE "result too large",
    35 ENOMSG "no message of that type",
    36 EIDRM "identifier removed",
    37 ECHRNG "channel number out of range",
    38 EL2NSYNC "level 2 not synchronized",
    39 EL3HLT "level 3 halted",
    40 EL3RST "level 3 reset",
    41 ELNRNG "link number out of range",
    42 EUNATCH "protocol driver not attached",
    43 ENOCSI "no CSI structure available",
    44 EL2HLT "level 2 halted",
    45 EDEADLK "would deadlock",
    46 ENOLCK "no locks available",
    47 ECANCELED "cancelled",
    48 ENOTSUP "not supported",
    49 EDQUOT "quota exceeded",
    50 EBADE "invalid exchange",
    51 EBADR "invalid request descriptor",
    52 EXFULL "exchange full",
    53 ENOANO "no anode",
    54 EBADRQC "invalid request code",
    55 EBADSLT "invalid slot",
    56 EDEADLOCK "file locking deadlock",
    57 EBFONT "bad font file",
    58 EOWNERDEAD "owner of the lock died",
    60 ENOSTR "not a stream",
    61 ENODATA "no data available",
    62 ETIME "timer expired",
    63 ENOSR "out of stream resources",
    64 ENONET "machine is not on the network",
    65 ENOPKG "package not installed",
    66 EREMOTE "object is remote",
    67 ENOLINK "link severed",
    68 EADV "advertise error",
    69 ESRMNT "remote mount error",
    70 ECOMM "communication error on send",
    71 EPROTO "protocol error",
    74 EMULTIHOP "multihop attempted",
    77 EBADMSG "bad message",
    78 ENAMETOOLONG "name too long",
    79 EOVERFLOW "value too large for its type",
    80 ENOTUNIQ "name not unique",
    81 EBADFD "descriptor invalid for this operation",
    82 EREMCHG "remote address changed",
    83 ELIBACC "cannot access shared library",
    84 ELIBBAD "corrupted shared library",
    85 ELIBSCN "corrupted library section",
    86 ELIBMAX "too many shared libraries",
    87 ELIBEXEC "cannot execute a shared library",
    88 EILSEQ "illegal byte sequence",
    89 ENOSYS "not implemented",
    90 ELOOP "too many levels of links or prefixes",
    91 ERESTART "system call can be restarted",
    92 ESTRPIPE "do not sleep at the stream head",
    93 ENOTEMPTY "directory not empty",
    94 EUSERS "too many users",
    103 EOPNOTSUPP "operation not supported",
    110 EFPOS "file position error",
    122 ESTALE "stale file handle",
    236 EINPROGRESS "operation in progress",
    237 EALREADY "operation already in progress",
    238 ENOTSOCK "not a socket",
    239 EDESTADDRREQ "destination address required",
    240 EMSGSIZE "wrong message length",
    241 EPROTOTYPE "wrong protocol for the socket",
    242 ENOPROTOOPT "protocol option not available",
    243 EPROTONOSUPPORT "protocol not supported",
    244 ESOCKTNOSUPPORT "socket type not supported",
    246 EPFNOSUPPORT "protocol family not supported",
    247 EAFNOSUPPORT "address family not supported",
    248 EADDRINUSE "address in use",
    249 EADDRNOTAVAIL "address not available",
    250 ENETDOWN "network is down",
    251 ENETUNREACH "network is unreachable",
    252 ENETRESET "connection reset by the network",
    253 ECONNABORTED "connection aborted",
    254 ECONNRESET "connection reset by peer",
    255 ENOBUFS "no buffer space available",
    256 EISCONN "already connected",
    257 ENOTCONN "not connected",
    258 ESHUTDOWN "cannot send after shutdown",
    259 ETOOMANYREFS "too many references",
    260 ETIMEDOUT "timed out",
    261 ECONNREFUSED "connection refused",
    264 EHOSTDOWN "host is down",
    265 EHOSTUNREACH "no route to host",
    272 EBADRPC "bad RPC structure",
    273 ERPCMISMATCH "wrong RPC version",
    274 EPROGUNAVAIL "RPC program not available",
    275 EPROGMISMATCH "wrong program version",
    276 EPROCUNAVAIL "no such RPC procedure",
    300 ENOREMOTE "must be done on the local machine",
    301 ENONDP "needs a numeric coprocessor",
    302 EBADFSYS "corrupted file system",
    309 EMORE "more to do, send again",
    310 ECTRLTERM "refers to the controlling terminal",
    311 ENOLIC "no licence",
    312 ESRVRFAULT "server fault while passing the message",
    313 EENDIAN "byte order not supported",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_distinct_and_named() {
        assert!(Errno::ALL.is_sorted_by(|one, next| one.0 < next.0));
        assert!(Errno::ALL.iter().all(|errno| errno.name().is_some() && errno.message().is_some()));
        assert_eq!(Errno::EENDIAN.to_string(), "EENDIAN (313): byte order not supported");
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
