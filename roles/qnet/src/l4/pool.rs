//! Memory of messages that arrive: contiguous buffers of a few sizes, kept for reuse.
//!
//! How much may be in use is decided by whoever takes a buffer (`receive`): each connection has a share. What is kept
//! on the shelves is bounded here.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use keelson_qnet_wire::Endian;

/// Sizes of buffers. One frame; the 8 KiB that come with a send; the 64 KiB of a read with their head; sizes between
/// them; above these the largest message that is accepted.
const CLASSES: [usize; 6] = [2048, 4608, 9216, 18_432, 34_816, 67_584];

/// Where buffers come from and go back to.
pub struct Pool {
    shelves: [RefCell<Vec<Box<[u8]>>>; CLASSES.len() + 1],
    largest: usize,
    /// Bytes that the shelves may hold.
    keep: usize,
    shelved: Cell<usize>,
    lent: Cell<usize>,
}

impl Pool {
    /// An empty pool for messages of at most `max_msg` bytes, which keeps `keep` bytes for reuse.
    pub fn new(max_msg: usize, keep: usize) -> Rc<Pool> {
        let shelves = core::array::from_fn(|_| RefCell::default());
        Rc::new(Pool { shelves, largest: max_msg, keep, shelved: Cell::new(0), lent: Cell::new(0) })
    }

    /// Bytes that a buffer for `len` bytes has; `None` when no message is that long.
    pub fn room_for(&self, len: usize) -> Option<usize> {
        let class = CLASSES.into_iter().find(|class| *class >= len);
        class.map(|class| class.min(self.largest)).or(Some(self.largest)).filter(|room| *room >= len)
    }

    /// A buffer of at least `len` bytes, whose content is whatever was in it before.
    pub fn take(self: &Rc<Pool>, len: usize) -> Option<Buffer> {
        let room = self.room_for(len)?;
        let shelf = CLASSES.into_iter().position(|class| class >= len).unwrap_or(CLASSES.len());
        let shelved = self.shelves.get(shelf).and_then(|shelf| shelf.borrow_mut().pop());
        let bytes = match shelved {
            Some(bytes) => {
                self.shelved.set(self.shelved.get().saturating_sub(room));
                bytes
            }
            None => vec![0; room].into_boxed_slice(),
        };
        self.lent.set(self.lent.get() + room);
        Some(Buffer { bytes, shelf, home: self.clone() })
    }

    /// Bytes of all buffers in use.
    pub fn lent(&self) -> usize {
        self.lent.get()
    }

    /// Bytes kept for reuse.
    pub fn shelved(&self) -> usize {
        self.shelved.get()
    }
}

/// A buffer, which goes back to its pool when dropped.
pub struct Buffer {
    bytes: Box<[u8]>,
    shelf: usize,
    home: Rc<Pool>,
}

impl Buffer {
    /// Bytes it has room for.
    pub fn room(&self) -> usize {
        self.bytes.len()
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = core::mem::take(&mut self.bytes);
        let pool = &self.home;
        pool.lent.set(pool.lent.get().saturating_sub(bytes.len()));
        let shelved = pool.shelved.get() + bytes.len();
        if let Some(shelf) = pool.shelves.get(self.shelf).filter(|_| shelved <= pool.keep) {
            pool.shelved.set(shelved);
            shelf.borrow_mut().push(bytes);
        }
    }
}

/// A message that arrived whole. Its memory is given back when it is dropped.
pub struct RxMessage {
    pub(crate) buffer: Buffer,
    pub(crate) len: usize,
    pub(crate) endian: Endian,
}

impl RxMessage {
    /// The message's bytes, in one piece.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.bytes().get(..self.len).unwrap_or_default()
    }

    /// Forgets what is behind `len` bytes. What is left moves to a smaller buffer, if there is one.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        let pool = self.buffer.home.clone();
        let smaller = pool.room_for(self.len).filter(|room| *room < self.buffer.room());
        let Some(mut buffer) = smaller.and_then(|_| pool.take(self.len)) else { return };
        if let Some(room) = buffer.bytes_mut().get_mut(..self.len) {
            room.copy_from_slice(self.bytes());
        }
        self.buffer = buffer;
    }

    /// Byte order of the node that sent it.
    pub fn endian(&self) -> Endian {
        self.endian
    }
}

impl fmt::Debug for RxMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message of {} bytes", self.len)
    }
}

impl PartialEq for RxMessage {
    fn eq(&self, other: &RxMessage) -> bool {
        self.bytes() == other.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_go_around() {
        let pool = Pool::new(131_072, 5000);
        assert_eq!(pool.room_for(0), Some(2048));
        assert_eq!(pool.room_for(67_585), Some(131_072));
        assert_eq!(pool.room_for(131_073), None);
        assert!(pool.take(131_073).is_none());
        let (one, two, three) = (pool.take(1).unwrap(), pool.take(2048).unwrap(), pool.take(2049).unwrap());
        assert_eq!((one.room(), three.room(), pool.lent()), (2048, 4608, 8704));
        drop((one, two, three));
        // The third would exceed what is kept.
        assert_eq!((pool.lent(), pool.shelved()), (0, 4096));
        let again = pool.take(2000).unwrap();
        assert_eq!((pool.lent(), pool.shelved(), again.room()), (2048, 2048, 2048));
    }

    #[test]
    fn what_is_cut_off_a_message_frees_memory() {
        let pool = Pool::new(131_072, 1 << 20);
        let mut buffer = pool.take(60_000).unwrap();
        buffer.bytes_mut()[..3000].fill(7);
        let mut message = RxMessage { buffer, len: 60_000, endian: Endian::Little };
        message.truncate(3000);
        assert_eq!((message.bytes(), pool.lent(), pool.shelved()), (&[7; 3000][..], 4608, 67_584));
        // There is no smaller buffer than this one.
        message.truncate(4000);
        message.truncate(2999);
        assert_eq!((message.bytes().len(), pool.lent()), (2999, 4608));
        drop(message);
        assert_eq!(pool.lent(), 0);
    }

    #[test]
    fn small_limits() {
        let pool = Pool::new(4000, 0);
        assert_eq!((pool.room_for(4000), pool.room_for(4001)), (Some(4000), None));
        assert_eq!(pool.take(3000).map(|buffer| buffer.room()), Some(4000));
    }
}
