//! Many tasks at once on a disk that takes its time and does things in another order.

mod common;

use common::{Mounted, check_listing, mount, mount_on, new, run};
use keelson_ext4::Options;
use keelson_ext4::dev::{Host, Scratch, Seed, SimDisk, SlowDisk, e2fsck, log_to_stderr, mke2fs};
use keelson_hal::{BlockOp, Entropy};
use keelson_volume::{ClearSetid, FileId, ObjectKind, SetAttributes, Volume, VolumeError};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

const TASKS: usize = 20;
/// Bytes of the file of all that each task has for itself: no multiple of a block.
const SHARE: usize = 5000;

fn image(mebibytes: u64, arguments: &[&str]) -> Vec<u8> {
    fs::read(mke2fs(mebibytes, arguments).path()).expect("read the image")
}

fn check_image(image: &[u8]) {
    let scratch = Scratch::new();
    fs::write(scratch.path(), image).expect("write the image");
    e2fsck(scratch.path()).expect("e2fsck");
}

/// What a task has in its directory.
struct Own {
    number: usize,
    dir: FileId,
    files: BTreeMap<String, (FileId, Vec<u8>)>,
    share: Vec<u8>,
    random: Rc<Seed>,
}

impl Own {
    fn below(&self, limit: usize) -> usize {
        self.random.below(limit.max(1) as u64) as usize
    }

    fn bytes(&self, length: usize) -> Vec<u8> {
        let start = self.random.next_u64();
        (0..length as u64).map(|index| (start.wrapping_add(index * 7)) as u8).collect()
    }

    fn any(&self) -> Option<(String, FileId)> {
        let at = self.below(self.files.len());
        self.files.iter().nth(at).map(|(name, (id, _))| (name.clone(), *id))
    }

    async fn step(&mut self, volume: &Mounted, shared: FileId, common: FileId) {
        match self.below(16) {
            0..3 => self.create(volume).await,
            3..7 => self.write(volume).await,
            7 => self.truncate(volume).await,
            8..10 => self.read(volume).await,
            10 => self.rename(volume).await,
            11 => self.remove(volume).await,
            12 => self.use_share(volume, common).await,
            13 => {
                let id = self.any().map_or(self.dir, |(_, id)| id);
                volume.commit(id).await.expect("commit");
            }
            14 => self.list(volume).await,
            _ => self.meet(volume, shared).await,
        }
    }

    async fn create(&mut self, volume: &Mounted) {
        let name = format!("file {}", self.below(30));
        let created = volume.create(self.dir, name.as_bytes(), new(ObjectKind::Regular)).await;
        match self.files.contains_key(&name) {
            true => assert_eq!(created.err(), Some(VolumeError::Exists)),
            false => drop(self.files.insert(name, (created.expect("create").object.id, Vec::new()))),
        }
    }

    async fn write(&mut self, volume: &Mounted) {
        let Some((name, id)) = self.any() else { return };
        let old = self.files[&name].1.len();
        let offset = self.below(old + if self.below(4) == 0 { 50_000 } else { 1 }).min(400_000);
        let most = if self.below(5) == 0 { 150_000 } else { 6000 };
        let length = 1 + self.below(most);
        let data = self.bytes(length);
        let change = volume.write(id, offset as u64, &data, ClearSetid::No).await.expect("write");
        assert_eq!(change.before.size, old as u64, "size before a write to {id:?}");
        let content = &mut self.files.get_mut(&name).expect("a known file").1;
        content.resize(content.len().max(offset + data.len()), 0);
        content[offset..offset + data.len()].copy_from_slice(&data);
        assert_eq!(change.after.size, content.len() as u64);
    }

    async fn truncate(&mut self, volume: &Mounted) {
        let Some((name, id)) = self.any() else { return };
        let size = self.below(self.files[&name].1.len() * 3 / 2 + 10);
        let changes = SetAttributes { size: Some(size as u64), ..SetAttributes::default() };
        volume.set_attributes(id, changes, None).await.expect("truncate");
        self.files.get_mut(&name).expect("a known file").1.resize(size, 0);
    }

    async fn read(&mut self, volume: &Mounted) {
        let Some((name, id)) = self.any() else { return };
        let content = &self.files[&name].1;
        let offset = self.below(content.len() + 100);
        let mut buffer = vec![0xEE; self.below(100_000)];
        let length = volume.read(id, offset as u64, &mut buffer).await.expect("read");
        let expected = &content[offset.min(content.len())..];
        let expected = &expected[..expected.len().min(buffer.len())];
        assert_eq!(length, expected.len(), "length of a read");
        assert!(buffer[..length] == *expected, "task {}: content of {name} {id:?}", self.number);
    }

    async fn rename(&mut self, volume: &Mounted) {
        let Some((name, _)) = self.any() else { return };
        let other = format!("file {}", self.below(30));
        volume.rename(self.dir, name.as_bytes(), self.dir, other.as_bytes()).await.expect("rename");
        if name != other {
            let moved = self.files.remove(&name).expect("a known file");
            self.files.insert(other, moved);
        }
    }

    async fn remove(&mut self, volume: &Mounted) {
        let Some((name, id)) = self.any() else { return };
        let removed = volume.remove(self.dir, name.as_bytes()).await.expect("remove");
        assert_eq!(removed.object, id);
        self.files.remove(&name);
        assert_eq!(volume.attributes(id).await.err(), Some(VolumeError::Stale));
    }

    /// All tasks write into one file, whose blocks they share.
    async fn use_share(&mut self, volume: &Mounted, common: FileId) {
        let (start, length) = (self.below(SHARE), self.below(SHARE));
        let end = (start + length).min(SHARE);
        let offset = self.number * SHARE;
        if start < end {
            let data = self.bytes(end - start);
            volume.write(common, (offset + start) as u64, &data, ClearSetid::No).await.expect("write");
            self.share[start..end].copy_from_slice(&data);
        }
        let mut buffer = vec![0; SHARE];
        let length = volume.read(common, offset as u64, &mut buffer).await.expect("read");
        let expected = self.share.get(..length).expect("no more than asked for");
        assert!(buffer[..length] == *expected, "task {}: share", self.number);
    }

    async fn list(&mut self, volume: &Mounted) {
        let mut names = Vec::new();
        let mut cookie = 0;
        loop {
            let page = volume.read_dir_plus(self.dir, cookie, 500).await.expect("read_dir_plus");
            for entry in page.entries {
                cookie = entry.cookie;
                if !entry.is_dot() {
                    let name = String::from_utf8(entry.name).expect("our name");
                    let (id, content) = &self.files[&name];
                    let found = entry.attributes.expect("attributes");
                    assert_eq!((found.id, found.size), (*id, content.len() as u64));
                    names.push(name);
                }
            }
            if page.end {
                break;
            }
        }
        assert_eq!(names.len(), self.files.len());
    }

    /// A directory where all tasks come and go.
    async fn meet(&mut self, volume: &Mounted, shared: FileId) {
        let name = |own: &Own| format!("meeting {}", own.below(15)).into_bytes();
        let (first, second) = (name(self), name(self));
        let result = match self.below(7) {
            0 => volume.create(shared, &first, new(ObjectKind::Directory)).await.map(drop),
            1 => volume.create(shared, &first, new(ObjectKind::Regular)).await.map(drop),
            2 => volume.remove(shared, &first).await.map(drop),
            3 => volume.remove_dir(shared, &first).await.map(drop),
            4 => volume.rename(shared, &first, shared, &second).await.map(drop),
            5 => match volume.lookup(shared, &first).await {
                Ok(found) => {
                    let data = self.bytes(self.below(80_000) + 1);
                    volume.write(found.id, 0, &data, ClearSetid::No).await.map(drop)
                }
                Err(error) => Err(error),
            },
            _ => match volume.lookup(shared, &first).await {
                Ok(found) => volume.rename(shared, &second, found.id, &first).await.map(drop),
                Err(error) => Err(error),
            },
        };
        let expected = [
            VolumeError::NotFound,
            VolumeError::Exists,
            VolumeError::IsDirectory,
            VolumeError::NotDirectory,
            VolumeError::NotEmpty,
            VolumeError::Stale,
            VolumeError::Invalid,
        ];
        assert!(result.is_ok() || expected.contains(&result.unwrap_err()), "{result:?}");
    }

    fn check(&self, volume: &Mounted) {
        assert_eq!(check_listing(volume, self.dir), self.files.len());
        for (name, (id, content)) in &self.files {
            let found = run(volume.lookup(self.dir, name.as_bytes())).expect("lookup");
            assert_eq!((found.id, found.size), (*id, content.len() as u64), "{name}");
            let mut buffer = vec![0; content.len()];
            assert_eq!(run(volume.read(*id, 0, &mut buffer)), Ok(content.len()));
            assert!(buffer == *content, "task {}: content of {name} {id:?}", self.number);
        }
    }
}

fn check(seed: u64, steps: usize, arguments: &[&str], options: Options) {
    log_to_stderr();
    let host = Rc::new(Host::new(seed));
    let disk = SimDisk::new(image(96, arguments), false);
    let slow = SlowDisk::new(disk.clone(), host.handle(), seed, Duration::from_millis(3));
    let volume = Rc::new(mount_on(host.clone(), slow, options).expect("mount"));
    let root = volume.root();
    let shared = run(volume.create(root, b"shared", new(ObjectKind::Directory))).expect("mkdir").object.id;
    let common = run(volume.create(root, b"common", new(ObjectKind::Regular))).expect("create").object.id;
    run(volume.write(common, 0, &[0; TASKS * SHARE], ClearSetid::No)).expect("write");
    let done = Rc::new(Cell::new(0));
    let ends = Rc::new(RefCell::new(Vec::new()));
    for number in 0..TASKS {
        let name = format!("task {number}");
        let created = run(volume.create(root, name.as_bytes(), new(ObjectKind::Directory)));
        let mut own = Own {
            number,
            dir: created.expect("mkdir").object.id,
            files: BTreeMap::new(),
            share: vec![0; SHARE],
            random: Seed::new(seed * 1000 + number as u64),
        };
        let (volume, done, ends) = (volume.clone(), done.clone(), ends.clone());
        host.handle().spawn("client", async move {
            for _ in 0..steps {
                own.step(&volume, shared, common).await;
            }
            ends.borrow_mut().push(own);
            done.set(done.get() + 1);
        });
    }
    // Everything is written back all the time, under the hands of those who change it.
    {
        let (volume, done, handle) = (volume.clone(), done.clone(), host.handle());
        host.handle().spawn("sync", async move {
            while done.get() < TASKS {
                volume.sync().await.expect("sync");
                handle.sleep(Duration::from_micros(500)).await;
            }
        });
    }
    // Clients that go away in the middle of whatever they asked for.
    for rude in 0..3 {
        let (volume, done, handle) = (volume.clone(), done.clone(), host.handle());
        let random = Seed::new(seed + 77 + rude);
        host.handle().spawn("rude", async move {
            while done.get() < TASKS {
                let span = Duration::from_micros(random.below(4000));
                let name = format!("rude {}", random.below(5));
                let work = async {
                    let found = match volume.lookup(root, name.as_bytes()).await {
                        Ok(found) => found.id,
                        Err(_) => {
                            volume.create(root, name.as_bytes(), new(ObjectKind::Regular)).await?.object.id
                        }
                    };
                    let data = vec![1; random.below(200_000) as usize];
                    volume.write(found, random.below(100_000), &data, ClearSetid::No).await?;
                    match random.below(4) {
                        0 => volume.commit(found).await,
                        1 => volume.remove(root, name.as_bytes()).await.map(drop),
                        2 => {
                            let size = Some(random.below(10_000));
                            let changes = SetAttributes { size, ..SetAttributes::default() };
                            volume.set_attributes(found, changes, None).await.map(drop)
                        }
                        _ => {
                            let mut buffer = vec![0; 200_000];
                            let length = volume.read(found, 0, &mut buffer).await?;
                            let own = buffer[..length].iter().all(|&byte| byte <= 1);
                            assert!(own, "a file has content of others");
                            Ok(())
                        }
                    }
                };
                if let Ok(Err(error)) = handle.timeout(span, work).await {
                    let expected = [VolumeError::Stale, VolumeError::NotFound, VolumeError::Exists];
                    assert!(expected.contains(&error), "a rude client's work: {error}");
                }
                handle.sleep(Duration::from_micros(100)).await;
            }
        });
    }
    let mut patience = 100_000;
    while done.get() < TASKS {
        host.pass(Duration::from_millis(10));
        patience -= 1;
        assert!(patience > 0, "the tasks do not come to an end");
    }
    let ends = ends.take();
    for own in &ends {
        own.check(&volume);
    }
    check_listing(&volume, shared);
    assert_eq!(volume.counters().damaged, 0);
    assert_eq!(volume.cache_counters().data.write_errors, 0);
    run(volume.unmount()).expect("unmount");
    drop(volume);
    check_image(&disk.image());
    let volume = mount(disk, seed, options).expect("mount again");
    for own in &ends {
        own.check(&volume);
        let mut buffer = vec![0; SHARE];
        let offset = (own.number * SHARE) as u64;
        run(volume.read(common, offset, &mut buffer)).expect("read");
        assert!(buffer == own.share, "task {}: share after all", own.number);
    }
}

#[test]
fn tasks_do_not_see_each_other() {
    for seed in 0..2 {
        check(seed, 250, &["-b", "4096"], Options::default());
    }
}

#[test]
fn nor_with_little_memory() {
    check(10, 200, &["-b", "1024"], Options { cache_bytes: 0, ..Options::default() });
}

/// Whatever fails, and whenever, a file has what was written to it or says that it was lost.
#[test]
fn failing_writes_are_told_to_whom_they_concern() {
    let host = Rc::new(Host::new(5));
    let disk = SimDisk::new(image(64, &["-b", "4096"]), false);
    let slow = SlowDisk::new(disk.clone(), host.handle(), 5, Duration::from_millis(2));
    let volume = mount_on(host.clone(), slow, Options::default()).expect("mount");
    let root = volume.root();
    let random = Seed::new(5);
    let mut lost = 0;
    for round in 0..60 {
        let name = format!("file {round}");
        let id =
            run(volume.create(root, name.as_bytes(), new(ObjectKind::Regular))).expect("create").object.id;
        run(volume.commit(root)).expect("commit");
        let content: Vec<u8> = (0..1 + random.below(300_000)).map(|n| (n ^ round) as u8).collect();
        run(volume.write(id, 0, &content, ClearSetid::No)).expect("write");
        let verifier = volume.write_verifier();
        if round % 3 == 0 {
            // The journal, for which a failure is the end of writing, has come to rest.
            host.pass(Duration::from_millis(500));
            disk.fail_once(BlockOp::Write);
        }
        match run(volume.commit(id)) {
            Ok(()) => assert_ne!(round % 3, 0, "the failure was not told"),
            Err(error) => {
                assert_eq!(error, VolumeError::Io);
                assert_ne!(volume.write_verifier(), verifier);
                lost += 1;
                run(volume.write(id, 0, &content, ClearSetid::No)).expect("again");
                run(volume.commit(id)).expect("an error is told once");
            }
        }
        let mut buffer = vec![0; content.len()];
        assert_eq!(run(volume.read(id, 0, &mut buffer)), Ok(content.len()));
        assert!(buffer == content);
    }
    assert_eq!(lost, 20);
    run(volume.unmount()).expect("unmount");
    drop(volume);
    check_image(&disk.image());
}
