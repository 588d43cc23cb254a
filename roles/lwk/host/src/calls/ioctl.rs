//! ioctl(2), by the table of section 4.6.

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::messages::Part;

use super::{Reply, Task, done, interfaces, terminal};
use crate::fail::Fail;

/// A request that is in the table.
pub(super) fn ioctl(task: &Task<'_>) -> Result<Reply, Fail> {
    let handle = task.handle(0)?;
    let answer = |bytes: &[u8]| Ok(Reply::done().with(task.checked.output(2, Part::Whole), bytes));
    match task.int(1) {
        0x5401..=0x5414 | 0x5429 | 0x802c_542a | 0x402c_542b..=0x402c_542d => terminal::ioctl(task, &handle),
        // FIONREAD
        0x541b => answer(&(rustix::io::ioctl_fionread(&*handle)?.min(i32::MAX as u64) as i32).to_le_bytes()),
        // FIONBIO
        0x5421 => {
            let on = task.input(2)?.iter().any(|byte| *byte != 0);
            rustix::io::ioctl_fionbio(&*handle, on)?;
            Ok(Reply::done())
        }
        0x8910..=0x8946 => interfaces::ioctl(task, &handle),
        // BLKSSZGET
        0x1268 => answer(&rustix::fs::ioctl_blksszget(&*handle)?.to_le_bytes()),
        // BLKGETSIZE64, from where the kernel tells it without ioctl: units of 512 bytes.
        0x8008_1272 => {
            let stat = rustix::fs::fstat(&*handle)?;
            let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            if handle.kind != keelson_lwk_wire::messages::FdKind::Block {
                return Err(Fail(Errno::ENOTTY));
            }
            let text = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/size"))?;
            let sectors: u64 = text.trim().parse().map_err(|_| Fail(Errno::EIO))?;
            answer(&sectors.saturating_mul(512).to_le_bytes())
        }
        // FS_IOC_GETFLAGS writes an int, whatever its number says.
        0x8008_6601 => answer(&rustix::fs::ioctl_getflags(&*handle)?.bits().to_le_bytes()),
        // FS_IOC_SETFLAGS
        0x4008_6602 if task.proxy.rules.read_only => Err(Fail(Errno::EROFS)),
        0x4008_6602 => {
            let flags = task.input(2)?.first_chunk().ok_or(Fail(Errno::EFAULT))?;
            let flags = rustix::fs::IFlags::from_bits_retain(u32::from_le_bytes(*flags));
            done(rustix::fs::ioctl_setflags(&*handle, flags))
        }
        // RNDGETENTCNT
        0x8004_5200 => {
            let text = std::fs::read_to_string("/proc/sys/kernel/random/entropy_avail")?;
            answer(&text.trim().parse::<i32>().map_err(|_| Fail(Errno::EIO))?.to_le_bytes())
        }
        _ => Err(Fail(Errno::ENOTTY)),
    }
}
