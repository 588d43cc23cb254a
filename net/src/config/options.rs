//! The table of options for the command line of an image.

use super::{ConfigError, NetworkConfig};
use alloc::string::{String, ToString};
use keelson_config::{Config, Kind, OptionSpec};

/// The options of this crate.
pub const OPTIONS: &[OptionSpec] = &[
    option(
        "ip",
        "dhcp, DEVICE:dhcp, ADDRESS/PREFIX[:DEVICE], or Linux's CLIENT:SERVER:GATEWAY:NETMASK:HOST:DEVICE:...",
        |value| check("ip", value),
        "How an interface gets its address, as Linux spells it; IPv6 addresses stand in brackets. Given once \
         for each interface. A static address without a device is for the first interface, dhcp without a \
         device for every interface that no other ip= names.",
    )
    .repeatable(),
    option(
        "gw",
        "ADDRESS[:DEVICE]",
        |value| check("gw", value),
        "A default router. Without a device it is on the interface whose network it is in.",
    )
    .repeatable(),
    option(
        "mtu",
        "[DEVICE:]BYTES",
        |value| check("mtu", value),
        "The largest IP packet of an interface, or of all of them; 1500 when not given.",
    )
    .repeatable(),
    option("nameserver", "ADDRESS", |value| check("nameserver", value), "A DNS server.").repeatable(),
    option("hostname", "NAME", |value| check("hostname", value), "The name of this appliance."),
];

const fn option(
    name: &'static str,
    form: &'static str,
    check: fn(&str) -> Result<(), String>,
    help: &'static str,
) -> OptionSpec {
    OptionSpec::new(name, Kind::Custom { form, check }, help).owner("net")
}

fn check(key: &str, value: &str) -> Result<(), String> {
    NetworkConfig::default().set(key, value).map(drop).map_err(|error| error.to_string())
}

impl NetworkConfig {
    /// Everything that a command line, parsed with [`OPTIONS`], says about the network.
    pub fn from_config(config: &Config) -> Result<NetworkConfig, ConfigError> {
        let mut network = NetworkConfig::default();
        for spec in OPTIONS {
            for text in config.texts(spec.name) {
                network.set(spec.name, text)?;
            }
        }
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        assert_eq!(keelson_config::lint(&[OPTIONS]), [""; 0]);
    }
}
