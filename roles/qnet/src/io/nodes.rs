//! What `/net` and `/dev/netmgr` need to know of the nodes; the network's part of a node implements it.

use super::manager::Io;
use alloc::string::String;
use alloc::vec::Vec;
use keelson_qnet_wire::{Errno, Nd};

/// An entry of `/net`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeEntry {
    /// Name as it is listed: with the domain where that is another one than ours (section 11.1).
    pub name: String,
    /// Its descriptor under the default policy.
    pub nd: Nd,
}

/// The parts of a node's name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NodeName {
    /// Host.
    pub host: String,
    /// Domain; empty when there is none.
    pub domain: String,
    /// Policy and interface as they stand in a path, with the tilde; empty for the default.
    pub qos: String,
}

/// The nodes that this one knows.
///
/// Names are components of paths: `host`, `host.domain`, either with `~policy:interface`.
pub trait NodeDirectory {
    /// This node.
    fn own_name(&self) -> NodeName;

    /// All other nodes that are known, by name or by number.
    fn list(&self) -> Vec<NodeEntry>;

    /// The descriptor of a node, which is looked for if it is not known. 0 is this node. `ENOENT` when nobody has
    /// the name.
    fn resolve<'a>(&'a self, name: &'a str) -> Io<'a, Nd>;

    /// The same, and makes sure that it is there: an entry that is not is removed, with `EHOSTDOWN`.
    fn verify<'a>(&'a self, name: &'a str) -> Io<'a, Nd>;

    /// Forgets an entry. `EBUSY` for this node, `ENOENT` when there is none.
    fn remove(&self, name: &str) -> Result<(), Errno>;

    /// How node `remote` knows node `local`; both as this node knows them.
    fn remote_nd(&self, remote: Nd, local: Nd) -> Io<'_, Nd>;

    /// The name of a descriptor.
    fn name_of(&self, nd: Nd) -> Option<NodeName>;

    /// Asks now after everything that is not acknowledged (section 7.1).
    fn flush(&self);
}
