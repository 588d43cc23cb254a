//! One call under way.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::calls::{AT_FDCWD, Arg, Checked, Waits};
use keelson_lwk_wire::frame::{Flags, MAX_INLINE};
use keelson_lwk_wire::messages::{FdKind, Part};
use rustix::event::PollFlags;
use rustix::fs::{AtFlags, CWD, FileType, OFlags};

use super::Held;
use crate::fail::Fail;
use crate::proxy::Proxy;
use crate::proxy::cancel::{Request, ready_now};
use crate::proxy::confine::Last;

/// A request with what it needs.
pub struct Task<'a> {
    /// The engine.
    pub proxy: &'a Arc<Proxy>,
    /// The request.
    pub request: &'a Arc<Request>,
    /// What is to be done.
    pub checked: Checked<'a>,
}

/// A directory argument.
pub enum Dir {
    /// The working directory.
    Cwd,
    /// A handle.
    Handle(Held),
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Dir::Cwd => CWD,
            Dir::Handle(handle) => handle.as_fd(),
        }
    }
}

impl<'a> Task<'a> {
    /// Puts it together.
    pub fn new(proxy: &'a Arc<Proxy>, request: &'a Arc<Request>, checked: Checked<'a>) -> Task<'a> {
        Task { proxy, request, checked }
    }

    /// The number of the call.
    pub fn nr(&self) -> u32 {
        self.checked.call.nr
    }

    /// An argument.
    pub fn arg(&self, index: usize) -> u64 {
        self.checked.args.get(index).copied().unwrap_or(0)
    }

    /// An argument of 32 bits.
    pub fn int(&self, index: usize) -> u32 {
        self.arg(index) as u32
    }

    /// An error (a violation of the protocol) when an argument names a handle that does not exist.
    pub fn know_handles(&self) -> Result<(), String> {
        for index in self.checked.call.handles() {
            let number = self.arg(index);
            let cwd = number == AT_FDCWD && self.checked.call.args.get(index) == Some(&Arg::Dir);
            if !cwd && self.proxy.handles.get(number).is_none() {
                return Err(format!("{}: unknown handle {number}", self.checked.call.name));
            }
        }
        Ok(())
    }

    /// The handle in an argument. Closed meanwhile: EBADF.
    pub fn handle(&self, index: usize) -> Result<Held, Fail> {
        self.proxy.handles.get(self.arg(index)).ok_or(Fail(Errno::EBADF))
    }

    /// The directory in an argument.
    pub fn dir(&self, index: usize) -> Result<Dir, Fail> {
        if self.arg(index) == AT_FDCWD { Ok(Dir::Cwd) } else { self.handle(index).map(Dir::Handle) }
    }

    /// The path in an argument.
    pub fn path(&self, index: usize) -> Result<&'a [u8], Fail> {
        self.checked.path(index as u8).ok_or(Fail(Errno::EFAULT))
    }

    /// Bytes that an argument points to.
    pub fn input(&self, index: usize) -> Result<&'a [u8], Fail> {
        self.checked.input(index as u8, Part::Whole).ok_or(Fail(Errno::EFAULT))
    }

    /// Calls `with` with what the path in an argument means.
    pub fn at<T>(
        &self,
        dir: &Dir,
        path: &[u8],
        last: Last,
        with: impl FnOnce(BorrowedFd<'_>, &OsStr) -> Result<T, Fail>,
    ) -> Result<T, Fail> {
        self.proxy.rules.locate(dir.as_fd(), path, last, with)
    }

    /// What the first handle is ready for, if the node wants to know.
    pub fn revents(&self) -> u32 {
        if self.checked.call.args.first() != Some(&Arg::Handle) {
            return 0;
        }
        let number = self.arg(0);
        let revents = self.proxy.readiness.of(number).or_else(|| {
            let wanted = self.request.header().flags.contains(Flags::NEED_RDY);
            let handle = self.proxy.handles.get(number).filter(|_| wanted)?;
            Some(ready_now(&*handle, PollFlags::IN | PollFlags::PRI | PollFlags::OUT | PollFlags::RDHUP))
        });
        revents.map_or(0, |revents| revents.bits().into())
    }

    /// It takes no longer than the kernel takes: no worker is needed.
    pub fn is_quick(&self) -> bool {
        match self.nr() {
            // Storage takes its time.
            74 | 75 | 162 | 306 | 277 | 285 | 40 | 326 => return false,
            // Opening a FIFO waits for the other end, opening a device for the device.
            2 | 85 | 257 | 437 => return self.opens_a_file(),
            _ => {}
        }
        // What streams waits for its credit, or its bytes.
        let small = |len: u32| len as usize <= MAX_INLINE;
        let is_small = self.checked.data_out().is_none_or(|output| small(output.len))
            && self.checked.data_in().is_none_or(|input| input.bytes.is_some());
        if !is_small {
            return false;
        }
        if self.checked.call.waits == Waits::No || self.request.never_waits() {
            return true;
        }
        let Ok(handle) = self.handle(0) else { return true };
        match self.nr() {
            0 | 1 | 17..=20 | 295 | 296 | 327 | 328 => {
                is_small
                    && (matches!(handle.kind, FdKind::Regular | FdKind::Directory) || handle.is_nonblocking())
            }
            // Those that wait: record locks, draining a terminal.
            72 => !matches!(self.arg(1), 7 | 38),
            16 => !matches!(self.int(1), 0x5403 | 0x5404 | 0x5409 | 0x402c_542c | 0x402c_542d),
            42 | 43 | 288 | 44..=47 => handle.is_nonblocking(),
            _ => false,
        }
    }

    fn opens_a_file(&self) -> bool {
        let at = usize::from(matches!(self.nr(), 257 | 437));
        let (Ok(path), Ok(dir)) = (self.path(at), if at == 1 { self.dir(0) } else { Ok(Dir::Cwd) }) else {
            return true;
        };
        let nonblocking = match self.nr() {
            2 => self.int(1),
            257 => self.int(2),
            _ => 0,
        };
        if OFlags::from_bits_retain(nonblocking).intersects(OFlags::NONBLOCK | OFlags::PATH) {
            return true;
        }
        let found = self
            .at(&dir, path, Last::Target, |dir, path| Ok(rustix::fs::statat(dir, path, AtFlags::empty())?));
        match found {
            Ok(stat) => {
                matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Directory)
            }
            // There is no such file: it fails, or makes one.
            Err(_) => true,
        }
    }
}
