//! `ls`: names and attributes, as QNX prints them.

use super::machine::{names_of, now, zone};
use super::text::Options;
use crate::client::{Files, OpenFlags, Zone};
use crate::procs::{Exit, Process};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::io::Stat;

/// Most entries of a directory that are sorted; of a larger one the rest is left out, with a complaint.
const ENTRIES: usize = 16_384;
/// Width of a terminal.
const WIDTH: usize = 80;
/// Times further away are shown with their year instead of the hour: half a year.
const RECENT: i64 = 182 * 86_400;

/// Type bits of a mode.
const TYPE: u32 = 0xf000;
const DIRECTORY: u32 = 0x4000;
const LINK: u32 = 0xa000;

struct Ls<'a> {
    process: &'a Process,
    /// By one connection, as there is much to ask.
    files: Files,
    options: Options<'a>,
    in_columns: bool,
    zone: Zone,
    users: Vec<(u32, String)>,
    groups: Vec<(u32, String)>,
    status: i32,
}

struct Item {
    name: String,
    path: String,
    stat: Option<Stat>,
}

pub(super) async fn main(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "1aACdFlR", "").await?;
    if options.has('R') {
        return Err(process.usage("-R is not there; name the directories").await);
    }
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    let is_long = options.has('l');
    if is_long {
        users = names_of(process, "/etc/passwd").await;
        groups = names_of(process, "/etc/group").await;
    }
    let terminal = !options.has('1') && !is_long && process.descriptor(1).is_terminal().await.unwrap_or(false);
    let in_columns = options.has('C') && !is_long || terminal;
    let zone = if is_long { zone(process).await } else { Zone::default() };
    let files = process.files().keeping_connection();
    let ls = Ls { process, files, options, in_columns, zone, users, groups, status: 0 };
    ls.run().await
}

impl Ls<'_> {
    async fn run(mut self) -> Result<i32, Exit> {
        let names: Vec<String> = match self.options.rest.is_empty() {
            true => vec![".".to_string()],
            false => self.options.rest.iter().map(ToString::to_string).collect(),
        };
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for name in names {
            let path = self.process.path(&name);
            // With -l a link itself is meant.
            let found = match self.options.has('l') || self.options.has('d') {
                true => self.files.lstat(&path).await,
                false => self.files.stat(&path).await,
            };
            match found {
                Ok(stat) if stat.mode & TYPE == DIRECTORY && !self.options.has('d') => {
                    directories.push((name, path));
                }
                Ok(stat) => files.push(Item { name, path, stat: Some(stat) }),
                Err(errno) => self.complain(&name, errno).await,
            }
        }
        let with_names = files.len() + directories.len() > 1;
        let mut is_first = files.is_empty();
        self.print_items(files, false).await?;
        for (name, path) in directories {
            if with_names {
                let gap = if is_first { "" } else { "\n" };
                self.process.print(format!("{gap}{name}:\n")).await?;
            }
            is_first = false;
            self.directory(&name, &path).await?;
        }
        Ok(self.status)
    }

    async fn complain(&mut self, name: &str, errno: Errno) {
        self.process.warn(name, errno).await;
        self.status = 1;
    }

    async fn directory(&mut self, name: &str, path: &str) -> Result<(), Exit> {
        let mut items = match self.entries(path).await {
            Ok(items) => items,
            Err(errno) => {
                self.complain(name, errno).await;
                return Ok(());
            }
        };
        if items.len() > ENTRIES {
            items.truncate(ENTRIES);
            self.process.complain(&format!("{name}: more than {ENTRIES} entries; the rest is left out")).await;
            self.status = 1;
        }
        items.sort_by(|one, other| one.name.cmp(&other.name));
        self.print_items(items, true).await
    }

    async fn entries(&self, path: &str) -> Result<Vec<Item>, Errno> {
        let dir = path.trim_end_matches('/');
        let directory = self.files.open(&format!("{path}/"), OpenFlags::READ).await?;
        let mut items = Vec::new();
        while items.len() <= ENTRIES {
            let more = directory.read_dir().await?;
            if more.is_empty() {
                break;
            }
            for item in more {
                let is_dot = item.name == "." || item.name == "..";
                let is_hidden = item.name.starts_with('.') && (is_dot || !self.options.has('A'));
                if is_hidden && !self.options.has('a') {
                    continue;
                }
                let path = format!("{dir}/{}", item.name);
                items.push(Item { name: item.name, path, stat: None });
            }
        }
        directory.close().await?;
        Ok(items)
    }

    async fn print_items(&mut self, mut items: Vec<Item>, with_total: bool) -> Result<(), Exit> {
        let is_long = self.options.has('l');
        if is_long || self.options.has('F') {
            let mut known = Vec::with_capacity(items.len());
            for item in items {
                let stat = match item.stat {
                    Some(stat) => Ok(stat),
                    None => self.files.lstat(&item.path).await,
                };
                match stat {
                    Ok(stat) => known.push(Item { stat: Some(stat), ..item }),
                    // Of a node that does not answer: by now its entry is gone (section 15).
                    Err(errno) => self.complain(&item.name, errno).await,
                }
            }
            items = known;
        }
        if is_long {
            if with_total {
                let blocks = items.iter().filter_map(|item| item.stat).fold(0, |sum, stat| sum + stat.blocks);
                self.process.print(format!("total {blocks}\n")).await?;
            }
            for item in &items {
                let line = self.long_line(item).await;
                self.process.print(line).await?;
            }
            return Ok(());
        }
        let names: Vec<String> = items.iter().map(|item| self.marked(item)).collect();
        self.process.print(if self.in_columns { columns(&names) } else { lines(&names) }).await
    }

    /// The name, and with -F what it is.
    fn marked(&self, item: &Item) -> String {
        let mark = match item.stat.map(|stat| stat.mode).filter(|_| self.options.has('F')) {
            Some(mode) if mode & TYPE == DIRECTORY => "/",
            Some(mode) if mode & TYPE == LINK => "@",
            Some(mode) if mode & 0o111 != 0 => "*",
            _ => "",
        };
        format!("{}{mark}", item.name)
    }

    async fn long_line(&self, item: &Item) -> String {
        let stat = item.stat.unwrap_or_default();
        let target = match stat.mode & TYPE {
            LINK => self.files.readlink(&item.path).await.map(|text| format!(" -> {text}")),
            _ => Ok(String::new()),
        };
        let name_in = |list: &[(u32, String)], id: u32| {
            list.iter().find(|(known, _)| *known == id).map_or_else(|| id.to_string(), |(_, name)| name.clone())
        };
        let (user, group) = (name_in(&self.users, stat.uid), name_in(&self.groups, stat.gid));
        let age = now(self.process).saturating_sub(stat.mtime.into());
        let format = if (-RECENT..RECENT).contains(&age) { "%b %d %H:%M" } else { "%b %d  %Y" };
        let time = self.zone.local(stat.mtime.into()).format(format);
        let (mode, links, size) = (mode_text(stat.mode), stat.nlink, stat.size);
        let name = self.marked(item);
        format!("{mode} {links:>2} {user:<9} {group:<9} {size:>9} {time} {name}{}\n", target.unwrap_or_default())
    }
}

/// `drwxr-xr-x`.
fn mode_text(mode: u32) -> String {
    let kind = match mode & TYPE {
        0x1000 => 'p',
        0x2000 => 'c',
        DIRECTORY => 'd',
        0x6000 => 'b',
        0x8000 => '-',
        LINK => 'l',
        0xc000 => 's',
        _ => '?',
    };
    let mut text = String::from(kind);
    // Set-user-ID, set-group-ID and sticky take the place of an x.
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift & 7;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}

/// As many columns as fit, filled downwards.
fn columns(names: &[String]) -> String {
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) + 2;
    let count = (WIDTH / widest).max(1);
    let rows = names.len().div_ceil(count);
    let mut text = String::new();
    for row in 0..rows {
        let mut line = String::new();
        for name in names.iter().skip(row).step_by(rows) {
            line.push_str(&format!("{name:<widest$}"));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(mode_text(0x4000 | 0o755), "drwxr-xr-x");
        assert_eq!(mode_text(0x8000 | 0o6644), "-rwSr-Sr--");
        assert_eq!(mode_text(0x4000 | 0o1777), "drwxrwxrwt");
        assert_eq!(mode_text(0x2000 | 0o666), "crw-rw-rw-");
    }

    #[test]
    fn names_in_columns() {
        let names = |count: usize| (0..count).map(|index| format!("file{index:04}")).collect::<Vec<_>>();
        assert_eq!(columns(&names(3)), "file0000  file0001  file0002\n");
        let text = columns(&names(17));
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with("file0000  file0003"));
        assert!(text.lines().all(|line| line.len() <= WIDTH));
        assert_eq!(columns(&[]), "");
        assert_eq!(columns(&["x".repeat(200)]).len(), 201);
    }
}
