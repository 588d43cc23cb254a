//! Qnet, as bytes: everything a node or a test tool reads from or writes to a peer.
//!
//! Sections cited in this crate are those of the project's Qnet specification.
//!
//! ```text
//!   frame, ipv4    the two bindings: EtherType 0x8204 and IPv4 protocol 106           section 2
//!   l4             36-byte LwL4 header, fragments, CRC                                sections 3 to 5
//!   tcs            names in the first packet of a connection                          section 6.2
//!   lr, nr         LAN resolver and node resolver                                     sections 9, 10
//!   kif            kernel interface: connect, send, read, write, reply, pulse, ...    section 12
//!   io             messages to resource managers and their replies                    section 13
//!   netmgr         messages to the network manager                                    section 11.3
//!   proc           process information, system page, spawn, wait                      section 14
//!   names, nd      node names, policies, node descriptors                             sections 8, 11
//!   errno          QNX's error numbers                                                section 18
//!   pcap           capture files, for tests and tools
//! ```
//!
//! Principles:
//!
//! 1. **No allocation, no panic, no unchecked index.** Decoders give views on the bytes that arrived; encoders
//!    return arrays or write into the caller's buffer.
//! 2. **The byte order is a value.** Every decoder of a multi-byte field is given the sender's [`Endian`], or
//!    finds it in the message (LwL4 and KIF say theirs).
//! 3. **`encode` and `emit`.** A layout of one size has `encode`, which returns an array; one of varying size has
//!    `emit`, which says how much room it needed. `decode` undoes both.
//! 4. **Strict about lengths, lenient about the rest.** Reserved fields are sent as zero and ignored; unknown bits
//!    are kept where a node could have a use for them.
//!
//! `corpus/` has the specification's frames as raw files, for fuzzers to start from.
//!
//! Not here: connections, timers, reassembly, the node table (the node above); 64-bit message layouts of QNX 7
//! (section 13); the bodies of messages that no node of ours serves (`_IO_MMAP`, `_IO_POWER`), which are raw bytes.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod endian;
pub mod errno;
pub mod frame;
pub mod io;
pub mod ipv4;
pub mod kif;
pub mod l4;
mod layout;
pub mod lr;
pub mod names;
pub mod nd;
pub mod netmgr;
pub mod nr;
mod out;
pub mod pcap;
pub mod proc;
pub mod tcs;

pub use endian::Endian;
pub use errno::Errno;
pub use frame::Mac;
pub use layout::Short;
pub use nd::Nd;
pub use out::NoRoom;
