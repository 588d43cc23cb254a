//! What nodes are called, and which of them are listed (sections 9, 11.1 and 15; R8, R10, R13 to R15).

use crate::world::{World, named, names_of};
use keelson_qnet::link::LinkAddress;
use keelson_qnet::node::NodeConfig;
use keelson_qnet_wire::Errno;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(10);
/// Two announcements and more.
const LONG: Duration = Duration::from_secs(70);

fn quiet(host: &str) -> NodeConfig {
    let mut config = named(host);
    config.transport.auto_add = 0;
    config
}

#[test]
fn other_domains_are_shown_with_theirs() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(named("alpha"), &wire);
    let foreign = NodeConfig { domain: "other.domain".into(), ..named("beta") };
    let (beta, _) = world.mounted(foreign, &wire);
    let (_gamma, _) = world.mounted(named("gamma"), &wire);
    world.pass(LONG);
    assert_eq!(names_of(&world, &alpha), ["alpha", "beta.other.domain", "gamma"]);
    assert_eq!(names_of(&world, &beta), ["alpha.lab.test", "beta", "gamma.lab.test"]);
    assert_eq!(world.text(&alpha, "/net/beta.other.domain/etc/TIMEZONE"), "UTC0\n");
    assert_eq!(
        world.text(&alpha, "/net/gamma.lab.test/etc/TIMEZONE"),
        "UTC0\n",
        "our own domain may be added"
    );
    let short = world.with(&alpha, |files| async move { files.stat("/net/beta/etc").await });
    assert_eq!(short.err(), Some(Errno::ENOENT), "must be named with its domain");
}

#[test]
fn localhost_is_named_by_its_adapter() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(named("alpha"), &wire);
    let unnamed = world.node(named("localhost"));
    assert_eq!(unnamed.name(), "localhost", "without an adapter");
    wire.plug_as(&unnamed, "en0", LinkAddress::Mac([0, 0x0c, 0x29, 0x03, 0xbf, 0x47]));
    unnamed.mount().unwrap();
    world.pass(SOON);
    assert_eq!((unnamed.name(), unnamed.host()), ("EA3bf47".into(), "localhost".into()));
    assert_eq!(names_of(&world, &alpha), ["EA3bf47", "alpha"]);
    let stats = world.text(&alpha, "/net/EA3bf47/proc/qnetstats");
    assert!(stats.lines().next().unwrap().ends_with(" running on EA3bf47"), "{stats}");
    unnamed.set_host("emma").unwrap();
    assert_eq!(unnamed.name(), "emma");
    unnamed.set_host("localhost").unwrap();
    assert_eq!(unnamed.name(), "EA3bf47");
}

#[test]
fn a_new_name_is_announced() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(named("alpha"), &wire);
    let (beta, _) = world.mounted(named("beta"), &wire);
    world.pass(SOON);
    beta.set_host("emma").unwrap();
    world.pass(SOON);
    assert!(names_of(&world, &alpha).contains(&"emma".into()));
    assert_eq!(world.names(&beta, "/net")[0], "emma");
    assert_eq!(world.text(&alpha, "/net/emma/etc/TIMEZONE"), "UTC0\n");
    assert_eq!(beta.set_host("em ma"), Err(Errno::EINVAL));
    assert_eq!((beta.host(), beta.name()), ("emma".into(), "emma".into()));
    beta.set_domain("other.domain").unwrap();
    world.pass(SOON);
    assert!(names_of(&world, &alpha).contains(&"emma.other.domain".into()));
    assert_eq!(beta.set_domain(".x"), Err(Errno::EINVAL));
}

#[test]
fn the_option_host_comes_first() {
    let world = World::new();
    let wire = world.wire();
    let (node, _) = world.mounted(NodeConfig { alias: Some("karl".into()), ..named("alpha") }, &wire);
    assert_eq!((node.name(), node.host()), ("karl".into(), "alpha".into()));
    let announced = wire.seen.borrow().len();
    node.set_host("emma").unwrap();
    world.pass(SOON);
    assert_eq!((node.name(), node.host()), ("karl".into(), "emma".into()));
    assert!(wire.seen.borrow().len() <= announced + 1, "nothing changed for others");
}

/// R13.
#[test]
fn silent_and_deaf() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(quiet("alpha"), &wire);
    let (beta, _) = world.mounted(named("beta"), &wire);
    let (_gamma, _) = world.mounted(named("gamma"), &wire);
    world.pass(LONG);
    assert_eq!(names_of(&world, &alpha), ["alpha"]);
    assert_eq!(names_of(&world, &beta), ["beta", "gamma"]);
    assert_eq!(world.text(&alpha, "/net/beta/etc/TIMEZONE"), "UTC0\n");
    assert_eq!(world.text(&beta, "/net/alpha/etc/TIMEZONE"), "UTC0\n");
    assert_eq!(names_of(&world, &alpha), ["alpha", "beta"]);
}

/// R10.
#[test]
fn two_nodes_with_one_name() {
    let world = World::new();
    let wire = world.wire();
    let (first, _) = world.mounted(named("twin"), &wire);
    let (second, other) = world.mounted(named("TWIN"), &wire);
    let (third, _) = world.mounted(named("gamma"), &wire);
    world.pass(LONG);
    for node in [&first, &second] {
        let stats = world.text(node, "/proc/qnetstats");
        let line = stats.lines().find(|line| line.starts_with("lr dup_name")).unwrap();
        assert!(!line.ends_with(" 0"), "{line}");
    }
    let LinkAddress::Mac(mac) = other.address else { unreachable!() };
    let stats = world.text(&first, "/proc/qnetstats");
    let expected = format!("duplicate twin: {} on en0\n", keelson_qnet_wire::Mac(mac));
    assert!(stats.contains(&expected), "{expected:?} is not in\n{stats}");
    // A third node reaches one of them, and the same one again.
    let mark = |node: &keelson_qnet::node::Node, text: &'static [u8]| {
        world.with(node, |files| async move {
            files.create("/mark", 0o644).await.unwrap().write_all(text).await.unwrap();
        });
    };
    mark(&first, b"first");
    mark(&second, b"second");
    let marks: Vec<String> = (0..5).map(|_| world.text(&third, "/net/twin/mark")).collect();
    assert!(marks.iter().all(|mark| *mark == marks[0]), "{marks:?}");
    second.set_host("other").unwrap();
    world.pass(LONG);
    assert_eq!(names_of(&world, &third), ["gamma", "other", "twin"]);
    assert_eq!(world.text(&third, "/net/other/mark"), "second");
}

/// `ls -l /net`, and R8.
#[test]
fn stat_removes_what_does_not_answer() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(named("alpha"), &wire);
    let (_beta, port) = world.mounted(named("beta"), &wire);
    world.pass(SOON);
    let stat = |path: &'static str| {
        world.with(&alpha, |files| async move { files.stat(path).await.map(|stat| stat.ino) })
    };
    assert_eq!(stat("/net/alpha"), Ok(0));
    port.cut.set(true);
    world.pass(LONG);
    assert_eq!(names_of(&world, &alpha), ["alpha", "beta"], "entries do not age");
    assert_eq!(stat("/net/beta"), Err(Errno::EHOSTDOWN));
    assert_eq!(names_of(&world, &alpha), ["alpha"]);
    assert_eq!(stat("/net/beta"), Err(Errno::ENOENT), "nobody has the name any more");
    port.cut.set(false);
    assert_eq!(stat("/net/beta"), Ok(1), "the same number");
    // Now that there is a session, its end is noticed by itself.
    port.cut.set(true);
    world.pass(Duration::from_secs(17));
    assert_eq!(names_of(&world, &alpha), ["alpha"]);
    assert_eq!(stat("/net/nobody"), Err(Errno::ENOENT));
}

#[test]
fn rmdir_forgets() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(named("alpha"), &wire);
    let (beta, _) = world.mounted(named("beta"), &wire);
    world.pass(SOON);
    let remove = |path: &'static str| world.with(&alpha, |files| async move { files.rmdir(path).await });
    assert_eq!(remove("/net/alpha"), Err(Errno::EBUSY));
    assert_eq!(remove("/net/beta"), Ok(()));
    assert_eq!(remove("/net/beta"), Err(Errno::ENOENT));
    assert_eq!(names_of(&world, &alpha), ["alpha"]);
    assert_eq!(world.text(&alpha, "/net/beta/etc/TIMEZONE"), "UTC0\n");
    assert_eq!(names_of(&world, &alpha), ["alpha", "beta"], "as it is used again");
    assert!(beta.is_mounted());
}

/// The numbers that others have for a third node (section 10).
#[test]
fn numbers_of_others() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(named("alpha"), &wire);
    let (_beta, _) = world.mounted(named("beta"), &wire);
    let (gamma, _) = world.mounted(named("gamma"), &wire);
    world.pass(LONG);
    let directory = |node: &keelson_qnet::node::Node| node.directory().unwrap();
    let (here, there) = (directory(&alpha), directory(&gamma));
    let seen = world.run(async move {
        let (beta, gamma) = (here.resolve("beta").await.unwrap(), here.resolve("gamma").await.unwrap());
        let of_beta = there.resolve("beta").await.unwrap();
        assert_eq!(here.remote_nd(gamma, beta).await, Ok(of_beta));
        let own = here.remote_nd(gamma, keelson_qnet_wire::Nd::LOCAL).await;
        assert_eq!(own, there.resolve("alpha").await);
        assert_eq!(here.name_of(beta).unwrap().host, "beta");
        let exclusive = here.resolve("beta~exclusive:en0").await.unwrap();
        assert_eq!(here.name_of(exclusive).unwrap().qos, "~exclusive:en0");
        here.flush();
        (exclusive.node() == beta.node(), exclusive.qos_idx())
    });
    assert_eq!(seen, (true, 1));
}
