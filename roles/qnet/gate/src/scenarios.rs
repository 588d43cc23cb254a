//! The tests of section 26, each by its number: what the whole node does, not only its transport.

pub mod bulk;
pub mod claims;
pub mod clients;
pub mod death;
pub mod defects;
pub mod handshake;
pub mod links;
pub mod steady;

use crate::errors::LONGEST;
use crate::lab::Lab;
use keelson_ext4_gate::checks::Result;
use keelson_qnet::client::Files;
use keelson_qnet_wire::Errno;
use std::time::Duration;

/// Time that scenarios have for what has no limit of its own.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Says what is wrong unless it holds.
pub fn ensure(holds: bool, said: impl FnOnce() -> String) -> Result {
    if holds { Ok(()) } else { Err(said()) }
}

/// An error of QNX with what was being done.
pub fn during(what: &'static str) -> impl Fn(Errno) -> String {
    move |errno| format!("{what}: {errno}")
}

/// Bytes of a file that a seed determines.
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    keelson_ext4_gate::random::Random::new(seed ^ 0x6279_7465).bytes(len)
}

/// Makes a file on a node's own volume.
pub fn furnish(lab: &Lab, node: usize, path: &'static str, bytes: Vec<u8>) -> Result {
    let files = lab.machine(node).files();
    lab.run(LONGEST, async move {
        let file = files.create(path, 0o666).await?;
        file.write_all(&bytes).await?;
        file.close().await
    })?
    .map_err(during("making a file at home"))
}

/// What a node's own volume has.
pub fn fetched(lab: &Lab, node: usize, path: &'static str) -> Result<Vec<u8>> {
    let files = lab.machine(node).files();
    lab.run(LONGEST, async move { files.read_to_end(path, 64 << 20).await })?
        .map_err(during("reading a file at home"))
}

/// Time for the nodes to hear of each other.
pub fn introduce(lab: &Lab) {
    lab.pass(Duration::from_millis(50));
}

/// The end of a scenario: nothing is left, and the observer is content.
pub fn end(lab: &Lab) -> Result {
    lab.baseline()?;
    match lab.ledger.wrong() {
        Some(said) => Err(said),
        None => Ok(()),
    }
}

/// Whether a node is in `/net` of another.
pub fn lists(lab: &Lab, on: usize, of: usize) -> bool {
    let name = lab.machine(of).name;
    lab.machine(on).now().network.look(|transport| transport.nodes().any(|entry| &*entry.name == name))
}

/// A whole file from one path to another.
pub async fn copy(files: Files, from: &'static str, to: &'static str) -> std::result::Result<u64, Errno> {
    use keelson_qnet::client::{CopyError, OpenFlags};
    let source = files.open(from, OpenFlags::READ).await?;
    let target = files.create(to, 0o644).await?;
    let copied = keelson_qnet::client::copy(&source, &target, |_| ()).await;
    let copied = copied.map_err(|error| match error {
        CopyError::From(errno) | CopyError::To(errno) => errno,
    })?;
    target.close().await?;
    source.close().await?;
    Ok(copied)
}
