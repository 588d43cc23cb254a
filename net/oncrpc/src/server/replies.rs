//! The duplicate request cache: replies of calls that must not be executed twice.
//!
//! A client that lost a reply sends the same message again, over UDP by itself, over TCP on its next connection. A
//! CREATE that succeeded the first time would fail the second, a REMOVE would answer that there is no such file, and
//! a RENAME could take what somebody else put there since. Such calls are answered with the reply they had.
//!
//! A call is known by its client's address (not the port: that of a new connection may differ), its number, its length
//! and its first bytes. Entries are a ring: the oldest makes way. Calls that only must not be executed after later
//! ones, which come in masses, have a ring of their own.

use crate::service::{Origin, Transport};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use core::time::Duration;
use keelson_exec::Handle;
use keelson_exec::sync::Notify;
use keelson_hal::Instant;

/// Longest reply that is kept, in bytes. Replies of calls that change something have a handle and attributes, no data.
const LONGEST: usize = 1024;
/// How long a reply is kept: as long as a client repeats a call before it gives up, and longer than a TCP client
/// takes to connect anew.
const LIFE: Duration = Duration::from_secs(120);

/// Bytes at the front of a call that tell it from others: all of the arguments but those of WRITE, of which it has
/// credential, file, place and the first data (knfsd takes 256 bytes).
const LOOKED_AT: usize = 1024;

/// What tells a repetition from another call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    xid: u32,
    sum: u64,
    client: IpAddr,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The reply is there since then.
    Answered(Instant),
    /// The call is in execution.
    Executing,
    /// Nobody's.
    Vacant,
}

/// The caches.
pub(crate) struct Replies {
    /// Of calls that must not be executed again.
    pub wrong: ReplyCache,
    /// Of calls that must not be executed again after later ones.
    pub overwriting: ReplyCache,
}

impl Replies {
    /// Caches of `capacity` replies each.
    pub fn new(handle: &Handle, capacity: usize) -> Replies {
        let cache = || ReplyCache::new(handle.clone(), capacity);
        Replies { wrong: cache(), overwriting: cache() }
    }

    /// What became of calls in both.
    pub fn counters(&self) -> ReplyCacheCounters {
        let (one, two) = (&self.wrong.counters, &self.overwriting.counters);
        let both = |one: &Cell<u64>, two: &Cell<u64>| Cell::new(one.get().wrapping_add(two.get()));
        ReplyCacheCounters {
            hits: both(&one.hits, &two.hits),
            misses: both(&one.misses, &two.misses),
            nocache: both(&one.nocache, &two.nocache),
            dropped: both(&one.dropped, &two.dropped),
        }
    }
}

struct Entry {
    key: Key,
    state: State,
    /// Keeps its memory from call to call.
    reply: Vec<u8>,
}

#[derive(Default)]
struct Ring {
    entries: Vec<Entry>,
    by_key: BTreeMap<Key, usize>,
    /// The entry that makes way next.
    next: usize,
}

/// What became of calls that must not be executed twice, in the words of nfsstat(8).
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ReplyCacheCounters {
    /// Repetitions that were answered with the reply of the first time.
    pub hits: Cell<u64>,
    /// Calls that were executed.
    pub misses: Cell<u64>,
    /// Those of them whose replies were not kept: too long, or all entries in execution.
    pub nocache: Cell<u64>,
    /// Datagrams that repeated a call still in execution, and were dropped.
    pub dropped: Cell<u64>,
}

/// The cache.
pub(crate) struct ReplyCache {
    handle: Handle,
    /// Most entries.
    capacity: usize,
    ring: RefCell<Ring>,
    /// A call is not in execution any more.
    ended: Notify,
    pub counters: ReplyCacheCounters,
}

/// What to do with a call.
pub(crate) enum Fate<'a> {
    /// Execute it, and keep the reply here.
    Execute(Promise<'a>),
    /// Its reply was written to where it belongs.
    Repeat,
    /// It is in execution: its reply will come.
    Drop,
}

/// A call in execution. Dropped without [`Promise::keep`], the next repetition executes it.
pub(crate) struct Promise<'a> {
    cache: &'a ReplyCache,
    place: Option<usize>,
}

impl ReplyCache {
    /// A cache of `capacity` replies.
    pub fn new(handle: Handle, capacity: usize) -> ReplyCache {
        ReplyCache {
            handle,
            capacity,
            ring: RefCell::default(),
            ended: Notify::new(),
            counters: ReplyCacheCounters::default(),
        }
    }

    /// Looks a call up. A kept reply is handed to `repeat`. A repetition over TCP waits for the first one to end, as
    /// its client will not ask again; one over UDP is dropped, as its client will.
    pub async fn begin(
        &self,
        origin: &Origin,
        xid: u32,
        message: &[u8],
        repeat: impl FnOnce(&[u8]),
    ) -> Fate<'_> {
        let key = Key { xid, sum: sum(message), client: origin.peer.ip().to_canonical() };
        loop {
            let ended = self.ended.notified();
            {
                let ring = &mut *self.ring.borrow_mut();
                match ring.by_key.get(&key).and_then(|&place| ring.entries.get(place)) {
                    Some(Entry { state: State::Answered(since), reply, .. })
                        if self.handle.now() - *since < LIFE =>
                    {
                        count(&self.counters.hits);
                        repeat(reply);
                        return Fate::Repeat;
                    }
                    Some(Entry { state: State::Executing, .. }) => {
                        if origin.transport == Transport::Udp {
                            count(&self.counters.dropped);
                            return Fate::Drop;
                        }
                    }
                    _ => {
                        count(&self.counters.misses);
                        let place = ring.take(key, self.capacity);
                        return Fate::Execute(Promise { cache: self, place });
                    }
                }
            }
            ended.await;
        }
    }
}

impl Ring {
    /// The place of a call that begins; `None` when there is none.
    fn take(&mut self, key: Key, capacity: usize) -> Option<usize> {
        // An old entry of the same call is used again.
        let place = match self.by_key.get(&key) {
            Some(&place) => place,
            None if self.entries.len() < capacity => {
                self.entries.push(Entry { key, state: State::Vacant, reply: Vec::new() });
                self.entries.len() - 1
            }
            None => self.oldest()?,
        };
        let entry = self.entries.get_mut(place)?;
        if entry.key != key && self.by_key.get(&entry.key) == Some(&place) {
            self.by_key.remove(&entry.key);
        }
        (entry.key, entry.state) = (key, State::Executing);
        self.by_key.insert(key, place);
        Some(place)
    }

    /// The next entry that is not in execution.
    fn oldest(&mut self) -> Option<usize> {
        let count = self.entries.len();
        let place = (0..count)
            .map(|step| (self.next + step) % count)
            .find(|&place| self.entries.get(place).is_some_and(|entry| entry.state != State::Executing))?;
        self.next = (place + 1) % count;
        Some(place)
    }
}

impl Promise<'_> {
    /// The call was executed; this is its reply.
    pub fn keep(mut self, reply: &[u8]) {
        let place = self.place.take();
        let mut ring = self.cache.ring.borrow_mut();
        match place.and_then(|place| ring.entries.get_mut(place)) {
            Some(entry) if reply.len() <= LONGEST => {
                entry.reply.clear();
                entry.reply.extend_from_slice(reply);
                entry.state = State::Answered(self.cache.handle.now());
                drop(ring);
                self.cache.ended.notify();
            }
            _ => {
                drop(ring);
                count(&self.cache.counters.nocache);
                self.place = place;
            }
        }
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let ring = &mut *self.cache.ring.borrow_mut();
        if let Some(entry) = ring.entries.get_mut(place) {
            entry.state = State::Vacant;
            ring.by_key.remove(&entry.key);
        }
        self.cache.ended.notify();
    }
}

/// FNV-1a with 64 bits, of the first [`LOOKED_AT`] bytes and the length. Nobody gains by making calls that collide, who
/// would get replies to calls of their own.
fn sum(message: &[u8]) -> u64 {
    let length = (message.len() as u64).to_le_bytes();
    let front = message.get(..LOOKED_AT).unwrap_or(message);
    front
        .iter()
        .chain(&length)
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
}
