//! What happens when a command fails, or does not end (section 6.2).
//!
//! One that went alone gets its error. Of several queued ones the device says which failed (READ LOG EXT, page 10h), and has taken
//! back the others, which go again. If it does not say, or had to be reset, all go again alone, and the one that fails gets its
//! error. The port's commands are stopped and started in between; if that does not help, the device is reset.

use super::command::{Command, PAGE_LEN, opcode};
use super::port::{ERR, Kind, event};
use super::{AhciEngine, AhciFault, TARGET, hba};
use core::time::Duration;
use keelson_hal::{BlockError, BlockOp, Instant};

/// How long a request may take, and a flush, which may have a whole cache to write.
const PATIENCE: Duration = Duration::from_secs(30);
const FLUSH_PATIENCE: Duration = Duration::from_secs(60);
/// How long the device has to say which command failed, and to come back from a reset.
const ANSWER: Duration = Duration::from_secs(5);
const RETURN: Duration = Duration::from_secs(20);
/// Most devices are back after this time; the others are not waited for here.
const SHORT: Duration = Duration::from_millis(10);

/// A request that was taken back as often goes alone from then on, and one that was as often as the second is given up.
const RETRIES_QUEUED: u8 = 2;
const RETRIES: u8 = 5;

/// The log of what failed among queued commands (ATA8-ACS, annex A): its first byte, that no queued one did, and which one did.
const QUEUED_ERROR_LOG: u64 = 0x10;
const NOT_QUEUED: u8 = 1 << 7;
const TAG: u8 = 0x1f;
const ERROR: usize = 3;

/// Bits of the error register (ATA8-ACS, section 6).
const CRC_ERROR: u8 = 1 << 7;
const NOT_FOUND: u8 = 1 << 4;

/// What the port is doing.
pub(super) enum State {
    /// Requests.
    Ready,
    /// The device is asked which of these commands failed, since then.
    Asking { victims: u32, since: Instant },
    /// The device was reset, and has to be back by then.
    Resetting { until: Instant },
}

impl AhciEngine {
    /// A command failed: finds out which, as far as that can be known now, and starts the port anew.
    pub(super) fn recover(&mut self, events: u32) -> Result<(), AhciFault> {
        let victims = core::mem::take(&mut self.issued);
        let is_reported = events & event::TRANSFER == 0;
        let status = self.port.task_file();
        log::debug!(target: TARGET, "{}: events {events:#x}, status {status:#x}, commands {victims:#x}", self.name);
        // What was issued is not the port's any more once it stopped; one that keeps something is not in order.
        let is_sound = self.port.stop_commands() && !self.port.is_busy() && self.port.unfinished() == 0;
        if is_sound {
            self.port.start();
            if self.issued_queued && is_reported {
                self.ask(victims);
                return Ok(());
            }
        }
        if self.issued_queued || !is_reported {
            self.again(victims, true);
        } else {
            self.fail(victims.trailing_zeros() as u16, (status >> 8) as u8);
        }
        if is_sound { Ok(()) } else { self.reset() }
    }

    /// Asks the device which of these commands failed.
    fn ask(&mut self, victims: u32) {
        let data = Some(self.memory.page());
        self.memory.set(0, &Command { data, ..Command::plain(opcode::READ_LOG_EXT, QUEUED_ERROR_LOG, 1) });
        self.port.issue(0, false);
        self.state = State::Asking { victims, since: self.clock.now() };
    }

    /// Has it answered?
    pub(super) fn look_at_answer(&mut self, failed: bool) -> Result<(), AhciFault> {
        let State::Asking { victims, .. } = self.state else { return Ok(()) };
        if !failed && self.port.unfinished() & 1 != 0 {
            return Ok(());
        }
        self.state = State::Ready;
        if failed || self.port.task_file() & ERR != 0 {
            self.again(victims, true);
            let is_sound = self.port.stop_commands() && !self.port.is_busy() && self.port.unfinished() == 0;
            if !is_sound {
                return self.reset();
            }
            self.port.start();
        } else {
            let page = |at| self.memory.page_byte(at);
            let (first, error) = (page(0), page(ERROR));
            let sum = (0..PAGE_LEN).fold(0_u8, |sum, at| sum.wrapping_add(page(at)));
            let culprit = 1_u32 << (first & TAG);
            if first & NOT_QUEUED == 0 && sum == 0 && victims & culprit != 0 {
                self.again(victims & !culprit, false);
                self.fail((first & TAG).into(), error);
            } else {
                self.again(victims, true);
            }
        }
        self.issue();
        Ok(())
    }

    /// A request failed with this value of the error register.
    fn fail(&mut self, slot: u16, error: u8) {
        if error & CRC_ERROR != 0 {
            // The cable's fault, not the medium's.
            self.again(1 << slot, false);
            return;
        }
        let error = if error & NOT_FOUND != 0 { BlockError::OutOfRange } else { BlockError::Io };
        self.finished.push_back((slot, Err(error)));
    }

    /// These go again, before all others.
    fn again(&mut self, slots: u32, alone: bool) {
        for slot in (0..32_u16).rev().filter(|slot| slots >> slot & 1 == 1) {
            let request = &mut self.requests[usize::from(slot)];
            request.retries += 1;
            request.is_alone |= alone || request.retries >= RETRIES_QUEUED;
            if request.retries > RETRIES {
                self.finished.push_back((slot, Err(BlockError::Io)));
            } else {
                self.waiting.push_front(slot);
            }
        }
    }

    /// Resets the device.
    fn reset(&mut self) -> Result<(), AhciFault> {
        if !self.port.stop_commands() {
            return Err(AhciFault::Stuck);
        }
        self.port.reset();
        let now = self.clock.now();
        self.state = State::Resetting { until: now + RETURN };
        hba::until(&*self.clock, SHORT, || self.port.has_link() && !self.port.is_busy());
        self.look_after_reset()
    }

    /// Is it back?
    pub(super) fn look_after_reset(&mut self) -> Result<(), AhciFault> {
        let State::Resetting { until } = self.state else { return Ok(()) };
        if !self.port.has_link() || self.port.is_busy() {
            return if self.clock.now() > until { Err(AhciFault::NoAnswer) } else { Ok(()) };
        }
        if self.port.kind() != Kind::Disk {
            return Err(AhciFault::Changed);
        }
        self.port.start();
        self.state = State::Ready;
        self.issue();
        Ok(())
    }

    /// Resets a device that has let a command's time pass.
    pub(super) fn keep_deadlines(&mut self) -> Result<(), AhciFault> {
        match self.state {
            State::Resetting { .. } => return self.look_after_reset(),
            State::Ready if self.issued == 0 => return Ok(()),
            _ => {}
        }
        let now = self.clock.now();
        if let State::Asking { victims, since } = self.state {
            if now - since < ANSWER {
                return Ok(());
            }
            self.again(victims, true);
            return self.reset();
        }
        let late = (0..32_u16).filter(|slot| self.issued >> slot & 1 == 1).filter(|slot| {
            let request = &self.requests[usize::from(*slot)];
            let patience = if request.op == BlockOp::Flush { FLUSH_PATIENCE } else { PATIENCE };
            now - request.issued > patience
        });
        let late = late.fold(0_u32, |late, slot| late | 1 << slot);
        if late == 0 {
            return Ok(());
        }
        log::warn!(target: TARGET, "{}: {} requests take too long; the disk is reset", self.name, late.count_ones());
        let issued = core::mem::take(&mut self.issued);
        self.again(issued & !late, false);
        self.finished
            .extend((0..32).filter(|slot| late >> slot & 1 == 1).map(|slot| (slot, Err(BlockError::Io))));
        self.reset()
    }
}
