//! The lock table: POSIX semantics, the queue, deadlocks, grants, shares, limits and cost.

mod deadlocks;
mod grants;
mod limits;
mod model;
mod posix;
mod queue;
mod release;
mod shares;

use keelson_nfs_server::locks::{
    ByteRange, ClientId, Holder, Kind, Limits, LockTable, Outcome, Wait, WaiterId,
};
use keelson_volume::FileId;

const FILE: FileId = FileId { inode: 12, discriminator: 1 };
const OTHER: FileId = FileId { inode: 12, discriminator: 2 };
const S: Kind = Kind::Shared;
const X: Kind = Kind::Exclusive;

/// Bytes `first` to `last`.
fn bytes(first: u64, last: u64) -> ByteRange {
    ByteRange { first, last }
}

/// An owner, by name; each has a client of its own.
#[derive(Clone, Copy)]
struct Owner {
    client: ClientId,
    name: &'static str,
}

/// A lock table with owners `a` to `f`.
struct World {
    table: LockTable,
    owners: Vec<Owner>,
}

impl World {
    fn new() -> World {
        World::with(Limits::default())
    }

    fn with(limits: Limits) -> World {
        let mut table = LockTable::new(limits);
        let owners = ["a", "b", "c", "d", "e", "f"];
        let owners = owners.map(|name| Owner { client: table.client().expect("a client"), name }).to_vec();
        World { table, owners }
    }

    fn owner(&self, name: &str) -> Owner {
        *self.owners.iter().find(|owner| owner.name == name).expect("owner")
    }

    fn ask(&mut self, file: FileId, name: &str, kind: Kind, range: ByteRange, wait: Wait) -> Outcome {
        let Owner { client, name } = self.owner(name);
        let owner = self.table.owner(client, name.as_bytes()).expect("owner");
        self.table.lock(file, owner, kind, range, wait)
    }

    /// Asks for a lock on the first file, without waiting.
    fn lock(&mut self, name: &str, kind: Kind, first: u64, last: u64) -> Outcome {
        self.ask(FILE, name, kind, bytes(first, last), Wait::No)
    }

    /// Asks for a lock and is ready to wait.
    fn wait(&mut self, file: FileId, name: &str, kind: Kind, first: u64, last: u64) -> Outcome {
        self.ask(file, name, kind, bytes(first, last), Wait::Yes)
    }

    /// Asks for a lock that is in use.
    fn blocked(&mut self, name: &str, kind: Kind, first: u64, last: u64) -> WaiterId {
        match self.wait(FILE, name, kind, first, last) {
            Outcome::Blocked(waiter) => waiter,
            other => panic!("{name} is not blocked: {other:?}"),
        }
    }

    fn unlock(&mut self, name: &str, first: u64, last: u64) {
        self.unlock_in(FILE, name, first, last);
    }

    fn unlock_in(&mut self, file: FileId, name: &str, first: u64, last: u64) {
        let Owner { client, name } = self.owner(name);
        self.table.unlock(file, client, name.as_bytes(), bytes(first, last)).expect("room to unlock");
    }

    fn cancel(&mut self, name: &str, kind: Kind, first: u64, last: u64) -> Option<WaiterId> {
        let Owner { client, name } = self.owner(name);
        self.table.cancel(FILE, client, name.as_bytes(), kind, bytes(first, last))
    }

    fn test(&self, name: &str, kind: Kind, first: u64, last: u64) -> Option<Holder<'_>> {
        let Owner { client, name } = self.owner(name);
        self.table.test(FILE, client, name.as_bytes(), kind, bytes(first, last))
    }

    /// Who was granted a lock since the last call, in order.
    fn granted(&mut self) -> String {
        let mut names = String::new();
        while let Some(granted) = self.table.take_granted() {
            let (_, name) = self.table.owner_name(granted.owner).expect("an owner");
            names.push_str(std::str::from_utf8(name).expect("text"));
        }
        names
    }

    /// The held locks of an owner on the first file: `S0-9 X10-`.
    fn held(&self, name: &str) -> String {
        let own = |view: &keelson_nfs_server::locks::LockView<'_>| {
            view.file == FILE && view.waiter.is_none() && view.name == name.as_bytes()
        };
        let mut ranges: Vec<_> = self.table.locks().filter(own).map(|view| (view.range, view.kind)).collect();
        ranges.sort_by_key(|(range, _)| range.first);
        let text = |(range, kind): (ByteRange, Kind)| {
            let letter = if kind == S { 'S' } else { 'X' };
            match range.last {
                u64::MAX => format!("{letter}{}-", range.first),
                last => format!("{letter}{}-{last}", range.first),
            }
        };
        ranges.into_iter().map(text).collect::<Vec<_>>().join(" ")
    }
}
