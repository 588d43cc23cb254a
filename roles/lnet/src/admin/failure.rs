//! Why a command failed: a Linux error number, for scripts, and words, for people.

use super::yaml::Yaml;
use crate::lnd::SendError;
use crate::lnet::{AddFaultError, AddNiError, AddRouteError, PeerError, RequestError, StopError};
use alloc::string::{String, ToString};
use core::fmt;

/// Error numbers of Linux that commands here fail with.
pub mod errno {
    /// Not permitted.
    pub const EPERM: i32 = -1;
    /// No such object.
    pub const ENOENT: i32 = -2;
    /// Input/output error.
    pub const EIO: i32 = -5;
    /// No memory, no room in a table.
    pub const ENOMEM: i32 = -12;
    /// Busy.
    pub const EBUSY: i32 = -16;
    /// It exists.
    pub const EEXIST: i32 = -17;
    /// No such device.
    pub const ENODEV: i32 = -19;
    /// Invalid argument.
    pub const EINVAL: i32 = -22;
    /// Out of range.
    pub const ERANGE: i32 = -34;
    /// Protocol error.
    pub const EPROTO: i32 = -71;
    /// Not unique on its network.
    pub const ENOTUNIQ: i32 = -76;
    /// Not supported.
    pub const EOPNOTSUPP: i32 = -95;
    /// The address is not there.
    pub const EADDRNOTAVAIL: i32 = -99;
    /// The network is down: LNet is not configured.
    pub const ENETDOWN: i32 = -100;
    /// Connection reset.
    pub const ECONNRESET: i32 = -104;
    /// Timed out.
    pub const ETIMEDOUT: i32 = -110;
    /// No route to host.
    pub const EHOSTUNREACH: i32 = -113;
}

use errno::*;

/// Why a command failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// A negative error number of Linux, see [`errno`].
    pub errno: i32,
    /// What is wrong and what helps.
    pub text: String,
}

impl Failure {
    /// A failure.
    pub fn new(errno: i32, text: impl Into<String>) -> Failure {
        Failure { errno, text: text.into() }
    }

    /// LNet is not configured.
    pub fn down() -> Failure {
        Failure::new(ENETDOWN, "LNet is not up: lnetctl lnet configure starts it")
    }

    /// As `lnetctl` shows it: `operation:`, an item `what:`, the number and a description, which begins with
    /// `context`.
    pub fn yaml(&self, operation: &str, what: &str, context: &str) -> Yaml {
        // Linux has quotes around all descriptions but those of ping and discover.
        let description = alloc::format!("{context}: {}", self.text);
        let description = match what {
            "ping" | "discover" => Yaml::plain(description),
            _ => Yaml::quoted(description),
        };
        let failure = Yaml::map().with("errno", self.errno).with("descr", description);
        Yaml::map().with(operation, Yaml::seq([Yaml::map().with(what, failure)]))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<AddNiError> for Failure {
    fn from(error: AddNiError) -> Failure {
        let errno = match error {
            AddNiError::Exists(_) => EEXIST,
            AddNiError::Routed(_) => EBUSY,
            AddNiError::Down => ENETDOWN,
            _ => EINVAL,
        };
        Failure::new(errno, error.to_string())
    }
}

impl From<AddRouteError> for Failure {
    fn from(error: AddRouteError) -> Failure {
        let errno = match error {
            AddRouteError::GatewayNotLocal(_) | AddRouteError::GatewayFamily(_) => EHOSTUNREACH,
            AddRouteError::TargetIsLocal(_) | AddRouteError::Duplicate(..) => EEXIST,
            AddRouteError::TooManyPeers => ENOMEM,
            _ => EINVAL,
        };
        Failure::new(errno, error.to_string())
    }
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Failure {
        let errno = match error {
            PeerError::Invalid(_) | PeerError::Own(_) => EINVAL,
            PeerError::Taken(..) => EEXIST,
            PeerError::OtherKind(_) => EPERM,
            PeerError::SecondOnNet(_) => ENOTUNIQ,
            PeerError::Unknown(_) => ENOENT,
            PeerError::NotPrimary(..) => ENODEV,
            PeerError::Gateway(_) => EBUSY,
            PeerError::TooMany => ENOMEM,
        };
        Failure::new(errno, error.to_string())
    }
}

impl From<StopError> for Failure {
    fn from(error: StopError) -> Failure {
        Failure::new(EBUSY, error.to_string())
    }
}

impl From<AddFaultError> for Failure {
    fn from(error: AddFaultError) -> Failure {
        let errno = match error {
            AddFaultError::TooMany => ENOMEM,
            _ => EINVAL,
        };
        Failure::new(errno, error.to_string())
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Failure {
        let errno = match error {
            RequestError::Down | RequestError::NotSent(SendError::Down) => ENETDOWN,
            RequestError::NoRoute | RequestError::NotSent(SendError::Unreachable) => EHOSTUNREACH,
            RequestError::TooMany => ENOMEM,
            RequestError::TimedOut | RequestError::NotSent(SendError::TimedOut) => ETIMEDOUT,
            RequestError::NotSent(SendError::Broken) => ECONNRESET,
            RequestError::NotSent(SendError::NotExpressible) => EINVAL,
            RequestError::Malformed(_) => EPROTO,
        };
        Failure::new(errno, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_look_as_on_linux() {
        let failure = Failure::new(EINVAL, "Invalid argument");
        assert_eq!(
            failure.yaml("add", "net", "cannot add network").to_string(),
            "add:\n    - net:\n          errno: -22\n          descr: \"cannot add network: Invalid argument\"\n"
        );
        let failure = Failure::new(EHOSTUNREACH, "No route to host");
        assert_eq!(
            failure.yaml("manage", "ping", "failed to ping 10.0.0.9@tcp").to_string(),
            "manage:\n    - ping:\n          errno: -113\n          descr: failed to ping 10.0.0.9@tcp: No route to host\n"
        );
    }
}
