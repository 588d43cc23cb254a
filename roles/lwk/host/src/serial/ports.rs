//! Which ports a node has, and for what.

use std::cmp::Ordering;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use keelson_lwk_wire::handshake::Purpose;

use super::at;

/// Parts of a port's name, between dots, that say that it is for bulk only, and for tools only.
const BULK: &str = "bulk";
const CTL: &str = "ctl";

/// For what a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Traffic {
    /// Sessions.
    Hi,
    /// Long answers of a session that is there.
    Bulk,
    /// Tools. They have ports of their own, and take those of sessions when all of these are in use.
    Tool,
}

impl Traffic {
    /// That of a connection.
    pub fn of(purpose: &Purpose) -> Traffic {
        match purpose {
            Purpose::Launch | Purpose::Fork(_) => Traffic::Hi,
            Purpose::Bulk(_) => Traffic::Bulk,
            Purpose::Control(_) => Traffic::Tool,
        }
    }

    /// Whether it may use ports for `other`.
    fn uses(self, other: Traffic) -> bool {
        self == other || (self, other) == (Traffic::Tool, Traffic::Hi)
    }
}

/// The socket of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Port {
    /// Where it is.
    pub path: PathBuf,
    /// Its file: device and inode.
    pub file: (u64, u64),
}

impl Port {
    /// `None` for what is no socket.
    fn of(path: PathBuf, metadata: &Metadata) -> Option<Port> {
        let is_socket = metadata.file_type().is_socket();
        is_socket.then(|| Port { path, file: (metadata.dev(), metadata.ino()) })
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn traffic(&self) -> Traffic {
        let name = self.name();
        let mut parts = name.split('.');
        let kind = parts.find_map(|part| match part {
            BULK => Some(Traffic::Bulk),
            CTL => Some(Traffic::Tool),
            _ => None,
        });
        kind.unwrap_or(Traffic::Hi)
    }
}

/// The ports for this traffic at `path`, in the order in which they are tried. A single socket is for sessions and tools.
pub(super) fn list(path: &Path, traffic: Traffic) -> io::Result<Vec<Port>> {
    let metadata = fs::metadata(path).map_err(|error| at(path, error))?;
    if !metadata.is_dir() {
        let port = Port::of(path.to_owned(), &metadata).ok_or_else(|| {
            let text = format!("{} is neither a socket nor a directory of sockets", path.display());
            io::Error::new(ErrorKind::InvalidInput, text)
        })?;
        return Ok(if traffic.uses(Traffic::Hi) { vec![port] } else { Vec::new() });
    }
    let mut ports = in_directory(path).map_err(|error| at(path, error))?;
    ports.retain(|port| traffic.uses(port.traffic()));
    if ports.is_empty() && traffic != Traffic::Bulk {
        let text = format!(
            "no ports in {}; start the node, or give its machine sockets there (-chardev socket, virtserialport)",
            path.display()
        );
        return Err(io::Error::new(ErrorKind::NotFound, text));
    }
    let others = |port: &Port| port.traffic() != traffic;
    ports.sort_by(|one, two| others(one).cmp(&others(two)).then_with(|| by_number(&one.name(), &two.name())));
    Ok(ports)
}

fn in_directory(path: &Path) -> io::Result<Vec<Port>> {
    let mut ports = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        // What went away meanwhile is no port.
        ports.extend(fs::metadata(&path).ok().and_then(|metadata| Port::of(path, &metadata)));
    }
    Ok(ports)
}

/// Names in their order, with numbers in theirs: `hi.2` is before `hi.10`.
fn by_number(one: &str, other: &str) -> Ordering {
    let pieces = || pieces(one).cmp(pieces(other));
    pieces().then_with(|| one.cmp(other))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    Number(u64),
    Text(&'a str),
}

fn pieces(name: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let is_digit = |c: char| c.is_ascii_digit();
        let digits = rest.starts_with(is_digit);
        let end = rest.find(|c| is_digit(c) != digits).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        (!piece.is_empty()).then(|| piece.parse().map_or(Piece::Text(piece), Piece::Number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_their_order() {
        let sorted =
            ["1", "12", "a", "hi", "hi.0", "hi.2", "hi.02.x", "hi.10", "hi.x", "lwk.hi.9", "lwk.hi.10"];
        for (at, one) in sorted.iter().enumerate() {
            for (to, other) in sorted.iter().enumerate() {
                assert_eq!(by_number(one, other), at.cmp(&to), "{one} {other}");
            }
        }
        let long = "9".repeat(30);
        assert_eq!(by_number(&long, &long), Ordering::Equal);
        assert_ne!(by_number("a.1", "a.01"), Ordering::Equal);
    }

    #[test]
    fn names_say_what_ports_are_for() {
        let traffic = |name: &str| Port { path: name.into(), file: (0, 0) }.traffic();
        for name in ["lwk.bulk.3", "bulk", "/x/bulk.0"] {
            assert_eq!(traffic(name), Traffic::Bulk, "{name}");
        }
        assert_eq!(traffic("lwk.ctl.0"), Traffic::Tool);
        for name in ["lwk.hi.0", "lwk", "bulky.0", "/bulk/lwk.0"] {
            assert_eq!(traffic(name), Traffic::Hi, "{name}");
        }
    }
}
