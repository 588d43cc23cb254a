//! State files: a hidden directory in the root, and what is written there at every mount.

use crate::directory::{check_name, inode_number};
use crate::error::MountError;
use crate::inode::Times;
use crate::volume::{Inner, ROOT};
use alloc::vec;
use alloc::vec::Vec;
use keelson_volume::VolumeError;
use rsext4::{FileName, FilePermissions, MutationContext, RenameOptions};

/// Name of the directory; clients can neither see nor make it.
pub(crate) const STATE_DIR: &[u8] = b".keelson";
/// Largest state file.
const LIMIT: usize = 64 * 1024;
/// Where a new version is written before it takes the name.
const NEW: &[u8] = b".new";
const BOOTS: &str = "boots";
const NOBODY_ELSE: MutationContext = MutationContext::new(0, 0, 0, 0);

impl Inner {
    /// Finds the state directory, counts this boot, and makes the write verifier of this lifetime.
    pub fn start_lifetime(&mut self) -> Result<(), MountError> {
        let found = FileName::new(STATE_DIR)
            .map_err(MountError::from)
            .and_then(|name| self.child(ROOT, name).map_err(|_| MountError::Device("root directory")))?;
        self.state_dir = found.filter(|info| info.is_directory()).map(|info| info.number.raw());
        let boots = match self.read_state(BOOTS) {
            Ok(Some(content)) => content.try_into().map_or(0, u32::from_le_bytes),
            _ => 0,
        };
        let boots = boots.wrapping_add(1);
        self.verifier[..4].copy_from_slice(&boots.to_le_bytes());
        self.renew_verifier();
        if !self.read_only
            && let Err(error) = self.write_state(BOOTS, &boots.to_le_bytes())
        {
            // A full disk must not keep the server down; the random half of the verifier still changes.
            log::warn!(target: "ext4", "the boot counter could not be written: {error}");
        }
        Ok(())
    }

    pub fn read_state(&mut self, name: &str) -> Result<Option<Vec<u8>>, VolumeError> {
        let name = check_state_name(name)?;
        let Some(dir) = self.state_dir else { return Ok(None) };
        let Some(info) = self.child(dir, name)? else { return Ok(None) };
        let length = usize::try_from(info.size).unwrap_or(usize::MAX);
        if length > LIMIT {
            return Err(VolumeError::Io);
        }
        let mut content = vec![0; length];
        // Reading sets the access time.
        let now = self.begin(&[])?;
        let read = self.call(|engine| engine.read_inode(info.number, 0, &mut content))?;
        if read > 0 && !self.read_only {
            self.touch(info.number.raw(), |times| times.accessed = now)?;
        }
        content.truncate(read);
        Ok(Some(content))
    }

    /// Writes a new file and renames it; the caller syncs.
    pub fn write_state(&mut self, name: &str, content: &[u8]) -> Result<(), VolumeError> {
        let name = check_state_name(name)?;
        if content.len() > LIMIT {
            return Err(VolumeError::TooBig);
        }
        self.check_writable()?;
        let dir = match self.state_dir {
            Some(dir) => dir,
            None => self.make_state_dir()?,
        };
        let new = check_name(NEW)?;
        let number = inode_number(dir)?;
        if self.child(dir, new)?.is_some() {
            self.begin(&[])?;
            self.discard(dir, new)?;
        }
        let now = self.begin_create(&[])?;
        let permissions = FilePermissions::new(0o600).map_err(|_| VolumeError::Io)?;
        let info = self.call(|engine| engine.create_regular_file(NOBODY_ELSE, number, new, permissions))?;
        let inode = info.number;
        self.lagging.change(inode.raw(), Times::all(now));
        if !content.is_empty() {
            self.call(|engine| engine.write_inode(inode, 0, content))?;
        }
        let outcome = self.call(|engine| engine.rename(number, new, number, name, RenameOptions::REPLACE))?;
        if let Some(replaced) = outcome.replaced
            && replaced.requires_reap()
        {
            self.bury(replaced.inode);
        }
        self.touch(dir, |times| (times.modified, times.changed) = (now, now))
    }

    /// Removes a name; the object goes with its last one.
    pub fn discard(&mut self, dir: u32, name: FileName<'_>) -> Result<u32, VolumeError> {
        let number = inode_number(dir)?;
        let outcome = self.call(|engine| engine.unlink(number, name))?;
        let inode = outcome.inode.raw();
        if outcome.requires_reap() {
            self.bury(outcome.inode);
        }
        Ok(inode)
    }

    fn make_state_dir(&mut self) -> Result<u32, VolumeError> {
        let before = self.attributes(ROOT)?;
        let now = self.begin_create(&[&before])?;
        let root = inode_number(ROOT)?;
        let name = check_name(STATE_DIR)?;
        let permissions = FilePermissions::new(0o700).map_err(|_| VolumeError::Io)?;
        let info = self.call(|engine| engine.create_directory(NOBODY_ELSE, root, name, permissions))?;
        let inode = info.number.raw();
        self.lagging.change(inode, Times::all(now));
        self.touch(ROOT, |times| (times.modified, times.changed) = (now, now))?;
        self.state_dir = Some(inode);
        Ok(inode)
    }
}

fn check_state_name(name: &str) -> Result<FileName<'_>, VolumeError> {
    if name.starts_with('.') {
        return Err(VolumeError::Invalid);
    }
    check_name(name.as_bytes())
}
