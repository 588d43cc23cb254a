//! Bad cables: around the node's own transport, and as a bridge between two others.

use crate::support::{Directory, Host, check_capture, datagrams, pattern};
use std::time::Duration;

/// With an address that stays: where farewells are lost, the next run is taken for the same node, started anew.
fn stays(host: Host<'_>) -> Host<'_> {
    let mut transport = host.transport.clone();
    transport.extend(["--mac".to_string(), "02:00:00:00:00:0b".into()]);
    Host { transport, ..host }
}

#[test]
fn a_file_survives_a_bad_cable() {
    let directory = Directory::new();
    let [alpha, beta] = datagrams(&directory, ["alpha", "beta"]);
    let beta = stays(beta);
    let _server = alpha.serve(&directory.tree());
    let faults = ["--loss", "5%", "--dup", "5%", "--reorder", "2%", "--delay", "0.2", "--seed", "7", "--crc"];
    let words = [&faults[..], &["cat", "/net/alpha/big"]].concat();
    assert!(beta.run(&words).stdout == pattern(1_500_000));
    assert!(check_capture(&beta.capture()) > 1000);
    let stats = beta.ok(&["--json", "stats", "alpha"]);
    let retransmits = stats.lines().find(|line| line.contains("\"l4 retransmits\"")).unwrap();
    assert!(!retransmits.ends_with("\"value\":0}"), "{retransmits}");
}

#[test]
fn damaged_frames_are_noticed_by_their_crc() {
    let directory = Directory::new();
    let [alpha, beta] = datagrams(&directory, ["alpha", "beta"]);
    let beta = stays(beta);
    let mut crc = alpha.transport.clone();
    crc.push("--crc".into());
    let alpha = Host { transport: crc, ..alpha };
    let _server = alpha.serve(&directory.tree());
    // A seed with which the first frames, of which there are few copies, pass. Several hundred frames go each way.
    let big = "/net/alpha/big";
    let words = ["--crc", "--corrupt", "3%", "--seed", "24", "--timeout", "60", "cat", big, big, big, big];
    let output = beta.run(&words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout == pattern(1_500_000).repeat(4), "{errors}");
    let stats = beta.ok(&["--json", "stats", "alpha"]);
    let bad = stats.lines().find(|line| line.contains("\"rxd bad crc\"")).unwrap();
    assert!(!bad.ends_with("\"value\":0}"), "{bad}");
}

#[test]
fn a_bridge_carries_frames_with_its_faults() {
    let directory = Directory::new();
    let word = |name: &str| directory.word(name);
    let pair = |one: &str, other: &str| format!("{},{}", word(one), word(other));
    let of = |name, ends: String| Host {
        directory: &directory,
        name,
        transport: vec!["--qemu-dgram".into(), ends],
        namespace: None,
    };
    let (alpha, beta) = (of("alpha", pair("a", "a-bridge")), of("beta", pair("b", "b-bridge")));
    let mut bridge = of("bridge", pair("a-bridge", "a"));
    bridge.transport.extend(["--qemu-dgram".to_string(), pair("b-bridge", "b")]);
    let mut running = bridge.start(&["--loss", "2%", "--seed", "3", "--json", "impair", "--for", "6"]);
    let _server = alpha.serve(&directory.tree());
    std::thread::sleep(Duration::from_millis(200));
    assert!(beta.run(&["--timeout", "5", "cat", "/net/alpha/big"]).stdout == pattern(1_500_000));
    let report = running.rest();
    assert_eq!(report.lines().count(), 2, "{report}");
    let frames = |line: &str| {
        let number = line.split("\"frames\":").nth(1).unwrap().split(',').next().unwrap();
        number.parse::<u64>().unwrap()
    };
    assert!(report.lines().all(|line| frames(line) > 100), "{report}");
    assert!(check_capture(&bridge.capture()) > 1000);
}
