//! A node that does not answer, in a machine of this host: QEMU writes its memory to a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::place::{Lock, Place, remove_file};
use super::problem::Problem;
use super::process::Process;
use super::qemu::Files;
use super::qmp::Qmp;
use super::start;
use crate::nodes::Node;
use crate::tools::json::quoted;

/// How long QEMU may take to write all memory of a machine.
const WRITING: Duration = Duration::from_secs(3600);

/// Whether the console says that the node's kernel gave up.
pub fn gave_up(place: &Place, node: &Node) -> bool {
    machine(place, node).is_some_and(|machine| start::console_verdict(&machine.files).is_some())
}

/// A machine that runs.
pub struct Running<'a> {
    place: &'a Place,
    node: &'a Node,
    files: Files,
}

/// The machine of a node, if one of this host's runs.
pub fn machine<'a>(place: &'a Place, node: &'a Node) -> Option<Running<'a>> {
    let files = Files::of(&place.directory(node.index));
    Process::of(&files.pid, &files.pid)?;
    Some(Running { place, node, files })
}

/// A file of QEMU's. It is removed when nobody needs it any more, and the machine is not ended before.
pub struct Core {
    path: PathBuf,
    _lock: Lock,
}

impl Core {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        remove_file(&self.path);
    }
}

impl Running<'_> {
    /// Stops the machine as long as its memory is written to a file.
    pub fn dump(&self) -> Result<Core, Problem> {
        let lock = self.place.lock(self.node)?;
        // QEMU makes it readable for its owner only.
        let path = self.place.directory(self.node.index).join(format!("memory.{}", std::process::id()));
        let core = Core { path, _lock: lock };
        let arguments =
            format!("{{\"paging\":false,\"protocol\":{}}}", quoted(&format!("file:{}", core.path.display())));
        let dumped = Qmp::connect(&self.files.qmp)
            .and_then(|mut qmp| qmp.command_with("dump-guest-memory", &arguments, WRITING));
        dumped.map_err(|error| Problem::failed(format!("node {}", self.node.name), error))?;
        Ok(core)
    }
}
