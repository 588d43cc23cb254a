//! Timers that send signals: setitimer(2), timer_create(2).
//!
//! They lie among the deadlines of the node ([`crate::timers`]); the service core, whose task wakes them, sends the signal. Timers
//! of CPU time are looked at when they could be due at the earliest, and armed again if they are not.

use crate::Errno;
use crate::clocks::Clock;
use crate::limits::{INFINITY, Limit};
use crate::process::Process;
use crate::signals::*;
use crate::timers::{Deadline, until_next};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Waker};
use core::time::Duration;
use spin::Mutex;

/// Timers that a process may create.
const MOST: usize = 1024;

/// How soon a timer of CPU time is looked at again at the earliest.
const SOONEST: Duration = Duration::from_millis(1);

/// The timers of a process.
#[derive(Default)]
pub(crate) struct ProcessTimers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF.
    interval: [Option<Arc<Timer>>; 3],
    created: BTreeMap<i32, Arc<Timer>>,
    next: i32,
    /// RLIMIT_CPU: the soft limit, then the hard one.
    limit: [Option<Arc<Timer>>; 2],
}

/// What an expired timer does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    /// A signal to the process.
    Process(SigInfo),
    /// A signal to this thread.
    Thread(u32, SigInfo),
    /// Nothing: the program looks.
    None,
}

/// A timer.
pub(crate) struct Timer {
    process: Weak<Process>,
    clock: Clock,
    notice: Notice,
    setting: Mutex<Setting>,
    /// Held while an expiration is told of.
    telling: Mutex<()>,
}

#[derive(Default)]
struct Setting {
    /// When it expires next, on its clock.
    next: Option<Duration>,
    interval: Duration,
    overrun: i32,
    deadline: Option<Deadline>,
}

/// What a timer is set to: time to the next expiration (zero: off), and between expirations (zero: once).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Interval {
    pub value: Duration,
    pub interval: Duration,
}

impl ProcessTimers {
    /// The timer of setitimer(2); EINVAL for numbers that do not exist.
    pub fn interval(&self, process: &Arc<Process>, which: usize) -> Result<Arc<Timer>, Errno> {
        let (clock, signal) = match which {
            0 => (Clock::Monotonic, SIGALRM),
            1 => (Clock::process_user(process.pid), SIGVTALRM),
            2 => (Clock::process(process.pid), SIGPROF),
            _ => return Err(Errno::EINVAL),
        };
        let mut state = self.state.lock();
        let make = || Timer::new(process, clock, Notice::Process(SigInfo::kernel(signal)));
        Ok(state.interval[which].get_or_insert_with(make).clone())
    }

    /// Creates a timer under a number of its own, which `notice` gets; EAGAIN when there are too many.
    pub fn create(
        &self,
        process: &Arc<Process>,
        clock: Clock,
        notice: impl FnOnce(i32) -> Notice,
    ) -> Result<i32, Errno> {
        let mut state = self.state.lock();
        if state.created.len() >= MOST {
            return Err(Errno::EAGAIN);
        }
        while state.created.contains_key(&state.next) {
            state.next = state.next.wrapping_add(1).max(0);
        }
        let id = state.next;
        state.next = id.wrapping_add(1).max(0);
        state.created.insert(id, Timer::new(process, clock, notice(id)));
        Ok(id)
    }

    /// A timer that was created.
    pub fn get(&self, id: i32) -> Result<Arc<Timer>, Errno> {
        self.state.lock().created.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// A signal was delivered, or accepted: timer_getoverrun(2) tells of it from now on, whatever expired since.
    pub fn told(&self, info: &SigInfo) {
        if let Details::Timer { id, overrun, .. } = info.details
            && let Ok(timer) = self.get(id)
        {
            timer.setting.lock().overrun = overrun;
        }
    }

    /// Deletes a timer.
    pub fn delete(&self, id: i32) -> Result<(), Errno> {
        let timer = self.state.lock().created.remove(&id).ok_or(Errno::EINVAL)?;
        timer.disarm();
        Ok(())
    }

    /// Watches RLIMIT_CPU (setrlimit(2)): SIGXCPU each second from the soft limit on, SIGKILL at the hard one.
    pub fn limit_cpu(&self, process: &Arc<Process>, limit: Limit) -> Result<(), Errno> {
        let ends = [(limit.soft, SIGXCPU, Duration::from_secs(1)), (limit.hard, SIGKILL, Duration::ZERO)];
        for (index, (seconds, signal, interval)) in ends.into_iter().enumerate() {
            let old = self.state.lock().limit[index].take();
            if let Some(old) = old {
                old.disarm();
            }
            if seconds == INFINITY {
                continue;
            }
            let notice = Notice::Process(SigInfo::kernel(signal));
            let timer = Timer::new(process, Clock::process(process.pid), notice);
            self.state.lock().limit[index] = Some(timer.clone());
            // Nothing at all means one second, as in Linux.
            timer.set(process, Interval { value: Duration::from_secs(seconds.max(1)), interval }, true)?;
        }
        Ok(())
    }

    /// exec deletes what timer_create(2) made.
    pub fn exec(&self) {
        let created = core::mem::take(&mut self.state.lock().created);
        created.values().for_each(|timer| timer.disarm());
    }

    /// The end of the process.
    pub fn clear(&self) {
        let state = core::mem::take(&mut *self.state.lock());
        let fixed = state.interval.iter().chain(&state.limit).flatten();
        state.created.values().chain(fixed).for_each(|timer| timer.disarm());
    }
}

impl Timer {
    fn new(process: &Arc<Process>, clock: Clock, notice: Notice) -> Arc<Timer> {
        Arc::new(Timer {
            process: Arc::downgrade(process),
            clock,
            notice,
            setting: Mutex::default(),
            telling: Mutex::default(),
        })
    }

    /// Turns it off: it sends no signal behind this, even if another core is at it, which a handler would take for a later timer's.
    fn disarm(&self) {
        let mut setting = self.setting.lock();
        setting.next = None;
        let deadline = setting.deadline.take();
        drop(setting);
        drop(deadline);
        drop(self.telling.lock());
    }

    /// What it is set to now.
    pub fn get(&self, process: &Process) -> Interval {
        let now = self.clock.read(&process.node).unwrap_or_default();
        let setting = self.setting.lock();
        // A timer that is on never shows zero.
        let value =
            setting.next.map_or(Duration::ZERO, |next| next.saturating_sub(now).max(Duration::from_nanos(1)));
        Interval { value, interval: setting.interval }
    }

    /// Sets it, from now on or to a time of its clock.
    pub fn set(
        self: &Arc<Self>,
        process: &Process,
        new: Interval,
        absolute: bool,
    ) -> Result<Interval, Errno> {
        let old = self.get(process);
        let now = self.clock.read(&process.node)?;
        self.disarm();
        let mut setting = self.setting.lock();
        setting.interval = new.interval;
        setting.overrun = 0;
        if !new.value.is_zero() {
            setting.next = Some(if absolute { new.value } else { now.saturating_add(new.value) });
        }
        drop(setting);
        self.arm();
        Ok(old)
    }

    /// Missed expirations of the last signal.
    pub fn overrun(&self) -> i32 {
        self.setting.lock().overrun
    }

    /// Puts the next expiration among the deadlines of the node. What is due already expires at once.
    fn arm(self: &Arc<Self>) {
        let Some(process) = self.process.upgrade() else { return };
        loop {
            let mut setting = self.setting.lock();
            let Some(next) = setting.next else { return };
            let Ok(now) = self.clock.read(&process.node) else { return };
            let wait = self.clock.soonest(&process.node, next.saturating_sub(now));
            let wait =
                if self.clock.is_cpu() { wait.max(SOONEST) } else { until_next(wait, setting.interval) };
            let timers = &process.system.timers;
            let mut deadline = timers.at(timers.now() + wait);
            let waker = Waker::from(self.clone());
            let due = Pin::new(&mut deadline).poll(&mut Context::from_waker(&waker)).is_ready();
            setting.deadline = (!due).then_some(deadline);
            drop(setting);
            if !due {
                return;
            }
            self.expire(&process);
        }
    }

    /// Sends the signal if the time has come.
    fn expire(&self, process: &Arc<Process>) {
        let Ok(now) = self.clock.read(&process.node) else { return };
        let _telling = self.telling.lock();
        let mut setting = self.setting.lock();
        let Some(next) = setting.next.filter(|next| *next <= now) else { return };
        let missed = match setting.interval.as_nanos() {
            0 => {
                setting.next = None;
                0
            }
            interval => {
                let missed = (now - next).as_nanos() / interval;
                let step = Duration::from_nanos(((missed + 1) * interval).min(u128::from(u64::MAX)) as u64);
                setting.next = Some(next.saturating_add(step));
                missed.min(i32::MAX as u128) as i32
            }
        };
        drop(setting);
        self.send(process, missed);
    }

    /// Sends the signal, or counts on the one that still waits.
    fn send(&self, process: &Arc<Process>, missed: i32) {
        let (thread, mut info) = match self.notice {
            Notice::None => return,
            Notice::Process(info) => (None, info),
            Notice::Thread(tid, info) => {
                let Some(thread) = process.node.thread(tid) else { return };
                (Some(thread), info)
            }
        };
        if let Details::Timer { id, overrun, .. } = &mut info.details {
            let waits = match &thread {
                Some(thread) => thread.add_overrun(*id, missed.saturating_add(1)),
                None => process.add_overrun(*id, missed.saturating_add(1)),
            };
            if waits {
                return;
            }
            *overrun = missed;
        }
        // A full queue loses it, as in Linux.
        let _ = match thread {
            Some(thread) => thread.signal(info),
            None => process.signal(info),
        };
    }
}

impl Wake for Timer {
    /// Its deadline came; called by the service core.
    fn wake(self: Arc<Self>) {
        let Some(process) = self.process.upgrade() else { return };
        self.setting.lock().deadline = None;
        self.expire(&process);
        self.arm();
    }
}
