//! What is measured, in this order.

use crate::backend::{Answer, Backend};
use crate::model::{Making, new_object};
use crate::random::Random;
use keelson_volume::{FileId, SetAttributes, VolumeError};

/// A row of the table.
pub struct Row {
    /// What is done.
    pub name: &'static str,
    /// Of what the costs are.
    pub unit: &'static str,
    /// Does it, and says how many operations that were.
    pub run: Option<fn(&mut Stage) -> Answer<f64>>,
    /// What the gate asks of our engine's own CPU time, in microseconds.
    pub limit: Option<f64>,
    /// What the CPU time of the stop-gap crate is to ours.
    pub peer: Peer,
}

/// What the stop-gap crate's CPU time for a row is to ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Ours takes no more, or the gate is closed.
    Bound,
    /// Ours should take no more. The crate has no page cache: it sends a write to the device at once, and copies and
    /// remembers nothing, which no cache that writes back later can do for less.
    Aim,
    /// Nothing.
    Aside,
}

const fn row(name: &'static str, unit: &'static str, run: fn(&mut Stage) -> Answer<f64>) -> Row {
    Row { name, unit, run: Some(run), limit: None, peer: Peer::Bound }
}

const fn limited(
    name: &'static str,
    unit: &'static str,
    limit: f64,
    run: fn(&mut Stage) -> Answer<f64>,
) -> Row {
    Row { limit: Some(limit), ..row(name, unit, run) }
}

const fn aimed(name: &'static str, unit: &'static str, run: fn(&mut Stage) -> Answer<f64>) -> Row {
    Row { peer: Peer::Aim, ..row(name, unit, run) }
}

/// Files of the rows with a sync each.
const SYNCED: usize = 1_000;
/// Size of the large file.
const LARGE: u64 = 256 << 20;
/// Size of the requests that fill it.
const CHUNK: usize = 64 << 10;
/// Size of small requests.
const SMALL: usize = 4096;

/// All rows.
pub const ROWS: &[Row] = &[
    Row { name: "mount", unit: "mount", run: None, limit: None, peer: Peer::Aside },
    limited("create, one sync", "file", 12.0, |stage| {
        for number in 0..stage.files {
            stage.create(&many(number))?;
        }
        stage.backend.sync()?;
        Ok(stage.files as f64)
    }),
    limited("lookup", "file", 2.0, |stage| {
        for number in 0..stage.files {
            stage.backend.lookup(stage.dir, &many(number))?;
        }
        Ok(stage.files as f64)
    }),
    row("lookup and attributes", "file", |stage| {
        for number in 0..stage.files {
            let found = stage.backend.lookup(stage.dir, &many(number))?;
            stage.backend.attributes(found.id)?;
        }
        Ok(stage.files as f64)
    }),
    row("list", "entry", |stage| {
        let listed = stage.backend.read_dir(stage.dir)?.len();
        if listed == stage.files { Ok(listed as f64) } else { Err(VolumeError::Io) }
    }),
    row("unlink, one sync", "file", |stage| {
        for number in 0..stage.files {
            stage.backend.remove(stage.dir, &many(number))?;
        }
        stage.backend.sync()?;
        Ok(stage.files as f64)
    }),
    limited("create and commit", "file", 25.0, |stage| {
        for number in 0..SYNCED {
            let id = stage.create(&many(number))?;
            stage.synced.push(id);
            stage.backend.commit(id)?;
        }
        Ok(SYNCED as f64)
    }),
    row("write 4 KiB and commit", "write", |stage| {
        for id in stage.synced.clone() {
            stage.backend.write(id, 0, &[7; SMALL])?;
            stage.backend.commit(id)?;
        }
        Ok(SYNCED as f64)
    }),
    row("overwrite 4 KiB and commit", "write", |stage| {
        for id in stage.synced.clone() {
            stage.backend.write(id, 0, &[8; SMALL])?;
            stage.backend.commit(id)?;
        }
        Ok(SYNCED as f64)
    }),
    row("unlink and commit", "file", |stage| {
        for number in 0..SYNCED {
            stage.backend.remove(stage.dir, &many(number))?;
            stage.backend.commit(stage.dir)?;
        }
        Ok(SYNCED as f64)
    }),
    limited("write 64 KiB, one sync", "write", 15.0, |stage| {
        let id = stage.create(b"large")?;
        stage.large = id;
        let data = stage.random.bytes(CHUNK);
        for number in 0..LARGE / CHUNK as u64 {
            stage.backend.write(id, number * CHUNK as u64, &data)?;
        }
        stage.backend.sync()?;
        stage.data = data;
        Ok((LARGE / CHUNK as u64) as f64)
    }),
    row("read 64 KiB", "read", |stage| {
        let mut buffer = vec![0; CHUNK];
        for number in 0..LARGE / CHUNK as u64 {
            let length = stage.backend.read(stage.large, number * CHUNK as u64, &mut buffer)?;
            if length != CHUNK || buffer != stage.data {
                return Err(VolumeError::Io);
            }
        }
        Ok((LARGE / CHUNK as u64) as f64)
    }),
    aimed("overwrite 4 KiB at random", "write", |stage| {
        for _ in 0..4_096 {
            let offset = stage.random.below(LARGE / SMALL as u64) * SMALL as u64;
            stage.backend.write(stage.large, offset, &stage.data[..SMALL])?;
        }
        stage.backend.sync()?;
        Ok(4_096.0)
    }),
    row("write 4 KiB, one sync", "write", |stage| {
        let id = stage.create(b"small writes")?;
        for number in 0..4_096 {
            stage.backend.write(id, number * SMALL as u64, &stage.data[..SMALL])?;
        }
        stage.backend.sync()?;
        Ok(4_096.0)
    }),
    row("read 4 KiB at random", "read", |stage| {
        let mut buffer = vec![0; SMALL];
        for _ in 0..4_096 {
            let offset = stage.random.below(LARGE / SMALL as u64) * SMALL as u64;
            stage.backend.read(stage.large, offset, &mut buffer)?;
        }
        Ok(4_096.0)
    }),
    row("truncate 256 MB to 0", "file", |stage| {
        let changes = SetAttributes { size: Some(0), ..SetAttributes::default() };
        stage.backend.set_attributes(stage.large, changes)?;
        stage.backend.sync()?;
        Ok(1.0)
    }),
    row("unlink 16 MB", "file", |stage| {
        stage.backend.remove(stage.dir, b"small writes")?;
        stage.backend.sync()?;
        Ok(1.0)
    }),
    Row { name: "unmount", unit: "unmount", run: None, limit: None, peer: Peer::Aside },
];

fn many(number: usize) -> Vec<u8> {
    format!("file{number:06}").into_bytes()
}

/// Where rows are run.
pub struct Stage {
    /// Who is measured.
    pub backend: Box<dyn Backend>,
    files: usize,
    dir: FileId,
    large: FileId,
    synced: Vec<FileId>,
    data: Vec<u8>,
    random: Random,
}

impl Stage {
    /// With a directory to work in.
    pub fn new(mut backend: Box<dyn Backend>, files: usize) -> Result<Stage, String> {
        let root = backend.root();
        let dir = backend.create(root, b"many", new_object(&Making::Directory, 0o755, (0, 0)));
        let dir = dir.map_err(|error| format!("mkdir: {error}"))?;
        let random = Random::new(12_345);
        Ok(Stage { backend, files, dir, large: dir, synced: Vec::new(), data: Vec::new(), random })
    }

    fn create(&mut self, name: &[u8]) -> Answer<FileId> {
        self.backend.create(self.dir, name, new_object(&Making::Regular, 0o644, (0, 0)))
    }
}
