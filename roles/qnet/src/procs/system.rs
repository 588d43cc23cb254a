//! What processes see of the machine; passed in by whoever puts the node together.

use crate::io::Io;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::proc::MachineType;

/// Memory in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MemoryInfo {
    /// In all.
    pub total: u64,
    /// Not used now.
    pub free: u64,
}

/// A processor.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Cpu {
    /// Its maker's name for it.
    pub name: String,
    /// Its maker's number for the model (`cpu` of a CPU record).
    pub model: u32,
    /// Clock in MHz; 0 when it is not known.
    pub mhz: u32,
}

/// What `mount` and `umount` are asked for (section 20).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MountRequest {
    /// Who is to load it, such as `io-pkt`: behind `-T`.
    pub kind: String,
    /// What is loaded, such as `lsm-qnet.so`.
    pub object: String,
    /// Where, if that was said.
    pub path: String,
    /// Options, separated by commas: behind `-o`.
    pub options: String,
}

/// The machine.
pub trait System {
    /// Memory.
    fn memory(&self) -> MemoryInfo;

    /// Processors, at least one.
    fn cpus(&self) -> Vec<Cpu>;

    /// Family of the processors.
    fn machine(&self) -> MachineType;

    /// Time since 1970 UTC, now.
    fn wall_time(&self) -> Duration;

    /// When the machine started, since 1970.
    fn boot_time(&self) -> Duration;

    /// Release of the system (`_CS_RELEASE`), such as `6.5.0`.
    fn release(&self) -> String;

    /// When the system was built, as `uname` prints it.
    fn version(&self) -> String;

    /// Name of the host (`_CS_HOSTNAME`).
    fn host_name(&self) -> String;

    /// Domain of the host (`_CS_DOMAIN`); empty when there is none.
    fn domain(&self) -> String;

    /// Gives the host another name.
    fn set_host_name(&self, name: &str) -> Result<(), Errno>;

    /// Objects that the network stack has loaded beside Qnet, such as `devn-virtio.so`.
    fn network_objects(&self) -> Vec<String>;

    /// Loads a driver or a protocol.
    fn mount<'a>(&'a self, request: &'a MountRequest) -> Io<'a, ()>;

    /// Takes one away: `/dev/io-net/en0`, `/net`.
    fn umount<'a>(&'a self, path: &'a str) -> Io<'a, ()>;
}
