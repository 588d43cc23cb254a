//! Devices that every program expects (null(4), full(4), random(4)).

use super::{Events, File, FileType, Operation, Source, Stat, Target, moved};
use crate::Errno;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::task::{Context, Poll};
use keelson_hal::Entropy;
use keelson_lwk_wire::layout::makedev;

/// Which device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// Takes everything, gives nothing.
    Null,
    /// Gives zeros.
    Zero,
    /// Gives zeros, takes nothing.
    Full,
    /// Gives random bytes.
    Random,
    /// The same under its other name.
    Urandom,
}

impl DeviceKind {
    /// The device at a path.
    pub fn at(path: &[u8]) -> Option<DeviceKind> {
        Some(match path {
            b"/dev/null" => DeviceKind::Null,
            b"/dev/zero" => DeviceKind::Zero,
            b"/dev/full" => DeviceKind::Full,
            b"/dev/random" => DeviceKind::Random,
            b"/dev/urandom" => DeviceKind::Urandom,
            _ => return None,
        })
    }

    /// Minor number; the major one is 1 (Linux allocated devices, "memory devices").
    const fn minor(self) -> u32 {
        match self {
            DeviceKind::Null => 3,
            DeviceKind::Zero => 5,
            DeviceKind::Full => 7,
            DeviceKind::Random => 8,
            DeviceKind::Urandom => 9,
        }
    }

    /// What stat(2) tells.
    pub fn stat(self) -> Stat {
        Stat {
            device: makedev(0, 5),
            inode: self.minor().into(),
            mode: FileType::Character as u32 | 0o666,
            links: 1,
            special: (1, self.minor()),
            block_size: 4096,
            ..Stat::default()
        }
    }
}

/// An open device.
pub struct Device {
    /// Which.
    pub kind: DeviceKind,
    entropy: Arc<dyn Entropy + Send + Sync>,
}

impl Device {
    /// Opens a device.
    pub fn new(kind: DeviceKind, entropy: Arc<dyn Entropy + Send + Sync>) -> Device {
        Device { kind, entropy }
    }
}

impl File for Device {
    fn poll_read(
        &self,
        _cx: &mut Context<'_>,
        _operation: &mut Operation,
        _at: Option<u64>,
        into: &mut dyn Target,
    ) -> Poll<Result<usize, Errno>> {
        let random = matches!(self.kind, DeviceKind::Random | DeviceKind::Urandom);
        if self.kind == DeviceKind::Null {
            return Poll::Ready(Ok(0));
        }
        let (wanted, mut done, mut part) = (into.left(), 0, [0; 512]);
        while done < wanted {
            let len = part.len().min(wanted - done);
            if random {
                self.entropy.fill(&mut part[..len]);
            }
            let put = into.put(&part[..len]);
            done += put;
            if put < len {
                break;
            }
        }
        Poll::Ready(moved(done, wanted))
    }

    fn poll_write(
        &self,
        _cx: &mut Context<'_>,
        _operation: &mut Operation,
        _at: Option<u64>,
        from: &mut dyn Source,
    ) -> Poll<Result<usize, Errno>> {
        // Nothing is looked at: what nobody can read is written to null(4) as well.
        Poll::Ready(if self.kind == DeviceKind::Full { Err(Errno::ENOSPC) } else { Ok(from.left()) })
    }

    fn stat(&self) -> Stat {
        self.kind.stat()
    }

    fn name(&self) -> String {
        String::new()
    }

    fn events(&self) -> Events {
        Events::READY
    }

    fn positioned(&self) -> bool {
        true
    }

    fn seek(&self, _offset: i64, _whence: u32) -> Result<u64, Errno> {
        Ok(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{BytesSource, BytesTarget};
    use crate::testing::system;
    use core::task::Waker;

    #[test]
    fn what_they_give_and_take() {
        let (system, ..) = system();
        let cx = &mut Context::from_waker(Waker::noop());
        let mut check = |path: &[u8], read: Option<bool>, write| {
            let device = Device::new(DeviceKind::at(path).unwrap(), system.entropy.clone());
            let (mut into, operation) = ([7; 1000], &mut Operation::new(1, 0));
            let got = device.poll_read(cx, operation, None, &mut BytesTarget::new(&mut into));
            assert_eq!(got, Poll::Ready(Ok(if read.is_some() { 1000 } else { 0 })));
            if let Some(zeros) = read {
                assert_eq!(into.iter().all(|&byte| byte == 0), zeros);
            }
            let put = device.poll_write(cx, operation, None, &mut BytesSource(&[1; 10]));
            assert_eq!(put, Poll::Ready(write));
        };
        check(b"/dev/null", None, Ok(10));
        check(b"/dev/zero", Some(true), Ok(10));
        check(b"/dev/full", Some(true), Err(Errno::ENOSPC));
        check(b"/dev/random", Some(false), Ok(10));
        check(b"/dev/urandom", Some(false), Ok(10));
        assert_eq!(DeviceKind::at(b"/dev/tty"), None);
    }
}
