//! Files of the host that are mapped here while programs also read, write or cut them by system calls: both ways show the same
//! bytes (mmap(2), `MAP_SHARED`).
//!
//! The host answers the calls, so what mappings changed goes there first; the pages here then show what the call did.

use super::Caller;
use super::request::{Request, output_of, result_of};
use crate::Errno;
use crate::files::flags::{O_APPEND, SEEK_CUR};
use crate::files::{Description, FileType, Iovec, Stat};
use crate::mm::{FileId, Object};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bytes that are copied at a time: few, as the copy must not fail once the call was done.
const PART: u64 = 16 << 10;

/// The memory of a mapped file.
pub struct Mapped(Arc<Object>);

impl Mapped {
    /// That behind a descriptor; `None` for everything else than a file of the host that is mapped.
    pub fn of(caller: &Caller<'_>, description: &Description) -> Option<Mapped> {
        let host = description.file().host()?;
        if host.file_type() != Some(FileType::Regular) {
            return None;
        }
        let opened = host.opened();
        let id = FileId { host: host.delegate().host(), device: opened.stat.dev, inode: opened.stat.ino };
        caller.thread.process.system.memory.find(&id).filter(|object| object.is_mapped()).map(Mapped)
    }

    /// Brings what mappings changed to the host.
    pub async fn push(&self) -> Result<(), Errno> {
        if self.0.may_be_dirty() { self.0.write_back().await } else { Ok(()) }
    }

    /// Shows what a call wrote under status flags: the first `count` bytes of `pieces`, at `at` or where the file's own position
    /// was.
    pub async fn written(
        &self,
        caller: &Caller<'_>,
        description: &Description,
        flags: u32,
        at: Option<u64>,
        pieces: &[Iovec],
        count: u64,
    ) -> Result<(), Errno> {
        let end = match at {
            // Whatever the position, the bytes are the last ones.
            Some(_) if flags & O_APPEND != 0 => size(caller, description).await?,
            Some(at) => at.saturating_add(count),
            None => position(caller, description).await?,
        };
        let (mut offset, mut left) = (end.saturating_sub(count), count);
        let mut bytes = Vec::new();
        for piece in pieces {
            let mut done = 0;
            while done < piece.len.min(left) {
                let part = PART.min(piece.len - done).min(left - done);
                bytes.resize(part as usize, 0);
                caller.mm().read(piece.base.saturating_add(done), &mut bytes)?;
                self.0.written(offset, &bytes).await;
                offset += part;
                done += part;
            }
            left -= done;
        }
        Ok(())
    }

    /// The file has a new size; what is beyond it is gone.
    pub fn cut(&self, size: u64) {
        self.0.set_size(size);
    }

    /// Shows a file that the host changed in its own ways.
    pub async fn changed(&self, caller: &Caller<'_>, description: &Description) -> Result<(), Errno> {
        self.0.reload(size(caller, description).await?).await
    }
}

/// Where the file's next read would be.
async fn position(caller: &Caller<'_>, description: &Description) -> Result<u64, Errno> {
    let host = description.file().host().ok_or(Errno::EINVAL)?;
    let request = Request::new(caller, 8, [0, 0, u64::from(SEEK_CUR), 0, 0, 0]).handle(0, host);
    result_of(&request.send_through(host.delegate()).await?)
}

async fn size(caller: &Caller<'_>, description: &Description) -> Result<u64, Errno> {
    let host = description.file().host().ok_or(Errno::EINVAL)?;
    let request = Request::new(caller, 5, [0; 6]).handle(0, host).output(1, Stat::BYTES as u64);
    let reply = request.send_through(host.delegate()).await?;
    // `st_size` of `struct stat`.
    let bytes = output_of(&reply, 1).get(48..56).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_le_bytes).ok_or(Errno::EIO)
}

#[cfg(test)]
mod tests {
    use crate::files::flags::{O_APPEND, O_CREAT, O_RDWR};
    use crate::syscalls::{files, memory, objects, paths};
    use crate::testing::programs::{Program, now};

    const SHARED: u64 = 1;
    const PAGE: u64 = 4096;

    /// A file of `text`, opened and mapped shared: descriptor and address.
    fn mapped(program: &Program, text: &[u8], flags: u32) -> (u64, u64) {
        let caller = program.caller();
        program.host.file("/tmp/m", text);
        let path = program.text("/tmp/m");
        let fd = now(paths::sys_open(&caller, [path, u64::from(flags), 0o644, 0, 0, 0])).unwrap();
        let at = now(memory::sys_mmap(&caller, [0, 2 * PAGE, 3, SHARED, fd, 0])).unwrap();
        (fd, at)
    }

    #[test]
    fn mappings_show_what_calls_write() {
        let program = Program::new();
        let caller = program.caller();
        let (fd, at) = mapped(&program, &[b'.'; 5000], O_RDWR | O_CREAT);
        assert_eq!(program.bytes(at, 3), b"...");
        let text = program.put(b"hello");
        assert_eq!(now(files::sys_write(&caller, [fd, text, 5, 0, 0, 0])), Ok(5));
        assert_eq!(program.bytes(at, 7), b"hello..");
        assert_eq!(now(files::sys_pwrite64(&caller, [fd, text, 5, 4094, 0, 0])), Ok(5));
        assert_eq!(program.bytes(at + 4093, 7), b".hello.");
        // The second write goes on where the first one ended, in two pieces.
        let array = program.put(&[text, 2, text + 3, 2].map(u64::to_le_bytes).concat());
        assert_eq!(now(files::sys_writev(&caller, [fd, array, 2, 0, 0, 0])), Ok(4));
        assert_eq!(program.bytes(at, 10), b"hellohelo.");
    }

    #[test]
    fn files_grow_and_shrink_under_mappings() {
        let program = Program::new();
        let caller = program.caller();
        let (fd, at) = mapped(&program, b"abc", O_RDWR | O_APPEND);
        let text = program.put(b"def");
        assert_eq!(now(files::sys_write(&caller, [fd, text, 3, 0, 0, 0])), Ok(3));
        assert_eq!(program.bytes(at, 7), b"abcdef\0");
        let mm = program.thread.process.mm();
        assert!(mm.read(at + PAGE, &mut [0]).is_err(), "beyond the end");
        assert_eq!(now(objects::sys_ftruncate(&caller, [fd, PAGE + 1, 0, 0, 0, 0])), Ok(0));
        now(mm.read_wait(at + PAGE, &mut [0])).unwrap();
        assert_eq!(now(objects::sys_ftruncate(&caller, [fd, 2, 0, 0, 0, 0])), Ok(0));
        assert_eq!(program.bytes(at, 4), b"ab\0\0");
        assert!(mm.read(at + PAGE, &mut [0]).is_err(), "the page is gone");
    }

    #[test]
    fn calls_see_what_mappings_wrote() {
        let program = Program::new();
        let caller = program.caller();
        let (fd, at) = mapped(&program, &[b'.'; 5000], O_RDWR);
        let mm = program.thread.process.mm();
        now(mm.write_wait(at + 1, b"stored")).unwrap();
        let into = program.room(16);
        assert_eq!(now(files::sys_pread64(&caller, [fd, into, 8, 0, 0, 0])), Ok(8));
        assert_eq!(program.bytes(into, 8), b".stored.");
        now(mm.write_wait(at + 4990, b"again")).unwrap();
        assert_eq!(now(objects::sys_sync(&caller, 74, [fd, 0, 0, 0, 0, 0])), Ok(0));
        assert_eq!(program.host.content("/tmp/m").unwrap()[4990..4995], *b"again");
        // A write beside what was stored loses neither.
        now(mm.write_wait(at + 20, b"left")).unwrap();
        let text = program.put(b"right");
        assert_eq!(now(files::sys_pwrite64(&caller, [fd, text, 5, 24, 0, 0])), Ok(5));
        assert_eq!(program.bytes(at + 19, 11), b".leftright.");
        now(memory::sys_msync(&caller, [at, 2 * PAGE, 4, 0, 0, 0])).unwrap();
        assert_eq!(program.host.content("/tmp/m").unwrap()[19..30], *b".leftright.");
    }
}
