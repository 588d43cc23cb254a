//! What the lock table may take of the memory, whatever clients do.
//!
//! The one `unsafe impl` of the test counts what is allocated.

use keelson_net_sim::Rng;
use keelson_nfs_server::locks::{ByteRange, ClientId, Kind, Limits, LockTable, Outcome, Wait};
use keelson_volume::FileId;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to `System` unchanged; counting touches only a thread-local `Cell` that needs
// neither allocation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.with(|live| live.set(live.get().wrapping_add(layout.size())));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.with(|live| live.set(live.get().wrapping_sub(layout.size())));
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> usize {
    LIVE.get()
}

fn file(number: u64) -> FileId {
    FileId { inode: number, discriminator: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

/// The worst there is: every lock in a file of its own and with an owner of its own, and names as long as
/// they may be on average.
fn fill(table: &mut LockTable, client: ClientId, limits: &Limits) {
    let bytes = limits.name_bytes / limits.locks;
    for number in 0.. {
        let mut name = vec![b'n'; bytes];
        name[..8].copy_from_slice(&u64::to_be_bytes(number));
        let Some(owner) = table.owner(client, &name) else { break };
        if table.lock(file(number), owner, Kind::Exclusive, ByteRange::ALL, Wait::No) != Outcome::Granted {
            break;
        }
    }
}

#[test]
fn a_full_table_fits_and_leaves_nothing() {
    let limits = Limits::default();
    let before = live();
    let mut table = LockTable::new(limits);
    let client = table.client().expect("a client");
    let empty = live();
    fill(&mut table, client, &limits);
    let counts = table.counts();
    assert_eq!((counts.locks, counts.owners, counts.files), (limits.locks, limits.locks, limits.locks));
    let full = live() - empty;
    assert!(full < 40 << 20, "{full} bytes for {} locks", limits.locks);
    table.release_client(client);
    assert!(live() - empty < 8192, "{} bytes left", live() - empty);
    drop(table);
    assert_eq!(live(), before);
}

#[test]
fn whatever_clients_do_it_does_not_grow() {
    let limits =
        Limits { locks: 600, waiters: 10, clients: 8, owner_bytes: 64, name_bytes: 4096, shares: 20 };
    let mut table = LockTable::new(limits);
    let mut clients: Vec<_> = (0..8).map(|_| table.client().expect("a client")).collect();
    let rng = Rng::new(11);
    let below = |limit: u64| rng.next() % limit;
    let start = live();
    let mut highest = 0;
    for step in 0..60_000 {
        let at = below(8) as usize;
        let name = below(1 << 20).to_be_bytes().repeat(1 + below(7) as usize);
        let name = if below(2) == 0 { vec![below(12) as u8] } else { name };
        let first = below(400) * 3;
        let range = ByteRange { first, last: first + below(300) };
        let kind = if below(2) == 0 { Kind::Shared } else { Kind::Exclusive };
        let wait = if below(2) == 0 { Wait::Yes } else { Wait::No };
        let file = file(below(4));
        // Nobody takes the grants for a long time, or answers them.
        match below(20) {
            0..12 => {
                if let Some(owner) = table.owner(clients[at], &name) {
                    table.lock(file, owner, kind, range, wait);
                }
            }
            12..17 => drop(table.unlock(file, clients[at], &name, range)),
            17 => drop(table.cancel(file, clients[at], &name, kind, range)),
            18 if step % 50 == 0 => {
                table.forget_client(clients[at]);
                clients[at] = table.client().expect("there is room again");
            }
            _ if step % 5000 == 0 => while table.take_granted().is_some() {},
            _ => {}
        }
        highest = highest.max(live() - start);
    }
    let (refused, counts) = (table.refused(), table.counts());
    assert!(refused.locks > 100 && refused.waiters > 100 && refused.owners > 100, "{refused:?}");
    assert!(counts.locks <= 600 && counts.waiters <= 10 && counts.grants <= 10, "{counts:?}");
    assert!(highest < 300 << 10, "{highest} bytes");
}

#[test]
fn grants_that_nobody_takes_do_not_pile_up() {
    let mut table = LockTable::new(Limits { waiters: 10, ..Limits::default() });
    let client = table.client().expect("a client");
    let mut settled = 0;
    for round in 0..20_000 {
        // One of them holds, the other waits, in turns; the grant is void with the unlock of the next round.
        for (name, expected) in [(b"a", true), (b"b", false)] {
            let owner = table.owner(client, name).expect("owner");
            let outcome = table.lock(file(1), owner, Kind::Exclusive, ByteRange::ALL, Wait::Yes);
            assert_eq!(outcome == Outcome::Granted, expected);
        }
        table.unlock(file(1), client, b"a", ByteRange::ALL).expect("room");
        if round % 2 == 0 {
            table.unlock(file(1), client, b"b", ByteRange::ALL).expect("room");
        } else {
            // Or it is overtaken by an equal request, and given up then.
            let owner = table.owner(client, b"b").expect("owner");
            table.lock(file(1), owner, Kind::Exclusive, ByteRange::ALL, Wait::Yes);
            table.release_client(client);
        }
        match round {
            100 => settled = live(),
            101.. => assert!(live() < settled + 512, "{} bytes more in round {round}", live() - settled),
            _ => {}
        }
    }
    assert_eq!((table.counts().grants, table.take_granted()), (0, None));
}
