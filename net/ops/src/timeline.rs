//! When a node had come how far in its start.

use crate::health::Health;
use crate::metrics::{Exposition, Kind};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt::Write;
use core::time::Duration;
use keelson_exec::Handle;
use keelson_hal::Instant;

/// How often is looked whether a check passes for the first time; that is how exact those moments are.
const LOOK: Duration = Duration::from_millis(10);
/// A node that is not well after this long is looked at less often.
const HURRY: Duration = Duration::from_secs(60);
const LATER: Duration = Duration::from_secs(1);

/// Phases that were reached, in order. Clones are the same time line.
#[derive(Clone, Default)]
pub struct Timeline(Rc<RefCell<Vec<(&'static str, Instant)>>>);

impl Timeline {
    /// Notes that a phase was reached. The first time counts.
    pub fn reached(&self, phase: &'static str, when: Instant) {
        let mut phases = self.0.borrow_mut();
        if phases.iter().all(|(known, _)| *known != phase) {
            phases.push((phase, when));
        }
    }

    /// Notes for each check when it passed first, and at last when all of them did.
    pub async fn watch(self, handle: Handle, health: Health) {
        let begin = handle.now();
        loop {
            let (now, report) = (handle.now(), health.look());
            for (name, _) in report.checks.iter().filter(|(_, outcome)| outcome.is_ok()) {
                self.reached(name, now);
            }
            if report.is_well() {
                return self.reached("ready", now);
            }
            handle.sleep(if now - begin < HURRY { LOOK } else { LATER }).await;
        }
    }

    /// A line for each phase: seconds since the image was entered, seconds since the phase before, name.
    pub fn text(&self) -> String {
        let mut text = String::from("  seconds     +seconds  phase\n");
        let mut before = Instant::ZERO;
        for (phase, when) in self.0.borrow().iter() {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{}  +{}  {phase}",
                Seconds(when.as_micros()),
                Seconds((*when - before).as_micros() as u64)
            );
            before = *when;
        }
        text
    }

    /// Writes it as a metric.
    pub fn collect(&self, to: &mut Exposition) {
        let help = "Time from the entry of the image until a phase of the start was reached.";
        let mut family = to.family("keelson_boot_phase_seconds", Kind::Gauge, help);
        for (phase, when) in self.0.borrow().iter() {
            family.sample(&[("phase", phase)], *when - Instant::ZERO);
        }
    }
}

/// Microseconds, shown as seconds.
struct Seconds(u64);

impl core::fmt::Display for Seconds {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:5}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use keelson_net_sim::{Faults, Lab};

    #[test]
    fn phases_are_noted_when_their_checks_pass_first() {
        let lab = Lab::new(1, Faults::default());
        let (timeline, health, serving) = (Timeline::default(), Health::default(), Rc::new(Cell::new(false)));
        timeline.reached("image entered", Instant::ZERO);
        timeline.reached("image entered", Instant::FAR_FUTURE);
        let seen = serving.clone();
        health.add("network", || Ok(()));
        health.add("role", move || if seen.get() { Ok(()) } else { Err(String::from("starting")) });
        lab.handle().spawn("timeline", timeline.clone().watch(lab.handle(), health));
        lab.run_for(Duration::from_millis(1234));
        assert!(timeline.text().ends_with("network\n"), "{}", timeline.text());
        serving.set(true);
        // The moment is as exact as the looks are frequent.
        lab.run_for(LOOK);
        let text = timeline.text();
        let phases: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split("  ").last()).collect();
        assert_eq!(phases, ["image entered", "network", "role", "ready"]);
        assert!(text.contains("    1.24") && text.contains("+    0.000000  ready"), "{text}");
        let before = lab.handle().polls()["timeline"].1;
        lab.run_for(Duration::from_secs(10));
        assert_eq!(lab.handle().polls()["timeline"].1, before, "nobody looks any more");
    }
}
