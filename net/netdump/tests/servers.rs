//! The servers that sites have, as Debian packages them, on the loopback interface:
//! `cargo test -p keelson-netdump --test servers -- --ignored`, with tftpd-hpa and atftpd installed.

mod model;

use keelson_hal::{
    Clock, Instant, Link, LinkSpeed, MacAddress, NetCounters, NetDevice, NetFeatures, RxMeta, TransmitError,
    TxOffload,
};
use keelson_netdump::{PutError, Sent, Target};
use model::{CLIENT, CLIENT_MAC, Pattern, SERVER, SERVER_MAC, arp, ip_udp, target, udp};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// A server of its own, and where it stores files.
struct Daemon {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Daemon {
    fn start(name: &str, command: impl FnOnce(&str, &Path) -> Command) -> Daemon {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let child = command(&port.to_string(), &folder).spawn().expect("the server is not installed");
        Daemon { child, folder, port }
    }

    fn hpa() -> Daemon {
        Daemon::start("tftpd-hpa", |port, folder| {
            let mut command = Command::new("in.tftpd");
            command
                .args(["-L", "-c", "-p", "-u", "root", "-a", &format!("127.0.0.1:{port}"), "-s"])
                .arg(folder);
            command
        })
    }

    fn atftpd() -> Daemon {
        Daemon::start("atftpd", |port, folder| {
            let mut command = Command::new("atftpd");
            command.args([
                "--daemon",
                "--no-fork",
                "--user",
                "root",
                "--group",
                "root",
                "--bind-address",
                "127.0.0.1",
            ]);
            command.args(["--port", port]).arg(folder);
            command
        })
    }

    fn put(&self, target: &Target, size: u64) -> Result<Sent, PutError> {
        let mut nic = Relay { port: self.port, sockets: BTreeMap::new(), queued: vec![], arrived: vec![] };
        let sent = keelson_netdump::put(&mut nic, &RealTime, target, &mut Pattern(size), &mut |_| ())?;
        // tftpd-hpa has closed the file by then; atftpd closes it after its last acknowledgement.
        let stored =
            |_: &u32| std::fs::read(self.folder.join(target.file.as_str())).unwrap() == Pattern(size).all();
        let wait = |_: &u32| std::thread::sleep(Duration::from_millis(50));
        assert!((0..40).inspect(wait).any(|turn| stored(&turn)), "{size} bytes were not stored");
        Ok(sent)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct RealTime;

impl Clock for RealTime {
    fn now(&self) -> Instant {
        static START: std::sync::LazyLock<std::time::Instant> =
            std::sync::LazyLock::new(std::time::Instant::now);
        Instant::from_nanos(START.elapsed().as_nanos() as u64)
    }

    fn wall(&self) -> Duration {
        Duration::ZERO
    }
}

/// A device behind which the server is: datagrams go through sockets, one for each port of the client.
struct Relay {
    port: u16,
    sockets: BTreeMap<u16, UdpSocket>,
    queued: Vec<Vec<u8>>,
    arrived: Vec<Vec<u8>>,
}

impl NetDevice for Relay {
    fn driver(&self) -> &'static str {
        "relay"
    }

    fn mac(&self) -> MacAddress {
        MacAddress(CLIENT_MAC)
    }

    fn features(&self) -> NetFeatures {
        NetFeatures::empty()
    }

    fn max_mtu(&self) -> usize {
        9000
    }

    fn max_tso_frame(&self) -> usize {
        0
    }

    fn link(&mut self) -> Link {
        Link::Up(LinkSpeed(0))
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8], RxMeta)) -> usize {
        let mut buffer = [0; 2048];
        for (client, socket) in &self.sockets {
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let port = if from.port() == self.port { 69 } else { from.port() };
                let macs = (SERVER_MAC, CLIENT_MAC);
                self.arrived.push(ip_udp(macs, (SERVER, port), (CLIENT, *client), &buffer[..len]));
            }
        }
        let count = budget.min(self.arrived.len());
        self.arrived.drain(..count).for_each(|frame| sink(&frame, RxMeta::default()));
        count
    }

    fn transmit_room(&mut self) -> usize {
        64 - self.queued.len()
    }

    fn transmit(
        &mut self,
        len: usize,
        _offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError> {
        let mut frame = vec![0; len];
        fill(&mut frame);
        self.queued.push(frame);
        Ok(())
    }

    fn flush(&mut self) {
        for frame in self.queued.drain(..) {
            if let Some(datagram) = udp(&frame) {
                let socket = self.sockets.entry(datagram.source.1).or_insert_with(|| {
                    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                    socket.set_nonblocking(true).unwrap();
                    socket
                });
                let port = if datagram.target.1 == 69 { self.port } else { datagram.target.1 };
                // A port that is not open any more is the loss of a datagram.
                let _ = socket.send_to(&datagram.payload, (Ipv4Addr::LOCALHOST, port));
            } else {
                self.arrived.push(arp(2, (SERVER_MAC, SERVER), CLIENT_MAC, (CLIENT_MAC, CLIENT)));
            }
        }
    }

    fn arm(&mut self) -> bool {
        false
    }

    fn disarm(&mut self) {}

    fn set_multicast(&mut self, _groups: &[MacAddress]) {}

    fn counters(&self) -> NetCounters {
        NetCounters::default()
    }
}

/// Files of all kinds of lengths, and one whose numbers turn twice.
fn stores_files(daemon: &Daemon, window: u16) {
    let started = std::time::Instant::now();
    for size in [0, 1, 1467, 1468, 1469, 1_000_000] {
        let sent = daemon.put(&target(), size).unwrap_or_else(|error| panic!("{size} bytes: {error}"));
        assert_eq!((sent.block_size, sent.window), (1468, window));
    }
    let small = Target { mtu: 576, file: "small".try_into().unwrap(), ..target() };
    let size = 544 * 140_000 + 7;
    let sent = daemon.put(&small, size).unwrap();
    assert_eq!((sent.block_size, sent.window), (544, window));
    let jumbo = Target { mtu: 9000, file: "jumbo".try_into().unwrap(), ..target() };
    let sent = daemon.put(&jumbo, 30_000_000).unwrap();
    assert_eq!((sent.block_size, sent.window), (8968, window.min(7)));
    println!("{:?} for {} MB, {sent:?}", started.elapsed(), (size + 31_000_000) / 1_000_000);
    let nowhere = Target { file: "no/such/folder".try_into().unwrap(), ..target() };
    let error = daemon.put(&nowhere, 1).unwrap_err();
    println!("{error}");
    assert!(matches!(error, PutError::Refused { acknowledged: 0, .. }), "{error}");
}

#[test]
#[ignore = "needs tftpd-hpa, and root"]
fn tftpd_hpa_stores_files() {
    stores_files(&Daemon::hpa(), 1);
}

#[test]
#[ignore = "needs atftpd, and root"]
fn atftpd_stores_files() {
    stores_files(&Daemon::atftpd(), 16);
}
