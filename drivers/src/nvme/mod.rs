//! NVMe disks (NVM Express base specification 1.4, which later ones keep): an admin queue for the start, one pair of queues for
//! requests.
//!
//! ```text
//!   registers -> Controller (reset, enable) -> admin queue -> identify, create queues -> Disk<NvmeEngine>
//! ```
//!
//! A command's identifier is the slot of its request. Data goes straight between the device and the caller's buffer, by PRP
//! entries: one in the command, a second, or a list of them that every slot has a place for.
//!
//! Force unit access is not used: QEMU's controller (7.2) offers a write cache and ignores the bit, so that what was acknowledged is
//! lost in a power cut. A write and a flush are safe everywhere.
//!
//! Not here: namespaces other than the first, several queues, metadata, host memory buffers, power states, SGLs.

mod admin;
mod controller;
mod queue;

use self::controller::Controller;
use self::queue::{Command, Queue, Status};
use crate::InitError;
use crate::disk::{Disk, Engine, Finished, MAX_SLOTS};
use crate::dma::DmaBuffer;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use keelson_hal::{BlockError, BlockGeometry, BlockOp, Clock, Dma, Registers, SECTOR_SIZE};

/// Opcodes of the NVM command set (section 6).
const FLUSH: u8 = 0x00;
const WRITE: u8 = 0x01;
const READ: u8 = 0x02;

/// Bytes of a memory page as the controller is told to count them.
const PAGE: usize = 4096;
/// Longest request, whatever the device can do.
const MAX_TRANSFER: usize = 512 << 10;
/// Bytes of a slot's PRP list: an entry for each page but the first.
const LIST: usize = MAX_TRANSFER / PAGE * 8;

/// An NVMe disk.
pub type Nvme = Disk<NvmeEngine>;

/// Its queues, and what its requests look like.
pub struct NvmeEngine {
    controller: Controller,
    dma: Rc<dyn Dma>,
    queue: Queue,
    admin: Queue,
    lists: DmaBuffer,
    namespace: u32,
    /// Shift from sectors to logical blocks.
    block_shift: u32,
    /// Slots that the device has, a bit each.
    in_flight: u64,
    /// Slots whose buffer no PRP entry can name.
    refused: Vec<u16>,
    fault: Option<NvmeFault>,
}

/// How a controller broke the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NvmeFault {
    /// It finished a command that it was not given.
    UnknownCommand(u16),
    /// It says that it failed, or nothing any more: CSTS, all ones when it is gone.
    Failed(u32),
}

impl fmt::Display for NvmeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NvmeFault::UnknownCommand(id) => write!(f, "finished command {id}, which it was not given"),
            NvmeFault::Failed(status) => write!(f, "controller failed, status {status:#x}"),
        }
    }
}

impl Nvme {
    /// Brings up the controller behind `registers` (BAR 0) and its first namespace as `name` (`nvme0n1`). Interrupts come through
    /// entry 0 of its MSI-X table, by its only message, or by its line.
    ///
    /// # Errors
    ///
    /// It does not answer in the time that it asks for, has no namespace, or one of a format that is not spoken here.
    pub fn new(
        registers: Rc<dyn Registers>,
        dma: Rc<dyn Dma>,
        clock: Rc<dyn Clock>,
        name: &str,
    ) -> Result<Nvme, InitError> {
        let controller = Controller::reset(registers, clock)?;
        let mut admin = Queue::new(&dma, 0, controller.entries())?;
        controller.enable(&admin)?;
        let built = admin::build(&controller, &mut admin, &dma);
        let (found, queue, lists) = match built {
            Ok(built) => built,
            Err(error) => {
                if !controller.stop() {
                    admin.leak();
                }
                return Err(error);
            }
        };
        log::info!(target: Self::TARGET, "{name}: {}", found.model);
        let geometry = BlockGeometry {
            sectors: found.sectors,
            read_only: found.read_only,
            write_cache: found.write_cache,
            write_through: false,
            max_transfer: found.max_transfer.min(MAX_TRANSFER),
            queue_depth: usize::from(queue.depth().min(MAX_SLOTS)),
        };
        let engine = NvmeEngine {
            controller,
            dma,
            queue,
            admin,
            lists,
            namespace: found.namespace,
            block_shift: found.block.trailing_zeros() - SECTOR_SIZE.trailing_zeros(),
            in_flight: 0,
            refused: Vec::with_capacity(usize::from(MAX_SLOTS)),
            fault: None,
        };
        Ok(Disk::with_engine(engine, name, geometry, found.block))
    }

    const TARGET: &str = <NvmeEngine as Engine>::LOG;
}

impl NvmeEngine {
    /// The two PRP fields for a buffer of `len` bytes at `phys` (section 4.3); `None` when it does not begin at a dword.
    fn pointers(&mut self, slot: u16, phys: u64, len: usize) -> Option<[u64; 2]> {
        if !phys.is_multiple_of(4) {
            return None;
        }
        // The buffer is contiguous for the device, too.
        let first = PAGE - (phys as usize & (PAGE - 1));
        let rest = len.saturating_sub(first);
        let second = phys + first as u64;
        if rest == 0 {
            return Some([phys, 0]);
        }
        if rest <= PAGE {
            return Some([phys, second]);
        }
        let place = usize::from(slot) * LIST;
        for index in 0..rest.div_ceil(PAGE) {
            self.lists.write64(place + index * 8, second + (index * PAGE) as u64);
        }
        Some([phys, self.lists.phys(place)])
    }
}

impl Engine for NvmeEngine {
    type Fault = NvmeFault;

    const LOG: &'static str = "nvme";

    fn start(&mut self, slot: u16, op: BlockOp, sector: u64, buffer: &mut [u8]) -> bool {
        let opcode = match op {
            BlockOp::Read => READ,
            // The geometry excludes the second.
            BlockOp::Write | BlockOp::WriteThrough => WRITE,
            BlockOp::Flush => FLUSH,
        };
        let mut command = Command::new(opcode, slot, self.namespace);
        if op != BlockOp::Flush {
            // The mutable pointer is the one the device writes through.
            let phys = self.dma.phys_of(buffer.as_mut_ptr() as usize);
            let Some(pointers) = self.pointers(slot, phys, buffer.len()) else {
                self.refused.push(slot);
                return true;
            };
            let block = sector >> self.block_shift;
            let blocks = (buffer.len() / SECTOR_SIZE) as u32 >> self.block_shift;
            command = command.data(pointers).dword(10, block as u32).dword(11, (block >> 32) as u32);
            command = command.dword(12, blocks - 1);
        }
        self.in_flight |= 1 << slot;
        self.queue.submit(&command);
        self.controller.ring_submission(&mut self.queue);
        true
    }

    fn has_room(&self) -> bool {
        // The queue has more entries than there are slots.
        true
    }

    fn pop(&mut self) -> Result<Option<Finished>, NvmeFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if let Some(slot) = self.refused.pop() {
            return Ok(Some((slot, Err(BlockError::Unsupported))));
        }
        let Some(entry) = self.queue.pop() else { return Ok(None) };
        let bit = 1_u64.checked_shl(entry.command.into()).unwrap_or(0);
        if self.in_flight & bit == 0 {
            return Err(NvmeFault::UnknownCommand(entry.command));
        }
        self.in_flight &= !bit;
        Ok(Some((entry.command, result_of(entry.status))))
    }

    fn request_interrupt(&mut self) -> bool {
        // One doorbell for all that were taken. What is finished after it interrupts.
        self.controller.ring_completion(&mut self.queue);
        self.refused.is_empty() && !self.queue.has_more()
    }

    fn acknowledge_interrupt(&self) {
        // Messages need none, and a line falls with the completion doorbell.
    }

    fn nudge(&mut self) {
        if self.in_flight != 0 && self.fault.is_none() {
            self.fault = self.controller.failure().map(NvmeFault::Failed);
        }
    }

    fn doorbells(&self) -> u64 {
        self.queue.doorbells()
    }

    fn stop(&mut self) -> bool {
        let stopped = self.controller.stop();
        if !stopped {
            self.queue.leak();
            self.admin.leak();
            self.lists.leak();
        }
        stopped
    }
}

/// What a status means (section 4.6.1).
fn result_of(status: Status) -> Result<(), BlockError> {
    const GENERIC: u8 = 0;
    match (status.kind, status.code) {
        (GENERIC, 0x00) => Ok(()),
        (GENERIC, 0x01) => Err(BlockError::Unsupported),
        (GENERIC, 0x20) => Err(BlockError::ReadOnly),
        (GENERIC, 0x80) => Err(BlockError::OutOfRange),
        _ => Err(BlockError::Io),
    }
}

#[cfg(test)]
mod tests;
