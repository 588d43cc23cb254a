//! The cache as the engine's block device.

use super::PageCache;
use alloc::rc::Rc;
use core::cell::RefCell;
use keelson_hal::{BlockError, SECTOR_SIZE};
use rsext4::{BlockIo, DeviceCapabilities, DeviceGeometry, Ext4Error, Ext4Result, SectorId};

/// The engine's handle to a cache that the volume uses too. The engine is only entered through the volume,
/// which holds no borrow of the cache meanwhile.
pub(crate) struct CacheIo(pub Rc<RefCell<PageCache>>);

fn engine_error(error: BlockError) -> Ext4Error {
    match error {
        BlockError::ReadOnly => Ext4Error::read_only(),
        _ => Ext4Error::io(),
    }
}

fn position(sector: SectorId) -> u64 {
    sector.raw().saturating_mul(SECTOR_SIZE as u64)
}

impl BlockIo for CacheIo {
    fn write(&mut self, buffer: &[u8], sector: SectorId, _count: u32) -> Ext4Result<()> {
        self.0.borrow_mut().write(position(sector), buffer).map_err(engine_error)
    }

    fn read(&mut self, buffer: &mut [u8], sector: SectorId, _count: u32) -> Ext4Result<()> {
        self.0.borrow_mut().read(position(sector), buffer).map_err(engine_error)
    }

    fn geometry(&self) -> DeviceGeometry {
        let sectors = self.0.borrow().device_bytes() / SECTOR_SIZE as u64;
        DeviceGeometry::new(SECTOR_SIZE as u32, sectors)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities {
            read_only: self.0.borrow().is_read_only(),
            flush: true,
            ..DeviceCapabilities::default()
        }
    }

    fn flush(&mut self) -> Ext4Result<()> {
        self.0.borrow_mut().flush().map_err(engine_error)
    }
}
