//! A session as the user's manual of Qnet describes it, at the console of one of three nodes.

use keelson_qemu::Machine;
use keelson_tests::qnet::{Peer, Site, console, console_until, counter};
use keelson_tests::world::{SOON, assert_sound};

/// Announcements each second instead of each half minute.
const OFTEN: &str = "qnet.options=auto_add=5";

fn one(machine: &Machine, line: &str) -> String {
    let printed = console(machine, line);
    assert_eq!(printed.len(), 1, "\"{line}\" printed {printed:#?}");
    printed[0].clone()
}

/// The names in what `ls` prints, in columns or not.
fn names(printed: &[String]) -> Vec<String> {
    let mut names: Vec<String> =
        printed.iter().flat_map(|line| line.split_whitespace()).map(String::from).collect();
    names.sort();
    names
}

#[test]
fn the_session_of_the_manual() {
    let site = Site::new("qnet-session");
    let karl = site.node("karl", &format!("hostname=karl {OFTEN}"));
    let alonzo = site.node_with_disk("alonzo", &format!("hostname=alonzo {OFTEN}"));
    // Without a host name: called after its adapter.
    let third = site.node("third", OFTEN);
    let unnamed = one(&third, "ls /net").trim().to_string();
    let unnamed = unnamed.split_whitespace().next().unwrap().to_string();
    assert!(unnamed.starts_with("EA") && unnamed.len() <= 8, "{unnamed}");

    // It fills by itself.
    let mut everybody = vec!["karl".to_string(), "alonzo".into(), unnamed.clone()];
    everybody.sort();
    console_until(&karl, "ls /net", |printed| names(printed) == everybody);

    // Files of others are as files here.
    assert_eq!(one(&karl, "less /net/alonzo/etc/TIMEZONE"), "UTC0");
    console(&karl, "cp /net/alonzo/etc/TIMEZONE /net/alonzo/zone");
    assert_eq!(one(&karl, "cat /net/alonzo/zone"), "UTC0");
    assert_eq!(one(&alonzo, "cat /zone"), "UTC0");
    console(&karl, "mkdir /net/alonzo/dir");
    console(&karl, "mv /net/alonzo/zone /net/alonzo/dir/other");
    assert_eq!(console(&karl, "ls /net/alonzo/dir"), ["other"]);
    console(&karl, "rm /net/alonzo/dir/other");
    assert_eq!(console(&karl, "ls /net/alonzo/dir"), [""; 0]);

    // The machines of the network.
    let machines = console(&karl, "pidin net");
    for name in &everybody {
        assert!(machines.iter().any(|line| line.contains(name)), "no {name} in {machines:#?}");
    }
    // Processes there.
    let processes = console(&karl, "pidin -n alonzo");
    assert!(processes[0].contains("pid") && processes[0].contains("name"), "{processes:#?}");
    assert!(processes.iter().any(|line| line.contains("procnto")), "{processes:#?}");
    // A program there, with its output here.
    let date = one(&karl, "on -f alonzo date");
    assert!(date.contains("UTC") && date.split_whitespace().count() == 6, "{date}");
    assert_eq!(one(&karl, "on -f alonzo hostname"), "alonzo");
    assert_eq!(one(&karl, "hostname"), "karl");

    // Is it there, and how is it?
    let compiled = one(&karl, "cat /proc/qnetstats | grep compiled");
    assert!(
        compiled.starts_with("**** Qnet compiled on ") && compiled.ends_with("running on karl"),
        "{compiled}"
    );
    let third_banner = one(&third, "cat /proc/qnetstats | grep compiled");
    assert!(third_banner.ends_with(&format!("running on {unnamed}")), "{third_banner}");
    let health = console(&karl, "cat /proc/qnetstats | grep -e ok -e bad");
    let labels: Vec<&str> =
        health.iter().map(|line| line[..line.len().min(30)].trim().trim_end_matches(':').trim()).collect();
    assert_eq!(&labels[..5], ["txd ok", "txd bad", "rxd ok", "rxd bad dr", "rxd bad L4"], "{health:#?}");
    assert!(labels[5..].iter().all(|label| label.starts_with("rxd bad")), "{health:#?}");
    assert!(counter(&karl, "txd ok") > 50 && counter(&karl, "rxd ok") > 50);
    assert_eq!((counter(&karl, "txd bad"), counter(&karl, "rxd bad L4")), (0, 0));
    let loaded = console(&karl, "pidin -P io-pkt-v4-hc mem");
    assert!(loaded.iter().any(|line| line.contains("lsm-qnet.so")), "{loaded:#?}");

    // The card moves packets.
    let card = console(&karl, "nicinfo");
    for label in ["Physical Node ID", "Packets Transmitted OK", "Packets Received OK"] {
        assert!(card.iter().any(|line| line.trim_start().starts_with(label)), "no {label} in {card:#?}");
    }
    let sent = |card: &[String]| {
        let line = card.iter().find(|line| line.contains("Packets Transmitted OK")).unwrap();
        line.rsplit(['.', ' ']).next().unwrap().parse::<u64>().unwrap()
    };
    assert!(sent(&card) > 50, "{card:#?}");

    // A second alonzo: both say so.
    let again = Peer::start(&site.lan.port("again").unwrap(), "alonzo", "auto_add=5").unwrap();
    alonzo.expect("qnet: *alonzo*", SOON).unwrap();
    let deadline = std::time::Instant::now() + SOON;
    while counter(&alonzo, "lr dup_name") == 0 {
        assert!(std::time::Instant::now() < deadline, "nobody noticed the second alonzo");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    drop(again);

    // A node that dies stays listed until somebody looks.
    third.kill();
    assert!(names(&console(&karl, "ls /net")).contains(&unnamed));
    let listed =
        console_until(&karl, "ls -l /net", |printed| printed.iter().all(|line| !line.ends_with(&unnamed)));
    assert!(listed.iter().any(|line| line.contains("alonzo")), "{listed:#?}");
    assert!(!names(&console(&karl, "ls /net")).contains(&unnamed));
    let complaint = console(&karl, &format!("ls /net/{unnamed}"));
    assert!(complaint.iter().any(|line| line.contains("No such file or directory")), "{complaint:#?}");
    // Everything is forgotten, but for what cannot be, and found again.
    let refused = console(&karl, "rmdir /net/*");
    assert!(refused.iter().any(|line| line.contains("karl") && line.contains("busy")), "{refused:#?}");
    assert_eq!(one(&karl, "cat /net/alonzo/etc/TIMEZONE"), "UTC0");

    assert_sound(&karl);
    assert_sound(&alonzo);
    site.assert_well_formed();
}
