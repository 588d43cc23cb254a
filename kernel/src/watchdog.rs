//! The machine's watchdog, as far as the kernel needs it: to end it before the machine is to stay off, or halted for somebody who
//! reads the screen. A reboot leaves it running: one that does not come off is ended by it.

use crate::options::PanicAction;
use crate::pci::Address;
use crate::pci_host;
use crate::sync::SpinLock;
use core::time::Duration;

/// A watchdog that runs until a byte of its configuration space is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watchdog {
    /// Its function.
    pub address: Address,
    /// The byte.
    pub enable: u16,
    /// What it is while the watchdog runs.
    pub running: u8,
    /// It resets the machine after this time.
    pub timeout: Duration,
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
        pci_host::write8_at_the_end(watchdog.address, watchdog.enable, 0);
    }
}

/// Stops it for as long as a failed kernel makes a dump: nothing feeds it meanwhile.
pub(crate) fn pause() {
    set(|_| 0);
}

/// Lets it run again: from the beginning.
pub(crate) fn resume() {
    set(|watchdog| watchdog.running);
}

fn set(value: impl Fn(&Watchdog) -> u8) {
    if let Some(watchdog) = RUNNING.try_lock().and_then(|running| *running) {
        pci_host::write8_at_the_end(watchdog.address, watchdog.enable, value(&watchdog));
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
