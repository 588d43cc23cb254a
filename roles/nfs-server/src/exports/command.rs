//! `exportfs`, the administrator's command: shows exports and changes them while they are served.

use super::{ClientSpec, Export, Table, parse_exports};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

/// How it is used.
pub(crate) const USAGE: &str = "usage: exportfs [-v | -s]                    list the exports\n       \
     exportfs -r[v]                        read them anew and put them in force\n       \
     exportfs -o OPTIONS CLIENT:/DIR       export more, until they are read anew\n       \
     exportfs -u [CLIENT:]/DIR | -ua       export less, until they are read anew\n       \
     exportfs show FILE                    exports, hosts, netgroup or quota, as stored on the volume\n       \
     exportfs store FILE <<END             replaces it by the lines up to END; then exportfs -r\n";

/// What was typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// List.
    List(Listing),
    /// Read everything anew; true: list it then.
    Reload { verbose: bool },
    /// Export a directory to one more client.
    Add { client: String, path: String, options: String },
    /// Take away an export, or a client of it.
    Remove { client: Option<String>, path: String },
    /// Take away all.
    RemoveAll,
    /// Show a file.
    Show { file: String },
    /// Replace a file.
    Store { file: String, text: String },
}

/// How the exports are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listing {
    /// Directories and clients.
    Names,
    /// With the options (`-v`).
    Options,
    /// As a text of exports(5) (`-s`).
    Text,
}

impl Command {
    /// Parses the words after `exportfs`. `None`: [`USAGE`] is the answer.
    pub fn parse(words: &[&str]) -> Option<Command> {
        let own = |text: &str| text.to_string();
        Some(match words {
            [] => Command::List(Listing::Names),
            ["-v"] => Command::List(Listing::Options),
            ["-s"] => Command::List(Listing::Text),
            ["show", file] => Command::Show { file: own(file) },
            ["store", file, text] => Command::Store { file: own(file), text: own(text) },
            ["-ua" | "-au"] | ["-u", "-a"] => Command::RemoveAll,
            ["-u", what] => {
                let (client, path) = target(what)?;
                Command::Remove { client: client.map(own), path: own(path) }
            }
            ["-o", options, what] | ["-i", "-o", options, what] => {
                let (client, path) = target(what)?;
                Command::Add { client: own(client?), path: own(path), options: own(options) }
            }
            // -a exports all that is configured, which reading anew does.
            flags => {
                let mut verbose = false;
                for flag in flags {
                    let letters = flag.strip_prefix('-').filter(|letters| !letters.is_empty())?;
                    if !letters.chars().all(|letter| "rav".contains(letter)) {
                        return None;
                    }
                    verbose |= letters.contains('v');
                }
                Command::Reload { verbose }
            }
        })
    }
}

/// Client and path of `client:/path`, or the path alone. The client may have colons, and a prefix of its own.
fn target(what: &str) -> Option<(Option<&str>, &str)> {
    if what.starts_with('/') {
        return Some((None, what));
    }
    // As Linux wants addresses of IPv6.
    if let Some((client, path)) = what.strip_prefix('[').and_then(|rest| rest.split_once("]:/"))
        && client.contains(':')
    {
        let path = &what[what.len() - path.len() - 1..];
        return ClientSpec::parse(client).is_ok().then_some((Some(client), path));
    }
    let mut splits = what.match_indices(":/").map(|(at, _)| (&what[..at], &what[at + 1..]));
    splits.find(|(client, _)| ClientSpec::parse(client).is_ok()).map(|(client, path)| (Some(client), path))
}

/// The exports as `exportfs` of Linux prints them: a line for each directory and client.
pub(crate) fn list(table: &Table, listing: Listing) -> String {
    /// A longer path has a line of its own.
    const COLUMN: usize = 14;
    let column = if listing == Listing::Text { 0 } else { COLUMN };
    let mut text = String::new();
    for export in table.list() {
        for client in &export.clients {
            let name = match &client.spec {
                ClientSpec::Anyone if listing != Listing::Text => "<world>".to_string(),
                spec => spec.to_string(),
            };
            let break_after = match listing {
                Listing::Text => "  ",
                _ if export.path.len() > COLUMN => "\n\t\t",
                _ => "\t",
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "{:<column$}{break_after}{name}", export.path);
            if listing != Listing::Names {
                let _ = write!(text, "({})", client.options);
            }
            text.push('\n');
        }
    }
    text
}

/// The table with one more client of a directory; instead of the one with the same name there.
pub(crate) fn add(table: &Table, client: &str, path: &str, options: &str) -> Result<Table, String> {
    if path.contains(['"', '\\', '\n', ';']) {
        return Err(format!("'{}' contains a character that exports(5) cannot have", path.escape_debug()));
    }
    ClientSpec::parse(client)?;
    if options.contains(|letter: char| "()\"\\;#".contains(letter) || letter.is_whitespace()) {
        return Err(format!("'{}' is no list of options", options.escape_debug()));
    }
    let (mut new, problems) = parse_exports(&format!("\"{path}\" {client}({options})"));
    if let Some(problem) = problems.into_iter().find(|problem| problem.fatal) {
        return Err(problem.message);
    }
    if new.iter().any(|export| !export.quotas.is_empty()) {
        return Err("quotas are read with the exports: write them there".to_string());
    }
    let (Some(new), true) = (new.pop(), new.is_empty()) else { return Err(USAGE.to_string()) };
    let mut list: Vec<Export> = table.list().iter().map(|export| (**export).clone()).collect();
    match list.iter_mut().find(|export| export.path == new.path) {
        Some(export) => {
            if new.fsid.is_some() && new.fsid != export.fsid {
                return Err(format!("{}: clients have different fsid=", new.path));
            }
            export.clients.retain(|client| new.clients.iter().all(|other| other.spec != client.spec));
            export.clients.extend(new.clients);
        }
        None => {
            super::parse::check_unique(&new, &list)?;
            list.push(new);
        }
    }
    Ok(table.with_exports(list))
}

/// The table without an export, or without a client of it.
pub(crate) fn remove(table: &Table, client: Option<&str>, path: &str) -> Result<Table, String> {
    let mut list: Vec<Export> = table.list().iter().map(|export| (**export).clone()).collect();
    let path = super::normalise(path).unwrap_or_else(|| path.to_string());
    let Some(at) = list.iter().position(|export| export.path == path) else {
        return Err(format!("{} is not exported", path.escape_debug()));
    };
    match client {
        None => drop(list.remove(at)),
        Some(client) => {
            let spec = ClientSpec::parse(client)?;
            let clients = &mut list[at].clients;
            let before = clients.len();
            clients.retain(|client| client.spec != spec);
            if clients.len() == before {
                return Err(format!("{path} is not exported to {spec}"));
            }
            if clients.is_empty() {
                list.remove(at);
            }
        }
    }
    Ok(table.with_exports(list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exports::Netgroups;
    use crate::names::HostTable;

    fn table(text: &str) -> Table {
        let (list, problems) = parse_exports(text);
        assert_eq!(problems, []);
        Table::new(list, HostTable::default(), Netgroups::default())
    }

    #[test]
    fn words_are_those_of_linux() {
        let parse = |line: &str| Command::parse(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(parse(""), Some(Command::List(Listing::Names)));
        assert_eq!(parse("-v"), Some(Command::List(Listing::Options)));
        assert_eq!(parse("-rv"), Some(Command::Reload { verbose: true }));
        assert_eq!(parse("-r -a"), Some(Command::Reload { verbose: false }));
        assert_eq!(parse("-ua"), Some(Command::RemoveAll));
        let removed =
            |client: Option<&str>| Command::Remove { client: client.map(String::from), path: "/a".into() };
        assert_eq!(parse("-u /a"), Some(removed(None)));
        assert_eq!(parse("-u fd00::/16:/a"), Some(removed(Some("fd00::/16"))));
        assert_eq!(parse("-u fd00::1:/a"), Some(removed(Some("fd00::1"))));
        assert_eq!(parse("-u [fd00::1]:/a"), Some(removed(Some("fd00::1"))));
        assert_eq!(parse("-u [fd00::/16]:/a"), Some(removed(Some("fd00::/16"))));
        assert_eq!(parse("-u [ab].c:/a"), Some(removed(Some("[ab].c"))));
        assert_eq!(parse("-u 10.0.0.0/255.0.0.0:/a"), Some(removed(Some("10.0.0.0/255.0.0.0"))));
        assert_eq!(parse("-u *:/a"), Some(removed(Some("*"))));
        let added = Command::Add { client: "h".into(), path: "/a".into(), options: "rw".into() };
        assert_eq!(parse("-o rw h:/a"), Some(added));
        for wrong in ["-x", "all", "-u", "-u a", "-o rw /a", "-o rw", "-", "store exports", "show"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lists_look_like_those_of_linux() {
        let table = table(
            "/srv *(rw) 10.0.0.0/8(async,no_root_squash,insecure);/a/long/directory h(all_squash,anonuid=5)",
        );
        assert_eq!(
            list(&table, Listing::Names),
            "/srv          \t<world>\n/srv          \t10.0.0.0/8\n/a/long/directory\n\t\th\n"
        );
        let verbose = list(&table, Listing::Options);
        let lines: Vec<_> = verbose.lines().collect();
        assert_eq!(
            lines[..2],
            [
                "/srv          \t<world>(sync,wdelay,hide,no_subtree_check,sec=sys,rw,secure,root_squash,no_all_squash)",
                "/srv          \t10.0.0.0/8(async,wdelay,hide,no_subtree_check,sec=sys,ro,insecure,no_root_squash,\
                 no_all_squash)"
            ]
        );
        assert!(lines[3].ends_with(
            "h(sync,wdelay,hide,no_subtree_check,anonuid=5,sec=sys,ro,secure,root_squash,all_squash)"
        ));
    }

    #[test]
    fn exports_come_and_go() {
        let before = table("/a h(rw) g;/b");
        let more = add(&before, "h", "/a", "ro,insecure").expect("replaced");
        let options = more.list()[0].clients.iter().find(|client| client.spec.to_string() == "h");
        assert!(options.is_some_and(|client| !client.options.writable && !client.options.secure));
        assert_eq!(more.list()[0].clients.len(), 2);
        let more = add(&more, "10.0.0.0/8", "/c d", "rw").expect("added");
        assert_eq!(more.list()[2].path, "/c d");
        assert!(add(&more, "h", "/x", "rx").expect_err("wrong").contains("unknown option"));
        assert!(add(&more, "h", "/x\" * \"", "rw").is_err());
        assert!(add(&more, "h(rw) *", "/x", "rw").is_err());
        assert!(add(&more, "h", "/x", "rw) *(rw").is_err());
        let less = remove(&more, Some("g"), "//a/").expect("removed");
        assert_eq!(less.list()[0].clients.len(), 1);
        let less = remove(&less, Some("h"), "/a").expect("removed");
        assert_eq!(less.list().iter().map(|export| &export.path[..]).collect::<Vec<_>>(), ["/b", "/c d"]);
        let less = remove(&less, None, "/b").expect("removed");
        assert_eq!(remove(&less, None, "/b").expect_err("gone"), "/b is not exported");
        assert_eq!(remove(&less, Some("k"), "/c d").expect_err("none"), "/c d is not exported to k");
    }
}
