//! A client of a simulation: it does what the tree of that moment suggests, and checks every answer.

use super::history::{Ack, History, Moment};
use crate::backend::{Answer, Store, own};
use crate::disk::SimDisk;
use crate::model::{
    Limits, Step, Touch, Tree, apply, changes, content_difference, generate, new_object, predict, settle,
};
use crate::random::Random;
use keelson_exec::Handle;
use keelson_volume::{Attributes, Change, ClearSetid, FileId, Time, Volume, VolumeError};
use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::time::Duration;

/// A client.
pub struct Client {
    volume: Rc<own::Volume>,
    disk: Rc<SimDisk>,
    history: Rc<RefCell<History>>,
    random: RefCell<Random>,
}

/// What a step's answer tells.
struct Told {
    /// Id of what was made.
    made: Option<FileId>,
    /// Attributes of what was changed, right after.
    after: Vec<Attributes>,
    /// The same right before.
    before: Vec<Attributes>,
}

impl Told {
    fn of(changes: impl IntoIterator<Item = Change>) -> Told {
        let changes: Vec<Change> = changes.into_iter().collect();
        Told {
            made: None,
            after: changes.iter().map(|change| change.after).collect(),
            before: changes.iter().map(|change| change.before).collect(),
        }
    }
}

impl Client {
    /// One that shares this history with others.
    pub fn new(
        volume: Rc<own::Volume>,
        disk: Rc<SimDisk>,
        history: Rc<RefCell<History>>,
        random: Random,
    ) -> Client {
        Client { volume, disk, history, random: RefCell::new(random) }
    }

    /// Starts working.
    pub fn begin(self, handle: &Handle) {
        let clock = handle.clone();
        handle.spawn("client", async move {
            if let Err(said) = self.work(&clock).await {
                self.history.borrow_mut().wrong.get_or_insert(said);
            }
        });
    }

    async fn work(&self, clock: &Handle) -> Result<(), String> {
        let limits = Limits {
            bytes: 2 << 20,
            file: 300 << 10,
            directories: 12,
            objects: 150,
            wrong: false,
            xattrs: self.volume.has_xattrs(),
            everything: true,
        };
        loop {
            if self.chance(3) {
                clock.sleep(Duration::from_micros(self.below(8_000))).await;
            }
            let tree = self.history.borrow().now().clone();
            let step = generate(&tree, tree.bytes(), &mut self.random.borrow_mut(), &limits);
            self.take(&tree, &step).await.map_err(|said| format!("{}: {said}", step.brief()))?;
            if self.chance(6) {
                self.look().await?;
            }
            if self.chance(2) {
                self.commit(clock, &step).await?;
            }
        }
    }

    fn below(&self, limit: u64) -> u64 {
        self.random.borrow_mut().below(limit)
    }

    fn chance(&self, among: u64) -> bool {
        self.below(among) == 0
    }

    /// Takes a step that was made for `before`; others may be faster.
    async fn take(&self, before: &Tree, step: &Step) -> Result<(), String> {
        let moment = self.history.borrow().moment();
        let answer = self.perform(before, step).await;
        // From its effect to here nothing else happened: the last tree is the one that the step met.
        let mut history = self.history.borrow_mut();
        let untouched = history.moment() == moment;
        let met = history.now();
        let possible = concerned(before, step)
            .all(|id| met.objects.get(&id.inode).is_some_and(|object| object.attributes.id == id));
        let predicted = if possible { predict(met, step) } else { Err(VolumeError::Stale) };
        match (answer, predicted) {
            (Ok(told), Ok(())) => self.follow(history, step, told),
            (Ok(_), Err(error)) => Err(format!("done, though it must fail: {error:?}")),
            (Err(error), Err(_)) if !untouched && error != VolumeError::Io => {
                history.refused += 1;
                Ok(())
            }
            (Err(error), Err(predicted)) if error == predicted => Ok(()),
            (Err(error), Ok(())) if !untouched && is_of_names(error) => {
                // What was in the way then is not any more.
                history.refused += 1;
                Ok(())
            }
            (Err(error), predicted) => Err(format!("{error:?}, not {predicted:?}")),
        }
    }

    /// The step took effect: the tree follows, and what the answer tells must be what the tree says.
    fn follow(&self, mut history: RefMut<'_, History>, step: &Step, told: Told) -> Result<(), String> {
        let mut tree = history.now().clone();
        for before in &told.before {
            let known = tree.get(before.id.inode).attributes;
            let same = Attributes { allocated: known.allocated, atime: known.atime, ..*before };
            if same != known {
                return Err(format!("attributes before were {before:?}, not {known:?}"));
            }
        }
        let touched = apply(&mut tree, step, told.made);
        let Some(stamp) = told.after.first().map(|after| after.ctime).filter(|_| !touched.is_empty()) else {
            return Ok(());
        };
        let last = history.moments[history.moment()].stamp;
        if stamp <= last {
            return Err(format!("its time {stamp:?} is not after that of the step before, {last:?}"));
        }
        for (inode, touch) in touched {
            match told.after.iter().find(|after| after.id.inode == inode) {
                Some(after) => settle(&mut tree, inode, touch, *after, true)?,
                None => stamp_object(&mut tree, inode, touch, stamp),
            }
        }
        let event = self.disk.recorded();
        history.moments.push(Moment { tree, stamp, event, step: step.brief() });
        Ok(())
    }

    async fn perform(&self, tree: &Tree, step: &Step) -> Answer<Told> {
        let volume = &self.volume;
        let id = |inode: &u64| tree.get(*inode).attributes.id;
        Ok(match step {
            Step::Create { dir, name, what, mode, owner } => {
                let created = volume.create(id(dir), name, new_object(what, *mode, *owner)).await?;
                let mut told = Told::of([created.dir]);
                told.made = Some(created.object.id);
                told.after.push(created.object);
                told
            }
            Step::Link { object, dir, name } => {
                let created = volume.link(id(object), id(dir), name).await?;
                let mut told = Told::of([created.dir]);
                told.after.push(created.object);
                told
            }
            Step::Remove { dir, name } => Told::of([volume.remove(id(dir), name).await?.dir]),
            Step::RemoveDir { dir, name } => Told::of([volume.remove_dir(id(dir), name).await?.dir]),
            Step::Rename { from, name, to, new_name } => {
                let renamed = volume.rename(id(from), name, id(to), new_name).await?;
                Told::of([renamed.from_dir, renamed.to_dir])
            }
            Step::Write { file, offset, length, fill } => {
                let content = Step::content(*offset, *length, *fill);
                Told::of([volume.write(id(file), *offset, &content, ClearSetid::Yes).await?])
            }
            Step::Truncate { .. } | Step::SetAttributes { .. } => {
                let (object, changes) = changes(step).ok_or(VolumeError::Invalid)?;
                Told::of([volume.set_attributes(id(&object), changes, None).await?])
            }
            Step::SetXattr { object, name, value } => Told::of([match value {
                Some(value) => volume.set_attribute(id(object), name, value).await?,
                None => volume.remove_attribute(id(object), name).await?,
            }]),
        })
    }

    /// Reads a file and compares it, unless it changes meanwhile.
    async fn look(&self) -> Result<(), String> {
        let tree = self.history.borrow().now().clone();
        let files: Vec<u64> = tree.files().collect();
        if files.is_empty() {
            return Ok(());
        }
        let file = files[self.below(files.len() as u64) as usize];
        let (Some(content), id) = (tree.content(file), tree.get(file).attributes.id) else { return Ok(()) };
        let mut buffer = vec![0xee; content.len() + 10];
        let read = self.volume.read(id, 0, &mut buffer).await;
        let history = self.history.borrow();
        let same = history.now().objects.get(&file).is_some_and(|object| object.attributes.id == id);
        let unchanged = same && history.now().content(file).is_some_and(|now| Rc::ptr_eq(now, content));
        match read {
            Ok(length) if unchanged => match content_difference(content, &buffer[..length]) {
                Some(what) => Err(format!("read {}: {what}", tree.path(file))),
                None => Ok(()),
            },
            Err(VolumeError::Stale) if !same => Ok(()),
            Err(error) => Err(format!("read {}: {error}", tree.path(file))),
            Ok(_) => Ok(()),
        }
    }

    /// Has something made stable; now and then it does not wait for the answer.
    async fn commit(&self, clock: &Handle, step: &Step) -> Result<(), String> {
        let (tree, moment) = (self.history.borrow().now().clone(), self.history.borrow().moment());
        let file = match step {
            Step::Write { file, .. } | Step::Truncate { file, .. } => Some(*file),
            _ => None,
        };
        let note = |file| {
            let ack = Ack { event: self.disk.recorded(), moment, file };
            self.history.borrow_mut().acks.push(ack);
        };
        if self.chance(5) {
            self.volume.sync_all().await.map_err(|error| format!("sync: {error}"))?;
            note(None);
            return Ok(());
        }
        // Another client may have removed the file.
        let target = file.filter(|file| tree.objects.contains_key(file)).unwrap_or(tree.root);
        let commit = self.volume.commit(tree.get(target).attributes.id);
        if self.chance(8) {
            let patience = Duration::from_micros(self.below(2_000));
            match clock.timeout(patience, commit).await {
                Err(_) => return Ok(()),
                Ok(done) => done.map_err(|error| format!("commit: {error}"))?,
            }
        } else {
            commit.await.map_err(|error| format!("commit: {error}"))?;
        }
        note(Some(target));
        Ok(())
    }
}

/// Times of an object that the answer does not tell of: all of a step have the same.
fn stamp_object(tree: &mut Tree, inode: u64, touch: Touch, stamp: Time) {
    let attributes = &mut tree.get_mut(inode).attributes;
    attributes.ctime = stamp;
    match touch {
        Touch::Made => (attributes.mtime, attributes.atime) = (stamp, stamp),
        Touch::Content => attributes.mtime = stamp,
        Touch::Inode => {}
        Touch::Mtime(time) => attributes.mtime = time,
    }
}

/// Objects that a step names by their ids.
fn concerned(tree: &Tree, step: &Step) -> impl Iterator<Item = FileId> {
    let inodes = match step {
        Step::Create { dir, .. } | Step::Remove { dir, .. } | Step::RemoveDir { dir, .. } => [*dir, *dir],
        Step::Link { object, dir, .. } => [*object, *dir],
        Step::Rename { from, to, .. } => [*from, *to],
        Step::Truncate { file, .. } | Step::Write { file, .. } => [*file, *file],
        Step::SetAttributes { object, .. } | Step::SetXattr { object, .. } => [*object, *object],
    };
    inodes.map(|inode| tree.get(inode).attributes.id).into_iter()
}

/// Errors that others can cause by being faster.
fn is_of_names(error: VolumeError) -> bool {
    use VolumeError::{Exists, Invalid, IsDirectory, NotDirectory, NotEmpty, NotFound, Stale};
    matches!(error, NotFound | Stale | Exists | NotEmpty | IsDirectory | NotDirectory | Invalid)
}
