//! The effective command line, checked and typed.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::problem::{Cause, Problem, Severity};
use crate::spec::{Kind, OptionSpec};
use crate::suggest::nearest;
use crate::value::{MmioDevice, parse_duration, parse_flag, parse_integer, parse_size};
use crate::words::{Word, raw_words, same_key};

/// Bytes of each line that are read. Linux stops at 4096 (2048 in older versions); ours may come from an
/// initial ramdisk too and list hundreds of exports.
pub const MAX_LINE: usize = 64 * 1024;

/// Keys that loaders add of their own accord: GRUB and PXELINUX name the image and the initial ramdisk.
const LOADER_KEYS: [&str; 2] = ["BOOT_IMAGE", "initrd"];

/// The options of an image with the values in force.
///
/// # Panics
///
/// The getters panic when no table declares `name`, or declares it with another [`Kind`]: a mistake in the
/// program that no command line can cause or hide, so that any test reading the option finds it.
#[derive(Debug)]
pub struct Config {
    options: Vec<Setting>,
    problems: Vec<Problem>,
    line: String,
}

/// One declared option and the accepted values given for it.
#[derive(Debug)]
struct Setting {
    spec: OptionSpec,
    values: Vec<String>,
}

impl Config {
    /// Reads `default_line`, then `loader_line`, against the image's `tables`.
    ///
    /// `role_prefixes` are the first parts of the role's dotted options (`nfs` for `nfs.export`): an unknown
    /// option or a bad value under one of them is [`Severity::Refuse`], because leaving out what was meant
    /// for an export list is worse than not serving. Bytes that are not UTF-8 are replaced by U+FFFD.
    pub fn parse(
        tables: &[&[OptionSpec]],
        role_prefixes: &[&str],
        default_line: &str,
        loader_line: &[u8],
    ) -> Config {
        let specs = tables.iter().copied().flatten();
        let options = specs.map(|&spec| Setting { spec, values: Vec::new() }).collect();
        let mut config = Config { options, problems: Vec::new(), line: String::new() };
        config.read(default_line.as_bytes(), role_prefixes);
        config.read(loader_line, role_prefixes);
        config
    }

    /// The words that were read, in order: what to read again elsewhere. For what is shown see [`Config::public_line`].
    pub fn effective_line(&self) -> &str {
        &self.line
    }

    /// The same without the options that are secret, and without those that are unknown but may be a secret one with a typing
    /// mistake: what may be shown to anybody.
    pub fn public_line(&self) -> String {
        let mut public = String::new();
        for raw in raw_words(&self.line).filter(|raw| !self.is_secret(Word::parse(raw).key)) {
            if !public.is_empty() {
                public.push(' ');
            }
            public.push_str(raw);
        }
        public
    }

    fn is_secret(&self, key: &str) -> bool {
        let specs = || self.options.iter().map(|setting| setting.spec);
        match specs().find(|spec| same_key(spec.name, key)) {
            Some(spec) => spec.secret,
            None => !nearest(key, specs().filter(|spec| spec.secret).map(|spec| spec.name)).is_empty(),
        }
    }

    /// Everything that was wrong, in the order of the line.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// True when a problem forbids the role to serve.
    pub fn must_refuse(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Refuse)
    }

    /// True when the line itself set the option (to an accepted value).
    pub fn is_set(&self, name: &str) -> bool {
        !self.setting(name).values.is_empty()
    }

    /// A [`Kind::Flag`]; off when neither set nor defaulted.
    pub fn flag(&self, name: &str) -> bool {
        self.typed(name, "a flag", |kind| matches!(kind, Kind::Flag)).and_then(parse_flag).unwrap_or(false)
    }

    /// A [`Kind::Integer`].
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.typed(name, "an integer", |kind| matches!(kind, Kind::Integer { .. })).and_then(parse_integer)
    }

    /// A [`Kind::Size`], in bytes.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.typed(name, "a size", |kind| matches!(kind, Kind::Size { .. })).and_then(parse_size)
    }

    /// A [`Kind::Duration`].
    pub fn duration(&self, name: &str) -> Option<Duration> {
        self.typed(name, "a duration", |kind| matches!(kind, Kind::Duration { .. })).and_then(parse_duration)
    }

    /// A [`Kind::Choice`]: one of the words of its table.
    pub fn choice(&self, name: &str) -> Option<&'static str> {
        let text = self.typed(name, "a choice", |kind| matches!(kind, Kind::Choice(_)))?;
        match self.setting(name).spec.kind {
            Kind::Choice(words) => words.iter().copied().find(|word| *word == text),
            _ => None,
        }
    }

    /// The text of an option of any kind: the last one for repeatable options.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).last()
    }

    /// All texts of an option of any kind, in the order of the line; the default when there are none.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let Setting { spec, values } = self.setting(name);
        let default = if values.is_empty() { spec.default } else { None };
        values.iter().map(String::as_str).chain(default)
    }

    /// All devices of a [`Kind::MmioDevice`].
    pub fn mmio_devices(&self, name: &str) -> impl Iterator<Item = MmioDevice> {
        self.texts(name).filter_map(MmioDevice::parse)
    }

    fn typed(&self, name: &str, what: &str, is: fn(&Kind) -> bool) -> Option<&str> {
        assert!(is(&self.setting(name).spec.kind), "option {name} is not declared as {what}");
        self.text(name)
    }

    fn setting(&self, name: &str) -> &Setting {
        match self.options.iter().find(|setting| same_key(setting.spec.name, name)) {
            Some(setting) => setting,
            None => panic!("option {name} is read but declared in no table"),
        }
    }

    /// Reads a further line after those before: what it says wins. See [`Config::parse`].
    pub fn read(&mut self, line: &[u8], role_prefixes: &[&str]) {
        let kept = match line.get(..MAX_LINE) {
            None => line,
            Some(start) => {
                let cause = Cause::TooLong { len: line.len() };
                self.problems.push(Problem { severity: Severity::Refuse, cause });
                // Half a word must not take effect.
                &start[..start.iter().rposition(u8::is_ascii_whitespace).unwrap_or(0)]
            }
        };
        let text: Cow<'_, str> = String::from_utf8_lossy(kept);
        for raw in raw_words(&text) {
            if !self.line.is_empty() {
                self.line.push(' ');
            }
            let mut word = Cow::Borrowed(raw);
            if raw.matches('"').count() % 2 == 1 {
                // Left open at the end of its line; closed, it does not swallow the words of the next one. It is read
                // as it is kept: within a value the quote stays, and would be another value when it is read again.
                word.to_mut().push('"');
            }
            self.line.push_str(&word);
            if let Err(problem) = self.apply(Word::parse(&word), role_prefixes) {
                self.problems.push(problem);
            }
        }
    }

    fn apply(&mut self, word: Word<'_>, role_prefixes: &[&str]) -> Result<(), Problem> {
        let prefix = word.key.split_once('.').map(|(prefix, _)| prefix);
        let of_role = prefix.is_some_and(|prefix| role_prefixes.iter().any(|role| same_key(role, prefix)));
        let severity = if of_role { Severity::Refuse } else { Severity::Warning };

        let Some(index) = self.options.iter().position(|setting| same_key(setting.spec.name, word.key))
        else {
            if LOADER_KEYS.contains(&word.key) || (word.value.is_none() && !of_role) {
                let cause = Cause::BareWord(word.to_string());
                return Err(Problem { severity: Severity::Note, cause });
            }
            let suggestions = nearest(word.key, self.options.iter().map(|setting| setting.spec.name));
            return Err(Problem {
                severity,
                cause: Cause::Unknown { name: word.key.to_string(), suggestions },
            });
        };

        let Setting { spec, values } = &mut self.options[index];
        let value = match (word.value, spec.kind) {
            (Some(value), _) => Ok(value),
            (None, Kind::Flag) => Ok("on"),
            // An owner's grammar may give the bare key a meaning.
            (None, Kind::Custom { check, .. }) if check("").is_ok() => Ok(""),
            (None, kind) => Err(kind.to_string()),
        };
        match value.and_then(|value| spec.kind.check(value).map(|()| value)) {
            Ok(value) => {
                if !spec.repeatable {
                    values.clear();
                }
                values.push(value.to_string());
                Ok(())
            }
            Err(why) => {
                let severity = if spec.essential { Severity::Refuse } else { severity };
                // What was nearly the secret is not shown either.
                let shown = |value| if spec.secret { "(hidden)" } else { value };
                let value = word.value.map(|value| shown(value).to_string());
                Err(Problem { severity, cause: Cause::BadValue { name: spec.name, value, why } })
            }
        }
    }
}

#[cfg(test)]
mod tests;
