//! What should be there, and the comparison with what is.

use std::collections::BTreeMap;

use super::found::Found;
use crate::nfs3::{Handle, kind};

/// Names and objects. The key of a name is its path below the ledger's directory.
#[derive(Clone, Default)]
pub struct Books {
    pub names: BTreeMap<String, Object>,
    pub files: BTreeMap<u64, File>,
}

#[derive(Clone, PartialEq)]
pub enum Object {
    /// A file by its number in the books; several names may have the same.
    File(u64),
    Folder(Option<Handle>),
    Link(String),
}

#[derive(Clone, Default)]
pub struct File {
    /// Unknown while the creation is in doubt.
    pub handle: Option<Handle>,
    pub stable: Vec<u8>,
    /// Writes acknowledged as UNSTABLE, or not acknowledged.
    pub loose: Vec<(u64, Vec<u8>)>,
    pub verifier: Option<[u8; 8]>,
    pub mode: u32,
    /// What was done to it, in words, for the report of a loss.
    pub history: Vec<String>,
}

impl File {
    /// The contents if everything loose is there.
    pub fn newest(&self) -> Vec<u8> {
        let mut data = self.stable.clone();
        for (offset, piece) in &self.loose {
            overlay(&mut data, *offset, piece);
        }
        data
    }

    /// What is wrong with `data` as the contents after a cut.
    pub fn judge(&self, data: &[u8]) -> Result<(), String> {
        let longest = self.newest().len();
        if !(self.stable.len()..=longest).contains(&data.len()) {
            return Err(format!("{} bytes long instead of {} to {longest}", data.len(), self.stable.len()));
        }
        let wrong = (0..data.len()).find(|&at| {
            let loose = self.loose.iter().any(|(offset, piece)| {
                let place = (at as u64).checked_sub(*offset);
                place.and_then(|place| piece.get(place as usize)) == Some(&data[at])
            });
            !loose && data[at] != self.stable.get(at).copied().unwrap_or(0)
        });
        match wrong {
            Some(at) => Err(format!(
                "from byte {at} of {} on there is {:02x?}, which was never written, instead of {:02x?}",
                data.len(),
                &data[at..data.len().min(at + 8)],
                self.stable.get(at..self.stable.len().min(at + 8)),
            )),
            None => Ok(()),
        }
    }
}

pub fn overlay(data: &mut Vec<u8>, offset: u64, piece: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + piece.len());
    if data.len() < end {
        data.resize(end, 0);
    }
    data[start..end].copy_from_slice(piece);
}

impl Books {
    /// # Panics
    /// If the creation of the file is in doubt: steps end at the first call in doubt.
    pub fn handle(&self, number: u64) -> Handle {
        self.files[&number].handle.clone().expect("a file whose creation was acknowledged")
    }

    /// The folder of a path and the last component.
    pub fn folder_of(&self, path: &str) -> (Handle, String) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        match &self.names[folder] {
            Object::Folder(Some(handle)) => (handle.clone(), name.into()),
            _ => unreachable!("{folder} is a folder"),
        }
    }

    pub fn is_removable(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        !path.is_empty() && !self.names.keys().any(|other| other.starts_with(&inside))
    }

    /// What differs.
    pub fn compare(&self, found: &Found) -> Result<(), String> {
        if let Some(extra) = found.0.keys().find(|path| !self.names.contains_key(*path)) {
            return Err(format!("{extra} is there but was removed, or never was"));
        }
        for (path, object) in &self.names {
            let Some(there) = found.0.get(path) else { return Err(format!("{path} is lost")) };
            let wrong = |what: String| Err(format!("{path}: {what}"));
            let known = match object {
                Object::Folder(handle) if there.kind == kind::DIRECTORY => handle,
                Object::Link(target) if there.kind == kind::SYMLINK && there.data == target.as_bytes() => {
                    &None
                }
                Object::File(number) if there.kind == kind::REGULAR => {
                    let file = &self.files[number];
                    let links = self.names.values().filter(|other| *other == object).count() as u32;
                    if there.nlink != links || there.mode != file.mode {
                        let (nlink, mode) = (there.nlink, there.mode);
                        return wrong(format!(
                            "{nlink} links, mode {mode:o}, not {links} and {:o}",
                            file.mode
                        ));
                    }
                    if let Err(error) = file.judge(&there.data) {
                        return wrong(format!("{error}; so far: {}", file.history.join(", ")));
                    }
                    &file.handle
                }
                _ => return wrong(format!("type {} or its contents are wrong", there.kind)),
            };
            if known.as_ref().is_some_and(|known| *known != there.handle) {
                return wrong("another handle than before".into());
            }
        }
        Ok(())
    }

    /// Takes over what was open: contents, and handles of what was created last.
    pub fn adopt(&mut self, found: &Found) {
        for (path, object) in &mut self.names {
            let Some(there) = found.0.get(path) else { continue };
            match object {
                Object::Folder(handle) => *handle = Some(there.handle.clone()),
                Object::File(number) => {
                    let (stable, handle, mode) = (there.data.clone(), Some(there.handle.clone()), there.mode);
                    let known = self.files.get_mut(number).map(|file| std::mem::take(&mut file.history));
                    let mut history = known.unwrap_or_default();
                    if history.last().is_none_or(|last| last != "power cut") {
                        history.push("power cut".into());
                    }
                    self.files.insert(*number, File { stable, handle, mode, history, ..File::default() });
                }
                Object::Link(_) => {}
            }
        }
        let named: Vec<u64> = self.names.values().filter_map(Object::number).collect();
        self.files.retain(|number, _| named.contains(number));
    }
}

impl Object {
    pub fn number(&self) -> Option<u64> {
        match self {
            Object::File(number) => Some(*number),
            _ => None,
        }
    }
}
