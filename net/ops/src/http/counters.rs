//! What the server counts.

use super::response::Status;
use crate::metrics::{Exposition, Kind};
use core::cell::Cell;

/// Why a connection was cut, or not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// It came to another address than the one that is listened on.
    OtherAddress,
    /// All places were taken by connections that were being answered.
    Full,
    /// It had kept the server waiting longest when somebody else wanted a place.
    Displaced,
    /// No request came for too long.
    Idle,
    /// A request began, but did not end in time.
    SlowRequest,
    /// The answer was not taken in time.
    SlowReader,
    /// The peer was gone in the middle of a request or an answer.
    Broken,
}

impl Cut {
    const ALL: [(Cut, &str); 7] = [
        (Cut::OtherAddress, "other_address"),
        (Cut::Full, "full"),
        (Cut::Displaced, "displaced"),
        (Cut::Idle, "idle"),
        (Cut::SlowRequest, "slow_request"),
        (Cut::SlowReader, "slow_reader"),
        (Cut::Broken, "broken"),
    ];
}

/// What happened since the start.
#[derive(Default, Debug)]
pub struct Counters {
    /// Connections that were accepted.
    pub accepted: Cell<u64>,
    /// Connections that there are.
    pub open: Cell<u64>,
    /// Bytes of answers, heads included.
    pub bytes: Cell<u64>,
    answers: [Cell<u64>; Status::ALL.len()],
    cuts: [Cell<u64>; Cut::ALL.len()],
}

impl Counters {
    /// Answers with this status.
    pub fn answered(&self, status: Status) -> u64 {
        self.answers[status as usize].get()
    }

    /// Connections cut for this reason.
    pub fn cut(&self, why: Cut) -> u64 {
        self.cuts[why as usize].get()
    }

    pub(super) fn count_answer(&self, status: Status) {
        count(&self.answers[status as usize]);
    }

    pub(super) fn count_cut(&self, why: Cut) {
        count(&self.cuts[why as usize]);
    }

    /// Writes them as metrics.
    pub fn collect(&self, to: &mut Exposition) {
        to.gauge("keelson_http_connections", "Connections to this server.", self.open.get());
        to.counter(
            "keelson_http_accepted_total",
            "Connections to this server accepted.",
            self.accepted.get(),
        );
        let help = "Answers of this server, by status code.";
        let mut family = to.family("keelson_http_responses_total", Kind::Counter, help);
        for status in Status::ALL {
            family.sample(&[("code", status.text().0)], self.answered(status));
        }
        let help = "Connections to this server that were cut or not taken, by reason.";
        let mut family = to.family("keelson_http_cut_total", Kind::Counter, help);
        for (why, reason) in Cut::ALL {
            family.sample(&[("reason", reason)], self.cut(why));
        }
        to.counter("keelson_http_sent_bytes_total", "Bytes of answers of this server.", self.bytes.get());
    }
}

pub(super) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}
