//! The keys of a node, and what each is good for (section 5.3).

use super::key;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use keelson_lwk_wire::channel::KeyRing;
use keelson_lwk_wire::handshake::{KeyUse, Modes, Roles};

/// Most keys of a node.
const MOST: usize = 32;

/// The keys of a node.
///
/// As text either 64 hexadecimal digits alone, for every host by whatever name and for everything; or lines such as
///
/// ```text
/// # name   key              what for: launch, monitor, admin; everything when none of them stands there
/// cluster  000102...1e1f
/// watcher  f0f1f2...feff    monitor
/// fast     a0a1a2...aeaf    mac      # its holders may do without encryption, and are still proven
/// ```
///
/// so that the key file of a host, which has name and key, is one of a node, too.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Keys {
    named: Vec<(String, [u8; 32], KeyUse)>,
    /// For whoever comes by another name.
    any: Option<[u8; 32]>,
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.named.iter().map(|(name, _, words)| (name, words))).finish()
    }
}

impl Keys {
    /// From text.
    ///
    /// # Errors
    ///
    /// In words, with the number of the line; never with the key.
    pub fn parse(text: &str) -> Result<Keys, String> {
        if !text.trim().contains(|character: char| character.is_whitespace()) {
            return Ok(Keys { named: Vec::new(), any: Some(key(text.trim())?) });
        }
        let mut keys = Keys::default();
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            let problem = |what: &str| Err(format!("line {}: {what}", number + 1));
            let (name, digits, purpose) = match words[..] {
                [] => continue,
                [name, digits] => (name, digits, KeyUse::default()),
                [name, digits, words] => match KeyUse::parse(words) {
                    Some(purpose) => (name, digits, purpose),
                    None => return problem(&format!("{words:?}: {}", KeyUse::ACCEPTED)),
                },
                _ => return problem("expected: name, key, and perhaps launch,monitor,admin,mac"),
            };
            let secret = match key(digits) {
                Ok(secret) => secret,
                Err(why) => return problem(&why),
            };
            if keys.named.iter().any(|(other, ..)| other == name) {
                return problem(&format!("{name:?} is there already"));
            }
            if keys.named.len() == MOST {
                return problem(&format!("more than {MOST} keys"));
            }
            keys.named.push((name.to_string(), secret, purpose));
        }
        if keys.named.is_empty() { Err("no key".to_string()) } else { Ok(keys) }
    }

    /// Protections that a host may have, whatever its key.
    pub fn all_modes(&self) -> Modes {
        self.named.iter().fold(Modes::AEAD, |modes, (_, _, purpose)| modes | purpose.modes)
    }

    fn named(&self, id: &str) -> Option<&(String, [u8; 32], KeyUse)> {
        self.named.iter().find(|(name, ..)| name == id)
    }
}

impl KeyRing for Keys {
    fn find(&self, id: &str) -> Option<[u8; 32]> {
        self.named(id).map(|(_, secret, _)| *secret).or(self.any)
    }

    fn modes(&self, id: &str) -> Modes {
        self.named(id).map_or(Modes::AEAD, |(_, _, purpose)| purpose.modes)
    }

    fn roles(&self, id: &str) -> Roles {
        match self.named(id) {
            Some((_, _, purpose)) => purpose.roles,
            None if self.any.is_some() => Roles::all(),
            None => Roles::empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_for_all_or_one_for_each() {
        let any = Keys::parse(&format!("{}\n", "0f".repeat(32))).unwrap();
        assert_eq!((any.find("whoever"), any.roles("whoever")), (Some([15; 32]), Roles::all()));
        let text = format!(
            "# keys\nall {}\nwatcher {} monitor # only looks\n\nboss {} admin,launch\n",
            "01".repeat(32),
            "02".repeat(32),
            "03".repeat(32)
        );
        let keys = Keys::parse(&text).unwrap();
        assert_eq!((keys.find("watcher"), keys.roles("watcher")), (Some([2; 32]), Roles::MONITOR));
        assert_eq!(keys.roles("boss"), Roles::all());
        assert_eq!((keys.find("all"), keys.roles("all")), (Some([1; 32]), Roles::all()));
        assert_eq!((keys.find("other"), keys.roles("other")), (None, Roles::empty()));
        assert!(!format!("{keys:?}").contains("[1, 1"), "keys are not shown");
    }

    #[test]
    fn encryption_is_given_up_by_key() {
        let text = format!(
            "all {}\nfast {} mac,launch\nboth {} mac\n",
            "01".repeat(32),
            "02".repeat(32),
            "03".repeat(32)
        );
        let keys = Keys::parse(&text).unwrap();
        assert_eq!(keys.all_modes(), Modes::AEAD | Modes::MAC);
        assert_eq!((keys.modes("all"), keys.modes("other")), (Modes::AEAD, Modes::AEAD));
        assert_eq!((keys.modes("fast"), keys.roles("fast")), (Modes::AEAD | Modes::MAC, Roles::LAUNCH));
        assert_eq!((keys.modes("both"), keys.roles("both")), (Modes::AEAD | Modes::MAC, Roles::all()));
        let one = Keys::parse(&"0f".repeat(32)).unwrap();
        assert_eq!((one.all_modes(), one.modes("whoever")), (Modes::AEAD, Modes::AEAD));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let key = "01".repeat(32);
        for (text, message) in [
            (
                format!("a {key}\nb {key} root"),
                "line 2: \"root\": accepted are launch, monitor and admin (for everything without one of them), and mac (without \
                 encryption), with commas",
            ),
            (format!("a {key}\na {key}"), "line 2: \"a\" is there already"),
            (
                format!("a {key} launch monitor"),
                "line 1: expected: name, key, and perhaps launch,monitor,admin,mac",
            ),
            ("# nothing\n".into(), "no key"),
        ] {
            assert_eq!(Keys::parse(&text).unwrap_err(), message);
        }
        assert!(Keys::parse("a 0102").unwrap_err().starts_with("line 1: accepted are 64"));
        assert!(Keys::parse("").is_err() && Keys::parse("0102").is_err());
    }
}
