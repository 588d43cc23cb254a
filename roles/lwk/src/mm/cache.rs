//! The page cache: objects of files, also of those that nobody maps any more (section 3.2).

use super::object::Object;
use super::source::{FileId, FileVersion, PageSource};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use keelson_hal::user::UserMachine;

/// Files by name, with the state that they were in.
#[derive(Default)]
pub(super) struct Cache {
    files: BTreeMap<FileId, Entry>,
    /// Bytes that files may have which nobody maps.
    cap: u64,
    turn: u64,
}

struct Entry {
    object: Arc<Object>,
    version: FileVersion,
    /// When it was mapped last: the lowest goes first.
    used: u64,
}

/// Most files, however small.
const FILES_MOST: usize = 16_384;
/// What is listed at once of many.
const AT_ONCE: usize = 256;

impl Cache {
    pub fn new(cap: u64) -> Cache {
        Cache { cap, ..Cache::default() }
    }

    /// The object of a file. One that others map for shared writing stays the file's object, whatever became of the file, as
    /// long as they have it open: then its number cannot be that of another file by now. Else a changed file gets a new one.
    pub fn object(&mut self, machine: &Arc<dyn UserMachine>, source: &Arc<dyn PageSource>) -> Arc<Object> {
        let (id, version) = (source.id(), source.version());
        self.turn += 1;
        let turn = self.turn;
        if let Some(entry) = self.files.get_mut(&id) {
            let written = entry.object.lock().is_written() && Arc::strong_count(&entry.object) > 1;
            if entry.version == version || written {
                entry.used = turn;
                if entry.version != version {
                    entry.version = version;
                    entry.object.set_size(version.size);
                }
                // The old connection to the file may be gone.
                entry.object.lock().reader = Some(source.clone());
                return entry.object.clone();
            }
        }
        let object = Object::file(machine.clone(), source.clone());
        let entry = Entry { object: object.clone(), version, used: turn };
        self.files.insert(id, entry);
        self.shrink(self.cap);
        object
    }

    /// The object of a file, when there is one.
    pub fn find(&self, id: &FileId) -> Option<Arc<Object>> {
        self.files.get(id).map(|entry| entry.object.clone())
    }

    /// Bytes of all pages.
    pub fn resident(&self) -> u64 {
        self.files.values().map(|entry| entry.object.resident()).sum()
    }

    /// Open files of objects that nobody maps, some at a time: whoever maps one again brings its own.
    pub fn rest(&self) -> Vec<Arc<dyn PageSource>> {
        let mut open = Vec::new();
        for entry in self.files.values().filter(|entry| entry.is_idle()) {
            if open.len() >= AT_ONCE {
                break;
            }
            open.extend(entry.object.rest());
        }
        open
    }

    /// Gives up what is too much.
    pub fn shrink_to_cap(&mut self) {
        self.shrink(self.cap);
    }

    /// Gives up what was used longest ago until at most `cap` bytes are left that nobody maps.
    pub fn shrink(&mut self, cap: u64) {
        loop {
            let mut bytes = 0;
            // Those that go first, by turn.
            let mut oldest = BTreeMap::new();
            for (id, entry) in self.files.iter().filter(|(_, entry)| entry.is_idle()) {
                let resident = entry.object.resident();
                bytes += resident;
                oldest.insert(entry.used, (*id, resident));
                if oldest.len() > AT_ONCE {
                    oldest.pop_last();
                }
            }
            if oldest.is_empty() {
                return;
            }
            for (id, resident) in oldest.into_values() {
                if bytes <= cap && self.files.len() <= FILES_MOST {
                    return;
                }
                self.files.remove(&id);
                bytes -= resident;
            }
        }
    }
}

impl Entry {
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.object) == 1 && self.object.lock().dirty.is_empty()
    }
}
