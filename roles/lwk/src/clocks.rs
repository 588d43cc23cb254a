//! The clocks of clock_gettime(2).

use crate::Errno;
use crate::node::Node;
use crate::thread::Thread;
use core::time::Duration;
use keelson_hal::Instant;

/// A clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clock {
    /// Time of day.
    Wall,
    /// Time since boot.
    Monotonic,
    /// CPU time of a process or a thread.
    Cpu { id: u32, thread: bool, user_only: bool },
}

impl Clock {
    /// The clock that a program means; EINVAL when there is none. Processes and threads are looked for when the clock is read.
    pub fn of(id: i32, caller: &Thread) -> Result<Clock, Errno> {
        Ok(match id {
            // REALTIME, REALTIME_COARSE, REALTIME_ALARM, TAI: there are no leap seconds here.
            0 | 5 | 8 | 11 => Clock::Wall,
            // MONOTONIC, MONOTONIC_RAW, MONOTONIC_COARSE, BOOTTIME, BOOTTIME_ALARM: never slewed, never suspended.
            1 | 4 | 6 | 7 | 9 => Clock::Monotonic,
            2 => Clock::process(caller.process.pid),
            3 => Clock::Cpu { id: caller.tid, thread: true, user_only: false },
            // clock_getcpuclockid(3): the number of a process or thread above three bits.
            ..0 => {
                let (of, thread) = ((!id >> 3) as u32, id & 4 != 0);
                let own = if thread { caller.tid } else { caller.process.pid };
                let id_of = if of == 0 { own } else { of };
                match id & 3 {
                    0 | 2 => Clock::Cpu { id: id_of, thread, user_only: false },
                    1 => Clock::Cpu { id: id_of, thread, user_only: true },
                    _ => return Err(Errno::EINVAL),
                }
            }
            _ => return Err(Errno::EINVAL),
        })
    }

    /// CPU time of a process.
    pub fn process(pid: u32) -> Clock {
        Clock::Cpu { id: pid, thread: false, user_only: false }
    }

    /// CPU time of a process in ring 3.
    pub fn process_user(pid: u32) -> Clock {
        Clock::Cpu { id: pid, thread: false, user_only: true }
    }

    /// True for CPU time.
    pub fn is_cpu(self) -> bool {
        matches!(self, Clock::Cpu { .. })
    }

    /// What it shows.
    pub fn read(self, node: &Node) -> Result<Duration, Errno> {
        let clock = &node.system.clock;
        let (id, thread, user_only) = match self {
            Clock::Wall => return Ok(clock.wall()),
            Clock::Monotonic => return Ok(clock.now().saturating_since(Instant::ZERO)),
            Clock::Cpu { id, thread, user_only } => (id, thread, user_only),
        };
        let usage = if thread {
            node.thread(id).ok_or(Errno::EINVAL)?.times.usage(clock.now().as_nanos())
        } else {
            node.process(id).ok_or(Errno::EINVAL)?.usage()
        };
        Ok(if user_only { usage.user } else { usage.user + usage.system })
    }

    /// After what time of the machine the clock can show `span` more at the earliest: a process with many threads uses CPU time
    /// faster than time passes.
    pub fn soonest(self, node: &Node, span: Duration) -> Duration {
        match self {
            Clock::Cpu { id, thread: false, .. } => {
                let threads = node.process(id).map_or(1, |process| process.thread_count().max(1));
                span / u32::try_from(threads).unwrap_or(u32::MAX)
            }
            _ => span,
        }
    }

    /// When it shows `time`; already for times that are over.
    pub fn moment(self, node: &Node, time: Duration) -> Instant {
        let left = time.saturating_sub(self.read(node).unwrap_or(time));
        after(node, left)
    }
}

/// The moment after `span`, or never when that is beyond all time.
pub(crate) fn after(node: &Node, span: Duration) -> Instant {
    let nanos = u64::try_from(span.as_nanos()).ok();
    let moment = nanos.and_then(|nanos| node.system.clock.now().as_nanos().checked_add(nanos));
    moment.map_or(Instant::FAR_FUTURE, Instant::from_nanos)
}
