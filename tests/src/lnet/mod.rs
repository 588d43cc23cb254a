//! LNet end nodes of the test itself: a crowd of Lustre clients without Lustre.
//!
//! A [`Generator`] is one switch port with any number of nodes behind it, each with NIDs, connections, credits and
//! an incarnation of its own, running the project's own LNet and socket LND. That they speak the protocol as Linux
//! nodes do is shown elsewhere (captures, Linux guests); here they are cheap and many.
//!
//! ```no_run
//! use keelson_qemu::Bench;
//! use keelson_tests::lnet::{Generator, Kind, Load, Spec, nid};
//!
//! let bench = Bench::new("through a router");
//! let [near, far] = ["tcp0", "tcp1"].map(|net| bench.lan(net).unwrap());
//! // ... a router with 10.1.0.1@tcp on `near` and 10.2.0.1@tcp1 on `far` ...
//! let a = Spec::node("10.1.0.2@tcp").route("tcp1", "10.1.0.1@tcp");
//! let a = Generator::start(&near.port("a").unwrap(), a).unwrap();
//! let b = Spec::node("10.2.0.2@tcp1").route("tcp", "10.2.0.1@tcp1");
//! let b = Generator::start(&far.port("b").unwrap(), b).unwrap();
//! a.ping(nid("10.2.0.2@tcp1")).unwrap();
//! let load = Load { concurrent: 64, ..Load::new(Kind::Put(1 << 20), b.nids()) };
//! println!("{}", a.run(load));
//! ```

mod crowd;

mod generator;
mod routed;

pub use crowd::Crowd;
pub use generator::{Dead, Generator, Node, Nodes, Spec};
pub use keelson_lnet::selftest::{Kind, Limit, Load, Probe, RawCounters, Report, Statistics, TestSpec};
pub use keelson_lnet_wire::nid::Nid;
pub use keelson_lnet_wire::srpc::{BrwDirection, Check};
pub use routed::{READY, ROUTER, Routed, Router};

/// A NID from its text.
///
/// # Panics
///
/// When it is none.
pub fn nid(text: &str) -> Nid {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}
