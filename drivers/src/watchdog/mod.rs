//! Hardware watchdogs: who does not feed one in time is reset.

pub mod i6300esb;
pub mod tco;

#[cfg(test)]
mod tests;

/// A watchdog that was started, or stopped.
pub trait Watchdog {
    /// The machine's last reset was its doing.
    fn has_reset(&self) -> bool;

    /// Lets it count from the beginning.
    fn feed(&self);
}
