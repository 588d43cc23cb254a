//! Host nodes in the process of a test, as system tests use them: here they offer what `serve` does not, a tree that can be
//! written.

use crate::support::{Directory, check_capture, datagrams, pattern};
use keelson_qnet::io::{Order, VolumeFiles};
use keelson_qnet::node::NodeConfig;
use keelson_qnet_wire::Errno;
use keelson_qnetctl::host_node::{HostNode, NodeThread};
use keelson_qnetctl::transport::{Datagrams, Ends};
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use std::path::PathBuf;
use std::rc::Rc;

/// A node with a volume in memory.
fn node(name: &'static str, ours: PathBuf, theirs: PathBuf) -> NodeThread {
    let start = move || {
        let host = HostNode::new(NodeConfig { host: name.into(), ..NodeConfig::default() })?;
        let volume = MemoryVolume::new(host.handle().clock(), MemoryOptions::default());
        let files = Rc::new(VolumeFiles::new(Rc::new(volume)));
        host.node().namespace().mount("/", files, Order::After)?;
        host.processes()?;
        let ends = Ends::Unix(ours, theirs);
        let link = Datagrams::open(host.reactor(), &ends, host.random_mac())?;
        host.add_transport(Rc::new(link))?;
        host.mount()?;
        Ok(host)
    };
    NodeThread::start(start).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_tree_that_can_be_written() {
    let directory = Directory::new();
    let [alpha, beta] = datagrams(&directory, ["alpha", "beta"]);
    let _node = node("alpha", directory.path("alpha.sock"), directory.path("beta.sock"));
    beta.ok(&["mkdir", "/net/alpha/tmp", "/net/alpha/tmp/d"]);
    let source = directory.path("source");
    std::fs::write(&source, pattern(700_000)).unwrap();
    let source = source.display().to_string();
    beta.ok(&["cp", &source, "/net/alpha/tmp/file"]);
    assert!(check_capture(&beta.capture()) > 400);
    beta.ok(&["cp", &source, "/net/alpha/tmp/d"]);
    beta.ok(&["cp", "/net/alpha/tmp/file", "/net/alpha/tmp/again"]);
    assert!(beta.run(&["cat", "/net/alpha/tmp/again"]).stdout == pattern(700_000));
    assert_eq!(beta.ok(&["ls", "/net/alpha/tmp"]), "again\nd\nfile\n");
    let lines = beta.ok(&["bench", "--count", "10", "--file", "/net/alpha/tmp/bench", "alpha"]);
    assert_eq!(lines.lines().count(), 7, "{lines}");
    beta.ok(&["rm", "/net/alpha/tmp/file", "/net/alpha/tmp/d/source"]);
    beta.ok(&["rmdir", "/net/alpha/tmp/d"]);
    assert_eq!(beta.ok(&["ls", "/net/alpha/tmp"]), "again\nbench\n");
    drop(alpha);
}

#[test]
fn nodes_in_threads() {
    let directory = Directory::new();
    let (a, b) = (directory.path("a"), directory.path("b"));
    let alpha = node("alpha", a.clone(), b.clone());
    let beta = node("beta", b, a);
    alpha.run(async |host| {
        let file = host.files().create("/etc-motd", 0o644).await.unwrap();
        file.write_all(b"welcome").await.unwrap();
        file.close().await.unwrap();
    });
    let read = beta.run(async |host| host.files().read_to_end("/net/alpha/etc-motd", 100).await);
    assert_eq!(read, Ok(b"welcome".to_vec()));
    let listed = alpha.run(async |host| {
        let mut names: Vec<String> =
            host.files().read_dir("/net").await.unwrap().into_iter().map(|item| item.name).collect();
        names.sort();
        names
    });
    assert_eq!(listed, ["alpha", "beta"]);
    // A node that ends takes leave: others know at once.
    drop(alpha);
    let after = beta.run(async |host| host.files().stat("/net/alpha/etc-motd").await.err());
    assert!(matches!(after, Some(Errno::ENOENT | Errno::EHOSTDOWN)), "{after:?}");
}
