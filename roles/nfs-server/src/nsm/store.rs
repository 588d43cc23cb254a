//! Hosts with locks, in memory and on the volume.
//!
//! A record is **stable** when the file it is in was written after the record was entered. Whoever needs a
//! stable record waits for such a write; several who wait for the same file share one.

use super::records::{
    BUCKETS, MAX_NAME, Numbers, PeerRecord, STATE_FILE, bucket_name, bucket_of, decode_peers, encode_peers,
    fits,
};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use keelson_exec::sync::Semaphore;
use keelson_volume::{Volume, VolumeError};

/// Hosts that are remembered at most.
pub(crate) const MAX_PEERS: usize = 4096;

/// Why a host cannot be remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoreError {
    /// There are too many already.
    Full,
    /// The volume did not take it.
    Volume(VolumeError),
}

/// A record and how much of it is stable.
struct Entry {
    record: PeerRecord,
    /// The version of its file that has it for the first time.
    version: u64,
}

/// One file. Its version counts changes; it is behind when not all of them are stable.
struct Bucket {
    entries: RefCell<BTreeMap<IpAddr, Entry>>,
    version: Cell<u64>,
    stable: Cell<u64>,
    /// Only one write at a time.
    turn: Rc<Semaphore>,
}

impl Bucket {
    fn change(&self) -> u64 {
        self.version.set(self.version.get() + 1);
        self.version.get()
    }
}

/// The state number, and the records of hosts.
pub(crate) struct PeerStore<V> {
    volume: Rc<V>,
    numbers: Cell<Numbers>,
    numbers_turn: Rc<Semaphore>,
    buckets: Vec<Bucket>,
    count: Cell<usize>,
    /// Hosts that have not yet heard of our restart, and how often they were told.
    untold: RefCell<BTreeMap<IpAddr, u32>>,
}

impl<V: Volume> PeerStore<V> {
    /// Reads what an earlier life left, and begins the next one: its number is stable on return. On a volume
    /// that cannot be changed the number is this run's only, and no host can be remembered.
    pub async fn load(volume: Rc<V>) -> Result<PeerStore<V>, VolumeError> {
        let numbers = match volume.read_state(STATE_FILE).await? {
            Some(bytes) => Numbers::decode(&bytes).unwrap_or_else(|error| {
                log::error!(target: "statd", "the state number is lost ({error}): starting at 1");
                Numbers::default()
            }),
            None => Numbers::default(),
        };
        let buckets = (0..BUCKETS).map(|_| Bucket {
            entries: RefCell::default(),
            version: Cell::new(0),
            stable: Cell::new(0),
            turn: Semaphore::new(1),
        });
        let store = PeerStore {
            volume,
            numbers: Cell::new(numbers),
            numbers_turn: Semaphore::new(1),
            buckets: buckets.collect(),
            count: Cell::new(0),
            untold: RefCell::default(),
        };
        for bucket in 0..BUCKETS {
            store.read_bucket(bucket).await?;
        }
        store.next_life().await?;
        Ok(store)
    }

    async fn read_bucket(&self, index: usize) -> Result<(), VolumeError> {
        let name = bucket_name(index);
        let Some(bytes) = self.volume.read_state(&name).await? else { return Ok(()) };
        let (records, result) = decode_peers(&bytes);
        if let Err(error) = result {
            log::error!(
                target: "statd",
                "{name}: {error}; hosts recorded behind that will not be told of this restart"
            );
        }
        let Some(bucket) = self.buckets.get(index) else { return Ok(()) };
        for record in records {
            let address = record.address;
            if bucket_of(address) == index && self.count.get() < MAX_PEERS {
                let replaced = bucket.entries.borrow_mut().insert(address, Entry { record, version: 0 });
                self.count.set(self.count.get() + usize::from(replaced.is_none()));
            }
        }
        Ok(())
    }

    /// Begins another life: the next odd number, stable on return. Hosts may reclaim what they had in the
    /// life before; if none has a record of it, nobody may.
    pub async fn next_life(&self) -> Result<(), VolumeError> {
        let _turn = self.numbers_turn.acquire().await;
        let mut numbers = self.numbers.get();
        let floor = numbers.floor;
        numbers.state = numbers.next_state();
        if !self.any(|record| record.life >= floor) {
            numbers.floor = numbers.state;
        }
        self.put_numbers(numbers).await
    }

    /// The grace period is over: what was not reclaimed is lost, also after the next restart.
    pub async fn end_reclaiming(&self) -> Result<(), VolumeError> {
        let _turn = self.numbers_turn.acquire().await;
        let numbers = self.numbers.get();
        self.put_numbers(Numbers { floor: numbers.state, ..numbers }).await
    }

    async fn put_numbers(&self, numbers: Numbers) -> Result<(), VolumeError> {
        match self.volume.write_state(STATE_FILE, &numbers.encode()).await {
            Ok(()) => {}
            Err(VolumeError::ReadOnly) => {
                log::error!(target: "statd", "the volume is read-only: locks cannot be granted");
            }
            Err(error) => return Err(error),
        }
        self.numbers.set(numbers);
        Ok(())
    }

    /// Our state number.
    pub fn state(&self) -> u32 {
        self.numbers.get().state
    }

    /// All records.
    pub fn records(&self) -> Vec<PeerRecord> {
        let entries = |bucket: &Bucket| -> Vec<_> {
            bucket.entries.borrow().values().map(|entry| entry.record.clone()).collect()
        };
        self.buckets.iter().flat_map(entries).collect()
    }

    /// Whether a record is such.
    pub fn any(&self, is_such: impl Fn(&PeerRecord) -> bool) -> bool {
        self.buckets.iter().any(|bucket| bucket.entries.borrow().values().any(|entry| is_such(&entry.record)))
    }

    /// The state number that a host was last heard in; 0: it never said. `None`: not remembered.
    pub fn state_of(&self, address: IpAddr) -> Option<u32> {
        self.bucket(address).entries.borrow().get(&address).map(|entry| entry.record.state)
    }

    /// The host's record of this life is on the volume.
    pub fn is_stable(&self, address: IpAddr) -> bool {
        let bucket = self.bucket(address);
        let stable = bucket.stable.get();
        let entries = bucket.entries.borrow();
        entries
            .get(&address)
            .is_some_and(|entry| entry.record.life == self.state() && entry.version <= stable)
    }

    /// Hosts that have not yet heard of our restart, and how often they were told.
    pub fn untold(&self) -> core::cell::RefMut<'_, BTreeMap<IpAddr, u32>> {
        self.untold.borrow_mut()
    }

    /// Hosts that may reclaim locks: those with locks in a life whose grace period has not ended.
    pub fn entitled(&self) -> Vec<IpAddr> {
        let Numbers { floor, state } = self.numbers.get();
        let records = self.records().into_iter();
        records.filter(|record| (floor..state).contains(&record.life)).map(|record| record.address).collect()
    }

    /// Remembers that a host has locks in this life. On return its record is stable; it was not necessarily
    /// written, and is not changed, if it was stable before.
    pub async fn remember(&self, mut record: PeerRecord) -> Result<(), StoreError> {
        record.name.truncate(MAX_NAME);
        record.life = self.state();
        let bucket = self.bucket(record.address);
        let (address, local) = (record.address, record.local);
        let version = {
            let mut entries = bucket.entries.borrow_mut();
            match entries.get_mut(&address) {
                Some(entry) if entry.record.life == record.life => {
                    // Only where notices leave from: not worth a wait.
                    if entry.record.local != local {
                        entry.record.local = local;
                        bucket.change();
                    }
                    entry.version
                }
                Some(entry) => {
                    // The state number of its life before is still what a notice of its restart is
                    // compared with, unless it said a newer one.
                    if record.state == 0 {
                        record.state = entry.record.state;
                    }
                    let grown = record.stored_len().saturating_sub(entry.record.stored_len());
                    if grown > 0 {
                        record.name = entry.record.name.clone();
                    }
                    *entry = Entry { record, version: bucket.change() };
                    entry.version
                }
                None => {
                    let used: usize = entries.values().map(|entry| entry.record.stored_len()).sum();
                    if self.count.get() >= MAX_PEERS || !fits(used + record.stored_len()) {
                        return Err(StoreError::Full);
                    }
                    let version = bucket.change();
                    entries.insert(address, Entry { record, version });
                    self.count.set(self.count.get() + 1);
                    version
                }
            }
        };
        self.settle(bucket_of(address), version).await.map_err(StoreError::Volume)
    }

    /// The host is in a new state. Stable on return, unless the volume fails.
    pub async fn set_state(&self, address: IpAddr, state: u32) -> Result<(), VolumeError> {
        let bucket = self.bucket(address);
        let version = {
            let mut entries = bucket.entries.borrow_mut();
            let Some(entry) = entries.get_mut(&address) else { return Ok(()) };
            entry.record.state = state;
            bucket.change()
        };
        self.settle(bucket_of(address), version).await
    }

    /// The host has no locks any more and knows of our restart.
    pub async fn forget(&self, address: IpAddr) -> Result<(), VolumeError> {
        match self.drop_record(address) {
            Some(version) => self.settle(bucket_of(address), version).await,
            None => Ok(()),
        }
    }

    /// As [`PeerStore::forget`], on the volume only with the next [`PeerStore::catch_up`].
    pub fn drop_record(&self, address: IpAddr) -> Option<u64> {
        let bucket = self.bucket(address);
        bucket.entries.borrow_mut().remove(&address)?;
        self.count.set(self.count.get().saturating_sub(1));
        Some(bucket.change())
    }

    /// Writes files that are behind: those of changes nobody waited for, and of writes that failed.
    pub async fn catch_up(&self) {
        for (index, bucket) in self.buckets.iter().enumerate() {
            if bucket.stable.get() < bucket.version.get()
                && let Err(error) = self.settle(index, bucket.version.get()).await
            {
                log::warn!(target: "statd", "records of hosts with locks were not written: {error}");
                return;
            }
        }
    }

    fn bucket(&self, address: IpAddr) -> &Bucket {
        // There are BUCKETS of them, and the hash is below that.
        &self.buckets[bucket_of(address)]
    }

    /// Waits until a version of a file is stable, and writes it if nobody else does.
    async fn settle(&self, index: usize, version: u64) -> Result<(), VolumeError> {
        let Some(bucket) = self.buckets.get(index) else { return Ok(()) };
        if bucket.stable.get() >= version {
            return Ok(());
        }
        let _turn = bucket.turn.acquire().await;
        if bucket.stable.get() >= version {
            return Ok(());
        }
        let writing = bucket.version.get();
        let content = encode_peers(bucket.entries.borrow().values().map(|entry| &entry.record));
        self.volume.write_state(&bucket_name(index), &content).await?;
        bucket.stable.set(writing);
        Ok(())
    }
}
