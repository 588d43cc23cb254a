//! Why a device could not be brought up.

use core::fmt;

/// Why a constructor of this crate refused a device. The device has been reset or never started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitError {
    /// The register window does not hold what the bus promised.
    NotADevice {
        /// The register that was looked at.
        what: &'static str,
        /// The value it had.
        found: u32,
    },
    /// A driver was given a device of another type.
    WrongType {
        /// Virtio device type the driver is for.
        expected: u32,
        /// Virtio device type of the device.
        found: u32,
    },
    /// A PCI device lacks a virtio capability (virtio 1.2 section 4.1.4), or the capability points outside
    /// its BAR.
    BadCapability(&'static str),
    /// The device only speaks the legacy interface (no VIRTIO_F_VERSION_1).
    Legacy,
    /// The device did not accept the features chosen from its own offer.
    FeaturesRefused(u64),
    /// The device did not confirm a reset in time.
    ResetTimeout,
    /// The device has no such queue, or it is already in use.
    NoQueue(u16),
    /// The device did not take the interrupt vector for this queue.
    VectorRefused(u16),
    /// There is no contiguous memory of this many bytes.
    NoMemory(usize),
    /// The device refused a command of its start.
    CommandFailed {
        /// Its name.
        command: &'static str,
        /// What the device says: for NVMe the type in the upper byte, the code in the lower.
        status: u16,
    },
    /// The device did not answer a command of its start.
    NoAnswer(&'static str),
    /// A strap of the board, of this name, keeps the device from what it is for.
    Strapped(&'static str),
    /// The device's configuration makes no sense.
    BadConfig {
        /// Field of the configuration space.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            InitError::NotADevice { what, found } => {
                write!(f, "no such device here: {what} reads {found:#x}")
            }
            InitError::WrongType { expected, found } => {
                write!(f, "virtio device type {found}, the driver is for type {expected}")
            }
            InitError::BadCapability(which) => {
                write!(f, "virtio PCI capability {which} missing or outside its BAR")
            }
            InitError::Legacy => {
                f.write_str("device offers only legacy virtio; enable virtio 1.0 (QEMU: disable-modern=off)")
            }
            InitError::FeaturesRefused(features) => write!(f, "device refused the features {features:#x}"),
            InitError::ResetTimeout => f.write_str("device did not finish its reset"),
            InitError::NoQueue(queue) => write!(f, "device has no usable queue {queue}"),
            InitError::VectorRefused(vector) => write!(f, "device refused MSI-X table entry {vector}"),
            InitError::NoMemory(bytes) => write!(f, "no {bytes} bytes of contiguous memory for the device"),
            InitError::CommandFailed { command, status } => {
                write!(f, "device refused {command} with status {status:#x}")
            }
            InitError::NoAnswer(command) => write!(f, "device did not answer {command}"),
            InitError::Strapped(strap) => write!(f, "the board forbids it: strap {strap}"),
            InitError::BadConfig { field, value } => write!(f, "device configuration: {field} = {value}"),
        }
    }
}

impl core::error::Error for InitError {}
