//! SATA disks at AHCI controllers (Serial ATA AHCI 1.3.1).
//!
//! ```text
//!   registers -> Hba (taken over, reset) -> ports (link, signature) -> IDENTIFY -> a Disk<AhciEngine> for each disk
//!
//!   start -> waiting -> issue: queued ones together, others alone -> look -> finished
//!                ^                                                     |
//!                +------ recovery: who failed? the others again <------+
//! ```
//!
//! A command's place in the list, and its tag, is the slot of its request. Data goes straight between the device and the caller's
//! buffer: that is contiguous, so that one entry of a scatter list names it. Disks that queue commands (NCQ) get as many as they
//! take; what cannot be queued, such as a flush, waits until the device has none, and goes alone. Then it is known which one failed.
//!
//! Force unit access is not used. QEMU's disk (7.2) queues such writes and ignores the bit, and the identification of a disk says
//! nothing of what its firmware does with it. A write and a flush are safe everywhere.
//!
//! A disk whose link is lost is given up: it may have lost its power, and with it what its cache had acknowledged.
//!
//! Not here: optical drives, port multipliers, disks without 48-bit addresses, hot plugging, power management, TRIM (no user of
//! disks has a word for it), controllers in RAID mode. Controllers without 64-bit addresses refuse buffers above 4 GiB.

mod command;
mod hba;
mod identity;
mod port;
mod recovery;

use self::command::{Command, Memory, opcode};
use self::hba::{Connected, GONE, Hba};
use self::identity::Identity;
use self::port::{ERR, Kind, Port, event};
use self::recovery::State;
use crate::InitError;
use crate::disk::{Disk, Engine, Finished};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::future::poll_fn;
use core::time::Duration;
use keelson_hal::{
    BlockError, BlockGeometry, BlockOp, Clock, Dma, Instant, Interrupt, Registers, SECTOR_SIZE,
};

/// The target of messages in the log.
const TARGET: &str = <AhciEngine as Engine>::LOG;

/// Longest request.
const MAX_TRANSFER: usize = 512 << 10;
const _: () = assert!(MAX_TRANSFER <= command::ENTRY_MAX);
/// Time for IDENTIFY.
const PATIENCE: Duration = Duration::from_secs(10);

/// A SATA disk.
pub type Ahci = Disk<AhciEngine>;

/// Its port, and what its requests look like.
pub struct AhciEngine {
    name: String,
    port: Port,
    memory: Memory,
    dma: Rc<dyn Dma>,
    clock: Rc<dyn Clock>,
    /// Shift from sectors to logical blocks.
    block_shift: u32,
    /// Reads and writes are queued in the device.
    queues: bool,
    flush: u8,
    /// The request of each slot, in order of time: waiting, issued, finished.
    requests: [Request; command::SLOTS],
    waiting: VecDeque<u16>,
    /// Slots that the device has, a bit each; and that it has them queued.
    issued: u32,
    issued_queued: bool,
    finished: VecDeque<Finished>,
    state: State,
    /// What interrupts told, until somebody looks.
    events: Cell<u32>,
    /// The registers were read, and all that they said is in `finished`.
    has_looked: bool,
    doorbells: u64,
    fault: Option<AhciFault>,
}

/// A request of a slot.
#[derive(Clone, Copy)]
struct Request {
    op: BlockOp,
    /// First logical block, and how many.
    block: u64,
    blocks: u16,
    /// Where its buffer is for the device, and its length.
    data: (u64, usize),
    /// It is not queued, because one of several failed and it is not known which.
    is_alone: bool,
    /// How often it was taken back.
    retries: u8,
    issued: Instant,
}

/// Why a disk was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AhciFault {
    /// Its registers read as nothing: the controller is gone.
    Gone,
    /// The link was lost.
    LinkLost,
    /// The controller could not reach memory: the port's interrupt status.
    Memory(u32),
    /// The controller did not stop when told to.
    Stuck,
    /// The disk did not come back from a reset.
    NoAnswer,
    /// What came back from a reset is no disk.
    Changed,
}

impl fmt::Display for AhciFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AhciFault::Gone => f.write_str("controller is gone"),
            AhciFault::LinkLost => f.write_str("link lost, look after cable and power of the disk"),
            AhciFault::Memory(events) => {
                write!(f, "controller cannot reach memory, interrupt status {events:#x}")
            }
            AhciFault::Stuck => f.write_str("controller does not stop its commands"),
            AhciFault::NoAnswer => f.write_str("disk does not come back from a reset"),
            AhciFault::Changed => f.write_str("no disk came back from a reset"),
        }
    }
}

/// Brings up the controller behind `registers` (BAR 5) and gives its disks, in the order of their ports; `name` names the one
/// with this index. Interrupts come by its only message, or by its line. Other devices are passed over with a line in the log.
///
/// # Errors
///
/// The controller does not answer in the time that it has, or is none. A disk that does not is left out.
pub fn start(
    registers: Rc<dyn Registers>,
    dma: Rc<dyn Dma>,
    clock: Rc<dyn Clock>,
    name: impl Fn(usize) -> String,
) -> Result<Vec<Ahci>, InitError> {
    let hba = Hba::reset(registers, clock)?;
    let mut disks = Vec::new();
    for connected in hba.bring_up(&dma) {
        let number = connected.port.number();
        let what = match connected.port.kind() {
            Kind::Disk => match build(connected, &dma, name(disks.len())) {
                Ok(disk) => {
                    disks.push(disk);
                    continue;
                }
                Err(error) => {
                    log::error!(target: TARGET, "port {number}: disk is left out: {error}");
                    continue;
                }
            },
            Kind::Packets => "an optical drive or a tape",
            Kind::Multiplier => "a port multiplier: connect its disks to ports of the controller",
            Kind::Other(GONE) => "a device that does not say what it is",
            Kind::Other(_) => "a device of a kind that has no driver",
        };
        log::info!(target: TARGET, "port {number}: passed over, {what}");
        connected.let_go();
    }
    hba.allow_interrupts();
    Ok(disks)
}

fn build(connected: Connected, dma: &Rc<dyn Dma>, name: String) -> Result<Ahci, InitError> {
    let identity = match identify(&connected) {
        Ok(identity) => identity,
        Err(error) => {
            connected.let_go();
            return Err(error);
        }
    };
    let Connected { port, memory } = connected;
    let hba = port.hba();
    let queues = hba.queues && identity.depth > 0;
    let depth = if queues { hba.slots.min(identity.depth) } else { hba.slots };
    log::info!(
        target: TARGET, "{name}: {}, port {}, blocks of {} bytes ({} on the medium){}",
        identity.model, port.number(), identity.block, identity.physical_block,
        if queues { ", commands are queued" } else { "" },
    );
    let geometry = BlockGeometry {
        sectors: identity.sectors,
        read_only: false,
        write_cache: identity.write_cache,
        write_through: false,
        max_transfer: MAX_TRANSFER,
        queue_depth: depth.into(),
    };
    port.allow_interrupts();
    let engine = AhciEngine {
        name: name.clone(),
        clock: hba.clock.clone(),
        port,
        memory,
        dma: dma.clone(),
        block_shift: identity.block.trailing_zeros() - SECTOR_SIZE.trailing_zeros(),
        queues,
        flush: if identity.flushes_ext { opcode::FLUSH_CACHE_EXT } else { opcode::FLUSH_CACHE },
        requests: [Request::NONE; command::SLOTS],
        waiting: VecDeque::with_capacity(command::SLOTS),
        issued: 0,
        issued_queued: false,
        finished: VecDeque::with_capacity(command::SLOTS),
        state: State::Ready,
        events: Cell::new(0),
        has_looked: false,
        doorbells: 0,
        fault: None,
    };
    Ok(Disk::with_engine(engine, &name, geometry, identity.block))
}

/// Starts the port's commands, and asks the disk what it is.
fn identify(connected: &Connected) -> Result<Identity, InitError> {
    let Connected { port, memory } = connected;
    port.start();
    memory.set(0, &Command { data: Some(memory.page()), ..Command::new(opcode::IDENTIFY) });
    port.issue(0, false);
    let mut events = 0;
    let answered = {
        let events = Cell::from_mut(&mut events);
        hba::until(&*port.hba().clock, PATIENCE, || {
            events.set(events.get() | port.take_events());
            port.unfinished() & 1 == 0 || events.get() & !event::DONE != 0
        })
    };
    let status = port.task_file();
    if !answered || events == GONE {
        return Err(InitError::NoAnswer("IDENTIFY"));
    }
    if events & !event::DONE != 0 || status & ERR != 0 {
        return Err(InitError::CommandFailed { command: "IDENTIFY", status: status as u16 });
    }
    Identity::read(|at| memory.page_byte(at))
}

/// Task of a controller: collects what its disks have done whenever it interrupts. Never ends.
///
/// From this call on, not only once the task runs, requests can be waited for without it.
pub fn service(disks: Vec<Rc<Ahci>>, interrupt: Rc<dyn Interrupt>) -> impl Future<Output = ()> {
    disks.iter().for_each(|disk| disk.attach(interrupt.clone()));
    async move {
        loop {
            poll_fn(|cx| interrupt.poll_fired(cx)).await;
            let due = disks.iter().filter(|disk| disk.engine(|engine| engine.note_events() != 0));
            due.for_each(|disk| disk.handle_interrupt());
        }
    }
}

impl Request {
    const NONE: Request = Request {
        op: BlockOp::Flush,
        block: 0,
        blocks: 0,
        data: (0, 0),
        is_alone: true,
        retries: 0,
        issued: Instant::ZERO,
    };
}

impl AhciEngine {
    /// Takes what the port has to tell, and keeps it until somebody looks.
    fn note_events(&self) -> u32 {
        self.events.set(self.events.get() | self.port.take_events());
        self.events.get()
    }

    /// The slot's command, and whether it is queued in the device.
    fn command_of(&self, slot: u16) -> (Command, bool) {
        let request = &self.requests[usize::from(slot)];
        let is_queued = self.queues && !request.is_alone && request.op != BlockOp::Flush;
        let (block, blocks) = (request.block, request.blocks);
        let to_device = matches!(request.op, BlockOp::Write | BlockOp::WriteThrough);
        let command = match (request.op, is_queued) {
            (BlockOp::Flush, _) => return (Command::new(self.flush), false),
            (BlockOp::Read, true) => Command::queued(opcode::READ_FPDMA_QUEUED, slot, block, blocks),
            (BlockOp::Read, false) => Command::plain(opcode::READ_DMA_EXT, block, blocks),
            // The geometry excludes forced writes.
            (_, true) => Command::queued(opcode::WRITE_FPDMA_QUEUED, slot, block, blocks),
            (_, false) => Command::plain(opcode::WRITE_DMA_EXT, block, blocks),
        };
        (Command { data: Some(request.data), to_device, ..command }, is_queued)
    }

    /// Gives the device what it may have now: queued commands together, any other alone, in the order of their requests.
    fn issue(&mut self) {
        while matches!(self.state, State::Ready)
            && let Some(&slot) = self.waiting.front()
        {
            let (command, is_queued) = self.command_of(slot);
            if self.issued != 0 && !(is_queued && self.issued_queued) {
                return;
            }
            self.waiting.pop_front();
            self.memory.set(slot, &command);
            self.requests[usize::from(slot)].issued = self.clock.now();
            self.issued |= 1 << slot;
            self.issued_queued = is_queued;
            self.doorbells += 1;
            self.port.issue(slot, is_queued);
        }
    }

    /// Reads the port's registers, and acts upon what they say.
    fn look(&mut self) -> Result<(), AhciFault> {
        let events = self.note_events();
        self.events.set(0);
        if events == GONE {
            return Err(AhciFault::Gone);
        }
        if let State::Resetting { .. } = self.state {
            return self.look_after_reset();
        }
        if events & event::LINK != 0 {
            return Err(AhciFault::LinkLost);
        }
        if events & event::MEMORY != 0 {
            return Err(AhciFault::Memory(events));
        }
        let failed = events & (event::TASK_FILE | event::TRANSFER) != 0;
        if let State::Asking { .. } = self.state {
            return self.look_at_answer(failed);
        }
        if self.issued == 0 {
            return Ok(());
        }
        let mut done = self.issued & !self.port.unfinished();
        // Some controllers take the bit back although the command failed, or tell of it too late. The device knows.
        let failed = failed || (done != 0 && !self.issued_queued && self.port.task_file() & ERR != 0);
        if failed && !self.issued_queued {
            done = 0;
        }
        self.issued &= !done;
        self.finished.extend((0..32).filter(|slot| done >> slot & 1 == 1).map(|slot| (slot, Ok(()))));
        if failed {
            self.recover(events)?;
        }
        self.issue();
        Ok(())
    }
}

impl Engine for AhciEngine {
    type Fault = AhciFault;

    const LOG: &'static str = "ahci";

    fn start(&mut self, slot: u16, op: BlockOp, sector: u64, buffer: &mut [u8]) -> bool {
        // The mutable pointer is the one the device writes through. An empty buffer is nowhere.
        let phys = if buffer.is_empty() { 0 } else { self.dma.phys_of(buffer.as_mut_ptr() as usize) };
        let is_reached = phys.is_multiple_of(2)
            && (self.port.hba().addresses_64 || (phys + buffer.len() as u64) >> 32 == 0);
        if !is_reached {
            self.finished.push_back((slot, Err(BlockError::Unsupported)));
            return true;
        }
        self.requests[usize::from(slot)] = Request {
            op,
            block: sector >> self.block_shift,
            blocks: ((buffer.len() / SECTOR_SIZE) >> self.block_shift) as u16,
            data: (phys, buffer.len()),
            is_alone: false,
            ..Request::NONE
        };
        self.waiting.push_back(slot);
        self.issue();
        true
    }

    fn has_room(&self) -> bool {
        // There is a place for each slot.
        true
    }

    fn pop(&mut self) -> Result<Option<Finished>, AhciFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.finished.is_empty() && !self.has_looked {
            self.has_looked = true;
            self.look()?;
        }
        Ok(self.finished.pop_front())
    }

    fn request_interrupt(&mut self) -> bool {
        // What is finished after the look interrupts: events were acknowledged before it.
        self.has_looked = false;
        self.finished.is_empty()
    }

    fn acknowledge_interrupt(&self) {
        self.note_events();
    }

    fn nudge(&mut self) {
        if self.fault.is_none() {
            self.fault = self.keep_deadlines().err();
        }
    }

    fn doorbells(&self) -> u64 {
        self.doorbells
    }

    fn stop(&mut self) -> bool {
        let stopped = self.port.halt();
        if !stopped {
            self.memory.leak();
        }
        stopped
    }
}

#[cfg(test)]
mod tests;
