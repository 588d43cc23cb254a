//! What tests of these drivers share: the device's view of memory, frames, and the tests of the receive ring, which run
//! with both layouts of descriptors.

use super::layout::Written;
use super::ring::{BUFFER, COUNT};
use crate::testing::TestDma;
use keelson_hal::{NetDevice, TxChecksum, TxOffload};
use std::rc::Rc;

pub mod receiving;

/// A chip's side of the receive ring.
pub trait Receiver: Sized {
    type Driver: NetDevice;

    /// A chip that receives frames of up to [`receiving::LONGEST`] bytes, with its driver.
    fn up() -> (Rc<Self>, Self::Driver);

    /// Where the ring is, the next descriptor that is written, and the one that no longer is the chip's.
    fn ring(&self) -> (u64, usize, usize);

    /// Writes the next descriptor and its buffer, and notes the cause of an interrupt when the frame ends; false without
    /// a free one.
    fn piece(&self, content: &[u8], written: Written) -> bool;

    /// Writes the descriptor at this address.
    fn write_back(at: u64, written: Written);

    /// Whether it interrupts, or did since the last call.
    fn interrupted(&self) -> bool;

    /// Receives a frame over as many buffers as it needs, the last of which is as told; false when there are not enough.
    fn long(&self, frame: &[u8], verified: bool, faulty: bool) -> bool {
        let (_, head, tail) = self.ring();
        let pieces = frame.len().div_ceil(BUFFER);
        if (tail + COUNT - head) % COUNT < pieces {
            return false;
        }
        frame.chunks(BUFFER).enumerate().all(|(i, part)| {
            let ends = i + 1 == pieces;
            let (verified, faulty) = (ends && verified, ends && faulty);
            self.piece(part, Written { len: part.len(), ends, faulty, verified })
        })
    }
}

/// A descriptor with so many bytes of a frame that goes on.
pub fn more(len: usize) -> Written {
    Written { len, ends: false, faulty: false, verified: false }
}

/// A descriptor with the last bytes of a frame.
pub fn end(len: usize) -> Written {
    Written { ends: true, ..more(len) }
}

/// Reads memory at a device address.
pub fn peek<T: Copy>(phys: u64) -> T {
    TestDma::check_region(phys, size_of::<T>());
    // SAFETY: inside a region, as just checked.
    unsafe { (TestDma::virt_of(phys) as *const T).read_volatile() }
}

/// The bytes there.
pub fn bytes(phys: u64, len: usize) -> Vec<u8> {
    TestDma::check_region(phys, len);
    // SAFETY: inside a region, as just checked, and the driver holds no reference to it between calls.
    unsafe { std::slice::from_raw_parts(TestDma::virt_of(phys) as *const u8, len) }.to_vec()
}

/// Writes there.
pub fn poke<T>(phys: u64, value: T) {
    TestDma::check_region(phys, size_of::<T>());
    // SAFETY: inside a region, as just checked.
    unsafe { (TestDma::virt_of(phys) as *mut T).write_volatile(value) }
}

/// Writes these bytes there.
pub fn fill(phys: u64, content: &[u8]) {
    TestDma::check_region(phys, content.len());
    // SAFETY: inside a region, as just checked, and the driver holds no reference to it between calls.
    unsafe {
        std::ptr::copy_nonoverlapping(content.as_ptr(), TestDma::virt_of(phys) as *mut u8, content.len());
    }
}

/// Content of `len` bytes that differs from place to place.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// A frame of TCP over IPv4 with a header of 32 bytes, `len` bytes in all.
pub fn tcp_frame(len: usize) -> Vec<u8> {
    let mut frame = pattern(len);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[46] = 0x80;
    frame
}

/// What is asked for with a [`tcp_frame`] that is to be segmented.
pub const TSO: TxOffload =
    TxOffload { checksum: Some(TxChecksum { start: 34, offset: 16 }), segment_size: Some(1448) };

/// Runs the tests of [`receiving`] with a [`Receiver`].
macro_rules! receiving_tests {
    ($receiver:ty: $($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                $crate::intel::testing::receiving::$test::<$receiver>();
            }
        )*
    };
    ($receiver:ty) => {
        $crate::intel::testing::receiving_tests! { $receiver:
            long_frames_arrive_whole_wherever_they_begin
            end_without_bytes_is_an_end
            frame_may_come_in_parts
            frame_still_being_written_is_waited_for
            budget_is_for_frames
            frame_without_an_end_does_not_keep_the_ring
            frame_without_an_end_is_work
            frames_with_gaps_are_dropped
            end_of_a_frame_says_how_it_is
            buffers_go_back_in_order_and_not_before_their_frame_is_whole
            overrun_ring_of_long_frames_recovers
            few_frames_are_copied
            device_that_never_stops_is_left_after_a_round
        }
    };
}
pub(crate) use receiving_tests;
