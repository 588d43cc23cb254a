//! Descriptors: how received frames are reported, and how frames to be sent are described. They are 16 bytes in both
//! layouts, begin with a buffer's address when the driver writes them, and differ in the rest.
//!
//! ```text
//!                     legacy, extended                      advanced
//!   received          length 8, status 12, errors 13        status and errors 8, length 12
//!   checksum          start and field as offsets            lengths of the headers, kind of transport
//!   data              length                                length of the piece, length of the frame
//! ```

use super::segmentation::{Segmentation, TCP_CHECKSUM};
use crate::dma::DmaBuffer;
use core::sync::atomic::{Ordering, fence};
use keelson_hal::TxChecksum;

/// Which descriptors a chip is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// Received in the legacy layout, sent in the extended one (8254x manual sections 3.2.3, 3.3.6 and 3.3.7).
    Legacy,
    /// Advanced descriptors (82576 datasheet sections 7.1.5 and 7.2.2; I350 and I210 likewise): one buffer for each
    /// received descriptor, headers and payload together.
    Advanced,
}

/// What the device wrote into a receive descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Written {
    /// Bytes in the buffer, as the device says.
    pub len: usize,
    /// The frame ends here; what follows holds only then.
    pub ends: bool,
    /// It has an error of the wire.
    pub faulty: bool,
    /// Its TCP or UDP checksum was looked at and is right.
    pub verified: bool,
}

/// One piece of a frame to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Data {
    /// Where the device finds it.
    pub phys: u64,
    /// Bytes there.
    pub len: usize,
    /// It is the frame's last.
    pub end: bool,
    /// The frame is to be segmented.
    pub segment: bool,
    /// [`bit::POPTS_TXSM`] and [`bit::POPTS_IXSM`].
    pub options: u32,
    /// Bytes in the whole frame, without the headers when it is to be segmented.
    pub payload: usize,
}

/// Bits of transmit descriptors that are in the same place in both layouts: in the third word, in the fourth.
pub(crate) mod bit {
    pub const CMD_EOP: u32 = 1 << 24;
    pub const CMD_IFCS: u32 = 1 << 25;
    pub const CMD_RS: u32 = 1 << 27;
    pub const CMD_DEXT: u32 = 1 << 29;
    /// Written back where RS was set.
    pub const DD: u32 = 1 << 0;
    /// Complete the IPv4 header's checksum.
    pub const POPTS_IXSM: u32 = 1 << 8;
    /// Complete the transport checksum.
    pub const POPTS_TXSM: u32 = 1 << 9;
}

mod extended {
    pub const DTYP_DATA: u32 = 1 << 20;
    pub const CMD_TSE: u32 = 1 << 26;
    pub const TUCMD_TCP: u32 = 1 << 24;
    pub const TUCMD_IPV4: u32 = 1 << 25;
}

mod advanced {
    pub const DTYP_CONTEXT: u32 = 2 << 20;
    pub const DTYP_DATA: u32 = 3 << 20;
    pub const CMD_TSE: u32 = 1 << 31;
    pub const TUCMD_IPV4: u32 = 1 << 10;
    pub const TUCMD_TCP: u32 = 1 << 11;
}

/// Status of a received frame, the same bits in both layouts.
mod rx {
    pub const DD: u32 = 1 << 0;
    pub const EOP: u32 = 1 << 1;
    /// Legacy: checksums were not looked at.
    pub const IXSM: u32 = 1 << 2;
    /// UDP checksum computed; 82540EM reports UDP as TCPCS.
    pub const UDPCS: u32 = 1 << 4;
    pub const TCPCS: u32 = 1 << 5;

    /// Errors in the legacy layout: CRC, symbol, sequence and receive data; TCP or UDP checksum.
    pub const LEGACY_FAULTS: u8 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 7;
    pub const LEGACY_TCPE: u8 = 1 << 5;
    /// In the advanced layout: any error of the wire; TCP or UDP checksum.
    pub const ADVANCED_RXE: u32 = 1 << 31;
    pub const ADVANCED_L4E: u32 = 1 << 29;
}

/// Length of the Ethernet header.
const ETHERNET: u32 = 14;

impl Layout {
    /// The receive descriptor at this offset; `None` while the device is not done with it.
    pub fn written(self, ring: &DmaBuffer, at: usize) -> Option<Written> {
        let done = |status: u32| {
            // What the device wrote before the status is read after it.
            (status & rx::DD != 0).then(|| fence(Ordering::Acquire))
        };
        match self {
            Layout::Legacy => {
                let status = u32::from(ring.read8(at + 12));
                done(status)?;
                let errors = ring.read8(at + 13);
                let looked_at = status & (rx::TCPCS | rx::UDPCS) != 0 && status & rx::IXSM == 0;
                Some(Written {
                    len: usize::from(ring.read16(at + 8)),
                    ends: status & rx::EOP != 0,
                    faulty: errors & rx::LEGACY_FAULTS != 0,
                    verified: looked_at && errors & rx::LEGACY_TCPE == 0,
                })
            }
            Layout::Advanced => {
                let status = ring.read32(at + 8);
                done(status)?;
                Some(Written {
                    len: usize::from(ring.read16(at + 12)),
                    ends: status & rx::EOP != 0,
                    faulty: status & rx::ADVANCED_RXE != 0,
                    verified: status & (rx::TCPCS | rx::UDPCS) != 0 && status & rx::ADVANCED_L4E == 0,
                })
            }
        }
    }

    /// The context in which the device completes a checksum; `None` when it cannot.
    pub fn checksum(self, checksum: TxChecksum) -> Option<[u32; 4]> {
        let start = u32::from(checksum.start);
        let tcp = checksum.offset == TCP_CHECKSUM;
        match self {
            Layout::Legacy => {
                let field = u32::from(checksum.start + checksum.offset);
                let kind = if tcp { extended::TUCMD_TCP } else { 0 };
                // Start and field of the IP header's checksum are given too, but not used: the stack has it.
                Some([14 | 24 << 8 | (start.max(15) - 1) << 16, start | field << 8, bit::CMD_DEXT | kind, 0])
            }
            Layout::Advanced => {
                // Where the field is follows from the kind of transport.
                let ip = start.checked_sub(ETHERNET).filter(|_| tcp || checksum.offset == UDP_CHECKSUM)?;
                let kind = if tcp { advanced::TUCMD_TCP } else { 0 };
                Some([ip | ETHERNET << 9, 0, bit::CMD_DEXT | advanced::DTYP_CONTEXT | kind, 0])
            }
        }
    }

    /// The context in which the device segments a frame of `len` bytes into payloads of `mss` bytes.
    pub fn segmentation(self, headers: Segmentation, len: usize, mss: u16) -> [u32; 4] {
        let start = headers.tcp as u32;
        match self {
            Layout::Legacy => {
                let field = start + u32::from(TCP_CHECKSUM);
                let command = bit::CMD_DEXT | extended::CMD_TSE | extended::TUCMD_TCP | extended::TUCMD_IPV4;
                [
                    14 | 24 << 8 | (start - 1) << 16,
                    start | field << 8,
                    command | (len - headers.payload) as u32,
                    (headers.payload as u32) << 8 | u32::from(mss) << 16,
                ]
            }
            Layout::Advanced => {
                let kind = advanced::DTYP_CONTEXT | advanced::TUCMD_TCP | advanced::TUCMD_IPV4;
                let (ip, tcp) = (start - ETHERNET, (headers.payload - headers.tcp) as u32);
                [ip | ETHERNET << 9, 0, bit::CMD_DEXT | kind, tcp << 8 | u32::from(mss) << 16]
            }
        }
    }

    /// The descriptor of a piece.
    pub fn data(self, data: Data) -> [u32; 4] {
        let end = if data.end { bit::CMD_EOP } else { 0 };
        let segment = |bit| if data.segment { bit } else { 0 };
        let (kind, payload) = match self {
            Layout::Legacy => (extended::DTYP_DATA | segment(extended::CMD_TSE), 0),
            Layout::Advanced => {
                (advanced::DTYP_DATA | segment(advanced::CMD_TSE), (data.payload as u32) << 14)
            }
        };
        let command = bit::CMD_DEXT | bit::CMD_IFCS | kind | end;
        [data.phys as u32, (data.phys >> 32) as u32, command | data.len as u32, data.options | payload]
    }
}

/// Offset of the checksum in a UDP header.
const UDP_CHECKSUM: u16 = 6;
