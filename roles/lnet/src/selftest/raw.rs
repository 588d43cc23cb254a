//! PUT and GET of any length between two test nodes, without RPCs: what a router is tested with.
//!
//! Every message has data of its own, derived from its match bits, so that one that is cut, shifted, mixed up or
//! delivered to another request is noticed. A PUT is looked at where it arrives, a REPLY where the GET came from.

use super::counters::Count;
use super::{Place, TransferError, Transport};
use crate::buffers::{Payload, Pieces};
use crate::portal::{Delivery, Portal};
use alloc::rc::Rc;
use core::cell::Cell;
use core::fmt;
use core::time::Duration;
use keelson_lnet_wire::message::LNET_MTU;
use keelson_lnet_wire::nid::{Nid, ProcessId};

/// Portal of [`Raw`]; Lustre and selftest use others.
pub const RAW_PORTAL: u32 = 60;
/// What two neighbouring words differ by: odd, so that no two words of a message are equal.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a node has received.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RawCounters {
    /// PUTs.
    pub puts: u64,
    /// Bytes of PUTs.
    pub put_bytes: u64,
    /// GETs.
    pub gets: u64,
    /// PUTs whose data were not those that belong to them.
    pub corrupted: u64,
}

/// Why a transfer failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RawError {
    /// No answer.
    Transfer(TransferError),
    /// The other side took or gave this many bytes, which is not what was asked.
    Length(u32),
    /// The first wrong byte.
    Corrupted(usize),
    /// More than a message can carry.
    TooLong,
}

/// Sends and takes such messages.
pub struct Raw<T> {
    transport: Rc<T>,
    pieces: Rc<Pieces>,
    sequence: Cell<u64>,
    puts: Cell<u64>,
    put_bytes: Cell<u64>,
    gets: Cell<u64>,
    corrupted: Cell<u64>,
}

impl<T: Transport> Raw<T> {
    pub(super) fn new(transport: Rc<T>) -> Rc<Raw<T>> {
        Rc::new(Raw {
            transport,
            pieces: Pieces::new(),
            sequence: Cell::new(1),
            puts: Cell::new(0),
            put_bytes: Cell::new(0),
            gets: Cell::new(0),
            corrupted: Cell::new(0),
        })
    }

    /// What was received here.
    pub fn counters(&self) -> RawCounters {
        RawCounters {
            puts: self.puts.get(),
            put_bytes: self.put_bytes.get(),
            gets: self.gets.get(),
            corrupted: self.corrupted.get(),
        }
    }

    fn next_place(&self) -> Place {
        self.sequence.set(self.sequence.get() + 1);
        // Neighbouring numbers would give messages that are each other's shifted.
        let bits = self.sequence.get().wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(29);
        Place::new(RAW_PORTAL, bits)
    }

    /// PUTs `len` bytes and waits for the ACK.
    pub async fn put(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        len: u32,
        timeout: Duration,
    ) -> Result<(), RawError> {
        let place = self.next_place();
        let payload = self.data(place.match_bits, len)?;
        let taken = self.transport.put_acked(source, to, place, payload, timeout).await;
        match taken.map_err(RawError::Transfer)? {
            taken if taken == len => Ok(()),
            taken => Err(RawError::Length(taken)),
        }
    }

    /// GETs `len` bytes and looks at them.
    pub async fn get(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        len: u32,
        timeout: Duration,
    ) -> Result<(), RawError> {
        if len > LNET_MTU {
            return Err(RawError::TooLong);
        }
        let place = self.next_place();
        let payload = self.transport.get(source, to, place, len, timeout).await;
        let payload = payload.map_err(RawError::Transfer)?;
        if payload.len() != len as usize {
            return Err(RawError::Length(payload.len() as u32));
        }
        verify(&payload, place.match_bits).map_err(RawError::Corrupted)
    }

    fn data(&self, seed: u64, len: u32) -> Result<Payload, RawError> {
        if len > LNET_MTU {
            return Err(RawError::TooLong);
        }
        let mut payload = self.pieces.payload(len as usize);
        let (mut at, mut word) = (0, seed);
        while at < payload.len() {
            let slice = payload.from_mut(at);
            at += slice.len();
            for place in slice.chunks_mut(8) {
                place.copy_from_slice(&word.to_le_bytes()[..place.len()]);
                word = word.wrapping_add(STEP);
            }
        }
        Ok(payload)
    }
}

/// Compares data with those that belong to `seed`; `Err` holds the place of the first wrong byte.
fn verify(payload: &Payload, seed: u64) -> Result<(), usize> {
    let (mut at, mut word) = (0, seed);
    // Pieces end at multiples of 8 but for the last.
    for slice in payload.slices() {
        for (index, found) in slice.chunks(8).enumerate() {
            let expected = word.to_le_bytes();
            if *found != expected[..found.len()] {
                let within = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
                return Err(at + index * 8 + within);
            }
            word = word.wrapping_add(STEP);
        }
        at += slice.len();
    }
    Ok(())
}

impl<T: Transport> Portal for Raw<T> {
    fn admits(&self, _: &Delivery) -> bool {
        true
    }

    fn put(&self, delivery: Delivery, payload: Payload) {
        self.puts.up();
        self.put_bytes.add(payload.len() as u64);
        if let Err(at) = verify(&payload, delivery.match_bits) {
            log::warn!(target: "lnet", "raw data of {} are wrong at byte {at}", delivery.initiator);
            self.corrupted.up();
        }
    }

    fn get(&self, delivery: &Delivery) -> Option<Payload> {
        self.gets.up();
        self.data(delivery.match_bits, delivery.len).ok()
    }
}

impl fmt::Display for RawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RawError::Transfer(error) => error.fmt(f),
            RawError::Length(len) => write!(f, "only {len} bytes were moved"),
            RawError::Corrupted(at) => write!(f, "wrong data at byte {at}"),
            RawError::TooLong => write!(f, "at most {LNET_MTU} bytes fit a message"),
        }
    }
}

impl core::error::Error for RawError {}
