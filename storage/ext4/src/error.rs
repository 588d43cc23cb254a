//! Why a filesystem cannot be mounted, in words that tell the operator what to do.

use core::fmt;

/// Why mounting failed. The message names the remedy; the caller adds the name of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountError {
    /// The ext4 magic number is not there.
    NoSuperblock,
    /// A field of the superblock (named here) makes no sense, or its checksum is wrong.
    Corrupt(&'static str),
    /// A known feature that is not supported, by its e2fsprogs name.
    Feature {
        /// As `mke2fs -O` and `tune2fs -O` spell it.
        name: &'static str,
        /// tune2fs can take it away from the existing filesystem.
        removable: bool,
    },
    /// Feature bits without a name.
    UnknownFeature {
        /// `incompat` or `ro_compat`, of the filesystem or of its journal.
        word: &'static str,
        /// The bits that are not known.
        bits: u32,
    },
    /// A geometry that is not supported.
    Unsupported {
        /// What it is.
        what: &'static str,
        /// The command that avoids it.
        remedy: &'static str,
    },
    /// The filesystem extends beyond the device. Sizes in bytes.
    DeviceTooSmall {
        /// What the superblock says.
        filesystem: u64,
        /// What is there.
        device: u64,
    },
    /// The journal must be replayed, but nothing can be written.
    RecoveryNeedsWriting,
    /// The device is smaller than any filesystem.
    NoMedium,
    /// The device failed while reading the named structure.
    Device(&'static str),
    /// Metadata is damaged that mounting or replaying the journal needs; what it is.
    Damaged(&'static str),
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MountError::NoSuperblock => {
                f.write_str("no ext4 superblock (no filesystem? make one with: mke2fs -t ext4 DEVICE)")
            }
            MountError::Corrupt(what) => write!(
                f,
                "corrupt superblock: bad {what} (repair with: e2fsck -f DEVICE, or from a backup superblock \
                 with: e2fsck -b 32768 DEVICE)"
            ),
            MountError::Feature { name: "orphan_present", .. } => f.write_str(
                "deleted files still wait to be freed (orphan_file feature): run e2fsck -f DEVICE first",
            ),
            MountError::Feature { name: "fast_commit", .. } => f.write_str(
                "unsupported ext4 feature fast_commit: commits of that kind wait in the journal (mount and unmount the \
                 filesystem with Linux once; not e2fsck, which in version 1.47.0 leaves a bad superblock)",
            ),
            MountError::Feature { name: "journal_async_commit", .. } => f.write_str(
                "unsupported ext4 feature journal_async_commit (mount and unmount the filesystem with Linux once, \
                 without that option)",
            ),
            MountError::UnknownFeature { word, bits } if word.starts_with("journal") => write!(
                f,
                "unknown ext4 {word} features {bits:#x} (make the journal anew with: e2fsck -f DEVICE, then tune2fs -O \
                 ^has_journal DEVICE, then tune2fs -j DEVICE)"
            ),
            MountError::Feature { name, removable: true } => write!(
                f,
                "unsupported ext4 feature {name} (remove it with: tune2fs -O ^{name} DEVICE, or make the \
                 filesystem with: mke2fs -t ext4 -O ^{name})"
            ),
            MountError::Feature { name, removable: false } => write!(
                f,
                "unsupported ext4 feature {name} (make the filesystem anew with: mke2fs -t ext4 -O ^{name})"
            ),
            MountError::UnknownFeature { word, bits } => write!(
                f,
                "unknown ext4 {word} features {bits:#x} (make the filesystem with plain: mke2fs -t ext4)"
            ),
            MountError::Unsupported { what, remedy } => write!(f, "unsupported: {what} (remedy: {remedy})"),
            MountError::DeviceTooSmall { filesystem, device } => write!(
                f,
                "the filesystem has {filesystem} bytes, the device only {device} (enlarge the device, or \
                 shrink the filesystem where it still fits with: resize2fs)"
            ),
            MountError::RecoveryNeedsWriting => f.write_str(
                "the journal must be replayed, but the device is read-only (attach it writable once, or \
                 run: e2fsck -f DEVICE)",
            ),
            MountError::NoMedium => f.write_str("the device is empty or smaller than a superblock"),
            MountError::Device(what) => write!(f, "I/O error reading the {what}: check the device"),
            MountError::Damaged(what) => {
                write!(f, "damaged metadata: {what} (repair with: e2fsck -f DEVICE)")
            }
        }
    }
}

impl core::error::Error for MountError {}
