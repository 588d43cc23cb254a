//! Time calls (section 3.10).

use super::{Caller, put_words};
use crate::Errno;
use crate::clocks::{self, Clock};
use crate::mm::Mm;
use crate::ptimers::{Interval, Notice};
use crate::signals::{Details, SI_TIMER, SIGALRM, SigInfo, is_signal};
use crate::thread::{Thread, Wait};
use core::time::Duration;
use keelson_hal::Instant;

/// `TIMER_ABSTIME`.
const ABSOLUTE: u64 = 1;
/// Nanoseconds of a clock tick (`AT_CLKTCK` is 100).
const TICK: u64 = 10_000_000;
/// Bytes of `struct timex`.
const TIMEX: usize = 208;

/// `struct timespec` in memory; EINVAL unless it is a span of time.
pub(crate) fn read_timespec(mm: &Mm, at: u64) -> Result<Duration, Errno> {
    let (seconds, nanos) = pair(mm, at)?;
    if seconds > i64::MAX as u64 || nanos >= 1_000_000_000 {
        return Err(Errno::EINVAL);
    }
    Ok(Duration::new(seconds, nanos as u32))
}

fn read_timeval(mm: &Mm, at: u64) -> Result<Duration, Errno> {
    let (seconds, micros) = pair(mm, at)?;
    if seconds > i64::MAX as u64 || micros >= 1_000_000 {
        return Err(Errno::EINVAL);
    }
    Ok(Duration::new(seconds, micros as u32 * 1000))
}

fn pair(mm: &Mm, at: u64) -> Result<(u64, u64), Errno> {
    let mut bytes = [[0; 8]; 2];
    mm.read(at, bytes.as_flattened_mut())?;
    Ok((u64::from_le_bytes(bytes[0]), u64::from_le_bytes(bytes[1])))
}

fn timespec(time: Duration) -> [u64; 2] {
    [time.as_secs(), u64::from(time.subsec_nanos())]
}

fn timeval(time: Duration) -> [u64; 2] {
    [time.as_secs(), u64::from(time.subsec_micros())]
}

/// The moment after `span`.
pub(crate) fn after(thread: &Thread, span: Duration) -> Instant {
    clocks::after(&thread.process.node, span)
}

/// The moment at which the wall clock, or the monotonic one, shows `time`.
pub(crate) fn moment(thread: &Thread, wall: bool, time: Duration) -> Instant {
    let clock = if wall { Clock::Wall } else { Clock::Monotonic };
    clock.moment(&thread.process.node, time)
}

/// clock_gettime without a detour, for the clocks that only need a look at the machine's.
pub(super) fn quick_clock(thread: &Thread, mm: &Mm, args: [u64; 2]) -> Option<u64> {
    let clock = &thread.process.system.clock;
    let time = match args[0] as i32 {
        0 | 5 => clock.wall(),
        1 | 4 | 6 | 7 => clock.now().saturating_since(Instant::ZERO),
        _ => return None,
    };
    quick_put(mm, args[1], timespec(time))
}

/// gettimeofday without a time zone.
pub(super) fn quick_timeofday(thread: &Thread, mm: &Mm, at: u64) -> Option<u64> {
    quick_put(mm, at, timeval(thread.process.system.clock.wall()))
}

fn quick_put(mm: &Mm, at: u64, words: [u64; 2]) -> Option<u64> {
    let bytes = words.map(u64::to_le_bytes);
    // Through the page tables only; what is not there yet is for the long way.
    mm.space().write(at, bytes.as_flattened()).ok().map(|()| 0)
}

/// clock_gettime(clock, time).
pub fn sys_clock_gettime(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let time = Clock::of(args[0] as i32, caller.thread)?.read(&caller.thread.process.node)?;
    put_words(&caller.mm(), args[1], &timespec(time))?;
    Ok(0)
}

/// clock_getres(clock, resolution).
pub fn sys_clock_getres(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    Clock::of(args[0] as i32, caller.thread)?.read(&caller.thread.process.node)?;
    if args[1] != 0 {
        put_words(&caller.mm(), args[1], &[0, 1])?;
    }
    Ok(0)
}

/// gettimeofday(time, zone).
pub fn sys_gettimeofday(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let mm = caller.mm();
    if args[0] != 0 {
        put_words(&mm, args[0], &timeval(caller.thread.process.system.clock.wall()))?;
    }
    if args[1] != 0 {
        // struct timezone: nobody sets it.
        mm.write(args[1], &[0; 8])?;
    }
    Ok(0)
}

/// time(seconds).
pub fn sys_time(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let seconds = caller.thread.process.system.clock.wall().as_secs();
    if args[0] != 0 {
        put_words(&caller.mm(), args[0], &[seconds])?;
    }
    Ok(seconds)
}

/// times(buffer).
pub fn sys_times(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let process = &caller.thread.process;
    let ticks = |time: Duration| (time.as_nanos() / u128::from(TICK)) as u64;
    let (own, children) = (process.usage(), process.children_usage());
    if args[0] != 0 {
        let words = [own.user, own.system, children.user, children.system].map(ticks);
        put_words(&caller.mm(), args[0], &words)?;
    }
    Ok(process.system.clock.now().as_nanos() / TICK)
}

/// nanosleep(span, rest).
pub async fn sys_nanosleep(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let mm = caller.mm();
    let end = after(caller.thread, read_timespec(&mm, args[0])?);
    sleep(caller, &mm, end, args[1]).await
}

/// clock_nanosleep(clock, flags, time, rest).
pub async fn sys_clock_nanosleep(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [id, flags, time, rest, ..] = args;
    let (thread, mm) = (caller.thread, caller.mm());
    // Raw and coarse clocks, and the caller's own by its short name, are there to be read only.
    if matches!(id as i32, 3..=6) {
        return Err(Errno::EOPNOTSUPP);
    }
    let clock = Clock::of(id as i32, thread)?;
    let time = read_timespec(&mm, time)?;
    if clock == (Clock::Cpu { id: thread.tid, thread: true, user_only: false }) {
        // While it sleeps its own clock stands still.
        return Err(Errno::EINVAL);
    }
    let node = &thread.process.node;
    clock.read(node)?;
    if clock.is_cpu() {
        return sleep_cpu(caller, clock, time, flags & ABSOLUTE != 0).await;
    }
    if flags & ABSOLUTE != 0 {
        sleep(caller, &mm, clock.moment(node, time), 0).await
    } else {
        sleep(caller, &mm, after(thread, time), rest).await
    }
}

async fn sleep(caller: &Caller<'_>, mm: &Mm, end: Instant, rest: u64) -> Result<u64, Errno> {
    let timers = &caller.thread.process.system.timers;
    if caller.thread.wait_for(Wait::Heavy, timers.at(end)).await.is_ok() {
        return Ok(0);
    }
    if rest != 0 {
        put_words(mm, rest, &timespec(end.saturating_since(timers.now())))?;
    }
    Err(Errno::EINTR)
}

/// Sleeps until others have used CPU time.
async fn sleep_cpu(caller: &Caller<'_>, clock: Clock, time: Duration, absolute: bool) -> Result<u64, Errno> {
    let node = &caller.thread.process.node;
    let end = if absolute { time } else { clock.read(node)?.saturating_add(time) };
    loop {
        let Some(left) = end.checked_sub(clock.read(node)?).filter(|left| !left.is_zero()) else {
            return Ok(0);
        };
        let wait = clock.soonest(node, left).max(Duration::from_millis(1));
        let next = after(caller.thread, wait);
        let timers = &caller.thread.process.system.timers;
        caller.thread.wait_for(Wait::Heavy, timers.at(next)).await.map_err(|_| Errno::EINTR)?;
    }
}

fn read_itimerval(mm: &Mm, at: u64) -> Result<Interval, Errno> {
    Ok(Interval { interval: read_timeval(mm, at)?, value: read_timeval(mm, at.wrapping_add(16))? })
}

fn put_itimerval(mm: &Mm, at: u64, timer: Interval) -> Result<(), Errno> {
    // Less than the resolution is not nothing.
    let value = if timer.value.is_zero() { timer.value } else { timer.value.max(Duration::from_micros(1)) };
    let ([a, b], [c, d]) = (timeval(timer.interval), timeval(value));
    put_words(mm, at, &[a, b, c, d])
}

/// getitimer(which, value).
pub fn sys_getitimer(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let process = &caller.thread.process;
    let timer = process.timers.interval(process, args[0] as usize)?;
    put_itimerval(&caller.mm(), args[1], timer.get(process))?;
    Ok(0)
}

/// setitimer(which, new, old).
pub fn sys_setitimer(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let process = &caller.thread.process;
    let mm = caller.mm();
    // A null pointer turns it off, in Linux at least.
    let new = if args[1] == 0 { Interval::default() } else { read_itimerval(&mm, args[1])? };
    let old = process.timers.interval(process, args[0] as usize)?.set(process, new, false)?;
    if args[2] != 0 {
        put_itimerval(&mm, args[2], old)?;
    }
    Ok(0)
}

/// alarm(seconds).
pub fn sys_alarm(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let process = &caller.thread.process;
    let value = Duration::from_secs(args[0] & 0xffff_ffff);
    let new = Interval { value, interval: Duration::ZERO };
    let left = process.timers.interval(process, 0)?.set(process, new, false)?.value;
    // Rounded, but never to zero while it runs (alarm(2)).
    let rounded = left.as_secs() + u64::from(left.subsec_nanos() >= 500_000_000);
    Ok(if left.is_zero() { 0 } else { rounded.max(1) })
}

/// timer_create(clock, event, id).
pub fn sys_timer_create(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [clock, event, at, ..] = args;
    let (thread, mm) = (caller.thread, caller.mm());
    let process = &thread.process;
    let clock = Clock::of(clock as i32, thread)?;
    clock.read(&process.node)?;
    let (mut signal, mut notify, mut target, mut value) = (SIGALRM, 0, 0, None);
    if event != 0 {
        // struct sigevent: value, signal, kind of notice, thread.
        let (first, second) = pair(&mm, event)?;
        let mut tid = [0; 4];
        mm.read(event.wrapping_add(16), &mut tid)?;
        (value, signal, notify) = (Some(first), second as u32, (second >> 32) as u32);
        target = u32::from_le_bytes(tid);
    }
    if notify != SIGEV_NONE && !is_signal(signal) {
        return Err(Errno::EINVAL);
    }
    if notify == SIGEV_THREAD_ID {
        let thread = process.node.thread(target).filter(|other| other.process.pid == process.pid);
        thread.ok_or(Errno::EINVAL)?;
    }
    // SIGEV_THREAD is the C library's business: to the kernel it is a signal.
    if !matches!(notify, SIGEV_SIGNAL | SIGEV_NONE | SIGEV_THREAD | SIGEV_THREAD_ID) {
        return Err(Errno::EINVAL);
    }
    let id = process.timers.create(process, clock, |id| {
        let details = Details::Timer { id, overrun: 0, value: value.unwrap_or(id as u64) };
        let info = SigInfo { signal, errno: 0, code: SI_TIMER, details };
        match notify {
            SIGEV_NONE => Notice::None,
            SIGEV_THREAD_ID => Notice::Thread(target, info),
            _ => Notice::Process(info),
        }
    })?;
    if let Err(errno) = mm.write(at, &id.to_le_bytes()) {
        process.timers.delete(id)?;
        return Err(errno);
    }
    Ok(0)
}

const SIGEV_SIGNAL: u32 = 0;
const SIGEV_NONE: u32 = 1;
const SIGEV_THREAD: u32 = 2;
const SIGEV_THREAD_ID: u32 = 4;

fn put_itimerspec(mm: &Mm, at: u64, timer: Interval) -> Result<(), Errno> {
    let ([a, b], [c, d]) = (timespec(timer.interval), timespec(timer.value));
    put_words(mm, at, &[a, b, c, d])
}

/// timer_settime(id, flags, new, old).
pub fn sys_timer_settime(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [id, flags, new, old, ..] = args;
    let process = &caller.thread.process;
    let mm = caller.mm();
    if new == 0 {
        return Err(Errno::EINVAL);
    }
    let interval = read_timespec(&mm, new)?;
    let value = read_timespec(&mm, new.wrapping_add(16))?;
    let timer = process.timers.get(id as i32)?;
    let before = timer.set(process, Interval { value, interval }, flags & ABSOLUTE != 0)?;
    if old != 0 {
        put_itimerspec(&mm, old, before)?;
    }
    Ok(0)
}

/// timer_gettime(id, value).
pub fn sys_timer_gettime(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let process = &caller.thread.process;
    let timer = process.timers.get(args[0] as i32)?;
    put_itimerspec(&caller.mm(), args[1], timer.get(process))?;
    Ok(0)
}

/// timer_getoverrun(id).
pub fn sys_timer_getoverrun(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    Ok(caller.thread.process.timers.get(args[0] as i32)?.overrun() as u64)
}

/// timer_delete(id).
pub fn sys_timer_delete(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    caller.thread.process.timers.delete(args[0] as i32)?;
    Ok(0)
}

/// adjtimex(timex) and clock_adjtime(clock, timex): the time can be asked for, not changed.
pub fn sys_adjtimex(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    let at = if number == 159 {
        args[0]
    } else {
        if Clock::of(args[0] as i32, caller.thread)? != Clock::Wall {
            return Err(Errno::EOPNOTSUPP);
        }
        args[1]
    };
    let mm = caller.mm();
    let mut modes = [0; 4];
    mm.read(at, &mut modes)?;
    if modes != [0; 4] {
        return Err(Errno::EPERM);
    }
    let mut bytes = [0; TIMEX];
    let mut put = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    let wall = caller.thread.process.system.clock.wall();
    // status: STA_UNSYNC; time; microseconds per tick.
    put(40, 0x40);
    put(72, wall.as_secs());
    put(80, u64::from(wall.subsec_micros()));
    put(88, 10_000);
    mm.write(at, &bytes)?;
    // TIME_ERROR: nothing synchronises the clock.
    Ok(5)
}
