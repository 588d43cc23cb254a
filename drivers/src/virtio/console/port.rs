//! One port: a queue for each direction, and who waits for it.

use crate::InitError;
use crate::dma::BufferPool;
use crate::virtio::{QueueFault, Segment, Virtqueue};
use alloc::rc::Rc;
use alloc::string::String;
use core::ops::Range;
use core::task::Waker;
use keelson_hal::Dma;

/// Buffers for what the host sends. QEMU takes no more than 4 KiB from it at a time.
const RECEIVE: u16 = 16;
const RECEIVE_BUFFER: usize = 4096;
/// Buffers for what it is sent, each of which QEMU writes at once.
const TRANSMIT: u16 = 4;
pub(super) const TRANSMIT_BUFFER: usize = 16 << 10;

/// A port that may or may not be there.
pub(super) struct State {
    receive: Virtqueue,
    transmit: Virtqueue,
    /// Of a port that is there.
    buffers: Option<Buffers>,
    pub name: String,
    pub is_console: bool,
    /// Somebody is at the other end.
    pub connected: bool,
    /// Changes with whoever that is.
    pub generation: u64,
    /// `Reader` and `Writer` of the present generation or of an earlier one.
    pub halves: u8,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
    pub acceptor: Option<Waker>,
    pub received: u64,
    pub sent: u64,
    pub dropped: u64,
}

struct Buffers {
    receive: BufferPool,
    transmit: BufferPool,
    /// One bit per free buffer of `transmit`.
    free: u16,
    /// A buffer that the device has filled, and what of it has not been read.
    unread: Option<(u16, Range<usize>)>,
}

impl State {
    pub fn new(receive: Virtqueue, transmit: Virtqueue) -> State {
        State {
            receive,
            transmit,
            buffers: None,
            name: String::new(),
            is_console: false,
            connected: false,
            generation: 0,
            halves: 0,
            reader: None,
            writer: None,
            acceptor: None,
            received: 0,
            sent: 0,
            dropped: 0,
        }
    }

    pub fn is_active(&self) -> bool {
        self.buffers.is_some()
    }

    /// The port is there: gives the device buffers.
    pub fn activate(&mut self, dma: &Rc<dyn Dma>) -> Result<(), InitError> {
        if self.is_active() {
            return Ok(());
        }
        let count = TRANSMIT.min(self.transmit.size());
        let buffers = Buffers {
            receive: BufferPool::new(dma, usize::from(RECEIVE), RECEIVE_BUFFER)?,
            transmit: BufferPool::new(dma, usize::from(count), TRANSMIT_BUFFER)?,
            free: (1 << count) - 1,
            unread: None,
        };
        for buffer in 0..RECEIVE.min(self.receive.size()) {
            give(&mut self.receive, &buffers.receive, buffer);
        }
        self.receive.publish();
        self.buffers = Some(buffers);
        Ok(())
    }

    /// Somebody came, or went.
    pub fn connected(&mut self, connected: bool) {
        self.connected = connected;
        self.generation += 1;
        [&mut self.reader, &mut self.writer, &mut self.acceptor]
            .into_iter()
            .filter_map(Option::take)
            .for_each(Waker::wake);
    }

    /// After an interrupt, whatever it was for.
    pub fn wake_for_work(&mut self) {
        if self.receive.has_used() {
            self.reader.take().into_iter().for_each(Waker::wake);
        }
        if self.transmit.has_used() {
            self.writer.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Takes what has come; 0 when there is nothing, and an interrupt will say when there is.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, QueueFault> {
        let Some(buffers) = &mut self.buffers else { return Ok(0) };
        let mut count = 0;
        while count < into.len() {
            let (buffer, range) = match buffers.unread.take() {
                Some(unread) => unread,
                None => match self.receive.pop()? {
                    Some(used) => (used.token, 0..used.written as usize),
                    // Asked for only by who has to wait.
                    None if count == 0 && self.receive.request_interrupt() => continue,
                    None => break,
                },
            };
            let len = range.len().min(into.len() - count);
            // SAFETY: the device has used the buffer's only descriptor, and it is given again only below.
            let bytes = unsafe { buffers.receive.bytes(usize::from(buffer), range.end) };
            into[count..][..len].copy_from_slice(&bytes[range.start..][..len]);
            count += len;
            if len < range.len() {
                buffers.unread = Some((buffer, range.start + len..range.end));
            } else {
                give(&mut self.receive, &buffers.receive, buffer);
                self.receive.publish();
            }
        }
        self.received += count as u64;
        Ok(count)
    }

    /// Sends as much as there are buffers for; 0 when there are none, and an interrupt will say when there are.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, QueueFault> {
        self.reap()?;
        let Some(buffers) = &mut self.buffers else { return Ok(0) };
        if buffers.free == 0 {
            if !self.transmit.request_interrupt() {
                return Ok(0);
            }
            self.reap()?;
        }
        let Some(buffers) = &mut self.buffers else { return Ok(0) };
        let mut count = 0;
        for piece in bytes.chunks(TRANSMIT_BUFFER) {
            let buffer = buffers.free.trailing_zeros() as u16;
            if buffer >= TRANSMIT {
                break;
            }
            // SAFETY: the buffer is free: the device has no descriptor for it.
            unsafe { buffers.transmit.bytes_mut(usize::from(buffer), piece.len()) }.copy_from_slice(piece);
            let phys = buffers.transmit.phys(usize::from(buffer), 0);
            self.transmit.add(&[Segment { phys, len: piece.len() as u32, device_writes: false }], buffer);
            buffers.free &= !(1 << buffer);
            count += piece.len();
        }
        self.transmit.publish();
        self.sent += count as u64;
        Ok(count)
    }

    /// Takes back what the device has sent; true when it has nothing left to send.
    pub fn reap(&mut self) -> Result<bool, QueueFault> {
        while let Some(used) = self.transmit.pop()? {
            self.buffers.iter_mut().for_each(|buffers| buffers.free |= 1 << used.token);
        }
        Ok(self.transmit.in_flight() == 0)
    }

    /// See `DmaBuffer::leak`.
    pub fn leak(&mut self) {
        self.receive.leak();
        self.transmit.leak();
        if let Some(buffers) = &mut self.buffers {
            buffers.receive.leak();
            buffers.transmit.leak();
        }
    }
}

/// Gives a buffer to the device. There is a descriptor for each, so that this cannot fail.
fn give(queue: &mut Virtqueue, buffers: &BufferPool, buffer: u16) {
    let segment = Segment {
        phys: buffers.phys(usize::from(buffer), 0),
        len: buffers.buffer_size() as u32,
        device_writes: true,
    };
    queue.add(&[segment], buffer);
}
