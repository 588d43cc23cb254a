//! Services of the process manager: what `pidin` and `on` ask for (section 14), in the layout of 32-bit QNX.

mod info;
mod remote;
mod spawn;
mod spawn_fd;
mod strings;
mod sysconf;
mod syspage;
mod syspage_view;
mod wait;

pub use info::{BlockedOn, MapDebug, MapInfo, ProcInfo, Sigset, ThreadState, ThreadStatus};
pub use remote::RemoteBlock;
pub use spawn::{Inheritance, Spawn, SpawnError, SpawnFlags};
pub use spawn_fd::{FdInfo, FdReply, FdRequest, emit_fd_reply};
pub use strings::Strings;
pub use sysconf::{SysConf, SysConfReply};
pub use syspage::{CpuInfo, MachineType, Memory, Syspage};
pub use syspage_view::{SyspageError, SyspageView};
pub use wait::{ProcWait, Siginfo};

/// Subtypes of `_PROC_SPAWN`.
pub mod spawn_subtype {
    /// Start a program: [`super::Spawn`].
    pub const START: u16 = 0;
    /// Which descriptors does the parent have? [`super::FdRequest`].
    pub const FD: u16 = 1;
    /// Arguments.
    pub const ARGS: u16 = 2;
    /// The child is ready.
    pub const DONE: u16 = 3;
    /// For debuggers.
    pub const DEBUG: u16 = 4;
    /// Replace the program.
    pub const EXEC: u16 = 5;
    /// Prepare parameters for another node.
    pub const REMOTE: u16 = 6;
}

/// Reads type and subtype of a message to the process manager.
pub fn type_and_subtype(
    message: &[u8],
    endian: crate::endian::Endian,
) -> Result<(crate::io::MsgType, u16), crate::layout::Short> {
    let header = ProcHeader::decode(message, endian)?;
    Ok((crate::io::MsgType(header.kind), header.subtype))
}

crate::layout::layout! {
    /// What every message to the process manager starts with.
    pub(crate) struct ProcHeader: 4, "message to the process manager" {
        0 kind: u16,
        2 subtype: u16,
    }
}
