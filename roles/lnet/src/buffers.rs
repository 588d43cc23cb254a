//! Memory for payloads: pieces of two sizes, kept for reuse, under one bound.
//!
//! A payload of up to 4096 bytes is one small piece; a longer one is as many 64 KiB pieces as it needs. Pieces
//! are allocated when first needed and then go around between pool and messages, so that a running router does
//! not allocate. *How many* messages may hold memory is decided elsewhere (`lnet::pools`, by the names and
//! rules of `tiny_router_buffers` and its kin): what is here only counts bytes.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

/// Bytes of a small piece: the payload that Linux's small router buffers hold (one page).
pub const SMALL: usize = 4096;
/// Bytes of a large piece.
pub const PIECE: usize = 64 << 10;

/// Where pieces come from and go back to.
#[derive(Default)]
pub struct Pieces {
    small: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
    /// Lists of pieces that ended, kept for their capacity.
    lists: RefCell<Vec<Vec<Box<[u8]>>>>,
    allocated: Cell<usize>,
    high_water: Cell<usize>,
    lent: Cell<usize>,
}

impl Pieces {
    /// An empty store.
    pub fn new() -> Rc<Pieces> {
        Rc::default()
    }

    /// A payload of `len` bytes, whose content is whatever was in the pieces before.
    pub fn payload(self: &Rc<Self>, len: usize) -> Payload {
        if len == 0 {
            return Payload::default();
        }
        let mut pieces = self.lists.borrow_mut().pop().unwrap_or_default();
        if len <= SMALL {
            pieces.push(self.take(&self.small, SMALL));
        } else {
            for _ in 0..len.div_ceil(PIECE) {
                pieces.push(self.take(&self.large, PIECE));
            }
        }
        let room = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        self.lent.set(self.lent.get() + room);
        Payload { pieces, len, home: Some(self.clone()) }
    }

    fn take(&self, shelf: &RefCell<Vec<Box<[u8]>>>, size: usize) -> Box<[u8]> {
        shelf.borrow_mut().pop().unwrap_or_else(|| {
            self.allocated.set(self.allocated.get() + size);
            self.high_water.set(self.high_water.get().max(self.allocated.get()));
            vec![0; size].into_boxed_slice()
        })
    }

    /// Bytes of all pieces, in use or on the shelf.
    pub fn allocated(&self) -> usize {
        self.allocated.get()
    }

    /// Bytes of the pieces that are in payloads now.
    pub fn lent(&self) -> usize {
        self.lent.get()
    }

    /// The most that [`Pieces::allocated`] ever was.
    pub fn high_water(&self) -> usize {
        self.high_water.get()
    }

    /// Frees what is on the shelf beyond `keep` bytes: after a burst.
    pub fn trim(&self, keep: usize) {
        for (shelf, size) in [(&self.large, PIECE), (&self.small, SMALL)] {
            let mut shelf = shelf.borrow_mut();
            while self.allocated.get() > keep && shelf.pop().is_some() {
                self.allocated.set(self.allocated.get() - size);
            }
        }
    }
}

/// The bytes of a message. Goes back to its pieces' store when dropped.
#[derive(Default)]
pub struct Payload {
    pieces: Vec<Box<[u8]>>,
    len: usize,
    home: Option<Rc<Pieces>>,
}

impl Payload {
    /// A copy of `bytes` in memory of its own; for what a node says itself.
    pub fn from_bytes(bytes: &[u8]) -> Payload {
        if bytes.is_empty() {
            return Payload::default();
        }
        let mut pieces = Vec::with_capacity(bytes.len().div_ceil(PIECE));
        pieces.extend(bytes.chunks(PIECE).map(Box::from));
        Payload { pieces, len: bytes.len(), home: None }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What lies in one piece from `offset` on; empty at the end.
    pub fn from(&self, offset: usize) -> &[u8] {
        let rest = self.len.saturating_sub(offset);
        let Some(piece) = self.pieces.get(offset / PIECE) else { return &[] };
        let piece = piece.get(offset % PIECE..).unwrap_or(&[]);
        &piece[..piece.len().min(rest)]
    }

    /// The same, to be written.
    pub fn from_mut(&mut self, offset: usize) -> &mut [u8] {
        let rest = self.len.saturating_sub(offset);
        let Some(piece) = self.pieces.get_mut(offset / PIECE) else { return &mut [] };
        let piece = piece.get_mut(offset % PIECE..).unwrap_or_default();
        let len = piece.len().min(rest);
        &mut piece[..len]
    }

    /// All of it, piece by piece.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.len;
        self.pieces.iter().map(move |piece| {
            let len = piece.len().min(rest);
            rest -= len;
            &piece[..len]
        })
    }

    /// All of it in one, where it is short enough to lie in one piece.
    pub fn as_slice(&self) -> Option<&[u8]> {
        match self.pieces.len() {
            0 => Some(&[]),
            1 => self.pieces[0].get(..self.len),
            _ => None,
        }
    }

    /// Cuts it to `len` bytes; nothing where it is shorter.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        let Some(home) = self.home.take() else { return };
        let mut pieces = core::mem::take(&mut self.pieces);
        for piece in pieces.drain(..) {
            home.lent.set(home.lent.get() - piece.len());
            let shelf = if piece.len() == SMALL { &home.small } else { &home.large };
            shelf.borrow_mut().push(piece);
        }
        home.lists.borrow_mut().push(pieces);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_go_around() {
        let pieces = Pieces::new();
        for len in [1, SMALL, SMALL + 1, PIECE, PIECE + 1, 1 << 20] {
            let mut payload = pieces.payload(len);
            let mut at = 0;
            while at < len {
                let slice = payload.from_mut(at);
                slice.iter_mut().enumerate().for_each(|(i, byte)| *byte = ((at + i) % 251) as u8);
                at += slice.len();
            }
            let all: Vec<u8> = payload.slices().flatten().copied().collect();
            assert_eq!(all.len(), len);
            assert!(all.iter().enumerate().all(|(i, byte)| *byte == (i % 251) as u8));
            assert!(payload.from(len).is_empty() && payload.from(usize::MAX).is_empty());
            assert_eq!(payload.as_slice().is_some(), len <= PIECE);
        }
        assert_eq!(pieces.allocated(), SMALL + (1 << 20));
        drop(pieces.payload(1 << 20));
        assert_eq!(pieces.high_water(), SMALL + (1 << 20), "nothing was allocated twice");
        pieces.trim(0);
        assert_eq!(pieces.allocated(), 0);
    }

    #[test]
    fn what_a_node_says_has_memory_of_its_own() {
        let payload = Payload::from_bytes(&[7; 100_000]);
        assert_eq!(payload.slices().map(<[u8]>::len).collect::<Vec<_>>(), [PIECE, 100_000 - PIECE]);
        let mut payload = Payload::from_bytes(b"abc");
        payload.truncate(2);
        assert_eq!(payload.as_slice(), Some(&b"ab"[..]));
        payload.truncate(9);
        assert_eq!(payload.len(), 2);
        assert!(Payload::from_bytes(b"").is_empty());
    }
}
