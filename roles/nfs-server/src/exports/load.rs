//! Where exports come from: the command line first, then `/.keelson/exports` on the volume or a second small disk.
//!
//! ```text
//!   exports     nfs.exports=           before  nfs.exports_disk=, or without it /.keelson/exports
//!   hosts       nfs.hosts=             before  /.keelson/hosts      (hosts(5))       before  DNS
//!   netgroups   nfs.netgroups=         before  /.keelson/netgroup   (netgroup(5))
//!   quotas      in nfs.exports=        before  /.keelson/quota      before  in the exports of disk or file
//! ```
//!
//! What comes first counts, path by path, name by name, owner by owner. The directory `/.keelson` is the server's
//! own: no client sees it, root included, because whoever could write there could export anything to anybody.

use super::parse::check_unique;
use super::quota::{QuotaRule, limits_of, parse_quotas};
use super::{ClientSpec, Export, Netgroups, Table, parse_exports};
use crate::config::ServerConfig;
use crate::names::HostTable;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use keelson_volume::{Limits, Volume, VolumeError};

/// Longest text of each file, as for all state files of a volume, and of the second disk.
pub const MAX_TEXT: usize = 64 * 1024;

/// State files that an administrator writes.
pub(crate) const FILES: [&str; 4] = [EXPORTS, HOSTS, NETGROUP, QUOTA];

const EXPORTS: &str = "exports";
const HOSTS: &str = "hosts";
const NETGROUP: &str = "netgroup";
const QUOTA: &str = "quota";

/// Messages about the texts that are kept; of more only the number.
const MAX_MESSAGES: usize = 50;

/// Everything that the texts say.
#[derive(Default)]
pub(crate) struct Loaded {
    pub table: Table,
    pub limits: Limits,
    pub messages: Messages,
    /// Files that could not be read. What they say is not known.
    pub unreadable: Vec<String>,
}

/// What is wrong with the texts.
#[derive(Default)]
pub(crate) struct Messages {
    /// With whether each is an error or a warning.
    pub list: Vec<(log::Level, String)>,
    /// That were too many to keep.
    left_out: usize,
}

impl Messages {
    fn add(&mut self, level: log::Level, message: String) {
        if self.list.len() < MAX_MESSAGES {
            self.list.push((level, message));
        } else {
            self.left_out += 1;
        }
    }

    fn add_all(&mut self, source: &str, problems: Vec<(usize, String)>) {
        for (line, message) in problems {
            self.add(log::Level::Error, format!("{source} line {line}: {message} (line left out)"));
        }
    }

    /// A last line for those that were left out.
    fn close(&mut self) {
        if self.left_out > 0 {
            let message = format!("{} more problems are not shown", self.left_out);
            self.list.push((log::Level::Error, message));
        }
    }

    /// Writes all of them into the log.
    pub fn log(&self) {
        for (level, message) in &self.list {
            log::log!(target: "nfs", *level, "{message}");
        }
    }
}

/// Reads and parses everything. What is wrong is left out and said.
pub(crate) async fn load<V: Volume>(volume: &V, config: &ServerConfig, disk: Option<&[u8]>) -> Loaded {
    let mut loaded = Loaded::default();
    let (source, text) = match disk {
        Some(raw) => ("nfs.exports_disk", disk_text(raw, &mut loaded)),
        None => ("/.keelson/exports", file(volume, EXPORTS, &mut loaded).await),
    };
    let mut list = parse("nfs.exports", &config.exports, Vec::new(), &mut loaded.messages);
    let on_line = list.len();
    list = parse(source, &text, list, &mut loaded.messages);

    let mut hosts = config.hosts.clone();
    let (more, problems) = HostTable::parse_file(&file(volume, HOSTS, &mut loaded).await);
    loaded.messages.add_all("/.keelson/hosts", problems);
    hosts.append(more);

    let (mut netgroups, problems) = Netgroups::parse(&config.netgroups);
    loaded.messages.add_all("nfs.netgroups", problems);
    let (before, text) = (loaded.unreadable.len(), file(volume, NETGROUP, &mut loaded).await);
    let (mut more, problems) = Netgroups::parse(&text);
    more.is_unknown = loaded.unreadable.len() > before;
    loaded.messages.add_all("/.keelson/netgroup", problems);
    netgroups.append(more);
    warn_of_unknown_groups(&list, &netgroups, &mut loaded.messages);

    let (rules, problems) = parse_quotas(&file(volume, QUOTA, &mut loaded).await);
    loaded.messages.add_all("/.keelson/quota", problems);
    let of_exports = |exports: &[Export]| {
        exports.iter().flat_map(|export| export.quotas.clone()).collect::<Vec<QuotaRule>>()
    };
    let (of_line, of_file) = (of_exports(&list[..on_line]), of_exports(&list[on_line..]));
    let (limits, twice) = limits_of(&[&of_file, &rules, &of_line]);
    for holder in twice {
        let message = format!("quota of {holder:?}: given twice, the smaller one counts");
        loaded.messages.add(log::Level::Warn, message);
    }
    loaded.messages.close();
    loaded.limits = limits;
    loaded.table = Table::new(list, hosts, netgroups);
    loaded
}

/// A state file's text; empty when there is none.
async fn file<V: Volume>(volume: &V, name: &str, loaded: &mut Loaded) -> String {
    let error = match volume.read_state(name).await {
        Ok(content) => return String::from_utf8_lossy(&content.unwrap_or_default()).into_owned(),
        Err(error) => error,
    };
    let reason = match error {
        VolumeError::TooBig => format!("longer than {} KiB", MAX_TEXT >> 10),
        VolumeError::Invalid => "not a regular file".into(),
        error => format!("{error}"),
    };
    let message = format!("/.keelson/{name} cannot be read: {reason}");
    loaded.messages.add(log::Level::Error, message.clone());
    loaded.unreadable.push(message);
    String::new()
}

/// The text of a disk: up to the first byte that is zero, which is what the rest of a disk is.
fn disk_text(raw: &[u8], loaded: &mut Loaded) -> String {
    let end = raw.iter().position(|byte| *byte == 0).unwrap_or(raw.len());
    if end > MAX_TEXT {
        let message = format!("nfs.exports_disk: the text is longer than {} KiB", MAX_TEXT >> 10);
        loaded.messages.add(log::Level::Error, message.clone());
        loaded.unreadable.push(message);
        return String::new();
    }
    // A disk with a filesystem or random bytes has no line that passes.
    Cow::into_owned(String::from_utf8_lossy(&raw[..end]))
}

/// Adds the exports of a text to those that come before them.
fn parse(source: &str, text: &str, mut before: Vec<Export>, messages: &mut Messages) -> Vec<Export> {
    let (exports, problems) = parse_exports(text);
    for problem in problems {
        let (level, effect) = match problem.fatal {
            true => (log::Level::Error, " (line left out)"),
            false => (log::Level::Warn, ""),
        };
        messages.add(level, format!("{source} line {}: {}{effect}", problem.line, problem.message));
    }
    let first = before.len();
    for export in exports {
        if before[..first].iter().any(|other| other.path == export.path) {
            let path = &export.path;
            messages.add(log::Level::Info, format!("{source}: {path} is on the command line, which counts"));
            continue;
        }
        match check_unique(&export, &before) {
            Ok(()) => before.push(export),
            Err(message) => messages.add(log::Level::Error, format!("{source}: {message} (line left out)")),
        }
    }
    before
}

fn warn_of_unknown_groups(list: &[Export], netgroups: &Netgroups, messages: &mut Messages) {
    let clients = list.iter().flat_map(|export| &export.clients);
    let mut warned = alloc::collections::BTreeSet::new();
    for client in clients {
        if let ClientSpec::Netgroup(group) = &client.spec
            && !netgroups.is_unknown
            && !netgroups.has(group)
            && warned.insert(group)
        {
            messages.add(log::Level::Warn, format!("there is no netgroup {group}: @{group} means nobody"));
        }
    }
}
