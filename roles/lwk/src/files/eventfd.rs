//! Counters that can be waited for (eventfd(2)).

use super::{Events, File, Operation, Source, Stat, Target, WaitQueue};
use crate::Errno;
use alloc::string::String;
use core::any::Any;
use core::task::{Context, Poll};
use spin::Mutex;

/// A counter. A read takes it all, or with `semaphore` one.
pub struct EventFd {
    count: Mutex<u64>,
    semaphore: bool,
    queue: WaitQueue,
    inode: u64,
}

/// The highest value.
const MOST: u64 = u64::MAX - 1;

impl EventFd {
    /// A counter at `count`.
    pub fn new(count: u32, semaphore: bool) -> EventFd {
        let count = Mutex::new(count.into());
        EventFd { count, semaphore, queue: WaitQueue::new(), inode: super::next_inode() }
    }
}

impl File for EventFd {
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        _at: Option<u64>,
        into: &mut dyn Target,
    ) -> Poll<Result<usize, Errno>> {
        if into.left() < 8 {
            return Poll::Ready(Err(Errno::EINVAL));
        }
        let mut count = self.count.lock();
        if *count == 0 {
            self.queue.register(cx);
            return operation.wait();
        }
        let taken = if self.semaphore { 1 } else { *count };
        *count -= taken;
        drop(count);
        self.queue.notify(Events::WRITABLE);
        let stored = into.put(&taken.to_le_bytes()) == 8;
        Poll::Ready(if stored { Ok(8) } else { Err(Errno::EFAULT) })
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        _at: Option<u64>,
        from: &mut dyn Source,
    ) -> Poll<Result<usize, Errno>> {
        // The value is only looked at: the call may have to wait and come again.
        let mut bytes = [0; 8];
        if from.left() < 8 {
            return Poll::Ready(Err(Errno::EINVAL));
        }
        let Some(look) = from.peek(&mut bytes) else { return Poll::Ready(Err(Errno::EFAULT)) };
        let add = u64::from_le_bytes(bytes);
        if add == u64::MAX || look != 8 {
            return Poll::Ready(Err(Errno::EINVAL));
        }
        let mut count = self.count.lock();
        if add > MOST - *count {
            self.queue.register(cx);
            return operation.wait();
        }
        *count += add;
        drop(count);
        if add > 0 {
            self.queue.notify(Events::READABLE);
        }
        Poll::Ready(Ok(8))
    }

    fn stat(&self) -> Stat {
        Stat { mode: 0o600, links: 1, ..super::anonymous(self.inode) }
    }

    fn name(&self) -> String {
        String::from("anon_inode:[eventfd]")
    }

    fn events(&self) -> Events {
        let count = *self.count.lock();
        Events::READABLE.when(count > 0) | Events::WRITABLE.when(count < MOST)
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::flags::O_NONBLOCK;
    use crate::files::{BytesSource, BytesTarget};
    use core::task::Waker;

    fn add(file: &EventFd, value: u64) -> Poll<Result<usize, Errno>> {
        let cx = &mut Context::from_waker(Waker::noop());
        file.poll_write(cx, &mut Operation::new(1, 0), None, &mut BytesSource(&value.to_le_bytes()))
    }

    fn take(file: &EventFd, flags: u32) -> Poll<Result<u64, Errno>> {
        let (mut into, cx) = ([0; 8], &mut Context::from_waker(Waker::noop()));
        let done = file.poll_read(cx, &mut Operation::new(1, flags), None, &mut BytesTarget::new(&mut into));
        done.map_ok(|_| u64::from_le_bytes(into))
    }

    #[test]
    fn counts() {
        let file = EventFd::new(2, false);
        assert_eq!(add(&file, 5), Poll::Ready(Ok(8)));
        assert_eq!(file.events(), Events::READY);
        assert_eq!(take(&file, 0), Poll::Ready(Ok(7)));
        assert_eq!(take(&file, 0), Poll::Pending);
        assert_eq!(take(&file, O_NONBLOCK), Poll::Ready(Err(Errno::EAGAIN)));
        assert_eq!(add(&file, MOST), Poll::Ready(Ok(8)));
        assert_eq!(file.events(), Events::READABLE);
        assert_eq!(add(&file, 1), Poll::Pending);
        assert_eq!(add(&file, u64::MAX), Poll::Ready(Err(Errno::EINVAL)));
        let semaphore = EventFd::new(2, true);
        assert_eq!(take(&semaphore, 0), Poll::Ready(Ok(1)));
        assert_eq!(take(&semaphore, 0), Poll::Ready(Ok(1)));
        assert_eq!(take(&semaphore, 0), Poll::Pending);
    }
}
