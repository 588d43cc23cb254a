//! Where the server listens.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use keelson_config::{Kind, OptionSpec};

/// The option that names it.
pub const OPTIONS: &[OptionSpec] = &[OptionSpec::new(
    "metrics",
    Kind::Custom { form: "[ADDRESS]:PORT", check: |text| Endpoint::parse(text).map(drop) },
    "Shows the node to whoever watches it, by HTTP: /metrics (Prometheus), /healthz, /version, /cmdline, /boot. On all \
     addresses, metrics=:9100, or on one, metrics=10.0.0.1:9100. Off when not given. There is no password: everybody \
     who reaches the port may read.",
)
.owner("operations")];

/// An address and a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The one address of ours that is listened on; `None` for all of them.
    pub address: Option<IpAddr>,
    /// The TCP port.
    pub port: u16,
}

impl Endpoint {
    /// Reads `:PORT`, `A.B.C.D:PORT` or `[IPv6]:PORT`. Fails in words that follow "`metrics=value`: ".
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        let wrong =
            || format!("\"{text}\" is not [ADDRESS]:PORT, such as :9100, 10.0.0.1:9100 or [fd00::1]:9100");
        let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let address = match address.strip_prefix('[') {
            _ if address.is_empty() => None,
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or_else(wrong)?;
                Some(inner.parse::<Ipv6Addr>().map_err(|_| wrong())?.into())
            }
            None => Some(address.parse::<Ipv4Addr>().map_err(|_| wrong())?.into()),
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port @ 1..) if digits => Ok(Endpoint { address, port }),
            _ => Err(format!("port \"{port}\" is not a number from 1 to 65535")),
        }
    }

    /// True when a connection to `local` is meant.
    pub(super) fn is_at(&self, local: IpAddr) -> bool {
        self.address.is_none_or(|own| own == local)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => write!(f, ":{}", self.port),
            Some(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
        }
    }
}
