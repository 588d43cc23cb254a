use super::*;
use proptest::prelude::*;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("quiet", Kind::Flag, "Say little.").owner("kernel"),
    OptionSpec::new("nfs.grace-period", SECONDS, "Grace.").default("90s").owner("nfs"),
    OptionSpec::new("nfs.threads", Kind::Integer { min: 1, max: 64 }, "Threads.").default("8").owner("nfs"),
    OptionSpec::new("nfs.export", Kind::Text, "Export.").repeatable().owner("nfs"),
    OptionSpec::new("cache", Kind::Size { min: 0, max: 1 << 40 }, "Cache.").owner("fs"),
    OptionSpec::new("mode", Kind::Choice(&["fast", "safe"]), "Mode.").default("safe").owner("fs"),
    OptionSpec::new("ip", IP, "Address.").repeatable().owner("net").essential(),
    OptionSpec::new("virtio_mmio.device", Kind::MmioDevice, "Device.").repeatable().owner("kernel"),
];
const SECONDS: Kind = Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(600) };
const IP: Kind = Kind::Custom {
    form: "dhcp or ADDRESS",
    check: |text| if text == "dhcp" { Ok(()) } else { Err("accepted is dhcp".to_string()) },
};

fn parse(default: &str, loader: &str) -> Config {
    Config::parse(&[OPTIONS], &["nfs"], default, loader.as_bytes())
}

fn only_problem(loader: &str) -> (Severity, String) {
    let config = parse("", loader);
    assert_eq!(config.problems().len(), 1, "{:?}", config.problems());
    (config.problems()[0].severity, config.problems()[0].to_string())
}

#[test]
fn the_loader_overrides_the_default_line_and_lists_collect() {
    let config = parse(
        "nfs.threads=4 nfs.export=/a cache=64M",
        "nfs.threads=16 nfs.export=\"/b 10.0.0.0/8(rw)\" nfs.grace_period=500ms quiet mode=fast",
    );
    assert_eq!(config.problems(), []);
    assert_eq!(config.integer("nfs.threads"), Some(16));
    assert_eq!(config.texts("nfs.export").collect::<Vec<_>>(), ["/a", "/b 10.0.0.0/8(rw)"]);
    assert_eq!(config.duration("nfs.grace-period"), Some(Duration::from_millis(500)));
    assert_eq!(config.size("cache"), Some(64 << 20));
    assert_eq!(config.choice("mode"), Some("fast"));
    assert!(config.flag("quiet") && config.is_set("quiet"));
    assert_eq!(
        config.effective_line(),
        "nfs.threads=4 nfs.export=/a cache=64M nfs.threads=16 nfs.export=\"/b 10.0.0.0/8(rw)\" \
         nfs.grace_period=500ms quiet mode=fast"
    );
}

#[test]
fn defaults_stand_in() {
    let config = parse("", "");
    assert_eq!(config.integer("nfs.threads"), Some(8));
    assert_eq!(config.choice("mode"), Some("safe"));
    assert_eq!(config.size("cache"), None);
    assert!(!config.flag("quiet") && !config.is_set("nfs.threads"));
}

#[test]
fn a_flag_can_be_switched_off_again() {
    assert!(!parse("quiet", "quiet=0").flag("quiet"));
}

#[test]
fn mmio_devices_are_read() {
    let config = parse("", "virtio_mmio.device=512@0xfeb00e00:12 virtio_mmio.device=512@0xfeb00c00:11");
    let bases: Vec<u64> = config.mmio_devices("virtio_mmio.device").map(|device| device.base).collect();
    assert_eq!(bases, [0xfeb0_0e00, 0xfeb0_0c00]);
}

#[test]
fn loader_words_are_notes() {
    for word in ["role.img", "BOOT_IMAGE=/boot/role.img", "initrd=blob", "ro"] {
        assert_eq!(only_problem(word).0, Severity::Note, "{word}");
    }
}

#[test]
fn unknown_options_get_suggestions() {
    let refused = (Severity::Refuse, "unknown option \"nfs.exprot\"; did you mean nfs.export?".to_string());
    assert_eq!(only_problem("nfs.exprot=/a"), refused);
    let warned = (Severity::Warning, "unknown option \"cahce\"; did you mean cache?".to_string());
    assert_eq!(only_problem("cahce=1"), warned);
    assert_eq!(only_problem("nfs.what").0, Severity::Refuse);
}

#[test]
fn bad_values_name_what_is_accepted_and_keep_the_earlier_value() {
    let config = parse("nfs.threads=4", "nfs.threads=65 cache=big quiet=perhaps ip=10.0.0.1 mode");
    let messages: Vec<String> = config.problems().iter().map(|problem| problem.to_string()).collect();
    assert_eq!(
        messages,
        [
            "bad value nfs.threads=65: accepted is an integer from 1 to 64",
            "bad value cache=big: accepted is a size from 0 to 1024G (suffix K, M or G)",
            "bad value quiet=perhaps: accepted is on or off",
            "bad value ip=10.0.0.1: accepted is dhcp",
            "option mode needs a value: one of fast, safe",
        ]
    );
    use Severity::{Refuse, Warning};
    let severities: Vec<Severity> = config.problems().iter().map(|problem| problem.severity).collect();
    assert_eq!(severities, [Refuse, Warning, Warning, Refuse, Warning]);
    assert!(config.must_refuse());
    assert_eq!(config.integer("nfs.threads"), Some(4));
}

#[test]
fn a_quote_left_open_within_a_value_reads_the_same_again() {
    for (line, export) in
        [("nfs.export=/a\"b c", "/a\"b c\""), ("nfs.export=\"/a b", "/a b"), ("nfs.export=\"", "")]
    {
        let config = parse(line, "quiet");
        let again = parse("", config.effective_line());
        for config in [config, again] {
            assert_eq!((config.text("nfs.export"), config.flag("quiet")), (Some(export), true), "{line}");
        }
    }
}

#[test]
fn a_line_beyond_the_limit_is_cut_between_words_and_refused() {
    let line = "nfs.export=/a ".repeat(MAX_LINE / 14 + 10);
    let config = parse("", &line);
    assert!(config.must_refuse());
    assert_eq!(config.texts("nfs.export").count(), MAX_LINE / 14);
    assert!(config.texts("nfs.export").all(|path| path == "/a"));
}

#[test]
#[should_panic(expected = "declared in no table")]
fn reading_an_undeclared_option_is_a_bug() {
    parse("", "").flag("nonsense");
}

#[test]
fn secrets_are_not_shown() {
    const SECRET: &[OptionSpec] = &[OptionSpec::new("key-file", Kind::Text, "Help.").owner("test").secret()];
    let public =
        |line: &str| Config::parse(&[OPTIONS, SECRET], &["nfs"], "ip=dhcp", line.as_bytes()).public_line();
    assert_eq!(public("quiet key-file=x nfs.threads=2"), "ip=dhcp quiet nfs.threads=2");
    // In every spelling that is read, and in those that nearly are.
    for line in [
        "key_file=x",
        "\"key_file=x y\"",
        "key-file=\"x y\"",
        "key_flie=x",
        "key-file",
        "keyfile=\"x",
        "ke_file=x -- a",
    ] {
        assert_eq!(public(line), "ip=dhcp", "{line}");
    }
    assert_eq!(public("other=\"a key_file=b\""), "ip=dhcp other=\"a key_file=b\"");
    // Nor what is wrong with one.
    const NUMBER: &[OptionSpec] =
        &[OptionSpec::new("pin", Kind::Integer { min: 1, max: 9999 }, "Help.").secret()];
    let config = Config::parse(&[NUMBER], &[], "", b"pin=12345");
    let said = config.problems()[0].to_string();
    assert!(said.starts_with("bad value pin=(hidden)") && !said.contains("12345"), "{said}");
}

proptest! {
    #[test]
    fn any_bytes_are_read(line in prop::collection::vec(any::<u8>(), 0..512)) {
        let config = Config::parse(&[OPTIONS], &["nfs"], "", &line);
        for problem in config.problems() {
            let _ = problem.to_string();
        }
        for spec in OPTIONS {
            let _ = config.texts(spec.name).count();
        }
    }

    #[test]
    fn the_effective_line_means_the_same(
        line in "((quiet|nfs[.]threads|nfs[.]export|mode|ip|x)(=|=[0-9a-z]{0,3}|=\"[a-z ]{0,6}\")? {1,2}){0,8}"
    ) {
        let first = parse("", &line);
        let second = parse("", first.effective_line());
        prop_assert_eq!(first.problems(), second.problems());
        for spec in OPTIONS {
            let texts = |config: &Config| config.texts(spec.name).map(str::to_string).collect::<Vec<_>>();
            prop_assert_eq!(texts(&first), texts(&second));
        }
    }
}
