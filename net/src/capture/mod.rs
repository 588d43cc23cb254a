//! Copies of the frames of an interface, for whoever wants to see them.
//!
//! A tap stands where frames come out of the device and where they go in, the ones the stack drops later or has to queue
//! included. Interfaces without a tap pay for one comparison per frame. The copies wait in a ring of fixed size: a reader who
//! is too slow loses frames, which are counted, and never holds up the network.

mod filter;

pub use filter::{Filter, FilterError};

use crate::registry::InterfaceId;
use crate::stack::{InterfaceError, Stack};
use alloc::collections::VecDeque;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::task::{Context, Poll, Waker};
use keelson_exec::Handle;
use keelson_hal::Instant;

/// Bytes of a record in the ring before those of the frame: when, length, bytes kept, direction.
const RECORD: usize = 8 + 4 + 4 + 1;

/// Where a frame went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Received.
    In,
    /// Sent. A frame that the device has to cut is seen whole, without its checksum.
    Out,
}

/// What is said of a captured frame beside its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Captured {
    /// When it passed.
    pub at: Instant,
    /// Its length on the wire, Ethernet header included, in bytes; more than were kept if there was a limit.
    pub len: usize,
    /// Where it went.
    pub direction: Direction,
}

/// What to capture.
#[derive(Clone, Debug)]
pub struct CaptureOptions {
    /// Which frames.
    pub filter: Filter,
    /// Bytes kept of each.
    pub snap_len: usize,
    /// Frames after which it ends.
    pub count: u64,
    /// Bytes that may wait for the reader. Taken at once.
    pub buffer: usize,
}

struct Tap {
    options: CaptureOptions,
    handle: Handle,
    ring: VecDeque<u8>,
    captured: u64,
    dropped: u64,
    waker: Option<Waker>,
}

impl Tap {
    fn record(&mut self, frame: &[u8], direction: Direction) {
        if self.captured == self.options.count || !self.options.filter.matches(frame) {
            return;
        }
        let kept = &frame[..frame.len().min(self.options.snap_len)];
        if self.ring.len() + RECORD + kept.len() > self.options.buffer {
            self.dropped += 1;
            return;
        }
        self.captured += 1;
        self.ring.extend(self.handle.now().as_nanos().to_le_bytes());
        self.ring.extend((frame.len() as u32).to_le_bytes());
        self.ring.extend((kept.len() as u32).to_le_bytes());
        self.ring.push_back(u8::from(direction == Direction::Out));
        self.ring.extend(kept);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        if self.ring.len() < N {
            return None;
        }
        let mut bytes = [0; N];
        self.ring.drain(..N).zip(&mut bytes).for_each(|(from, to)| *to = from);
        Some(bytes)
    }
}

/// The taps of one interface.
#[derive(Default)]
pub(crate) struct Taps(Vec<Weak<RefCell<Tap>>>);

impl Taps {
    /// Shows a frame to everyone who looks at the interface.
    #[inline]
    pub fn show(&mut self, frame: &[u8], direction: Direction) {
        if !self.0.is_empty() {
            self.record(frame, direction);
        }
    }

    #[cold]
    fn record(&mut self, frame: &[u8], direction: Direction) {
        self.0.retain(|tap| {
            let Some(tap) = tap.upgrade() else { return false };
            tap.borrow_mut().record(frame, direction);
            true
        });
    }
}

/// Frames of an interface as they pass, until it is dropped.
pub struct Capture {
    tap: Rc<RefCell<Tap>>,
}

impl Capture {
    /// Appends the next frame's bytes to `into` and says what is known of it; `None` when the wanted number has been read.
    pub fn poll_next(&mut self, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<Option<Captured>> {
        let tap = &mut *self.tap.borrow_mut();
        let Some(at) = tap.take::<8>() else {
            if tap.captured == tap.options.count {
                return Poll::Ready(None);
            }
            tap.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        // A record is in the ring whole or not at all.
        let (Some(len), Some(kept), Some([is_out])) = (tap.take::<4>(), tap.take::<4>(), tap.take::<1>())
        else {
            return Poll::Ready(None);
        };
        let kept = (u32::from_le_bytes(kept) as usize).min(tap.ring.len());
        into.extend(tap.ring.drain(..kept));
        Poll::Ready(Some(Captured {
            at: Instant::from_nanos(u64::from_le_bytes(at)),
            len: u32::from_le_bytes(len) as usize,
            direction: if is_out == 0 { Direction::In } else { Direction::Out },
        }))
    }

    /// Frames captured.
    pub fn captured(&self) -> u64 {
        self.tap.borrow().captured
    }

    /// Frames lost because they were not read in time.
    pub fn dropped(&self) -> u64 {
        self.tap.borrow().dropped
    }
}

impl Stack {
    /// Begins to copy the frames of an interface.
    ///
    /// # Errors
    ///
    /// When there is no such interface any more.
    pub fn capture(&self, id: InterfaceId, options: CaptureOptions) -> Result<Capture, InterfaceError> {
        let state = &mut *self.shared.state.borrow_mut();
        let nic =
            state.net.nics.get_mut(id.index()).filter(|nic| nic.attached).ok_or(InterfaceError::Gone)?;
        let tap = Rc::new(RefCell::new(Tap {
            ring: VecDeque::with_capacity(options.buffer),
            options,
            handle: self.shared.handle.clone(),
            captured: 0,
            dropped: 0,
            waker: None,
        }));
        nic.taps.0.push(Rc::downgrade(&tap));
        Ok(Capture { tap })
    }
}
