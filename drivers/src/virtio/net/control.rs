//! Control queue: receive filter and number of queue pairs (virtio 1.2 section 5.1.6.5).
//!
//! Commands are posted and their answers looked at later: nobody waits for a device to change its filter.
//! A refused filter is answered by asking for all multicast frames instead.

use crate::InitError;
use crate::dma::DmaBuffer;
use crate::virtio::{QueueFault, Segment, Transport, Virtqueue};
use alloc::rc::Rc;
use keelson_hal::{Dma, MacAddress};

/// Command classes and commands.
const RX: u8 = 0;
const RX_PROMISC: u8 = 0;
const RX_ALLMULTI: u8 = 1;
const MAC: u8 = 1;
const MAC_TABLE_SET: u8 = 0;
const MQ: u8 = 4;
const MQ_PAIRS_SET: u8 = 0;

/// Group addresses beyond this many are received by taking all.
const MAX_GROUPS: usize = 64;
/// One command: class, command, data; then the answer.
const SLOT: usize = 512;
const ANSWER: usize = SLOT - 1;
const SLOTS: u16 = 8;
/// Written into the answer before the device overwrites it; 0 is success.
const NO_ANSWER: u8 = 0xff;

pub(super) struct ControlQueue {
    pub queue: Virtqueue,
    memory: DmaBuffer,
    /// One bit per free slot.
    free: u16,
    groups: [MacAddress; MAX_GROUPS],
    /// Groups in use; `None` for all multicast frames.
    group_count: Option<usize>,
    /// The device receives all multicast frames, as far as it was told.
    all_multicast: bool,
    /// The filter has not been posted yet, for want of a slot.
    pending: bool,
    /// Answers that were not "OK".
    pub refused: u64,
}

impl ControlQueue {
    pub fn new(
        transport: &dyn Transport,
        dma: &Rc<dyn Dma>,
        index: u16,
        event_idx: bool,
    ) -> Result<ControlQueue, InitError> {
        let queue = Virtqueue::new(transport, dma, index, event_idx)?;
        let slots = SLOTS.min(queue.size() / 2);
        let memory = DmaBuffer::new(dma, SLOT * usize::from(SLOTS))?;
        Ok(ControlQueue {
            queue,
            memory,
            free: (1 << slots) - 1,
            groups: [MacAddress::default(); MAX_GROUPS],
            group_count: Some(0),
            all_multicast: false,
            pending: false,
            refused: 0,
        })
    }

    /// Only frames for this station, its groups, and broadcast.
    pub fn disable_promiscuous(&mut self) -> bool {
        self.post(RX, RX_PROMISC, &[&[0]])
    }

    /// Frames of one queue pair only.
    pub fn use_one_pair(&mut self) -> bool {
        self.post(MQ, MQ_PAIRS_SET, &[&1u16.to_le_bytes()])
    }

    /// Sets the groups to receive.
    pub fn set_groups(&mut self, groups: &[MacAddress]) -> Result<(), QueueFault> {
        self.group_count = self.groups.get_mut(..groups.len()).map(|room| {
            room.copy_from_slice(groups);
            groups.len()
        });
        self.pending = true;
        self.reap()
    }

    /// Looks at answers, and posts what had to wait.
    pub fn reap(&mut self) -> Result<(), QueueFault> {
        while let Some(used) = self.queue.pop()? {
            let slot = usize::from(used.token) * SLOT;
            self.free |= 1 << used.token;
            if self.memory.read8(slot + ANSWER) == 0 {
                continue;
            }
            self.refused += 1;
            let (class, command) = (self.memory.read8(slot), self.memory.read8(slot + 1));
            log::warn!(target: "virtio", "net: device refused control command {class}.{command}");
            if class == MAC {
                (self.group_count, self.pending) = (None, true);
            }
        }
        if self.pending && self.post_filter() {
            self.pending = false;
        }
        Ok(())
    }

    /// Posts the filter as one or two commands; false to be called again when slots are free.
    fn post_filter(&mut self) -> bool {
        if let Some(count) = self.group_count {
            let mut table = [0; 6 * MAX_GROUPS];
            for (entry, address) in table.chunks_exact_mut(6).zip(&self.groups[..count]) {
                entry.copy_from_slice(&address.0);
            }
            // An empty table of further unicast addresses, then the multicast table.
            let parts: [&[u8]; 3] = [&0u32.to_le_bytes(), &(count as u32).to_le_bytes(), &table[..6 * count]];
            if !self.post(MAC, MAC_TABLE_SET, &parts) {
                return false;
            }
        }
        let all = self.group_count.is_none();
        if all != self.all_multicast {
            if !self.post(RX, RX_ALLMULTI, &[&[u8::from(all)]]) {
                return false;
            }
            self.all_multicast = all;
        }
        true
    }

    /// Posts a command; false when all slots are in use.
    fn post(&mut self, class: u8, command: u8, parts: &[&[u8]]) -> bool {
        if self.free == 0 {
            return false;
        }
        let token = self.free.trailing_zeros() as u16;
        let slot = usize::from(token) * SLOT;
        let mut len = 0;
        for byte in [class, command].iter().chain(parts.iter().copied().flatten()) {
            self.memory.write8(slot + len, *byte);
            len += 1;
        }
        self.memory.write8(slot + ANSWER, NO_ANSWER);
        let request = Segment { phys: self.memory.phys(slot), len: len as u32, device_writes: false };
        let answer = Segment { phys: self.memory.phys(slot + ANSWER), len: 1, device_writes: true };
        if !self.queue.add(&[request, answer], token) {
            return false;
        }
        self.free &= !(1 << token);
        self.queue.publish();
        true
    }

    /// See `DmaBuffer::leak`.
    pub fn leak(&mut self) {
        self.queue.leak();
        self.memory.leak();
    }
}
