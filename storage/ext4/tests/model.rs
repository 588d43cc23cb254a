//! Random operations against a model in memory: live, after a remount, across checkpoints, and e2fsck.

mod common;

use common::{Mounted, check_listing, mount, new, run};
use keelson_ext4::Options;
use keelson_ext4::dev::{FileDisk, Seed, e2fsck, log_to_stderr, mke2fs};
use keelson_hal::Entropy;
use keelson_volume::{ClearSetid, FileId, FileType, ObjectKind, SetAttributes, Volume, VolumeError};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Names of one directory, and what they name.
type Names = BTreeMap<Vec<u8>, FileId>;

/// What the volume should hold.
#[derive(Default)]
struct Model {
    dirs: BTreeMap<FileId, Names>,
    files: BTreeMap<FileId, Vec<u8>>,
    links: BTreeMap<FileId, Vec<u8>>,
    gone: Vec<FileId>,
}

impl Model {
    fn names_of(&self, id: FileId) -> usize {
        self.dirs.values().flat_map(BTreeMap::values).filter(|&&named| named == id).count()
    }

    /// A name of `id` went away.
    fn dropped(&mut self, id: FileId) {
        if self.names_of(id) == 0 {
            let known = self.dirs.remove(&id).is_some() | self.files.remove(&id).is_some();
            assert!(known | self.links.remove(&id).is_some(), "an object the model does not know");
            self.gone.push(id);
        }
    }

    fn is_inside(&self, mut dir: FileId, ancestor: FileId) -> bool {
        loop {
            if dir == ancestor {
                return true;
            }
            match self.dirs.iter().find(|(_, names)| names.values().any(|&id| id == dir)) {
                Some((&parent, _)) => dir = parent,
                None => return false,
            }
        }
    }
}

struct Test {
    volume: Mounted,
    model: Model,
    random: Rc<Seed>,
}

impl Test {
    fn below(&self, limit: usize) -> usize {
        self.random.below(limit.max(1) as u64) as usize
    }

    fn any_dir(&self) -> FileId {
        *self.model.dirs.keys().nth(self.below(self.model.dirs.len())).expect("the root is always there")
    }

    fn any_file(&self) -> Option<FileId> {
        self.model.files.keys().nth(self.below(self.model.files.len())).copied()
    }

    /// A name from a pool small enough to be taken now and then.
    fn any_name(&self) -> Vec<u8> {
        let mut name = format!("n{}", self.below(400)).into_bytes();
        name.resize(name.len() + self.below(3) * 60, b'~');
        name
    }

    /// A name that exists, if the directory has one.
    fn taken_name(&self, dir: FileId) -> Vec<u8> {
        let names = &self.model.dirs[&dir];
        names.keys().nth(self.below(names.len())).cloned().unwrap_or_else(|| self.any_name())
    }

    fn step(&mut self) {
        match self.below(20) {
            0..=4 => self.create(),
            5..=8 => self.write(),
            9 => self.truncate(),
            10..=12 => self.rename(),
            13 => self.link(),
            14..=15 => self.remove(),
            16 => self.remove_dir(),
            17 => {
                self.check_one();
                check_listing(&self.volume, self.any_dir());
            }
            18 => self.check_gone(),
            _ if self.below(4) == 0 => {
                let id = self.any_file().unwrap_or(self.volume.root());
                run(self.volume.commit(id)).expect("commit");
            }
            _ => {}
        }
    }

    fn create(&mut self) {
        let (dir, name) = (self.any_dir(), self.any_name());
        let target = name.repeat(1 + self.below(3));
        let choice = self.below(10);
        let kind = match choice {
            0 | 1 => ObjectKind::Directory,
            2 => ObjectKind::Symlink(&target),
            _ => ObjectKind::Regular,
        };
        let result = run(self.volume.create(dir, &name, new(kind)));
        if self.model.dirs[&dir].contains_key(&name) {
            assert_eq!(result.err(), Some(VolumeError::Exists));
            return;
        }
        let id = result.expect("create").object.id;
        self.model.dirs.get_mut(&dir).expect("a known directory").insert(name, id);
        match choice {
            0 | 1 => drop(self.model.dirs.insert(id, Names::new())),
            2 => drop(self.model.links.insert(id, target)),
            _ => drop(self.model.files.insert(id, Vec::new())),
        }
    }

    fn write(&mut self) {
        let Some(id) = self.any_file() else { return };
        let length = 1 + self.below(if self.below(4) == 0 { 70_000 } else { 6_000 });
        let limit = self.model.files[&id].len() + if self.below(5) == 0 { 100_000 } else { 1 };
        let offset = self.below(limit.min(300_000));
        let data: Vec<u8> = (0..length).map(|index| (index as u64 ^ self.random.0.get()) as u8).collect();
        run(self.volume.write(id, offset as u64, &data, ClearSetid::No)).expect("write");
        self.random.next_u64();
        let content = self.model.files.get_mut(&id).expect("a known file");
        content.resize(content.len().max(offset + length), 0);
        content[offset..offset + length].copy_from_slice(&data);
    }

    fn truncate(&mut self) {
        let Some(id) = self.any_file() else { return };
        let size = self.below(self.model.files[&id].len() * 2 + 10);
        let changes = SetAttributes { size: Some(size as u64), ..SetAttributes::default() };
        run(self.volume.set_attributes(id, changes, None)).expect("truncate");
        self.model.files.get_mut(&id).expect("a known file").resize(size, 0);
    }

    fn rename(&mut self) {
        let (from, to) = (self.any_dir(), self.any_dir());
        let old = self.taken_name(from);
        let new = if self.below(3) == 0 { self.taken_name(to) } else { self.any_name() };
        let result = run(self.volume.rename(from, &old, to, &new)).map(|_| ());
        let Some(&source) = self.model.dirs[&from].get(&old) else {
            assert_eq!(result, Err(VolumeError::NotFound));
            return;
        };
        let target = self.model.dirs[&to].get(&new).copied();
        if target == Some(source) {
            assert_eq!(result, Ok(()));
            return;
        }
        let is_dir = |id: &FileId| self.model.dirs.contains_key(id);
        let refused = match target {
            Some(target) if is_dir(&source) && !is_dir(&target) => Some(VolumeError::NotDirectory),
            Some(target) if !is_dir(&source) && is_dir(&target) => Some(VolumeError::IsDirectory),
            _ if is_dir(&source) && self.model.is_inside(to, source) => Some(VolumeError::Invalid),
            Some(target) if is_dir(&target) && !self.model.dirs[&target].is_empty() => {
                Some(VolumeError::NotEmpty)
            }
            _ => None,
        };
        assert_eq!(result, refused.map_or(Ok(()), Err), "rename");
        if refused.is_none() {
            self.model.dirs.get_mut(&from).expect("a known directory").remove(&old);
            self.model.dirs.get_mut(&to).expect("a known directory").insert(new, source);
            if let Some(target) = target {
                self.model.dropped(target);
            }
        }
    }

    fn link(&mut self) {
        let Some(id) = self.any_file() else { return };
        let (dir, name) = (self.any_dir(), self.any_name());
        let result = run(self.volume.link(id, dir, &name));
        if self.model.dirs[&dir].contains_key(&name) {
            assert_eq!(result.err(), Some(VolumeError::Exists));
            return;
        }
        result.expect("link");
        self.model.dirs.get_mut(&dir).expect("a known directory").insert(name, id);
    }

    fn remove(&mut self) {
        let dir = self.any_dir();
        let name = self.taken_name(dir);
        let result = run(self.volume.remove(dir, &name)).map(|removed| removed.object);
        let expected = match self.model.dirs[&dir].get(&name) {
            None => Err(VolumeError::NotFound),
            Some(id) if self.model.dirs.contains_key(id) => Err(VolumeError::IsDirectory),
            Some(&id) => Ok(id),
        };
        assert_eq!(result, expected, "remove");
        if let Ok(id) = result {
            self.model.dirs.get_mut(&dir).expect("a known directory").remove(&name);
            self.model.dropped(id);
        }
    }

    fn remove_dir(&mut self) {
        let dir = self.any_dir();
        let name = self.taken_name(dir);
        let result = run(self.volume.remove_dir(dir, &name)).map(|removed| removed.object);
        let expected = match self.model.dirs[&dir].get(&name) {
            None => Err(VolumeError::NotFound),
            Some(id) => match self.model.dirs.get(id) {
                None => Err(VolumeError::NotDirectory),
                Some(names) if !names.is_empty() => Err(VolumeError::NotEmpty),
                Some(_) => Ok(*id),
            },
        };
        assert_eq!(result, expected, "remove_dir");
        if let Ok(id) = result {
            self.model.dirs.get_mut(&dir).expect("a known directory").remove(&name);
            self.model.dropped(id);
        }
    }

    fn check_one(&mut self) {
        let Some(id) = self.any_file() else { return };
        let content = &self.model.files[&id];
        let mut buffer = vec![0; content.len() + 10];
        let length = run(self.volume.read(id, 0, &mut buffer)).expect("read");
        assert!(buffer[..length] == content[..], "content of {id:?}");
    }

    fn check_gone(&self) {
        let newest = self.model.gone.iter().rev().take(20);
        for &id in newest {
            assert_eq!(run(self.volume.attributes(id)).err(), Some(VolumeError::Stale));
        }
    }

    /// Everything, through lookups and listings.
    fn check_all(&self) {
        for (&dir, names) in &self.model.dirs {
            let mut listed = Names::new();
            let mut cookie = 0;
            loop {
                let page = run(self.volume.read_dir(dir, cookie, 2000)).expect("read_dir");
                for entry in page.entries {
                    cookie = entry.cookie;
                    if entry.name != b"." && entry.name != b".." && entry.name != b"lost+found" {
                        let id = run(self.volume.lookup(dir, &entry.name)).expect("lookup").id;
                        assert!(listed.insert(entry.name, id).is_none(), "listed twice");
                    }
                }
                if page.end {
                    break;
                }
            }
            assert_eq!(listed, *names, "names of {dir:?}");
            check_listing(&self.volume, dir);
        }
        for (&id, content) in &self.model.files {
            let found = run(self.volume.attributes(id)).expect("attributes");
            assert_eq!((found.size, found.file_type), (content.len() as u64, FileType::Regular));
            assert_eq!(found.links as usize, self.model.names_of(id), "links of {id:?}");
            let mut buffer = vec![0; content.len()];
            assert_eq!(run(self.volume.read(id, 0, &mut buffer)), Ok(content.len()));
            assert!(buffer == *content, "content of {id:?}");
        }
        for (&id, target) in &self.model.links {
            assert_eq!(run(self.volume.read_link(id)).as_ref(), Ok(target));
        }
        self.check_gone();
    }
}

fn check(seed: u64, steps: usize, arguments: &[&str], options: Options) {
    log_to_stderr();
    let scratch = mke2fs(128, arguments);
    let open =
        |seed| mount(FileDisk::open(scratch.path(), false).expect("open"), seed, options).expect("mount");
    let volume = open(seed);
    let mut model = Model::default();
    model.dirs.insert(volume.root(), Names::new());
    let mut test = Test { volume, model, random: Seed::new(seed) };
    for _ in 0..steps {
        test.step();
    }
    test.check_all();
    if seed.is_multiple_of(2) {
        run(test.volume.unmount()).expect("unmount");
        e2fsck(scratch.path()).unwrap_or_else(|said| panic!("seed {seed}: {said}"));
    } else {
        run(test.volume.sync()).expect("sync");
    }
    test.volume = open(seed + 1);
    test.check_all();
    run(test.volume.unmount()).expect("unmount");
    e2fsck(scratch.path()).unwrap_or_else(|said| panic!("seed {seed}: {said}"));
}

#[test]
fn random_operations() {
    for seed in 0..4 {
        check(seed, 2500, &["-b", "4096"], Options::default());
    }
}

/// With hardly any memory everything is evicted, checkpointed and read again all the time.
#[test]
fn random_operations_in_little_memory() {
    let options = Options { cache_bytes: 0, ..Options::default() };
    for seed in 10..13 {
        check(seed, 2500, &["-b", "1024"], options);
    }
}

#[test]
fn random_operations_without_journal() {
    check(20, 2500, &["-b", "4096", "-O", "^has_journal"], Options::default());
}
