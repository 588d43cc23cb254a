//! What is asked and made before there are requests: who the controller is, what its first namespace is, the queues.

use super::controller::Controller;
use super::queue::{Command, Queue};
use super::{LIST, MAX_SLOTS, MAX_TRANSFER, PAGE};
use crate::InitError;
use crate::dma::DmaBuffer;
use alloc::rc::Rc;
use alloc::string::String;
use keelson_hal::{Dma, SECTOR_SIZE};

/// Opcodes of the admin command set (section 5).
const CREATE_SUBMISSION: u8 = 0x01;
const CREATE_COMPLETION: u8 = 0x05;
const IDENTIFY: u8 = 0x06;
const SET_FEATURES: u8 = 0x09;
/// Feature 7: number of queues. Its dword 11 asks for one of each, counted from zero.
const NUMBER_OF_QUEUES: u32 = 0x07;
/// Bits of a queue's dword 11: contiguous, and interrupts.
const CONTIGUOUS: u32 = 1;
const INTERRUPTS: u32 = 2;

/// What [`IDENTIFY`] tells of (section 5.15): dword 10.
mod of {
    pub const NAMESPACE: u32 = 0;
    pub const CONTROLLER: u32 = 1;
    pub const ACTIVE_NAMESPACES: u32 = 2;
}

/// Offsets in what it tells (figures 247 and 245).
mod at {
    pub const MODEL: usize = 24;
    pub const MODEL_LEN: usize = 40;
    pub const LARGEST_TRANSFER: usize = 77;
    pub const WRITE_CACHE: usize = 525;
    pub const SIZE: usize = 0;
    pub const FORMAT: usize = 26;
    pub const ATTRIBUTES: usize = 99;
    pub const FORMATS: usize = 128;
}

/// The number of the queues for requests.
const REQUESTS: u16 = 1;

/// What was found.
pub(super) struct Found {
    pub(super) model: String,
    pub(super) namespace: u32,
    pub(super) sectors: u64,
    /// Bytes of a logical block.
    pub(super) block: usize,
    pub(super) read_only: bool,
    pub(super) write_cache: bool,
    pub(super) max_transfer: usize,
}

/// Asks, and makes the queues for requests; the PRP lists, too.
pub(super) fn build(
    controller: &Controller,
    admin: &mut Queue,
    dma: &Rc<dyn Dma>,
) -> Result<(Found, Queue, DmaBuffer), InitError> {
    let mut told = DmaBuffer::new(dma, PAGE)?;
    let mut asking = Asking { controller, admin, told: &mut told, commands: 0 };
    let built = asking.find().and_then(|found| {
        let mut queue = Queue::new(dma, REQUESTS, controller.entries())?;
        let lists = DmaBuffer::new(dma, usize::from(MAX_SLOTS) * LIST)?;
        match asking.create(&queue) {
            Ok(()) => Ok((found, queue, lists)),
            Err(error) => {
                // The controller may know of it: the caller stops it, and forgets nothing before.
                queue.leak();
                Err(error)
            }
        }
    });
    if built.is_err() {
        told.leak();
    }
    built
}

struct Asking<'a> {
    controller: &'a Controller,
    admin: &'a mut Queue,
    told: &'a mut DmaBuffer,
    commands: u16,
}

impl Asking<'_> {
    fn find(&mut self) -> Result<Found, InitError> {
        self.identify(of::CONTROLLER, 0)?;
        let model: String = (at::MODEL..at::MODEL + at::MODEL_LEN)
            .map(|offset| char::from(self.told.read8(offset)))
            .filter(|character| matches!(character, ' '..='~'))
            .collect();
        let largest = match self.told.read8(at::LARGEST_TRANSFER) {
            0 => MAX_TRANSFER,
            shift => PAGE.checked_shl(shift.into()).unwrap_or(MAX_TRANSFER).clamp(PAGE, MAX_TRANSFER),
        };
        let write_cache = self.told.read8(at::WRITE_CACHE) & 1 == 1;

        self.identify(of::ACTIVE_NAMESPACES, 0)?;
        let namespace = self.told.read32(0);
        if namespace == 0 {
            return Err(InitError::BadConfig { field: "number of namespaces", value: 0 });
        }
        self.identify(of::NAMESPACE, namespace)?;
        let blocks = u64::from(self.told.read32(at::SIZE)) | u64::from(self.told.read32(at::SIZE + 4)) << 32;
        let format = self.told.read8(at::FORMAT);
        // More than sixteen formats: two more bits, of the byte's upper half.
        let format = usize::from(format & 0xf | format >> 1 & 0x30);
        let format = self.told.read32(at::FORMATS + format * 4);
        let (metadata, shift) = (format & 0xffff, format >> 16 & 0xff);
        let block = 1_usize.checked_shl(shift).unwrap_or(0);
        if metadata != 0 || !(SECTOR_SIZE..=PAGE).contains(&block) {
            return Err(InitError::BadConfig { field: "format of the namespace", value: format.into() });
        }
        Ok(Found {
            model: String::from(model.trim()),
            namespace,
            sectors: blocks.saturating_mul((block / SECTOR_SIZE) as u64),
            block,
            read_only: self.told.read8(at::ATTRIBUTES) & 1 == 1,
            write_cache,
            max_transfer: largest,
        })
    }

    fn identify(&mut self, what: u32, namespace: u32) -> Result<(), InitError> {
        let phys = self.told.phys(0);
        self.command("IDENTIFY", |id| Command::new(IDENTIFY, id, namespace).data([phys, 0]).dword(10, what))
    }

    fn create(&mut self, queue: &Queue) -> Result<(), InitError> {
        self.command("SET FEATURES", |id| Command::new(SET_FEATURES, id, 0).dword(10, NUMBER_OF_QUEUES))?;
        let shape = u32::from(queue.entries() - 1) << 16 | u32::from(queue.number());
        let (commands, completions) = (queue.submission(), queue.completion());
        // Its completions interrupt by message 0.
        self.command("CREATE I/O COMPLETION QUEUE", |id| {
            let command = Command::new(CREATE_COMPLETION, id, 0).data([completions, 0]);
            command.dword(10, shape).dword(11, CONTIGUOUS | INTERRUPTS)
        })?;
        self.command("CREATE I/O SUBMISSION QUEUE", |id| {
            let command = Command::new(CREATE_SUBMISSION, id, 0).data([commands, 0]);
            command.dword(10, shape).dword(11, u32::from(queue.number()) << 16 | CONTIGUOUS)
        })
    }

    /// Has a command done.
    fn command(&mut self, name: &'static str, command: impl FnOnce(u16) -> Command) -> Result<(), InitError> {
        self.commands += 1;
        let id = self.commands;
        self.admin.submit(&command(id));
        self.controller.ring_submission(self.admin);
        let done = self.controller.until(|| self.admin.pop());
        self.controller.ring_completion(self.admin);
        match done {
            Some(done) if done.command == id && (done.status.kind, done.status.code) == (0, 0) => Ok(()),
            Some(done) => {
                let value = u64::from(done.status.kind) << 8 | u64::from(done.status.code);
                Err(InitError::CommandFailed { command: name, status: value as u16 })
            }
            None => Err(InitError::NoAnswer(name)),
        }
    }
}
