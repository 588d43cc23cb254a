//! A process that works in a directory of its own, one call at a time, and knows what each must answer.

use super::content::{CELL, MOST_CELLS};
use super::nfs::{Done, How, Nfs, Stable, status};
use super::tree::{Named, Place, Step, Tree, text};
use crate::exclusive::Exclusive;
use crate::ledger::Ledger;
use keelson_exec::Handle;
use keelson_ext4_gate::random::Random;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Names that each directory may have.
const NAMES: u64 = 6;
/// Directories of a process, and files.
const MOST_DIRS: usize = 4;
const MOST_FILES: usize = 10;

/// The process. It begins anew when its machine does; what it made and what it was promised stays.
pub struct FileProcess {
    /// Its directory's name in the root.
    pub name: String,
    /// Its files.
    pub tree: RefCell<Tree>,
    pub(super) random: RefCell<Random>,
    pub(super) ledger: Rc<Ledger>,
    exclusive: Rc<Exclusive>,
    left: Cell<usize>,
    is_done: Cell<bool>,
}

impl FileProcess {
    /// One that is to do `steps` operations.
    pub fn new(
        name: String,
        steps: usize,
        random: Random,
        ledger: &Rc<Ledger>,
        exclusive: &Rc<Exclusive>,
    ) -> FileProcess {
        FileProcess {
            name,
            tree: RefCell::default(),
            random: RefCell::new(random),
            ledger: ledger.clone(),
            exclusive: exclusive.clone(),
            left: Cell::new(steps),
            is_done: Cell::new(false),
        }
    }

    /// It has done everything, and everything is stable.
    pub fn is_done(&self) -> bool {
        self.is_done.get()
    }

    /// Works to the end, or until its machine loses power.
    pub async fn run(self: Rc<Self>, handle: Handle, mut nfs: Nfs, root: Vec<u8>) {
        self.recover(&mut nfs, &root).await;
        while self.left.get() > 0 {
            self.pause(&handle).await;
            self.step(&handle, &mut nfs, &root).await;
            self.left.set(self.left.get() - 1);
            self.ledger.count();
        }
        let files: Vec<u32> = self.tree.borrow().files.keys().copied().collect();
        for file in files {
            self.commit(&mut nfs, file).await;
            self.read(&mut nfs, file, 0, MOST_CELLS).await;
        }
        self.ledger.note(|| format!("{} is done", self.name));
        self.is_done.set(true);
    }

    pub(super) fn below(&self, limit: u64) -> u64 {
        self.random.borrow_mut().below(limit)
    }

    fn chance(&self, among: u64) -> bool {
        self.below(among) == 0
    }

    async fn pause(&self, handle: &Handle) {
        let micros = match self.below(12) {
            0 => 100_000 + self.below(3_000_000),
            1..4 => self.below(20_000),
            _ => 0,
        };
        if micros > 0 {
            handle.sleep(Duration::from_micros(micros)).await;
        }
    }

    async fn step(&self, handle: &Handle, nfs: &mut Nfs, root: &[u8]) {
        let file = self.any_file();
        match (self.below(100), file) {
            (0..14, _) => {
                let how = match self.below(3) {
                    0 => How::Unchecked,
                    1 => How::Guarded,
                    _ => How::Exclusive(self.random.borrow_mut().number().to_be_bytes()),
                };
                let many = self.tree.borrow().files.len() >= MOST_FILES;
                let place = self.any_place();
                self.change(nfs, if many { Step::Remove(place) } else { Step::Create(place, how) }).await;
            }
            (14..18, _) if self.tree.borrow().dirs.len() < MOST_DIRS => {
                self.change(nfs, Step::Mkdir((0, self.any_name()))).await;
            }
            (18..26, _) => self.change(nfs, Step::Remove(self.any_place())).await,
            (26..29, _) => self.change(nfs, Step::Rmdir((0, self.any_name()))).await,
            (29..37, _) => {
                let (from, to) = (self.any_place(), self.any_place());
                // Directories stay where they are.
                if !matches!(self.tree.borrow().names.get(&from), Some(Named::Dir(_))) {
                    self.change(nfs, Step::Rename(from, to)).await;
                }
            }
            (37..41, Some(file)) => self.change(nfs, Step::Link(file, self.any_place())).await,
            (41..46, _) => self.look_up(nfs, self.any_place()).await,
            (46..49, _) => self.try_gone(nfs).await,
            (49..53, _) => self.exclusive.use_one(handle, nfs, root, &self.random).await,
            (53..59, Some(file)) => {
                let size = self.below(MOST_CELLS as u64) as usize;
                self.resize(nfs, file, size).await;
            }
            (59..67, Some(file)) => self.commit(nfs, file).await,
            (67..77, Some(file)) => {
                let first = self.below(MOST_CELLS as u64) as usize;
                let (first, cells) = if self.chance(3) { (0, MOST_CELLS) } else { (first, 16) };
                self.read(nfs, file, first, cells.min(60)).await;
            }
            (_, Some(file)) => self.write(nfs, file).await,
            (_, None) => self.change(nfs, Step::Create(self.any_place(), How::Guarded)).await,
        }
    }

    fn any_file(&self) -> Option<u32> {
        let tree = self.tree.borrow();
        let count = tree.files.len();
        (count > 0).then(|| tree.files.keys().nth(self.below(count as u64) as usize).copied()).flatten()
    }

    fn any_name(&self) -> u8 {
        self.below(NAMES) as u8
    }

    fn any_place(&self) -> Place {
        let tree = self.tree.borrow();
        let dir = tree.dirs.keys().nth(self.below(tree.dirs.len() as u64) as usize).copied();
        (dir.unwrap_or(0), self.any_name())
    }

    /// An operation on names.
    pub(super) async fn change(&self, nfs: &mut Nfs, step: Step) {
        let predicted = self.tree.borrow().predict(step);
        self.tree.borrow_mut().doubt = Some(step);
        self.ledger.note(|| format!("{} {step:?} ...", self.name));
        let Done { result, cuts } = self.send(nfs, step).await;
        self.ledger.note(|| format!("{} {step:?}: {:?}", self.name, result.as_ref().map(|_| ())));
        let repeated = cuts.is_none().then(|| Tree::repeated(step)).flatten();
        match (result, predicted) {
            (Ok(handle), Ok(())) => self.took_place(step, handle),
            (Err(status), Ok(())) if Some(status) == repeated => self.was_repeated(nfs, step).await,
            (Err(status), Err(predicted)) if status == predicted => {}
            (result, predicted) => {
                let result = result.map(|_| ());
                self.ledger.fail(format!("{} {step:?}: {result:?}, not {predicted:?}", self.name));
            }
        }
        self.tree.borrow_mut().doubt = None;
        if let Step::Create(place, How::Exclusive(_)) = step
            && let Some(handle) = self.handle_at(place)
            && predicted.is_ok()
        {
            self.expect_ok("SETATTR", nfs.set_mode(&handle).await.result);
        }
    }

    async fn send(&self, nfs: &mut Nfs, step: Step) -> Done<Vec<u8>> {
        let at = |(dir, name): Place| (self.tree.borrow().dir(dir), text(name));
        let nothing = |done: Done<()>| Done { result: done.result.map(|()| Vec::new()), cuts: done.cuts };
        match step {
            Step::Create(place, how) => {
                let (dir, name) = at(place);
                nfs.create(&dir, &name, how).await
            }
            Step::Mkdir(place) => {
                let (dir, name) = at(place);
                nfs.mkdir(&dir, &name).await
            }
            Step::Remove(place) => {
                let (dir, name) = at(place);
                nothing(nfs.remove(&dir, &name).await)
            }
            Step::Rmdir(place) => {
                let (dir, name) = at(place);
                nothing(nfs.rmdir(&dir, &name).await)
            }
            Step::Rename(from, to) => {
                let (from, to) = (at(from), at(to));
                nothing(nfs.rename((&from.0, &from.1), (&to.0, &to.1)).await)
            }
            Step::Link(file, place) => {
                let handle = self.tree.borrow().files.get(&file).map(|file| file.handle.clone());
                let (dir, name) = at(place);
                nothing(nfs.link(&handle.unwrap_or_default(), &dir, &name).await)
            }
        }
    }

    /// The step happened; what it made has this handle.
    pub(super) fn took_place(&self, step: Step, handle: Vec<u8>) {
        let mut tree = self.tree.borrow_mut();
        match step {
            Step::Create(place, _) => match tree.names.get(&place).copied() {
                Some(Named::File(number)) => {
                    let file = tree.files.get_mut(&number).filter(|file| file.handle == handle);
                    match file {
                        Some(file) => file.content.resized(0),
                        None => self.ledger.fail(format!("{} {step:?} opened another file", self.name)),
                    }
                }
                _ => {
                    self.ledger.made(&handle);
                    tree.add_file(place, handle);
                }
            },
            Step::Mkdir(place) => {
                self.ledger.made(&handle);
                tree.add_dir(place, handle);
            }
            step => tree.apply(step),
        }
    }

    /// A server before the one that answered did it; the names must say so.
    async fn was_repeated(&self, nfs: &mut Nfs, step: Step) {
        match step {
            Step::Create(place, _) | Step::Mkdir(place) => {
                let (dir, name) = (self.tree.borrow().dir(place.0), text(place.1));
                match nfs.lookup(&dir, &name).await.result {
                    Ok((handle, is_dir)) if is_dir == matches!(step, Step::Mkdir(_)) => {
                        self.took_place(step, handle);
                    }
                    other => self.ledger.fail(format!("{} {step:?} made {other:?}", self.name)),
                }
            }
            step => {
                self.tree.borrow_mut().apply(step);
                let places = match step {
                    Step::Rename(from, to) => vec![from, to],
                    Step::Remove(place) | Step::Rmdir(place) | Step::Link(_, place) => vec![place],
                    Step::Create(..) | Step::Mkdir(_) => vec![],
                };
                for place in places {
                    self.look_up(nfs, place).await;
                }
            }
        }
    }

    pub(super) fn handle_at(&self, place: Place) -> Option<Vec<u8>> {
        self.tree.borrow().handle_at(place).map(<[u8]>::to_vec)
    }

    /// A name must mean what it did.
    pub(super) async fn look_up(&self, nfs: &mut Nfs, place: Place) {
        let (dir, expected) = (self.tree.borrow().dir(place.0), self.handle_at(place));
        let found = nfs.lookup(&dir, &text(place.1)).await.result;
        let found = match found {
            Ok((handle, _)) => Ok(Some(handle)),
            Err(status::NOENT) => Ok(None),
            Err(other) => Err(other),
        };
        if found != Ok(expected.clone()) {
            self.ledger.fail(format!("{} LOOKUP {place:?}: {found:02x?}, not {expected:02x?}", self.name));
        }
    }

    /// What has no name any more must be gone.
    async fn try_gone(&self, nfs: &mut Nfs) {
        let handle = {
            let tree = self.tree.borrow();
            tree.gone.get(self.below(tree.gone.len().max(1) as u64) as usize).cloned()
        };
        let Some(handle) = handle else { return };
        let found = nfs.getattr(&handle).await.result;
        if found != Err(status::STALE) {
            self.ledger.fail(format!("{} GETATTR of {handle:02x?}, which is gone: {found:?}", self.name));
        }
    }

    fn with<R>(&self, file: u32, act: impl FnOnce(&mut super::tree::File) -> R) -> R {
        let mut tree = self.tree.borrow_mut();
        act(tree.files.get_mut(&file).unwrap_or_else(|| panic!("{}: no file {file}", self.name)))
    }

    fn expect_ok<T>(&self, what: &str, result: Result<T, u32>) -> Option<T> {
        result.map_err(|status| self.ledger.fail(format!("{} {what}: status {status}", self.name))).ok()
    }

    async fn write(&self, nfs: &mut Nfs, file: u32) {
        let size = self.with(file, |file| file.content.size());
        let first = self.below((size as u64 + 8).min(MOST_CELLS as u64)) as usize;
        let most = if self.chance(12) { 60 } else { 20 };
        let count = (1 + self.below(most) as usize).min(MOST_CELLS - first);
        let stamps: Vec<u32> = (0..count).map(|_| self.ledger.stamp()).collect();
        let stable = match self.below(10) {
            0 => Stable::Data,
            1 | 2 => Stable::File,
            _ => Stable::No,
        };
        self.send_write(nfs, file, first, stamps, stable).await;
    }

    async fn send_write(&self, nfs: &mut Nfs, file: u32, first: usize, stamps: Vec<u32>, stable: Stable) {
        let handle = self.with(file, |file| {
            file.content.writing(first, &stamps);
            file.handle.clone()
        });
        let what = || format!("{} WRITE {stable:?} file {file} from {first}: {stamps:?}", self.name);
        self.ledger.note(|| format!("{} ...", what()));
        let Done { result, cuts } = nfs.write(&handle, first, &stamps, stable).await;
        let Some(written) = self.expect_ok("WRITE", result) else { return };
        self.ledger.note(|| format!("{} {:?} {:02x?}", what(), written.stable, written.verifier));
        if let Some(cuts) = cuts {
            self.ledger.verifier(written.verifier, cuts);
        }
        let verifier = (written.stable == Stable::No).then_some(written.verifier);
        self.with(file, |file| file.content.written(first, &stamps, verifier, cuts));
    }

    /// COMMIT; what was written under another verifier is sent again, until everything is stable.
    pub(super) async fn commit(&self, nfs: &mut Nfs, file: u32) {
        loop {
            let handle = self.with(file, |file| file.handle.clone());
            let Done { result, cuts } = nfs.commit(&handle).await;
            let Some(verifier) = self.expect_ok("COMMIT", result) else { return };
            self.ledger.note(|| format!("{} COMMIT file {file}: {verifier:02x?}", self.name));
            if let Some(cuts) = cuts {
                self.ledger.verifier(verifier, cuts);
            }
            let again = self.with(file, |file| file.content.committed(verifier));
            if again.is_empty() {
                return;
            }
            for (first, stamps) in again {
                let stable = if self.chance(2) { Stable::No } else { Stable::File };
                for (index, stamps) in stamps.chunks(60).enumerate() {
                    self.send_write(nfs, file, first + index * 60, stamps.to_vec(), stable).await;
                }
            }
        }
    }

    async fn resize(&self, nfs: &mut Nfs, file: u32, cells: usize) {
        let handle = self.with(file, |file| {
            file.content.resizing(cells);
            file.handle.clone()
        });
        self.ledger.note(|| format!("{} SETATTR file {file} to {cells} cells ...", self.name));
        let result = nfs.resize(&handle, cells).await.result;
        if self.expect_ok("SETATTR", result).is_some() {
            self.ledger.note(|| format!("{} SETATTR file {file} to {cells} cells", self.name));
            self.with(file, |file| file.content.resized(cells));
        }
    }

    async fn read(&self, nfs: &mut Nfs, file: u32, first: usize, cells: usize) {
        // A datagram carries 32 KiB at most.
        let mut at = first;
        while at < first + cells {
            let count = (first + cells - at).min(60);
            let handle = self.with(file, |file| file.handle.clone());
            let Done { result, cuts } = nfs.read(&handle, at, count).await;
            let Some(bytes) = self.expect_ok("READ", result) else { return };
            self.ledger
                .note(|| format!("{} READ file {file} from {at}: {} cells", self.name, bytes.len() / CELL));
            let judged = self.with(file, |file| file.content.judge(at, count, &bytes, cuts));
            if let Err(said) = judged {
                self.ledger.fail(format!("{} READ of file {file}: {said}", self.name));
            }
            at += count;
        }
    }
}
