//! What was acknowledged survives; what was not may be lost, and the client learns it.

mod common;

use common::*;
use keelson_nfs_server::ServerConfig;
use keelson_volume::VolumeError;
use keelson_volume::memory::Operation;

const SYNC: &str = "/ *(rw,no_root_squash)";

#[test]
fn acknowledged_changes_survive_a_power_cut() {
    let world = World::new(SYNC);
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    let check = |what: &str| {
        world.volume.power_cut();
        what.to_string()
    };
    let dir = client.mkdir(&root, "d").expect("made");
    check("mkdir");
    let file = client.create(&dir, "f").expect("made");
    check("create");
    assert_eq!(client.setattr(&file, Args::default().sattr(Some(0o600), None), None).0, OK);
    check("setattr");
    assert_eq!(client.getattr(&file).expect("attributes").mode, 0o600);
    assert_eq!(client.link(&file, &root, "l"), OK);
    check("link");
    assert_eq!(client.lookup(&root, "l").expect("found").0, file);
    assert_eq!(client.rename(&root, "l", &dir, "m"), OK);
    check("rename");
    assert_eq!(client.lookup(&root, "l").unwrap_err(), NOENT);
    assert_eq!(client.lookup(&dir, "m").expect("found").0, file);
    assert_eq!(client.remove(12, &dir, "m"), OK);
    check("remove");
    assert_eq!(client.lookup(&dir, "m").unwrap_err(), NOENT);
    client.write(&file, 0, 2, b"file sync").expect("written");
    check("write");
    assert_eq!(client.read(&file, 0, 100), Ok((b"file sync".to_vec(), true)));
    client.make(10, &root, "s", Args::default().sattr(None, None).opaque("x")).expect("made");
    check("symlink");
    assert!(client.lookup(&root, "s").is_ok());
    let exclusive = Args::default().u32(2).u64(0x1122_3344_5566_7788);
    let made = client.make(8, &root, "e", exclusive.clone()).expect("made").0;
    check("exclusive create");
    assert_eq!(client.make(8, &root, "e", exclusive).expect("a retransmission").0, made);
    assert_eq!(
        client.make(8, &dir, "f", Args::default().u32(0).sattr(None, Some(0))).expect("cut").1.size,
        0
    );
    check("create with size");
    assert_eq!(client.getattr(&file).expect("attributes").size, 0);
}

#[test]
fn unstable_data_is_promised_by_commit_and_the_verifier_tells_of_losses() {
    let world = World::new(SYNC);
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    let file = client.create(&root, "f").expect("made");
    let (_, committed, verifier) = client.write(&file, 0, 0, b"one").expect("written");
    assert_eq!(committed, 0);
    assert_eq!(client.commit(&file), Ok(verifier));
    world.volume.power_cut();
    assert_eq!(client.read(&file, 0, 9), Ok((b"one".to_vec(), true)));
    let (_, _, verifier) = client.write(&file, 0, 0, b"two").expect("written");
    world.volume.power_cut();
    assert_ne!(client.commit(&file), Ok(verifier), "the client must send its data again");
    assert_eq!(client.read(&file, 0, 9), Ok((b"one".to_vec(), true)));
}

#[test]
fn a_failed_background_write_is_told() {
    let world = World::new(SYNC);
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    let file = client.create(&root, "f").expect("made");
    let (_, _, verifier) = client.write(&file, 0, 0, b"one").expect("written");
    let id = world.run({
        let volume = world.volume.clone();
        async move {
            use keelson_volume::Volume;
            volume.lookup(volume.root(), b"f").await.expect("found").id
        }
    });
    world.volume.fail_background_write(id);
    assert_eq!(client.commit(&file), Err(IO));
    assert_ne!(client.commit(&file), Ok(verifier));
}

#[test]
fn async_exports_do_not_wait() {
    let world = World::new("/ *(rw,async,no_root_squash)");
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    let before = world.volume.commits();
    let file = client.create(&root, "f").expect("made");
    client.write(&file, 0, 2, b"x").expect("written");
    client.commit(&file).expect("committed");
    assert_eq!(world.volume.commits(), before);
}

#[test]
fn handles_survive_restarts_and_other_configurations() {
    let world = World::new("/ *(rw,no_root_squash)");
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    let file = client.create(&root, "f").expect("made");
    let world = world.restart("/other *(ro);/ 10.0.0.2(rw,no_root_squash)");
    let client = world.client(0);
    assert!(client.getattr(&file).is_ok());
    assert_eq!(client.lookup(&root, "..").expect("found").0, root, "the root is known before any mount");
    let world = world.restart("/other *(rw)");
    assert_eq!(world.client(0).getattr(&file), Err(STALE), "not exported any more");
}

#[test]
fn errors_of_the_volume_reach_the_client_as_they_are() {
    let world = World::new(SYNC);
    let client = world.client(0);
    let root = client.mount("/").expect("mounted");
    let file = client.create(&root, "f").expect("made");
    world.volume.set_fault(|operation| (operation == Operation::Read).then_some(VolumeError::Io));
    client.write(&file, 0, 0, b"x").expect("written");
    assert_eq!(client.read(&file, 0, 1), Err(IO));
    world.volume.set_fault(|operation| (operation == Operation::Commit).then_some(VolumeError::Io));
    assert_eq!(client.write(&file, 0, 2, b"x"), Err(IO), "no promise without the disk");
    assert_eq!(client.create(&root, "g").unwrap_err(), IO);
    world.volume.set_fault(|operation| (operation == Operation::Lookup).then_some(VolumeError::TryLater));
    assert_eq!(client.getattr(&file), Err(JUKEBOX));
    world.volume.clear_fault();
    world.volume.set_read_only(true);
    assert_eq!(client.create(&root, "h").unwrap_err(), ROFS);
    assert!(client.read(&file, 0, 1).is_ok());
}

#[test]
fn a_volume_whose_state_fails_is_not_served() {
    let world = World::new(SYNC);
    world.volume.set_fault(|operation| (operation == Operation::State).then_some(VolumeError::Io));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        World::on(world.clock.clone(), world.volume.clone(), ServerConfig::default())
    }));
    let message = *result.err().expect("no server").downcast::<String>().expect("a message");
    assert!(message.contains("state on the volume is not usable: input/output error"), "{message}");
}
