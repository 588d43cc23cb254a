//! Qnet and links come and go (sections 8 and 20; R18, R19).

use crate::world::{MemoryPort, Wire, World, named, names_of, root};
use keelson_qnet::client::OpenFlags;
use keelson_qnet::node::{Node, NodeConfig};
use keelson_qnet_wire::{Errno, Nd};
use std::rc::Rc;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(10);

fn umount(world: &World, node: &Node) -> Result<(), Errno> {
    let node = node.clone();
    world.run(async move { node.umount().await })
}

/// R19.
#[test]
fn umount_ends_everything_at_once() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(named("alpha"), &wire);
    let (beta, _) = world.mounted(named("beta"), &wire);
    world.pass(SOON);
    // One file each way.
    let (files, other) = (alpha.files(&root()), beta.files(&root()));
    let (out, back) = world.run(async move {
        let out = files.open("/net/beta/etc/TIMEZONE", OpenFlags::READ).await.unwrap();
        let back = other.open("/net/alpha/etc/TIMEZONE", OpenFlags::READ).await.unwrap();
        (out, back)
    });
    assert_eq!(alpha.mount(), Err(Errno::EBUSY), "at most one");
    let start = world.now();
    assert_eq!(umount(&world, &alpha), Ok(()));
    world.pass(SOON);
    let mut room = [0; 8];
    let (outcome, other) =
        world.run(async move { (out.read(&mut room).await, back.read(&mut [0; 8]).await) });
    assert_eq!(outcome, Err(Errno::EBADF), "the connection is gone");
    assert!(matches!(other, Err(Errno::EBADF | Errno::ESRCH)), "{other:?}");
    assert!(world.now() - start < Duration::from_millis(100), "the peer knows at once");
    assert_eq!(beta.dispatcher().open_files(), 0);
    assert_eq!(alpha.dispatcher().open_files(), 0);
    let get =
        |path: &'static str| world.with(&alpha, |files| async move { files.read_to_end(path, 999).await });
    assert_eq!(get("/proc/qnetstats"), Err(Errno::ENOENT));
    assert_eq!(get("/dev/netmgr"), Err(Errno::ENOENT));
    assert_eq!(get("/net/beta/etc/TIMEZONE"), Err(Errno::ENOREMOTE));
    assert_eq!(get("/etc/TIMEZONE"), Ok(b"UTC0\n".to_vec()), "the node's own files stay");
    assert!(alpha.directory().is_none() && alpha.network().is_none());
    assert_eq!(umount(&world, &alpha), Err(Errno::ENOENT));
    let reach = world.with(&beta, |files| async move { files.stat("/net/alpha/etc").await.map(drop) });
    assert!(matches!(reach, Err(Errno::EHOSTDOWN | Errno::ENOENT)), "{reach:?}");
    // And back.
    alpha.mount().unwrap();
    assert_eq!(get("/net/beta/etc/TIMEZONE"), Ok(b"UTC0\n".to_vec()));
    assert_eq!(world.text(&beta, "/net/alpha/etc/TIMEZONE"), "UTC0\n");
}

/// Somebody who waits for another node when Qnet is unmounted is told.
#[test]
fn umount_wakes_who_waits() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(named("alpha"), &wire);
    let (beta, _) = world.mounted(named("beta"), &wire);
    let service = beta.kernel().channel(1).unwrap();
    let chid = service.chid();
    world.spawn(async move {
        // Takes messages and never answers.
        let mut held = Vec::new();
        loop {
            held.push(service.receive().await);
        }
    });
    let directory = alpha.directory().unwrap();
    let kernel = alpha.kernel().clone();
    let waiting = world.start(async move {
        let nd: Nd = directory.resolve("beta").await.unwrap();
        let connection = kernel.connect(nd, 1, chid, &root()).await.unwrap();
        connection.send(&[b"?"], &mut []).await.map(drop)
    });
    world.pass(SOON);
    assert_eq!(waiting.take(), None);
    umount(&world, &alpha).unwrap();
    world.pass(SOON);
    assert_eq!(waiting.take(), Some(Err(Errno::ENOREMOTE)));
}

#[test]
fn another_directory() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(NodeConfig { mount: "/qnet".into(), ..named("alpha") }, &wire);
    let (_beta, _) = world.mounted(named("beta"), &wire);
    world.pass(SOON);
    assert_eq!(world.text(&alpha, "/qnet/beta/etc/TIMEZONE"), "UTC0\n");
    assert_eq!(world.names(&alpha, "/qnet"), ["alpha", "beta"]);
    let usual = world.with(&alpha, |files| async move { files.stat("/net").await });
    assert_eq!(usual.err(), Some(Errno::ENOENT));
}

/// Two nodes with two wires between them.
struct Twice {
    world: World,
    nodes: [Node; 2],
    /// Of the first node.
    ports: [Rc<MemoryPort>; 2],
    wires: [Rc<Wire>; 2],
}

fn twice() -> Twice {
    let world = World::new();
    let wires = [world.wire(), world.wire()];
    let nodes = [world.node(named("alpha")), world.node(named("beta"))];
    let ports = [wires[0].plug(&nodes[0], "en0"), wires[1].plug(&nodes[0], "en1")];
    for (wire, name) in wires.iter().zip(["en0", "en1"]) {
        wire.plug(&nodes[1], name);
    }
    nodes.iter().for_each(|node| node.mount().unwrap());
    world.pass(Duration::from_secs(40));
    Twice { world, nodes, ports, wires }
}

/// Writes to the other node, bit by bit; what became of each.
fn transfer(nodes: &[Node; 2], world: &World) -> crate::world::Outcome<Vec<Result<(), Errno>>> {
    let files = nodes[0].files(&root());
    let handle = world.handle();
    world.start(async move {
        let file = files.create("/net/beta/data", 0o644).await.unwrap();
        let mut results = Vec::new();
        for _ in 0..50 {
            results.push(file.write_all(&[7; 10_000]).await);
            handle.sleep(Duration::from_millis(20)).await;
        }
        results
    })
}

/// R18.
#[test]
fn a_link_is_removed_and_another_one_is_there() {
    let Twice { world, nodes, ports, wires } = twice();
    let outcome = transfer(&nodes, &world);
    world.pass(Duration::from_millis(200));
    let both: Vec<usize> = wires.iter().map(|wire| wire.seen.borrow().len()).collect();
    assert!(both.iter().all(|frames| *frames > 50), "both links carry: {both:?}");
    nodes[0].remove_link(ports[0].link());
    world.pass(Duration::from_secs(20));
    let results = outcome.take().expect("it ended");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let written = world.with(&nodes[1], |files| async move { files.stat("/data").await.unwrap().size });
    assert_eq!(written, 500_000);
    assert_eq!(nodes[0].links().len(), 1);
}

#[test]
fn the_only_link_is_removed() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, port) = world.mounted(named("alpha"), &wire);
    let (beta, _) = world.mounted(named("beta"), &wire);
    world.pass(SOON);
    let nodes = [alpha, beta];
    let outcome = transfer(&nodes, &world);
    world.pass(Duration::from_millis(200));
    nodes[0].remove_link(port.link());
    world.pass(Duration::from_secs(20));
    let results = outcome.take().expect("it ended");
    assert_eq!(results[0], Ok(()));
    let failed = results.iter().find_map(|result| result.err()).expect("some failed");
    assert!(matches!(failed, Errno::ENETDOWN | Errno::ESRCH | Errno::EBADF), "{failed}");
    let reach = world.with(&nodes[0], |files| async move { files.stat("/net/beta/etc").await.map(drop) });
    assert_eq!(reach, Err(Errno::ENETDOWN));
}

#[test]
fn a_link_that_goes_down_and_comes_back() {
    let Twice { world, nodes, ports, .. } = twice();
    let outcome = transfer(&nodes, &world);
    for port in ports.iter().cycle().take(4) {
        world.pass(Duration::from_millis(200));
        port.set_up(false);
        world.pass(Duration::from_millis(100));
        port.set_up(true);
    }
    world.pass(Duration::from_secs(20));
    assert!(outcome.take().unwrap().iter().all(Result::is_ok));
}

#[test]
fn links_have_names_of_their_own() {
    let world = World::new();
    let wire = world.wire();
    let (node, _) = world.mounted(named("alpha"), &wire);
    let names = (1..8).map(|number| wire.plug(&node, &format!("en{number}")).link().0);
    assert_eq!(names.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    let port = |name| wire.loose(&node, name);
    assert_eq!(node.add_link(port("en3")), Err(Errno::EEXIST));
    assert_eq!(node.add_link(port("en8")), Err(Errno::EAGAIN), "eight at most");
    let third = node.links()[3].0;
    node.remove_link(third);
    assert_eq!(node.add_link(port("en8")), Ok(third));
}

/// Tasks, files and links of a node that was switched off are gone; the others notice.
#[test]
fn power_off() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(named("alpha"), &wire);
    let (beta, port) = world.mounted(named("beta"), &wire);
    world.text(&alpha, "/net/beta/etc/TIMEZONE");
    port.cut.set(true);
    beta.stop();
    let start = world.now();
    let read = world.with(&alpha, |files| async move { files.stat("/net/beta/etc").await.map(drop) });
    assert!(matches!(read, Err(Errno::ESRCH | Errno::EHOSTDOWN)), "{read:?}");
    assert!(world.now() - start < Duration::from_secs(7), "{:?}", world.now());
    assert_eq!(names_of(&world, &alpha), ["alpha"]);
    assert_eq!(beta.mount(), Err(Errno::ENOREMOTE));
}
