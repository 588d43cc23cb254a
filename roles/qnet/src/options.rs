//! Options of Qnet as text: what `mount -o` and the kernel command line give to `lsm-qnet.so` (section 19).
//!
//! Options are separated by commas without blanks: `auto_add=5,bind=en0,bind=en1`. Unknown ones are named in the log and
//! ignored, as the original does; a value that makes no sense, or options that contradict each other, keep Qnet from being
//! mounted.

mod line;
mod number;

pub use line::{CommandLine, OPTIONS};

use crate::l4::{DupPolicy, MAX_SENT, Options};
use crate::node::NodeConfig;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::names::{self, NameError};
use number::{flag, in_range};

/// Frames that may wait in a driver, if `max_tx_bufs` does not say otherwise.
const MAX_TX_BUFS: usize = 200;

/// What carries frames.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bind {
    /// These Ethernet interfaces; none named: all.
    Ethernet(Vec<String>),
    /// IP.
    Ip,
}

/// Who knows which address a name has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolve {
    /// Whoever has the name: the LAN is asked.
    Lan,
    /// DNS.
    Dns,
    /// A file of this node with lines `address name ...`.
    File(String),
}

/// Qnet's options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QnetOptions {
    /// What carries frames.
    pub bind: Bind,
    /// Who knows addresses.
    pub resolve: Resolve,
    /// Connections, names, times.
    pub transport: Options,
    /// User that every remote user becomes.
    pub mapany: Option<u32>,
    /// User that remote user 0 becomes.
    pub maproot: Option<u32>,
    /// What this node is called instead of its host name.
    pub host: Option<String>,
    /// Directory of the nodes.
    pub mount: String,
    /// This node's domain, where the directory's option names one.
    pub domain: Option<String>,
    /// Release that this node says it has.
    pub release: Option<String>,
    /// Frames that may wait in a driver.
    pub max_tx_bufs: usize,
    /// Options that were not understood, or that change nothing here.
    pub ignored: Vec<String>,
}

impl Default for QnetOptions {
    fn default() -> QnetOptions {
        QnetOptions {
            bind: Bind::Ethernet(Vec::new()),
            resolve: Resolve::Lan,
            transport: Options::default(),
            mapany: None,
            maproot: None,
            host: None,
            mount: crate::io::NET_DIRECTORY.into(),
            domain: None,
            release: None,
            max_tx_bufs: MAX_TX_BUFS,
            ignored: Vec::new(),
        }
    }
}

/// Why Qnet cannot be mounted with its options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OptionsError {
    /// A value that makes no sense.
    Value {
        /// The option.
        option: String,
        /// Its value.
        value: String,
        /// What would make sense.
        wanted: String,
    },
    /// `bind=ip` and an Ethernet interface.
    BindBoth(String),
    /// `bind=ip` without anybody who knows addresses.
    IpWithoutResolver,
    /// Ethernet interfaces, and a resolver that finds IP addresses.
    EthernetWithResolver,
}

impl OptionsError {
    /// What a program that mounts Qnet gets.
    pub fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionsError::Value { option, value, wanted } => write!(f, "{option}={value}: use {wanted}"),
            OptionsError::BindBoth(interface) => {
                write!(f, "bind=ip and bind={interface} are both given; leave one out")
            }
            OptionsError::IpWithoutResolver => f.write_str(
                "bind=ip finds no names by itself; add resolve=dns, or resolve=file:PATH with lines \"address name\"",
            ),
            OptionsError::EthernetWithResolver => f.write_str(
                "resolve=dns and resolve=file find IP addresses; add bind=ip, or leave resolve out for Ethernet",
            ),
        }
    }
}

impl core::error::Error for OptionsError {}

impl QnetOptions {
    /// Reads options from text.
    pub fn parse(text: &str) -> Result<QnetOptions, OptionsError> {
        let mut options = QnetOptions::default();
        let mut binds = Vec::new();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            if name == "bind" {
                binds.push(bind(value)?);
                continue;
            }
            let known = options.set(name, value).map_err(|wanted| OptionsError::Value {
                option: name.into(),
                value: value.into(),
                wanted,
            })?;
            if !known {
                options.ignored.push(word.into());
            }
        }
        options.bind = bound(&binds)?;
        match (&options.bind, &options.resolve) {
            (Bind::Ip, Resolve::Lan) => Err(OptionsError::IpWithoutResolver),
            (Bind::Ethernet(_), Resolve::Dns | Resolve::File(_)) => Err(OptionsError::EthernetWithResolver),
            _ => Ok(options),
        }
    }

    /// Takes one option; false when it is unknown or without effect. Fails with what would make sense.
    fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let transport = &mut self.transport;
        match name {
            "auto_add" => transport.auto_add = in_range(value, 0, 1 << 20)?,
            "conn_est_retries" => transport.conn_est_retries = in_range(value, 0, 100)?,
            "conn_est_timeout" => transport.conn_est_timeout = in_range(value, 1, 1000)?,
            "conn_up_idle" => transport.conn_up_idle = in_range(value, 1, 1 << 20)?,
            "periodic_ticks" => {
                transport.tick = Duration::from_secs(1) / in_range::<u32>(value, 1, 1000)?;
            }
            "tx_ticks" => transport.tx_ticks = Some(in_range(value, 1, 1000)?),
            "tx_retries" => transport.tx_retries = in_range(value, 1, 1000)?,
            "do_crc" => transport.do_crc = flag(value)?,
            "enforce_crc" => transport.enforce_crc = flag(value)?,
            "eager_reverse" => transport.eager_reverse = flag(value)?,
            // An IP packet that every host takes has 576 bytes; there must be room behind the headers.
            "mtu" => transport.mtu = Some(in_range(value, 576, 65_535)?),
            // At least what our own nodes send.
            "max_msg" => transport.max_msg = in_range(value, MAX_SENT as u32, 4 << 20)?,
            "max_tx_bufs" => self.max_tx_bufs = in_range(value, 1, 65_536)?,
            "mapany" => self.mapany = Some(in_range(value, 0, u32::MAX)?),
            "maproot" => self.maproot = Some(in_range(value, 0, u32::MAX)?),
            "dup_policy" => {
                transport.dup_policy = match value {
                    "log" => DupPolicy::Log,
                    "rename" => DupPolicy::Rename,
                    _ => return Err("log or rename".into()),
                }
            }
            "host" => self.host = Some(named(value, names::node_name(value.as_bytes()))?),
            "release" => self.release = Some(release(value)?),
            "mount" => return self.set_mount(value).map(|()| true),
            "resolve" => self.resolve = resolve(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `dir[:domain]`.
    fn set_mount(&mut self, value: &str) -> Result<(), String> {
        let (dir, domain) = value.split_once(':').unwrap_or((value, ""));
        let dir = dir.trim_end_matches('/');
        let is_path = dir.len() > 1 && dir.starts_with('/') && dir.len() <= 255;
        if !is_path || dir.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
            return Err("a directory such as /net, perhaps with :domain behind it".into());
        }
        if !domain.is_empty() {
            self.domain = Some(named(domain, names::domain(domain.as_bytes()))?);
        }
        self.mount = dir.into();
        Ok(())
    }

    /// Makes them a node's settings, from its next mount on. What they do not mention stays what it was.
    pub fn apply(&self, config: &mut NodeConfig) {
        config.transport = self.transport.clone();
        config.kernel.credentials.mapany = self.mapany;
        config.kernel.credentials.maproot = self.maproot;
        config.alias = self.host.clone();
        config.mount = self.mount.clone();
        if let Some(domain) = &self.domain {
            config.domain = domain.clone();
        }
        if let Some(release) = &self.release {
            config.release = release.clone();
        }
    }
}

fn named(value: &str, checked: Result<&str, NameError>) -> Result<String, String> {
    match checked {
        Ok(_) => Ok(value.into()),
        Err(error) => Err(alloc::format!("a valid name: {error}")),
    }
}

fn release(value: &str) -> Result<String, String> {
    let fits = (1..=31).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(value.into()) } else { Err("1 to 31 characters without blanks, such as 6.5.0".into()) }
}

fn resolve(value: &str) -> Result<Resolve, String> {
    match value {
        "dns" => Ok(Resolve::Dns),
        "ndp" | "none" | "" => Ok(Resolve::Lan),
        _ => match value.strip_prefix("file:") {
            Some(path) if path.starts_with('/') => Ok(Resolve::File(path.into())),
            _ => Err("dns, file:PATH with an absolute path, or ndp".into()),
        },
    }
}

fn bind(value: &str) -> Result<&str, OptionsError> {
    let number = value.strip_prefix("en");
    let is_ethernet = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    if value == "ip" || is_ethernet {
        return Ok(value);
    }
    let wanted = "en0, en1, ..., en for all Ethernet interfaces, or ip".to_string();
    Err(OptionsError::Value { option: "bind".into(), value: value.into(), wanted })
}

fn bound(binds: &[&str]) -> Result<Bind, OptionsError> {
    let ethernet: Vec<&str> = binds.iter().copied().filter(|bind| *bind != "ip").collect();
    match (binds.contains(&"ip"), ethernet.first()) {
        (true, Some(first)) => Err(OptionsError::BindBoth((*first).into())),
        (true, None) => Ok(Bind::Ip),
        (false, _) if ethernet.contains(&"en") => Ok(Bind::Ethernet(Vec::new())),
        (false, _) => Ok(Bind::Ethernet(ethernet.into_iter().map(String::from).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> QnetOptions {
        QnetOptions::parse(text).unwrap()
    }

    fn complaint(text: &str) -> String {
        let error = QnetOptions::parse(text).unwrap_err();
        assert_eq!(error.errno(), Errno::EINVAL);
        error.to_string()
    }

    #[test]
    fn defaults_of_the_specification() {
        let none = ok("");
        assert_eq!(none, QnetOptions::default());
        assert_eq!((none.transport.auto_add, none.transport.conn_up_idle, none.max_tx_bufs), (150, 50, 200));
        assert_eq!(none.transport.ticks(none.transport.auto_add), Duration::from_secs(30));
    }

    #[test]
    fn every_option() {
        let all = ok(
            "auto_add=5,bind=en0,bind=en1,conn_est_retries=2,conn_est_timeout=3,conn_up_idle=4,periodic_ticks=10,\
             tx_ticks=6,do_crc=1,mapany=7,maproot=8,host=karl,mount=/qnet:lab.test,tx_retries=9,max_tx_bufs=10,\
             mtu=1000,enforce_crc=1,eager_reverse=0,dup_policy=rename,release=7.0.0,max_msg=70000",
        );
        assert_eq!(all.bind, Bind::Ethernet(vec!["en0".into(), "en1".into()]));
        let transport = &all.transport;
        assert_eq!((transport.auto_add, transport.conn_est_retries, transport.conn_est_timeout), (5, 2, 3));
        assert_eq!((transport.conn_up_idle, transport.tick), (4, Duration::from_millis(100)));
        assert_eq!((transport.tx_ticks, transport.tx_retries, transport.max_msg), (Some(6), 9, 70_000));
        assert!(transport.do_crc && transport.enforce_crc && !transport.eager_reverse);
        assert_eq!((transport.dup_policy, transport.mtu), (DupPolicy::Rename, Some(1000)));
        assert_eq!((all.mapany, all.maproot, all.max_tx_bufs), (Some(7), Some(8), 10));
        assert!(all.ignored.is_empty());
        let mut config = NodeConfig { host: "x".into(), ..NodeConfig::default() };
        all.apply(&mut config);
        assert_eq!((config.host.as_str(), config.alias.as_deref()), ("x", Some("karl")));
        assert_eq!((config.mount.as_str(), config.domain.as_str()), ("/qnet", "lab.test"));
        assert_eq!((config.release.as_str(), config.kernel.credentials.mapany), ("7.0.0", Some(7)));
    }

    #[test]
    fn unknown_ones_are_ignored() {
        let odd = ok("hello=3,auto_add=7,no_slog=1,fast");
        assert_eq!(odd.ignored, ["hello=3", "no_slog=1", "fast"]);
        assert_eq!(odd.transport.auto_add, 7);
    }

    #[test]
    fn ip_needs_a_resolver() {
        assert_eq!(ok("bind=ip,resolve=dns").bind, Bind::Ip);
        assert_eq!(ok("resolve=file:/etc/hosts,bind=ip").resolve, Resolve::File("/etc/hosts".into()));
        assert!(complaint("bind=ip").contains("add resolve=dns"));
        assert!(complaint("bind=en,resolve=dns").contains("add bind=ip"));
        assert!(complaint("resolve=dns").contains("add bind=ip"));
        assert!(complaint("bind=ip,bind=en1,resolve=dns").contains("bind=en1"));
        assert!(complaint("bind=ip,resolve=ndp").contains("add resolve=dns"));
    }

    #[test]
    fn values_that_make_no_sense() {
        for (text, wanted) in [
            ("auto_add=x", "auto_add=x: use a number from 0"),
            ("periodic_ticks=0", "periodic_ticks=0: use a number from 1 to 1000"),
            ("do_crc=2", "do_crc=2: use 0 or 1"),
            ("bind=wm0", "bind=wm0: use en0"),
            ("host=a.b", "host=a.b: use a valid name: '.'"),
            ("mount=net", "mount=net: use a directory"),
            ("mount=/", "mount=/: use a directory"),
            ("mount=/a/../b", "use a directory"),
            ("resolve=wins", "use dns, file:PATH"),
            ("resolve=file:hosts", "absolute"),
            ("max_msg=1000", "use a number from 66048"),
            ("dup_policy=fight", "use log or rename"),
            ("release=", "use 1 to 31"),
        ] {
            let text = complaint(text);
            assert!(text.contains(wanted), "{text}");
        }
    }
}
