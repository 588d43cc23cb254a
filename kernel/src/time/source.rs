//! Which clock time is read from: the time stamp counter, unless it cannot be relied on or somebody says otherwise.

use super::counter::{Counter, Elapsed};
use super::watch::{self, Watch};
use super::{APIC_HZ, PmTimer, nanos_of};
use crate::acpi::Hpet;
use crate::arch::cpu;
use crate::irq::apic;
use crate::smp;
use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};
use keelson_config::Config;
use spin::Once;

/// A clock, in Linux's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ClockSource {
    /// The time stamp counter of each core.
    Tsc,
    /// The high precision event timer.
    Hpet,
    /// The ACPI power management timer.
    AcpiPm,
}

/// Their names, for the table of options.
pub(crate) const NAMES: &[&str] = &["tsc", "hpet", "acpi_pm"];

impl ClockSource {
    const ALL: [ClockSource; 3] = [ClockSource::Tsc, ClockSource::Hpet, ClockSource::AcpiPm];

    fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    fn counter(self) -> Option<&'static Counter> {
        match self {
            ClockSource::Tsc => None,
            ClockSource::Hpet => HPET.get(),
            ClockSource::AcpiPm => PM.get(),
        }
    }
}

impl fmt::Display for ClockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

static HPET: Once<Counter> = Once::new();
static PM: Once<Counter> = Once::new();
/// Time by one of them.
static ELAPSED: Elapsed = Elapsed::new();
/// Which clock counts. Changes once at most, away from the time stamp counter.
static SOURCE: AtomicU8 = AtomicU8::new(ClockSource::Tsc as u8);

/// Cores may see each other's counters so much behind, in nanoseconds: less than a message between them takes.
const BEHIND_MAX: u64 = 1000;
/// What a core's timer is measured for, in nanoseconds.
const MEASURED: u64 = 10_000_000;

/// Looks which clocks there are besides the time stamp counter.
pub(crate) fn find(hpet: Option<&Hpet>, pm: Option<PmTimer>) {
    if let Some(counter) = hpet.and_then(Counter::hpet) {
        HPET.call_once(|| counter);
    }
    if let Some(counter) = pm.and_then(Counter::pm) {
        PM.call_once(|| counter);
    }
}

/// The clock that counts.
pub fn source() -> ClockSource {
    let number = SOURCE.load(Ordering::Acquire);
    ClockSource::ALL.get(usize::from(number)).copied().unwrap_or(ClockSource::Tsc)
}

/// Nanoseconds since boot by another clock than the time stamp counter; `None` when that one counts.
pub(super) fn now() -> Option<u64> {
    match source() {
        ClockSource::Tsc => None,
        other => other.counter().map(|counter| ELAPSED.now(counter)),
    }
}

/// From here on `to` counts, if there is such a clock and none but the time stamp counter counted until now.
fn change(to: ClockSource) -> bool {
    let (Some(counter), ClockSource::Tsc) = (to.counter(), source()) else { return false };
    if apic::tsc_deadline() {
        // Deadlines would be by the time stamp counter, too.
        APIC_HZ.store(measure_apic(counter), Ordering::Relaxed);
    }
    ELAPSED.begin(counter, super::now().as_nanos());
    SOURCE.store(to as u8, Ordering::Release);
    true
}

/// The first of the other clocks that is there.
fn fallback() -> Option<ClockSource> {
    [ClockSource::Hpet, ClockSource::AcpiPm].into_iter().find(|other| other.counter().is_some())
}

/// Rate of this core's timer, counting down.
fn measure_apic(counter: &Counter) -> u64 {
    smp::this_cpu().timer.forget();
    apic::leave_deadlines();
    apic::start_countdown(u32::MAX);
    let (start, count) = (counter.read(), apic::countdown());
    loop {
        let nanos = counter.nanos(counter.ticks(start, counter.read()));
        if nanos >= MEASURED {
            let ticks = u64::from(count.wrapping_sub(apic::countdown()));
            return ticks * 1_000_000_000 / nanos;
        }
        cpu::pause();
    }
}

/// Gives up the time stamp counter because of `why`.
fn abandon_tsc(why: fmt::Arguments<'_>) -> bool {
    let done = fallback().is_some_and(change);
    match done {
        true => log::warn!(
            target: "time",
            "{why}; the clock source is {} from now on (tsc=reliable would keep the TSC)",
            source()
        ),
        false => log::warn!(
            target: "time",
            "{why}, but the machine has no HPET and no ACPI timer: time may go wrong"
        ),
    }
    done
}

/// Makes `clocksource=` and `tsc=` take effect, when all cores run. Returns who looks after the time stamp counter from here on,
/// where that counts and can be compared.
pub fn choose(config: &Config) -> Option<Watch> {
    let named = config.choice("clocksource");
    let wanted = ClockSource::ALL.into_iter().find(|source| named == Some(source.name()));
    let is_reliable = config.choice("tsc") == Some("reliable");
    let behind = nanos_of(watch::behind());
    match wanted {
        Some(other @ (ClockSource::Hpet | ClockSource::AcpiPm)) => {
            if change(other) {
                log::info!(target: "time", "clock source {other}");
            } else {
                log::warn!(target: "time", "clocksource={other}: the machine has none that counts");
            }
        }
        _ if config.choice("tsc") == Some("unstable") => {
            abandon_tsc(format_args!("tsc=unstable"));
        }
        _ if behind > BEHIND_MAX && !is_reliable => {
            abandon_tsc(format_args!("the TSC of a core is {behind} ns behind that of another"));
        }
        _ => {}
    }
    let other = fallback().and_then(ClockSource::counter);
    if source() == ClockSource::Tsc && !is_reliable { other.map(Watch::new) } else { None }
}

/// Looks whether the time stamp counter goes as it should, once a second. False when there is nothing to look after any more: it
/// does not count from now on, which whoever has copies of its rate must be told.
pub fn look(watch: &mut Watch) -> bool {
    if watch.look(nanos_of) {
        return true;
    }
    abandon_tsc(format_args!("the TSC does not go as {} does", fallback().unwrap_or(ClockSource::Tsc)));
    false
}
