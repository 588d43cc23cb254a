//! `noise`: what interrupted each core (section 8.4), since boot or since `noise reset`.

use super::Control;
use super::report::Table;
use alloc::vec::Vec;
use keelson_hal::user::CoreEntries;

impl Control {
    /// A row for each core of the machine.
    pub(super) fn noise(&self) -> Table {
        let machine = &self.node.system.machine;
        let baseline = self.baseline.borrow();
        let rows = (0..machine.cores()).map(|core| {
            let from = baseline.get(core).copied().unwrap_or_default();
            let e = machine.entries(core);
            let figures = [
                (e.timer, from.timer),
                (e.device, from.device),
                (e.doorbell, from.doorbell),
                (e.kick, from.kick),
                (e.shootdown, from.shootdown),
                (e.nmi, from.nmi),
                (e.spurious, from.spurious),
                (e.page_faults, from.page_faults),
                (e.exceptions, from.exceptions),
                (e.syscalls, from.syscalls),
            ];
            let mut row = Vec::from([(core as u64).into(), self.cpu_name(core).into()]);
            row.extend(figures.map(|(now, then)| now.saturating_sub(then).into()));
            row
        });
        let titles = &[
            "CORE",
            "CPU",
            "TIMER",
            "DEVICE",
            "DOORBELL",
            "KICK",
            "TLB",
            "NMI",
            "SPURIOUS",
            "FAULT",
            "EXCEPTION",
            "SYSCALL",
        ];
        Table { titles, rows: rows.collect() }
    }

    /// Counts from now on.
    pub(super) fn reset_noise(&self) {
        let machine = &self.node.system.machine;
        let now: Vec<CoreEntries> = (0..machine.cores()).map(|core| machine.entries(core)).collect();
        *self.baseline.borrow_mut() = now;
    }
}
