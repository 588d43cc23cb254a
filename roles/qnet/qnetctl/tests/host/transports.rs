//! Two processes over each transport.

use crate::support::{Directory, Host, Running, check_capture, pattern};
use keelson_qemu::Namespace;

fn host<'a>(directory: &'a Directory, name: &'a str, transport: [&str; 2]) -> Host<'a> {
    Host { directory, name, transport: transport.map(str::to_string).to_vec(), namespace: None }
}

/// Reads a large file from a node that serves one, and has both captures read.
fn check_copy(directory: &Directory, alpha: &Host<'_>, beta: &Host<'_>) -> Running {
    let server = alpha.serve(&directory.tree());
    assert!(beta.run(&["cat", "/net/alpha/big"]).stdout == pattern(1_500_000));
    assert!(check_capture(&beta.capture()) > 1000);
    assert!(check_capture(&alpha.capture()) > 1000);
    server
}

#[test]
fn qemu_stream() {
    let directory = Directory::new();
    let path = directory.word("stream.sock");
    let alpha = host(&directory, "alpha", ["--qemu-stream", &format!("listen:{path}")]);
    let beta = host(&directory, "beta", ["--qemu-stream", &path]);
    let _server = alpha.serve(&directory.tree());
    for _ in 0..2 {
        // The second comes when the first has gone.
        assert!(beta.run(&["cat", "/net/alpha/big"]).stdout == pattern(1_500_000));
        assert!(check_capture(&beta.capture()) > 1000);
    }
}

#[test]
fn qemu_datagrams_over_udp() {
    let directory = Directory::new();
    // Ports that are free now.
    let free = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (one, other) = (free(), free());
    let [a, b] = [&one, &other].map(|socket| socket.local_addr().unwrap());
    drop((one, other));
    let alpha = host(&directory, "alpha", ["--qemu-dgram", &format!("{a},{b}")]);
    let beta = host(&directory, "beta", ["--qemu-dgram", &format!("{b},{a}")]);
    check_copy(&directory, &alpha, &beta);
}

#[test]
fn packet_sockets_on_a_virtual_cable() {
    let directory = Directory::new();
    let namespace = Namespace::new().unwrap();
    namespace.ip(&["link", "add", "va", "type", "veth", "peer", "name", "vb"]).unwrap();
    for end in ["va", "vb"] {
        namespace.ip(&["link", "set", end, "up"]).unwrap();
    }
    let of = |name, interface: &str| Host {
        directory: &directory,
        name,
        transport: vec!["--if".into(), interface.into()],
        namespace: Some(&namespace),
    };
    let (alpha, beta, watcher) = (of("alpha", "va"), of("beta", "vb"), of("watcher", "va"));
    let server = alpha.serve(&directory.tree());
    let mut sniffing = watcher.start(&["sniff", "--for", "3"]);
    // The watcher hears both ends; it has begun when the first frame of any kind is there.
    let first = {
        let mut tries = 0;
        while std::fs::metadata(watcher.capture()).map_or(0, |file| file.len()) < 24 && tries < 200 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            tries += 1;
        }
        assert!(beta.run(&["cat", "/net/alpha/etc/TIMEZONE"]).stdout == b"UTC0\n");
        sniffing.line()
    };
    assert!(first.contains("LR announcement: beta"), "{first}");
    let seen = sniffing.rest();
    assert!(seen.contains("node alpha at ") && seen.contains("node beta at "), "{seen}");
    assert!(seen.contains("MSGREPLY status 5 "), "{seen}");
    assert!(beta.run(&["cat", "/net/alpha/big"]).stdout == pattern(1_500_000));
    assert!(check_capture(&beta.capture()) > 1000);
    let (status, text) = of("gamma", "nosuch").fails(&["ls", "/net"]);
    assert!(status == 1 && text.contains("\"nosuch\"") && text.contains("ip link"), "{text}");
    drop(server);
}

#[test]
fn ip_protocol_106() {
    let directory = Directory::new();
    let namespace = Namespace::new().unwrap();
    for address in ["10.9.0.1/32", "10.9.0.2/32"] {
        namespace.ip(&["address", "add", address, "dev", "lo"]).unwrap();
    }
    let of = |name, own: &str, other: &str| Host {
        directory: &directory,
        name,
        transport: ["--ip", own, "--host", other].map(str::to_string).to_vec(),
        namespace: Some(&namespace),
    };
    let (alpha, beta) = (of("alpha", "10.9.0.1", "beta=10.9.0.2"), of("beta", "10.9.0.2", "alpha=10.9.0.1"));
    let server = check_copy(&directory, &alpha, &beta);
    assert_eq!(beta.ok(&["ls", "--wait", "0.1", "/net"]), "beta\n", "names come with their use");
    assert_eq!(beta.ok(&["ls", "--names", "alpha", "/net"]), "beta\nalpha\n");
    let (status, text) = beta.fails(&["cat", "/net/no-such-host.invalid/x"]);
    assert!(status == 3, "{text}");
    drop(server);
}
