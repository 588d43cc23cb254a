//! Fields of fixed layouts, read and written front to back.
//!
//! Panic contract: neither type panics in a release build, whatever the input. Every layout here has a
//! length that its caller has checked, so running out of bytes is a mistake in this crate, which a debug
//! build reports; a release build reads zeros and writes nothing.

use crate::nid::Nid;

/// Byte order of a sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    /// The order of a peer whose magic came `swapped`, seen from little-endian.
    pub(crate) fn of(swapped: bool) -> Order {
        if swapped { Order::Big } else { Order::Little }
    }
}

/// Reads fields in one byte order.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    order: Order,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], order: Order) -> Reader<'a> {
        Reader { rest: bytes, order }
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                *head
            }
            None => {
                debug_assert!(false, "layout longer than its bytes");
                self.rest = &[];
                [0; N]
            }
        }
    }

    pub(crate) fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(crate) fn u16(&mut self) -> u16 {
        let bytes = self.array();
        if self.order == Order::Little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> u32 {
        let bytes = self.array();
        if self.order == Order::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> u64 {
        let bytes = self.array();
        if self.order == Order::Little { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) }
    }

    pub(crate) fn i64(&mut self) -> i64 {
        self.u64() as i64
    }

    #[inline]
    pub(crate) fn nid4(&mut self) -> Nid {
        Nid::from_nid4(self.u64())
    }
}

/// Writes fields, little-endian: the order in which we send everything.
pub(crate) struct Writer<'a> {
    room: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(room: &'a mut [u8]) -> Writer<'a> {
        Writer { room, at: 0 }
    }

    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let field = self.at.checked_add(bytes.len()).and_then(|end| self.room.get_mut(self.at..end));
        match field {
            Some(field) => field.copy_from_slice(bytes),
            None => debug_assert!(false, "layout longer than its room"),
        }
        self.at = self.at.saturating_add(bytes.len());
        self
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    #[inline]
    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    #[inline]
    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.u64(value as u64)
    }

    /// Zeros up to `offset` from the start of the layout.
    pub(crate) fn pad_to(&mut self, offset: usize) -> &mut Self {
        match self.room.get_mut(self.at..offset) {
            Some(gap) => gap.fill(0),
            None => debug_assert!(false, "padding outside its room"),
        }
        self.at = self.at.max(offset);
        self
    }
}

/// Collects the bytes of a handshake as TCP delivers them, never more than asked for.
#[derive(Clone, Debug)]
pub(crate) struct Gather<const N: usize> {
    bytes: [u8; N],
    have: usize,
}

impl<const N: usize> Gather<N> {
    pub(crate) const fn new() -> Gather<N> {
        Gather { bytes: [0; N], have: 0 }
    }

    /// What has arrived.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.have).unwrap_or_default()
    }

    /// Moves bytes from the front of `input` until `target` have arrived; false when input ran out before.
    pub(crate) fn fill(&mut self, target: usize, input: &mut &[u8]) -> bool {
        let wanted = target.min(N).saturating_sub(self.have);
        let (taken, rest) = input.split_at(wanted.min(input.len()));
        if let Some(room) = self.bytes.get_mut(self.have..self.have.saturating_add(taken.len())) {
            room.copy_from_slice(taken);
            self.have += taken.len();
            *input = rest;
        }
        self.have >= target
    }
}
