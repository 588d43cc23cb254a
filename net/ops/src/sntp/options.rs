//! What the command line says about the time.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use keelson_config::{Config, Kind, OptionSpec};

/// Servers that are asked; more are not taken.
const MOST: usize = 8;
/// Longest name (RFC 1035 section 2.3.4).
const LONGEST: usize = 253;

/// The options of this module.
pub const OPTIONS: &[OptionSpec] = &[OptionSpec::new(
    "ntp",
    Kind::Custom { form: "HOST[,HOST...] or none", check: |text| Servers::parse(text).map(drop) },
    "Hosts, by address or name, that are asked for the time (SNTP, RFC 5905), the next when one does not answer. Without it those \
     that come by DHCP (option 42) are; none asks nobody.",
)
.owner("operations")];

/// Who is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Servers {
    /// Those that DHCP servers name.
    Leased,
    /// These, in this order; nobody when there are none.
    Named(Vec<String>),
}

impl Servers {
    /// What a command line, parsed with [`OPTIONS`], says.
    pub fn from_options(config: &Config) -> Servers {
        config.text("ntp").and_then(|text| Servers::parse(text).ok()).unwrap_or(Servers::Leased)
    }

    fn parse(text: &str) -> Result<Servers, String> {
        if text == "none" {
            return Ok(Servers::Named(Vec::new()));
        }
        let hosts: Vec<String> = text.split(',').map(str::to_string).collect();
        if hosts.len() > MOST {
            return Err(alloc::format!("{} hosts are too many; accepted are {MOST}", hosts.len()));
        }
        match hosts.iter().find(|host| !is_host(host)) {
            Some(host) => Err(alloc::format!("\"{host}\" is neither an address nor a name of a host")),
            None => Ok(Servers::Named(hosts)),
        }
    }
}

fn is_host(text: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match text.parse::<IpAddr>() {
        Ok(address) => !address.is_unspecified() && !address.is_multicast(),
        Err(_) => (1..=LONGEST).contains(&text.len()) && text.bytes().all(of_name) && !text.starts_with('.'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(line: &str) -> Config {
        Config::parse(&[OPTIONS], &[], "", line.as_bytes())
    }

    #[test]
    fn servers_are_named_or_leased() {
        assert_eq!(keelson_config::lint(&[OPTIONS]), [""; 0]);
        let of = |line: &str| Servers::from_options(&config(line));
        assert_eq!(of(""), Servers::Leased);
        assert_eq!(of("ntp=none"), Servers::Named(Vec::new()));
        let named = ["10.0.0.1", "fd00::1", "time.example.org"].map(String::from);
        assert_eq!(of("ntp=10.0.0.1,fd00::1,time.example.org"), Servers::Named(named.into()));
        for bad in ["ntp", "ntp=", "ntp=a,,b", "ntp=0.0.0.0", "ntp=[::1]:123", "ntp=1,2,3,4,5,6,7,8,9"] {
            assert_eq!(config(bad).problems().len(), 1, "{bad}");
        }
    }
}
