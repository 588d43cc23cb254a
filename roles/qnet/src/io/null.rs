//! `/dev/null` and `/dev/zero`.

use super::manager::{Io, OpenFile, Opening, ResourceManager, now};
use super::text::plain;
use alloc::rc::Rc;
use keelson_volume::{Attributes, FileId, FileType, SetAttributes};

/// `/dev/null`: takes everything, has nothing.
pub struct Null;

/// `/dev/zero`: takes everything, has zeros without end.
pub struct Zero;

macro_rules! device {
    ($name:ident, $inode:literal, $read:expr) => {
        impl ResourceManager for $name {
            fn root(&self) -> FileId {
                FileId { inode: $inode, discriminator: 0 }
            }

            fn attributes(&self, _: FileId) -> Io<'_, Attributes> {
                now(Ok(plain($inode, FileType::CharDevice, 0o666)))
            }

            fn open<'a>(&'a self, _: FileId, _: Opening<'a>) -> Io<'a, Rc<dyn OpenFile>> {
                now(Ok(Rc::new($name)))
            }

            fn is_writable(&self) -> bool {
                true
            }

            /// Emptying it changes nothing; its owner and bits stay.
            fn set_attributes(&self, id: FileId, changes: SetAttributes) -> Io<'_, Attributes> {
                let only_size = SetAttributes { size: changes.size, ..SetAttributes::default() };
                if changes == only_size {
                    return self.attributes(id);
                }
                now(Err(keelson_qnet_wire::Errno::EROFS))
            }
        }

        impl OpenFile for $name {
            fn read<'a>(&'a self, _: u64, room: &'a mut [u8]) -> Io<'a, usize> {
                let read: fn(&mut [u8]) -> usize = $read;
                now(Ok(read(room)))
            }

            fn write<'a>(&'a self, _: u64, data: &'a [u8]) -> Io<'a, usize> {
                now(Ok(data.len()))
            }

            fn size(&self) -> Option<u64> {
                Some(0)
            }
        }
    };
}

device!(Null, 1, |_| 0);
device!(Zero, 2, |room| {
    room.fill(0);
    room.len()
});
