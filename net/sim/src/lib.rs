//! Networks of nodes in virtual time: wires that delay, lose, repeat and reorder by seed, NICs that work as
//! hardware does, nodes that are killed without a word and booted again. For tests on the host only.
//!
//! Principles:
//!
//! 1. **A seed is a run.** Time is a [`SimClock`](keelson_exec::sim::SimClock) that jumps from event to event,
//!    every random number comes from the seed: what failed once fails again.
//! 2. **What is tested is the real thing**: a node runs a [`Stack`](keelson_net::Stack) on devices that
//!    complete checksums and cut segments. Only the wire, the clock and the processor (which takes no time)
//!    are models.
//! 3. **Each node has an executor of its own.** Killing it drops its tasks where they stand; what they would
//!    say on the way out (FIN, RST, RPC farewells) never reaches the wire.
//!
//! ```text
//!   World  owns the clock; turns every executor, then jumps to the next deadline
//!    |- Wire  a broadcast medium with ports; Faults, bandwidth, cuts; a tap
//!    `- Node  a box with NICs in ports of wires; boot() gives Handle and Stack, kill() takes them
//!   Lab    the smallest world: one wire, hosts that are never killed
//! ```
//!
//! A server is lost in the middle of a conversation and comes back under the same address:
//!
//! ```
//! use embedded_io_async::{Read, Write};
//! use keelson_net::{Stack, TcpOptions};
//! use keelson_net_sim::{Faults, NicModel, World};
//! use std::time::Duration;
//!
//! async fn serve(stack: Stack, greeting: &'static [u8]) {
//!     let listener = stack.listen(988, TcpOptions::default()).unwrap();
//!     loop {
//!         let mut stream = listener.accept().await;
//!         let _ = stream.write_all(greeting).await;
//!     }
//! }
//!
//! async fn greeting(stack: Stack) -> Option<[u8; 5]> {
//!     let mut stream = stack.connect("10.0.0.1:988".parse().unwrap(), Default::default()).await.ok()?;
//!     let mut word = [0; 5];
//!     stream.read_exact(&mut word).await.ok()?;
//!     Some(word)
//! }
//!
//! let world = World::new(1);
//! let wire = world.wire(Faults { loss: 2, ..Faults::default() });
//! let server = world.node();
//! server.plug("eth0", &wire, "10.0.0.1/24", NicModel::default());
//! let client = world.node();
//! client.plug("eth0", &wire, "10.0.0.2/24", NicModel::default());
//!
//! let (handle, stack) = server.boot();
//! handle.spawn("server", serve(stack, b"first"));
//! let (_, stack) = client.boot();
//! assert_eq!(world.run(greeting(stack.clone())), Some(*b"first"));
//!
//! server.kill();
//! world.run_for(Duration::from_secs(1));
//! let (handle, fresh) = server.boot();
//! handle.spawn("server", serve(fresh, b"again"));
//! assert_eq!(world.run(greeting(stack)), Some(*b"again"));
//! ```
//!
//! Not here: switches that learn, routers other than nodes, processors that take time.

#![forbid(unsafe_code)]

pub mod frames;
mod lab;
mod nic;
mod node;
mod rng;
mod wire;
mod world;

pub use lab::Lab;
pub use nic::{NicModel, SimNic};
pub use node::Node;
pub use rng::Rng;
pub use wire::{Faults, LATEST, PortId, Tap, Wire};
pub use world::World;
