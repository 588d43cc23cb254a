//! Who uses how much space and how many inodes.

/// Space and inodes by owner and group.
#[derive(Default)]
pub struct Usage {}

impl Usage {
    /// Adds to what an owner and a group use: units of 512 bytes, and inodes.
    pub fn charge(&mut self, _uid: u32, _gid: u32, _sectors: i64, _inodes: i64) {}
}
