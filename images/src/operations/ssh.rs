//! What the SSH server counts, as metrics.

use alloc::rc::Rc;
use keelson_ops::metrics::{Exposition, Kind};
use keelson_ssh::Counters;

/// The source of it.
pub(super) fn source(counters: &Rc<Counters>) -> impl Fn(&mut Exposition) + 'static {
    let counters = counters.clone();
    move |to: &mut Exposition| {
        to.gauge("keelson_ssh_connections", "SSH connections.", counters.open.get());
        let totals = [
            ("keelson_ssh_accepted_total", "SSH connections accepted.", &counters.accepted),
            (
                "keelson_ssh_entered_total",
                "SSH connections whose key was proved and may enter.",
                &counters.entered,
            ),
            (
                "keelson_ssh_refused_total",
                "Keys and user names that may not enter by SSH.",
                &counters.refused,
            ),
            ("keelson_ssh_sessions_total", "Commands and shells begun by SSH.", &counters.sessions),
            (
                "keelson_ssh_output_bytes_total",
                "Bytes of output of commands and shells by SSH.",
                &counters.output,
            ),
        ];
        for (name, help, count) in totals {
            to.counter(name, help, count.get());
        }
        let help = "SSH connections that were cut or not taken, by reason.";
        let mut family = to.family("keelson_ssh_cut_total", Kind::Counter, help);
        for (reason, count) in counters.cuts() {
            family.sample(&[("reason", reason)], count);
        }
    }
}
