//! The vector by which cores call each other, and interrupts sent as a test.

use super::{LINES, apic, is_taken, vector};
use crate::arch::idt;
use crate::smp::{self, NoAnswer};
use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

/// The vector in force.
static CALLS: AtomicU8 = AtomicU8::new(vector::WAKE);

/// Why a vector cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VectorError {
    /// It is not among those of devices and of calls.
    OutOfRange {
        /// The vector.
        vector: u8,
        /// First and last that would do.
        accepted: (u8, u8),
    },
    /// A device interrupts by it.
    Taken {
        /// The vector.
        vector: u8,
        /// The highest one that none has.
        free: Option<u8>,
    },
    /// A core did not take it over.
    NoAnswer(NoAnswer),
    /// No such core runs.
    NoCore {
        /// Its number.
        core: usize,
        /// How many run.
        cores: usize,
    },
}

impl fmt::Display for VectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VectorError::OutOfRange { vector, accepted: (first, last) } => {
                write!(
                    f,
                    "vector {vector}: accepted are {first} to {last}, and {} of the cores' calls",
                    call_vector()
                )
            }
            VectorError::Taken { vector, free: Some(free) } => {
                write!(f, "a device interrupts by vector {vector}; {free} is free")
            }
            VectorError::Taken { vector, free: None } => write!(f, "a device interrupts by vector {vector}"),
            VectorError::NoAnswer(problem) => problem.fmt(f),
            VectorError::NoCore { core, cores } => write!(f, "there is no core {core}; {cores} run, from 0"),
        }
    }
}

/// The vector by which cores call each other.
pub fn call_vector() -> u8 {
    CALLS.load(Ordering::Relaxed)
}

/// Lets cores call each other by `wanted` from now on. Once, before the other cores have work for ever.
///
/// # Errors
///
/// A vector outside those of devices, or that a device has; a core that does not answer.
pub fn call_by(wanted: u8) -> Result<(), VectorError> {
    let accepted = vector::DEVICES..vector::DEVICES_END;
    if !accepted.contains(&wanted) {
        return Err(VectorError::OutOfRange { vector: wanted, accepted: (accepted.start, accepted.end - 1) });
    }
    {
        let lines = LINES.lock();
        if is_taken(&lines, wanted) {
            let free = accepted.rev().find(|vector| !is_taken(&lines, *vector));
            return Err(VectorError::Taken { vector: wanted, free });
        }
    }
    idt::alias(wanted, vector::WAKE);
    smp::on_each(idt::load).map_err(VectorError::NoAnswer)?;
    // All cores know it: who is called by the old one meanwhile is woken, too.
    CALLS.store(wanted, Ordering::Relaxed);
    Ok(())
}

/// Interrupts `core` by `vector`, to see it arrive: that of the cores' calls, which is counted as one, or one of edge-triggered
/// devices that no device has, which is counted as a device's.
///
/// # Errors
///
/// No such core; another vector.
pub fn test(core: usize, wanted: u8) -> Result<(), VectorError> {
    let cores = smp::online();
    if core >= cores {
        return Err(VectorError::NoCore { core, cores });
    }
    if wanted != call_vector() {
        // Those of levels are acknowledged only where devices are served.
        let accepted = vector::DEVICES..vector::LEVEL;
        let lines = LINES.lock();
        if !accepted.contains(&wanted) {
            let accepted = (accepted.start, accepted.end - 1);
            return Err(VectorError::OutOfRange { vector: wanted, accepted });
        }
        if is_taken(&lines, wanted) {
            let free = accepted.rev().find(|vector| !is_taken(&lines, *vector));
            return Err(VectorError::Taken { vector: wanted, free });
        }
    }
    apic::send(smp::apic_id(core), wanted);
    Ok(())
}
