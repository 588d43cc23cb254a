//! Waiting for many files: poll, select, epoll (sections 4.2 and 5.8).

use super::Caller;
use super::objects::read_timespec;
use crate::Errno;
use crate::files::flags::O_CLOEXEC;
use crate::files::{Description, Epoll, Events, FdFlags};
use crate::mm::Mm;
use crate::restart::NO_HANDLER;
use crate::room;
use crate::signals::SigSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;
use keelson_hal::Instant;

/// How long a poll that must not wait gives the host to say for the first time what holds for a handle.
const FIRST_ANSWER: Duration = Duration::from_millis(500);

/// How long to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Patience {
    /// Not at all.
    None,
    /// Until then.
    Until(Instant),
    /// For ever.
    Endless,
}

impl Patience {
    /// `milliseconds` of poll(2): negative is endless.
    fn of_milliseconds(caller: &Caller<'_>, milliseconds: i32) -> Patience {
        match u64::try_from(milliseconds) {
            Err(_) => Patience::Endless,
            Ok(milliseconds) => Patience::of_span(caller, Duration::from_millis(milliseconds)),
        }
    }

    fn of_span(caller: &Caller<'_>, span: Duration) -> Patience {
        match span.is_zero() {
            true => Patience::None,
            false => Patience::Until(caller.thread.process.system.timers.now() + span),
        }
    }

    /// A timespec, or NULL for endless.
    fn of_timespec(caller: &Caller<'_>, mm: &Mm, at: u64) -> Result<Patience, Errno> {
        match at {
            0 => Ok(Patience::Endless),
            at => Ok(Patience::of_span(caller, read_timespec(mm, at)?)),
        }
    }

    fn left(self, now: Instant) -> Duration {
        match self {
            Patience::Until(at) => at - now,
            _ => Duration::ZERO,
        }
    }
}

/// Waits until `ready` finds something or the patience is over: then 0.
async fn wait(
    caller: &Caller<'_>,
    patience: Patience,
    mut ready: impl FnMut(&mut Context<'_>) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let deadline = match patience {
        Patience::None => Instant::ZERO,
        Patience::Until(at) => at,
        Patience::Endless => Instant::FAR_FUTURE,
    };
    let mut alarm = pin!(caller.thread.process.system.timers.at(deadline));
    let found = poll_fn(|cx| match ready(cx) {
        Ok(0) => alarm.as_mut().poll(cx).map(|()| Ok(0)),
        done => Poll::Ready(done),
    });
    caller.thread.interruptible(found).await.unwrap_or(Err(NO_HANDLER))
}

/// A file that is waited for.
struct Item {
    description: Option<Arc<Description>>,
    wanted: Events,
    found: Events,
}

impl Item {
    fn look(&mut self, tid: u32) -> bool {
        self.found = match &self.description {
            None => Events::NVAL,
            Some(description) => description.file().events_for(tid) & (self.wanted | Events::ALWAYS),
        };
        !self.found.is_empty()
    }
}

fn descriptions(items: &[Item]) -> Result<Vec<Arc<Description>>, Errno> {
    let mut list = room::with_room(items.len())?;
    list.extend(items.iter().filter_map(|item| item.description.clone()));
    Ok(list)
}

/// Waits for any of the items; how many have something.
async fn wait_for(caller: &Caller<'_>, items: &mut [Item], patience: Patience) -> Result<usize, Errno> {
    for item in items.iter() {
        if let Some(description) = &item.description {
            description.file().expect(item.wanted);
        }
    }
    if patience == Patience::None {
        settle(caller, &descriptions(items)?).await;
    }
    wait(caller, patience, |cx| {
        for item in items.iter().filter(|_| patience != Patience::None) {
            if let Some(queue) = item.description.as_ref().and_then(|description| description.file().queue())
            {
                queue.register(cx);
            }
        }
        Ok(items.iter_mut().map(|item| item.look(caller.thread.tid)).filter(|found| *found).count())
    })
    .await
}

/// Waits until the host has said what holds for handles that were not looked at before.
pub(super) async fn settle(caller: &Caller<'_>, files: &[Arc<Description>]) {
    if files.iter().all(|file| file.file().settled()) {
        return;
    }
    let patience = Patience::of_span(caller, FIRST_ANSWER);
    // When it says nothing in time, nothing holds.
    let _ = wait(caller, patience, |cx| {
        for file in files {
            if let Some(queue) = file.file().queue() {
                queue.register(cx);
            }
        }
        Ok(usize::from(files.iter().all(|file| file.file().settled())))
    })
    .await;
}

/// Blocks the signals of a set for the time of the call; none for a NULL pointer.
fn with_mask(caller: &Caller<'_>, mm: &Mm, at: u64, size: u64) -> Result<(), Errno> {
    if at == 0 {
        return Ok(());
    }
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    caller.thread.replace_mask(SigSet(mm.read_u64(at)?));
    Ok(())
}

/// poll(fds, count, milliseconds).
pub async fn sys_poll(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    poll(caller, args[0], args[1], Patience::of_milliseconds(caller, args[2] as i32)).await
}

/// ppoll(fds, count, timeout, mask, size).
pub async fn sys_ppoll(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let mm = caller.mm();
    let patience = Patience::of_timespec(caller, &mm, args[2])?;
    with_mask(caller, &mm, args[3], args[4])?;
    let result = poll(caller, args[0], args[1], patience).await;
    caller.thread.restore_mask();
    store_left(caller, &mm, args[2], patience, 1);
    result
}

/// Linux tells how much of the time was left, and ignores when it cannot.
fn store_left(caller: &Caller<'_>, mm: &Mm, at: u64, patience: Patience, unit: u64) {
    if at != 0 {
        let left = patience.left(caller.thread.process.system.timers.now());
        let words = [left.as_secs(), u64::from(left.subsec_nanos()) / unit];
        let _ = super::put_words(mm, at, &words);
    }
}

async fn poll(caller: &Caller<'_>, at: u64, count: u64, patience: Patience) -> Result<u64, Errno> {
    let (files, mm) = (caller.thread.process.files(), caller.mm());
    if count > u64::from(files.limit()) {
        return Err(Errno::EINVAL);
    }
    let mut raw = super::request::read_bytes(&mm, at, count * 8)?;
    let mut items: Vec<Item> = room::with_room(count as usize)?;
    let mut places = room::with_room(count as usize)?;
    for (index, entry) in raw.chunks_exact_mut(8).enumerate() {
        let fd = i32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        let wanted = Events(u32::from(u16::from_le_bytes([entry[4], entry[5]])));
        entry[6..].fill(0);
        if let Ok(fd) = u32::try_from(fd) {
            let description = files.get_open(fd).ok();
            items.push(Item { description, wanted, found: Events::NONE });
            places.push(index);
        }
    }
    let ready = wait_for(caller, &mut items, patience).await?;
    for (item, index) in items.iter().zip(places) {
        raw[index * 8 + 6..index * 8 + 8].copy_from_slice(&(item.found.0 as u16).to_le_bytes());
    }
    mm.write(at, &raw)?;
    Ok(ready as u64)
}

/// select(count, read, write, except, timeval).
pub async fn sys_select(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let mm = caller.mm();
    let patience = match args[4] {
        0 => Patience::Endless,
        at => {
            let (seconds, micros) = (mm.read_u64(at)?, mm.read_u64(at.wrapping_add(8))?);
            if seconds > i64::MAX as u64 || micros > i64::MAX as u64 {
                return Err(Errno::EINVAL);
            }
            let span = Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros));
            Patience::of_span(caller, span)
        }
    };
    let result = select(caller, &mm, args, patience).await;
    store_left(caller, &mm, args[4], patience, 1000);
    result
}

/// pselect6(count, read, write, except, timespec, mask and size).
pub async fn sys_pselect6(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let mm = caller.mm();
    let patience = Patience::of_timespec(caller, &mm, args[4])?;
    if args[5] != 0 {
        let (mask, size) = (mm.read_u64(args[5])?, mm.read_u64(args[5].wrapping_add(8))?);
        with_mask(caller, &mm, mask, size)?;
    }
    let result = select(caller, &mm, args, patience).await;
    caller.thread.restore_mask();
    store_left(caller, &mm, args[4], patience, 1);
    result
}

/// What select(2) counts as readable, writable, exceptional.
const SELECT: [Events; 3] = [
    Events(Events::READABLE.0 | 0x80 | Events::ALWAYS.0),
    Events(Events::WRITABLE.0 | 0x200 | Events::ERR.0),
    Events::PRI,
];

async fn select(caller: &Caller<'_>, mm: &Mm, args: [u64; 6], patience: Patience) -> Result<u64, Errno> {
    let files = caller.thread.process.files();
    let count = u32::try_from(args[0] as i32).map_err(|_| Errno::EINVAL)?.min(files.limit());
    let bytes = (count as usize).div_ceil(64) * 8;
    let mut sets: [Vec<u8>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    for (set, &at) in sets.iter_mut().zip(&args[1..4]) {
        *set = if at == 0 { room::zeros(bytes)? } else { super::request::read_bytes(mm, at, bytes as u64)? };
    }
    let has = |set: &[u8], fd: u32| set[fd as usize / 8] >> (fd % 8) & 1 != 0;
    let (mut items, mut numbers) = (Vec::new(), Vec::new());
    for fd in 0..count {
        let wanted = sets.iter().zip(SELECT).filter(|(set, _)| has(set, fd));
        let wanted = wanted.fold(Events::NONE, |all, (_, events)| all | events);
        if !wanted.is_empty() {
            let description = Some(files.get_open(fd)?);
            room::push(&mut items, Item { description, wanted, found: Events::NONE })?;
            room::push(&mut numbers, fd)?;
        }
    }
    // An error or hang-up of a file counts only when a set that it belongs to was asked for.
    let found = {
        for item in &items {
            if let Some(description) = &item.description {
                description.file().expect(item.wanted);
            }
        }
        if patience == Patience::None {
            settle(caller, &descriptions(&items)?).await;
        }
        wait(caller, patience, |cx| {
            for item in items.iter().filter(|_| patience != Patience::None) {
                if let Some(queue) = item.description.as_ref().and_then(|found| found.file().queue()) {
                    queue.register(cx);
                }
            }
            let look = |item: &mut Item| {
                item.look(caller.thread.tid);
                item.found = item.found & item.wanted;
                !item.found.is_empty()
            };
            Ok(items.iter_mut().map(look).filter(|found| *found).count())
        })
        .await?
    };
    let (mut results, mut total) = ([room::zeros(bytes)?, room::zeros(bytes)?, room::zeros(bytes)?], 0);
    if found > 0 {
        for (item, &fd) in items.iter().zip(&numbers) {
            for ((result, set), events) in results.iter_mut().zip(&sets).zip(SELECT) {
                if has(set, fd) && item.found.intersects(events) {
                    result[fd as usize / 8] |= 1 << (fd % 8);
                    total += 1;
                }
            }
        }
    }
    for (result, &at) in results.iter().zip(&args[1..4]).filter(|(_, at)| **at != 0) {
        mm.write(at, result)?;
    }
    Ok(total)
}

/// epoll_create(size) and epoll_create1(flags).
pub fn sys_epoll_create1(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let flags = args[0] as u32;
    if flags & !O_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let files = caller.thread.process.files();
    let set = Arc::new(Epoll::new(&files.vfs().watches));
    let description = Description::new(set, crate::files::flags::O_RDWR);
    files.insert(description, FdFlags::of(flags)).map(u64::from)
}

/// epoll_create(size): the size has no meaning but must be positive.
pub fn sys_epoll_create(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if args[0] as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    sys_epoll_create1(caller, [0; 6])
}

/// epoll_ctl(set, operation, fd, event).
pub async fn sys_epoll_ctl(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    const ADD: u32 = 1;
    const REMOVE: u32 = 2;
    const MODIFY: u32 = 3;
    let (files, fd) = (caller.thread.process.files(), args[2] as u32);
    let mut event = [0; 12];
    if args[1] as u32 != REMOVE {
        caller.mm().read(args[3], &mut event)?;
    }
    let interest = u32::from_le_bytes([event[0], event[1], event[2], event[3]]);
    let data = u64::from_le_bytes(core::array::from_fn(|index| event[4 + index]));
    let set = files.get_open(args[0] as u32)?;
    let description = files.get_open(fd)?;
    let epoll = set.file().as_any().downcast_ref::<Epoll>().ok_or(Errno::EINVAL)?;
    match args[1] as u32 {
        ADD => epoll.add(caller.thread.tid, fd, &description, interest, data)?,
        REMOVE => return epoll.remove(fd, &description).map(|()| 0),
        MODIFY => epoll.modify(caller.thread.tid, fd, &description, interest, data)?,
        _ => return Err(Errno::EINVAL),
    }
    // So that a wait without patience finds what holds already.
    settle(caller, &[description]).await;
    Ok(0)
}

/// epoll_wait(set, events, most, milliseconds).
pub async fn sys_epoll_wait(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    epoll_wait(caller, args, Patience::of_milliseconds(caller, args[3] as i32)).await
}

/// epoll_pwait(set, events, most, milliseconds, mask, size).
pub async fn sys_epoll_pwait(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    with_mask(caller, &caller.mm(), args[4], args[5])?;
    let result = sys_epoll_wait(caller, args).await;
    caller.thread.restore_mask();
    result
}

/// epoll_pwait2(set, events, most, timespec, mask, size).
pub async fn sys_epoll_pwait2(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let mm = caller.mm();
    let patience = Patience::of_timespec(caller, &mm, args[3])?;
    with_mask(caller, &mm, args[4], args[5])?;
    let result = epoll_wait(caller, args, patience).await;
    caller.thread.restore_mask();
    result
}

async fn epoll_wait(caller: &Caller<'_>, args: [u64; 6], patience: Patience) -> Result<u64, Errno> {
    /// EP_MAX_EVENTS: so that their bytes can be counted.
    const MOST: i32 = i32::MAX / 12;
    let most = args[2] as i32;
    if !(1..=MOST).contains(&most) {
        return Err(Errno::EINVAL);
    }
    let (set, mm) = (caller.thread.process.files().get_open(args[0] as u32)?, caller.mm());
    let epoll = set.file().as_any().downcast_ref::<Epoll>().ok_or(Errno::EINVAL)?;
    let mut waiting = None;
    let found = wait(caller, patience, |cx| {
        if patience != Patience::None {
            waiting.get_or_insert_with(|| epoll.wait());
            epoll.register(cx);
        }
        let mut at = args[1];
        epoll.collect(caller.thread.tid, most as usize, |events, data| {
            let mut event = [0; 12];
            event[..4].copy_from_slice(&events.0.to_le_bytes());
            event[4..].copy_from_slice(&data.to_le_bytes());
            mm.write(at, &event)?;
            at = at.wrapping_add(12);
            Ok(())
        })
    });
    found.await.map(|found| found as u64)
}
