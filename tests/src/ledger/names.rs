//! Changes of names: objects made, moved and removed.

use super::books::{Books, File, Object};
use super::{Ledger, Trouble, acknowledged};
use crate::nfs3::{How, Nfs, Set, status};

impl Ledger {
    pub(super) fn create(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let (folder, path, name) = self.new_name(after);
        let (number, mode) = (self.number(), 0o600 + self.rng.below(64) as u32);
        after.names.insert(path.clone(), Object::File(number));
        after.files.insert(number, File { mode, ..File::default() });
        let made = acknowledged!(nfs.create(&folder, name.as_bytes(), How::Guarded(Set::mode(mode))), path);
        after.files.entry(number).or_default().handle = Some(made.handle);
        Ok(())
    }

    pub(super) fn make_folder(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let (folder, path, name) = self.new_name(after);
        after.names.insert(path.clone(), Object::Folder(None));
        let made = acknowledged!(nfs.mkdir(&folder, name.as_bytes(), 0o755), path);
        after.names.insert(path, Object::Folder(Some(made.handle)));
        Ok(())
    }

    pub(super) fn symlink(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let (folder, path, name) = self.new_name(after);
        let target = "t".repeat(1 + self.rng.below(200) as usize);
        after.names.insert(path.clone(), Object::Link(target.clone()));
        acknowledged!(nfs.symlink(&folder, name.as_bytes(), target.as_bytes()), path);
        Ok(())
    }

    pub(super) fn link(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let Some((_, number)) = self.any_file(after) else { return self.create(nfs, after) };
        let (folder, path, name) = self.new_name(after);
        after.names.insert(path.clone(), Object::File(number));
        let handle = after.handle(number);
        acknowledged!(nfs.link(&handle, &folder, name.as_bytes()), path);
        Ok(())
    }

    /// Moves a folder with everything in it.
    pub(super) fn move_folder(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let folders =
            after.names.iter().filter(|(path, object)| !path.is_empty() && object.number().is_none());
        let folders: Vec<_> = folders.map(|(path, _)| path.clone()).collect();
        let Some(from) = folders.get(self.rng.below(folders.len() as u64) as usize) else {
            return self.make_folder(nfs, after);
        };
        let (to_folder, to, to_name) = self.new_name(after);
        let inside = format!("{from}/");
        if to.starts_with(&inside) {
            // A folder does not go into itself.
            return self.create(nfs, after);
        }
        let (from_folder, from_name) = after.folder_of(from);
        let names = std::mem::take(&mut after.names).into_iter().map(|(path, object)| match &path {
            path if path == from => (to.clone(), object),
            path if path.starts_with(&inside) => (format!("{to}/{}", &path[inside.len()..]), object),
            _ => (path, object),
        });
        after.names = names.collect();
        let from = (&from_folder[..], from_name.as_bytes());
        acknowledged!(nfs.rename(from, (&to_folder[..], to_name.as_bytes())), to);
        Ok(())
    }

    /// Renames a file, sometimes over another one.
    pub(super) fn rename(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let Some((from, number)) = self.any_file(after) else { return self.create(nfs, after) };
        let (from_folder, from_name) = after.folder_of(&from);
        let victim = if self.rng.chance(0.4) { self.any_file(after) } else { None };
        let (to_folder, to, to_name) = match victim {
            // A rename between two names of one file does nothing at all.
            Some((to, other)) if other != number => {
                let (folder, name) = after.folder_of(&to);
                (folder, to, name)
            }
            _ => self.new_name(after),
        };
        after.names.remove(&from);
        let replaced = after.names.insert(to.clone(), Object::File(number));
        let from = (&from_folder[..], from_name.as_bytes());
        acknowledged!(nfs.rename(from, (&to_folder[..], to_name.as_bytes())), to);
        if let Some(Object::File(replaced)) = replaced {
            self.bury(after, replaced);
        }
        Ok(())
    }

    /// Removes a file, a link or an empty folder.
    pub(super) fn remove(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let removable: Vec<_> = after.names.keys().filter(|path| after.is_removable(path)).cloned().collect();
        let Some(path) = removable.get(self.rng.below(removable.len() as u64) as usize) else {
            return self.create(nfs, after);
        };
        let (folder, name) = after.folder_of(path);
        match after.names.remove(path) {
            Some(Object::Folder(handle)) => {
                acknowledged!(nfs.rmdir(&folder, name.as_bytes()), path);
                self.gone.extend(handle);
            }
            Some(Object::File(number)) => {
                acknowledged!(nfs.remove(&folder, name.as_bytes()), path);
                self.bury(after, number);
            }
            _ => acknowledged!(nfs.remove(&folder, name.as_bytes()), path),
        }
        Ok(())
    }
}
