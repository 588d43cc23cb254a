//! What a server has promised: the books of one client, to compare with what is there after a power cut.
//!
//! A [`Ledger`] works in a directory of its own. Every call goes through [`Ledger::step`], which makes a random
//! change and enters it when the server has acknowledged it. A call that never got its reply is the one thing in
//! doubt: it may have happened or not, but nothing else may differ from the books. [`Ledger::audit`] compares
//! names, types, link counts, contents and old handles, and says what is wrong; it never panics for a server that
//! has lost something.
//!
//! Data of UNSTABLE writes is promised only by the COMMIT with the same verifier. Until then each of its bytes may
//! be old or new, and the file may have any length in between.

mod books;
mod found;

use keelson_qemu::Rng;

use crate::nfs3::{Handle, How, Nfs, Set, Stable, status};
use crate::rpc::RpcError;
use books::{Books, File, Object};
use found::Found;

/// Most names in a ledger's directory: one block of ext4, so that it is never split.
const MOST_NAMES: usize = 40;
/// Handles of removed objects that are tried again, the latest.
const MOST_GONE: usize = 100;
/// Block size of the file system.
const BLOCK: u64 = 4096;
/// Longest file.
const LONGEST: u64 = 300_000;

/// Why a step did not go into the books.
#[derive(Debug)]
pub enum Trouble {
    /// The connection broke: the power is off, the call is in doubt.
    Cut(RpcError),
    /// The server answered what it may not.
    Wrong(String),
}

/// One client's books.
pub struct Ledger {
    rng: Rng,
    root: Handle,
    top: String,
    certain: Books,
    /// The books as they would be had the unanswered call happened.
    in_doubt: Option<Books>,
    /// Handles of files and directories that are gone.
    gone: Vec<Handle>,
    next: u64,
    acknowledged: u64,
}

/// Adapts what a call can bring: the network broke, or the status is not OK.
macro_rules! acknowledged {
    ($call:expr, $what:expr) => {{
        let answer = $call.map_err(Trouble::Cut)?;
        if answer.status != status::OK {
            return Err(Trouble::Wrong(format!("{}: status {}", $what, answer.status)));
        }
        answer.ok()
    }};
}

impl Ledger {
    /// Opens books for directory `top` (made here) in `root`.
    pub fn open(nfs: &mut Nfs, root: &[u8], top: &str, seed: u64) -> Result<Ledger, Trouble> {
        let made = acknowledged!(nfs.mkdir(root, top.as_bytes(), 0o755), "mkdir");
        let mut certain = Books::default();
        certain.names.insert(String::new(), Object::Folder(Some(made.handle)));
        Ok(Ledger {
            rng: Rng::new(seed),
            root: root.to_vec(),
            top: top.into(),
            certain,
            in_doubt: None,
            gone: vec![],
            next: 0,
            acknowledged: 0,
        })
    }

    /// Promises entered so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Makes one random change.
    pub fn step(&mut self, nfs: &mut Nfs) -> Result<(), Trouble> {
        let mut after = self.certain.clone();
        let result = self.change(nfs, &mut after);
        match result {
            Ok(()) => {
                self.certain = after;
                self.acknowledged += 1;
            }
            Err(Trouble::Cut(_)) => self.in_doubt = Some(after),
            Err(Trouble::Wrong(_)) => {}
        }
        result
    }

    /// The change is entered in `after` before the call is made; only handles come later.
    fn change(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let dice = self.rng.below(100);
        let full = after.names.len() >= MOST_NAMES;
        match dice {
            0..=17 if !full => self.create(nfs, after),
            18..=22 if !full => self.make_folder(nfs, after),
            23..=25 if !full => self.symlink(nfs, after),
            26..=29 if !full => self.link(nfs, after),
            30..=36 => self.rename(nfs, after),
            37..=39 => self.move_folder(nfs, after),
            40..=49 => self.remove(nfs, after),
            50..=54 => self.truncate(nfs, after),
            55..=57 => self.chmod(nfs, after),
            58..=80 => self.write(nfs, after, Stable::FileSync),
            81..=93 => self.write(nfs, after, Stable::Unstable),
            _ => self.commit(nfs, after),
        }
    }

    fn create(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let (folder, path, name) = self.new_name(after);
        let (number, mode) = (self.number(), 0o600 + self.rng.below(64) as u32);
        after.names.insert(path.clone(), Object::File(number));
        after.files.insert(number, File { mode, ..File::default() });
        let made = acknowledged!(nfs.create(&folder, name.as_bytes(), How::Guarded(Set::mode(mode))), path);
        after.files.entry(number).or_default().handle = Some(made.handle);
        Ok(())
    }

    fn make_folder(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let (folder, path, name) = self.new_name(after);
        after.names.insert(path.clone(), Object::Folder(None));
        let made = acknowledged!(nfs.mkdir(&folder, name.as_bytes(), 0o755), path);
        after.names.insert(path, Object::Folder(Some(made.handle)));
        Ok(())
    }

    fn symlink(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let (folder, path, name) = self.new_name(after);
        let target = "t".repeat(1 + self.rng.below(200) as usize);
        after.names.insert(path.clone(), Object::Link(target.clone()));
        acknowledged!(nfs.symlink(&folder, name.as_bytes(), target.as_bytes()), path);
        Ok(())
    }

    fn link(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let Some((_, number)) = self.any_file(after) else { return self.create(nfs, after) };
        let (folder, path, name) = self.new_name(after);
        after.names.insert(path.clone(), Object::File(number));
        let handle = after.handle(number);
        acknowledged!(nfs.link(&handle, &folder, name.as_bytes()), path);
        Ok(())
    }

    /// Moves a folder with everything in it.
    fn move_folder(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
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
    fn rename(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
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
    fn remove(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
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

    fn truncate(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let Some((path, number)) = self.any_file(after) else { return self.create(nfs, after) };
        if !after.files[&number].loose.is_empty() {
            return self.commit_one(nfs, after, number);
        }
        let size = self.rng.below(LONGEST);
        let handle = after.handle(number);
        let file = after.files.entry(number).or_default();
        // Ordered data, as ext4 does it: the rest of the new last block is zeroed before the size is committed. A cut
        // in between shows the zeros under the old size, so while the call is in doubt they may be there.
        let rest = (size.next_multiple_of(BLOCK)).min(file.stable.len() as u64).saturating_sub(size);
        let before = self.certain.files.entry(number).or_default();
        before.loose.push((size.min(file.stable.len() as u64), vec![0; rest as usize]));
        file.stable.resize(size as usize, 0);
        file.history.push(format!("size {size}"));
        acknowledged!(nfs.setattr(&handle, Set::size(size), None), path);
        Ok(())
    }

    fn chmod(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let Some((path, number)) = self.any_file(after) else { return self.create(nfs, after) };
        let mode = self.rng.below(0o1000) as u32;
        let handle = after.handle(number);
        after.files.entry(number).or_default().mode = mode;
        acknowledged!(nfs.setattr(&handle, Set::mode(mode), None), path);
        Ok(())
    }

    fn write(&mut self, nfs: &mut Nfs, after: &mut Books, stable: Stable) -> Result<(), Trouble> {
        let Some((path, number)) = self.any_file(after) else { return self.create(nfs, after) };
        if stable != Stable::Unstable && !after.files[&number].loose.is_empty() {
            return self.commit_one(nfs, after, number);
        }
        let offset = self.rng.below(LONGEST - 70_000);
        let len =
            if self.rng.chance(0.5) { self.rng.below(5000) } else { self.rng.below(70_000) } as usize + 1;
        let fill = self.rng.next_u64();
        let data: Vec<u8> = (0..len as u64).map(|i| (fill.wrapping_add(i * 0x9e37) >> 8) as u8).collect();
        let handle = after.handle(number);
        let file = after.files.entry(number).or_default();
        // In doubt until it is acknowledged: part of it may be there. So it is loose on both sides.
        file.loose.push((offset, data.clone()));
        file.history.push(format!("{len} bytes {stable:?} at {offset}"));
        self.certain.files.entry(number).or_default().loose.push((offset, data.clone()));
        let written = acknowledged!(nfs.write(&handle, offset, &data, stable), path);
        if written.count as usize != len || written.committed < stable as u32 {
            return Err(Trouble::Wrong(format!("{path}: {written:?} for {len} bytes {stable:?}")));
        }
        if written.committed >= Stable::DataSync as u32 && file.loose.len() == 1 {
            file.stable = file.newest();
            file.loose.clear();
        } else if file.loose.len() > 1 && file.verifier != Some(written.verifier) {
            return Err(Trouble::Wrong(format!("{path}: the write verifier changed without a restart")));
        } else {
            file.verifier = Some(written.verifier);
        }
        Ok(())
    }

    fn commit(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let loose = after.files.iter().find(|(_, file)| !file.loose.is_empty()).map(|(number, _)| *number);
        match loose {
            Some(number) => self.commit_one(nfs, after, number),
            None => self.write(nfs, after, Stable::Unstable),
        }
    }

    fn commit_one(&mut self, nfs: &mut Nfs, after: &mut Books, number: u64) -> Result<(), Trouble> {
        let handle = after.handle(number);
        let verifier = acknowledged!(nfs.commit(&handle, 0, 0), "commit");
        let file = after.files.entry(number).or_default();
        if file.verifier.is_some_and(|known| known != verifier) {
            return Err(Trouble::Wrong("the write verifier changed without a restart".into()));
        }
        file.stable = file.newest();
        file.loose.clear();
        file.verifier = None;
        file.history.push("COMMIT".into());
        Ok(())
    }

    /// A name that is not taken: handle of its folder, path, last component.
    fn new_name(&mut self, books: &Books) -> (Handle, String, String) {
        let folders = books.names.iter().filter_map(|(path, object)| match object {
            Object::Folder(Some(handle)) => Some((path, handle)),
            _ => None,
        });
        let folders: Vec<_> = folders.collect();
        let (path, handle) = folders[self.rng.below(folders.len() as u64) as usize];
        let name = format!("n{}", self.number());
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        (handle.clone(), path, name)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn any_file(&mut self, books: &Books) -> Option<(String, u64)> {
        let files = books.names.iter().filter_map(|(path, object)| match object {
            Object::File(number) => Some((path.clone(), *number)),
            _ => None,
        });
        let files: Vec<_> = files.collect();
        let pick = self.rng.below(files.len() as u64) as usize;
        files.into_iter().nth(pick)
    }

    /// Forgets a file without names.
    fn bury(&mut self, after: &mut Books, number: u64) {
        if !after.names.values().any(|object| *object == Object::File(number)) {
            self.gone.extend(after.files.remove(&number).and_then(|file| file.handle));
        }
    }

    /// Compares the books with the server after a cut, and goes on with what is there.
    pub fn audit(&mut self, nfs: &mut Nfs) -> Result<(), String> {
        let found = Found::explore(nfs, &self.root, &self.top)?;
        let certain = self.certain.compare(&found);
        let verdict = match (certain, &self.in_doubt) {
            (Ok(()), _) => Ok(self.certain.clone()),
            (Err(first), Some(other)) => match other.compare(&found) {
                Ok(()) => Ok(other.clone()),
                Err(second) => Err(format!("{first}; had the last call happened: {second}")),
            },
            (Err(error), None) => Err(error),
        };
        let mut books = verdict.map_err(|error| format!("{}: {error}", self.top))?;
        self.gone.drain(..self.gone.len().saturating_sub(MOST_GONE));
        for handle in &self.gone {
            match nfs.getattr(handle).map_err(|e| e.to_string())?.status {
                status::STALE => {}
                other => return Err(format!("{}: the handle of something removed gives {other}", self.top)),
            }
        }
        books.adopt(&found);
        (self.certain, self.in_doubt) = (books, None);
        Ok(())
    }
}
