//! What lies in memory for a port, and what commands look like there.
//!
//! ```text
//!   0 list: 32 headers of 32 bytes   0x400 received FISes   0x600 a page that the driver asks for   0x800 32 tables of 256 bytes
//! ```

use crate::InitError;
use crate::dma::DmaBuffer;
use alloc::rc::Rc;
use core::sync::atomic::{Ordering, fence};
use keelson_hal::Dma;

const LIST: usize = 0;
const RECEIVED: usize = 0x400;
const PAGE: usize = 0x600;
const TABLES: usize = 0x800;
const HEADER: usize = 32;
const TABLE: usize = 256;
/// Commands that a list has room for.
pub(super) const SLOTS: usize = 32;
const LEN: usize = TABLES + SLOTS * TABLE;
/// Where a table's scatter list begins (section 4.2.3).
const SCATTER: usize = 0x80;

/// Bytes that an entry of a scatter list can name.
pub(super) const ENTRY_MAX: usize = 4 << 20;
/// Bytes of the page.
pub(super) const PAGE_LEN: usize = 512;

/// Header, dword 0: dwords of the FIS, and that data goes to the device (section 4.2.2).
const FIS_DWORDS: u32 = 5;
const TO_DEVICE: u32 = 1 << 6;
/// A register FIS to the device that has a command (Serial ATA 3.0, section 10.3.4).
const REGISTERS_WITH_COMMAND: u32 = 0x27 | 0x80 << 8;

/// Opcodes (ATA8-ACS).
pub(super) mod opcode {
    pub const READ_DMA_EXT: u8 = 0x25;
    pub const READ_LOG_EXT: u8 = 0x2f;
    pub const WRITE_DMA_EXT: u8 = 0x35;
    pub const READ_FPDMA_QUEUED: u8 = 0x60;
    pub const WRITE_FPDMA_QUEUED: u8 = 0x61;
    pub const FLUSH_CACHE: u8 = 0xe7;
    pub const FLUSH_CACHE_EXT: u8 = 0xea;
    pub const IDENTIFY: u8 = 0xec;
}

/// Device register: addresses are block numbers.
const LBA: u32 = 1 << 6;

/// A command: its FIS, and where its data is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Command {
    pub(super) opcode: u8,
    pub(super) features: u16,
    pub(super) count: u16,
    pub(super) block: u64,
    /// The device's address of the data, and its length.
    pub(super) data: Option<(u64, usize)>,
    pub(super) to_device: bool,
}

impl Command {
    /// One without data.
    pub(super) fn new(opcode: u8) -> Command {
        Command { opcode, features: 0, count: 0, block: 0, data: None, to_device: false }
    }

    /// Blocks at `block`.
    pub(super) fn plain(opcode: u8, block: u64, blocks: u16) -> Command {
        Command { count: blocks, block, ..Command::new(opcode) }
    }

    /// Blocks at `block`, queued in the device with its slot as the tag: the count stands where other commands have features.
    pub(super) fn queued(opcode: u8, slot: u16, block: u64, blocks: u16) -> Command {
        Command { features: blocks, count: slot << 3, block, ..Command::new(opcode) }
    }
}

/// The memory of a port.
pub(super) struct Memory(DmaBuffer);

impl Memory {
    pub(super) fn new(dma: &Rc<dyn Dma>) -> Result<Memory, InitError> {
        Ok(Memory(DmaBuffer::new(dma, LEN)?))
    }

    pub(super) fn give_to(&self, port: &super::port::Port) {
        port.receive(&self.0, LIST, RECEIVED);
    }

    /// It ends below 4 GiB.
    pub(super) fn is_low(&self) -> bool {
        self.0.phys(LEN - 1) >> 32 == 0
    }

    /// The device may use it for ever.
    pub(super) fn leak(&mut self) {
        self.0.leak();
    }

    /// Where the page is, for a command that fills it.
    pub(super) fn page(&self) -> (u64, usize) {
        (self.0.phys(PAGE), PAGE_LEN)
    }

    /// Byte `at` of the page.
    pub(super) fn page_byte(&self, at: usize) -> u8 {
        assert!(at < PAGE_LEN);
        self.0.read8(PAGE + at)
    }

    /// Writes a command where slot `slot` has its place. The slot is not the device's.
    pub(super) fn set(&self, slot: u16, command: &Command) {
        let slot = usize::from(slot);
        assert!(slot < SLOTS);
        let (table, header) = (TABLES + slot * TABLE, LIST + slot * HEADER);
        let block = |shift: u32| (command.block >> shift) as u32;
        let (features, count) = (u32::from(command.features), u32::from(command.count));
        let fis = [
            REGISTERS_WITH_COMMAND | u32::from(command.opcode) << 16 | (features & 0xff) << 24,
            block(0) & 0xff_ffff | LBA << 24,
            block(24) & 0xff_ffff | (features >> 8) << 24,
            count,
            0,
        ];
        for (index, dword) in fis.into_iter().enumerate() {
            self.0.write32(table + index * 4, dword);
        }
        let mut first = FIS_DWORDS;
        if let Some((phys, len)) = command.data {
            debug_assert!(len <= ENTRY_MAX);
            self.0.write64(table + SCATTER, phys);
            self.0.write32(table + SCATTER + 8, 0);
            // Counted from zero.
            self.0.write32(table + SCATTER + 12, (len - 1) as u32);
            first |= 1 << 16;
        }
        if command.to_device {
            first |= TO_DEVICE;
        }
        self.0.write32(header, first);
        self.0.write32(header + 4, 0);
        self.0.write64(header + 8, self.0.phys(table));
        fence(Ordering::Release);
    }
}
