//! What is about the machine: `date`, `hostname`, `uname`, `nicinfo`, `mount`, `umount`.

use super::text::Options;
use crate::client::Zone;
use crate::procs::{Exit, MountRequest, Process};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::proc::MachineType;

/// Where the time zone is.
const TIMEZONE: &str = "/etc/TIMEZONE";
/// Longest text of it.
const TIMEZONE_MAX: usize = 256;
/// Where the counters of interfaces are.
const NICINFO: &str = "/proc/nicinfo";

/// Local time: as `TZ` says, or `/etc/TIMEZONE`, or UTC.
pub(super) async fn zone(process: &Process) -> Zone {
    if let Some(zone) = process.env("TZ").and_then(Zone::parse) {
        return zone;
    }
    let text = process.files().read_to_end(TIMEZONE, TIMEZONE_MAX).await.unwrap_or_default();
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    core::str::from_utf8(line).ok().and_then(Zone::parse).unwrap_or_default()
}

/// Seconds since 1970.
pub(super) fn now(process: &Process) -> i64 {
    i64::try_from(process.processes().system().wall_time().as_secs()).unwrap_or(i64::MAX)
}

pub(super) async fn date(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "u", "").await?;
    let zone = if options.has('u') { Zone::default() } else { zone(process).await };
    let format = match options.rest[..] {
        [] => "%a %b %d %T %Z %Y",
        [format] if format.starts_with('+') => format.get(1..).unwrap_or_default(),
        _ => return Err(process.usage("the time cannot be set here").await),
    };
    process.print(format!("{}\n", zone.local(now(process)).format(format))).await?;
    Ok(0)
}

pub(super) async fn hostname(process: &Process) -> Result<i32, Exit> {
    let system = process.processes().system();
    match process.args() {
        [] => {
            process.print(format!("{}\n", system.host_name())).await?;
            Ok(0)
        }
        [name] if process.who().euid != 0 => Err(process.fail(name, Errno::EPERM).await),
        [name] => match system.set_host_name(name) {
            Ok(()) => Ok(0),
            Err(errno) => Err(process.fail(name, errno).await),
        },
        _ => Err(process.usage("one name at most").await),
    }
}

pub(super) async fn uname(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "amnrsv", "").await?;
    let system = process.processes().system();
    let machine = match system.machine() {
        MachineType::X86 => "x86pc".to_string(),
        machine => machine.name().unwrap_or("unknown").to_ascii_lowercase(),
    };
    let fields = [
        ('s', "QNX".to_string()),
        ('n', system.host_name()),
        ('r', system.release()),
        ('v', system.version()),
        ('m', machine),
    ];
    let any = fields.iter().any(|(letter, _)| options.has(*letter));
    let wanted = |letter: char| options.has('a') || options.has(letter) || !any && letter == 's';
    let list: Vec<&str> =
        fields.iter().filter(|(letter, _)| wanted(*letter)).map(|(_, text)| text.as_str()).collect();
    process.print(format!("{}\n", list.join(" "))).await?;
    Ok(0)
}

pub(super) async fn nicinfo(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "", "").await?;
    let names: Vec<String> = match options.rest.is_empty() {
        true => match process.files().read_dir(NICINFO).await {
            Ok(items) => items.into_iter().map(|item| item.name).collect(),
            Err(errno) => return Err(process.fail(NICINFO, errno).await),
        },
        false => options.rest.iter().map(ToString::to_string).collect(),
    };
    let mut status = 0;
    for (index, name) in names.iter().enumerate() {
        let name = name.rsplit('/').next().unwrap_or_default();
        match process.files().read_to_end(&format!("{NICINFO}/{name}"), 65_536).await {
            Ok(text) => {
                if index > 0 {
                    process.print("\n").await?;
                }
                process.print(text).await?;
            }
            Err(errno) => {
                process.warn(name, errno).await;
                status = 1;
            }
        }
    }
    Ok(status)
}

pub(super) async fn mount(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "", "Tto").await?;
    let kind = options.value('T').or(options.value('t'));
    let request = match (kind, &options.rest[..]) {
        (Some(kind), [object]) => (kind, *object, ""),
        (Some(kind), [object, path]) => (kind, *object, *path),
        _ => return Err(process.usage("a kind and an object are needed").await),
    };
    let (kind, object, path) = request;
    if process.who().euid != 0 {
        return Err(process.fail(object, Errno::EPERM).await);
    }
    let request = MountRequest {
        kind: kind.to_string(),
        object: object.to_string(),
        path: path.to_string(),
        options: options.values('o').collect::<Vec<_>>().join(","),
    };
    match process.processes().system().mount(&request).await {
        Ok(()) => Ok(0),
        Err(errno) => Err(process.fail(object, errno).await),
    }
}

pub(super) async fn umount(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "f", "").await?;
    let [path] = options.rest[..] else { return Err(process.usage("one path is needed").await) };
    if process.who().euid != 0 {
        return Err(process.fail(path, Errno::EPERM).await);
    }
    match process.processes().system().umount(path).await {
        Ok(()) => Ok(0),
        Err(errno) => Err(process.fail(path, errno).await),
    }
}

/// Names of users or groups, as `/etc/passwd` and `/etc/group` have them. Root is known without.
pub(super) async fn names_of(process: &Process, path: &str) -> Vec<(u32, String)> {
    let text = process.files().read_to_end(path, 65_536).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let name = |line: &str| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        Some((id.parse().ok()?, name.to_string()))
    };
    let mut names = vec![(0, "root".to_string())];
    names.splice(0..0, text.lines().filter_map(name));
    names
}
