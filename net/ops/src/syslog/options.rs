//! What the command line says about syslog.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use keelson_config::{Config, Kind, OptionSpec};

/// The port of syslog over UDP (RFC 5426 section 3.3).
const PORT: u16 = 514;
/// Number of the facility local0 (RFC 5424, table 1).
const LOCAL0: u8 = 16;

/// The options of this module.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "loghost",
        Kind::Custom { form: "ADDRESS[:PORT]", check: |text| host(text).map(drop) },
        "A host that the log is sent to, from its first line on, as syslog over UDP (RFC 5424, RFC 5426), to port 514 unless \
         another is given; an IPv6 address with a port stands in brackets.",
    )
    .repeatable()
    .owner("operations"),
    OptionSpec::new(
        "logfacility",
        Kind::Custom {
            form: "local0..local7 or LOG_LOCAL0..LOG_LOCAL7",
            check: |text| facility(text).map(drop).ok_or_else(|| String::from("accepted are local0 to local7")),
        },
        "The facility that lines are sent with.",
    )
    .default("local6")
    .owner("operations"),
    OptionSpec::new(
        "loglevel",
        Kind::Integer { min: 0, max: 7 },
        "The least severe lines that are sent: 3 errors, 4 warnings, 6 information, 7 what log=debug adds.",
    )
    .default("6")
    .owner("operations"),
];

/// Where the log goes, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The hosts; nothing is sent when there is none.
    pub hosts: Vec<SocketAddr>,
    /// The facility's number, 16 to 23.
    pub facility: u8,
    /// The greatest severity number that is sent, 0 to 7.
    pub level: u8,
}

impl Settings {
    /// What a command line, parsed with [`OPTIONS`], says. A host named twice is one.
    pub fn from_options(config: &Config) -> Settings {
        let mut hosts = Vec::new();
        // Values were checked when the line was read.
        for host in config.texts("loghost").filter_map(|text| host(text).ok()) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        let facility = config.text("logfacility").and_then(facility).unwrap_or(LOCAL0);
        let level = config.integer("loglevel").and_then(|level| u8::try_from(level).ok()).unwrap_or(6);
        Settings { hosts, facility, level }
    }

    /// `local6`.
    pub fn facility_name(&self) -> String {
        format!("local{}", self.facility.wrapping_sub(LOCAL0))
    }
}

fn host(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().map(|address: IpAddr| SocketAddr::new(address, PORT));
    let host = address.or_else(|_| text.parse()).map_err(|_| {
        "accepted is an address with an optional port: 10.0.0.2, 10.0.0.2:5514, fd00::2, [fd00::2]:5514"
            .to_string()
    })?;
    if host.port() == 0 || host.ip().is_unspecified() || host.ip().is_multicast() {
        return Err("nobody listens there; accepted is the address of a host".to_string());
    }
    Ok(host)
}

fn facility(text: &str) -> Option<u8> {
    let text = text.strip_prefix("LOG_LOCAL").or_else(|| text.strip_prefix("local"))?;
    match text.as_bytes() {
        [digit @ b'0'..=b'7'] => Some(LOCAL0 + digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(line: &str) -> Config {
        Config::parse(&[OPTIONS], &[], "", line.as_bytes())
    }

    #[test]
    fn the_table_is_sound() {
        assert_eq!(keelson_config::lint(&[OPTIONS]), [""; 0]);
    }

    #[test]
    fn hosts_facility_and_level() {
        let none = Settings::from_options(&config(""));
        assert_eq!((none.hosts.len(), none.facility_name().as_str(), none.level), (0, "local6", 6));
        let line =
            "loghost=10.0.0.2 loghost=[fd00::2]:5514 loghost=10.0.0.2:514 logfacility=LOG_LOCAL3 loglevel=4";
        let some = Settings::from_options(&config(line));
        let hosts: Vec<_> = some.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["10.0.0.2:514", "[fd00::2]:5514"]);
        assert_eq!((some.facility, some.level), (19, 4));
        for bad in [
            "loghost=here",
            "loghost=10.0.0.2:0",
            "loghost=0.0.0.0",
            "loghost=224.0.0.1",
            "loghost",
            "logfacility=local8",
            "logfacility=daemon",
            "logfacility=LOG_LOCAL",
            "loglevel=8",
        ] {
            assert_eq!(config(bad).problems().len(), 1, "{bad}");
        }
    }
}
