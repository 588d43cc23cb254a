//! What an administrator writes: exports(5), netgroup(5), hosts(5), quotas, the words of `exportfs`.

use crate::world::World;
use keelson_nfs_server::HostTable;
use keelson_nfs_server::exports::{
    ClientSpec, Export, Holder, Netgroups, QuotaRule, Table, WildcardDots, limits_of, normalise,
    parse_exports, parse_quotas,
};
use std::fmt::Write;
use std::net::IpAddr;

/// Messages about a line are for people.
const LONGEST_MESSAGE: usize = 500;
/// What begins an input that is typed at the console instead.
const COMMAND: &[u8] = b"exportfs ";

/// The input is read as a text in each grammar; one that begins with `exportfs ` is a sequence of such commands.
pub fn exports(input: &[u8]) {
    if input.starts_with(COMMAND) {
        return commands(input);
    }
    let text = String::from_utf8_lossy(input);
    exported(&text);
    quotas(&text);
    let (groups, _) = Netgroups::parse(&text);
    for word in text.split_whitespace().take(20) {
        groups.contains(word, &["client".into(), "10.0.0.2".into(), word.to_lowercase()]);
    }
    let (hosts, _) = HostTable::parse_file(&text);
    let _ = (hosts.name_of(address(2)), HostTable::parse(&text));
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn exported(text: &str) {
    let (list, problems) = parse_exports(text);
    for problem in &problems {
        assert!(problem.message.len() <= LONGEST_MESSAGE, "a message of {} bytes", problem.message.len());
        assert!((1..=text.lines().count() + 1).contains(&problem.line), "line {}", problem.line);
    }
    let printed: String = list.iter().map(|export| line(export) + "\n").collect();
    let (again, problems) = parse_exports(&printed);
    assert!(problems.iter().all(|problem| !problem.fatal), "{problems:?} in {printed}");
    assert_eq!(again.len(), list.len(), "{printed}");
    for (one, other) in list.iter().zip(&again) {
        assert_eq!(normalise(&one.path).as_deref(), Some(&*one.path));
        assert_eq!((&one.path, one.id, one.fsid), (&other.path, other.id, other.fsid), "{printed}");
        assert_eq!(one.clients, other.clients, "{printed}");
        assert_eq!(one.quotas, other.quotas, "{printed}");
    }
    matched(&list);
    let table = Table::new(list, HostTable::default(), Netgroups::default());
    for export in table.list() {
        assert!(table.by_id(export.id).is_some_and(|found| found.path == export.path), "numbers differ");
        let covering = table.covering(&export.path);
        assert!(covering.first().is_some_and(|first| first.path == export.path), "the deepest first");
    }
}

/// An export as exports(5) can have it, with everything said.
fn line(export: &Export) -> String {
    let mut text = escaped(&export.path);
    for client in &export.clients {
        let mut options = client.options;
        let fsid = options.fsid.take();
        // Writing to a string cannot fail.
        let _ = write!(text, " {}({options}", escaped(&client.spec.to_string()));
        if let Some(fsid) = fsid {
            // In the form of a UUID, which can have numbers of 64 bits.
            let _ = write!(text, ",fsid={fsid:032x}");
        }
        text.push(')');
    }
    for rule in &export.quotas {
        let (name, id) = match rule.holder {
            Holder::EveryUser => ("uquota", String::new()),
            Holder::EveryGroup => ("gquota", String::new()),
            Holder::User(id) => ("uquota", format!("{id}=")),
            Holder::Group(id) => ("gquota", format!("{id}=")),
        };
        let [bytes, inodes] = amounts(rule);
        let end = text.pop();
        assert_eq!(end, Some(')'));
        let _ = write!(text, ",{name}={id}{bytes}:{inodes})");
    }
    text
}

fn amounts(rule: &QuotaRule) -> [String; 2] {
    [rule.limit.bytes, rule.limit.inodes]
        .map(|amount| amount.map_or_else(|| "-".to_string(), |amount| amount.to_string()))
}

/// Every byte as an octal number: no character means anything else then.
fn escaped(word: &str) -> String {
    word.bytes().map(|byte| format!("\\{byte:03o}")).collect()
}

/// Clients are matched without regard to what else there is.
fn matched(list: &[Export]) {
    let names = ["client.example.org".to_string(), "x".to_string()];
    for client in list.iter().flat_map(|export| &export.clients).take(32) {
        let spec = &client.spec;
        assert_eq!(ClientSpec::parse(&spec.to_string()).as_ref(), Ok(spec));
        let matches = |dots| spec.matches(address(2), &names, dots, &Netgroups::default());
        let narrow = matches(WildcardDots::Separate);
        assert!(!narrow || matches(WildcardDots::Match), "{spec}: more names match with dots");
        match spec {
            ClientSpec::Anyone => assert!(narrow),
            ClientSpec::Address(address) => {
                assert!(spec.matches(*address, &[], WildcardDots::Separate, &Netgroups::default()));
            }
            ClientSpec::Network { address, .. } => {
                assert!(spec.matches(*address, &[], WildcardDots::Separate, &Netgroups::default()));
            }
            _ => {}
        }
    }
}

fn quotas(text: &str) {
    let (rules, _) = parse_quotas(text);
    let mut printed = String::new();
    for rule in &rules {
        let holder = match rule.holder {
            Holder::EveryUser => "user *".to_string(),
            Holder::EveryGroup => "group *".to_string(),
            Holder::User(id) => format!("user {id}"),
            Holder::Group(id) => format!("group {id}"),
        };
        let [bytes, inodes] = amounts(rule);
        printed += &format!("{holder} {bytes} {inodes}\n");
    }
    assert_eq!(parse_quotas(&printed), (rules.clone(), Vec::new()), "{printed}");
    let (limits, _) = limits_of(&[&rules]);
    let (again, _) = limits_of(&[&rules, &rules]);
    assert_eq!(limits, again, "the same rules once more change nothing");
}

/// Lines of `exportfs` with words between blanks; one that begins with `disk` is what the second disk has from then on.
fn commands(input: &[u8]) {
    /// Lines that are executed.
    const MOST: usize = 24;
    let world = World::new();
    let mut disk = None;
    let text = String::from_utf8_lossy(input);
    for line in text.lines().take(MOST) {
        if let Some(content) = line.strip_prefix("disk ") {
            disk = Some(content.replace('~', "\n").into_bytes());
            continue;
        }
        let mut words: Vec<String> =
            line.split_whitespace().skip(1).map(|word| word.replace('~', " ")).collect();
        if words.first().is_some_and(|word| word == "store") && words.len() > 3 {
            let content = words.split_off(2).join(" ").replace('|', "\n");
            words.push(content);
        }
        // Files are shown as they are.
        let shows = words.first().is_some_and(|word| word == "show");
        let said = world.exportfs(words, disk.clone());
        assert!(shows || said.is_empty() || said.ends_with('\n'), "{said:?}");
    }
    let listed = world.exportfs(vec!["-v".into()], None);
    assert!(listed.is_empty() || listed.ends_with(")\n"), "{listed:?}");
    world.finish();
}
