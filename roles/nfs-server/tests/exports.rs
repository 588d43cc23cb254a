//! Exports from all their places, changed while they are served, and what clients see of it.

mod common;

use common::*;
use keelson_nfs_server::{HostTable, ServerConfig};
use keelson_volume::VolumeError;
use keelson_volume::memory::Operation;

fn line(exports: &str) -> ServerConfig {
    ServerConfig { exports: exports.into(), ..ServerConfig::default() }
}

/// Whether a client may mount, and what comes of its writing to a file there.
fn rights(world: &World, from: &str, path: &str) -> (Result<(), u32>, Option<u32>) {
    let client = world.client_at(&format!("{from}:900"), 0);
    match client.mount(path) {
        Err(status) => (Err(status), None),
        Ok(root) => {
            let made = client.make(8, &root, "probe", Args::default().u32(0).sattr(Some(0o644), None));
            (Ok(()), made.err())
        }
    }
}

#[test]
fn files_say_what_is_exported_and_the_command_line_counts_first() {
    let exports =
        b"# on the disk\n/a *(rw,no_root_squash)\n/b 10.0.0.2(rw,no_root_squash) \\\n  @staff(ro)\n\
                    / 10.0.0.7(rw,no_root_squash)\n";
    let netgroup = b"staff (carol.example.org,,) others\nothers (10.0.0.4,,) staff\n";
    let hosts = b"10.0.0.3 carol.example.org carol\n";
    let files: [(&str, &[u8]); 3] = [("exports", exports), ("netgroup", netgroup), ("hosts", hosts)];
    let world = World::with_files(line("/a 10.0.0.2(ro)"), &files);
    let maker = world.client_at("10.0.0.7:900", 0);
    let root = maker.mount("/").expect("mounted");
    maker.mkdir(&root, "a").expect("made");
    maker.mkdir(&root, "b").expect("made");
    assert_eq!(rights(&world, "10.0.0.2", "/a"), (Ok(()), Some(ROFS)), "the line counts");
    assert_eq!(rights(&world, "10.0.0.3", "/a"), (Err(ACCES), None), "all of the line");
    assert_eq!(rights(&world, "10.0.0.2", "/b"), (Ok(()), None));
    assert_eq!(rights(&world, "10.0.0.3", "/b"), (Ok(()), Some(ROFS)), "by name in a netgroup");
    assert_eq!(rights(&world, "10.0.0.4", "/b"), (Ok(()), Some(ROFS)), "by address in a nested one");
    assert_eq!(rights(&world, "10.0.0.5", "/b"), (Err(ACCES), None));
    let hosts = HostTable::parse("10.0.0.5=carol.example.org,10.0.0.3=dave").expect("hosts");
    let world = World::on(world.clock, world.volume, ServerConfig { hosts, ..line("/a 10.0.0.2(ro)") });
    assert_eq!(rights(&world, "10.0.0.5", "/b"), (Ok(()), Some(ROFS)), "nfs.hosts counts too");
}

#[test]
fn a_second_disk_takes_the_place_of_the_file() {
    let mut disk = b"/ 10.0.0.0/24(rw,no_root_squash)\n".to_vec();
    disk.resize(65_536, 0);
    let config = ServerConfig { exports_disk: Some(disk), ..ServerConfig::default() };
    let world = World::with_files(config, &[("exports", b"/ *(ro)")]);
    assert_eq!(rights(&world, "10.0.0.2", "/"), (Ok(()), None));
    assert_eq!(rights(&world, "10.0.1.2", "/"), (Err(ACCES), None), "the file does not count");
    let handle = world.client(0).mount("/").expect("mounted");
    assert_eq!(
        world.exportfs_with(&["-rv"], Some(Ok(b"/ 10.0.0.2(ro)\0junk".to_vec()))),
        "exporting 10.0.0.2:/\n"
    );
    assert_eq!(rights(&world, "10.0.0.2", "/"), (Ok(()), Some(ROFS)));
    let answer = world.exportfs_with(&["-r"], Some(Err("vdb: input/output error".into())));
    assert_eq!(answer, "exportfs: nothing was changed: vdb: input/output error\n");
    let answer = world.exportfs_with(&["-r"], Some(Ok(vec![b'#'; 65_537])));
    assert!(
        answer.contains("nothing was changed: nfs.exports_disk: the text is longer than 64 KiB"),
        "{answer}"
    );
    assert!(world.client(0).getattr(&handle).is_ok());
    // A filesystem, or noise, instead of a text.
    let noise: Vec<u8> = (1..=255).cycle().take(60_000).collect();
    let answer = world.exportfs_with(&["-r"], Some(Ok(noise)));
    assert!(answer.contains("not a line of text (line left out)"), "{answer}");
    assert_eq!(world.client(0).getattr(&handle), Err(STALE));
}

#[test]
fn exports_change_while_they_are_served() {
    let world =
        World::with_files(line("/line *(ro)"), &[("exports", b"/ 10.0.0.2(rw,no_root_squash)\n/gone *(rw)")]);
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    for name in ["line", "gone", "new"] {
        client.mkdir(&root, name).expect("made");
    }
    let file = client.create(&root, "f").expect("made");
    let gone = world.client_at("10.0.0.9:900", 0).mount("/gone").expect("mounted");
    assert_eq!(client.mount("/gone").map(|_| ()), Ok(()));

    world.put_file("exports", "/new *(ro)\n/bad *(rx)\n/ 10.0.0.2(ro) 10.0.0.3(rw)\n");
    assert!(client.create(&root, "g").is_ok(), "nothing changes before it is told to");
    let answer = world.exportfs(&["-rv"]);
    let expected = "exportfs: /.keelson/exports line 2: unknown option 'rx' (line left out)\n\
                    exporting *:/line\nexporting *:/new\nexporting 10.0.0.2:/\nexporting 10.0.0.3:/\n";
    assert_eq!(answer, expected);
    assert!(client.getattr(&file).is_ok(), "what stays exported keeps its handles");
    assert_eq!(client.create(&root, "h").unwrap_err(), ROFS, "the new options hold at once");
    assert_eq!(world.client_at("10.0.0.9:900", 0).getattr(&gone), Err(STALE));
    assert_eq!(world.client_at("10.0.0.9:900", 0).getattr(&root), Err(ACCES));
    assert!(world.client_at("10.0.0.3:900", 0).getattr(&root).is_ok());
    assert!(client.mount("/new").is_ok());
    assert_eq!(client.lookup(&root, "..").expect("found").0, root);
    let counters = world.server.counters().exports;
    assert_eq!((counters.not_exported, counters.unmatched_hosts, counters.read_only), (1, 1, 1));
    let mut results = client.mountd(3, 2, Args::default());
    let mut mounts = Vec::new();
    while results.bool() {
        mounts.push((results.text(), results.text()));
    }
    assert!(mounts.contains(&("10.0.0.9".into(), "/gone".into())), "the list of mounts is kept: {mounts:?}");

    world.put_file("exports", "/gone *(rw)\n/ 10.0.0.2(rw,no_root_squash)");
    assert_eq!(world.exportfs(&["-r"]), "");
    assert!(world.client_at("10.0.0.9:900", 0).getattr(&gone).is_ok(), "exported again: the same number");
    assert!(client.create(&root, "i").is_ok());
    let world = world.restart("");
    assert!(world.client(0).getattr(&file).is_ok() && world.client(0).getattr(&gone).is_ok());
}

#[test]
fn the_console_lists_adds_and_takes_away() {
    let world = World::new("/ 10.0.0.2(rw,no_root_squash)");
    let root = world.client(0).mount("/").expect("mounted");
    assert_eq!(world.exportfs(&[]), "/             \t10.0.0.2\n");
    let verbose = world.exportfs(&["-v"]);
    assert!(
        verbose.starts_with("/             \t10.0.0.2(sync,wdelay,hide,no_subtree_check,sec=sys,rw,"),
        "{verbose}"
    );
    assert_eq!(world.exportfs(&["-o", "ro", "10.0.0.3:/"]), "");
    assert_eq!(rights(&world, "10.0.0.3", "/"), (Ok(()), Some(ROFS)));
    assert_eq!(world.exportfs(&["-u", "10.0.0.2:/"]), "");
    assert_eq!(world.client(0).getattr(&root), Err(ACCES));
    assert_eq!(world.exportfs(&["-u", "/nothing"]), "exportfs: /nothing is not exported\n");
    assert_eq!(world.exportfs(&["-ua"]), "");
    assert_eq!(world.client(0).getattr(&root), Err(STALE));
    assert_eq!(world.exportfs(&[]), "");
    assert_eq!(world.exportfs(&["-ra"]), "");
    assert!(world.client(0).getattr(&root).is_ok(), "as configured again");
    assert!(world.exportfs(&["-z"]).starts_with("usage: exportfs"));

    assert_eq!(world.exportfs(&["show", "netgroup"]), "exportfs: there is no /.keelson/netgroup\n");
    let answer = world.exportfs(&["store", "exports", "/ 10.0.0.4(rw)\n"]);
    assert_eq!(answer, "/.keelson/exports was stored; exportfs -r puts it in force\n");
    assert_eq!(world.exportfs(&["show", "exports"]), "/ 10.0.0.4(rw)\n");
    assert!(world.exportfs(&["show", "nfs-handle-key"]).starts_with("usage"), "keys are not shown");
    assert!(world.exportfs(&["store", "nfs-handle-key", "x"]).starts_with("usage"));
    let long = "#".repeat(65_537);
    assert!(world.exportfs(&["store", "quota", &long]).contains("was not stored: file too large"));
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let world = World::with_files(line("/ *(rw,no_root_squash)"), &[("exports", b"/a *")]);
    let root = world.client(0).mount("/").expect("mounted");
    for (error, reason) in [
        (VolumeError::TooBig, "longer than 64 KiB"),
        (VolumeError::Invalid, "not a regular file"),
        (VolumeError::Io, "input/output error"),
    ] {
        world.volume.set_fault(move |operation| (operation == Operation::State).then_some(error));
        let answer = world.exportfs(&["-r"]);
        let expected = format!("exportfs: nothing was changed: /.keelson/exports cannot be read: {reason}; ");
        assert!(answer.starts_with(&expected), "{answer}");
        world.volume.clear_fault();
        assert!(world.client(0).getattr(&root).is_ok());
        assert_eq!(world.exportfs(&[]), "/             \t<world>\n/a            \t<world>\n");
    }
}

#[test]
fn hostile_files_cost_their_lines_only() {
    let noise: Vec<u8> = (0..=255).cycle().take(60_000).collect();
    let exports = [&noise[..], b"\n/ *(rw,no_root_squash)\n/x @ring(rw)\n", &noise[..1000]].concat();
    let ring: String = (0..2000).map(|at| format!("ring{at} ring{} ring\n", (at + 1) % 2000)).collect();
    let netgroup = ring + "ring ring0 (10.0.0.5,,)\n(((((\n";
    let files: [(&str, &[u8]); 4] =
        [("exports", &exports), ("netgroup", netgroup.as_bytes()), ("hosts", &noise), ("quota", &noise)];
    let world = World::with_files(ServerConfig::default(), &files);
    let root = world.client(0).mount("/").expect("mounted");
    world.client(0).mkdir(&root, "x").expect("made");
    assert_eq!(world.exportfs(&[]), "/             \t<world>\n/x            \t@ring\n");
    let answer = world.exportfs(&["-r"]);
    assert!(answer.lines().count() < 60 && answer.contains("more problems are not shown"), "{answer}");
}

/// The mistakes of the specification's table, as far as the server's answers decide what the client prints.
#[test]
fn client_mistakes_get_the_answers_of_linux() {
    let world = World::new("/ 10.0.0.2(ro) 10.0.0.3(rw,insecure)");
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    assert_eq!(world.client_at("10.0.0.9:900", 0).mount("/"), Err(ACCES), "access denied by server");
    assert_eq!(world.client_at("10.0.0.2:30000", 0).mount("/"), Err(ACCES), "access denied by server");
    assert_eq!(client.mount("/none"), Err(NOENT), "No such file or directory");
    assert_eq!(client.mount("relative"), Err(ACCES));
    assert_eq!(client.create(&root, "f").unwrap_err(), ROFS, "Read-only file system");
    assert_eq!(client.access(&root, 0x3f), Ok(0x03), "and not before it is tried");
    assert_eq!(world.client_at("10.0.0.2:30000", 0).getattr(&root), Err(PERM), "Operation not permitted");
    assert!(world.client_at("10.0.0.3:30000", 0).getattr(&root).is_ok());
    let rpcbind = Client { port: 111, ..client.clone() };
    let port = |program: u32| {
        let args = Args::default().u32(program).u32(3).u32(6).u32(0);
        rpcbind.call([100_000, 2, 3], args).expect("results").u32()
    };
    assert_eq!((port(100_003), port(100_005)), (2049, 20_048), "never: Program not registered");
    let counters = world.server.counters();
    assert_eq!(counters.mount.refused.get(), 4);
    assert_eq!((counters.exports.read_only, counters.exports.illegal_ports), (1, 1));
}
