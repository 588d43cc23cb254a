//! A client of a simulation: it works, checks every answer, and writes down what it was promised.

use crate::backend::{Answer, Store, own};
use crate::checks::recovery::Expectation;
use crate::disk::SimDisk;
use crate::model::{
    Body, Limits, Object, Step, Tree, apply, changes, content_difference, generate, new_object, settle,
};
use crate::random::Random;
use keelson_exec::Handle;
use keelson_volume::{ClearSetid, FileId, Time, Volume};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// A step that was done.
#[derive(Clone)]
pub struct Moment {
    /// What the directory holds after it.
    pub tree: Tree,
    /// The time the step stamped.
    pub stamp: Time,
    /// Events of the disk before it began.
    pub begun: usize,
    /// The step.
    pub step: String,
}

/// What was promised.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// Events of the disk before the promise.
    pub event: usize,
    /// The metadata of this moment is safe.
    pub moment: usize,
    /// So is the content of this file; of all files when there is none.
    pub file: Option<u64>,
}

/// What a client knows.
#[derive(Clone, Default)]
pub struct Log {
    /// Every step, the beginning first.
    pub moments: Vec<Moment>,
    /// Every promise.
    pub acks: Vec<Ack>,
    /// What it does just now.
    pub doing: Option<Step>,
    /// What it found wrong.
    pub wrong: Option<String>,
}

impl Log {
    /// Trees that there were, or may have been, before event `cut`.
    pub fn moments_before(&self, cut: usize) -> Vec<Tree> {
        let begun =
            self.moments.iter().enumerate().take_while(|(index, moment)| *index == 0 || moment.begun <= cut);
        begun.map(|(_, moment)| moment.tree.clone()).collect()
    }

    /// What may be found when the power goes before event `cut`, of `events`.
    pub fn expectation<'a>(&self, moments: &'a [Tree], cut: usize, events: usize) -> Expectation<'a> {
        let mut expectation = Expectation::since(moments);
        for ack in self.acks.iter().filter(|ack| ack.event <= cut) {
            expectation.acknowledged = ack.moment;
            match ack.file {
                Some(file) => drop(expectation.contents.insert(file, ack.moment)),
                None => {
                    let files = moments[ack.moment].files();
                    expectation.contents.extend(files.map(|file| (file, ack.moment)));
                }
            }
        }
        // Content that no promise was made for may be any that there ever was.
        for tree in moments {
            for file in tree.files() {
                expectation.contents.entry(file).or_insert(0);
            }
        }
        if cut == events
            && let Some(step) = &self.doing
            && let Some(last) = moments.last()
        {
            expectation.uncertain = concerned(last, step);
        }
        expectation
    }
}

/// Objects that a step may change.
fn concerned(tree: &Tree, step: &Step) -> BTreeSet<u64> {
    let named = |dir: &u64, name: &Vec<u8>| tree.names(*dir).and_then(|names| names.get(name)).copied();
    let all: Vec<Option<u64>> = match step {
        Step::Create { dir, .. } => vec![Some(*dir)],
        Step::Link { object, dir, .. } => vec![Some(*object), Some(*dir)],
        Step::Remove { dir, name } | Step::RemoveDir { dir, name } => vec![Some(*dir), named(dir, name)],
        Step::Rename { from, name, to, new_name } => {
            vec![Some(*from), named(from, name), Some(*to), named(to, new_name)]
        }
        Step::Truncate { file, .. } | Step::Write { file, .. } => vec![Some(*file)],
        Step::SetAttributes { object, .. } | Step::SetXattr { object, .. } => vec![Some(*object)],
    };
    all.into_iter().flatten().collect()
}

/// A client.
pub struct Client(Rc<Inner>);

struct Inner {
    index: usize,
    volume: Rc<own::Volume>,
    disk: Rc<SimDisk>,
    log: RefCell<Log>,
    random: RefCell<Random>,
}

impl Client {
    /// One that has nothing yet.
    pub fn new(index: usize, volume: Rc<own::Volume>, disk: Rc<SimDisk>, random: Random) -> Client {
        Client(Rc::new(Inner { index, volume, disk, log: RefCell::default(), random: RefCell::new(random) }))
    }

    /// Makes its directory.
    pub async fn settle_in(&self) -> Result<(), String> {
        let inner = &self.0;
        let root = inner.volume.root();
        let name = format!("client {}", inner.index);
        let new = new_object(&crate::model::Making::Directory, 0o755, (0, 0));
        let made = inner.volume.create(root, name.as_bytes(), new).await;
        let attributes = made.map_err(|error| error.to_string())?.object;
        let inode = attributes.id.inode;
        let body = Body::Directory { names: BTreeMap::new(), parent: root.inode };
        let object = Object { attributes, body, xattrs: BTreeMap::new() };
        let tree = Tree { root: inode, objects: BTreeMap::from([(inode, Rc::new(object))]) };
        let first = Moment { tree, stamp: attributes.ctime, begun: 0, step: String::new() };
        inner.log.borrow_mut().moments.push(first);
        Ok(())
    }

    /// Starts working.
    pub fn begin(&self, handle: &Handle) {
        let (inner, clock) = (self.0.clone(), handle.clone());
        handle.spawn("client", async move {
            if let Err(said) = inner.work(&clock).await {
                inner.log.borrow_mut().wrong.get_or_insert(format!("client {}: {said}", inner.index));
            }
        });
    }

    /// What it knows.
    pub fn take_log(&self) -> Log {
        self.0.log.take()
    }
}

impl Inner {
    async fn work(&self, clock: &Handle) -> Result<(), String> {
        let limits = Limits {
            bytes: 1 << 20,
            file: 300 << 10,
            directories: 6,
            objects: 60,
            wrong: false,
            xattrs: self.volume.has_xattrs(),
            everything: true,
        };
        loop {
            if self.chance(3) {
                clock.sleep(Duration::from_micros(self.below(8_000))).await;
            }
            let tree = self.tree();
            let step = generate(&tree, tree.bytes(), &mut self.random.borrow_mut(), &limits);
            self.take(tree, &step).await.map_err(|said| format!("{}: {said}", step.brief()))?;
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

    /// What its directory must hold now.
    fn tree(&self) -> Tree {
        let log = self.log.borrow();
        log.moments[log.moments.len() - 1].tree.clone()
    }

    async fn take(&self, mut tree: Tree, step: &Step) -> Result<(), String> {
        let begun = self.disk.recorded();
        self.log.borrow_mut().doing = Some(step.clone());
        let made = self.perform(&tree, step).await.map_err(|error| error.to_string())?;
        let mut stamp = None;
        for (inode, touch) in apply(&mut tree, step, made) {
            let id = tree.get(inode).attributes.id;
            let found = self.volume.attributes(id).await.map_err(|error| format!("attributes: {error}"))?;
            settle(&mut tree, inode, touch, found, true)?;
            stamp = stamp.max(Some(found.ctime));
        }
        let mut log = self.log.borrow_mut();
        if let Some(stamp) = stamp {
            log.moments.push(Moment { tree, stamp, begun, step: step.brief() });
        }
        log.doing = None;
        Ok(())
    }

    async fn perform(&self, tree: &Tree, step: &Step) -> Answer<Option<FileId>> {
        let volume = &self.volume;
        let id = |inode: &u64| tree.get(*inode).attributes.id;
        match step {
            Step::Create { dir, name, what, mode, owner } => {
                let new = new_object(what, *mode, *owner);
                return Ok(Some(volume.create(id(dir), name, new).await?.object.id));
            }
            Step::Link { object, dir, name } => _ = volume.link(id(object), id(dir), name).await?,
            Step::Remove { dir, name } => _ = volume.remove(id(dir), name).await?,
            Step::RemoveDir { dir, name } => _ = volume.remove_dir(id(dir), name).await?,
            Step::Rename { from, name, to, new_name } => {
                volume.rename(id(from), name, id(to), new_name).await?;
            }
            Step::Write { file, offset, length, fill } => {
                let content = Step::content(*offset, *length, *fill);
                volume.write(id(file), *offset, &content, ClearSetid::Yes).await?;
            }
            Step::Truncate { .. } | Step::SetAttributes { .. } => {
                if let Some((object, changes)) = changes(step) {
                    volume.set_attributes(id(&object), changes, None).await?;
                }
            }
            Step::SetXattr { object, name, value } => {
                volume.put_xattr(id(object), name, value.as_deref()).await?;
            }
        }
        Ok(None)
    }

    /// Reads a file and compares it.
    async fn look(&self) -> Result<(), String> {
        let tree = self.tree();
        let files: Vec<u64> = tree.files().collect();
        if files.is_empty() {
            return Ok(());
        }
        let file = files[self.below(files.len() as u64) as usize];
        let Some(content) = tree.content(file) else { return Ok(()) };
        let mut buffer = vec![0xee; content.len() + 10];
        let read = self.volume.read(tree.get(file).attributes.id, 0, &mut buffer).await;
        let length = read.map_err(|error| format!("read {}: {error}", tree.path(file)))?;
        match content_difference(content, &buffer[..length]) {
            Some(what) => Err(format!("read {}: {what}", tree.path(file))),
            None => Ok(()),
        }
    }

    /// Has something made stable; now and then it does not wait for the answer.
    async fn commit(&self, clock: &Handle, step: &Step) -> Result<(), String> {
        let tree = self.tree();
        let moment = self.log.borrow().moments.len() - 1;
        let file = match step {
            Step::Write { file, .. } | Step::Truncate { file, .. } => Some(*file),
            _ => None,
        };
        let ack = |file| Ack { event: self.disk.recorded(), moment, file };
        if self.chance(5) {
            let done = self.volume.sync_all().await;
            done.map_err(|error| format!("sync: {error}"))?;
            self.log.borrow_mut().acks.push(ack(None));
            return Ok(());
        }
        let target = file.unwrap_or(tree.root);
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
        self.log.borrow_mut().acks.push(ack(Some(target)));
        Ok(())
    }
}
