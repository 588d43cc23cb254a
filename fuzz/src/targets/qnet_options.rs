//! Options of Qnet: of `mount -o` and `qnetctl`, and of the kernel command line.

use keelson_config::{Config, Kind, OptionSpec};
use keelson_qnet::l4::MAX_SENT;
use keelson_qnet::node::NodeConfig;
use keelson_qnet::options::{Bind, CommandLine, OPTIONS, QnetOptions, Resolve};
use std::time::Duration;

/// The image's own, from which the role takes the host's name.
const HOST: &[OptionSpec] = &[OptionSpec::new("hostname", Kind::Text, "Name.")];

/// Lines, each of which is read as options and as a command line.
pub fn qnet_options(input: &[u8]) {
    for line in input.split(|byte| *byte == b'\n').take(64) {
        let text = String::from_utf8_lossy(line);
        options(&text);
        command_line(line);
    }
}

fn options(text: &str) {
    let options = match QnetOptions::parse(text) {
        Ok(options) => options,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let QnetOptions { transport, .. } = &options;
    assert!((Duration::from_millis(1)..=Duration::from_secs(1)).contains(&transport.tick), "{text}");
    assert!(
        transport.conn_est_timeout > 0 && transport.conn_up_idle > 0 && transport.tx_retries > 0,
        "{text}"
    );
    assert!(transport.tx_ticks != Some(0) && transport.mtu.is_none_or(|mtu| mtu >= 576), "{text}");
    assert!(transport.max_msg as usize >= MAX_SENT && options.max_tx_bufs > 0, "{text}");
    assert!(options.mount.starts_with('/'), "{text}");
    assert_eq!(options.bind == Bind::Ip, options.resolve != Resolve::Lan, "{text}");
    let words: Vec<&str> = text.split(',').collect();
    assert!(options.ignored.iter().all(|word| words.contains(&word.as_str())), "{text}");
    // What was not ignored means the same without what was.
    let ignored = |word: &&&str| !options.ignored.iter().any(|other| other == **word);
    let rest: Vec<&str> = words.iter().filter(ignored).copied().collect();
    let again = QnetOptions::parse(&rest.join(","));
    assert_eq!(again, Ok(QnetOptions { ignored: Vec::new(), ..options.clone() }), "{text}");
    let mut config = NodeConfig::default();
    options.apply(&mut config);
    assert_eq!(&config.transport, transport, "{text}");
}

fn command_line(line: &[u8]) {
    let config = Config::parse(&[OPTIONS, HOST], &["qnet"], "", line);
    match CommandLine::from_options(&config) {
        Ok(read) => {
            assert!(config.must_refuse() || QnetOptions::parse(&read.options).is_ok(), "{}", read.options)
        }
        Err(error) => assert!(!error.is_empty()),
    }
}
