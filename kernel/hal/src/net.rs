//! Network devices: frames in, frames out, NAPI-style.
//!
//! The life of a device under its network task:
//!
//! ```text
//!   disarm -> receive(budget) -> [stack works, transmit...] -> flush --+
//!      ^                                                               |
//!      |            more frames or more work: next turn                |
//!      +---------------------------------------------------------------+
//!      |            nothing left: arm() -> true (frames came meanwhile): next turn
//!      +--- interrupt <- wait <- false
//! ```

use bitflags::bitflags;
use core::fmt;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: MacAddress = MacAddress([0xff; 6]);

    /// True for group addresses (broadcast included): the lowest bit of the first byte.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

bitflags! {
    /// Work a device takes off the stack.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct NetFeatures: u32 {
        /// Completes TCP and UDP checksums of sent frames ([`TxOffload::checksum`]).
        const TX_CHECKSUM = 1 << 0;
        /// Cuts TCP over IPv4 payloads larger than one segment ([`TxOffload::segment_size`]).
        const TSO4 = 1 << 1;
        /// The same over IPv6.
        const TSO6 = 1 << 2;
        /// May mark received frames as verified ([`RxMeta::checksum_ok`]).
        const RX_CHECKSUM = 1 << 3;
        /// May merge received TCP segments into frames larger than the MTU.
        const LRO = 1 << 4;
    }
}

/// Carrier state of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// No carrier.
    Down,
    /// Carrier present.
    Up(LinkSpeed),
}

/// Speed of a link in Mbit/s; 0 when the device does not say (virtio without a speed).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkSpeed(pub u32);

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Link::Down => f.write_str("link down"),
            Link::Up(LinkSpeed(0)) => f.write_str("link up"),
            Link::Up(LinkSpeed(speed)) => write!(f, "link up, {speed} Mbit/s"),
        }
    }
}

/// What is known of a received frame beyond its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RxMeta {
    /// The device (or a trusted peer on the same host) vouches for the TCP or UDP checksum.
    pub checksum_ok: bool,
}

/// Work asked of the device for one sent frame. The default asks for nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TxOffload {
    /// Complete the transport checksum: the field already holds the folded, *uncomplemented* sum of the
    /// pseudo-header; the device adds the bytes from `start` to the end and stores the complement at
    /// `start + offset`.
    pub checksum: Option<TxChecksum>,
    /// Cut the TCP payload into segments of this many bytes (the MSS). Needs `checksum`.
    pub segment_size: Option<u16>,
}

/// Where a device finds the transport header of a frame, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxChecksum {
    /// From the start of the Ethernet header to the TCP or UDP header.
    pub start: u16,
    /// From there to the checksum field: 16 for TCP, 6 for UDP.
    pub offset: u16,
}

/// Why a frame could not be queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransmitError {
    /// The ring is full; try again after the next [`NetDevice::transmit_room`] above zero.
    Full,
    /// Longer than the device can send (MTU plus Ethernet header, or its TSO limit).
    TooLong,
}

/// Counters every driver keeps, named as `ip -s link` and `ethtool -S` name them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetCounters {
    /// Frames received and handed to the stack.
    pub rx_packets: u64,
    /// Bytes in them.
    pub rx_bytes: u64,
    /// Frames the device or driver dropped for want of buffers.
    pub rx_dropped: u64,
    /// Frames dropped for errors (CRC, length, a used entry that makes no sense).
    pub rx_errors: u64,
    /// Frames queued for sending.
    pub tx_packets: u64,
    /// Bytes in them.
    pub tx_bytes: u64,
    /// Frames refused with [`TransmitError`].
    pub tx_dropped: u64,
    /// Frames of `tx_packets` that the device was asked to segment.
    pub tx_tso_packets: u64,
    /// Times the device was told of new descriptors (one register write, one exit under a hypervisor).
    pub doorbells: u64,
    /// Interrupts that woke the task.
    pub interrupts: u64,
}

/// A network device: one receive and one transmit queue of Ethernet frames.
///
/// A multiqueue NIC appears as several `NetDevice`s with one MAC address, each owned by one core.
pub trait NetDevice {
    /// Driver name as `ethtool -i` shows it: `virtio_net`, `e1000`, `e1000e`, `igb`.
    fn driver(&self) -> &'static str;

    /// The address frames are sent from.
    fn mac(&self) -> MacAddress;

    /// What the device does for the stack. Constant.
    fn features(&self) -> NetFeatures;

    /// Largest IP packet in bytes that the device can carry in one frame (1500 unless it supports more).
    fn max_mtu(&self) -> usize;

    /// Largest frame in bytes (Ethernet header included) accepted with `segment_size`; 0 without TSO.
    fn max_tso_frame(&self) -> usize;

    /// Carrier state now.
    fn link(&mut self) -> Link;

    /// Hands at most `budget` received frames (Ethernet header first, no FCS) to `sink` and gives their
    /// buffers back to the device; returns how many there were. `sink` must not call back into the device:
    /// replies are sent after `receive` returned.
    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8], RxMeta)) -> usize;

    /// Frames that can be queued now, after reclaiming those the device has sent.
    fn transmit_room(&mut self) -> usize;

    /// Queues one frame of `len` bytes, written by `fill` into the device's buffer of exactly `len` bytes
    /// (contents undefined before). Not seen by the device before [`NetDevice::flush`]. `fill` is not
    /// called on error.
    fn transmit(
        &mut self,
        len: usize,
        offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError>;

    /// Tells the device of everything queued since the last call: at most one doorbell per ring.
    fn flush(&mut self);

    /// Allows interrupts for received frames (and, when the transmit ring was full, for freed slots), then
    /// looks again: true when there is work already, and the caller must not wait.
    fn arm(&mut self) -> bool;

    /// Forbids interrupts while the task polls.
    fn disarm(&mut self);

    /// Receives frames sent to these group addresses too; the list replaces the former one. A device may
    /// receive more than asked (all multicast).
    fn set_multicast(&mut self, groups: &[MacAddress]);

    /// The driver's counters. May cost register reads.
    fn counters(&self) -> NetCounters;

    /// What the device itself counted, under the names that `ethtool -S` has for it. May cost register reads.
    fn statistics(&self, _report: &mut dyn FnMut(&'static str, u64)) {}

    /// Slots of the receive and of the transmit ring (`ethtool -g`); 0 where there is no ring.
    fn rings(&self) -> (usize, usize) {
        (0, 0)
    }
}
