//! `ls` and `stat`.

use crate::failure::Failure;
use crate::json::Object;
use crate::session::Session;
use keelson_qnet::client::Zone;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::io::Stat;
use std::time::Duration;

/// Prints entries of a directory.
pub async fn ls(
    session: &Session,
    path: &str,
    long: bool,
    wait: Duration,
    names: &[String],
) -> Result<(), Failure> {
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    if path == "/net" {
        return nodes(session, long, wait, names).await;
    }
    session.reach(&format!("{path}/")).await?;
    let mut entries = match session.files().read_dir(path).await {
        Ok(entries) => entries,
        Err(Errno::ENOTDIR) => return entry(session, path, path, long).await,
        Err(errno) => return Err(Failure::remote(path)(errno)),
    };
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let mut status = 0;
    for item in entries.iter().filter(|item| item.name != "." && item.name != "..") {
        match entry(session, &item.name, &format!("{path}/{}", item.name), long).await {
            Err(Failure::OutputGone) => return Err(Failure::OutputGone),
            Err(failure) => {
                session.tell(&failure);
                status = failure.status();
            }
            Ok(()) => {}
        }
    }
    if status == 0 { Ok(()) } else { Err(Failure::Told(status)) }
}

/// One line of a listing.
async fn entry(session: &Session, name: &str, path: &str, long: bool) -> Result<(), Failure> {
    if !long {
        return session.print(|| name.into(), || Object::new().text("name", name)).await;
    }
    let stat = session.files().lstat(path).await.map_err(Failure::remote(path))?;
    let target = match stat.mode & 0xf000 {
        0xa000 => Some(session.files().readlink(path).await.map_err(Failure::remote(path))?),
        _ => None,
    };
    let text = || {
        let arrow = target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
        let Stat { nlink, uid, gid, size, mtime, .. } = stat;
        format!("{} {nlink:>3} {uid:>5} {gid:>5} {size:>10} {} {name}{arrow}", bits(stat.mode), date(mtime))
    };
    let object = || {
        let object = attributes(Object::new().text("name", name), &stat);
        match &target {
            Some(target) => object.text("target", target),
            None => object,
        }
    };
    session.print(text, object).await
}

/// Prints the nodes that are heard of: within a while, or those that are asked for. With `long` each is asked whether it
/// is there.
async fn nodes(session: &Session, long: bool, wait: Duration, names: &[String]) -> Result<(), Failure> {
    let mut status = 0;
    if names.is_empty() {
        session.host.handle().sleep(wait).await;
    }
    for name in names {
        if let Err(failure) = session.node(name).await {
            session.tell(&failure);
            status = failure.status();
        }
    }
    let files = session.files();
    let mut entries = files.read_dir("/net").await.map_err(Failure::remote("/net"))?;
    // This node first, as it is listed.
    entries.sort_by_key(|entry| (entry.ino != 0, entry.name.clone()));
    for entry in entries {
        let is_there =
            if long { files.stat(&format!("/net/{}", entry.name)).await.map(Some) } else { Ok(None) };
        let stat = match is_there {
            Ok(stat) => stat,
            Err(errno) => {
                let failure = Failure::remote(format!("/net/{}", entry.name))(errno);
                session.tell(&failure);
                status = failure.status();
                continue;
            }
        };
        let text = || match stat {
            Some(stat) => format!("{} {:>5} {}", bits(stat.mode), entry.ino, entry.name),
            None => entry.name.clone(),
        };
        let object = || {
            let object = Object::new().text("name", &entry.name);
            let object = object.number("nd", entry.ino).flag("self", entry.ino == 0);
            if long { object.flag("verified", true) } else { object }
        };
        session.print(text, object).await?;
    }
    if status == 0 { Ok(()) } else { Err(Failure::Told(status)) }
}

/// Prints attributes.
pub async fn stat(session: &Session, paths: &[String]) -> Result<(), Failure> {
    let print = async |path: &str| {
        let stat = session.files().stat(path).await.map_err(Failure::remote(path))?;
        let text = || {
            let Stat { ino, size, dev, uid, gid, mode, nlink, blocks, .. } = stat;
            let [mtime, atime, ctime] = [stat.mtime, stat.atime, stat.ctime].map(date);
            format!(
                "{path}\n  type   {}\n  mode   {:04o}\n  size   {size}\n  owner  {uid}:{gid}\n  ino    {ino}\n  \
                 dev    {dev:#x}\n  links  {nlink}\n  blocks {blocks}\n  mtime  {mtime}\n  atime  {atime}\n  \
                 ctime  {ctime}",
                kind(mode),
                mode & 0o7777
            )
        };
        session.print(text, || attributes(Object::new().text("path", path), &stat)).await
    };
    session.each(paths, print).await
}

fn attributes(object: Object, stat: &Stat) -> Object {
    object
        .text("type", kind(stat.mode))
        .text("mode", &format!("{:04o}", stat.mode & 0o7777))
        .number("size", stat.size)
        .number("uid", stat.uid)
        .number("gid", stat.gid)
        .number("ino", stat.ino)
        .number("dev", stat.dev)
        .number("nlink", stat.nlink)
        .number("mtime", stat.mtime)
        .number("atime", stat.atime)
        .number("ctime", stat.ctime)
}

/// QNX's file types, section 13.4.
fn kind(mode: u32) -> &'static str {
    match mode & 0xf000 {
        0x1000 => "fifo",
        0x2000 => "character device",
        0x4000 => "directory",
        0x5000 => "named object",
        0x6000 => "block device",
        0x8000 => "regular file",
        0xa000 => "symbolic link",
        0xc000 => "socket",
        _ => "unknown",
    }
}

/// Type and permissions, as `ls -l` has them.
fn bits(mode: u32) -> String {
    let mut text = String::from(match mode & 0xf000 {
        0x1000 => "p",
        0x2000 => "c",
        0x4000 => "d",
        0x5000 => "n",
        0x6000 => "b",
        0xa000 => "l",
        0xc000 => "s",
        _ => "-",
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let three = mode >> shift;
        text.push(if three & 4 != 0 { 'r' } else { '-' });
        text.push(if three & 2 != 0 { 'w' } else { '-' });
        text.push(match (three & 1 != 0, mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    text
}

/// Date and time of day in UTC.
fn date(seconds: u32) -> String {
    Zone::default().local(seconds.into()).format("%Y-%m-%d %H:%M")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(bits(0x8000 | 0o4755), "-rwsr-xr-x");
        assert_eq!(bits(0x4000 | 0o1776), "drwxrwxrwT");
        assert_eq!((bits(0xa000), kind(0x2000)), ("l---------".into(), "character device"));
    }
}
