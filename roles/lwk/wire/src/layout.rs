//! Structures of Linux on x86-64 as bytes, for both sides.
//!
//! Offsets and sizes are those of the kernel's user interface (`asm/stat.h`, `linux/stat.h`, `asm-generic/statfs.h`,
//! `linux/resource.h`, `asm-generic/siginfo.h`, `linux/socket.h`, `linux/eventpoll.h`, `asm-generic/termbits.h`), which the
//! manual pages in section 2 describe. Everything is little-endian; what is between fields is zero.

mod control;
mod dirent;
mod files;
mod io;
mod process;
mod sockaddr;

pub use control::each_right;
pub use dirent::{Dirent, Dirents, DirentsOld, push_dirent, push_old_dirent};
pub use files::{
    Flock, Stat, Statfs, Statx, Ustat, Utimbuf, major, makedev, minor, new_decode_dev, new_encode_dev,
};
pub use io::{
    Cmsghdr, EpollEvent, Ifconf, Iovec, Mmsghdr, Msghdr, PollFd, Termios, Termios2, Winsize, cmsg_align,
};
pub use process::{Rlimit64, Rusage, SigInfo, Timespec, Timeval};
pub use sockaddr::{Sockaddr, family};

/// A structure with fields at fixed offsets.
macro_rules! layout {
    ($(#[$meta:meta])* $name:ident, $len:literal { $($(#[$doc:meta])* $field:ident: $ty:ident @ $offset:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[allow(missing_docs)]
        pub struct $name {
            $($(#[$doc])* pub $field: $ty,)*
        }

        impl $name {
            /// Bytes of the structure.
            pub const LEN: usize = $len;

            /// As the program sees it.
            pub fn to_bytes(&self) -> [u8; $len] {
                let mut bytes = [0; $len];
                $(crate::layout::put(&mut bytes, $offset, &self.$field.to_le_bytes());)*
                bytes
            }

            /// From the program.
            pub fn from_bytes(bytes: &[u8; $len]) -> $name {
                $name { $($field: $ty::from_le_bytes(crate::layout::get(bytes, $offset)),)* }
            }

            /// From the front of `bytes`, if they are enough.
            pub fn read(bytes: &[u8]) -> Option<$name> {
                bytes.first_chunk().map($name::from_bytes)
            }
        }
    };
}
pub(crate) use layout;

/// Offsets are constants within their structure; a test of each layout would notice one that is not.
pub(crate) fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
    let room = bytes.get_mut(offset..).and_then(|rest| rest.get_mut(..field.len()));
    debug_assert!(room.is_some(), "field outside its layout");
    if let Some(room) = room {
        room.copy_from_slice(field);
    }
}

pub(crate) fn get<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    debug_assert!(field.is_some(), "field outside its layout");
    field.copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests;
