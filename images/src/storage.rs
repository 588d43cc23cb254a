//! The filesystem a role keeps its data on.

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

/// The options of this module.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "fs",
        Kind::Text,
        "The disk with the ext4 filesystem: /dev/vda or vda. Without it the first disk is taken.",
    )
    .owner("storage"),
    OptionSpec::new(
        "fs.cache",
        Kind::Size { min: 1 << 20, max: 1 << 40 },
        "Most memory for cached file content. Without it half of the machine's memory; taken as needed.",
    )
    .owner("storage"),
];

/// Why there is no filesystem.
#[derive(Debug)]
pub enum StorageError {
    /// The machine has no disk at all.
    NoDisk,
    /// The disk of the `fs` option does not exist; those that do are listed.
    NoSuchDisk(String, Vec<String>),
    /// What is on the disk cannot be mounted.
    Mount(String, MountError),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageError::NoDisk => {
                f.write_str("no disk: attach a virtio-blk disk with an ext4 filesystem (mkfs.ext4)")
            }
            StorageError::NoSuchDisk(wanted, present) => {
                write!(f, "fs={wanted}: no such disk; there is {}", present.join(", "))
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
    /// The disk that the command line names.
    pub fn find(node: &Node, devices: &Devices) -> Result<Medium, StorageError> {
        let first = devices.disks.first().ok_or(StorageError::NoDisk)?;
        let disk = match node.config.text("fs") {
            None => first,
            Some(wanted) => {
                let name = wanted.strip_prefix("/dev/").unwrap_or(wanted);
                let found = devices.disks.iter().find(|disk| disk.name() == name);
                found.ok_or_else(|| {
                    let present = devices.disks.iter().map(|disk| disk.name().to_string()).collect();
                    StorageError::NoSuchDisk(wanted.to_string(), present)
                })?
            }
        };
        let cache_bytes = node.config.size("fs.cache").unwrap_or(node.machine.boot.ram() / 2);
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
