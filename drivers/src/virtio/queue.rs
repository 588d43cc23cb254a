//! The split virtqueue (virtio 1.2 section 2.7).
//!
//! The driver side lives in three places: what the device reads (descriptor table and available ring), what
//! the device writes (used ring), and this struct's own notes. Decisions are made from the notes alone; the
//! used ring is input from outside.
//!
//! ```text
//!   add ---> available ring, not visible ---publish---> visible (idx), doorbell if the device sleeps
//!                                                         |
//!   pop <--- used ring <-------------------------- device +
//! ```

use super::transport::{Doorbell, QueueAddresses, Transport};
use crate::InitError;
use crate::dma::{BufferPool, DmaBuffer};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use core::fmt;
use core::sync::atomic::{Ordering, fence};
use keelson_hal::Dma;

/// Most descriptors a queue gets.
const MAX_SIZE: u16 = 256;
/// Bytes of one descriptor: address, length, flags, next.
const DESCRIPTOR: usize = 16;
/// Descriptor flags: the chain goes on; the device writes.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
/// Available ring flag without EVENT_IDX: no interrupts please. The same bit in the used ring's flags says
/// that the device wants no doorbells.
const SUPPRESS: u16 = 1;

/// A rule of the virtqueue that the device broke. The queue is dead afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueFault {
    /// The used index moved on by more than is in flight.
    IndexJump {
        /// Entries that the device claims to have used.
        claimed: u16,
        /// Chains that it has.
        in_flight: u16,
    },
    /// A used entry names a descriptor that starts no chain in flight.
    UnknownId(u32),
    /// The device claims to have written more than it had room for.
    LengthExceeded {
        /// Bytes claimed.
        claimed: u32,
        /// Bytes of writable buffers in the chain.
        room: u32,
    },
    /// A device-specific rule was broken.
    Protocol(&'static str),
}

impl fmt::Display for QueueFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            QueueFault::IndexJump { claimed, in_flight } => {
                write!(f, "used index advanced by {claimed} with {in_flight} in flight")
            }
            QueueFault::UnknownId(id) => write!(f, "used entry {id} is not in flight"),
            QueueFault::LengthExceeded { claimed, room } => write!(f, "{claimed} bytes written into {room}"),
            QueueFault::Protocol(what) => f.write_str(what),
        }
    }
}

/// One buffer of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    /// Device address.
    pub phys: u64,
    /// Length in bytes.
    pub len: u32,
    /// The device writes it (true after all that it reads).
    pub device_writes: bool,
}

/// A chain that came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Used {
    /// The token given to [`Virtqueue::add`].
    pub token: u16,
    /// Bytes the device says it wrote, at most what it had room for.
    pub written: u32,
}

/// What the driver remembers of a descriptor; the table itself is never read back.
#[derive(Clone, Copy, Default)]
struct Note {
    /// Next in the chain or in the free list.
    next: u16,
    /// Descriptors of the chain that starts here, 0 when none does.
    chain_len: u16,
    /// Caller's token of that chain.
    token: u16,
    /// Writable bytes of that chain.
    room: u32,
}

/// One virtqueue, driver side.
pub(crate) struct Virtqueue {
    memory: DmaBuffer,
    size: u16,
    event_idx: bool,
    doorbell: Doorbell,
    notes: Box<[Note]>,
    free_head: u16,
    free_count: u16,
    chains_in_flight: u16,
    /// Available index including what is not published.
    avail: u16,
    /// Available index as the device sees it.
    published: u16,
    /// Used index up to which entries have been popped.
    last_used: u16,
    fault: Option<QueueFault>,
    doorbells: u64,
}

/// Offsets in the queue memory.
struct Layout {
    avail: usize,
    used: usize,
    len: usize,
}

impl Layout {
    fn of(size: u16) -> Layout {
        let size = usize::from(size);
        let avail = DESCRIPTOR * size;
        // Ring header, entries, used_event; then to a cache line of its own for what the device writes.
        let used = (avail + 4 + 2 * size + 2).next_multiple_of(64);
        Layout { avail, used, len: used + 4 + 8 * size + 2 }
    }
}

/// Whether going from `old` to `new` passes `event` (virtio 1.2 section 2.7.10.1, `vring_need_event`).
fn passes(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

impl Virtqueue {
    /// Sets up queue `index` with as many descriptors as the device has, at most 256. Interrupts are
    /// suppressed at first.
    pub fn new(
        transport: &dyn Transport,
        dma: &Rc<dyn Dma>,
        index: u16,
        event_idx: bool,
    ) -> Result<Virtqueue, InitError> {
        let max = transport.queue_max_size(index).min(MAX_SIZE);
        if max < 2 || transport.queue_enabled(index) {
            return Err(InitError::NoQueue(index));
        }
        let size = 1 << max.ilog2();
        let layout = Layout::of(size);
        let memory = DmaBuffer::new(dma, layout.len)?;
        let addresses = QueueAddresses {
            descriptors: memory.phys(0),
            driver: memory.phys(layout.avail),
            device: memory.phys(layout.used),
        };
        let doorbell = transport.set_queue(index, size, addresses)?;
        let mut notes = vec![Note::default(); usize::from(size)].into_boxed_slice();
        for (i, note) in notes.iter_mut().enumerate() {
            note.next = i as u16 + 1;
        }
        let queue = Virtqueue {
            memory,
            size,
            event_idx,
            doorbell,
            notes,
            free_head: 0,
            free_count: size,
            chains_in_flight: 0,
            avail: 0,
            published: 0,
            last_used: 0,
            fault: None,
            doorbells: 0,
        };
        queue.suppress_interrupts();
        Ok(queue)
    }

    /// Descriptors in the queue.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Descriptors not in use.
    pub fn free_descriptors(&self) -> u16 {
        self.free_count
    }

    /// Chains given to the device (published or not) and not popped.
    pub fn in_flight(&self) -> u16 {
        self.chains_in_flight
    }

    /// Whether the device is done with a chain that was not popped.
    pub fn has_used(&self) -> bool {
        self.memory.load_acquire(Layout::of(self.size).used + 2) != self.last_used
    }

    /// Times the doorbell was rung.
    pub fn doorbells(&self) -> u64 {
        self.doorbells
    }

    /// See [`DmaBuffer::leak`].
    pub fn leak(&mut self) {
        self.memory.leak();
    }

    /// Queues a chain under a token of the caller's; false when there are too few descriptors. The device
    /// sees it after [`Virtqueue::publish`].
    pub fn add(&mut self, segments: &[Segment], token: u16) -> bool {
        if segments.is_empty() || segments.len() > usize::from(self.free_count) || self.fault.is_some() {
            return false;
        }
        let head = self.free_head;
        let mut room = 0u32;
        for (i, segment) in segments.iter().enumerate() {
            let index = self.free_head;
            let next = self.notes[usize::from(index)].next;
            let more = i + 1 < segments.len();
            let flags = if more { NEXT } else { 0 } | if segment.device_writes { WRITE } else { 0 };
            let at = usize::from(index) * DESCRIPTOR;
            self.memory.write64(at, segment.phys);
            self.memory.write32(at + 8, segment.len);
            self.memory.write16(at + 12, flags);
            self.memory.write16(at + 14, if more { next } else { 0 });
            if segment.device_writes {
                room = room.saturating_add(segment.len);
            }
            self.free_head = next;
        }
        let count = segments.len() as u16;
        let note = &mut self.notes[usize::from(head)];
        (note.chain_len, note.token, note.room) = (count, token, room);
        self.free_count -= count;
        self.chains_in_flight += 1;
        let slot = usize::from(self.avail & (self.size - 1));
        self.memory.write16(Layout::of(self.size).avail + 4 + 2 * slot, head);
        self.avail = self.avail.wrapping_add(1);
        true
    }

    /// Queues a whole buffer of a pool for the device to write, under its number. With no more buffers than descriptors this
    /// cannot fail.
    pub fn add_buffer(&mut self, buffers: &BufferPool, buffer: u16) {
        let segment = Segment {
            phys: buffers.phys(usize::from(buffer), 0),
            len: buffers.buffer_size() as u32,
            device_writes: true,
        };
        self.add(&[segment], buffer);
    }

    /// Shows the device everything added, and rings the doorbell when it asked for that.
    pub fn publish(&mut self) {
        if self.avail == self.published || self.fault.is_some() {
            return;
        }
        let layout = Layout::of(self.size);
        let old = self.published;
        self.published = self.avail;
        // Release: descriptors and ring entries first.
        self.memory.store_release(layout.avail + 2, self.avail);
        // The index must be visible before the device's wish is read: it writes the wish, then reads the
        // index. x86 lets a load pass an earlier store, so that only a full fence keeps both from missing
        // each other.
        fence(Ordering::SeqCst);
        if self.wants_doorbell(old) {
            self.ring();
        }
    }

    /// Rings the doorbell for what is already published, if the device still asks for that: for a user that has
    /// waited in vain.
    ///
    /// A kick can be lost where the fence in [`Virtqueue::publish`] is not one, and with event indices no later
    /// request would ring either. QEMU before 8.1 emulates a machine with a single processor that way: it leaves
    /// fences out although its devices run in other threads ("tcg: Do not elide memory barriers for !CF_PARALLEL
    /// in system mode" mended it).
    pub fn nudge(&mut self) {
        if self.chains_in_flight == 0 || self.fault.is_some() {
            return;
        }
        let position = if self.event_idx {
            self.memory.load_acquire(self.avail_event())
        } else {
            self.published.wrapping_sub(1)
        };
        if self.wants_doorbell(position) {
            self.ring();
        }
    }

    /// Whether the device asked for a doorbell for something published after position `old`.
    fn wants_doorbell(&self, old: u16) -> bool {
        if self.event_idx {
            passes(self.memory.load_acquire(self.avail_event()), self.published, old)
        } else {
            self.memory.load_acquire(Layout::of(self.size).used) & SUPPRESS == 0
        }
    }

    /// Where the device writes the index that it wants a doorbell for.
    fn avail_event(&self) -> usize {
        Layout::of(self.size).used + 4 + 8 * usize::from(self.size)
    }

    fn ring(&mut self) {
        self.doorbells += 1;
        self.doorbell.ring();
    }

    /// Takes back the next chain the device is done with.
    pub fn pop(&mut self) -> Result<Option<Used>, QueueFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        match self.try_pop() {
            Err(fault) => {
                self.fault = Some(fault);
                Err(fault)
            }
            popped => popped,
        }
    }

    fn try_pop(&mut self) -> Result<Option<Used>, QueueFault> {
        let used = Layout::of(self.size).used;
        let claimed = self.memory.load_acquire(used + 2).wrapping_sub(self.last_used);
        if claimed == 0 {
            return Ok(None);
        }
        let visible = self.chains_in_flight - self.avail.wrapping_sub(self.published);
        if claimed > visible {
            return Err(QueueFault::IndexJump { claimed, in_flight: visible });
        }
        let at = used + 4 + 8 * usize::from(self.last_used & (self.size - 1));
        let id = self.memory.read32(at);
        let written = self.memory.read32(at + 4);
        let head =
            u16::try_from(id).ok().filter(|&head| head < self.size).ok_or(QueueFault::UnknownId(id))?;
        let note = self.notes[usize::from(head)];
        if note.chain_len == 0 {
            return Err(QueueFault::UnknownId(id));
        }
        // Some devices report a length for chains they only read; nothing depends on it.
        let written = if note.room == 0 { 0 } else { written };
        if written > note.room {
            return Err(QueueFault::LengthExceeded { claimed: written, room: note.room });
        }
        self.release(head, note.chain_len);
        self.last_used = self.last_used.wrapping_add(1);
        Ok(Some(Used { token: note.token, written }))
    }

    /// Takes back a chain that the device has lost, and will not return: for whoever knows that it has.
    pub fn forget(&mut self, token: u16) {
        let lost = |note: &Note| note.chain_len > 0 && note.token == token;
        if let Some(head) = self.notes.iter().position(lost) {
            self.release(head as u16, self.notes[head].chain_len);
        }
    }

    /// Puts the chain's descriptors in front of the free list.
    fn release(&mut self, head: u16, chain_len: u16) {
        let mut last = head;
        for _ in 1..chain_len {
            last = self.notes[usize::from(last)].next;
        }
        self.notes[usize::from(last)].next = self.free_head;
        self.notes[usize::from(head)].chain_len = 0;
        self.free_head = head;
        self.free_count += chain_len;
        self.chains_in_flight -= 1;
    }

    /// Declares the queue dead for a fault its user found.
    pub fn condemn(&mut self, fault: QueueFault) {
        self.fault.get_or_insert(fault);
    }

    /// Asks the device not to interrupt. A hint: one interrupt in 65,536 entries comes nevertheless.
    pub fn suppress_interrupts(&self) {
        let avail = Layout::of(self.size).avail;
        if self.event_idx {
            // Just behind what is already popped: the device has to go all around to pass it.
            self.memory.store_release(avail + 4 + 2 * usize::from(self.size), self.last_used.wrapping_sub(1));
        } else {
            self.memory.store_release(avail, SUPPRESS);
        }
    }

    /// Asks for an interrupt with the next used chain; true when one is there already, and no interrupt may
    /// come for it.
    pub fn request_interrupt(&self) -> bool {
        self.request_interrupt_after(1)
    }

    /// Asks for an interrupt when `count` (at least 1) more chains are used, or earlier; true when they are
    /// already.
    pub fn request_interrupt_after(&self, count: u16) -> bool {
        if self.fault.is_some() {
            return false;
        }
        let layout = Layout::of(self.size);
        let delay = if self.event_idx {
            let event = self.last_used.wrapping_add(count - 1);
            self.memory.store_release(layout.avail + 4 + 2 * usize::from(self.size), event);
            count
        } else {
            self.memory.store_release(layout.avail, 0);
            1
        };
        // The wish must be visible before the index is read, as in `publish`.
        fence(Ordering::SeqCst);
        self.memory.load_acquire(layout.used + 2).wrapping_sub(self.last_used) >= delay
    }
}

#[cfg(test)]
mod tests;
