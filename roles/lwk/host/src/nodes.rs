//! The node table, and keys.
//!
//! The table is a text file, `$LWK_CONF` or `/etc/lwk/nodes.conf`. Each line is one node; `#` starts a comment:
//!
//! ```text
//! # index  name    address            key-file              further words
//! 0        node0   192.168.7.10:8810  /etc/lwk/node0.key    boot=qemu
//! 1        node1   unix:/run/lwk/1    none
//! ```
//!
//! An address is `host:port`, or `unix:path` for the serial ports of a virtual machine: a directory with one socket for each, or a
//! single socket. Sockets with a part `bulk` in their names (`lwk.bulk.3`) are for the second connections of sessions, those with a
//! part `ctl` for tools, others for everything but bulk. `none` in place of a key file means that the link is trusted: nothing is
//! encrypted then. Further words (`name=value`) are for the tools that boot a node, and not looked at here.
//!
//! A key file holds one line as a node has it, too: the key's name, 64 hexadecimal digits, and perhaps what it is for. Of that
//! `mac` matters here: then nothing is encrypted, and everything still proven.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keelson_lwk_wire::channel::Key;
use keelson_lwk_wire::handshake::KeyUse;

/// Where the table is without `LWK_CONF`.
pub const DEFAULT_CONF: &str = "/etc/lwk/nodes.conf";

/// Where a node listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// `host:port`
    Tcp(String),
    /// Where the serial ports of the node are: a directory of Unix sockets, or one. See [`crate::serial`].
    Unix(PathBuf),
}

impl Address {
    /// From text.
    pub fn parse(text: &str) -> Option<Address> {
        match text.strip_prefix("unix:") {
            Some("") => None,
            Some(path) => Some(Address::Unix(path.into())),
            None => {
                let (host, port) = text.rsplit_once(':')?;
                port.parse::<u16>().ok().filter(|port| *port != 0 && !host.is_empty())?;
                Some(Address::Tcp(text.to_owned()))
            }
        }
    }

    /// The same whatever the working directory will be.
    pub fn anchored(self) -> Address {
        match self {
            Address::Unix(path) => Address::Unix(std::path::absolute(&path).unwrap_or(path)),
            Address::Tcp(_) => self,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => f.write_str(address),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A line of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Number.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// Its key; `None` = trusted link.
    pub key_file: Option<PathBuf>,
    /// What follows.
    pub parameters: Vec<String>,
}

/// Parses a table.
pub fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut nodes: Vec<Node> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let problem = |what: &str| Err(format!("line {}: {what}", number + 1));
        let [index, name, address, key, parameters @ ..] = &words[..] else {
            if words.is_empty() {
                continue;
            }
            return problem("expected: index name address key-file");
        };
        let Ok(index) = index.parse() else { return problem("index is not a number") };
        let Some(address) = Address::parse(address) else {
            return problem("address is not host:port or unix:path");
        };
        if nodes.iter().any(|node| node.index == index || node.name == *name) {
            return problem("index or name is there already");
        }
        nodes.push(Node {
            index,
            name: (*name).to_owned(),
            address,
            key_file: (*key != "none").then(|| PathBuf::from(key)),
            parameters: parameters.iter().map(|word| (*word).to_owned()).collect(),
        });
    }
    Ok(nodes)
}

/// Reads the table at `path`.
pub fn load(path: &Path) -> Result<Vec<Node>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text).map_err(|problem| format!("{}: {problem}", path.display()))
}

/// Reads a key file. Others than its owner must not be able to read it.
pub fn load_key(path: &Path) -> Result<Key, String> {
    let problem = |what: String| format!("{}: {what}", path.display());
    let metadata = fs::metadata(path).map_err(|error| problem(error.to_string()))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(problem("others may read it (mode must be 0600)".into()));
    }
    let text = fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    parse_key(&text).ok_or_else(|| {
        problem("expected: name, 64 hexadecimal digits, and perhaps launch,monitor,admin,mac".into())
    })
}

fn parse_key(text: &str) -> Option<Key> {
    let mut words = text.split_whitespace();
    let (id, digits) = (words.next()?, words.next()?);
    let purpose = words.next().map_or(Some(KeyUse::default()), KeyUse::parse)?;
    if words.next().is_some() || digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut secret = [0; 32];
    for (byte, pair) in secret.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Key { id: id.to_owned(), secret, modes: purpose.asked() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_lwk_wire::handshake::Modes;

    #[test]
    fn a_table() {
        let nodes =
            parse("# nodes\n0 n0 10.0.0.1:8810 /k/0 boot=qemu x=1\n\n 1 n1 unix:/run/x none # local\n")
                .unwrap();
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[0].address, Address::Tcp("10.0.0.1:8810".into()));
        assert_eq!(nodes[0].parameters, ["boot=qemu", "x=1"]);
        assert_eq!((nodes[1].key_file.clone(), nodes[1].address.to_string()), (None, "unix:/run/x".into()));
        let here = std::env::current_dir().unwrap();
        let (near, far) = (Address::Unix("a/b".into()), nodes[1].address.clone());
        assert_eq!((near.anchored(), far.clone().anchored()), (Address::Unix(here.join("a/b")), far));
        for bad in
            ["0 n0 10.0.0.1 /k", "x n0 a:1 k", "0 n0 a:1", "0 a a:1 k\n0 b b:1 k", "0 a a:0 k", "0 a unix: k"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys() {
        let key = parse_key(&format!("default {}\n", "0f".repeat(32))).unwrap();
        assert_eq!((key.id.as_str(), key.secret, key.modes), ("default", [15; 32], Modes::AEAD));
        let key = parse_key(&format!("fast {} launch,mac\n", "0f".repeat(32))).unwrap();
        assert_eq!(key.modes, Modes::MAC);
        for bad in [
            "",
            "default",
            "default 00",
            &format!("default {}", "zz".repeat(32)),
            &format!("a {} b", "00".repeat(32)),
        ] {
            assert!(parse_key(bad).is_none(), "{bad}");
        }
    }
}
