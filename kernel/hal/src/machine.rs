//! What drivers and tasks need of the machine itself: device memory, registers, interrupts, randomness, rest.

use core::task::{Context, Poll};

/// A piece of memory that a device may read and write, as handed out by [`Dma::allocate`].
///
/// Both addresses stay valid and unmoved until the region is given back with [`Dma::free`].
#[derive(Debug, PartialEq, Eq)]
pub struct DmaRegion {
    /// Address the CPU uses.
    pub virt: usize,
    /// Address the device uses.
    pub phys: u64,
    /// Length in bytes; a multiple of 4096.
    pub len: usize,
}

/// Device-visible memory. x86 DMA is cache-coherent, so there is no sync step; drivers still need fences
/// where the order of their own stores matters.
pub trait Dma {
    /// Zeroed, physically contiguous, 4 KiB-aligned memory of at least `len` bytes, or `None` when there is
    /// no contiguous piece of that size.
    fn allocate(&self, len: usize) -> Option<DmaRegion>;

    /// Takes a region back. The device must no longer use it.
    fn free(&self, region: DmaRegion);

    /// The device's address of ordinary heap memory at `virt`. The heap is physically contiguous over any
    /// single allocation, so that heap buffers can be handed to devices without a copy.
    fn phys_of(&self, virt: usize) -> u64;
}

/// A window of memory-mapped device registers. Offsets are in bytes; an access outside the window panics.
pub trait Registers {
    /// Length of the window in bytes.
    fn len(&self) -> usize;
    /// True for a window of no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads one byte.
    fn read8(&self, offset: usize) -> u8;
    /// Reads two bytes, little-endian; `offset` is a multiple of 2.
    fn read16(&self, offset: usize) -> u16;
    /// Reads four bytes, little-endian; `offset` is a multiple of 4.
    fn read32(&self, offset: usize) -> u32;
    /// Writes one byte.
    fn write8(&self, offset: usize, value: u8);
    /// Writes two bytes, little-endian; `offset` is a multiple of 2.
    fn write16(&self, offset: usize, value: u16);
    /// Writes four bytes, little-endian; `offset` is a multiple of 4.
    fn write32(&self, offset: usize, value: u32);

    /// Writes eight bytes as two 32-bit stores, low half first (the order virtio asks for, virtio 1.2
    /// section 4.1.3.1).
    fn write64(&self, offset: usize, value: u64) {
        self.write32(offset, value as u32);
        self.write32(offset + 4, (value >> 32) as u32);
    }
}

impl<R: Registers + ?Sized> Registers for alloc::rc::Rc<R> {
    fn len(&self) -> usize {
        (**self).len()
    }
    fn read8(&self, offset: usize) -> u8 {
        (**self).read8(offset)
    }
    fn read16(&self, offset: usize) -> u16 {
        (**self).read16(offset)
    }
    fn read32(&self, offset: usize) -> u32 {
        (**self).read32(offset)
    }
    fn write8(&self, offset: usize, value: u8) {
        (**self).write8(offset, value);
    }
    fn write16(&self, offset: usize, value: u16) {
        (**self).write16(offset, value);
    }
    fn write32(&self, offset: usize, value: u32) {
        (**self).write32(offset, value);
    }
}

/// The legacy I/O port space, for the few devices without memory-mapped registers.
pub trait PortIo {
    /// Reads one byte from `port`.
    fn read8(&self, port: u16) -> u8;
    /// Writes one byte to `port`.
    fn write8(&self, port: u16, value: u8);
    /// Reads two bytes from `port`.
    fn read16(&self, port: u16) -> u16;
    /// Writes two bytes to `port`.
    fn write16(&self, port: u16, value: u16);
}

/// One interrupt source of a device, as a task waits for it.
///
/// The kernel's interrupt handler only notes that the source fired and ends the halt; the tasks wake when
/// the executor runs again. For a device that cannot interrupt, the kernel hands out a source that fires by
/// timer, so that drivers and tasks never know the difference.
pub trait Interrupt {
    /// Ready once for any number of times the source fired since the last `Ready`; otherwise keeps the
    /// waker. Only the most recent waker is kept: one task waits on a source.
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Lets the source end a halt again although its task has not come round to [`Interrupt::poll_fired`]: for
    /// synchronous code that waits for its device while no task runs. Acknowledge at the device first. The
    /// task's turn stays as it is.
    fn rearm(&self) {}
}

/// Random bytes fit for keys, sequence numbers and ports.
pub trait Entropy {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// A random 64-bit number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// Rest until there may be something to do.
pub trait Park {
    /// Halts until an interrupt arrived or `deadline` passed, then returns; may return early. Wakers of
    /// fired interrupts have been called on return. Returns at once when an interrupt came since the last
    /// call, so a wake-up between check and rest is never lost. With a `deadline` in the past it does not
    /// rest and only collects interrupts that are pending.
    fn park(&self, deadline: crate::Instant);
}
