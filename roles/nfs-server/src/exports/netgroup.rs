//! Netgroups: named lists of hosts, as netgroup(5) writes them.
//!
//! A line is a name and its members: `(host,user,domain)` or the name of another group. Of a triple only the host
//! counts here; an empty host means every host, `-` means none.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Member {
    Everyone,
    /// In lower case.
    Host(String),
    Group(String),
}

/// A table of netgroups.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Netgroups {
    groups: BTreeMap<String, Vec<Member>>,
    /// There is a table that could not be read: it is not known who is in a group.
    pub(crate) is_unknown: bool,
}

impl Netgroups {
    /// Parses netgroup(5); `;` ends a line too. A member that is wrong takes its line with it: the number of the
    /// line, from 1, and what is wrong come beside the table.
    pub fn parse(text: &str) -> (Netgroups, Vec<(usize, String)>) {
        let (mut groups, mut problems) = (BTreeMap::<String, Vec<Member>>::new(), Vec::new());
        for (number, line) in super::parse::logical_lines(text) {
            match parse_line(&line) {
                Ok(None) => {}
                // A group on two lines has the members of both.
                Ok(Some((name, members))) => groups.entry(name).or_default().extend(members),
                Err(message) => problems.push((number, message)),
            }
        }
        (Netgroups { groups, is_unknown: false }, problems)
    }

    /// Adds another table; groups that are here already stay as they are.
    pub fn append(&mut self, other: Netgroups) {
        for (name, members) in other.groups {
            self.groups.entry(name).or_insert(members);
        }
        self.is_unknown |= other.is_unknown;
    }

    /// True when there is such a group.
    pub fn has(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// Whether a host with these names (its address among them) is in a group, or in one of those in it.
    pub fn contains(&self, group: &str, names: &[String]) -> bool {
        let (mut seen, mut rest) = (BTreeSet::new(), Vec::from([group]));
        while let Some(group) = rest.pop() {
            if !seen.insert(group) {
                // Groups that contain each other.
                continue;
            }
            for member in self.groups.get(group).into_iter().flatten() {
                match member {
                    Member::Everyone => return true,
                    Member::Host(host) if names.iter().any(|name| is_called(name, host)) => return true,
                    Member::Host(_) => {}
                    Member::Group(other) => rest.push(other),
                }
            }
        }
        false
    }
}

/// The whole name, or its first part.
fn is_called(name: &str, host: &str) -> bool {
    name.eq_ignore_ascii_case(host)
        || name.parse::<core::net::IpAddr>().is_err()
            && name.split('.').next().is_some_and(|short| short.eq_ignore_ascii_case(host))
}

fn parse_line(line: &str) -> Result<Option<(String, Vec<Member>)>, String> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(None);
    }
    let (name, mut rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    if let Some(odd) = name.chars().find(|letter| !is_name(*letter)) {
        return Err(format!("name '{}' contains '{}'", name.escape_debug(), odd.escape_debug()));
    }
    let mut members = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(Some((name.to_string(), members)));
        }
        let Some(triple) = rest.strip_prefix('(') else {
            let end = rest.find([' ', '\t', '(']).unwrap_or(rest.len());
            let (group, behind) = rest.split_at(end);
            if !group.chars().all(is_name) {
                return Err(format!("'{}' is no (host,user,domain) and no group", group.escape_debug()));
            }
            members.push(Member::Group(group.to_string()));
            rest = behind;
            continue;
        };
        let wrong = || format!("'{}' is no (host,user,domain)", rest.escape_debug());
        let (triple, behind) = triple.split_once(')').ok_or_else(wrong)?;
        let mut fields = triple.split(',').map(str::trim);
        let (Some(host), Some(_user), Some(_domain), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(wrong());
        };
        match host {
            "" => members.push(Member::Everyone),
            "-" => {}
            host => members.push(Member::Host(host.to_ascii_lowercase())),
        }
        rest = behind;
    }
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_.:+".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(text: &str) -> Netgroups {
        let (groups, problems) = Netgroups::parse(text);
        assert_eq!(problems, []);
        groups
    }

    fn is_in(groups: &Netgroups, group: &str, names: &[&str]) -> bool {
        groups.contains(group, &names.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn members_are_hosts_and_groups() {
        let groups = table(
            "# staff\nstaff (alice.example.org,,) ( Bob , - , ) \\\n (10.0.0.7,x,y) printers\n\
             printers (lp1,,)(lp2,,)\nnobody (-,root,)\nall (,,)\nempty\nprinters (lp3,,)",
        );
        assert!(is_in(&groups, "staff", &["alice.example.org"]));
        assert!(!is_in(&groups, "staff", &["alice.example.com"]));
        assert!(is_in(&groups, "staff", &["bob.anywhere"]), "a short name");
        assert!(is_in(&groups, "staff", &["unheard-of", "10.0.0.7"]));
        assert!(!is_in(&groups, "staff", &["10.0.0.8"]));
        assert!(is_in(&groups, "staff", &["LP2"]) && is_in(&groups, "printers", &["lp3"]), "nested");
        assert!(!is_in(&groups, "printers", &["bob"]));
        assert!(!is_in(&groups, "nobody", &["bob"]) && is_in(&groups, "all", &["bob"]));
        assert!(!is_in(&groups, "empty", &["bob"]) && !is_in(&groups, "unknown", &["bob"]));
        assert!(groups.has("empty") && !groups.has("unknown"));
    }

    #[test]
    fn circles_come_to_an_end() {
        let groups = table("a b c\nb c a (h,,)\nc a c\nlonely lonely");
        assert!(is_in(&groups, "a", &["h"]) && is_in(&groups, "c", &["h"]));
        assert!(!is_in(&groups, "a", &["i"]) && !is_in(&groups, "lonely", &["i"]));
        let chain: String = (0..3000).map(|at| format!("g{at} g{}\n", at + 1)).collect();
        let groups = table(&(chain + "g3000 (deep,,)"));
        assert!(is_in(&groups, "g0", &["deep"]) && !is_in(&groups, "g0", &["other"]));
    }

    #[test]
    fn a_wrong_line_is_left_out() {
        let (groups, problems) = Netgroups::parse("a (h,,\nb (h,)\nc (h,,) x$y\nd (h,,)\ne$ (h,,)\nf (h,,,)");
        let lines: Vec<_> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 5, 6], "{problems:?}");
        assert!(!groups.has("c") && is_in(&groups, "d", &["h"]));
    }

    #[test]
    fn an_address_has_no_short_name() {
        let groups = table("a (10,,)");
        assert!(!is_in(&groups, "a", &["10.0.0.1"]));
        assert!(is_in(&groups, "a", &["10.example.org"]));
    }

    proptest! {
        #[test]
        fn any_text_parses_without_panic(text in "[ -~\n\\\\\"();#é]{0,80}") {
            let (groups, _) = Netgroups::parse(&text);
            groups.contains("a", &["a".into()]);
        }
    }
}
