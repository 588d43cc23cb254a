//! The disks of a role: the filesystem that it keeps its data on, and one with a text.

mod text;

use crate::Node;
use crate::devices::Devices;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use keelson_config::{Kind, OptionSpec};
use keelson_exec::Handle;
use keelson_ext4::{Ext4Volume, MountError, Options};
use keelson_hal::{BlockDevice, Entropy};

pub use text::TextDisk;

/// The options of this module.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "fs",
        Kind::Text,
        "The disk with the ext4 filesystem: /dev/vda or vda, sda, nvme0n1. Without it the first disk is taken that no other option names.",
    )
    .owner("storage"),
    OptionSpec::new(
        "fs.cache",
        Kind::Size { min: 1 << 20, max: 1 << 40 },
        "Most memory for cached file content. Without it half of the machine's memory less 32M, but a quarter at least; \
         taken as needed.",
    )
    .owner("storage"),
];

/// What a machine needs for other things than files and connections, at its busiest.
const BESIDE: u64 = 32 << 20;

/// Why there is no filesystem.
#[derive(Debug)]
pub enum StorageError {
    /// The machine has no disk at all.
    NoDisk,
    /// The disk of this option does not exist; those that do are listed.
    NoSuchDisk(&'static str, String, Vec<String>),
    /// Both options name one disk.
    OneDisk(&'static str, String),
    /// What is on the disk cannot be mounted.
    Mount(String, MountError),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageError::NoDisk => f.write_str(
                "no disk: attach a virtio-blk, SATA or NVMe disk with an ext4 filesystem (mkfs.ext4)",
            ),
            StorageError::NoSuchDisk(option, wanted, present) => {
                write!(f, "{option}={wanted}: no such disk; there is {}", present.join(", "))
            }
            StorageError::OneDisk(option, disk) => {
                write!(f, "{option}={disk} is the disk of the filesystem: attach another one for it")
            }
            StorageError::Mount(disk, error) => write!(f, "{disk}: {error}"),
        }
    }
}

/// The disk that is to be mounted, and what that takes.
pub struct Medium {
    disk: Rc<dyn BlockDevice>,
    handle: Handle,
    entropy: Rc<dyn Entropy>,
    options: Options,
}

impl Medium {
    /// The disk that the command line names, or the first one but `other`, which another option names.
    pub fn find(node: &Node, devices: &Devices, other: Option<&str>) -> Result<Medium, StorageError> {
        let disk = match node.config.text("fs") {
            None => {
                let is_free =
                    |disk: &&Rc<dyn BlockDevice>| other.is_none_or(|other| disk.name() != name_of(other));
                devices.disks.iter().find(is_free).ok_or(StorageError::NoDisk)?
            }
            Some(wanted) => find(devices, "fs", wanted)?,
        };
        let ram = node.machine.boot.ram();
        let cache_bytes =
            node.config.size("fs.cache").unwrap_or((ram / 2).saturating_sub(BESIDE).max(ram / 4));
        let cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
        Ok(Medium {
            disk: disk.clone(),
            handle: node.handle.clone(),
            entropy: node.machine.entropy.clone(),
            options: Options { cache_bytes, ..Options::default() },
        })
    }

    /// Mounts its filesystem.
    pub async fn mount(self) -> Result<Rc<Ext4Volume>, StorageError> {
        let name = self.disk.name().to_string();
        let volume = Ext4Volume::mount(self.disk, self.handle, self.entropy, self.options).await;
        volume.map(Rc::new).map_err(|error| StorageError::Mount(name, error))
    }
}

/// The disk with a text that an option names.
pub fn find_text(
    node: &Node,
    devices: &Devices,
    option: &'static str,
) -> Result<Option<TextDisk>, StorageError> {
    let Some(wanted) = node.config.text(option) else { return Ok(None) };
    if node.config.text("fs").is_some_and(|fs| name_of(fs) == name_of(wanted)) {
        return Err(StorageError::OneDisk(option, wanted.to_string()));
    }
    Ok(Some(TextDisk::new(find(devices, option, wanted)?.clone())))
}

fn find<'a>(
    devices: &'a Devices,
    option: &'static str,
    wanted: &str,
) -> Result<&'a Rc<dyn BlockDevice>, StorageError> {
    let found = devices.disks.iter().find(|disk| disk.name() == name_of(wanted));
    found.ok_or_else(|| {
        let present = devices.disks.iter().map(|disk| disk.name().to_string()).collect();
        StorageError::NoSuchDisk(option, wanted.to_string(), present)
    })
}

/// The name of a disk, with or without `/dev/`.
fn name_of(text: &str) -> &str {
    text.strip_prefix("/dev/").unwrap_or(text)
}
