//! The kernel's own command-line options, and what their values mean.

#![forbid(unsafe_code)]

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use keelson_config::{Config, Kind, OptionSpec};

use crate::log_filter::LogFilter;
use crate::time;

/// Their table.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "clocksource",
        Kind::Choice(time::NAMES),
        "The clock that time is read from. Without it the TSC is, unless the cores' differ or it stops agreeing with the HPET or the \
         ACPI timer: then one of those is, which takes longer to read.",
    )
    .owner("kernel"),
    OptionSpec::new(
        "console",
        Kind::Custom {
            form: "auto, tty0, ttyS0..ttyS3[,BAUD] or hvc0",
            check: |text| ConsoleChoice::parse(text).map(drop).ok_or_else(|| String::from(ConsoleChoice::ACCEPTED)),
        },
        "Where messages go: the screen (tty0, which shows them and takes no input), a serial port (with its speed, otherwise left \
         as the firmware set it) or the first virtio console; auto means the first serial port and the screen, as far as the machine \
         has them. The report of a panic is shown on the screen in any case.",
    )
    .default("auto")
    .repeatable()
    .owner("kernel"),
    OptionSpec::new("help", Kind::Flag, "Shows all options of this image on the console at boot.")
        .default("off")
        .owner("kernel"),
    OptionSpec::new(
        "log",
        Kind::Custom { form: "LEVEL[,TARGET=LEVEL...]", check: |text| LogFilter::parse(text).map(drop) },
        "Which messages are wanted: off, error, warn, info, debug or trace, for everything and for single \
         targets, of which the longest that fits counts: log=info,net=debug,net::tcp=trace.",
    )
    .default("info")
    .owner("kernel"),
    OptionSpec::new(
        "panic",
        Kind::Custom {
            form: "SECONDS or exit",
            check: |text| PanicAction::parse(text).map(drop).ok_or_else(|| String::from(PanicAction::ACCEPTED)),
        },
        "What follows a panic: 0 halts, a positive number reboots after so many seconds, a negative one at \
         once, exit ends the virtual machine through QEMU's isa-debug-exit device.",
    )
    .default("0")
    .owner("kernel"),
    OptionSpec::new(
        "tsc",
        Kind::Choice(&["reliable", "unstable"]),
        "What is known of the time stamp counter: reliable is not compared with other clocks, unstable is not used for time.",
    )
    .owner("kernel"),
    OptionSpec::new(
        "virtio_mmio.device",
        Kind::MmioDevice,
        "Announces a virtio device that is not on a PCI bus: length and physical address of its registers, \
         and its interrupt. Virtual machine monitors add it themselves.",
    )
    .repeatable()
    .owner("kernel"),
    OptionSpec::new(
        "watchdog",
        Kind::Custom { form: "SECONDS or off", check: |text| parse_watchdog(text).map(drop) },
        "After how many seconds (2 to 600) in which a processor did not take its turn a hardware watchdog resets the \
         machine, where there is one (iTCO_wdt, i6300esb).",
    )
    .default("30")
    .owner("kernel"),
];

/// What `watchdog=` says when nobody does.
const WATCHDOG: Duration = Duration::from_secs(30);

/// Reads `watchdog=`: seconds, or off.
fn parse_watchdog(text: &str) -> Result<Option<Duration>, String> {
    let seconds = text.parse().ok().filter(|seconds| (2..=600).contains(seconds));
    match (text, seconds) {
        ("off", _) => Ok(None),
        (_, Some(seconds)) => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(String::from("accepted are 2 to 600 seconds, and off")),
    }
}

/// How long the machine may hang before its watchdog resets it; `None` for ever.
pub fn watchdog(config: &Config) -> Option<Duration> {
    config.text("watchdog").map_or(Some(WATCHDOG), |text| parse_watchdog(text).unwrap_or(Some(WATCHDOG)))
}

/// One `console=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsoleChoice {
    /// COM1 and the screen, where they are.
    Auto,
    /// The screen.
    Screen,
    /// A 16550 at the usual address of COM1 to COM4.
    Serial {
        /// 0 for COM1.
        index: u8,
        /// Speed to set; `None` to leave it.
        baud: Option<u32>,
    },
    /// The first virtio console.
    Virtio,
}

impl ConsoleChoice {
    const ACCEPTED: &'static str = "accepted are auto, tty0 (the screen), ttyS0 to ttyS3 with an optional speed (ttyS0,115200 or ttyS0,115200n8), and hvc0";

    /// Reads Linux's `tty0`, `ttySn[,speed[n8]]` (the speed a divisor of 115200) and `hvc0`, and `auto`.
    pub fn parse(text: &str) -> Option<ConsoleChoice> {
        match text {
            "auto" => return Some(ConsoleChoice::Auto),
            "tty0" => return Some(ConsoleChoice::Screen),
            "hvc0" => return Some(ConsoleChoice::Virtio),
            _ => {}
        }
        let (index, speed) = match text.strip_prefix("ttyS")?.split_once(',') {
            Some((index, speed)) => (index, Some(speed.strip_suffix("n8").unwrap_or(speed))),
            None => (text.strip_prefix("ttyS")?, None),
        };
        let index = ["0", "1", "2", "3"].iter().position(|known| *known == index)? as u8;
        let baud = match speed {
            Some(speed) => {
                let digits = speed.bytes().all(|byte| byte.is_ascii_digit());
                Some(speed.parse().ok().filter(|baud: &u32| digits && *baud > 0 && 115_200 % baud == 0)?)
            }
            None => None,
        };
        Some(ConsoleChoice::Serial { index, baud })
    }

    /// All that `config` names, in the order of the line.
    pub fn all(config: &Config) -> impl Iterator<Item = ConsoleChoice> {
        config.texts("console").filter_map(ConsoleChoice::parse)
    }
}

/// What follows a panic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PanicAction {
    /// Halt for good, so that a person can read the screen.
    Halt,
    /// Reboot after this time.
    Reboot(Duration),
    /// End the virtual machine with a status that says "failed".
    Exit,
}

impl PanicAction {
    const ACCEPTED: &'static str = "accepted are 0 (halt), a number of seconds until the reboot, a negative number (reboot at once), and exit";

    /// Reads Linux's `panic=` values, and `exit`.
    pub fn parse(text: &str) -> Option<PanicAction> {
        if text == "exit" {
            return Some(PanicAction::Exit);
        }
        let seconds = keelson_config::parse_integer(text)?;
        // Linux takes an int.
        i32::try_from(seconds).ok()?;
        Some(match u64::try_from(seconds) {
            Ok(0) => PanicAction::Halt,
            Ok(seconds) => PanicAction::Reboot(Duration::from_secs(seconds)),
            Err(_) => PanicAction::Reboot(Duration::ZERO),
        })
    }

    /// What `config` says.
    pub fn of(config: &Config) -> PanicAction {
        config.text("panic").and_then(PanicAction::parse).unwrap_or(PanicAction::Halt)
    }
}

impl fmt::Display for PanicAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PanicAction::Halt => f.write_str("halt"),
            PanicAction::Reboot(Duration::ZERO) => f.write_str("reboot at once"),
            PanicAction::Reboot(delay) => write!(f, "reboot after {} s", delay.as_secs()),
            PanicAction::Exit => f.write_str("exit"),
        }
    }
}

/// The log filter that `config` asks for.
pub fn log_filter(config: &Config) -> LogFilter {
    let parsed = config.text("log").and_then(|text| LogFilter::parse(text).ok());
    parsed.unwrap_or(LogFilter::new(log::LevelFilter::Info))
}

/// Logs the effective line and everything that was wrong with it, each problem at its level.
pub fn report(config: &Config) {
    use keelson_config::Severity;
    log::info!(target: "config", "command line: {}", config.public_line());
    for problem in config.problems() {
        match problem.severity {
            Severity::Note => log::debug!(target: "config", "{problem}"),
            Severity::Warning => log::warn!(target: "config", "{problem}"),
            Severity::Refuse => log::error!(target: "config", "{problem}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_config::lint;

    fn config(line: &str) -> Config {
        Config::parse(&[OPTIONS], &[], "", line.as_bytes())
    }

    #[test]
    fn the_table_is_sound() {
        assert_eq!(lint(&[OPTIONS]), Vec::<String>::new());
        assert!(keelson_config::help(&[OPTIONS]).lines().all(|line| line.len() <= 100));
    }

    #[test]
    fn consoles() {
        let all = |line: &str| ConsoleChoice::all(&config(line)).collect::<Vec<_>>();
        let serial = |index, baud| ConsoleChoice::Serial { index, baud };
        assert_eq!(all(""), [ConsoleChoice::Auto]);
        assert_eq!(all("console=tty0 console=ttyS0"), [ConsoleChoice::Screen, serial(0, None)]);
        assert_eq!(all("console=hvc0 console=ttyS1,9600n8"), [ConsoleChoice::Virtio, serial(1, Some(9600))]);
        for bad in [
            "console=tty1",
            "console=ttyS4",
            "console=ttyS0,",
            "console=ttyS0,+9600",
            "console=ttyS0,0",
            "console",
        ] {
            assert_eq!(config(bad).problems().len(), 1, "{bad}");
        }
    }

    #[test]
    fn panic_actions() {
        let of = |line: &str| PanicAction::of(&config(line)).to_string();
        assert_eq!(of(""), "halt");
        assert_eq!(of("panic=5"), "reboot after 5 s");
        assert_eq!(of("panic=-1"), "reboot at once");
        assert_eq!(of("panic=exit"), "exit");
        assert_eq!(of("panic=exit panic=often"), "exit");
        assert_eq!(config("panic=9999999999").problems().len(), 1);
    }

    #[test]
    fn a_log_level_that_does_not_exist_leaves_the_one_before() {
        let config = config("log=debug log=info,net=loud");
        assert_eq!(log_filter(&config).to_string(), "debug");
        assert_eq!(
            config.problems()[0].to_string(),
            "bad value log=info,net=loud: \"loud\" is no level; accepted are off, error, warn, info, debug, trace"
        );
    }
}
