//! The vDSO: clocks without system calls (section 3.10).
//!
//! Two things are mapped into every program: the page of times ("vvar"), which the node fills, and behind it an ELF image that is
//! built when the node starts ([`image`]), with code that reads that page ([`code`]).

mod code;
mod image;

use super::ExecError;
use crate::Errno;
use crate::mm::{Area, Backing, Mm, Object, PAGE, Role, layout};
use crate::system::System;
use alloc::sync::Arc;
use core::ops::Range;
use keelson_hal::user::{Access, PageSize, Protection};
use spin::Mutex;

/// Nanoseconds of a second.
const SECOND: u128 = 1_000_000_000;

/// How to make times from the time stamp counter.
///
/// ```text
/// monotonic = nanos + ((tsc - base) * rate >> 32)         wall clock = wall_nanos + ((tsc - base) * wall_rate >> 32)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimeBase {
    /// Ticks at the base.
    pub tsc: u64,
    /// Nanoseconds of a tick, in units of 2^-32; 0 when the counter cannot be used: then programs make system calls.
    pub rate: u64,
    /// Monotonic time at the base, in nanoseconds.
    pub nanos: u64,
    /// The same for the wall clock, which may be slewed.
    pub wall_rate: u64,
    /// What the wall clock would have shown at the base, had it always run at this rate; it may be less than 0.
    pub wall_nanos: u64,
}

/// Times that two clocks are read together.
const READINGS: usize = 32;

/// Reads two clocks at the same moment, as nearly as can be: of many readings that which took least counts. Programs see the
/// difference as time that runs backwards between the vDSO and a system call.
fn both<T: Copy>(mut one: impl FnMut() -> u64, mut other: impl FnMut() -> T) -> (u64, T) {
    let mut reading = || {
        let before = one();
        let value = other();
        let took = one().saturating_sub(before);
        (took, before + took / 2, value)
    };
    let first = reading();
    let fastest =
        (1..READINGS).map(|_| reading()).fold(first, |best, next| if next.0 < best.0 { next } else { best });
    (fastest.1, fastest.2)
}

impl TimeBase {
    /// From the clocks as they are now.
    pub fn now(system: &System) -> TimeBase {
        let frequency = if system.machine.tsc_is_clock() { system.machine.tsc().1 } else { 0 };
        let ticks = || system.machine.tsc().0;
        let (tsc, now) = both(ticks, || system.clock.now().as_nanos());
        let rate = (SECOND << 32).checked_div(u128::from(frequency)).unwrap_or(0);
        let rate = u64::try_from(rate).unwrap_or(0);
        TimeBase { tsc, rate, nanos: now, ..TimeBase::default() }.with_wall(system)
    }

    /// The same with the wall clock as it is now.
    fn with_wall(self, system: &System) -> TimeBase {
        let (now, wall) = both(|| system.clock.now().as_nanos(), || system.clock.wall().as_nanos());
        let rate = i128::from(self.rate);
        let wall_rate = rate + rate * i128::from(system.clock.wall_rate()) / SECOND as i128;
        let wall_rate = u64::try_from(wall_rate).unwrap_or(0);
        // As many ticks as the monotonic clock took from its base to now, at the rate of the wall clock.
        let passed = u128::from(now.saturating_sub(self.nanos));
        let passed = (passed * u128::from(wall_rate)).checked_div(u128::from(self.rate)).unwrap_or(0);
        TimeBase { wall_rate, wall_nanos: (wall as u64).wrapping_sub(passed as u64), ..self }
    }

    /// Monotonic time at a count of ticks: exactly what the vDSO's code computes.
    pub fn monotonic(&self, tsc: u64) -> u64 {
        let passed = (u128::from(tsc.saturating_sub(self.tsc)) * u128::from(self.rate)) >> 32;
        self.nanos.wrapping_add(passed as u64)
    }
}

/// The vDSO of a node.
pub struct Vdso {
    times: Arc<Object>,
    image: Arc<Object>,
    base: Mutex<Written>,
}

struct Written {
    base: TimeBase,
    /// Odd while the page changes.
    sequence: u32,
}

impl Vdso {
    /// Builds it; programs make system calls until the first [`Vdso::set`].
    pub fn new(system: &System) -> Result<Vdso, ExecError> {
        let bytes = image::build();
        let len = (bytes.len() as u64).next_multiple_of(PAGE);
        let memory = |len| Object::memory(system.machine.clone(), len, PageSize::Small);
        let (times, image) = (memory(PAGE), memory(len));
        image.write(0, &bytes, 0).map_err(|_| ExecError::OutOfMemory)?;
        times.write(0, &[0; PAGE as usize], 0).map_err(|_| ExecError::OutOfMemory)?;
        let base = Mutex::new(Written { base: TimeBase::default(), sequence: 0 });
        Ok(Vdso { times, image, base })
    }

    /// Changes what the clocks are made from, for all programs at once.
    pub fn set(&self, base: TimeBase) {
        let mut written = self.base.lock();
        let odd = written.sequence.wrapping_add(1);
        self.put(code::SEQUENCE, &odd.to_le_bytes());
        self.put(code::TSC, &base.tsc.to_le_bytes());
        self.put(code::RATE, &base.rate.to_le_bytes());
        self.put(code::NANOS, &base.nanos.to_le_bytes());
        self.put(code::WALL_RATE, &base.wall_rate.to_le_bytes());
        self.put(code::WALL_NANOS, &base.wall_nanos.to_le_bytes());
        self.put(code::SEQUENCE, &odd.wrapping_add(1).to_le_bytes());
        *written = Written { base, sequence: odd.wrapping_add(1) };
    }

    /// The wall clock was set, or runs at another rate: monotonic time goes on as it did. Or the node reads time from another clock
    /// than the counter from now on: then programs make system calls.
    pub fn set_wall(&self, system: &System) {
        let is_clock = system.machine.tsc_is_clock();
        self.set(if is_clock { self.time_base().with_wall(system) } else { TimeBase::now(system) });
    }

    /// What the clocks are made from: system calls that use it too never disagree with the vDSO.
    pub fn time_base(&self) -> TimeBase {
        self.base.lock().base
    }

    fn put(&self, offset: u8, bytes: &[u8]) {
        // The page is there since the beginning: nothing can fail.
        let written = self.times.write(u64::from(offset), bytes, 0);
        debug_assert!(written.is_ok());
    }

    /// Maps it into a program: where the image is (`AT_SYSINFO_EHDR`).
    pub fn map(&self, mm: &Mm, node: usize) -> Result<u64, Errno> {
        let image = layout::VVAR + PAGE;
        let place = |range: Range<u64>, object: &Arc<Object>, role, protection| {
            let mut area = Area::anonymous(range.clone(), protection);
            area.backing = Backing::Object(object.clone());
            area.may_write = false;
            area.copy_on_write = true;
            area.role = role;
            mm.place_area(area, node)?;
            for page in range.step_by(PAGE as usize) {
                mm.fault(page, Access::Read, node).map_err(|_| Errno::ENOMEM)?;
            }
            Ok(())
        };
        place(layout::VVAR..image, &self.times, Role::Vvar, Protection::READ)?;
        place(image..image + self.image.size(), &self.image, Role::Vdso, Protection::READ_EXECUTE)?;
        Ok(image)
    }
}

#[cfg(test)]
mod tests;
