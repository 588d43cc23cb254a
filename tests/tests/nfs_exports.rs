//! Exports from a second disk: its raw content is a text of exports(5).

use std::fs;
use std::io::Write;
use std::path::Path;

use keelson_qemu::{Cache, Drive, Exit, Machine};
use keelson_tests::Appliance;
use keelson_tests::nfs3::{Handle, MOUNT_PORT, NFS_PORT, Nfs, find_and_mount, mount, status};
use keelson_tests::rpc::RpcClient;
use keelson_tests::world::{SERVER, SOON, World, at, shell};

/// `MNT3ERR_ACCES` (RFC 1813 appendix I).
const REFUSED: u32 = 13;
/// Of the second disk, in bytes: less than a text may have, as `truncate -s 4K` leaves it.
const SMALL: usize = 4096;

/// Makes `text` the content of a disk, zeros behind it.
fn write(disk: &Path, text: &str) {
    let mut raw = text.as_bytes().to_vec();
    raw.resize(SMALL, 0);
    // Never shorter, not even for a moment: QEMU has it open.
    fs::File::options().write(true).create(true).truncate(false).open(disk).unwrap().write_all(&raw).unwrap();
}

/// What MNT says of a path.
fn mounted(world: &World, path: &str) -> Result<Handle, u32> {
    mount(&mut RpcClient::tcp(&world.host, at(SERVER, MOUNT_PORT)).unwrap(), path).unwrap()
}

fn reread(machine: &Machine) -> Vec<String> {
    shell(machine, "exportfs -rv").into_iter().filter(|line| !line.starts_with('[')).collect()
}

#[test]
fn exports_are_read_from_a_second_disk_and_read_anew() {
    let world = World::new("nfs-exports");
    let (data, text) = (world.disk(), world.bench.dir().join("exports"));
    write(&text, "# from the second disk\n/ 10.0.0.9(rw,no_root_squash) \\\n  10.9.9.9(ro)\n");
    let line = format!("ip={SERVER}/24:eth0 fs=vda nfs.exports_disk=vdb");
    let spec = Appliance::nfs(&world.bench, "nfs", &line).virtio_nic(&world.lan);
    let spec = spec.drive(Drive::file(data.path()).cache(Cache::Unsafe)).drive(Drive::file(&text));
    let machine = spec.start().unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    assert!(!machine.console().contains("line left out"), "{}", machine.console().transcript());

    let root = find_and_mount(&world.host, SERVER.parse().unwrap(), "/").unwrap();
    let mut nfs = Nfs::new(RpcClient::tcp(&world.host, at(SERVER, NFS_PORT)).unwrap());
    nfs.mkdir(&root, b"pub", 0o755).unwrap().ok();
    assert_eq!(mounted(&world, "/pub").map(|_| ()), Ok(()));

    // The host writes into the file while the machine runs: nothing counts before it is read anew.
    write(&text, "/ 10.9.9.9(rw)\n/pub 10.0.0.0/24(ro) *(rw,no_such_option)\n/pub *(ro)\n");
    assert_eq!(mounted(&world, "/"), Ok(root.clone()));
    let said = reread(&machine);
    assert!(said[0].contains("nfs.exports_disk line 2: unknown option 'no_such_option'"), "{said:?}");
    assert_eq!(said[1..], ["exporting 10.9.9.9:/", "exporting *:/pub"]);
    assert_eq!(mounted(&world, "/"), Err(REFUSED));
    assert_eq!(nfs.getattr(&root).unwrap().status, status::ACCES);
    let public = mounted(&world, "/pub").unwrap();
    assert_eq!(nfs.mkdir(&public, b"new", 0o755).unwrap().status, status::ROFS);

    // An emptied disk exports nothing, which makes the handles of all exports stale.
    write(&text, "");
    assert_eq!(reread(&machine), [""; 0]);
    assert_eq!(nfs.getattr(&public).unwrap().status, status::STALE);
    write(&text, "/pub *(rw,no_root_squash)\n");
    assert_eq!(reread(&machine), ["exporting *:/pub"]);
    nfs.mkdir(&public, b"new", 0o755).unwrap().ok();

    machine.console().send_line("poweroff").unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
    data.check().unwrap();
    assert_eq!(fs::read(&text).unwrap()[..4], *b"/pub", "the server wrote nothing there");
}

#[test]
fn a_second_disk_that_is_not_there_keeps_the_server_from_serving() {
    let world = World::new("nfs-exports-none");
    let data = world.disk();
    let machine = world.appliance("nfs.exports_disk=vdb").drive(Drive::file(data.path())).start().unwrap();
    machine.expect("not serving: nfs.exports_disk=vdb", SOON).unwrap();
    assert_eq!(shell(&machine, "exportfs -v"), ["not serving"]);
}
