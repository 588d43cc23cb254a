//! Sends a file to a TFTP server from a machine that has panicked: RFC 1350, with the options of RFC 2347 to 2349 and 7440.
//!
//! Principles:
//!
//! 1. **Nothing of the running system is used**: no heap, no task, no lock, no network stack, no interrupt. A device that the
//!    caller brings is polled, a clock is read, and all state is on the stack of [`put`].
//! 2. **Every wait has an end.** Silence is answered by sending again, after 1 s, doubling to 8 s; 30 s without progress end it
//!    with an error that names who did not answer. Time is the caller's [`Clock`], which has to go on.
//! 3. **What the server stored is the source, or `put` returned an error.** Blocks are written where their number says, a
//!    transfer belongs to one port of the server, and checksums of UDP are looked at. The other way round is not so: when the
//!    answer to the last block is lost, the file may be complete although there was an error.
//! 4. **Nothing from the network is trusted**: what does not parse, and what is not from the server, is not there. A duplicate
//!    never causes anything to be sent (the Sorcerer's Apprentice of RFC 1123, section 4.2.3.1). TFTP has no secrets: whoever
//!    writes frames with the server's address can end a dump, or say that it arrived. Nothing else comes of them.
//!
//! ```text
//!   link up? -> ARP for the next host -> WRQ -> OACK, or ACK 0 -> (settle) -> DATA, ACK, DATA, ACK ... -> last ACK
//!   station.rs: frames, ARP      request.rs: WRQ, options          transfer.rs: window, numbers, time
//!                                tftp.rs: the bytes of both
//! ```
//!
//! Numbers of blocks are 16 bits and a dump has more: after 65,535 comes 0, as with tftpd-hpa and atftpd. Servers differ, since no
//! RFC says it: one that counts on from 1 acknowledges nothing after block 65,535, and one that cannot count on at all reports an error.
//! With 1,468 bytes to a block that is at 96 MB, with the 512 of a server without options at 33 MB.
//!
//! A server starts a transfer for each request that arrives, those that were sent again or doubled on the way included, and some
//! (not tftpd-hpa, which locks the file) empty the file each time. So nothing is sent before all of them have started: a fifth of a
//! second after the first answer, longer if the request had to be repeated.
//!
//! Not here: IPv6, VLANs, fragments, DHCP, names of hosts, reading a file, more than one server.

#![no_std]
#![forbid(unsafe_code)]

mod error;
mod patience;
mod request;
mod station;
mod tftp;
mod transfer;

pub use error::{ErrorText, PutError};

use core::net::Ipv4Addr;
use keelson_hal::{Clock, MacAddress, NetDevice};
use request::Ask;
use station::Station;

/// The UDP port that servers listen at.
pub const TFTP_PORT: u16 = 69;

/// Where the file goes, and who we are: taken down while the machine was still well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The address frames are sent from, and those for us are sent to.
    pub mac: MacAddress,
    /// Our address.
    pub address: Ipv4Addr,
    /// Who gets the frames for the server, and is asked for by ARP: the server itself, or a router.
    pub next_hop: Ipv4Addr,
    /// The server.
    pub server: Ipv4Addr,
    /// Where it listens: [`TFTP_PORT`].
    pub port: u16,
    /// Largest IP packet in bytes that the path carries; the device's limit counts too. At least 576.
    pub mtu: usize,
    /// The file's name, as the server is told it.
    pub file: heapless::String<128>,
}

/// What is sent: of a known length, read piece by piece.
pub trait Source {
    /// Bytes of all of it; the same at each call.
    fn size(&self) -> u64;

    /// Fills `into` with the bytes from `offset`, all of which lie within [`Source::size`]. A piece is asked for again when it got
    /// lost, and has to be the same then.
    fn read(&mut self, offset: u64, into: &mut [u8]);
}

/// What was sent, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Bytes that the server acknowledged: all of the source.
    pub bytes: u64,
    /// Bytes of a block, as agreed with the server.
    pub block_size: usize,
    /// Blocks sent before an answer is waited for.
    pub window: u16,
    /// Blocks that were sent more than once.
    pub resent: u64,
}

/// Sends all of `source` to `target`, and tells `progress` how many bytes the server has, each time when it has more.
///
/// The device belongs to this function until it returns, and needs no interrupt. It may just have been reset: the link is waited
/// for, up to 10 s.
pub fn put(
    device: &mut dyn NetDevice,
    clock: &dyn Clock,
    target: &Target,
    source: &mut dyn Source,
    progress: &mut dyn FnMut(u64),
) -> Result<Sent, PutError> {
    if target.file.is_empty() || target.file.contains('\0') {
        return Err(PutError::FileName);
    }
    let mut ask = Ask::new(target.mtu.min(device.max_mtu()))?;
    let is_other = |host: &Ipv4Addr| {
        !(host.is_unspecified() || host.is_broadcast() || host.is_multicast() || *host == target.address)
    };
    if let Some(wrong) = [target.server, target.next_hop].into_iter().find(|host| !is_other(host)) {
        return Err(PutError::NotAHost(wrong));
    }
    device.disarm();
    let mut station = Station::new(device, clock, target);
    station.wait_for_link()?;
    station.resolve()?;
    // Each turn asks for less than the one before, so there are few.
    loop {
        station.new_port();
        let outcome = match request::open(&mut station, target, source.size(), &ask) {
            Ok(session) => transfer::run(&mut station, &session, source, progress),
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) => ask = ask.less(&error).ok_or(error)?,
            sent => return sent,
        }
    }
}
