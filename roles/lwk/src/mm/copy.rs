//! Copies from and to a program, which resolve faults on the way; futex words.

use super::fault::Fault;
use super::{Mm, PAGE, PageRequest, page_of};
use crate::{Errno, room};
use alloc::vec::Vec;
use keelson_hal::user::Access;

/// Names the memory word of a futex: the same in all processes that share it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FutexKey {
    /// The object, or the address space for private memory.
    pub owner: u64,
    /// Offset in the object, or the address.
    pub offset: u64,
}

/// What a copy that cannot go on has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The program's fault, or no memory.
    Fail(Errno),
    /// Wait for a page.
    Fetch(PageRequest),
}

/// Most entries of an iovec (`IOV_MAX`).
pub const IOVECS_MOST: usize = 1024;

impl Mm {
    /// Copies user memory in; EFAULT when a part is not readable or is a page of a file that must be fetched.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.read_some(at, into).map_err(|(_, stop)| stop.errno())
    }

    /// Copies to user memory; EFAULT as with [`Mm::read`].
    pub fn write(&self, at: u64, from: &[u8]) -> Result<(), Errno> {
        self.write_some(at, from).map_err(|(_, stop)| stop.errno())
    }

    /// Copies user memory in: how many bytes were readable when not all are, and why not.
    pub fn read_some(&self, at: u64, into: &mut [u8]) -> Result<(), (usize, Stop)> {
        let mut done = 0;
        while let Err(more) = self.space.read(at.wrapping_add(done as u64), &mut into[done..]) {
            done += more;
            self.touch(at, done, Access::Read).map_err(|stop| (done, stop))?;
        }
        Ok(())
    }

    /// Copies to user memory: how many bytes were writable when not all are, and why not.
    pub fn write_some(&self, at: u64, from: &[u8]) -> Result<(), (usize, Stop)> {
        let mut done = 0;
        while let Err(more) = self.space.write(at.wrapping_add(done as u64), &from[done..]) {
            done += more;
            self.touch(at, done, Access::Write).map_err(|stop| (done, stop))?;
        }
        Ok(())
    }

    /// Copies user memory in, fetching pages of files.
    pub async fn read_wait(&self, at: u64, into: &mut [u8]) -> Result<(), Errno> {
        let mut done = 0;
        loop {
            match self.read_some(at.wrapping_add(done as u64), &mut into[done..]) {
                Ok(()) => return Ok(()),
                Err((more, stop)) => {
                    done += more;
                    stop.wait().await?;
                }
            }
        }
    }

    /// Copies to user memory, fetching pages of files.
    pub async fn write_wait(&self, at: u64, from: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        loop {
            match self.write_some(at.wrapping_add(done as u64), &from[done..]) {
                Ok(()) => return Ok(()),
                Err((more, stop)) => {
                    done += more;
                    stop.wait().await?;
                }
            }
        }
    }

    /// Brings the pages of a range so that `access` succeeds, fetching pages of files.
    pub async fn touch_wait(&self, at: u64, len: u64, access: Access, node: usize) -> Result<(), Errno> {
        let end = at.checked_add(len).ok_or(Errno::EFAULT)?;
        let mut page = page_of(at);
        while page < end {
            match self.fault(page, access, node) {
                Ok(()) => match self.space.find(page) {
                    Some(mapped) => page = mapped.at + mapped.size.bytes(),
                    None => page += PAGE,
                },
                Err(fault) => Stop::from(fault).wait().await?,
            }
        }
        Ok(())
    }

    fn touch(&self, at: u64, done: usize, access: Access) -> Result<(), Stop> {
        // Who copies is the thread itself as a rule, or the core that serves it.
        let node = self.system.machine.here();
        let at = at.checked_add(done as u64).ok_or(Stop::Fail(Errno::EFAULT))?;
        self.fault(at, access, node).map_err(Stop::from)
    }

    /// Reads a 32-bit number.
    pub fn read_u32(&self, at: u64) -> Result<u32, Errno> {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Reads a 64-bit number.
    pub fn read_u64(&self, at: u64) -> Result<u64, Errno> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes a 32-bit number.
    pub fn write_u32(&self, at: u64, value: u32) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    /// Writes a 64-bit number.
    pub fn write_u64(&self, at: u64, value: u64) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    /// Reads a string up to its zero, which does not count; ENAMETOOLONG when there is none within `max` bytes.
    pub fn read_string(&self, at: u64, max: usize) -> Result<Vec<u8>, Errno> {
        let mut string = Vec::new();
        while string.len() < max {
            match self.read_string_part(at, &mut string, max) {
                Ok(true) => return Ok(string),
                Ok(false) => {}
                Err(stop) => return Err(stop.errno()),
            }
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// The same, fetching pages of files.
    pub async fn read_string_wait(&self, at: u64, max: usize) -> Result<Vec<u8>, Errno> {
        let mut string = Vec::new();
        while string.len() < max {
            match self.read_string_part(at, &mut string, max) {
                Ok(true) => return Ok(string),
                Ok(false) => {}
                Err(stop) => stop.wait().await?,
            }
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Reads on to the end of a string or of a page; true at its end.
    fn read_string_part(&self, at: u64, string: &mut Vec<u8>, max: usize) -> Result<bool, Stop> {
        let here = at.checked_add(string.len() as u64).ok_or(Stop::Fail(Errno::EFAULT))?;
        let mut buffer = [0; 256];
        let page_left = PAGE - here % PAGE;
        let len = (page_left as usize).min(buffer.len()).min(max - string.len());
        self.read_some(here, &mut buffer[..len]).map_err(|(_, stop)| stop)?;
        let part = &buffer[..len];
        let end = part.iter().position(|byte| *byte == 0);
        room::extend(string, &part[..end.unwrap_or(len)]).map_err(Stop::Fail)?;
        Ok(end.is_some())
    }

    /// Reads an array of 64-bit numbers.
    pub fn read_words(&self, at: u64, count: usize) -> Result<Vec<u64>, Errno> {
        const PART: usize = 512;
        count.checked_mul(8).filter(|len| *len <= 1 << 20).ok_or(Errno::EINVAL)?;
        let mut words = room::with_room(count)?;
        let mut part = [0; 8 * PART];
        while words.len() < count {
            let bytes = &mut part[..8 * (count - words.len()).min(PART)];
            self.read(at.wrapping_add(8 * words.len() as u64), bytes)?;
            words.extend(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)));
        }
        Ok(words)
    }

    /// Reads an array of `struct iovec`: addresses and lengths. EINVAL for too many, or more bytes than a call can transfer.
    pub fn read_iovecs(&self, at: u64, count: usize) -> Result<Vec<(u64, u64)>, Errno> {
        if count > IOVECS_MOST {
            return Err(Errno::EINVAL);
        }
        let words = self.read_words(at, count * 2)?;
        let vectors: Vec<(u64, u64)> = words.as_chunks().0.iter().map(|[base, len]| (*base, *len)).collect();
        let total = vectors.iter().try_fold(0u64, |total, (_, len)| total.checked_add(*len));
        total.filter(|total| *total <= i64::MAX as u64).ok_or(Errno::EINVAL)?;
        Ok(vectors)
    }

    /// The name of the futex word at `at`.
    pub fn futex_key(&self, at: u64, private: bool) -> Result<FutexKey, Errno> {
        if !at.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        let own = FutexKey { owner: self.id, offset: at };
        if private {
            return Ok(own);
        }
        let state = self.lock();
        let area = state.areas.find(at).ok_or(Errno::EFAULT)?;
        Ok(match area.object() {
            Some(object) if area.shared => FutexKey { owner: object.id(), offset: area.offset_of(at) },
            _ => own,
        })
    }

    /// Reads an aligned word atomically.
    pub fn load_u32(&self, at: u64) -> Result<u32, Errno> {
        self.word(at, Access::Read, || self.space.load_u32(at))
    }

    /// Stores `new` where `old` is, atomically: the value found.
    pub fn compare_exchange_u32(&self, at: u64, old: u32, new: u32) -> Result<u32, Errno> {
        self.word(at, Access::Write, || self.space.compare_exchange_u32(at, old, new))
    }

    fn word(&self, at: u64, access: Access, attempt: impl Fn() -> Option<u32>) -> Result<u32, Errno> {
        if !at.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        loop {
            if let Some(value) = attempt() {
                return Ok(value);
            }
            self.touch(at, 0, access).map_err(|stop| stop.errno())?;
        }
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        match fault {
            Fault::Missing(request) => Stop::Fetch(request),
            Fault::OutOfMemory => Stop::Fail(Errno::ENOMEM),
            Fault::MapErr | Fault::AccErr | Fault::Bus => Stop::Fail(Errno::EFAULT),
        }
    }
}

impl Stop {
    /// The error for those who do not wait.
    pub fn errno(self) -> Errno {
        match self {
            Stop::Fail(errno) => errno,
            Stop::Fetch(_) => Errno::EFAULT,
        }
    }

    /// Waits for the page, when that is all that is missing.
    pub async fn wait(self) -> Result<(), Errno> {
        match self {
            Stop::Fail(errno) => Err(errno),
            Stop::Fetch(request) => request.fetch().await.map_err(|_| Errno::EFAULT),
        }
    }
}
