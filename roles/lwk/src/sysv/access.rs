//! Who may do what with an object, and what programs ask for.

use crate::Errno;

/// `IPC_*` and `SHM_*`.
pub mod ipc {
    #![allow(missing_docs)]
    pub const IPC_PRIVATE: u32 = 0;
    pub const IPC_CREAT: u64 = 0o1000;
    pub const IPC_EXCL: u64 = 0o2000;
    pub const HUGETLB: u64 = 0o4000;
    pub const NORESERVE: u64 = 0o10000;
    pub const RDONLY: u64 = 0o10000;
    pub const RND: u64 = 0o20000;
    pub const REMAP: u64 = 0o40000;
    pub const EXEC: u64 = 0o100000;
    /// `shm_perm.mode`: is removed when nobody has it attached.
    pub const DEST: u32 = 0o1000;
    /// `shm_perm.mode`: is locked.
    pub const LOCKED: u32 = 0o2000;
}

/// Who does something with an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct User {
    /// Process.
    pub pid: u32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Seconds since 1970.
    pub now: i64,
}

/// Who may do what (`struct ipc64_perm`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Permission {
    /// Key; 0 for a private one.
    pub key: u32,
    /// Owner.
    pub uid: u32,
    /// Group of the owner.
    pub gid: u32,
    /// Creator.
    pub cuid: u32,
    /// Group of the creator.
    pub cgid: u32,
    /// Nine bits; of shared memory also [`ipc::DEST`] and [`ipc::LOCKED`].
    pub mode: u32,
    /// How often identifiers were given.
    pub seq: u32,
}

impl Permission {
    /// Bytes of the structure.
    pub const BYTES: usize = 48;

    /// EACCES unless `user` has `access` as in a mode: 4 read, 2 write.
    pub fn check(&self, user: &User, access: u32) -> Result<(), Errno> {
        let granted = if user.uid == 0 {
            7
        } else if user.uid == self.uid || user.uid == self.cuid {
            self.mode >> 6
        } else if user.gid == self.gid || user.gid == self.cgid {
            self.mode >> 3
        } else {
            self.mode
        };
        if granted & access == access { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// EPERM for others than owner and creator.
    pub fn check_owner(&self, user: &User) -> Result<(), Errno> {
        let owns = user.uid == 0 || user.uid == self.uid || user.uid == self.cuid;
        if owns { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// As programs read it (asm-generic/ipcbuf.h).
    pub fn to_bytes(&self) -> [u8; Permission::BYTES] {
        let mut bytes = [0; Permission::BYTES];
        let words = [self.key, self.uid, self.gid, self.cuid, self.cgid, self.mode, self.seq & 0xffff];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// `IPC_SET`: owner, group and the nine bits of such a structure.
    pub fn set(&mut self, bytes: &[u8; Permission::BYTES]) {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        (self.uid, self.gid) = (word(4), word(8));
        self.mode = self.mode & !0o777 | word(20) & 0o777;
    }
}
