//! Virtio over PCI, the modern interface (virtio 1.2 section 4.1).

use super::transport::{Doorbell, DoorbellWidth, QueueAddresses, Transport};
use crate::InitError;
use crate::registry::{PciId, virtio_type_of};
use alloc::rc::Rc;
use keelson_hal::Registers;

/// Offsets in the common configuration (virtio 1.2 section 4.1.4.3).
mod common {
    pub const DEVICE_FEATURE_SELECT: usize = 0;
    pub const DEVICE_FEATURE: usize = 4;
    pub const DRIVER_FEATURE_SELECT: usize = 8;
    pub const DRIVER_FEATURE: usize = 12;
    pub const CONFIG_MSIX_VECTOR: usize = 16;
    pub const NUM_QUEUES: usize = 18;
    pub const DEVICE_STATUS: usize = 20;
    pub const CONFIG_GENERATION: usize = 21;
    pub const QUEUE_SELECT: usize = 22;
    pub const QUEUE_SIZE: usize = 24;
    pub const QUEUE_MSIX_VECTOR: usize = 26;
    pub const QUEUE_ENABLE: usize = 28;
    pub const QUEUE_NOTIFY_OFF: usize = 30;
    pub const QUEUE_DESC: usize = 32;
    pub const QUEUE_DRIVER: usize = 40;
    pub const QUEUE_DEVICE: usize = 48;
    pub const LEN: usize = 56;
}

/// What the device reads back when it could not take a vector (VIRTIO_MSI_NO_VECTOR).
const NO_VECTOR: u16 = 0xffff;

/// A part of a BAR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Number of the BAR, 0 to 5.
    pub bar: u8,
    /// First byte in it.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

/// The virtio structures of a PCI function, as its vendor capabilities list them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PciCapabilities {
    /// Common configuration (type 1).
    pub common: Window,
    /// Doorbells (type 2).
    pub notify: Window,
    /// Bytes between the doorbells of two values of `queue_notify_off`.
    pub notify_multiplier: u32,
    /// Interrupt status (type 3).
    pub isr: Window,
    /// Device configuration (type 4), absent for devices without one.
    pub device: Option<Window>,
}

impl PciCapabilities {
    /// Walks the capability list. `read32` reads the function's configuration space at a multiple of 4
    /// below 256.
    pub fn find(read32: &dyn Fn(u16) -> u32) -> Result<PciCapabilities, InitError> {
        /// Configuration space: status bit 4 says that there is a list, its start is at 34h.
        const STATUS_CAPABILITIES: u32 = 1 << (16 + 4);
        const VENDOR_SPECIFIC: u8 = 0x09;

        let (mut common, mut notify, mut isr, mut device) = (None, None, None, None);
        let mut at = if read32(0x04) & STATUS_CAPABILITIES != 0 { read32(0x34) as u8 & 0xfc } else { 0 };
        // 48 capabilities fill the space; a list longer than that is a loop.
        for _ in 0..48 {
            if at < 0x40 {
                break;
            }
            let at16 = u16::from(at);
            let head = read32(at16);
            let [id, next, len, kind] = head.to_le_bytes();
            if id == VENDOR_SPECIFIC && len >= 16 && at <= 0xf0 {
                let window =
                    Window { bar: read32(at16 + 4) as u8, offset: read32(at16 + 8), len: read32(at16 + 12) };
                // The first of a kind is the one the device prefers (section 4.1.4.1). BARs above 5 are
                // reserved and skipped.
                if window.bar <= 5 {
                    match kind {
                        1 if common.is_none() => common = Some(window),
                        2 if notify.is_none() && len >= 20 && at <= 0xec => {
                            notify = Some((window, read32(at16 + 16)));
                        }
                        3 if isr.is_none() => isr = Some(window),
                        4 if device.is_none() => device = Some(window),
                        _ => {}
                    }
                }
            }
            at = next & 0xfc;
        }
        let (notify, notify_multiplier) = notify.ok_or(InitError::BadCapability("notify"))?;
        Ok(PciCapabilities {
            common: common.ok_or(InitError::BadCapability("common configuration"))?,
            notify,
            notify_multiplier,
            isr: isr.ok_or(InitError::BadCapability("interrupt status"))?,
            device,
        })
    }
}

/// A [`Window`] with the registers of its BAR.
struct Part {
    bar: Rc<dyn Registers>,
    base: usize,
    len: usize,
}

/// One virtio device on PCI.
pub struct PciTransport {
    device_type: u32,
    common: Part,
    notify: Part,
    notify_multiplier: usize,
    isr: Part,
    device: Option<Part>,
    msix: Option<u16>,
    polled: bool,
}

impl PciTransport {
    /// Puts the transport together. `bar` maps a BAR by number (it is asked for the same one more than once).
    /// With `msix`, every queue and configuration changes interrupt through that entry of the function's
    /// MSI-X table; without, through the interrupt line, or not at all.
    pub fn new(
        id: PciId,
        capabilities: &PciCapabilities,
        bar: &dyn Fn(u8) -> Option<Rc<dyn Registers>>,
        msix: Option<u16>,
    ) -> Result<PciTransport, InitError> {
        let part = |window: &Window, least: usize, name| {
            let registers = bar(window.bar).ok_or(InitError::BadCapability(name))?;
            let (base, len) = (window.offset as usize, window.len as usize);
            let fits = len >= least && base.checked_add(len).is_some_and(|end| end <= registers.len());
            if fits && base.is_multiple_of(4) {
                Ok(Part { bar: registers, base, len })
            } else {
                Err(InitError::BadCapability(name))
            }
        };
        Ok(PciTransport {
            device_type: virtio_type_of(id)
                .ok_or(InitError::NotADevice { what: "virtio PCI device id", found: u32::from(id.device) })?,
            common: part(&capabilities.common, common::LEN, "common configuration")?,
            notify: part(&capabilities.notify, 2, "notify")?,
            notify_multiplier: capabilities.notify_multiplier as usize,
            isr: part(
                &Window { len: capabilities.isr.len.max(1), ..capabilities.isr },
                1,
                "interrupt status",
            )?,
            device: capabilities
                .device
                .as_ref()
                .map(|window| part(window, 0, "device configuration"))
                .transpose()?,
            msix,
            polled: false,
        })
    }

    /// For a device without MSI-X whose interrupt line goes nowhere and whose task is woken by timer: it is
    /// not acknowledged either, which would cost an exit at every tick.
    pub fn without_interrupt(self) -> PciTransport {
        PciTransport { polled: true, ..self }
    }

    fn read16(&self, offset: usize) -> u16 {
        self.common.bar.read16(self.common.base + offset)
    }

    fn write16(&self, offset: usize, value: u16) {
        self.common.bar.write16(self.common.base + offset, value);
    }

    fn read32(&self, offset: usize) -> u32 {
        self.common.bar.read32(self.common.base + offset)
    }

    fn write32(&self, offset: usize, value: u32) {
        self.common.bar.write32(self.common.base + offset, value);
    }

    /// The device configuration part, if `len` bytes at `offset` are in it.
    fn config(&self, offset: usize, len: usize) -> Option<(&dyn Registers, usize)> {
        let part = self.device.as_ref()?;
        (offset + len <= part.len).then(|| (&*part.bar, part.base + offset))
    }

    /// Writes a vector register and checks that the device took it.
    fn set_vector(&self, register: usize) -> Result<(), InitError> {
        let vector = self.msix.unwrap_or(NO_VECTOR);
        self.write16(register, vector);
        if self.read16(register) == vector { Ok(()) } else { Err(InitError::VectorRefused(vector)) }
    }
}

impl Transport for PciTransport {
    fn device_type(&self) -> u32 {
        self.device_type
    }

    fn device_features(&self) -> u64 {
        let half = |select| {
            self.write32(common::DEVICE_FEATURE_SELECT, select);
            u64::from(self.read32(common::DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    fn set_driver_features(&self, features: u64) {
        for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.write32(common::DRIVER_FEATURE_SELECT, select);
            self.write32(common::DRIVER_FEATURE, half);
        }
    }

    fn status(&self) -> u8 {
        self.common.bar.read8(self.common.base + common::DEVICE_STATUS)
    }

    fn set_status(&self, status: u8) {
        self.common.bar.write8(self.common.base + common::DEVICE_STATUS, status);
    }

    fn queue_max_size(&self, queue: u16) -> u16 {
        if queue >= self.read16(common::NUM_QUEUES) {
            return 0;
        }
        self.write16(common::QUEUE_SELECT, queue);
        self.read16(common::QUEUE_SIZE)
    }

    fn queue_enabled(&self, queue: u16) -> bool {
        self.write16(common::QUEUE_SELECT, queue);
        self.read16(common::QUEUE_ENABLE) != 0
    }

    fn set_queue(&self, queue: u16, size: u16, addresses: QueueAddresses) -> Result<Doorbell, InitError> {
        // A reset forgets the vector of configuration changes: set again with every queue, it costs nothing.
        self.set_vector(common::CONFIG_MSIX_VECTOR)?;
        self.write16(common::QUEUE_SELECT, queue);
        self.write16(common::QUEUE_SIZE, size);
        self.set_vector(common::QUEUE_MSIX_VECTOR)?;
        let common = &self.common;
        common.bar.write64(common.base + common::QUEUE_DESC, addresses.descriptors);
        common.bar.write64(common.base + common::QUEUE_DRIVER, addresses.driver);
        common.bar.write64(common.base + common::QUEUE_DEVICE, addresses.device);
        let offset = usize::from(self.read16(common::QUEUE_NOTIFY_OFF)) * self.notify_multiplier;
        if offset + 2 > self.notify.len || !offset.is_multiple_of(2) {
            return Err(InitError::BadCapability("notify"));
        }
        self.write16(common::QUEUE_ENABLE, 1);
        Ok(Doorbell {
            registers: self.notify.bar.clone(),
            offset: self.notify.base + offset,
            width: DoorbellWidth::Half,
            queue,
        })
    }

    fn config_generation(&self) -> u32 {
        u32::from(self.common.bar.read8(self.common.base + common::CONFIG_GENERATION))
    }

    fn config_len(&self) -> usize {
        self.device.as_ref().map_or(0, |part| part.len)
    }

    fn config8(&self, offset: usize) -> u8 {
        self.config(offset, 1).map_or(0, |(bar, at)| bar.read8(at))
    }

    fn config16(&self, offset: usize) -> u16 {
        self.config(offset, 2).map_or(0, |(bar, at)| bar.read16(at))
    }

    fn config32(&self, offset: usize) -> u32 {
        self.config(offset, 4).map_or(0, |(bar, at)| bar.read32(at))
    }

    fn acknowledge_interrupt(&self) {
        if self.msix.is_none() && !self.polled {
            // Reading it lets go of the interrupt line (section 4.1.4.5).
            self.isr.bar.read8(self.isr.base);
        }
    }
}

#[cfg(test)]
mod tests;
