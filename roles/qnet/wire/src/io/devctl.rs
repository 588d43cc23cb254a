//! Device controls (section 13.6).

use crate::layout::layout;

/// A device control command: direction in bits 31 and 30, data size in 16 to 29, class in 8 to 15, command below.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Dcmd(pub u32);

impl Dcmd {
    /// All classes: get the open flags.
    pub const ALL_GETFLAGS: u16 = 0x0101;
    /// All classes: set append, nonblock and sync.
    pub const ALL_SETFLAGS: u16 = 0x0102;
    /// All classes: flags of the mount.
    pub const ALL_GETMOUNTFLAGS: u16 = 0x0103;
    /// Character devices: is it a terminal?
    pub const CHR_ISATTY: u16 = 0x0318;
    /// Processes: system page.
    pub const PROC_SYSINFO: Dcmd = Dcmd(0x409c_0800);
    /// Processes: [`crate::proc::ProcInfo`].
    pub const PROC_INFO: Dcmd = Dcmd(0x4110_0801);
    /// Processes: map records of all mappings.
    pub const PROC_MAPINFO: u16 = 0x0802;
    /// Processes: path of a mapping, address in, path out.
    pub const PROC_MAPDEBUG: u16 = 0x0803;
    /// Processes: [`crate::proc::ThreadStatus`].
    pub const PROC_TIDSTATUS: Dcmd = Dcmd(0xc0e0_0807);
    /// Processes: map records with pages.
    pub const PROC_PAGEDATA: u16 = 0x0814;
    /// Processes: timers.
    pub const PROC_TIMERS: u16 = 0x0817;
    /// Processes: interrupts.
    pub const PROC_IRQS: u16 = 0x0818;
    /// Processes: channels.
    pub const PROC_CHANNELS: u16 = 0x081d;
    /// Class of terminals.
    pub const CLASS_CHR: u8 = 0x03;
    /// Class of processes.
    pub const CLASS_PROC: u8 = 0x08;

    const TO: u32 = 0x8000_0000;
    const FROM: u32 = 0x4000_0000;

    /// Whether data go to the device.
    pub const fn to_device(self) -> bool {
        self.0 & Dcmd::TO != 0
    }

    /// Whether data come back.
    pub const fn from_device(self) -> bool {
        self.0 & Dcmd::FROM != 0
    }

    /// Size of the data in the client's layout.
    pub const fn size(self) -> u16 {
        (self.0 >> 16 & 0x3fff) as u16
    }

    /// Class and command: all that a server goes by, for the size depends on the client's processor.
    pub const fn low16(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The class.
    pub const fn class(self) -> u8 {
        (self.0 >> 8 & 0xff) as u8
    }
}

layout! {
    /// `_IO_DEVCTL`. Data follow when they go to the device.
    pub body struct IoDevctl: 16, "_IO_DEVCTL" {
        /// The command.
        4 dcmd: Dcmd,
        /// Bytes of data, or room for them.
        8 nbytes: i32,
    }
}

layout! {
    /// Reply to `_IO_DEVCTL`. Data follow when they come from the device.
    pub struct IoDevctlReply: 16, "_IO_DEVCTL reply" {
        /// What the caller gets.
        4 ret_val: i32,
        /// Bytes that follow.
        8 nbytes: i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_command() {
        let info = Dcmd::PROC_INFO;
        assert_eq!(
            (info.to_device(), info.from_device(), info.size(), info.low16()),
            (false, true, 272, 0x0801)
        );
        let status = Dcmd::PROC_TIDSTATUS;
        assert_eq!((status.to_device(), status.from_device(), status.size()), (true, true, 224));
        assert_eq!((status.class(), Dcmd::PROC_SYSINFO.size()), (Dcmd::CLASS_PROC, 156));
    }
}
