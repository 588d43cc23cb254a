//! Quotas: `uquota=` and `gquota=` of an exports line, and the lines of `/.keelson/quota`.
//!
//! There is one volume, so limits are of users and groups on the volume, not of an export: it does not matter through
//! which export somebody writes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use keelson_volume::{Limit, LimitTable, Limits};

/// Whose limit a rule is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Holder {
    /// Every user without a rule of their own, but uid 0.
    EveryUser,
    /// Every group without a rule of its own, but gid 0.
    EveryGroup,
    /// This user.
    User(u32),
    /// This group.
    Group(u32),
}

/// A limit and whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotaRule {
    /// Whose.
    pub holder: Holder,
    /// How much.
    pub limit: Limit,
}

impl QuotaRule {
    /// Parses `[ID=]BYTES[:INODES]`, the value of `uquota` or `gquota`.
    pub(super) fn of_option(name: &str, value: Option<&str>) -> Result<QuotaRule, String> {
        let wrong = || {
            format!(
                "option '{name}={}': expected [ID=]BYTES[:INODES], as 10G:100000",
                value.unwrap_or_default()
            )
        };
        let value = value.ok_or_else(wrong)?;
        let (id, amounts) = match value.split_once('=') {
            Some((id, amounts)) => (Some(id.parse::<u32>().map_err(|_| wrong())?), amounts),
            None => (None, value),
        };
        let holder = match (name, id) {
            ("uquota", None) => Holder::EveryUser,
            ("uquota", Some(id)) => Holder::User(id),
            (_, None) => Holder::EveryGroup,
            (_, Some(id)) => Holder::Group(id),
        };
        let (bytes, inodes) = amounts.split_once(':').unwrap_or((amounts, "-"));
        let limit = limit(bytes, inodes).ok_or_else(wrong)?;
        Ok(QuotaRule { holder, limit })
    }

    /// Parses a line of the file: `user|group ID|* BYTES [INODES]`. `None` for an empty one.
    fn of_line(line: &str) -> Result<Option<QuotaRule>, String> {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(kind) = words.next() else { return Ok(None) };
        let wrong = || format!("'{}': expected user|group ID|* BYTES [INODES]", line.trim().escape_debug());
        let (id, bytes) = (words.next().ok_or_else(wrong)?, words.next().ok_or_else(wrong)?);
        let inodes = words.next().unwrap_or("-");
        let holder = match (kind, id, id.parse::<u32>()) {
            ("user", "*", _) => Holder::EveryUser,
            ("group", "*", _) => Holder::EveryGroup,
            ("user", _, Ok(id)) => Holder::User(id),
            ("group", _, Ok(id)) => Holder::Group(id),
            _ => return Err(wrong()),
        };
        let limit = limit(bytes, inodes).filter(|_| words.next().is_none()).ok_or_else(wrong)?;
        Ok(Some(QuotaRule { holder, limit }))
    }
}

/// Parses the file. A line that is wrong is left out; its number, from 1, and what is wrong come beside the rules.
pub fn parse_quotas(text: &str) -> (Vec<QuotaRule>, Vec<(usize, String)>) {
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        match QuotaRule::of_line(line) {
            Ok(rule) => rules.extend(rule),
            Err(message) => problems.push((index + 1, message)),
        }
    }
    (rules, problems)
}

/// Limits from rules of rising weight: a later list overrides an earlier one. Within a list the smaller limit counts;
/// whoever has two is returned too.
pub fn limits_of(lists: &[&[QuotaRule]]) -> (Limits, Vec<Holder>) {
    let (mut limits, mut twice) = (Limits::default(), Vec::new());
    for list in lists {
        let mut set = alloc::collections::BTreeSet::new();
        for rule in *list {
            let (place, other) = (place(&mut limits, rule.holder), rule.limit);
            if set.insert(rule.holder) {
                *place = other;
            } else if *place != other {
                *place = Limit {
                    bytes: smaller(place.bytes, other.bytes),
                    inodes: smaller(place.inodes, other.inodes),
                };
                twice.push(rule.holder);
            }
        }
    }
    (limits, twice)
}

fn place(limits: &mut Limits, holder: Holder) -> &mut Limit {
    fn single(table: &mut LimitTable, id: u32) -> &mut Limit {
        table.single.entry(id).or_default()
    }
    match holder {
        Holder::EveryUser => &mut limits.users.default,
        Holder::EveryGroup => &mut limits.groups.default,
        Holder::User(id) => single(&mut limits.users, id),
        Holder::Group(id) => single(&mut limits.groups, id),
    }
}

fn smaller(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn limit(bytes: &str, inodes: &str) -> Option<Limit> {
    Some(Limit { bytes: amount(bytes)?, inodes: amount(inodes)? })
}

/// A number with K, M, G or T behind it, each 1024 of the one before. 0 and `-` are no limit, as for setquota(8).
fn amount(text: &str) -> Option<Option<u64>> {
    if text == "-" {
        return Some(None);
    }
    let suffix = "KMGT".find(|letter: char| text.to_ascii_uppercase().ends_with(letter));
    let (digits, shift) = match suffix {
        Some(place) => (&text[..text.len() - 1], 10 * (place as u32 + 1)),
        None => (text, 0),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    Some(Some(amount).filter(|amount| *amount != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(name: &str, value: &str) -> Result<QuotaRule, String> {
        QuotaRule::of_option(name, Some(value))
    }

    fn rule(holder: Holder, bytes: u64, inodes: u64) -> QuotaRule {
        let some = |amount| Some(amount).filter(|amount| *amount != 0);
        QuotaRule { holder, limit: Limit { bytes: some(bytes), inodes: some(inodes) } }
    }

    #[test]
    fn options_have_sizes_counts_and_ids() {
        assert_eq!(option("uquota", "10G:100"), Ok(rule(Holder::EveryUser, 10 << 30, 100)));
        assert_eq!(option("uquota", "1000=5k"), Ok(rule(Holder::User(1000), 5 << 10, 0)));
        assert_eq!(option("gquota", "7=0:1M"), Ok(rule(Holder::Group(7), 0, 1 << 20)));
        assert_eq!(option("gquota", "4096"), Ok(rule(Holder::EveryGroup, 4096, 0)));
        assert_eq!(option("gquota", "1T:-"), Ok(rule(Holder::EveryGroup, 1 << 40, 0)));
        for wrong in ["", "x", "1=", "=1", "-1", "1:2:3", "G", "1GG", "99999999999T", "4294967296=1", "é"] {
            let message = option("uquota", wrong).expect_err(wrong);
            assert!(message.contains("expected [ID=]BYTES[:INODES]"), "{message}");
        }
        assert!(QuotaRule::of_option("uquota", None).is_err());
    }

    #[test]
    fn the_file_has_a_line_for_each() {
        let text =
            "# comment\nuser * 1G 1000\n\nuser 5 2G # more\ngroup\t7 - 10\nuser x 1\ngroup * 1 2 3\nhost 1 1";
        let (rules, problems) = parse_quotas(text);
        let expected = [
            rule(Holder::EveryUser, 1 << 30, 1000),
            rule(Holder::User(5), 2 << 30, 0),
            rule(Holder::Group(7), 0, 10),
        ];
        assert_eq!(rules, expected);
        assert_eq!(problems.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [6, 7, 8]);
    }

    #[test]
    fn later_lists_override_and_within_one_the_smaller_counts() {
        let first = [rule(Holder::EveryUser, 10, 10), rule(Holder::User(5), 7, 0)];
        let second =
            [rule(Holder::EveryUser, 0, 20), rule(Holder::EveryUser, 30, 25), rule(Holder::Group(1), 1, 0)];
        let (limits, twice) = limits_of(&[&first, &second]);
        assert_eq!(limits.users.default, Limit { bytes: Some(30), inodes: Some(20) });
        assert_eq!(limits.users.of(5).bytes, Some(7));
        assert_eq!((limits.groups.of(1).bytes, limits.groups.of(2)), (Some(1), Limit::NONE));
        assert_eq!(twice, [Holder::EveryUser]);
    }
}
