//! The kernel command line, against the options of the nfs-server image's parts that have parsers of their own.

use keelson_config::{
    Config, Kind, OptionSpec, parse_duration, parse_flag, parse_integer, parse_size, words,
};
use keelson_nfs_server::{OPTIONS, ServerConfig};
use std::time::Duration;

/// Kinds of options that the role has none of.
const MORE: &[OptionSpec] = &[
    OptionSpec::new("wait", Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(60) }, "A time."),
    OptionSpec::new("mode", Kind::Choice(&["one", "two"]), "A choice.").default("one"),
    OptionSpec::new("device", Kind::MmioDevice, "A device.").repeatable(),
    OptionSpec::new("file-name", Kind::Text, "A text."),
];

/// Memory of the machine, in bytes: what some options default to depends on it.
const RAM: u64 = 512 << 20;

/// The input up to a zero byte is the image's line, the rest the loader's.
pub fn cmdline(input: &[u8]) {
    let tables = [OPTIONS, MORE, keelson_net::OPTIONS];
    let parse = |image: &str, loader: &[u8]| Config::parse(&tables, &["nfs"], image, loader);
    let mut halves = input.splitn(2, |byte| *byte == 0);
    let image = String::from_utf8_lossy(halves.next().unwrap_or_default());
    let loader = halves.next().unwrap_or_default();
    let config = parse(&image, loader);
    let _ = keelson_net::NetworkConfig::from_config(&config);
    let served = ServerConfig::from_options(&config, RAM);
    for problem in config.problems() {
        assert!(!problem.to_string().is_empty());
    }
    values(&config);
    for word in words(&image) {
        let _ =
            (parse_flag(word.key), parse_integer(word.key), parse_size(word.key), parse_duration(word.key));
    }
    // What was read is what is read elsewhere.
    let again = parse("", config.effective_line().as_bytes());
    let cut = input.len() > keelson_config::MAX_LINE / 4;
    assert!(cut || again.effective_line() == config.effective_line(), "{:?}", config.effective_line());
    assert!(cut || ServerConfig::from_options(&again, RAM) == served, "{:?}", config.effective_line());
}

fn values(config: &Config) {
    let wait = config.duration("wait");
    assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(60)));
    assert!(matches!(config.choice("mode"), Some("one" | "two")));
    assert_eq!(config.mmio_devices("device").count(), config.texts("device").count());
    let _ = (config.text("file_name"), config.is_set("wait"), config.must_refuse());
}
