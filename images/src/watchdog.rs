//! Feeds the hardware watchdog while the processors take their turns.
//!
//! A task of the first processor's executor feeds it, so that it is not fed when a task keeps that processor. Before that every
//! other processor does a trifle that it is given; one that does not is not fed for either. Processors that run programs for ever
//! are left out: the role that has them looks after them.

use crate::Node;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use keelson_drivers::watchdog::Watchdog;
use keelson_kernel::smp;

/// Rounds in the time after which the machine is reset.
const ROUNDS: u32 = 4;
/// Longest time between rounds.
const LONGEST: Duration = Duration::from_secs(5);

/// How the watchdog fares.
#[derive(Default)]
pub struct Standing {
    timeout: Cell<Duration>,
    fed: Cell<u64>,
    withheld: Cell<u64>,
    has_reset: Cell<bool>,
}

impl Standing {
    /// After which time it resets the machine; 0 when there is none.
    pub fn timeout(&self) -> Duration {
        self.timeout.get()
    }

    /// How often it was fed.
    pub fn fed(&self) -> u64 {
        self.fed.get()
    }

    /// How often it was not fed because a processor did not answer.
    pub fn withheld(&self) -> u64 {
        self.withheld.get()
    }

    /// It ended the last boot.
    pub fn has_reset(&self) -> bool {
        self.has_reset.get()
    }
}

/// Feeds `watchdog`, `name`d with its place, from now on, unless `timeout` says that it is off.
pub(crate) fn start(node: &Node, watchdog: impl Watchdog + 'static, timeout: Option<Duration>, name: &str) {
    let standing = node.watchdog.clone();
    if watchdog.has_reset() {
        standing.has_reset.set(true);
        log::warn!(target: "watchdog", "the last boot was ended by the watchdog: the machine had hung");
    }
    let Some(timeout) = timeout else {
        let why =
            if standing.timeout() == Duration::ZERO { "watchdog=off" } else { "there is one that runs" };
        log::info!(target: "watchdog", "{name}: off ({why})");
        return;
    };
    standing.timeout.set(timeout);
    log::info!(target: "watchdog", "{name}: resets the machine when it hangs for {timeout:?}");
    let handle = node.handle.clone();
    node.handle.spawn("watchdog", async move {
        let mut others = Others::default();
        loop {
            handle.sleep(period(timeout)).await;
            match others.silent() {
                None => {
                    watchdog.feed();
                    others.ask();
                    standing.fed.set(standing.fed.get() + 1);
                }
                Some(core) => {
                    others.ask();
                    if standing.withheld.replace(standing.withheld.get() + 1) == 0 {
                        log::error!(target: "watchdog", "core {core} hangs: the machine is reset unless it goes on");
                    }
                }
            }
        }
    });
}

fn period(timeout: Duration) -> Duration {
    (timeout / ROUNDS).min(LONGEST)
}

/// What the other processors were asked to do: they set this, or had no room for it.
#[derive(Default)]
struct Others(Vec<(usize, Option<Arc<AtomicBool>>)>);

impl Others {
    /// Gives a trifle to each that has done its last one.
    fn ask(&mut self) {
        self.0.retain(|(_, trifle)| trifle.as_ref().is_some_and(|done| !done.load(Ordering::Acquire)));
        for core in (1..smp::online()).filter(|core| !smp::is_given_away(*core)) {
            if self.0.iter().any(|(asked, _)| *asked == core) {
                continue;
            }
            let done = Arc::new(AtomicBool::new(false));
            let flag = done.clone();
            let taken = smp::run_on(core, move || flag.store(true, Ordering::Release));
            self.0.push((core, taken.is_ok().then_some(done)));
        }
    }

    /// One that has not done it.
    fn silent(&self) -> Option<usize> {
        let mut others = self.0.iter().filter(|(core, _)| !smp::is_given_away(*core));
        let silent =
            others.find(|(_, trifle)| !trifle.as_ref().is_some_and(|done| done.load(Ordering::Acquire)));
        silent.map(|(core, _)| *core)
    }
}
