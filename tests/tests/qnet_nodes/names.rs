//! Names: R10, R13, R14, R15, R17.

use super::{OFTEN, listed, read, until};
use keelson_qemu::{Endpoint, Nic, NicModel};
use keelson_qnet_wire::Errno;
use keelson_tests::Appliance;
use keelson_tests::qnet::{Peer, Site, console, console_until, counter, started};
use keelson_tests::world::{SOON, assert_sound};
use std::time::Duration;

/// R10: two nodes with one name.
#[test]
fn two_nodes_with_one_name() {
    let site = Site::new("qnet-duplicate");
    let [first, second] =
        ["first", "second"].map(|name| site.node(name, &format!("hostname=twin qnet.options={OFTEN}")));
    let third = Peer::start(&site.lan.port("third").unwrap(), "third", OFTEN).unwrap();
    for twin in [&first, &second] {
        until("both notice", SOON, || counter(twin, "lr dup_name") > 0);
        twin.expect("is also called \"twin\"", SOON).unwrap();
    }
    // The third reaches one of them, always the same.
    let addresses: Vec<_> = (0..3)
        .map(|_| {
            third.run(async |user| {
                let text = read(&user, "/net/twin/proc/nicinfo/en0").await.unwrap();
                let text = String::from_utf8(text).unwrap();
                text.lines().find(|line| line.contains("Current Physical Node ID")).unwrap().to_string()
            })
        })
        .collect();
    assert!(addresses.windows(2).all(|pair| pair[0] == pair[1]), "{addresses:?}");
    // One gets another name: both are there.
    console(&second, "hostname other");
    until("both are listed", SOON, || {
        let names = listed(&third);
        names.contains(&"twin".into()) && names.contains(&"other".into())
    });
    site.assert_well_formed();
}

/// R13: `auto_add=0` says nothing and listens to nobody, but can be talked to.
#[test]
fn a_silent_node() {
    let site = Site::new("qnet-silent");
    let silent = site.node("silent", "hostname=silent qnet.options=auto_add=0");
    let loud = site.node("loud", &format!("hostname=loud qnet.options={OFTEN}"));
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(console(&silent, "ls /net"), ["silent"]);
    assert_eq!(console(&loud, "ls /net"), ["loud"]);
    assert_eq!(console(&loud, "cat /net/silent/etc/TIMEZONE"), ["UTC0"]);
    assert_eq!(console(&silent, "cat /net/loud/etc/TIMEZONE"), ["UTC0"]);
    assert_sound(&silent);
}

/// R15: other domains are named with theirs.
#[test]
fn domains() {
    let site = Site::new("qnet-domains");
    let here = site.node("here", &format!("hostname=here domain=lab.test qnet.options={OFTEN}"));
    let there = site.node("there", &format!("hostname=there.other.test qnet.options={OFTEN}"));
    console_until(&here, "ls /net", |names| names.concat().contains("there.other.test"));
    console_until(&there, "ls /net", |names| names.concat().contains("here.lab.test"));
    assert_eq!(console(&here, "cat /net/there.other.test/etc/TIMEZONE"), ["UTC0"]);
    let short = console(&here, "cat /net/there/etc/TIMEZONE").concat();
    assert!(short.contains("No such file or directory"), "{short}");
    // One's own domain may be added.
    assert_eq!(console(&here, "cat /net/here.lab.test/etc/TIMEZONE"), ["UTC0"]);
}

/// R17: over IP, where names come from DNS, and only when they are used.
#[test]
fn over_ip() {
    let site = Site::new("qnet-ip");
    let dns = site.bench.endpoint(&site.lan, "dns", &["10.0.0.53/24"]).unwrap();
    let _server = Dns::serve(&dns);
    let nodes = [("host1", "10.0.0.1"), ("host2", "10.0.0.2")].map(|(name, address)| {
        let line = format!(
            "ip={address}/24:eth0 nameserver=10.0.0.53 hostname={name} domain=lab.test qnet.options=bind=ip,resolve=dns"
        );
        let spec = Appliance::qnet(&site.bench, name, &line)
            .nic(Nic::on(&site.lan.port(name).unwrap(), NicModel::Virtio));
        started(spec)
    });
    assert_eq!(console(&nodes[1], "ls /net"), ["host2"]);
    assert_eq!(console(&nodes[1], "cat /net/host1/etc/TIMEZONE"), ["UTC0"]);
    let listed = console(&nodes[1], "ls /net").concat();
    assert!(listed.contains("host1") && listed.contains("host2"), "{listed}");
    assert_eq!(console(&nodes[1], "on -f host1 hostname"), ["host1"]);
    let absent = console(&nodes[1], "ls /net/nobody").concat();
    assert!(absent.contains("No such file or directory"), "{absent}");
    nodes.iter().for_each(assert_sound);
    site.assert_well_formed();
}

/// A name server that knows the two hosts.
struct Dns;

impl Dns {
    fn serve(host: &Endpoint) -> std::thread::JoinHandle<()> {
        let socket = host.udp(53).unwrap();
        std::thread::spawn(move || {
            while let Ok((query, from)) = socket.receive(SOON) {
                if let Some(answer) = answer(&query) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        })
    }
}

/// The answer to a question for an address (RFC 1035 section 4).
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let (mut at, mut name) = (12, String::new());
    while *query.get(at)? != 0 {
        let len = usize::from(query[at]);
        name += std::str::from_utf8(query.get(at + 1..at + 1 + len)?).ok()?;
        name.push('.');
        at += 1 + len;
    }
    let question = query.get(12..at + 5)?;
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let address = match name.as_str() {
        "host1.lab.test." | "host1." => Some([10, 0, 0, 1]),
        "host2.lab.test." | "host2." => Some([10, 0, 0, 2]),
        _ => None,
    };
    let (code, count) = match address {
        Some(_) if kind == 1 => (0, 1),
        Some(_) => (0, 0),
        None => (3, 0),
    };
    let mut reply = query[..2].to_vec();
    reply.extend([0x85, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    reply.extend(question);
    if let (Some(address), 1) = (address, count) {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address);
    }
    Some(reply)
}

#[test]
fn nobody_has_such_a_name() {
    let site = Site::new("qnet-nobody");
    let peer = Peer::start(&site.lan.port("alone").unwrap(), "alone", OFTEN).unwrap();
    assert_eq!(peer.run(async |user| read(&user, "/net/nobody/x").await), Err(Errno::ENOENT));
}
