//! The operator's console: a byte stream in both directions.

use core::task::{Context, Poll};

/// A console device (16550 serial port, virtio-console).
pub trait Console {
    /// Writes all bytes, or drops what the device did not take within its bound (10 ms of a stuck device)
    /// and counts it. Never waits for a person.
    fn write(&self, bytes: &[u8]);

    /// Bytes dropped by [`Console::write`] so far.
    fn dropped(&self) -> u64;

    /// Moves received bytes into `buffer`; Ready with the count, at least 1.
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<usize>;
}
