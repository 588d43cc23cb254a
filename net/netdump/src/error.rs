//! Why a file was not sent.

use core::fmt;
use core::net::Ipv4Addr;

/// What a server said about its error, with whatever is not printable ASCII escaped, and cut where it is long.
pub type ErrorText = heapless::String<96>;

/// Why a file was not sent, or not all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PutError {
    /// The file has no name, or one with a NUL in it.
    FileName,
    /// Packets of this many bytes are too small, or the device does not take them.
    Mtu(usize),
    /// This address, the server's or the next hop's, is not that of another host.
    NotAHost(Ipv4Addr),
    /// The link did not come up, or went down for good.
    NoLink,
    /// The device takes no frames: its transmit ring stays full.
    Device,
    /// This next hop, the server or a router, did not answer ARP.
    NoNeighbour(Ipv4Addr),
    /// Nothing answered the request at this port of the server.
    NoServer(Ipv4Addr, u16),
    /// The server began, and then did not answer any more.
    Silent {
        /// The server.
        server: Ipv4Addr,
        /// Bytes that it has. All of them if only the answer to the last block is missing, which is empty or short: then the file
        /// may well be complete.
        acknowledged: u64,
        /// Bytes that it should have.
        of: u64,
    },
    /// The server reported an error (RFC 1350, section 5 and appendix).
    Refused {
        /// 1 not found, 2 access violation, 3 disk full, 4 illegal operation, 5 unknown port, 6 exists already, 7 no such user,
        /// 8 options; 0 see the text.
        code: u16,
        /// The server's words.
        text: ErrorText,
        /// Bytes that it had acknowledged before.
        acknowledged: u64,
    },
    /// The server granted options that it was not asked for, or more than that.
    Options,
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PutError::FileName => f.write_str("the file needs a name"),
            PutError::Mtu(mtu) => write!(f, "packets of {mtu} bytes cannot be sent, or are too small"),
            PutError::NotAHost(address) => write!(f, "{address} is not the address of another host"),
            PutError::NoLink => f.write_str("the link is down"),
            PutError::Device => f.write_str("the network device takes no frames"),
            PutError::NoNeighbour(host) => write!(f, "{host} does not answer ARP"),
            PutError::NoServer(server, port) => write!(f, "no TFTP server answers at {server}:{port}"),
            PutError::Silent { server, acknowledged, of } => {
                write!(f, "{server} does not answer any more after {acknowledged} of {of} bytes")
            }
            PutError::Refused { code, text, acknowledged } => {
                write!(f, "the server reports error {code} after {acknowledged} bytes: {text}")
            }
            PutError::Options => f.write_str("the server grants options that it was not asked for"),
        }
    }
}
