//! Which log records are wanted: a level for each target, `log=info,net=debug,lnet::router=trace`.

#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use log::LevelFilter;

/// Most targets a filter may name: every record is compared with all of them.
const MAX_TARGETS: usize = 64;

/// A level for everything, and others for some targets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFilter {
    default: LevelFilter,
    /// Longest target first, so that the first that matches is the most specific.
    targets: Vec<(String, LevelFilter)>,
}

impl LogFilter {
    /// Everything at `level`.
    pub const fn new(level: LevelFilter) -> LogFilter {
        LogFilter { default: level, targets: Vec::new() }
    }

    /// Reads a comma-separated list of `LEVEL` (for everything, `info` without one) and `TARGET=LEVEL`. Of
    /// two entries for the same target the later counts. The error says what is wrong, and what is accepted.
    pub fn parse(text: &str) -> Result<LogFilter, String> {
        let mut filter = LogFilter::new(LevelFilter::Info);
        for entry in text.split(',') {
            let (target, level) = match entry.split_once('=') {
                Some((target, level)) => (target, level),
                None => ("", entry),
            };
            let parsed: LevelFilter = level.parse().map_err(|_| {
                format!(
                    "\"{}\" is no level; accepted are off, error, warn, info, debug, trace",
                    level.escape_debug()
                )
            })?;
            if entry.starts_with('=') {
                return Err(format!("\"{entry}\" names no target"));
            }
            if target.is_empty() {
                filter.default = parsed;
                continue;
            }
            filter.targets.retain(|(other, _)| other != target);
            if filter.targets.len() == MAX_TARGETS {
                return Err(format!("more than {MAX_TARGETS} targets"));
            }
            filter.targets.push((target.to_string(), parsed));
        }
        filter.targets.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        Ok(filter)
    }

    /// The level for `target`: that of the longest entry which is the target itself or a part of its path
    /// (`net` is for `net` and `net::tcp`, not for `network`).
    pub fn level_for(&self, target: &str) -> LevelFilter {
        let within = |entry: &str| {
            target.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        self.targets.iter().find(|(entry, _)| within(entry)).map_or(self.default, |(_, level)| *level)
    }

    /// True when a record of this level and target is wanted.
    pub fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= self.level_for(metadata.target())
    }

    /// The most verbose level of all, for [`log::set_max_level`].
    pub fn max_level(&self) -> LevelFilter {
        self.targets.iter().map(|(_, level)| *level).fold(self.default, Ord::max)
    }
}

impl fmt::Display for LogFilter {
    /// As [`LogFilter::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = |level: LevelFilter| level.as_str().to_ascii_lowercase();
        f.write_str(&lower(self.default))?;
        self.targets.iter().try_for_each(|(target, level)| write!(f, ",{target}={}", lower(*level)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LevelFilter::{Debug, Info, Off, Trace, Warn};
    use proptest::prelude::*;

    #[test]
    fn the_longest_entry_wins() {
        let filter = LogFilter::parse("warn,net=debug,lnet::router=TRACE,net::arp=off").unwrap();
        assert_eq!(filter.level_for("virtio"), Warn);
        assert_eq!(filter.level_for("net"), Debug);
        assert_eq!(filter.level_for("net::tcp"), Debug);
        assert_eq!(filter.level_for("net::arp::probe"), Off);
        assert_eq!(filter.level_for("network"), Warn);
        assert_eq!(filter.level_for("lnet"), Warn);
        assert_eq!(filter.level_for("lnet::router"), Trace);
        assert_eq!(filter.max_level(), Trace);
        let record = |level, target| log::Metadata::builder().level(level).target(target).build();
        assert!(filter.enabled(&record(log::Level::Debug, "net")));
        assert!(!filter.enabled(&record(log::Level::Info, "virtio")));
    }

    #[test]
    fn later_entries_replace_earlier_ones() {
        let filter = LogFilter::parse("net=debug,trace,net=info").unwrap();
        assert_eq!((filter.level_for("net"), filter.level_for("x")), (Info, Trace));
    }

    #[test]
    fn mistakes_are_named() {
        for bad in ["", "loud", "net", "net=", "=info", "info,", "net=debug=info"] {
            assert!(LogFilter::parse(bad).is_err(), "{bad:?}");
        }
        assert!(LogFilter::parse("net=loud").unwrap_err().contains("\"loud\" is no level"));
        let many: Vec<String> = (0..65).map(|n| format!("t{n}=info")).collect();
        assert!(LogFilter::parse(&many.join(",")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>()) {
            let _ = LogFilter::parse(&text);
        }

        #[test]
        fn written_filters_read_back(
            entries in prop::collection::vec("([a-z]{1,3}(::[a-z]{1,2})?=)?(off|error|warn|info|debug|trace)", 1..10)
        ) {
            let filter = LogFilter::parse(&entries.join(",")).unwrap();
            prop_assert_eq!(LogFilter::parse(&filter.to_string()).unwrap(), filter);
        }
    }
}
