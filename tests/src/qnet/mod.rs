//! Qnet nodes of the test itself, and the appliance on a switch with them.
//!
//! A [`Peer`] is one switch port with a node behind it: the project's own node and network stack, on a thread. That it
//! speaks the protocol as it is specified is shown elsewhere (test vectors, tshark); here it is cheap, and its user is the
//! test.
//!
//! ```no_run
//! use keelson_qemu::Bench;
//! use keelson_tests::qnet::Peer;
//!
//! let bench = Bench::new("a remote file");
//! let lan = bench.lan("lan").unwrap();
//! // ... an appliance with hostname=alonzo on `lan` ...
//! let peer = Peer::start(&lan.port("karl").unwrap(), "karl", "").unwrap();
//! let zone = peer.run(async |node| {
//!     let file = node.files().open("/net/alonzo/etc/TIMEZONE", keelson_tests::qnet::OpenFlags::READ).await.unwrap();
//!     let mut text = [0; 64];
//!     let len = file.read(&mut text).await.unwrap();
//!     text[..len].to_vec()
//! });
//! assert_eq!(zone, b"UTC0\n");
//! ```

mod peer;
mod site;

pub use keelson_qnet::api::Credentials;
pub use keelson_qnet::client::{Files, OpenFlags, copy};
pub use peer::{Peer, User};
pub use site::{Site, console, console_until, counter, started};
