//! One port: a queue for each direction, and who waits for it.

use crate::InitError;
use crate::dma::BufferPool;
use crate::virtio::{QueueFault, Segment, Virtqueue};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use core::ops::Range;
use core::task::Waker;
use keelson_hal::Dma;

/// Buffers for what the host sends. QEMU takes no more than 4 KiB from it at a time.
const RECEIVE: u16 = 16;
const RECEIVE_BUFFER: usize = 4096;
/// Buffers for what it is sent, each of which QEMU writes at once; and one for probes.
const TRANSMIT: u16 = 7;
const PROBE: u16 = TRANSMIT;
pub(super) const TRANSMIT_BUFFER: usize = 8 << 10;

/// A port that may or may not be there.
///
/// QEMU loses what it could not send when somebody went: that never comes back, neither sent nor thrown away
/// (`discard_throttle_data`). What it takes afterwards does, in the order in which it was given. So when somebody comes or
/// goes while the device has something, a probe follows: a byte that nobody waits for. When it comes back, what does not come is
/// known.
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
    /// What the device has, in order.
    sent: VecDeque<Sent>,
    /// Token of the next.
    next: u16,
    /// A buffer that the device has filled, and what of it has not been read.
    unread: Option<(u16, Range<usize>)>,
}

/// A buffer that the device sends.
struct Sent {
    token: u16,
    generation: u64,
    buffer: u16,
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
        let buffers = Buffers {
            receive: BufferPool::new(dma, usize::from(RECEIVE), RECEIVE_BUFFER)?,
            transmit: BufferPool::new(dma, usize::from(TRANSMIT) + 1, TRANSMIT_BUFFER)?,
            free: (1 << TRANSMIT) - 1,
            sent: VecDeque::with_capacity(usize::from(self.transmit.size())),
            next: 0,
            unread: None,
        };
        for buffer in 0..RECEIVE.min(self.receive.size()) {
            self.receive.add_buffer(&buffers.receive, buffer);
        }
        self.receive.publish();
        self.buffers = Some(buffers);
        Ok(())
    }

    /// Somebody came, or went.
    pub fn connected(&mut self, connected: bool) -> Result<(), QueueFault> {
        self.connected = connected;
        self.generation += 1;
        // Consoles lose nothing, and should show nothing.
        if !self.reap()? && !self.is_console {
            self.send(PROBE, 1);
            self.transmit.publish();
            // Whoever comes next may wait for nothing else.
            self.transmit.request_interrupt();
        }
        self.wake();
        Ok(())
    }

    /// Whoever waits looks again.
    pub fn wake(&mut self) {
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
                self.receive.add_buffer(&buffers.receive, buffer);
                self.receive.publish();
            }
        }
        self.received += count as u64;
        Ok(count)
    }

    /// Sends as much as there are buffers for; 0 when there are none, and an interrupt will say when there are.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, QueueFault> {
        self.reap()?;
        if !self.has_room() && self.transmit.request_interrupt() {
            self.reap()?;
        }
        let mut count = 0;
        for piece in bytes.chunks(TRANSMIT_BUFFER) {
            let Some(buffers) = self.buffers.as_mut().filter(|buffers| buffers.free != 0) else { break };
            let buffer = buffers.free.trailing_zeros() as u16;
            // SAFETY: the buffer is free: the device has no descriptor for it.
            unsafe { buffers.transmit.bytes_mut(usize::from(buffer), piece.len()) }.copy_from_slice(piece);
            buffers.free &= !(1 << buffer);
            if !self.send(buffer, piece.len()) {
                break;
            }
            count += piece.len();
        }
        self.transmit.publish();
        self.sent += count as u64;
        Ok(count)
    }

    fn has_room(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.free != 0)
    }

    /// Gives the device a buffer to send.
    fn send(&mut self, buffer: u16, len: usize) -> bool {
        let Some(buffers) = &mut self.buffers else { return false };
        let (token, phys) = (buffers.next, buffers.transmit.phys(usize::from(buffer), 0));
        let given = self.transmit.add(&[Segment { phys, len: len as u32, device_writes: false }], token);
        if given {
            buffers.next = token.wrapping_add(1);
            buffers.sent.push_back(Sent { token, generation: self.generation, buffer });
        }
        given
    }

    /// Takes back what the device has sent; true when it has nothing left to send.
    pub fn reap(&mut self) -> Result<bool, QueueFault> {
        while let Some(used) = self.transmit.pop()? {
            self.returned(used.token);
        }
        Ok(self.transmit.in_flight() == 0)
    }

    /// The device is done with this one, and has lost what was before it and of an earlier generation.
    fn returned(&mut self, token: u16) {
        let Some(buffers) = &mut self.buffers else { return };
        let Some(at) = buffers.sent.iter().position(|sent| sent.token == token) else { return };
        let generation = buffers.sent[at].generation;
        let mut index = 0;
        buffers.sent.retain(|sent| {
            let is_lost = index < at && sent.generation != generation;
            let ends = is_lost || index == at;
            index += 1;
            if is_lost {
                self.transmit.forget(sent.token);
            }
            if ends && sent.buffer != PROBE {
                buffers.free |= 1 << sent.buffer;
            }
            !ends
        });
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
