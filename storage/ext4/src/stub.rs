//! STUB of this branch until ext4-space is there: extents in the inode only, space in group 0 only.
use crate::engine::{BlockNr, Engine};
use crate::halt::Halt;
use crate::layout::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::layout::inode::{EXTENTS, Inode};
use keelson_volume::VolumeError;

impl Engine {
    /// Stub.
    pub fn extents_init(&mut self, inode: &mut Inode) {
        inode.map = [0; 60];
        put_u16(&mut inode.map, 0, 0xf30a);
        put_u16(&mut inode.map, 4, 4);
        inode.flags |= EXTENTS;
    }

    /// Stub.
    pub fn insert_extent(
        &mut self,
        inode: &mut Inode,
        logical: u32,
        block: BlockNr,
        len: u32,
        _unwritten: bool,
    ) -> Result<(), Halt> {
        let count = usize::from(u16_at(&inode.map, 2));
        let sectors = u64::from(len) * self.geometry.block_size as u64 / 512;
        inode.sectors += sectors;
        self.charge(inode.uid, inode.gid, sectors as i64, 0);
        if count > 0 {
            let at = count * 12;
            let (first, have) = (u32_at(&inode.map, at), u32::from(u16_at(&inode.map, at + 4)));
            if first + have == logical && u64::from(u32_at(&inode.map, at + 8)) + u64::from(have) == block {
                put_u16(&mut inode.map, at + 4, (have + len) as u16);
                return Ok(());
            }
        }
        if count == 4 {
            return Err(Halt::Fail(VolumeError::TooBig));
        }
        let at = 12 + count * 12;
        put_u32(&mut inode.map, at, logical);
        put_u16(&mut inode.map, at + 4, len as u16);
        put_u32(&mut inode.map, at + 8, block as u32);
        put_u16(&mut inode.map, 2, count as u16 + 1);
        Ok(())
    }
}
