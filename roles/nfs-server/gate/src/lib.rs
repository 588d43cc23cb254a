//! The NFS gate: the whole role, on the real filesystem and the real network stack, in worlds that lose power.
//!
//! Principles:
//!
//! 1. **One seed is one world.** A server with all its programs (rpcbind, MOUNT, NFS, NLM, NSM, RQUOTA) on the ext4
//!    engine, on a disk that lags, reorders and tears; one to four client machines; a wire that loses, doubles and
//!    reorders frames. Server and clients lose power at any moment and come up again. A seed that fails is replayed
//!    exactly.
//! 2. **Clients are as strict as the protocols.** They repeat calls with the same number until they are answered,
//!    resend what was not committed when the verifier changes, answer callbacks, keep their state numbers and reclaim.
//! 3. **An observer sees everything** ([`ledger`], [`watch`]) and judges every answer by what clients were promised.
//!
//! | promise | judge |
//! |---|---|
//! | data that was acknowledged as stable, or committed under the same verifier, is there | [`files::content`] |
//! | names change exactly once, and stay changed | [`files::tree`], [`files::process`], [`judge`] |
//! | an exclusive CREATE succeeds for one | [`exclusive`] |
//! | nobody believes to hold what another one does, over all restarts | [`locks::beliefs`] |
//! | who held something when the power went is told, and may reclaim; waiters get their turn | [`simulation`] |
//!
//! `cargo test -p keelson-nfs-gate` runs the short form; `cargo run --release -p keelson-nfs-gate -- simulation --seed N
//! --verbose` tells the history of a seed.
//!
//! Not here: full disks and disks that fail (the ext4 gate has them), exports that change, versions 1 and 3 of NLM.

#![forbid(unsafe_code)]

pub mod exclusive;
pub mod files;
pub mod image;
pub mod judge;
pub mod ledger;
pub mod list;
pub mod locks;
pub mod machine;
pub mod plan;
pub mod rpc;
pub mod server;
pub mod simulation;
pub mod watch;
