//! Many clients at once: each gets its share, whatever others ask for.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use keelson_oncrpc::Encoder;
use keelson_qemu::{Drive, Endpoint, Machine};
use keelson_tests::nfs3::{Handle, Nfs, Procedure, Stable};
use keelson_tests::rpc::RpcClient;
use keelson_tests::world::{SERVER, SOON, World, assert_sound, at};

use super::{create, hosts, mounted};

const HOSTS: usize = 64;
const PIECE: usize = 64 << 10;
/// Pieces of the file that all read.
const PIECES: usize = 32;

/// A serving machine with a disk for what so many hosts write.
fn start(world: &World) -> Machine {
    let disk = world.bench.ext4("large", &keelson_qemu::Ext4Spec::new(256 << 20)).unwrap();
    let machine = world.appliance("").drive(Drive::file(disk.path())).start().unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    machine
}

/// A file that all hosts read.
fn common_file(world: &World) -> Handle {
    let (mut nfs, root) = mounted(&world.host);
    let file = create(&mut nfs, &root, "common");
    for piece in 0..PIECES {
        let data = vec![piece as u8; PIECE];
        nfs.write(&file, (piece * PIECE) as u64, &data, Stable::Unstable).unwrap().ok();
    }
    file
}

fn connect(host: &Endpoint) -> Nfs {
    Nfs::new(RpcClient::tcp(host, at(SERVER, 2049)).unwrap())
}

/// The mix of a host: small calls, reads and writes of 64 KiB, and now and then a commit.
fn call(nfs: &mut Nfs, number: usize, root: &[u8], common: &[u8], own: &[u8]) {
    match number % 8 {
        0 | 4 => drop(nfs.getattr(own).unwrap().ok()),
        1 | 5 => {
            let at = number % PIECES;
            let piece = nfs.read(common, (at * PIECE) as u64, PIECE as u32).unwrap().ok();
            assert!(piece.data.len() == PIECE && piece.data.iter().all(|byte| *byte == at as u8));
        }
        2 | 6 => {
            let data = vec![number as u8; PIECE];
            nfs.write(own, (number % 4 * PIECE) as u64, &data, Stable::Unstable).unwrap().ok();
        }
        3 => drop(nfs.lookup(root, b"common").unwrap().ok()),
        _ => drop(nfs.commit(own, 0, 0).unwrap().ok()),
    }
}

/// 64 hosts with a connection each make the same number of calls. When the first is done, the last is not far behind.
#[test]
fn sixty_four_hosts_get_their_share() {
    const CALLS: usize = 48;
    let world = World::new("share");
    let machine = start(&world);
    let common = common_file(&world);
    let hosts = hosts(&world, HOSTS);
    let done: Vec<AtomicU32> = (0..HOSTS).map(|_| AtomicU32::new(0)).collect();
    // What all had done when the first was ready.
    let first = std::sync::OnceLock::new();
    let together = Barrier::new(HOSTS);
    thread::scope(|scope| {
        for (number, host) in hosts.iter().enumerate() {
            let (done, first, together, common) = (&done, &first, &together, &common);
            scope.spawn(move || {
                let (mut nfs, root) = mounted(host);
                let own = create(&mut nfs, &root, &format!("own{number}"));
                together.wait();
                for step in 0..CALLS {
                    call(&mut nfs, step, &root, common, &own);
                    done[number].fetch_add(1, Ordering::Relaxed);
                }
                first.get_or_init(|| {
                    done.iter().map(|calls| calls.load(Ordering::Relaxed)).collect::<Vec<_>>()
                });
            });
        }
    });
    let mut counts = first.into_inner().unwrap();
    counts.sort_unstable();
    eprintln!("when the fastest had made {CALLS} calls: {counts:?}");
    assert!(counts[0] as usize * 3 >= CALLS, "the slowest had made {} calls", counts[0]);
    assert!(done.iter().all(|calls| calls.load(Ordering::Relaxed) == CALLS as u32));
    assert_sound(&machine);
}

/// A host with 16 connections, each with 16 large reads under way, against one that makes one call at a time.
#[test]
fn a_greedy_host_leaves_room_for_a_modest_one() {
    const CONNECTIONS: usize = 16;
    const IN_FLIGHT: usize = 16;
    const MODEST: usize = 64;
    /// Calls of the greedy host for each of the modest one: the server takes turns among connections, so that what
    /// waits behind the first call of each is not before it.
    const MOST: u32 = 3 * CONNECTIONS as u32;
    let world = World::new("greedy");
    let machine = start(&world);
    let common = common_file(&world);
    let hosts = hosts(&world, 2);
    let (greedy, over) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let (greedy, over, common) = (&greedy, &over, &common);
            let host = &hosts[0];
            scope.spawn(move || {
                let mut nfs = connect(host);
                while over.load(Ordering::Relaxed) == 0 {
                    let read = |number: usize, out: &mut Encoder| {
                        out.opaque(common);
                        out.u64((number % PIECES * PIECE) as u64);
                        out.u32(PIECE as u32);
                    };
                    let count = |_, _: &[u8]| {
                        greedy.fetch_add(1, Ordering::Relaxed);
                    };
                    nfs.rpc.calls(Procedure::Read.target(), 64, IN_FLIGHT, read, count).unwrap();
                }
            });
        }
        let (mut nfs, root) = mounted(&hosts[1]);
        let own = create(&mut nfs, &root, "own");
        while greedy.load(Ordering::Relaxed) < (CONNECTIONS * IN_FLIGHT) as u32 {
            thread::yield_now();
        }
        let before = greedy.load(Ordering::Relaxed);
        for number in 0..MODEST {
            call(&mut nfs, number, &root, &common, &own);
        }
        let taken = greedy.load(Ordering::Relaxed) - before;
        over.store(1, Ordering::Relaxed);
        eprintln!("{taken} calls of the greedy host for {MODEST} of the modest one");
        assert!(taken > 0, "the greedy host was under way");
        assert!(taken < MOST * MODEST as u32, "{taken} calls for {MODEST}");
    });
    assert_sound(&machine);
}
