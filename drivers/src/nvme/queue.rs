//! A pair of queues: commands to the controller, completions from it (section 4.1).

use crate::InitError;
use crate::dma::DmaBuffer;
use alloc::rc::Rc;
use keelson_hal::Dma;

/// Bytes of a command and of a completion.
const COMMAND: usize = 64;
const COMPLETION: usize = 16;

/// A command: sixteen dwords.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Command([u32; COMMAND / 4]);

impl Command {
    /// Without data.
    pub(super) fn new(opcode: u8, identifier: u16, namespace: u32) -> Command {
        let mut dwords = [0; COMMAND / 4];
        dwords[0] = u32::from(identifier) << 16 | u32::from(opcode);
        dwords[1] = namespace;
        Command(dwords)
    }

    /// With these PRP fields.
    pub(super) fn data(self, pointers: [u64; 2]) -> Command {
        let [first, second] = pointers;
        self.dword(6, first as u32)
            .dword(7, (first >> 32) as u32)
            .dword(8, second as u32)
            .dword(9, (second >> 32) as u32)
    }

    /// With this dword.
    pub(super) fn dword(mut self, index: usize, value: u32) -> Command {
        self.0[index] = value;
        self
    }
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Status {
    /// Status code type; 0 is generic.
    pub(super) kind: u8,
    /// Status code; 0 is success.
    pub(super) code: u8,
}

/// A completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Completion {
    /// The command's identifier, as the controller says.
    pub(super) command: u16,
    /// How it ended.
    pub(super) status: Status,
}

/// A pair of queues with as many entries each.
pub(super) struct Queue {
    number: u16,
    entries: u16,
    commands: DmaBuffer,
    completions: DmaBuffer,
    tail: u16,
    head: u16,
    /// The phase bit that a new completion has.
    phase: u16,
    /// Completions were taken that the controller does not know of.
    is_behind: bool,
    doorbells: u64,
}

impl Queue {
    /// Empty queues; number 0 is the admin queue.
    pub(super) fn new(dma: &Rc<dyn Dma>, number: u16, entries: u16) -> Result<Queue, InitError> {
        let commands = DmaBuffer::new(dma, usize::from(entries) * COMMAND)?;
        let completions = DmaBuffer::new(dma, usize::from(entries) * COMPLETION)?;
        let (tail, head, is_behind, doorbells) = (0, 0, false, 0);
        Ok(Queue { number, entries, commands, completions, tail, head, phase: 1, is_behind, doorbells })
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }

    pub(super) fn entries(&self) -> u16 {
        self.entries
    }

    /// Commands that may be in flight: a full ring would look like an empty one.
    pub(super) fn depth(&self) -> u16 {
        self.entries - 1
    }

    /// Where the controller finds the commands.
    pub(super) fn submission(&self) -> u64 {
        self.commands.phys(0)
    }

    /// And puts the completions.
    pub(super) fn completion(&self) -> u64 {
        self.completions.phys(0)
    }

    /// Enters a command, of which the controller hears by a doorbell. At most [`Queue::depth`] are in flight.
    pub(super) fn submit(&mut self, command: &Command) {
        let place = usize::from(self.tail) * COMMAND;
        for (index, dword) in command.0.iter().enumerate() {
            self.commands.write32(place + index * 4, *dword);
        }
        self.tail = (self.tail + 1) % self.entries;
    }

    /// What the submission doorbell is to say.
    pub(super) fn tail(&mut self) -> u16 {
        self.doorbells += 1;
        self.tail
    }

    /// A completion waits.
    pub(super) fn has_more(&self) -> bool {
        // The phase bit is written last; what was written before it is visible then.
        let status = self.completions.load_acquire(usize::from(self.head) * COMPLETION + 14);
        status & 1 == self.phase
    }

    /// Takes the next completion.
    pub(super) fn pop(&mut self) -> Option<Completion> {
        if !self.has_more() {
            return None;
        }
        let place = usize::from(self.head) * COMPLETION;
        let command = self.completions.read16(place + 12);
        let status = self.completions.read16(place + 14);
        self.head += 1;
        if self.head == self.entries {
            self.head = 0;
            self.phase ^= 1;
        }
        self.is_behind = true;
        let status = Status { kind: (status >> 9 & 7) as u8, code: (status >> 1) as u8 };
        Some(Completion { command, status })
    }

    /// What the completion doorbell is to say, if there is anything new.
    pub(super) fn taken(&mut self) -> Option<u16> {
        core::mem::take(&mut self.is_behind).then(|| {
            self.doorbells += 1;
            self.head
        })
    }

    pub(super) fn doorbells(&self) -> u64 {
        self.doorbells
    }

    /// See [`DmaBuffer::leak`].
    pub(super) fn leak(&mut self) {
        self.commands.leak();
        self.completions.leak();
    }
}
