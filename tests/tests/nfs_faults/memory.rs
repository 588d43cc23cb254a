//! Little memory: a machine of 32 MiB serves a crowd in which everybody asks for much, and has its memory back afterwards.

use std::thread;

use keelson_oncrpc::{Decoder, Encoder};
use keelson_qemu::{Drive, Endpoint, Ext4Spec, Machine};
use keelson_tests::nfs3::{Nfs, Procedure, kind, status};
use keelson_tests::rpc::RpcError;
use keelson_tests::world::{SERVER, SOON, World, assert_sound, shell};

use super::{create, hosts, mounted};

const HOSTS: usize = 64;
const IN_FLIGHT: usize = 16;
/// Calls of each kind of a host.
const CALLS: usize = 32;
const PIECE: usize = 64 << 10;
/// Pieces of its file that a host writes over and over.
const PIECES: usize = 8;
/// JUKEBOX (RFC 1813 section 2.6): try later.
const JUKEBOX: u32 = 10_008;

/// KiB in use, as the console's `mem` shows them.
fn used(machine: &Machine) -> u64 {
    let text = shell(machine, "mem");
    let line = text.iter().find(|line| line.starts_with("heap ")).unwrap_or_else(|| panic!("{text:?}"));
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

/// What became of the calls of a host.
#[derive(Default)]
struct Ends {
    done: usize,
    later: usize,
    /// The connection was closed, or no longer served.
    broken: usize,
}

impl Ends {
    /// Makes calls until all have been answered, or the server has had enough of this connection: a client then connects
    /// and asks again.
    fn of(nfs: &mut Nfs, procedure: Procedure, mut arguments: impl FnMut(usize, &mut Encoder)) -> Ends {
        let mut ends = Ends::default();
        let outcome = nfs.rpc.calls(procedure.target(), CALLS, IN_FLIGHT, &mut arguments, |_, results| {
            match Decoder::new(results).u32() {
                Ok(status::OK) => ends.done += 1,
                Ok(JUKEBOX) => ends.later += 1,
                other => panic!("{procedure:?}: {other:?}"),
            }
        });
        match outcome {
            Ok(()) => {}
            Err(RpcError::Io(_)) => ends.broken += 1,
            Err(error) => panic!("{procedure:?}: {error}"),
        }
        ends
    }
}

fn storm(hosts: &[Endpoint], folder: &[u8]) -> Ends {
    let all = thread::scope(|scope| {
        let each = hosts.iter().enumerate().map(|(number, host)| {
            scope.spawn(move || {
                let (mut nfs, root) = mounted(host);
                let file = create(&mut nfs, &root, &format!("own{number}"));
                let data = vec![number as u8; PIECE];
                let written = Ends::of(&mut nfs, Procedure::Write, |call, out| {
                    out.opaque(&file);
                    out.u64((call % PIECES * PIECE) as u64);
                    out.u32(PIECE as u32);
                    out.u32(0);
                    out.opaque(&data);
                });
                let listed = Ends::of(&mut nfs, Procedure::ReadDirPlus, |_, out| {
                    out.opaque(folder);
                    out.u64(0);
                    out.fixed(&[0; 8]);
                    out.u32(PIECE as u32);
                    out.u32(PIECE as u32);
                });
                [written, listed]
            })
        });
        let each: Vec<_> = each.collect();
        each.into_iter().flat_map(|host| host.join().unwrap()).collect::<Vec<_>>()
    });
    all.into_iter().fold(Ends::default(), |sum, one| Ends {
        done: sum.done + one.done,
        later: sum.later + one.later,
        broken: sum.broken + one.broken,
    })
}

fn survives(mib: u32) {
    let world = World::new("memory");
    let tree = world.bench.dir().join("tree");
    std::fs::create_dir_all(tree.join("many")).unwrap();
    for index in 0..400 {
        std::fs::write(tree.join(format!("many/entry-with-a-rather-long-name-{index:05}")), "").unwrap();
    }
    let disk = world.bench.ext4("data", &Ext4Spec::new(128 << 20).populated_from(&tree)).unwrap();
    let machine = world.appliance("").memory_mib(mib).drive(Drive::file(disk.path())).start().unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    let hosts = hosts(&world, HOSTS);
    let (mut nfs, root) = mounted(&world.host);
    let folder = nfs.lookup(&root, b"many").unwrap().ok().handle;
    let mut most = vec![];
    for round in 0..3 {
        let ends = storm(&hosts, &folder);
        assert_sound(&machine);
        most.push(used(&machine));
        eprintln!(
            "round {round}: {} done, {} told to come later, {} connections broken; {} KiB used",
            ends.done, ends.later, ends.broken, most[round]
        );
        assert!(ends.done * 2 > HOSTS * CALLS, "hardly anything was done");
        // Everybody is served as before.
        assert_eq!(nfs.getattr(&root).unwrap().ok().kind, kind::DIRECTORY);
    }
    eprintln!("{:?}", shell(&machine, "mem"));
    assert!(most[2] <= most[0] + most[0] / 4, "memory is lost: {most:?} KiB after each round");
    world.assert_serves(SERVER);
    assert_sound(&machine);
}

#[test]
fn a_small_machine_serves_a_crowd() {
    survives(32);
}

#[test]
fn a_machine_that_is_too_small_says_so() {
    let world = World::new("too-small");
    let disk = world.bench.ext4("data", &Ext4Spec::new(16 << 20)).unwrap();
    let machine = world.appliance("").memory_mib(24).drive(Drive::file(disk.path())).start().unwrap();
    machine.expect("MiB of memory are too little; give the machine 32 MiB", SOON).unwrap();
    // It can be looked at all the same.
    assert!(used(&machine) > 0);
    assert_sound(&machine);
}
