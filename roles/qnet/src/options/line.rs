//! What the kernel command line of an appliance says about Qnet.

use super::QnetOptions;
use alloc::format;
use alloc::string::{String, ToString};
use keelson_config::{Config, Kind, OptionSpec};
use keelson_qnet_wire::names;

/// The options of the role.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "qnet.options",
        Kind::Custom { form: "OPTION=VALUE,...", check: |text| check(QnetOptions::parse(text)) },
        "Options as for lsm-qnet.so, separated by commas: auto_add=TICKS, bind=enN (again for more) or bind=ip with \
         resolve=dns or resolve=file:PATH, conn_est_retries, conn_est_timeout, conn_up_idle, periodic_ticks, tx_ticks, \
         tx_retries, do_crc=1, mapany=UID, maproot=UID, host=NAME, mount=DIR[:DOMAIN], max_tx_bufs, mtu; Keelson's own: \
         enforce_crc=1, eager_reverse=0, dup_policy=log|rename, release=TEXT, max_msg. Interface enN is ethN. Unknown \
         options are reported and ignored.",
    )
    .owner("qnet"),
    OptionSpec::new(
        "qnet.start",
        Kind::Flag,
        "Whether Qnet is mounted at boot, as with QNX's useqnet. Otherwise by mount -Tio-pkt lsm-qnet.so.",
    )
    .default("on")
    .owner("qnet"),
    OptionSpec::new(
        "qnet.echo",
        Kind::Flag,
        "Whether TCP port 7 (RFC 862) and the server /dev/name/local/echo return what they are sent, for measurements.",
    )
    .default("off")
    .owner("qnet"),
    OptionSpec::new(
        "domain",
        Kind::Custom { form: "DOMAIN", check: |text| check(names::domain(text.as_bytes())) },
        "The domain of this appliance (_CS_DOMAIN). Nodes of other domains are listed with theirs.",
    )
    .owner("qnet"),
];

fn check<T, E: ToString>(parsed: Result<T, E>) -> Result<(), String> {
    parsed.map(drop).map_err(|error| error.to_string())
}

/// What a command line, parsed with [`OPTIONS`] and those of the network, says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandLine {
    /// Host name; empty when not given.
    pub host: String,
    /// Domain; empty when not given.
    pub domain: String,
    /// Options of Qnet, for its first mount.
    pub options: String,
    /// Mount at boot.
    pub start: bool,
    /// Serve RFC 862.
    pub echo: bool,
}

impl CommandLine {
    /// Reads it. Fails in words when the host name cannot be a node's.
    pub fn from_options(config: &Config) -> Result<CommandLine, String> {
        let text = |name| config.text(name).unwrap_or_default().to_string();
        // As with Linux, the host name may have the domain behind it.
        let full = text("hostname");
        let (host, domain) = names::split_fqnn(&full);
        let wrong = |error| format!("hostname={full}: {error}");
        if !names::is_unnamed(host) {
            names::node_name(host.as_bytes()).map_err(wrong)?;
        }
        if !domain.is_empty() {
            names::domain(domain.as_bytes()).map_err(wrong)?;
        }
        let domain = config.text("domain").unwrap_or(domain);
        Ok(CommandLine {
            host: host.to_string(),
            domain: domain.to_string(),
            options: text("qnet.options"),
            start: config.flag("qnet.start"),
            echo: config.flag("qnet.echo"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[OptionSpec] = &[OptionSpec::new("hostname", Kind::Text, "Name.")];

    fn read(line: &str) -> Result<CommandLine, String> {
        let config = Config::parse(&[OPTIONS, HOST], &["qnet"], "", line.as_bytes());
        assert!(!config.must_refuse(), "{:?}", config.problems());
        CommandLine::from_options(&config)
    }

    #[test]
    fn the_table_is_sound() {
        assert_eq!(keelson_config::lint(&[OPTIONS]), [""; 0]);
    }

    #[test]
    fn lines() {
        let line = read("hostname=karl domain=lab.test qnet.options=auto_add=5,bind=en0 qnet.echo").unwrap();
        assert_eq!((line.host.as_str(), line.domain.as_str()), ("karl", "lab.test"));
        assert_eq!((line.options.as_str(), line.start, line.echo), ("auto_add=5,bind=en0", true, true));
        let line = read("qnet.start=off").unwrap();
        assert_eq!((line.host.as_str(), line.start, line.echo), ("", false, false));
        let line = read("hostname=karl.lab.test").unwrap();
        assert_eq!((line.host.as_str(), line.domain.as_str()), ("karl", "lab.test"));
        assert_eq!(read("hostname=karl.lab.test domain=x").unwrap().domain, "x");
        assert!(read("hostname=k@rl").unwrap_err().starts_with("hostname=k@rl: '@'"));
        assert!(read("hostname=karl.").is_ok() && read("hostname=karl..x").is_err());
    }

    #[test]
    fn contradictions_are_found_when_the_line_is_read() {
        let config = Config::parse(&[OPTIONS], &["qnet"], "", b"qnet.options=bind=ip");
        assert!(config.must_refuse());
        let problem = config.problems()[0].to_string();
        assert!(problem.contains("add resolve=dns"), "{problem}");
    }
}
