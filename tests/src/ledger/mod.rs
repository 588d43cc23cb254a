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
mod data;
mod found;
mod names;

use keelson_qemu::Rng;

use crate::nfs3::{Handle, Nfs, Stable, status};
use crate::rpc::RpcError;
use books::{Books, Object};
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

use acknowledged;

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
