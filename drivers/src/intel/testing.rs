//! What tests of these drivers share: the device's view of memory, and frames.

use crate::testing::TestDma;
use keelson_hal::{TxChecksum, TxOffload};

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
