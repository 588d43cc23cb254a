//! Files whose text is made when they are opened: `/proc/qnetstats`, `/proc/nicinfo/<if>` (sections 16 and 17).

use super::manager::{Io, OpenFile, Opening, ResourceManager, now};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use keelson_qnet_wire::Errno;
use keelson_volume::{Attributes, DeviceNumber, FileId, FileType, Time};

/// Longest text.
const TEXT_MAX: usize = 1 << 20;

/// A file with a text that is always up to date. Each open has the text of that moment, however it is read.
pub struct TextFile {
    make: Box<dyn Fn() -> String>,
    mode: u32,
}

impl TextFile {
    /// A file that everybody may read.
    pub fn new(make: impl Fn() -> String + 'static) -> TextFile {
        TextFile { make: Box::new(make), mode: 0o444 }
    }
}

impl ResourceManager for TextFile {
    fn root(&self) -> FileId {
        FileId { inode: 1, discriminator: 0 }
    }

    /// The size is unknown before it is opened, and 0 then, as with all of `/proc`.
    fn attributes(&self, _: FileId) -> Io<'_, Attributes> {
        now(Ok(plain(1, FileType::Regular, self.mode)))
    }

    fn open<'a>(&'a self, _: FileId, _: Opening<'a>) -> Io<'a, Rc<dyn OpenFile>> {
        let mut text = (self.make)().into_bytes();
        text.truncate(TEXT_MAX);
        now(Ok(Rc::new(Bytes(text.into()))))
    }
}

/// An open file whose bytes do not change.
pub(crate) struct Bytes(pub Rc<[u8]>);

impl OpenFile for Bytes {
    fn read<'a>(&'a self, offset: u64, room: &'a mut [u8]) -> Io<'a, usize> {
        now(Ok(copy(&self.0, offset, room)))
    }

    fn write<'a>(&'a self, _: u64, _: &'a [u8]) -> Io<'a, usize> {
        now(Err(Errno::EROFS))
    }

    fn size(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}

/// Copies what is there from an offset on.
pub(crate) fn copy(bytes: &[u8], offset: u64, room: &mut [u8]) -> usize {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = bytes.get(offset..).unwrap_or_default();
    let len = rest.len().min(room.len());
    if let (Some(room), Some(rest)) = (room.get_mut(..len), rest.get(..len)) {
        room.copy_from_slice(rest);
    }
    len
}

/// Attributes of an object that belongs to root and has no times.
pub(crate) fn plain(inode: u64, file_type: FileType, mode: u32) -> Attributes {
    let time = Time::default();
    Attributes {
        id: FileId { inode, discriminator: 0 },
        file_type,
        mode,
        links: 1,
        uid: 0,
        gid: 0,
        size: 0,
        allocated: 0,
        device: DeviceNumber::default(),
        atime: time,
        mtime: time,
        ctime: time,
    }
}
