//! The machine's watchdog, as far as the kernel needs it: to end it before the machine is to stay off, or halted for somebody who
//! reads the screen. A reboot leaves it running where the reset ends it: one that does not come off is ended by it.

use crate::arch::port;
use crate::options::PanicAction;
use crate::pci::Address;
use crate::pci_host;
use crate::sync::SpinLock;
use core::time::Duration;

/// A watchdog that runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watchdog {
    /// How it is stopped.
    pub switch: Switch,
    /// It resets the machine after this time.
    pub timeout: Duration,
}

/// What stops a watchdog, and lets it run again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// A byte of its function's configuration space. What runs again begins anew.
    Configuration {
        /// The function.
        address: Address,
        /// The byte.
        offset: u16,
        /// What it is while the watchdog does not run.
        stopped: u8,
        /// What it is while it does.
        running: u8,
    },
    /// A port of two bytes. It may count on through a reset, as QEMU's does.
    Port {
        /// The port.
        control: u16,
        /// What it is while the watchdog does not run.
        stopped: u16,
        /// What it is while it does.
        running: u16,
        /// Another, where any number has it begin anew.
        reload: u16,
    },
}

impl Switch {
    fn set(&self, runs: bool) {
        match *self {
            Switch::Configuration { address, offset, stopped, running } => {
                pci_host::write8_at_the_end(address, offset, if runs { running } else { stopped });
            }
            // SAFETY: the watchdog's own registers, by which it touches no memory.
            Switch::Port { control, stopped, running, reload } => unsafe {
                port::write16(control, if runs { running } else { stopped });
                port::write16(reload, 1);
            },
        }
    }
}

static RUNNING: SpinLock<Option<Watchdog>> = SpinLock::new(None);

/// Notes that this watchdog runs.
pub fn runs(watchdog: Watchdog) {
    *RUNNING.lock() = Some(watchdog);
}

/// Stops the watchdog, if one runs.
pub fn stop() {
    // Only the first core's start ever holds the lock for longer.
    let running = RUNNING.try_lock().and_then(|mut running| running.take());
    if let Some(watchdog) = running {
        watchdog.switch.set(false);
    }
}

/// Before a reset: stops the watchdog if it could end what is booted next.
pub(crate) fn before_reset() {
    let running = RUNNING.try_lock().and_then(|running| *running);
    if running.is_some_and(|watchdog| matches!(watchdog.switch, Switch::Port { .. })) {
        stop();
    }
}

/// Stops it for as long as a failed kernel makes a dump: nothing feeds it meanwhile.
pub(crate) fn pause() {
    set(false);
}

/// Lets it run again: from the beginning.
pub(crate) fn resume() {
    set(true);
}

fn set(runs: bool) {
    if let Some(watchdog) = RUNNING.try_lock().and_then(|running| *running) {
        watchdog.switch.set(runs);
    }
}

/// Stops it where it would come before what follows a panic, or undo it.
pub(crate) fn after_panic(action: PanicAction) {
    let timeout = RUNNING.try_lock().and_then(|running| *running).map(|watchdog| watchdog.timeout);
    if timeout.is_some_and(|timeout| is_in_the_way(action, timeout)) {
        stop();
    }
}

fn is_in_the_way(action: PanicAction, timeout: Duration) -> bool {
    match action {
        PanicAction::Halt => true,
        // The last turn may be nearly as long ago as the watchdog has patience.
        PanicAction::Reboot(delay) => delay >= timeout / 2,
        PanicAction::Exit => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_net_below_a_reboot_and_does_not_undo_a_halt() {
        let timeout = Duration::from_secs(30);
        let delay = |seconds| PanicAction::Reboot(Duration::from_secs(seconds));
        assert!(is_in_the_way(PanicAction::Halt, timeout));
        assert!(is_in_the_way(delay(20), timeout));
        assert!(!is_in_the_way(delay(0), timeout));
        assert!(!is_in_the_way(delay(10), timeout));
        assert!(!is_in_the_way(PanicAction::Exit, timeout));
    }
}
