//! Resource managers: what answers to names, and how (sections 13, 15 to 17).
//!
//! ```text
//!   dispatch    messages of a channel, taken apart, answered in order
//!   connect     _IO_CONNECT: what is done by name
//!   requests    what is done to an open file
//!   opens       open files, by server connection and descriptor
//!   directory   reading a directory that several managers share
//!   namespace   prefixes, and the walk from a path to an object
//!   path        paths without dots
//!   access      who may do what
//!   manager     the trait that all managers below implement
//!
//!   volume      files that can be changed              archive   files of the image
//!   text        files whose text is made when opened   mounts    /proc/mount, and directories above prefixes
//!   nicinfo     text of /proc/nicinfo/<if>
//!   net_dir     /net                                   netmgr    /dev/netmgr
//!   names       /dev/name                              null      /dev/null, /dev/zero       con   /dev/con
//! ```
//!
//! 1. **Every path is served on process 1, channel 1.** Only other nodes and services with channels of their own are
//!    named in a link reply.
//! 2. **Several managers may share a prefix.** The longest prefix comes first; where an error says "not here", the next
//!    is asked, as QNX's clients do (section 13.3).
//! 3. **Managers know objects, not paths.** Dots, symbolic links and permissions are treated in one place.
//! 4. **Everything is bounded**: open files, what one read returns, how far links lead.
//!
//! Not here: record locks, mapping, hard links, `_IO_OPENFD` (all `ENOSYS`); the 64-bit layouts of QNX 7.

mod access;
mod archive;
mod con;
mod connect;
mod directory;
mod dispatch;
mod manager;
mod mounts;
mod names;
mod namespace;
mod net_dir;
mod netmgr;
mod nicinfo;
mod nodes;
mod null;
mod opens;
mod path;
mod reply;
mod requests;
mod text;
mod volume;

pub use access::{Access, Caller, may};
pub use archive::{Archive, ArchiveError};
pub use con::{Console, Terminal};
pub use dispatch::{Counters, Dispatcher, IoConfig, ProcServices};
pub use manager::{
    DevctlAnswer, Found, Io, Lookup, OpenFile, Opening, Purpose, Removal, ResourceManager, Server,
};
pub use mounts::MountList;
pub use names::NameDirectory;
pub use namespace::{MountId, Namespace, Order};
pub use net_dir::NetDirectory;
pub use netmgr::{NET_DIRECTORY, Netmgr};
pub use nicinfo::{NicErrors, NicInfo};
pub use nodes::{NodeDirectory, NodeEntry, NodeName};
pub use null::{Null, Zero};
pub use text::TextFile;
pub use volume::VolumeFiles;

pub(crate) use manager::{now, unknown_devctl};
pub(crate) use namespace::leads_on;
pub(crate) use path::normal;
pub(crate) use reply::while_wanted;
pub(crate) use text::plain;
