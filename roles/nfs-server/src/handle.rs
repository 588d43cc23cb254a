//! File handles: 32 bytes that name an object of an export for ever.
//!
//! ```text
//!  0      1      2        4            12           16              24            28      32
//!  | 0x31 | type | export | volume id  | inode low  | discriminator | inode high  | check |
//! ```
//!
//! Integers are big-endian; the volume id is the first half of the filesystem's UUID; the check is SipHash
//! over the first 28 bytes with a key kept on the volume. The check turns guessed handles into BADHANDLE. It
//! is hygiene, not security: whoever sees a handle on the wire may use it. There is no path in a handle, so
//! that renaming does not change it.

use crate::nfs3::Status;
use crate::siphash::siphash24;
use keelson_volume::{FileId, VolumeId};

/// Bytes of a handle.
pub const HANDLE_LEN: usize = 32;

const VERSION: u8 = 0x31;
const TYPE_ROOT: u8 = 1;
const TYPE_OBJECT: u8 = 2;

/// What a handle says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handle {
    /// The export it was obtained through.
    pub export: u16,
    /// The object.
    pub id: FileId,
    /// It is the root of the export: `..` leads nowhere else.
    pub is_root: bool,
}

/// Makes and checks handles.
#[derive(Clone, Copy, Debug)]
pub struct HandleCodec {
    key: [u64; 2],
    volume: [u8; 8],
}

impl HandleCodec {
    /// Handles of one volume under one key.
    pub fn new(key: [u8; 16], volume: VolumeId) -> HandleCodec {
        let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|byte| key[at + byte]));
        HandleCodec { key: [word(0), word(8)], volume: core::array::from_fn(|at| volume.0[at]) }
    }

    /// The bytes of a handle.
    pub fn encode(&self, handle: Handle) -> [u8; HANDLE_LEN] {
        let mut bytes = [0; HANDLE_LEN];
        bytes[0] = VERSION;
        bytes[1] = if handle.is_root { TYPE_ROOT } else { TYPE_OBJECT };
        bytes[2..4].copy_from_slice(&handle.export.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.volume);
        bytes[12..16].copy_from_slice(&(handle.id.inode as u32).to_be_bytes());
        bytes[16..24].copy_from_slice(&handle.id.discriminator.to_be_bytes());
        bytes[24..28].copy_from_slice(&((handle.id.inode >> 32) as u32).to_be_bytes());
        let check = self.check(&bytes);
        bytes[28..].copy_from_slice(&check);
        bytes
    }

    /// What the bytes name, if we made them.
    pub fn decode(&self, bytes: &[u8]) -> Result<Handle, Status> {
        let bytes: &[u8; HANDLE_LEN] = bytes.try_into().map_err(|_| Status::BADHANDLE)?;
        if bytes[0] != VERSION || bytes[28..] != self.check(bytes) {
            return Err(Status::BADHANDLE);
        }
        if bytes[4..12] != self.volume {
            return Err(Status::STALE);
        }
        let u32_at = |at: usize| u32::from_be_bytes(core::array::from_fn(|byte| bytes[at + byte]));
        let inode = u64::from(u32_at(24)) << 32 | u64::from(u32_at(12));
        let discriminator = u64::from_be_bytes(core::array::from_fn(|byte| bytes[16 + byte]));
        Ok(Handle {
            export: u16::from_be_bytes([bytes[2], bytes[3]]),
            id: FileId { inode, discriminator },
            is_root: bytes[1] == TYPE_ROOT,
        })
    }

    fn check(&self, bytes: &[u8; HANDLE_LEN]) -> [u8; 4] {
        (siphash24(self.key, &bytes[..28]) as u32).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codec() -> HandleCodec {
        HandleCodec::new([7; 16], VolumeId([9; 16]))
    }

    proptest! {
        #[test]
        fn handles_round_trip(export: u16, inode: u64, discriminator: u64, is_root: bool) {
            let handle = Handle { export, id: FileId { inode, discriminator }, is_root };
            prop_assert_eq!(codec().decode(&codec().encode(handle)), Ok(handle));
        }

        #[test]
        fn a_changed_bit_is_noticed(at in 0usize..256) {
            let id = FileId { inode: 12, discriminator: 1 };
            let mut bytes = codec().encode(Handle { export: 1, id, is_root: false });
            bytes[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(codec().decode(&bytes), Err(Status::BADHANDLE));
        }

        #[test]
        fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
            prop_assert_eq!(codec().decode(&bytes), Err(Status::BADHANDLE));
        }
    }

    #[test]
    fn another_volume_is_stale() {
        let id = FileId { inode: 12, discriminator: 1 };
        let bytes =
            HandleCodec::new([7; 16], VolumeId([8; 16])).encode(Handle { export: 1, id, is_root: true });
        assert_eq!(codec().decode(&bytes), Err(Status::STALE));
    }
}
