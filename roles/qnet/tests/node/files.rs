//! Two nodes: `/net` fills, files are used across it, statistics tell.

use crate::world::{World, named};
use keelson_qnet::client::OpenFlags;
use std::time::Duration;

#[test]
fn nodes_find_each_other() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(named("alpha"), &wire);
    assert_eq!(world.names(&alpha, "/net"), ["alpha"]);
    world.pass(Duration::from_millis(10));
    let (beta, _) = world.mounted(named("beta"), &wire);
    world.pass(Duration::from_millis(10));
    assert_eq!(world.names(&alpha, "/net"), ["alpha", "beta"], "beta has announced itself");
    assert_eq!(world.names(&beta, "/net"), ["beta"], "alpha did before there was a beta");
    world.pass(Duration::from_secs(34));
    assert_eq!(world.names(&beta, "/net"), ["beta", "alpha"], "the periodic announcement");
}

#[test]
fn files_of_another_node() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(named("alpha"), &wire);
    let (beta, _) = world.mounted(named("beta"), &wire);
    // Nobody has to wait until names have gone around.
    assert_eq!(world.text(&beta, "/net/alpha/etc/TIMEZONE"), "UTC0\n");
    let data: Vec<u8> = (0..100_000).map(|n: u32| (n % 251) as u8).collect();
    let sent = data.clone();
    world.with(&alpha, |files| async move {
        let file = files.create("/net/beta/big", 0o644).await.unwrap();
        file.write_all(&sent).await.unwrap();
        file.close().await.unwrap();
        let file = files.open("/net/beta/big", OpenFlags::READ).await.unwrap();
        assert_eq!(file.stat().await.unwrap().size, 100_000);
    });
    let read = world.with(&beta, |files| async move { files.read_to_end("/big", 1 << 20).await.unwrap() });
    assert_eq!(read, data);
    assert_eq!(world.names(&alpha, "/net"), ["alpha", "beta"]);
}

#[test]
fn statistics() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, _) = world.mounted(named("alpha"), &wire);
    let (beta, _) = world.mounted(named("beta"), &wire);
    world.text(&alpha, "/net/beta/etc/TIMEZONE");
    let stats = world.text(&alpha, "/net/beta/proc/qnetstats");
    let banner = "**** Qnet compiled on Nov 27 2026 at 14:25:36 running on beta\n";
    assert!(stats.starts_with(banner), "{stats}");
    assert!(stats.contains("kif net_server                :         "), "{stats}");
    let filtered: Vec<&str> = stats
        .lines()
        .filter(|line| line.contains("ok") || line.contains("bad"))
        .map(|line| line.get(..10).unwrap())
        .collect();
    let seed = ["txd ok    ", "txd bad   ", "rxd ok    ", "rxd bad dr", "rxd bad L4"];
    assert_eq!(filtered[..5], seed);
    assert!(filtered[5..].iter().all(|line| line.starts_with("rxd bad ")), "{filtered:?}");
    let lines: Vec<&str> = stats.lines().map(|line| line.split(':').next().unwrap()).collect();
    let counters = lines.iter().position(|line| line.starts_with("node ")).unwrap();
    let mut names = lines[..counters].to_vec();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "every name once");
    assert!(
        stats.contains("\nnode alpha\n") && stats.contains("  state                       :          up\n")
    );
    assert!(beta.is_mounted());
}
