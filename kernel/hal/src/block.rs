//! Block devices: asynchronous, with many requests in flight.

use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll};

/// Size and abilities of a block device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockGeometry {
    /// Number of 512-byte sectors.
    pub sectors: u64,
    /// The medium refuses writes.
    pub read_only: bool,
    /// Has a volatile write cache: data is safe only after [`BlockOp::Flush`]. Without one, flush is free.
    pub write_cache: bool,
    /// Takes [`BlockOp::WriteThrough`] ("force unit access"). Without, a write and a flush do the same.
    pub write_through: bool,
    /// Largest request in bytes.
    pub max_transfer: usize,
    /// Requests that may be in flight.
    pub queue_depth: usize,
}

/// Size of the unit that [`BlockRequest::sector`] counts, whatever the medium uses inside.
pub const SECTOR_SIZE: usize = 512;

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockOp {
    /// Fill the buffer from the device.
    Read,
    /// Write the buffer. May stay in the device's volatile cache.
    Write,
    /// Write the buffer; finished only when it is safe from a power cut. Not with every device
    /// ([`BlockGeometry::write_through`]).
    WriteThrough,
    /// Make every write completed before this request was submitted safe from a power cut. Empty buffer.
    Flush,
}

/// One request. The buffer's length is a multiple of 512 and gives the length of the transfer.
#[derive(Debug)]
pub struct BlockRequest {
    /// What to do.
    pub op: BlockOp,
    /// First 512-byte sector.
    pub sector: u64,
    /// Data to write, or room for data to read.
    pub buffer: Vec<u8>,
}

/// Names a request in flight.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(pub u32);

/// A finished request: the buffer comes back in either case.
#[derive(Debug)]
pub struct BlockCompletion {
    /// How it ended.
    pub result: Result<(), BlockError>,
    /// The request's buffer, filled for a successful read.
    pub buffer: Vec<u8>,
}

/// What a disk's driver counted since the disk was started. Requests count when the device has done them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlockCounters {
    /// Reads.
    pub reads: u64,
    /// Bytes of these.
    pub read_bytes: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes of these.
    pub written_bytes: u64,
    /// Flushes of the device's cache.
    pub flushes: u64,
    /// Requests that ended with an error, whoever reported it.
    pub errors: u64,
    /// Requests whose caller lost interest, done or not.
    pub abandoned: u64,
    /// Requests that the device has at the moment.
    pub in_flight: u64,
    /// Doorbells rung.
    pub doorbells: u64,
    /// Interrupts that the driver's task saw.
    pub interrupts: u64,
}

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockError {
    /// Beyond the end, not a multiple of 512, or longer than `max_transfer`.
    OutOfRange,
    /// A write to a read-only device.
    ReadOnly,
    /// The device reported an error for this request.
    Io,
    /// The device does not know the operation.
    Unsupported,
    /// The device stopped answering sensibly and was shut off.
    Gone,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BlockError::OutOfRange => "request outside the device",
            BlockError::ReadOnly => "device is read-only",
            BlockError::Io => "I/O error",
            BlockError::Unsupported => "operation not supported by the device",
            BlockError::Gone => "device does not answer",
        })
    }
}

/// A block device. Requests run concurrently and finish in any order; only [`BlockOp::Flush`] orders
/// anything, and only against writes already completed.
pub trait BlockDevice {
    /// Name as Linux would give it: `vda`.
    fn name(&self) -> &str;

    /// Size and abilities. Constant.
    fn geometry(&self) -> BlockGeometry;

    /// Starts a request. When the queue is full the request comes back and the caller waits for a
    /// completion ([`BlockDevice::poll_room`]).
    fn submit(&self, request: BlockRequest) -> Result<Ticket, BlockRequest>;

    /// Ready when a [`BlockDevice::submit`] would be accepted.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Looks whether the request is done, collecting whatever the device has finished; Ready exactly once
    /// per ticket. Pending keeps the waker.
    fn poll_done(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<BlockCompletion>;

    /// The caller lost interest. The device keeps the buffer until it is done with it, then frees it.
    fn abandon(&self, ticket: Ticket);

    /// The driver's counters: zeros of a disk that counts nothing.
    fn counters(&self) -> BlockCounters {
        BlockCounters::default()
    }
}
