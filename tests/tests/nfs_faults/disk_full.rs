//! A full disk: no space is told in time, what was accepted is kept, and removing makes room.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;

use keelson_qemu::{Drive, Exit, Ext4Spec};
use keelson_tests::nfs3::{How, Set, Stable, status};
use keelson_tests::world::{SOON, World, assert_sound};

use super::{create, hosts, mounted};

const HOSTS: usize = 6;
const PIECE: usize = 32 << 10;
/// Pieces of a file.
const PIECES: usize = 16;

/// Content that tells where it belongs.
fn piece(host: usize, file: usize, at: usize) -> Vec<u8> {
    (0..PIECE / 4)
        .flat_map(|word| ((host << 24 | file << 16 | at << 8) as u32 ^ word as u32).to_be_bytes())
        .collect()
}

fn name(host: usize, file: usize) -> String {
    format!("host{host}-{file}")
}

/// Several hosts write at once, without waiting for the disk, until there is no space; then they commit.
#[test]
fn a_full_disk_keeps_what_it_accepted() {
    let world = World::new("full");
    let disk = world.bench.ext4("small", &Ext4Spec::new(24 << 20).options(["-b", "4096"])).unwrap();
    let machine = world.appliance("").drive(Drive::file(disk.path())).start().unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    let hosts = hosts(&world, HOSTS);
    // Pieces accepted of each file.
    let accepted: Mutex<HashMap<(usize, usize), usize>> = Mutex::default();
    thread::scope(|scope| {
        for (number, host) in hosts.iter().enumerate() {
            let accepted = &accepted;
            scope.spawn(move || {
                let (mut nfs, root) = mounted(host);
                let mut files = vec![];
                'full: for file in 0.. {
                    let how = How::Guarded(Set::mode(0o644));
                    let made = nfs.create(&root, name(number, file).as_bytes(), how).unwrap();
                    if made.status == status::NOSPC {
                        break;
                    }
                    let handle = made.ok().handle;
                    files.push(handle.clone());
                    accepted.lock().unwrap().insert((number, file), 0);
                    for at in 0..PIECES {
                        let written = nfs.write(
                            &handle,
                            (at * PIECE) as u64,
                            &piece(number, file, at),
                            Stable::Unstable,
                        );
                        match written.unwrap() {
                            answer if answer.status == status::NOSPC => break 'full,
                            answer => assert_eq!(answer.ok().count as usize, PIECE),
                        }
                        *accepted.lock().unwrap().get_mut(&(number, file)).unwrap() += 1;
                    }
                }
                for handle in &files {
                    nfs.commit(handle, 0, 0).unwrap().ok();
                }
            });
        }
    });
    let accepted = accepted.into_inner().unwrap();
    let total = accepted.values().sum::<usize>() * PIECE;
    eprintln!("{} files with {} KiB", accepted.len(), total >> 10);
    assert!(total > 12 << 20, "{total} bytes fit onto a disk of 24 MiB");
    // All of it can be read; more cannot be written, but what is there can be written over.
    let (mut nfs, root) = mounted(&world.host);
    for (&(host, file), &pieces) in &accepted {
        let handle = nfs.lookup(&root, name(host, file).as_bytes()).unwrap().ok().handle;
        for at in 0..pieces {
            let read = nfs.read(&handle, (at * PIECE) as u64, PIECE as u32).unwrap().ok();
            assert!(read.data == piece(host, file, at), "piece {at} of file {file} of host {host}");
        }
    }
    let first = nfs.lookup(&root, name(0, 0).as_bytes()).unwrap().ok().handle;
    nfs.write(&first, 0, &piece(0, 0, 0), Stable::FileSync).unwrap().ok();
    let beyond = nfs.write(&first, 1 << 30, &vec![1; 512 << 10], Stable::FileSync).unwrap();
    assert_eq!(beyond.status, status::NOSPC);
    // Half of it goes, which makes room for something new.
    let (go, stay): (Vec<_>, Vec<_>) = accepted.iter().partition(|((_, file), _)| file % 2 == 0);
    for ((host, file), _) in &go {
        assert_eq!(nfs.remove(&root, name(*host, *file).as_bytes()).unwrap().status, status::OK);
    }
    let again = create(&mut nfs, &root, "again");
    for at in 0..PIECES {
        nfs.write(&again, (at * PIECE) as u64, &piece(99, 0, at), Stable::FileSync).unwrap().ok();
    }
    assert_sound(&machine);
    machine.console().send_line("poweroff").unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
    disk.check().unwrap();
    for ((host, file), pieces) in stay {
        let content = disk.read(&format!("/{}", name(*host, *file))).unwrap();
        let expected: Vec<u8> = (0..*pieces).flat_map(|at| piece(*host, *file, at)).collect();
        assert!(content == expected, "file {file} of host {host}");
    }
}
