//! A process with files on another node: appends, writes, reads, renames, and knows what must be there.
//!
//! Its directory has one file of records that are only appended, one of cells that are written in place, and one whose
//! name changes. What was acknowledged is there once. What ended with an error may be there, at most once.

use crate::errors::{LONGEST, is_of_network};
use crate::ledger::Ledger;
use crate::machine::Machine;
use keelson_ext4_gate::random::Random;
use keelson_qnet::client::{File, Files, OpenFlags};
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::io::ioflag;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// Bytes of a cell, and how many there are.
const CELL: usize = 700;
const CELLS: usize = 24;
/// Numbers before a record's filling: its own, its length.
const RECORD_HEAD: usize = 8;
/// Lengths of records: in the send, pulled.
const RECORDS: [usize; 5] = [8, 60, 2_000, 9_000, 30_000];

/// The process; what it remembers survives its node's power.
pub struct FileProcess {
    /// Its directory on the other node.
    pub name: String,
    target: Rc<Machine>,
    calm: bool,
    ledger: Rc<Ledger>,
    random: RefCell<Random>,
    left: Cell<usize>,
    /// The directory and its files are there.
    ready: Cell<bool>,
    records: Cell<u32>,
    /// Records that were acknowledged, in order, and those of which nothing is known.
    acknowledged: RefCell<Vec<u32>>,
    doubtful: RefCell<BTreeSet<u32>>,
    /// What cells may hold: the first is what was acknowledged last.
    cells: RefCell<BTreeMap<usize, Vec<u32>>>,
    values: Cell<u32>,
    /// Number in the name of the third file; whether it may have the next one already.
    named: Cell<u32>,
    name_doubtful: Cell<bool>,
    doing: RefCell<String>,
}

/// Files that are open.
struct Opened {
    files: Files,
    log: File,
    cells: File,
}

impl FileProcess {
    /// A process with so many operations to do.
    pub fn new(
        name: String,
        target: &Rc<Machine>,
        operations: usize,
        calm: bool,
        ledger: &Rc<Ledger>,
        random: Random,
    ) -> Rc<FileProcess> {
        Rc::new(FileProcess {
            name,
            target: target.clone(),
            calm,
            ledger: ledger.clone(),
            random: RefCell::new(random),
            left: Cell::new(operations),
            ready: Cell::new(false),
            records: Cell::new(0),
            acknowledged: RefCell::default(),
            doubtful: RefCell::default(),
            cells: RefCell::default(),
            values: Cell::new(0),
            named: Cell::new(0),
            name_doubtful: Cell::new(false),
            doing: RefCell::default(),
        })
    }

    /// It has done all it was to do.
    pub fn is_done(&self) -> bool {
        self.left.get() == 0
    }

    /// What it does now.
    pub fn doing(&self) -> String {
        format!("{} ({} left): {}", self.name, self.left.get(), self.doing.borrow())
    }

    fn path(&self, file: &str) -> String {
        format!("/net/{}/{}/{file}", self.target.name, self.name)
    }

    async fn within<T>(
        &self,
        home: &Machine,
        what: String,
        work: impl Future<Output = Result<T, Errno>>,
    ) -> Result<T, Errno> {
        *self.doing.borrow_mut() = what.clone();
        let Some(running) = home.running() else { return Err(Errno::ESRCH) };
        let Ok(result) = running.handle.timeout(LONGEST, work).await else {
            self.ledger.fail(format!("{}: {what}: no end after {LONGEST:?}", self.name));
            return Err(Errno::ETIMEDOUT);
        };
        self.ledger.note(|| format!("{}: {what}: {:?}", self.name, result.as_ref().err()));
        self.ledger.finished(result.is_ok());
        if let Err(errno) = &result
            && (self.calm || !is_of_network(*errno))
        {
            self.ledger.fail(format!("{}: {what}: {errno}", self.name));
        }
        result
    }

    /// Works on a node until all is done or the power goes.
    pub async fn run(self: Rc<FileProcess>, home: Rc<Machine>) {
        while !self.is_done() && !self.ledger.has_failed() {
            let Some(running) = home.running() else { return };
            if self.session(&home).await.is_err() {
                running.handle.sleep(Duration::from_millis(250)).await;
            }
        }
    }

    async fn session(&self, home: &Rc<Machine>) -> Result<(), Errno> {
        let files = home.files();
        if !self.ready.get() {
            self.prepare(home, &files).await?;
        }
        let flags = OpenFlags::READ_WRITE.with(ioflag::APPEND);
        let log = self.within(home, "opens log".into(), files.open(&self.path("log"), flags)).await?;
        let flags = OpenFlags::READ_WRITE;
        let cells = self.within(home, "opens cells".into(), files.open(&self.path("cells"), flags)).await?;
        let opened = Opened { files, log, cells };
        let length = 2 + self.random.borrow_mut().below(14);
        let mut result = Ok(());
        for _ in 0..length {
            if self.is_done() || result.is_err() || self.ledger.has_failed() {
                break;
            }
            result = self.operation(home, &opened).await;
            self.left.set(self.left.get().saturating_sub(1));
        }
        if self.is_done() && result.is_ok() {
            result = self.look(home, &opened).await;
        }
        if result.is_err() {
            self.left.set(self.left.get().max(1));
            return result;
        }
        if self.random.borrow_mut().once_in(2) {
            self.within(home, "closes log".into(), opened.log.close()).await?;
            self.within(home, "closes cells".into(), opened.cells.close()).await?;
        }
        Ok(())
    }

    /// Makes directory and files. An error may have come after the deed.
    async fn prepare(&self, home: &Rc<Machine>, files: &Files) -> Result<(), Errno> {
        let again = |result: Result<(), Errno>| match result {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        };
        let directory = self.path("");
        let made = async { again(files.mkdir(directory.trim_end_matches('/'), 0o755).await) };
        self.within(home, "makes its directory".into(), made).await?;
        for name in ["log", "cells", "name-0"] {
            let path = self.path(name);
            let flags = OpenFlags::READ_WRITE.with(ioflag::CREAT);
            let made = async { files.open_mode(&path, flags, 0o644).await.map(drop) };
            self.within(home, format!("makes {name}"), made).await?;
        }
        self.ready.set(true);
        Ok(())
    }

    async fn operation(&self, home: &Rc<Machine>, opened: &Opened) -> Result<(), Errno> {
        let kind = self.random.borrow_mut().below(12);
        match kind {
            0..=3 => self.append(home, opened).await,
            4..=6 => self.write(home, opened).await,
            7 => self.rename(home, opened).await,
            8 => self.list(home, opened).await,
            9 => self.look(home, opened).await,
            _ => self.read(home, opened).await,
        }
    }

    async fn append(&self, home: &Rc<Machine>, opened: &Opened) -> Result<(), Errno> {
        let number = self.records.get() + 1;
        self.records.set(number);
        let length = *self.random.borrow_mut().pick(&RECORDS);
        // Until it is acknowledged, or for ever.
        self.doubtful.borrow_mut().insert(number);
        let record = record(number, length);
        let written = async {
            match opened.log.write(&record).await? {
                len if len == record.len() => Ok(()),
                _ => Err(Errno::EIO),
            }
        };
        self.within(home, format!("appends record {number} of {length} bytes"), written).await?;
        self.doubtful.borrow_mut().remove(&number);
        self.acknowledged.borrow_mut().push(number);
        Ok(())
    }

    async fn write(&self, home: &Rc<Machine>, opened: &Opened) -> Result<(), Errno> {
        let (first, count) = {
            let mut random = self.random.borrow_mut();
            let count = 1 + random.index(4) * random.index(5);
            (random.index(CELLS - count + 1), count)
        };
        let value = self.values.get() + 1;
        self.values.set(value);
        for cell in first..first + count {
            self.cells.borrow_mut().entry(cell).or_insert_with(|| vec![0]).push(value);
        }
        let bytes: Vec<u8> = (first..first + count).flat_map(|cell| cell_bytes(cell, value)).collect();
        let written = async {
            match opened.cells.write_at((first * CELL) as u64, &bytes).await? {
                len if len == bytes.len() => Ok(()),
                _ => Err(Errno::EIO),
            }
        };
        self.within(home, format!("writes {value} to {count} cells from {first}"), written).await?;
        for cell in first..first + count {
            self.cells.borrow_mut().insert(cell, vec![value]);
        }
        Ok(())
    }

    async fn read(&self, home: &Rc<Machine>, opened: &Opened) -> Result<(), Errno> {
        let mut bytes = vec![0; CELL * CELLS];
        let read = opened.cells.read_at(0, &mut bytes);
        let len = self.within(home, "reads cells".into(), read).await?;
        bytes.truncate(len);
        for (cell, may) in self.cells.borrow().iter() {
            let found = bytes.get(cell * CELL..(cell + 1) * CELL).unwrap_or_default();
            let is = |value: &u32| match value {
                // Never written, or only beyond it.
                0 => found.iter().all(|byte| *byte == 0),
                value => found == cell_bytes(*cell, *value),
            };
            if !may.iter().any(is) {
                self.ledger.fail(format!("{}: cell {cell} holds none of {may:?}", self.name));
            }
        }
        Ok(())
    }

    async fn rename(&self, home: &Rc<Machine>, opened: &Opened) -> Result<(), Errno> {
        let named = self.named.get();
        if self.name_doubtful.get() {
            return self.find_name(home, opened).await;
        }
        let (old, new) = (self.path(&format!("name-{named}")), self.path(&format!("name-{}", named + 1)));
        self.name_doubtful.set(true);
        self.within(home, format!("renames to {}", named + 1), opened.files.rename(&old, &new)).await?;
        self.named.set(named + 1);
        self.name_doubtful.set(false);
        Ok(())
    }

    /// After a rename of which nothing is known: one of both names is there, and stays.
    async fn find_name(&self, home: &Rc<Machine>, opened: &Opened) -> Result<(), Errno> {
        let next = self.named.get() + 1;
        let path = self.path(&format!("name-{next}"));
        let there = async {
            match opened.files.stat(&path).await {
                Ok(_) => Ok(true),
                Err(Errno::ENOENT) => Ok(false),
                Err(errno) => Err(errno),
            }
        };
        if self.within(home, format!("looks for name {next}"), there).await? {
            self.named.set(next);
        }
        // ENOENT may also mean that the node is not known: the listing decides.
        self.list(home, opened).await?;
        self.name_doubtful.set(false);
        Ok(())
    }

    async fn list(&self, home: &Rc<Machine>, opened: &Opened) -> Result<(), Errno> {
        let path = self.path("");
        let listed = opened.files.read_dir(path.trim_end_matches('/'));
        let items = self.within(home, "lists its directory".into(), listed).await?;
        let found: BTreeSet<String> =
            items.into_iter().map(|item| item.name).filter(|name| !name.starts_with('.')).collect();
        let named = self.named.get();
        let expected = |named: u32| BTreeSet::from(["cells".into(), "log".into(), format!("name-{named}")]);
        let next_is_there = self.name_doubtful.get() && found == expected(named + 1);
        if next_is_there {
            self.named.set(named + 1);
            self.name_doubtful.set(false);
        }
        if found != expected(named) && !next_is_there {
            self.ledger.fail(format!("{}: holds {found:?} when the name is {named}", self.name));
        }
        Ok(())
    }

    /// Reads the whole log.
    async fn look(&self, home: &Rc<Machine>, opened: &Opened) -> Result<(), Errno> {
        let mut bytes = Vec::new();
        let read = async {
            let mut piece = vec![0; 65_536];
            loop {
                let len = opened.log.read_at(bytes.len() as u64, &mut piece).await?;
                if len == 0 {
                    return Ok(());
                }
                bytes.extend_from_slice(&piece[..len]);
            }
        };
        self.within(home, "reads its log".into(), read).await?;
        self.read(home, opened).await?;
        if let Err(said) = self.check(&bytes) {
            self.ledger.fail(format!("{}: {said}", self.name));
        }
        Ok(())
    }

    /// What was acknowledged is there in order, once; what is doubtful at most once; nothing else.
    pub fn check(&self, mut bytes: &[u8]) -> Result<(), String> {
        let acknowledged = self.acknowledged.borrow();
        let mut seen = BTreeSet::new();
        let mut next = acknowledged.iter();
        while !bytes.is_empty() {
            let word = |at: usize| {
                bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes)
            };
            let (Some(number), Some(length)) = (word(0), word(4)) else {
                return Err(format!("the log ends in {} bytes that are no record", bytes.len()));
            };
            let expected = record(number, length.min(1 << 20) as usize);
            if !bytes.starts_with(&expected) {
                return Err(format!("record {number} of {length} bytes is not as it was written"));
            }
            if !seen.insert(number) {
                return Err(format!("record {number} is there twice"));
            }
            let is_doubtful = self.doubtful.borrow().contains(&number);
            if !is_doubtful && next.next() != Some(&number) {
                return Err(format!("record {number} is not where it belongs"));
            }
            bytes = &bytes[expected.len()..];
        }
        match next.next() {
            Some(number) => Err(format!("record {number} was acknowledged and is not there")),
            None => Ok(()),
        }
    }

    /// The end: what the volume holds, without any network.
    pub async fn judge(&self) {
        use keelson_volume::Volume;
        let volume = &self.target.volume;
        let found = async {
            let directory = volume.lookup(volume.root(), self.name.as_bytes()).await?;
            let log = volume.lookup(directory.id, b"log").await?;
            let mut bytes = vec![0; log.size as usize];
            let len = volume.read(log.id, 0, &mut bytes).await?;
            bytes.truncate(len);
            Ok::<_, keelson_volume::VolumeError>(bytes)
        };
        let result = match found.await {
            Ok(bytes) => self.check(&bytes),
            Err(error) => Err(format!("its log: {error}")),
        };
        if let Err(said) = result {
            self.ledger.fail(format!("{} in the end: {said}", self.name));
        }
    }
}

fn record(number: u32, length: usize) -> Vec<u8> {
    let mut bytes = [number.to_le_bytes(), (length as u32).to_le_bytes()].concat();
    bytes.extend((RECORD_HEAD..length.max(RECORD_HEAD)).map(|at| (at as u32).wrapping_mul(number | 1) as u8));
    bytes
}

fn cell_bytes(cell: usize, value: u32) -> Vec<u8> {
    (0..CELL as u32)
        .map(|at| (at ^ value.wrapping_mul(31) ^ cell as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0])
        .collect()
}
