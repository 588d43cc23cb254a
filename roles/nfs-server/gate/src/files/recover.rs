//! A process after its machine came up again: it finds out what became of what was under way, and what there is.

use super::content::MOST_CELLS;
use super::nfs::{Done, Nfs, status};
use super::process::FileProcess;
use super::tree::{Named, Place, Step, text};
use crate::files::content::CELL;

impl FileProcess {
    /// Finds its directory; at later boots also what became of the last operation, and what is in its files.
    pub(super) async fn recover(&self, nfs: &mut Nfs, root: &[u8]) {
        let found = nfs.lookup(root, &self.name).await.result;
        let known = self.tree.borrow().dirs.get(&0).cloned();
        let Ok((handle, true)) = found else {
            return self.ledger.fail(format!("{}: {found:?}", self.name));
        };
        match known {
            None => drop(self.tree.borrow_mut().dirs.insert(0, handle)),
            Some(known) if known != handle => {
                self.ledger.fail(format!("{} has another handle than before", self.name));
            }
            Some(_) => {}
        }
        // Its machine may lose power again before that is known.
        let doubt = self.tree.borrow().doubt;
        if let Some(step) = doubt {
            self.settle(nfs, step).await;
            self.tree.borrow_mut().doubt = None;
        }
        let places: Vec<Place> = self.tree.borrow().names.keys().copied().collect();
        for place in places {
            self.look_up(nfs, place).await;
        }
        let files: Vec<u32> = self.tree.borrow().files.keys().copied().collect();
        for file in files {
            self.adopt(nfs, file).await;
        }
    }

    /// Either the step happened or it did not.
    async fn settle(&self, nfs: &mut Nfs, step: Step) {
        if self.tree.borrow().predict(step).is_err() {
            return;
        }
        let place = match step {
            Step::Create(place, _) | Step::Mkdir(place) | Step::Remove(place) | Step::Rmdir(place) => place,
            Step::Rename(_, to) | Step::Link(_, to) => to,
        };
        let before = self.handle_at(place);
        let found = self.find(nfs, place).await;
        let happened = match step {
            Step::Create(..) | Step::Mkdir(_) => match (&before, found) {
                (None, Some(handle)) => {
                    self.ledger.note(|| format!("{} {step:?} had happened", self.name));
                    self.took_place(step, handle);
                    return;
                }
                // UNCHECKED of what was there: it was cut to nothing, or will be found as it was.
                (Some(before), found) => {
                    if found.as_ref() != Some(before) {
                        self.ledger
                            .fail(format!("{} {step:?} made {found:02x?} of {before:02x?}", self.name));
                    }
                    let named = self.tree.borrow().names.get(&place).copied();
                    if let Some(Named::File(file)) = named {
                        self.doubt_length(file);
                    }
                    return;
                }
                (None, None) => false,
            },
            Step::Remove(_) | Step::Rmdir(_) => found.is_none(),
            Step::Rename(from, _) => {
                let (moved, left) = (self.handle_at(from), self.find(nfs, from).await);
                moved != before && found == moved && left.is_none()
            }
            Step::Link(file, _) => {
                let linked = self.tree.borrow().files.get(&file).map(|file| file.handle.clone());
                found == linked
            }
        };
        self.ledger
            .note(|| format!("{} {step:?} had {}happened", self.name, if happened { "" } else { "not " }));
        if happened {
            self.took_place(step, Vec::new());
        }
        // What did not happen is found as it was: all names are looked at.
    }

    fn doubt_length(&self, file: u32) {
        if let Some(file) = self.tree.borrow_mut().files.get_mut(&file) {
            file.content.resizing(0);
        }
    }

    async fn find(&self, nfs: &mut Nfs, place: Place) -> Option<Vec<u8>> {
        let dir = self.tree.borrow().dir(place.0);
        match nfs.lookup(&dir, &text(place.1)).await.result {
            Ok((handle, _)) => Some(handle),
            Err(status::NOENT) => None,
            Err(other) => {
                self.ledger.fail(format!("{} LOOKUP {place:?}: status {other}", self.name));
                None
            }
        }
    }

    /// Makes a file stable, and takes it for what it is if it may be that.
    async fn adopt(&self, nfs: &mut Nfs, file: u32) {
        let handle = self.tree.borrow().files.get(&file).map(|file| file.handle.clone()).unwrap_or_default();
        let Done { result, .. } = nfs.commit(&handle).await;
        if let Err(status) = result {
            return self.ledger.fail(format!("{} COMMIT of file {file}: status {status}", self.name));
        }
        let mut bytes = Vec::new();
        for first in (0..MOST_CELLS).step_by(60) {
            match nfs.read(&handle, first, 60.min(MOST_CELLS - first)).await.result {
                Ok(more) => bytes.extend(more),
                Err(status) => return self.ledger.fail(format!("{} READ: status {status}", self.name)),
            }
        }
        self.ledger.note(|| format!("{} file {file} has {} cells", self.name, bytes.len() / CELL));
        let adopted = match self.tree.borrow_mut().files.get_mut(&file) {
            Some(file) => file.content.adopt(&bytes),
            None => Ok(()),
        };
        if let Err(said) = adopted {
            self.ledger.fail(format!("{} file {file} after its machine came up: {said}", self.name));
        }
    }
}
