//! Errors on their way to the program.

use keelson_lwk_wire::Errno;

/// Why a call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fail(pub Errno);

impl From<Errno> for Fail {
    fn from(error: Errno) -> Fail {
        Fail(error)
    }
}

impl From<rustix::io::Errno> for Fail {
    fn from(error: rustix::io::Errno) -> Fail {
        Fail(Errno::from_raw(error.raw_os_error()).unwrap_or(Errno::EIO))
    }
}

impl From<nix::errno::Errno> for Fail {
    fn from(error: nix::errno::Errno) -> Fail {
        Fail(Errno::from_raw(error as i32).unwrap_or(Errno::EIO))
    }
}

impl From<std::io::Error> for Fail {
    fn from(error: std::io::Error) -> Fail {
        Fail(error.raw_os_error().and_then(Errno::from_raw).unwrap_or(Errno::EIO))
    }
}
