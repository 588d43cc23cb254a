//! How the sending of a message can fail, in Lustre's terms (LNet specification section 5.11). This node keeps no health
//! values: what happens is counted, and can be made to happen by fault rules.

use crate::lnd::SendError;
use core::fmt;

/// A failure. The discriminants are Lustre's, in the masks of fault rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthError {
    /// The local interface was interrupted.
    LocalInterrupt = 1,
    /// The local interface lost it.
    LocalDropped = 2,
    /// The local interface gave it up.
    LocalAborted = 3,
    /// There was no way out.
    LocalNoRoute = 4,
    /// Any other failure of the local interface.
    LocalError = 5,
    /// The local interface did not send it in time.
    LocalTimeout = 6,
    /// The peer failed.
    RemoteError = 7,
    /// The peer lost it, or could not be reached.
    RemoteDropped = 8,
    /// The peer did not answer in time.
    RemoteTimeout = 9,
    /// It was sent, and nothing is known of it.
    NetworkTimeout = 10,
}

impl HealthError {
    /// All of them, in the order of their numbers.
    pub const ALL: [HealthError; 10] = [
        HealthError::LocalInterrupt,
        HealthError::LocalDropped,
        HealthError::LocalAborted,
        HealthError::LocalNoRoute,
        HealthError::LocalError,
        HealthError::LocalTimeout,
        HealthError::RemoteError,
        HealthError::RemoteDropped,
        HealthError::RemoteTimeout,
        HealthError::NetworkTimeout,
    ];

    /// As `lnetctl fault drop add --health_error` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            HealthError::LocalInterrupt => "local_interrupt",
            HealthError::LocalDropped => "local_dropped",
            HealthError::LocalAborted => "local_aborted",
            HealthError::LocalNoRoute => "local_no_route",
            HealthError::LocalError => "local_error",
            HealthError::LocalTimeout => "local_timeout",
            HealthError::RemoteError => "remote_error",
            HealthError::RemoteDropped => "remote_dropped",
            HealthError::RemoteTimeout => "remote_timeout",
            HealthError::NetworkTimeout => "network_timeout",
        }
    }
}

impl HealthError {
    /// What a sender is told.
    pub(super) const fn as_sent(self) -> SendError {
        match self {
            HealthError::LocalTimeout | HealthError::RemoteTimeout | HealthError::NetworkTimeout => {
                SendError::TimedOut
            }
            HealthError::LocalNoRoute | HealthError::RemoteDropped => SendError::Unreachable,
            _ => SendError::Broken,
        }
    }
}

/// Some of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct HealthErrors(u32);

impl HealthErrors {
    /// Any, at random.
    pub const RANDOM: HealthErrors = HealthErrors(u32::MAX);

    /// The one with this name more, or all of them with `random`. False when there is none.
    pub fn add(&mut self, name: &str) -> bool {
        if name.eq_ignore_ascii_case("random") {
            *self = HealthErrors::RANDOM;
            return true;
        }
        let known = HealthError::ALL.into_iter().find(|error| name.eq_ignore_ascii_case(error.name()));
        self.0 |= known.map_or(0, |error| 1 << error as u32);
        known.is_some()
    }

    /// True without any.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Lustre's mask.
    pub const fn mask(self) -> u32 {
        self.0
    }

    /// One of them, chosen by `below`, which draws a number below another.
    pub(super) fn choose(self, below: impl FnOnce(u64) -> u64) -> Option<HealthError> {
        let ours = || HealthError::ALL.into_iter().filter(|error| self.0 & 1 << *error as u32 != 0);
        let count = ours().count();
        if count == 0 { None } else { ours().nth(below(count as u64) as usize) }
    }
}

impl fmt::Display for HealthErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_masks_are_those_of_lustre() {
        let mut errors = HealthErrors::default();
        assert!(errors.add("local_timeout") && errors.add("Network_Timeout") && !errors.add("timeout"));
        assert_eq!((errors.mask(), errors.to_string()), (1 << 6 | 1 << 10, "0x440".into()));
        assert_eq!(errors.choose(|count| count - 1), Some(HealthError::NetworkTimeout));
        assert_eq!(errors.choose(|_| 0), Some(HealthError::LocalTimeout));
        assert!(errors.add("random"));
        assert_eq!((errors, errors.choose(|_| 0)), (HealthErrors::RANDOM, Some(HealthError::LocalInterrupt)));
        assert_eq!(HealthErrors::default().choose(|_| 0), None);
        for (index, error) in HealthError::ALL.into_iter().enumerate() {
            assert_eq!(error as usize, index + 1);
        }
    }
}
