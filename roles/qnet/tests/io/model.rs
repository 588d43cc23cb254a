//! Random operations by way of another node, compared with the same ones done directly on another volume.

use crate::node::Lab;
use crate::world::root;
use keelson_exec::sim::SimClock;
use keelson_qnet::client::{Files, OpenFlags};
use keelson_qnet_wire::Errno;
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use keelson_volume::{
    Attributes, ClearSetid, FileId, FileType, NewObject, ObjectKind, SetAttributes, SetTime, Volume,
    VolumeError,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Write(usize, u64, Vec<u8>),
    Read(usize, u64, usize),
    Truncate(usize, u64),
    Mkdir(usize),
    Unlink(usize),
    Rmdir(usize),
    Rename(usize, usize),
    Chmod(usize, u32),
    List(usize),
    Stat(usize),
}

/// Not at the root, where the archive would take part.
const PATHS: [&str; 8] = ["w/a", "w/b", "w/d", "w/d/a", "w/d/b", "w/d/e", "w/d/e/a", "w/c"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = || 0..PATHS.len();
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    let step = prop_oneof![
        2 => path().prop_map(Step::Create),
        3 => (path(), 0..10_000_u64, bytes).prop_map(|(path, at, bytes)| Step::Write(path, at, bytes)),
        2 => (path(), 0..10_000_u64, 0..20_000_usize).prop_map(|(path, at, len)| Step::Read(path, at, len)),
        1 => (path(), 0..9_000_u64).prop_map(|(path, size)| Step::Truncate(path, size)),
        2 => path().prop_map(Step::Mkdir),
        1 => path().prop_map(Step::Unlink),
        1 => path().prop_map(Step::Rmdir),
        2 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => (path(), 0..0o1000_u32).prop_map(|(path, mode)| Step::Chmod(path, mode)),
        1 => path().prop_map(Step::List),
        2 => path().prop_map(Step::Stat),
    ];
    prop::collection::vec(step, 1..60)
}

/// What can be told of a step.
#[derive(PartialEq, Eq, Debug)]
enum Seen {
    Nothing,
    Bytes(Vec<u8>),
    Names(Vec<String>),
    Object { size: u64, mode: u32, links: u32 },
}

async fn by_client(files: &Files, step: &Step) -> Result<Seen, Errno> {
    let at = |path: &usize| format!("/net/beta/{}", PATHS[*path]);
    match step {
        Step::Create(path) => drop(files.create(&at(path), 0o644).await?),
        Step::Write(path, offset, bytes) => {
            let file = files.open(&at(path), OpenFlags::WRITE).await?;
            assert_eq!(file.write_at(*offset, bytes).await?, bytes.len());
            file.close().await?;
        }
        Step::Read(path, offset, len) => {
            if files.stat(&at(path)).await?.mode & 0xf000 == 0x4000 {
                // A read would return entries.
                return Err(Errno::EISDIR);
            }
            let file = files.open(&at(path), OpenFlags::READ).await?;
            let mut bytes = vec![0; *len];
            let len = file.read_at(*offset, &mut bytes).await?;
            bytes.truncate(len);
            return Ok(Seen::Bytes(bytes));
        }
        Step::Truncate(path, size) => files.open(&at(path), OpenFlags::WRITE).await?.truncate(*size).await?,
        Step::Mkdir(path) => files.mkdir(&at(path), 0o755).await?,
        Step::Unlink(path) => files.unlink(&at(path)).await?,
        Step::Rmdir(path) => files.rmdir(&at(path)).await?,
        Step::Rename(from, to) => files.rename(&at(from), &at(to)).await?,
        Step::Chmod(path, mode) => files.chmod(&at(path), *mode).await?,
        Step::List(path) => {
            let mut names: Vec<_> =
                files.read_dir(&at(path)).await?.into_iter().map(|item| item.name).collect();
            names.sort();
            return Ok(Seen::Names(names));
        }
        Step::Stat(path) => {
            let stat = files.stat(&at(path)).await?;
            return Ok(Seen::Object { size: stat.size, mode: stat.mode & 0o7777, links: stat.nlink });
        }
    }
    Ok(Seen::Nothing)
}

fn number(error: VolumeError) -> Errno {
    match error {
        VolumeError::NotFound => Errno::ENOENT,
        VolumeError::Exists => Errno::EEXIST,
        VolumeError::NotDirectory => Errno::ENOTDIR,
        VolumeError::IsDirectory => Errno::EISDIR,
        VolumeError::NotEmpty => Errno::ENOTEMPTY,
        VolumeError::Invalid => Errno::EINVAL,
        other => panic!("{other} is not expected"),
    }
}

struct Model(MemoryVolume);

impl Model {
    /// Directory and name of a path.
    async fn parent(&self, path: usize) -> Result<(FileId, &'static [u8]), VolumeError> {
        let (dirs, name) = PATHS[path].rsplit_once('/').unwrap();
        let mut at = self.0.root();
        for dir in dirs.split('/') {
            at = self.0.lookup(at, dir.as_bytes()).await?.id;
        }
        if self.0.attributes(at).await?.file_type != FileType::Directory {
            return Err(VolumeError::NotDirectory);
        }
        Ok((at, name.as_bytes()))
    }

    async fn find(&self, path: usize) -> Result<Attributes, VolumeError> {
        let (dir, name) = self.parent(path).await?;
        self.0.lookup(dir, name).await
    }

    async fn file(&self, path: usize) -> Result<FileId, VolumeError> {
        match self.find(path).await? {
            found if found.file_type == FileType::Directory => Err(VolumeError::IsDirectory),
            found => Ok(found.id),
        }
    }

    async fn make(&self, path: usize, kind: ObjectKind<'_>, mode: u32) -> Result<(), VolumeError> {
        let (dir, name) = self.parent(path).await?;
        let new = NewObject { kind, mode, uid: 0, gid: 0, atime: SetTime::Keep, mtime: SetTime::Keep };
        self.0.create(dir, name, new).await.map(|_| ())
    }

    async fn set(&self, id: FileId, changes: SetAttributes) -> Result<(), VolumeError> {
        self.0.set_attributes(id, changes, None).await.map(|_| ())
    }

    async fn step(&self, step: &Step) -> Result<Seen, VolumeError> {
        let volume = &self.0;
        match *step {
            Step::Create(path) => match self.file(path).await {
                Ok(id) => self.set(id, SetAttributes { size: Some(0), ..SetAttributes::default() }).await?,
                Err(VolumeError::NotFound) => self.make(path, ObjectKind::Regular, 0o644).await?,
                Err(error) => return Err(error),
            },
            Step::Write(path, offset, ref bytes) => {
                volume.write(self.file(path).await?, offset, bytes, ClearSetid::No).await?;
            }
            Step::Read(path, offset, len) => {
                let found = self.find(path).await?;
                let mut bytes = vec![0; len];
                let len = volume.read(found.id, offset, &mut bytes).await?;
                bytes.truncate(len);
                return Ok(Seen::Bytes(bytes));
            }
            Step::Truncate(path, size) => {
                let id = self.file(path).await?;
                self.set(id, SetAttributes { size: Some(size), ..SetAttributes::default() }).await?;
            }
            Step::Mkdir(path) => self.make(path, ObjectKind::Directory, 0o755).await?,
            Step::Unlink(path) => {
                let (dir, name) = self.parent(path).await?;
                volume.remove(dir, name).await?;
            }
            Step::Rmdir(path) => {
                let (dir, name) = self.parent(path).await?;
                volume.remove_dir(dir, name).await?;
            }
            Step::Rename(from, to) => {
                let (from_dir, from_name) = self.parent(from).await?;
                volume.lookup(from_dir, from_name).await?;
                let (to_dir, to_name) = self.parent(to).await?;
                volume.rename(from_dir, from_name, to_dir, to_name).await?;
            }
            Step::Chmod(path, mode) => {
                let found = self.find(path).await?;
                self.set(found.id, SetAttributes { mode: Some(mode), ..SetAttributes::default() }).await?;
            }
            Step::List(path) => {
                let found = self.find(path).await?;
                if found.file_type != FileType::Directory {
                    return Err(VolumeError::NotDirectory);
                }
                let page = volume.read_dir(found.id, 0, 100_000).await?;
                let name = |entry: keelson_volume::DirEntry| String::from_utf8(entry.name).unwrap();
                let mut names: Vec<_> = page.entries.into_iter().map(name).collect();
                names.sort();
                return Ok(Seen::Names(names));
            }
            Step::Stat(path) => {
                let found = self.find(path).await?;
                return Ok(Seen::Object { size: found.size, mode: found.mode, links: found.links });
            }
        }
        Ok(Seen::Nothing)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn like_a_volume(steps in steps()) {
        let lab = Lab::new();
        let files = lab.files(0, &root());
        lab.world.run(async move {
            let model = Model(MemoryVolume::new(SimClock::new(), MemoryOptions::default()));
            let root = model.0.root();
            let kind = ObjectKind::Directory;
            let (atime, mtime) = (SetTime::Keep, SetTime::Keep);
            let new = NewObject { kind, mode: 0o755, uid: 0, gid: 0, atime, mtime };
            model.0.create(root, b"w", new).await.unwrap();
            files.mkdir("/net/beta/w", 0o755).await.unwrap();
            for step in &steps {
                let expected = model.step(step).await;
                let found = by_client(&files, step).await;
                match (expected, found) {
                    (Ok(expected), Ok(found)) => assert_eq!(found, expected, "{step:?}"),
                    (Err(expected), Err(found)) => assert_eq!(found, number(expected), "{step:?}"),
                    (expected, found) => panic!("{step:?}: {found:?}, not {expected:?}"),
                }
            }
        });
        lab.world.settle();
        lab.assert_baseline();
    }
}
