//! Directories: getdents64, and getdents in its old layout.

use std::mem::MaybeUninit;

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::layout::{Dirent, push_dirent, push_old_dirent};
use keelson_lwk_wire::messages::Part;
use rustix::fs::{FileType, RawDir};

use super::{Reply, Task};
use crate::fail::Fail;
use crate::proxy::lock;

/// DT_ numbers.
fn kind(kind: FileType) -> u8 {
    match kind {
        FileType::Fifo => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 4,
        FileType::BlockDevice => 6,
        FileType::RegularFile => 8,
        FileType::Symlink => 10,
        FileType::Socket => 12,
        FileType::Unknown => 0,
    }
}

/// getdents, getdents64
pub(super) fn entries(task: &Task<'_>) -> Result<Reply, Fail> {
    let handle = task.handle(0)?;
    let output = task.checked.output(1, Part::Whole);
    let most = output.map_or(0, |output| output.len as usize);
    // One call of the kernel's fills the buffer; entries take as many bytes in either layout. The directory's offset has moved
    // behind what was read, so all of it must go out.
    let mut buffer = vec![MaybeUninit::uninit(); most];
    let _turn = lock(&handle.reading);
    let mut dir = RawDir::new(&*handle, &mut buffer);
    let mut bytes = Vec::with_capacity(most);
    while bytes.is_empty() || !dir.is_buffer_empty() {
        let Some(entry) = dir.next() else { break };
        let entry = entry?;
        let entry = Dirent {
            ino: entry.ino(),
            off: entry.next_entry_cookie() as i64,
            kind: kind(entry.file_type()),
            name: entry.file_name().to_bytes(),
        };
        let push = if task.nr() == 78 { push_old_dirent } else { push_dirent };
        if !push(&mut bytes, most, &entry) {
            return Err(Fail(Errno::EIO));
        }
    }
    Ok(Reply::value(bytes.len() as i64).with(output, bytes))
}
