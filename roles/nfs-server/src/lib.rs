//! Role `nfs-server`: rpcbind, MOUNT, NFS version 3, NLM and NSM for unmodified clients, over TCP and UDP.
//!
//! Principles:
//!
//! 1. **A reply is a promise.** On a `sync` export (the default) nothing is acknowledged as done before the
//!    volume says that it survives a power cut; data of UNSTABLE writes is promised by COMMIT.
//! 2. **Handles last.** They survive restarts, renames and changes of the configuration, and never come to
//!    mean another object.
//! 3. **The server decides.** Exports, squashing and permissions are checked at every call; what a client was
//!    told at mount time counts for nothing.
//! 4. **A refusal has a reason**, and the log names it with the client and the path.
//! 5. **The cost of a call does not depend on the number of clients**, connections or exports' clients.
//!
//! ```text
//!  port 111    rpcbind --- what is served, and where
//!  port 875    rquota ---- how much somebody has and may have
//!  port 20048  mount ----- path -> handle of an exported directory
//!  port 2049   nfs3 ------ handle -> export -> options for this client -> identity -> volume
//!  port 32803  nlm ------- handle -> export -> ... -> the table of locks -> callbacks to clients
//!  port 32765  nsm ------- who restarted -> whose locks are released; we did -> who is told
//! ```
//!
//! [`exports`] is the configuration language, [`handle`] the file handles, [`identity`] who may do what,
//! [`locks`] the table of locks. The role knows no hardware and no network stack: it runs on any
//! [`Volume`](keelson_volume::Volume) and any [`RpcNetwork`](keelson_oncrpc::RpcNetwork), in a host test as on
//! the machine.
//!
//! Not here yet: several volumes, soft quotas with grace times. Programs that are not served are not announced by
//! rpcbind. NFSACL is answered with PROG_UNAVAIL, on which clients do without ACLs. NFSv2 and NFSv4 are not served.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod config;
pub mod exports;
mod grace;
pub mod handle;
pub mod identity;
mod locking;
pub mod locks;
mod mount;
mod names;
mod nfs3;
mod nlm;
mod nsm;
mod peer_calls;
mod rpcbind;
mod rquota;
mod server;
mod siphash;
mod state;

pub use config::{OPTIONS, ServerConfig};
pub use exports::load::MAX_TEXT;
pub use mount::{MOUNT_PROGRAM, MountCounters};
pub use names::{HostTable, Names, NoNames};
pub use nfs3::{NFS_PROGRAM, NfsCounters, PROCEDURE_NAMES, Status};
#[cfg(feature = "wire")]
pub use nlm::wire as nlm_wire;
pub use nlm::{NLM_PROGRAM, NlmCounters};
pub use nsm::{NSM_PROGRAM, NsmCounters, SimulatedCrash};
pub use peer_calls::PeerCallCounters;
pub use rpcbind::RPCBIND_PROGRAM;
pub use rquota::{RQUOTA_PROGRAM, RquotaCounters};
pub use server::{Counters, NfsServer, StartError};
