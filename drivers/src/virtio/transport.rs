//! What a virtio driver needs of the bus its device is on.

use super::feature;
use crate::InitError;
use alloc::rc::Rc;
use keelson_hal::Registers;

/// Bits of the device status (virtio 1.2 section 2.1).
pub(crate) mod status {
    pub const ACKNOWLEDGE: u8 = 1;
    pub const DRIVER: u8 = 2;
    pub const DRIVER_OK: u8 = 4;
    pub const FEATURES_OK: u8 = 8;
    pub const NEEDS_RESET: u8 = 64;
    pub const FAILED: u8 = 128;
}

/// Times the status is read while a reset is under way. Each read is at least a bus access, so that this is
/// most of a second on hardware and more under a hypervisor; a reset takes microseconds.
const RESET_POLLS: u32 = if cfg!(test) { 1_000 } else { 1_000_000 };

/// Where the parts of a virtqueue are, in device addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueAddresses {
    /// Descriptor table, 16-byte aligned.
    pub descriptors: u64,
    /// Driver area (available ring), 2-byte aligned.
    pub driver: u64,
    /// Device area (used ring), 4-byte aligned.
    pub device: u64,
}

/// Width of the doorbell register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DoorbellWidth {
    /// 16 bits: PCI.
    Half,
    /// 32 bits: MMIO.
    Word,
}

/// The register that tells the device of new descriptors in one queue. Kept by the queue, so that ringing it
/// is one store and nothing else.
#[derive(Clone)]
pub struct Doorbell {
    /// Window that holds the register.
    pub registers: Rc<dyn Registers>,
    /// Offset in the window.
    pub offset: usize,
    /// Width of the register.
    pub width: DoorbellWidth,
    /// Number of the queue, the value written.
    pub queue: u16,
}

impl Doorbell {
    /// Tells the device to look at the queue.
    pub fn ring(&self) {
        match self.width {
            DoorbellWidth::Half => self.registers.write16(self.offset, self.queue),
            DoorbellWidth::Word => self.registers.write32(self.offset, u32::from(self.queue)),
        }
    }
}

/// A virtio device as seen over its bus. Implemented by [`PciTransport`](super::PciTransport) and
/// [`MmioTransport`](super::MmioTransport).
pub trait Transport {
    /// Device type: 1 net, 2 blk, 3 console, 4 entropy.
    fn device_type(&self) -> u32;
    /// Features the device offers.
    fn device_features(&self) -> u64;
    /// Tells the device the features to use.
    fn set_driver_features(&self, features: u64);
    /// The device status byte.
    fn status(&self) -> u8;
    /// Writes the device status byte.
    fn set_status(&self, status: u8);
    /// Largest size of a queue; 0 when it does not exist.
    fn queue_max_size(&self, queue: u16) -> u16;
    /// True when the queue was set up already.
    fn queue_enabled(&self, queue: u16) -> bool;
    /// Tells the device where a queue is, gives it its interrupt vector and enables it.
    fn set_queue(&self, queue: u16, size: u16, addresses: QueueAddresses) -> Result<Doorbell, InitError>;
    /// Changes whenever the device changes its configuration space.
    fn config_generation(&self) -> u32;
    /// Length of the device configuration space in bytes.
    fn config_len(&self) -> usize;
    /// One byte of the device configuration space; 0 beyond its end.
    fn config8(&self, offset: usize) -> u8;
    /// Two bytes of the device configuration space; 0 beyond its end.
    fn config16(&self, offset: usize) -> u16;
    /// Four bytes of the device configuration space; 0 beyond its end.
    fn config32(&self, offset: usize) -> u32;
    /// Takes back a level interrupt, where the bus has one (MMIO, PCI without MSI-X). Without one it costs
    /// nothing.
    fn acknowledge_interrupt(&self);

    /// Eight bytes of the device configuration space, consistent while the device changes them.
    fn config64(&self, offset: usize) -> u64 {
        // A device that changes its configuration on every read gets the last value it showed.
        let mut value = 0;
        for _ in 0..16 {
            let before = self.config_generation();
            value = u64::from(self.config32(offset)) | u64::from(self.config32(offset + 4)) << 32;
            if self.config_generation() == before {
                break;
            }
        }
        value
    }

    /// Stops the device: false when it does not confirm and may still use its memory.
    fn reset(&self) -> bool {
        self.set_status(0);
        (0..RESET_POLLS).any(|_| {
            core::hint::spin_loop();
            self.status() == 0
        })
    }
}

/// Steps 1 to 6 of device initialisation (virtio 1.2 section 3.1.1): resets the device and agrees on those
/// features of `choose(offer)` that it offers. VERSION_1 is always among them.
pub(crate) fn negotiate(
    transport: &dyn Transport,
    device_type: u32,
    choose: impl FnOnce(u64) -> u64,
) -> Result<u64, InitError> {
    if transport.device_type() != device_type {
        return Err(InitError::WrongType { expected: device_type, found: transport.device_type() });
    }
    if !transport.reset() {
        return Err(InitError::ResetTimeout);
    }
    transport.set_status(status::ACKNOWLEDGE | status::DRIVER);
    let offer = transport.device_features();
    if offer & feature::VERSION_1 == 0 {
        transport.set_status(status::FAILED);
        return Err(InitError::Legacy);
    }
    let features = choose(offer) & offer | feature::VERSION_1;
    transport.set_driver_features(features);
    transport.set_status(status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
    if transport.status() & status::FEATURES_OK == 0 {
        transport.set_status(status::FAILED);
        return Err(InitError::FeaturesRefused(features));
    }
    Ok(features)
}

/// Step 8: the device may use its queues from now on.
pub(crate) fn start(transport: &dyn Transport) {
    transport.set_status(status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK);
}
