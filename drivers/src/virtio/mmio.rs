//! Virtio over MMIO, version 2 (virtio 1.2 section 4.2): QEMU's `microvm`.

use super::transport::{Doorbell, DoorbellWidth, QueueAddresses, Transport};
use crate::InitError;
use alloc::rc::Rc;
use keelson_hal::Registers;

/// Register offsets (virtio 1.2 section 4.2.2).
mod register {
    pub const MAGIC: usize = 0x00;
    pub const VERSION: usize = 0x04;
    pub const DEVICE_ID: usize = 0x08;
    pub const DEVICE_FEATURES: usize = 0x10;
    pub const DEVICE_FEATURES_SEL: usize = 0x14;
    pub const DRIVER_FEATURES: usize = 0x20;
    pub const DRIVER_FEATURES_SEL: usize = 0x24;
    pub const QUEUE_SEL: usize = 0x30;
    pub const QUEUE_NUM_MAX: usize = 0x34;
    pub const QUEUE_NUM: usize = 0x38;
    pub const QUEUE_READY: usize = 0x44;
    pub const QUEUE_NOTIFY: usize = 0x50;
    pub const INTERRUPT_STATUS: usize = 0x60;
    pub const INTERRUPT_ACK: usize = 0x64;
    pub const STATUS: usize = 0x70;
    pub const QUEUE_DESC: usize = 0x80;
    pub const QUEUE_DRIVER: usize = 0x90;
    pub const QUEUE_DEVICE: usize = 0xa0;
    pub const CONFIG_GENERATION: usize = 0xfc;
    pub const CONFIG: usize = 0x100;
}

/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;

/// One virtio-mmio device.
pub struct MmioTransport {
    registers: Rc<dyn Registers>,
    device_type: u32,
    polled: bool,
}

impl MmioTransport {
    /// Looks at a register window (at least 0x100 bytes; QEMU's are 0x200). `Ok(None)` for an empty slot.
    pub fn new(registers: Rc<dyn Registers>) -> Result<Option<MmioTransport>, InitError> {
        if registers.len() < register::CONFIG {
            return Err(InitError::NotADevice {
                what: "virtio-mmio window length",
                found: registers.len() as u32,
            });
        }
        let magic = registers.read32(register::MAGIC);
        if magic != MAGIC {
            return Err(InitError::NotADevice { what: "virtio-mmio magic", found: magic });
        }
        let version = registers.read32(register::VERSION);
        if version == 1 {
            // QEMU's default: needs -global virtio-mmio.force-legacy=off.
            return Err(InitError::Legacy);
        }
        if version != 2 {
            return Err(InitError::NotADevice { what: "virtio-mmio version", found: version });
        }
        let device_type = registers.read32(register::DEVICE_ID);
        Ok((device_type != 0).then_some(MmioTransport { registers, device_type, polled: false }))
    }

    /// For a device whose interrupt goes nowhere and whose task is woken by timer: it is not acknowledged
    /// either, which would cost two exits at every tick.
    pub fn without_interrupt(self) -> MmioTransport {
        MmioTransport { polled: true, ..self }
    }
}

impl Transport for MmioTransport {
    fn device_type(&self) -> u32 {
        self.device_type
    }

    fn device_features(&self) -> u64 {
        let half = |select| {
            self.registers.write32(register::DEVICE_FEATURES_SEL, select);
            u64::from(self.registers.read32(register::DEVICE_FEATURES))
        };
        half(0) | half(1) << 32
    }

    fn set_driver_features(&self, features: u64) {
        for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.registers.write32(register::DRIVER_FEATURES_SEL, select);
            self.registers.write32(register::DRIVER_FEATURES, half);
        }
    }

    fn status(&self) -> u8 {
        self.registers.read32(register::STATUS) as u8
    }

    fn set_status(&self, status: u8) {
        self.registers.write32(register::STATUS, u32::from(status));
    }

    fn queue_max_size(&self, queue: u16) -> u16 {
        self.registers.write32(register::QUEUE_SEL, u32::from(queue));
        self.registers.read32(register::QUEUE_NUM_MAX).min(1 << 15) as u16
    }

    fn queue_enabled(&self, queue: u16) -> bool {
        self.registers.write32(register::QUEUE_SEL, u32::from(queue));
        self.registers.read32(register::QUEUE_READY) != 0
    }

    fn set_queue(&self, queue: u16, size: u16, addresses: QueueAddresses) -> Result<Doorbell, InitError> {
        self.registers.write32(register::QUEUE_SEL, u32::from(queue));
        self.registers.write32(register::QUEUE_NUM, u32::from(size));
        self.registers.write64(register::QUEUE_DESC, addresses.descriptors);
        self.registers.write64(register::QUEUE_DRIVER, addresses.driver);
        self.registers.write64(register::QUEUE_DEVICE, addresses.device);
        self.registers.write32(register::QUEUE_READY, 1);
        Ok(Doorbell {
            registers: self.registers.clone(),
            offset: register::QUEUE_NOTIFY,
            width: DoorbellWidth::Word,
            queue,
        })
    }

    fn config_generation(&self) -> u32 {
        self.registers.read32(register::CONFIG_GENERATION)
    }

    fn config_len(&self) -> usize {
        self.registers.len() - register::CONFIG
    }

    fn config8(&self, offset: usize) -> u8 {
        if offset < self.config_len() { self.registers.read8(register::CONFIG + offset) } else { 0 }
    }

    fn config16(&self, offset: usize) -> u16 {
        if offset + 2 <= self.config_len() { self.registers.read16(register::CONFIG + offset) } else { 0 }
    }

    fn config32(&self, offset: usize) -> u32 {
        if offset + 4 <= self.config_len() { self.registers.read32(register::CONFIG + offset) } else { 0 }
    }

    fn acknowledge_interrupt(&self) {
        if self.polled {
            return;
        }
        let pending = self.registers.read32(register::INTERRUPT_STATUS);
        if pending != 0 {
            self.registers.write32(register::INTERRUPT_ACK, pending);
        }
    }
}
