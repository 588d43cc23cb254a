//! LWKD/1: what an LWK node and its delegate host say to each other, as bytes. Linked into both.
//!
//! Sections cited in this crate are those of the project's LWK specification.
//!
//! ```text
//!   errno       error numbers of Linux
//!   layout      structures of Linux: stat, siginfo, termios, socket addresses, ...
//!   bytes       fields, little-endian
//!   frame       header of 32 bytes, stream decoder, limits
//!   messages    the payload of each type of frame
//!   calls       the table of system calls; what a node copies for one, what a host accepts as one
//!   handshake   HELLO, choice of version, AUTH: Noise NNpsk0 with ChaCha20-Poly1305
//!   dump        dumps of the kernel: the block in its image, the records of a stream
//!   channel     bytes in, frames out, and back, whatever the protection
//!   serial      where a connection begins on a port that has had others
//!   selftest    a connection of a processor with itself, whose outcome is known
//! ```
//!
//! Principles:
//!
//! 1. **Nothing that arrives can panic or allocate without bound.** Counts are checked against their limits and against the
//!    bytes present before anything is reserved.
//! 2. **No pointer crosses.** A call travels with its bytes, as the table says; addresses are names for ranges, no more.
//! 3. **No I/O, no clock, no randomness of its own.** Bytes and entropy are passed in.
//! 4. **One table for both sides.** What a node may send is what a host accepts.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bytes;
pub mod calls;
pub mod channel;
pub mod dump;
pub mod errno;
pub mod frame;
pub mod handshake;
pub mod layout;
pub mod messages;
pub mod selftest;
pub mod serial;

pub use errno::Errno;
