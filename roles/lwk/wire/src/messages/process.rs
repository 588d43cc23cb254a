//! Life of a process: signals, fork, exit, and the calls that change what its proxy is (class S).

use alloc::vec::Vec;

use super::Message;
use super::launch::limits;
use crate::bytes::{Malformed, Reader, Writer};
use crate::errno::Errno;
use crate::frame::FrameType;
use crate::layout::{Rusage, SigInfo};

/// A signal that the proxy got, for the process; the header's `code` is its number, `tid` its target thread, 0 = the
/// process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signal {
    /// What the handler sees.
    pub info: SigInfo,
}

impl Message<'_> for Signal {
    const KIND: FrameType = FrameType::Signal;

    fn read(from: &mut Reader<'_>) -> Result<Signal, Malformed> {
        Ok(Signal { info: SigInfo::from_bytes(&from.array()?) })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(&self.info.to_bytes());
    }
}

/// What lets a further connection in: single use, 10 s, with the role and the uid of its session (5.3).
pub type Ticket = [u8; 16];

/// Make a proxy for a child. Handles keep their numbers there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fork {
    /// With which the child's proxy connects.
    pub ticket: Ticket,
}

impl Message<'_> for Fork {
    const KIND: FrameType = FrameType::Fork;

    fn read(from: &mut Reader<'_>) -> Result<Fork, Malformed> {
        Ok(Fork { ticket: from.array()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(&self.ticket);
    }
}

/// The proxy exists; the child may run when it has connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ForkOk {
    /// Its process id.
    pub pid: u32,
}

impl Message<'_> for ForkOk {
    const KIND: FrameType = FrameType::ForkOk;

    fn read(from: &mut Reader<'_>) -> Result<ForkOk, Malformed> {
        Ok(ForkOk { pid: from.u32()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u32(self.pid);
    }
}

/// The proxy could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ForkErr {
    /// Why.
    pub error: Errno,
}

impl Message<'_> for ForkErr {
    const KIND: FrameType = FrameType::ForkErr;

    fn read(from: &mut Reader<'_>) -> Result<ForkErr, Malformed> {
        Ok(ForkErr { error: Errno::from_raw(from.i32()?).ok_or(Malformed::Value)? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.i32(self.error.raw());
    }
}

/// What interrupted a core between the first user instruction of a process and its end (section 8.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct CoreAudit {
    /// In the partition's numbering.
    pub core: u32,
    pub timer: u64,
    pub device: u64,
    pub doorbell: u64,
    pub kick: u64,
    pub shootdown: u64,
    pub nmi: u64,
    pub spurious: u64,
    pub page_faults: u64,
    pub exceptions: u64,
    pub syscalls: u64,
}

impl CoreAudit {
    fn read(from: &mut Reader<'_>) -> Result<CoreAudit, Malformed> {
        Ok(CoreAudit {
            core: from.u32()?,
            timer: from.u64()?,
            device: from.u64()?,
            doorbell: from.u64()?,
            kick: from.u64()?,
            shootdown: from.u64()?,
            nmi: from.u64()?,
            spurious: from.u64()?,
            page_faults: from.u64()?,
            exceptions: from.u64()?,
            syscalls: from.u64()?,
        })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u32(self.core)
            .u64(self.timer)
            .u64(self.device)
            .u64(self.doorbell)
            .u64(self.kick)
            .u64(self.shootdown);
        to.u64(self.nmi).u64(self.spurious).u64(self.page_faults).u64(self.exceptions).u64(self.syscalls);
    }
}

/// The process is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    /// As wait(2) gives it.
    pub status: u32,
    /// What it used.
    pub rusage: Rusage,
    /// With `--noise-audit`.
    pub audit: Vec<CoreAudit>,
    /// Handle into which the node wrote a core file itself, if it did.
    pub core: Option<u64>,
    /// For the user, in lines: why the node killed it.
    pub said: Vec<u8>,
}

impl Message<'_> for Exit {
    const KIND: FrameType = FrameType::Exit;

    fn read(from: &mut Reader<'_>) -> Result<Exit, Malformed> {
        let status = from.u32()?;
        let rusage = Rusage::from_bytes(&from.array()?);
        let count = from.count(4096, 84)?;
        let audit = (0..count).map(|_| CoreAudit::read(from)).collect::<Result<_, _>>()?;
        let core = if from.flag()? { Some(from.u64()?) } else { None };
        Ok(Exit { status, rusage, audit, core, said: from.blob(256 << 10)?.to_vec() })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u32(self.status).bytes(&self.rusage.to_bytes()).count(self.audit.len());
        for core in &self.audit {
            core.write(to);
        }
        to.flag(self.core.is_some());
        if let Some(core) = self.core {
            to.u64(core);
        }
        to.blob(&self.said);
    }
}

/// What a [`Show`] is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Shown {
    /// A system call that is over: `--trace`.
    Call = 1,
    /// All of a process, which ends: `--profile`.
    Profile = 2,
}

/// A text for who asked to see the program's calls. SIDE_REPLY says that it is there: the program goes on then, so that no
/// more than one text of a thread is ever under way, and nothing is lost with a node that dies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Show<'a> {
    /// What it is about.
    pub kind: Shown,
    /// Whole lines.
    pub text: &'a str,
}

impl<'a> Message<'a> for Show<'a> {
    const KIND: FrameType = FrameType::Show;

    fn read(from: &mut Reader<'a>) -> Result<Show<'a>, Malformed> {
        let kind = match from.u8()? {
            1 => Shown::Call,
            2 => Shown::Profile,
            _ => return Err(Malformed::Value),
        };
        Ok(Show { kind, text: from.text(256 << 10)? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u8(self.kind as u8).text(self.text);
    }
}

/// One of setuid(2) and its family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetIds {
    /// Which: its number (105, 106, 113, 114, 116, 117, 119, 122, 123).
    pub call: u32,
    /// Its arguments, as far as it has them.
    pub ids: [u32; 3],
    /// Of setgroups.
    pub groups: Vec<u32>,
}

impl Message<'_> for SetIds {
    const KIND: FrameType = FrameType::SetIds;

    fn read(from: &mut Reader<'_>) -> Result<SetIds, Malformed> {
        let call = from.u32()?;
        if !matches!(call, 105 | 106 | 113 | 114 | 116 | 117 | 119 | 122 | 123) {
            return Err(Malformed::Value);
        }
        let ids = [from.u32()?, from.u32()?, from.u32()?];
        let count = from.count(limits::GROUPS, 4)?;
        Ok(SetIds { call, ids, groups: (0..count).map(|_| from.u32()).collect::<Result<_, _>>()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u32(self.call);
        for id in &self.ids {
            to.u32(*id);
        }
        to.count(self.groups.len());
        for group in &self.groups {
            to.u32(*group);
        }
    }
}

/// setpgid(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetPgid {
    /// Process, 0 = the proxy.
    pub pid: u32,
    /// Group, 0 = the process's own.
    pub pgid: u32,
}

impl Message<'_> for SetPgid {
    const KIND: FrameType = FrameType::SetPgid;

    fn read(from: &mut Reader<'_>) -> Result<SetPgid, Malformed> {
        Ok(SetPgid { pid: from.u32()?, pgid: from.u32()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u32(self.pid).u32(self.pgid);
    }
}

/// setsid(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetSid;

impl Message<'_> for SetSid {
    const KIND: FrameType = FrameType::SetSid;

    fn read(_from: &mut Reader<'_>) -> Result<SetSid, Malformed> {
        Ok(SetSid)
    }

    fn write(&self, _to: &mut Writer<'_>) {}
}

/// umask(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Umask {
    /// The new mask.
    pub mask: u32,
}

impl Message<'_> for Umask {
    const KIND: FrameType = FrameType::Umask;

    fn read(from: &mut Reader<'_>) -> Result<Umask, Malformed> {
        Ok(Umask { mask: from.u32()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u32(self.mask);
    }
}

/// chdir(2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chdir<'a> {
    /// Path, without a NUL.
    pub path: &'a [u8],
}

impl<'a> Message<'a> for Chdir<'a> {
    const KIND: FrameType = FrameType::Chdir;

    fn read(from: &mut Reader<'a>) -> Result<Chdir<'a>, Malformed> {
        let path = from.blob(limits::PATH)?;
        if path.contains(&0) { Err(Malformed::Value) } else { Ok(Chdir { path }) }
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.blob(self.path);
    }
}

/// setrlimit(2), for the limits that the host enforces: RLIMIT_FSIZE and RLIMIT_NOFILE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rlimit {
    /// Resource.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

impl Message<'_> for Rlimit {
    const KIND: FrameType = FrameType::Rlimit;

    fn read(from: &mut Reader<'_>) -> Result<Rlimit, Malformed> {
        Ok(Rlimit { resource: from.u32()?, soft: from.u64()?, hard: from.u64()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u32(self.resource).u64(self.soft).u64(self.hard);
    }
}

/// How one of these went; the header's id is that of the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SideReply {
    /// What the call returns.
    pub result: i64,
}

impl Message<'_> for SideReply {
    const KIND: FrameType = FrameType::SideReply;

    fn read(from: &mut Reader<'_>) -> Result<SideReply, Malformed> {
        Ok(SideReply { result: from.i64()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.i64(self.result);
    }
}
