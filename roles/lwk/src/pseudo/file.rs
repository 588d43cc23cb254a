//! Open files and directories of the trees that the node serves.

use super::{Content, Looker, NodeView, Text};
use crate::Errno;
use crate::files::{Events, File, FileType, Operation, Source, Stat, Target, moved, tmpfs};
use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::task::{Context, Poll};
use spin::Mutex;

/// Most bytes that are written to a file of /proc at once.
const MAX_WRITE: usize = 4096;

/// An open file of /proc or /sys.
///
/// Its text is made when it is read from its beginning, and once more whenever that happens again (as Linux's seq_file does):
/// whoever keeps it open sees what is new, and whoever goes on from the middle sees one text and not parts of two. What is open
/// and was not read takes no memory for it.
pub struct PseudoFile {
    view: Arc<dyn NodeView>,
    looker: Looker,
    content: Content,
    text: Mutex<Option<Arc<Text>>>,
    stat: Stat,
    name: String,
}

impl PseudoFile {
    /// Opens a file.
    pub fn open(
        view: &Arc<dyn NodeView>,
        looker: Looker,
        content: Content,
        stat: Stat,
        name: &str,
    ) -> PseudoFile {
        let (view, name) = (view.clone(), String::from(name));
        PseudoFile { view, looker, content, text: Mutex::new(None), stat, name }
    }

    /// The text for a read at `at`.
    fn text(&self, at: u64) -> Result<Arc<Text>, Errno> {
        if let Some(text) = self.text.lock().as_ref().filter(|_| at > 0) {
            return Ok(text.clone());
        }
        if self.view.is_short() {
            return Err(Errno::ENOMEM);
        }
        // Without the lock: making it looks at other processes, and takes its time.
        let text = Arc::new(self.content.make(&*self.view, self.looker)?);
        *self.text.lock() = Some(text.clone());
        Ok(text)
    }

    fn memory(&self, pid: u32) -> Result<Arc<crate::mm::Mm>, Errno> {
        self.view.mm(pid).ok_or(Errno::ESRCH)
    }

    /// Copies memory of a process, page by page, as far as it can be read.
    fn read_memory(&self, pid: u32, at: u64, into: &mut dyn Target) -> Result<usize, Errno> {
        let mm = self.memory(pid)?;
        let (wanted, mut done, mut part) = (into.left(), 0, [0; 4096]);
        while done < wanted {
            let here = at.checked_add(done as u64).ok_or(Errno::EIO)?;
            let len = (4096 - here % 4096).min((wanted - done) as u64) as usize;
            if mm.read(here, &mut part[..len]).is_err() {
                return if done > 0 { Ok(done) } else { Err(Errno::EIO) };
            }
            let put = into.put(&part[..len]);
            done += put;
            if put < len {
                return moved(done, wanted);
            }
        }
        Ok(done)
    }

    /// One word for each page: present, and whether it is written (pagemap documentation); no frame numbers.
    fn read_pagemap(&self, pid: u32, at: u64, into: &mut dyn Target) -> Result<usize, Errno> {
        const PRESENT: u64 = 1 << 63;
        if !at.is_multiple_of(8) || !into.left().is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        let mm = self.memory(pid)?;
        let (wanted, mut done) = (into.left(), 0);
        while done < wanted {
            let page = (at + done as u64) / 8;
            if page >= 1 << 35 {
                break;
            }
            let word = if mm.space().find(page << 12).is_some() { PRESENT } else { 0 };
            if into.put(&word.to_le_bytes()) < 8 {
                return moved(done, wanted);
            }
            done += 8;
        }
        Ok(done)
    }
}

/// Moves what a text has at a place, as far as there is room for it.
fn put(text: &Text, at: usize, into: &mut dyn Target) -> Result<usize, Errno> {
    let (wanted, mut done) = (text.len().saturating_sub(at).min(into.left()), 0);
    for part in text.from(at) {
        let part = &part[..part.len().min(wanted - done)];
        let stored = into.put(part);
        done += stored;
        if stored < part.len() || done == wanted {
            break;
        }
    }
    moved(done, wanted)
}

impl File for PseudoFile {
    fn poll_read(
        &self,
        _cx: &mut Context<'_>,
        _operation: &mut Operation,
        at: Option<u64>,
        into: &mut dyn Target,
    ) -> Poll<Result<usize, Errno>> {
        let at = at.unwrap_or(0);
        Poll::Ready(match self.content {
            Content::Memory(pid) => self.read_memory(pid, at, into),
            Content::PageMap(pid) => self.read_pagemap(pid, at, into),
            _ => self.text(at).and_then(|text| put(&text, usize::try_from(at).unwrap_or(usize::MAX), into)),
        })
    }

    fn poll_write(
        &self,
        _cx: &mut Context<'_>,
        _operation: &mut Operation,
        _at: Option<u64>,
        from: &mut dyn Source,
    ) -> Poll<Result<usize, Errno>> {
        let Content::Process(_, pid, tid) = self.content else { return Poll::Ready(Err(Errno::EACCES)) };
        let mut text = alloc::vec![0; from.left().min(MAX_WRITE)];
        let got = from.take(&mut text);
        if got < text.len() {
            return Poll::Ready(Err(Errno::EFAULT));
        }
        Poll::Ready(self.view.write(pid, tid, &self.name, &text).map(|()| got))
    }

    fn stat(&self) -> Stat {
        self.stat
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn positioned(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open directory of the node.
pub struct DirectoryFile {
    stat: Stat,
    entries: Listing,
}

/// What a directory of /proc or /sys has.
pub struct Entries {
    /// Those whose names are numbers, of which there may be many, and what they are.
    numbers: Vec<u32>,
    kind: FileType,
    /// The others, which come after them.
    pub named: Vec<(String, FileType)>,
}

impl Entries {
    /// Numbers, all of the same type.
    pub fn numbered(numbers: Vec<u32>, kind: FileType) -> Entries {
        Entries { numbers, kind, named: Vec::new() }
    }

    /// Names, all of the same type.
    pub fn named(names: &[&str], kind: FileType) -> Entries {
        Entries::from(names.iter().map(|name| (String::from(*name), kind)).collect::<Vec<_>>())
    }

    /// How many directories are among them.
    pub fn directories(&self) -> usize {
        let numbers = if self.kind == FileType::Directory { self.numbers.len() } else { 0 };
        numbers + self.named.iter().filter(|(_, kind)| *kind == FileType::Directory).count()
    }

    /// The entry at an index.
    fn get(&self, index: usize) -> Option<(Cow<'_, str>, FileType)> {
        if let Some(number) = self.numbers.get(index) {
            return Some((number.to_string().into(), self.kind));
        }
        let (name, kind) = self.named.get(index - self.numbers.len())?;
        Some((name.into(), *kind))
    }
}

impl From<Vec<(String, FileType)>> for Entries {
    fn from(named: Vec<(String, FileType)>) -> Entries {
        Entries { numbers: Vec::new(), kind: FileType::Regular, named }
    }
}

enum Listing {
    /// As it was when it was opened.
    Fixed(Entries),
    /// As it is.
    Tree(Arc<tmpfs::Directory>),
}

impl DirectoryFile {
    /// A directory of /proc or /sys.
    pub fn fixed(stat: Stat, entries: Entries) -> DirectoryFile {
        DirectoryFile { stat, entries: Listing::Fixed(entries) }
    }

    /// A directory of /dev/shm.
    pub fn tree(directory: Arc<tmpfs::Directory>) -> DirectoryFile {
        let stat = tmpfs::Node::Directory(directory.clone()).stat();
        DirectoryFile { stat, entries: Listing::Tree(directory) }
    }

    /// Entries from `position` on: position of the next one, number, type, name. Stops when `each` takes no more.
    pub fn read(&self, position: u64, mut each: impl FnMut(u64, u64, FileType, &[u8]) -> bool) {
        let own = self.stat.inode;
        let dots: [&[u8]; 2] = [b".", b".."];
        for (index, name) in dots.iter().enumerate().skip(position.min(2) as usize) {
            if !each(index as u64 + 1, own, FileType::Directory, name) {
                return;
            }
        }
        let from = position.saturating_sub(2);
        match &self.entries {
            Listing::Fixed(list) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                let rest = (from..usize::MAX).map_while(|index| Some((index as u64, list.get(index)?)));
                for (index, (name, kind)) in rest {
                    if !each(index + 3, own.wrapping_add(index + 1), kind, name.as_bytes()) {
                        return;
                    }
                }
            }
            Listing::Tree(directory) => {
                directory.read(from, |next, inode, kind, name| each(next + 2, inode, kind, name));
            }
        }
    }
}

impl File for DirectoryFile {
    fn poll_read(
        &self,
        _cx: &mut Context<'_>,
        _operation: &mut Operation,
        _at: Option<u64>,
        _into: &mut dyn Target,
    ) -> Poll<Result<usize, Errno>> {
        Poll::Ready(Err(Errno::EISDIR))
    }

    fn stat(&self) -> Stat {
        match &self.entries {
            Listing::Fixed(_) => self.stat,
            Listing::Tree(directory) => tmpfs::Node::Directory(directory.clone()).stat(),
        }
    }

    fn name(&self) -> String {
        String::new()
    }

    fn events(&self) -> Events {
        Events::READY
    }

    fn positioned(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
