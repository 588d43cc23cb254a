//! Where the node table and the records of nodes are.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::problem::Problem;
use crate::nodes::{self, Node};

/// Where records are when the table is the usual one.
const DEFAULT_STATE: &str = "/var/lib/lwk";
/// How long a tool waits for another one that works on the same node.
const PATIENCE: Duration = Duration::from_secs(30);

/// The table, and a directory with one for each node in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The node table.
    pub conf: PathBuf,
    /// The directory: `$LWK_STATE`, `/var/lib/lwk` beside the usual table, or the table's path with `.d`.
    pub state: PathBuf,
}

/// One tool works on a node as long as this lives.
pub struct Lock {
    _directory: File,
}

impl Place {
    /// With the table of `--conf`, of `$LWK_CONF`, or the usual one.
    pub fn new(conf: Option<PathBuf>) -> Result<Place, Problem> {
        let conf = conf.or_else(|| std::env::var_os("LWK_CONF").map(PathBuf::from));
        let conf = conf.unwrap_or_else(|| nodes::DEFAULT_CONF.into());
        // QEMU changes its directory.
        let conf = std::path::absolute(&conf).map_err(|error| Problem::failed(conf.display(), error))?;
        let state = match std::env::var_os("LWK_STATE") {
            Some(state) => std::path::absolute(PathBuf::from(&state))
                .map_err(|error| Problem::failed(state.display(), error))?,
            None if conf == Path::new(nodes::DEFAULT_CONF) => DEFAULT_STATE.into(),
            None => {
                let mut path = conf.clone().into_os_string();
                path.push(".d");
                path.into()
            }
        };
        Ok(Place { conf, state })
    }

    /// The nodes; none without a table.
    pub fn nodes(&self) -> Result<Vec<Node>, Problem> {
        let text = self.text()?;
        nodes::parse(&text).map_err(|reason| Problem::failed(self.conf.display(), reason))
    }

    fn text(&self) -> Result<String, Problem> {
        match fs::read_to_string(&self.conf) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|error| Problem::failed(self.conf.display(), error)),
        }
    }

    /// The node with this name or index.
    pub fn find(&self, wanted: &str) -> Result<Option<Node>, Problem> {
        let index: Option<u32> = wanted.parse().ok();
        Ok(self.nodes()?.into_iter().find(|node| Some(node.index) == index || node.name == wanted))
    }

    /// The node with this name or index, which must be there.
    pub fn node(&self, wanted: &str) -> Result<Node, Problem> {
        self.find(wanted)?.ok_or_else(|| {
            let table = self.conf.display();
            Problem::usage(
                format!("node {wanted}"),
                format!("not in {table}; create it with ihkconfig 0 create, or write a line"),
            )
        })
    }

    /// Adds a line to the table.
    pub fn add(&self, node: &Node) -> Result<(), Problem> {
        let mut text = self.text()?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text += &line(node);
        nodes::parse(&text).map_err(|reason| Problem::usage(format!("node {}", node.name), reason))?;
        self.replace(&text)
    }

    /// Removes a node's line from the table, and the table with the last of its lines.
    pub fn remove(&self, index: u32) -> Result<(), Problem> {
        let text = self.text()?;
        let is_its = |line: &str| {
            let first = line.split('#').next().and_then(|words| words.split_whitespace().next());
            first.and_then(|word| word.parse().ok()) == Some(index)
        };
        let left: String = text.split_inclusive('\n').filter(|line| !is_its(line)).collect();
        if left.is_empty() {
            return match fs::remove_file(&self.conf) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(Problem::failed(self.conf.display(), error))
                }
                _ => Ok(()),
            };
        }
        self.replace(&left)
    }

    fn replace(&self, text: &str) -> Result<(), Problem> {
        if let Some(folder) = self.conf.parent() {
            fs::create_dir_all(folder).map_err(|error| Problem::failed(folder.display(), error))?;
        }
        write_file(&self.conf, text.as_bytes(), 0o644)
    }

    /// The directory of a node.
    pub fn directory(&self, index: u32) -> PathBuf {
        self.state.join(index.to_string())
    }

    /// Makes the directory of a node, if need be, and keeps other tools from the node.
    pub fn lock(&self, node: &Node) -> Result<Lock, Problem> {
        self.lock_within(node, PATIENCE)
    }

    /// The same with this patience.
    pub fn lock_within(&self, node: &Node, patience: Duration) -> Result<Lock, Problem> {
        let path = self.directory(node.index);
        let here = |error: std::io::Error| Problem::failed(path.display(), error);
        let deadline = Instant::now() + patience;
        loop {
            DirBuilder::new().recursive(true).mode(0o755).create(&path).map_err(here)?;
            let directory = File::open(&path).map_err(here)?;
            if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // Whoever had it may have removed it.
                let ours = directory.metadata().map_err(here)?.ino();
                if fs::metadata(&path).is_ok_and(|there| there.ino() == ours) {
                    return Ok(Lock { _directory: directory });
                }
                continue;
            }
            if Instant::now() >= deadline {
                let reason = format!("another tool works on it, and did not end within {patience:?}");
                return Err(Problem::state(format!("node {}", node.name), reason));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Removes the directory of a node with everything in it, and the one above when it was the last.
    pub fn forget(&self, index: u32) -> Result<(), Problem> {
        let path = self.directory(index);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Problem::failed(path.display(), error));
            }
            _ => {}
        }
        // It fails when there are others.
        let _ = fs::remove_dir(&self.state);
        Ok(())
    }
}

/// A line of the table.
pub fn line(node: &Node) -> String {
    let key = node.key_file.as_ref().map_or("none".into(), |path| path.display().to_string());
    let mut line = format!("{} {} {} {key}", node.index, node.name, node.address);
    for word in &node.parameters {
        line.push(' ');
        line += word;
    }
    line.push('\n');
    line
}

/// Writes a file so that nobody sees half of it.
pub fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Problem> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let written = (|| {
        let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
        file.write_all(bytes)?;
        fs::rename(&fresh, path)
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&fresh);
        Problem::failed(path.display(), error)
    })
}

/// Removes a file that may not be there.
pub fn remove_file(path: &Path) {
    // What remains does no harm: each is written anew or removed with its directory.
    let _ = fs::remove_file(path);
}
