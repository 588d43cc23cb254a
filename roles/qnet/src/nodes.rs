//! Nodes: what they are called, where they are, what this node knows of them (sections 9 to 11).
//!
//! ```text
//!   table, entry, profile    node entries, their numbers, the ways of each peer     sections 9.3, 11.2, 28
//!   identity, duplicates     our own name, and others that have it                  sections 9.4, 11.1
//!   lookup, resolver         from a name to a node: LAN resolver, or who is passed in
//!   lr                       requests, replies, announcements                       section 9
//!   nr                       pings, and the numbers that others have for a third    section 10
//!   qos                      policies that paths name                               section 8
//!   request                  what local tasks wait for
//! ```

mod duplicates;
mod entry;
mod identity;
mod learn;
mod lookup;
mod lr;
mod nr;
mod profile;
mod qos;
mod request;
mod resolver;
mod table;

pub use duplicates::{Duplicate, Duplicates};
pub use entry::{Entry, NodeState, Shown, Usage};
pub use identity::{Identity, IdentityError};
pub(crate) use learn::Learnt;
pub(crate) use lookup::{Lookups, Waiter};
pub(crate) use nr::Queries;
pub use profile::PeerProfile;
pub use qos::{QosChoice, QosTable};
pub use request::RequestId;
pub(crate) use request::Requests;
pub use resolver::{Resolution, ResolveId, Resolver};
pub use table::Nodes;
