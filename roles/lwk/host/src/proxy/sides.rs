//! Side effects of class S calls: what keeps the proxy in step with its process.
//!
//! They are performed in the order in which they come, before any later request.

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::bytes::Malformed;
use keelson_lwk_wire::frame::{Frame, FrameType};
use keelson_lwk_wire::messages::{Chdir, Message, Rlimit, SetIds, SetPgid, SetSid, SideReply, Umask};
use nix::unistd::{Gid, Uid, getresgid, getresuid, setgroups, setresgid, setresuid};
use rustix::fs::Mode;
use rustix::process::{Pid, Resource, setrlimit};

use super::Proxy;
use crate::calls;
use crate::fail::Fail;

/// "Unchanged" in the calls that set several ids.
const SAME: u32 = u32::MAX;

impl Proxy {
    pub(super) fn side(&self, frame: &Frame) -> Result<(), Malformed> {
        let payload = &frame.payload[..];
        let result = match frame.header.kind {
            FrameType::SetIds => set_ids(&SetIds::decode(payload)?),
            FrameType::SetPgid => set_pgid(SetPgid::decode(payload)?),
            FrameType::SetSid => {
                SetSid::decode(payload)?;
                rustix::process::setsid().map(|sid| i64::from(sid.as_raw_nonzero().get())).map_err(Fail::from)
            }
            FrameType::Umask => {
                let mask = Umask::decode(payload)?.mask;
                Ok(rustix::process::umask(Mode::from_bits_retain(mask & 0o777)).bits().into())
            }
            FrameType::Chdir => calls::change_directory(self, Chdir::decode(payload)?.path).map(|()| 0),
            FrameType::Rlimit => set_limit(Rlimit::decode(payload)?),
            _ => return Err(Malformed::Value),
        };
        let result = result.unwrap_or_else(|fail| fail.0.as_result());
        self.send(&frame.header.reply(FrameType::SideReply), &SideReply { result });
        Ok(())
    }
}

fn set_pgid(wanted: SetPgid) -> Result<i64, Fail> {
    let pid = |raw: u32| i32::try_from(raw).map(Pid::from_raw).map_err(|_| Fail(Errno::EINVAL));
    rustix::process::setpgid(pid(wanted.pid)?, pid(wanted.pgid)?)?;
    Ok(0)
}

/// The C library's calls change the ids of all threads, as they must.
fn set_ids(wanted: &SetIds) -> Result<i64, Fail> {
    let [first, second, third] = wanted.ids;
    let (uid, gid) = (Uid::from_raw, Gid::from_raw);
    match wanted.call {
        105 => nix::unistd::setuid(uid(first))?,
        106 => nix::unistd::setgid(gid(first))?,
        113 => {
            let real = getresuid()?.real.as_raw();
            setresuid(uid(first), uid(second), uid(saved(first, second, real)))?;
        }
        114 => {
            let real = getresgid()?.real.as_raw();
            setresgid(gid(first), gid(second), gid(saved(first, second, real)))?;
        }
        116 => {
            let groups: Vec<Gid> = wanted.groups.iter().map(|group| gid(*group)).collect();
            setgroups(&groups)?;
        }
        117 => setresuid(uid(first), uid(second), uid(third))?,
        119 => setresgid(gid(first), gid(second), gid(third))?,
        // setfsuid and setfsgid change one thread only, and there are many. They cannot fail, they leave things as they are.
        122 => return Ok(Uid::effective().as_raw().into()),
        123 => return Ok(Gid::effective().as_raw().into()),
        _ => return Err(Fail(Errno::EINVAL)),
    }
    Ok(0)
}

/// What setreuid(2) makes of the saved id.
fn saved(real: u32, effective: u32, old_real: u32) -> u32 {
    if real != SAME || (effective != SAME && effective != old_real) { effective } else { SAME }
}

fn set_limit(wanted: Rlimit) -> Result<i64, Fail> {
    // Those that the host's kernel applies to what it does for the program. Descriptors are counted on the node; here there
    // are more of them.
    let resource = match wanted.resource {
        1 => Resource::Fsize,
        7 => return Ok(0),
        _ => return Err(Fail(Errno::EINVAL)),
    };
    let value = |raw: u64| (raw != u64::MAX).then_some(raw);
    setrlimit(
        resource,
        rustix::process::Rlimit { current: value(wanted.soft), maximum: value(wanted.hard) },
    )?;
    Ok(0)
}
