//! What an option is: the one table that parser, messages, help and documentation are made from.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::value::{MmioDevice, parse_duration, parse_flag, parse_integer, parse_size};
use crate::words::same_key;

/// One option, as its owner declares it.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The key as documented, `subsystem.name` or a name that Linux administrators know.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// The value in force when the line does not set it; `None` for "not set".
    pub default: Option<&'static str>,
    /// Every occurrence counts, instead of only the last.
    pub repeatable: bool,
    /// The crate or role that reads it, for grouping: `kernel`, `net`, `nfs-server`.
    pub owner: &'static str,
    /// One paragraph for the administrator.
    pub help: &'static str,
    /// A bad value makes the role refuse to serve, although the name lacks the role's prefix.
    pub essential: bool,
    /// Its value is nobody's business but its owner's: see [`Config::public_line`](crate::Config::public_line).
    pub secret: bool,
}

/// The type of an option's value and what is accepted.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A switch; the bare key means "on".
    Flag,
    /// An integer, both limits included.
    Integer {
        /// Smallest accepted value.
        min: i64,
        /// Largest accepted value.
        max: i64,
    },
    /// A number of bytes with an optional suffix K, M, G, both limits included.
    Size {
        /// Smallest accepted value.
        min: u64,
        /// Largest accepted value.
        max: u64,
    },
    /// A span of time with a unit (`us`, `ms`, `s`, `m`, `h`, `d`), both limits included.
    Duration {
        /// Smallest accepted value.
        min: Duration,
        /// Largest accepted value.
        max: Duration,
    },
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `size@base:irq[:id]`.
    MmioDevice,
    /// A grammar of the owner's.
    Custom {
        /// The value's shape for help and messages: `LEVEL,TARGET=LEVEL,...`.
        form: &'static str,
        /// Says what is wrong with a value.
        check: fn(&str) -> Result<(), String>,
    },
}

impl OptionSpec {
    /// An option without a default, owned by nobody, of which the last occurrence counts.
    pub const fn new(name: &'static str, kind: Kind, help: &'static str) -> OptionSpec {
        OptionSpec {
            name,
            kind,
            default: None,
            repeatable: false,
            owner: "",
            help,
            essential: false,
            secret: false,
        }
    }

    /// Sets the value in force when the line does not mention the option.
    pub const fn default(self, text: &'static str) -> OptionSpec {
        OptionSpec { default: Some(text), ..self }
    }

    /// Makes every occurrence count.
    pub const fn repeatable(self) -> OptionSpec {
        OptionSpec { repeatable: true, ..self }
    }

    /// Names the crate or role that reads the option.
    pub const fn owner(self, owner: &'static str) -> OptionSpec {
        OptionSpec { owner, ..self }
    }

    /// Keeps its value out of what is shown of the command line.
    pub const fn secret(self) -> OptionSpec {
        OptionSpec { secret: true, ..self }
    }

    /// Makes a bad value stop the role from serving.
    pub const fn essential(self) -> OptionSpec {
        OptionSpec { essential: true, ..self }
    }
}

impl Kind {
    /// Says what is wrong with `value`, in words that follow "`name=value`: ".
    pub fn check(&self, value: &str) -> Result<(), String> {
        let accepted = match *self {
            Kind::Flag => parse_flag(value).is_some(),
            Kind::Integer { min, max } => parse_integer(value).is_some_and(|n| (min..=max).contains(&n)),
            Kind::Size { min, max } => parse_size(value).is_some_and(|n| (min..=max).contains(&n)),
            Kind::Duration { min, max } => parse_duration(value).is_some_and(|d| (min..=max).contains(&d)),
            Kind::Text => true,
            Kind::Choice(words) => words.contains(&value),
            Kind::MmioDevice => MmioDevice::parse(value).is_some(),
            Kind::Custom { check, .. } => return check(value),
        };
        if accepted { Ok(()) } else { Err(format!("accepted is {self}")) }
    }

    /// The value as the help text shows it after `name=`; empty for a switch.
    pub fn placeholder(&self) -> String {
        match *self {
            Kind::Flag => String::new(),
            Kind::Integer { .. } => "N".to_string(),
            Kind::Size { .. } => "SIZE".to_string(),
            Kind::Duration { .. } => "TIME".to_string(),
            Kind::Text => "TEXT".to_string(),
            Kind::Choice(words) => words.join("|"),
            Kind::MmioDevice => "SIZE@BASE:IRQ[:ID]".to_string(),
            Kind::Custom { form, .. } => form.to_string(),
        }
    }
}

impl fmt::Display for Kind {
    /// What is accepted, for messages and documentation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Kind::Flag => f.write_str("on or off"),
            Kind::Integer { min, max } => write!(f, "an integer from {min} to {max}"),
            Kind::Size { min, max } => {
                write!(f, "a size from {} to {} (suffix K, M or G)", Bytes(min), Bytes(max))
            }
            Kind::Duration { min, max } => {
                write!(f, "a time from {min:?} to {max:?} (unit us, ms, s, m, h or d; seconds without)")
            }
            Kind::Text => f.write_str("any text"),
            Kind::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Kind::MmioDevice => f.write_str("size@base:irq[:id], for example 512@0xfeb00e00:12"),
            Kind::Custom { form, .. } => f.write_str(form),
        }
    }
}

/// A number of bytes in the largest suffix that shows it exactly.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "G"), (20, "M"), (10, "K")];
        match units.into_iter().find(|(shift, _)| self.0 > 0 && self.0.trailing_zeros() >= *shift) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Mistakes in the tables themselves, for a test of each image: a name declared twice or not written in the
/// usual characters, a default that the option's own check refuses, missing help or owner.
pub fn lint(tables: &[&[OptionSpec]]) -> Vec<String> {
    let mut mistakes = Vec::new();
    let all: Vec<&OptionSpec> = tables.iter().copied().flatten().collect();
    for (index, spec) in all.iter().enumerate() {
        let name = spec.name;
        let mut complain = |what: String| mistakes.push(format!("option {name}: {what}"));
        if all[..index].iter().any(|other| same_key(other.name, name)) {
            complain("declared twice".to_string());
        }
        let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || !name.bytes().all(usual) {
            complain("the name may contain letters, digits, '.', '_' and '-' only".to_string());
        }
        if let Some(Err(why)) = spec.default.map(|default| spec.kind.check(default)) {
            complain(format!("its default is refused: {why}"));
        }
        if spec.help.is_empty() || spec.owner.is_empty() {
            complain("needs help and an owner".to_string());
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lint_finds_each_mistake() {
        const GOOD: OptionSpec = OptionSpec::new("a-b", Kind::Flag, "Help.").owner("test");
        assert!(lint(&[&[GOOD]]).is_empty());
        assert_eq!(lint(&[&[GOOD], &[OptionSpec { name: "a_b", ..GOOD }]]).len(), 1);
        assert_eq!(lint(&[&[OptionSpec { name: "a b", ..GOOD }]]).len(), 1);
        assert_eq!(lint(&[&[GOOD.default("maybe")]]).len(), 1);
        assert_eq!(lint(&[&[GOOD.owner("")]]).len(), 1);
    }

    #[test]
    fn limits_are_included_and_named() {
        let size = Kind::Size { min: 4096, max: 1 << 30 };
        assert!(size.check("4K").is_ok() && size.check("1G").is_ok());
        assert_eq!(size.check("4095").unwrap_err(), "accepted is a size from 4K to 1G (suffix K, M or G)");
        assert!(Kind::Integer { min: -1, max: 1 }.check("-2").is_err());
        let time = Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(1) };
        assert!(time.check("1000ms").is_ok() && time.check("2").is_err());
    }
}
