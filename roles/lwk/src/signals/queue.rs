//! Signals that wait for delivery.

use super::info::{Details, SI_USER, SigInfo};
use super::set::{SigSet, is_real_time};
use crate::Errno;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Real-time signals whose memory an empty queue keeps for the next ones.
const KEPT: usize = 32;

/// Signals sent and not yet delivered, to a process or to a thread. A standard signal is there once at most; real-time signals
/// queue in the order they were sent.
#[derive(Default, Debug)]
pub struct Queue {
    /// One of each at most: never so many that there might be no memory for them.
    standard: Vec<SigInfo>,
    /// As many as programs send.
    real_time: VecDeque<SigInfo>,
    /// What is in the lists, and what was sent when they had no room.
    pending: SigSet,
}

impl Queue {
    /// Which signals are there.
    pub fn pending(&self) -> SigSet {
        self.pending
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.standard.len() + self.real_time.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Adds a signal; a standard one that is there already is lost, as in every Unix. EAGAIN for a real-time one when there are
    /// `most` or no memory is left; but kill(2) never fails for that: the signal comes without what is told with it, and once
    /// only, as on Linux.
    pub fn push(&mut self, info: SigInfo, most: usize) -> Result<(), Errno> {
        if is_real_time(info.signal) {
            if self.len() < most && self.real_time.try_reserve(1).is_ok() {
                self.real_time.push_back(info);
            } else if info.code != SI_USER {
                return Err(Errno::EAGAIN);
            }
        } else if !self.pending.has(info.signal) {
            self.standard.push(info);
        }
        self.pending = self.pending | SigSet::of(info.signal);
        Ok(())
    }

    /// Takes the next one of `wanted`.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let signal = (self.pending & wanted).first()?;
        let same = |info: &SigInfo| info.signal == signal;
        let info = if is_real_time(signal) {
            self.real_time.iter().position(same).and_then(|at| self.real_time.remove(at))
        } else {
            self.standard.iter().position(same).map(|at| self.standard.remove(at))
        };
        if !self.real_time.iter().any(same) {
            self.pending = self.pending & !SigSet::of(signal);
        }
        self.give_back();
        Some(info.unwrap_or(SigInfo::sent(signal, SI_USER, 0, 0)))
    }

    /// Counts expirations of a timer on its signal; false when that is not there.
    pub fn add_overrun(&mut self, timer: i32, count: i32) -> bool {
        self.standard.iter_mut().chain(&mut self.real_time).any(|info| match &mut info.details {
            Details::Timer { id, overrun, .. } if *id == timer => {
                *overrun = overrun.saturating_add(count);
                true
            }
            _ => false,
        })
    }

    /// Forgets the signals of a set.
    pub fn discard(&mut self, set: SigSet) {
        self.standard.retain(|info| !set.has(info.signal));
        self.real_time.retain(|info| !set.has(info.signal));
        self.pending = self.pending & !set;
        self.give_back();
    }

    /// The memory of many signals does not stay with a process that has had them.
    fn give_back(&mut self) {
        if self.real_time.is_empty() && self.real_time.capacity() > KEPT {
            self.real_time = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::{SI_QUEUE, SIGSEGV};

    fn queued(signal: u32, value: u64) -> SigInfo {
        SigInfo { signal, errno: 0, code: SI_QUEUE, details: Details::Value { pid: 1, uid: 2, value } }
    }

    #[test]
    fn a_full_queue_has_room_for_standard_signals() {
        let mut queue = Queue::default();
        for value in 0..3 {
            assert_eq!(queue.push(queued(40, value), 3), Ok(()));
        }
        assert_eq!(queue.push(queued(40, 3), 3), Err(Errno::EAGAIN));
        for signal in 1..32 {
            assert_eq!(queue.push(SigInfo::kernel(signal), 3), Ok(()));
        }
        assert_eq!(queue.take(SigSet::of(SIGSEGV)), Some(SigInfo::kernel(SIGSEGV)));
        queue.discard(SigSet(u64::from(u32::MAX) >> 1));
        for value in 0..3 {
            assert_eq!(queue.take(SigSet(!0)), Some(queued(40, value)));
        }
        assert_eq!((queue.take(SigSet(!0)), queue.is_empty()), (None, true));
    }

    #[test]
    fn what_kill_sends_to_a_full_queue_comes_once() {
        let mut queue = Queue::default();
        let sent = SigInfo::sent(50, SI_USER, 7, 8);
        for _ in 0..2 {
            assert_eq!(queue.push(sent, 0), Ok(()));
        }
        assert_eq!((queue.pending(), queue.len()), (SigSet::of(50), 0));
        assert_eq!(queue.take(SigSet(!0)), Some(SigInfo::sent(50, SI_USER, 0, 0)));
        assert_eq!(queue.take(SigSet(!0)), None);
    }

    #[test]
    fn an_empty_queue_holds_no_memory() {
        let mut queue = Queue::default();
        (0..1000).for_each(|value| queue.push(queued(64, value), 1000).unwrap());
        (0..1000).for_each(|value| assert_eq!(queue.take(SigSet(!0)), Some(queued(64, value))));
        assert!(queue.real_time.capacity() <= KEPT);
    }
}
