//! Checksum and segmentation offload and merged receive buffers of virtio-net, and jumbo frames of it and of igb, against Linux's
//! own TCP.
//!
//! Only a tap offers them. It needs root and `/dev/net/tun`; without, these tests fail and say so.

use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use keelson_qemu::{Bench, Cache, Drive, Exit, Ext4Image, Ext4Spec, Machine, Namespace, Nic, NicModel, Rng};
use keelson_tests::Appliance;
use keelson_tests::frame::checksum;
use keelson_tests::nfs3::{Handle, How, MOUNT_PORT, NFS_PORT, Nfs, Set, Stable, mount};
use keelson_tests::rpc::RpcClient;
use keelson_tests::world::{NicCounters, SOON, at};

const MIB: u64 = 1 << 20;
/// Addresses of the appliance.
const V4: &str = "10.0.0.1";
const V6: &str = "fd00::1";

/// An appliance and the host's stack at the two ends of a tap.
struct Wired {
    machine: Machine,
    disk: Ext4Image,
    namespace: Namespace,
    /// The first bytes of every frame, as the appliance gave it to QEMU.
    pcap: PathBuf,
    _bench: Bench,
}

impl Wired {
    fn new(name: &str, mtu: u32, append: &str) -> Wired {
        let wired = Wired::by(NicModel::Virtio, &format!("host_mtu={mtu}"), name, mtu, append);
        let offloads = "eth0: virtio_net at *, offloads tx_checksum tso4 tso6 rx_checksum lro";
        assert!(wired.machine.console().contains(offloads));
        wired
    }

    fn by(model: NicModel, options: &str, name: &str, mtu: u32, append: &str) -> Wired {
        let bench = Bench::new(name);
        let namespace = Namespace::new().unwrap();
        let tap = namespace.tap(&["10.0.0.9/24", "fd00::9/64"]).unwrap();
        namespace.ip(&["link", "set", tap.name(), "mtu", &mtu.to_string()]).unwrap();
        let disk = bench.ext4("data", &Ext4Spec::new(64 << 20)).unwrap();
        let line = format!(
            "ip={V4}/24:eth0 ip=[{V6}]/64:eth0 nfs.exports=\"/ *(rw,insecure,no_root_squash)\" {append}"
        );
        let pcap = bench.dir().join("nfs.pcap");
        let dump = format!("filter-dump,id=dump,netdev=net0,maxlen=128,file={}", pcap.display());
        let machine = Appliance::nfs(&bench, "nfs", &line)
            .nic(Nic::tap(&tap, model).options(options))
            .drive(Drive::file(disk.path()).cache(Cache::Unsafe))
            .args(["-object", &dump])
            .start()
            .unwrap();
        machine.expect("serving NFS", SOON).unwrap();
        Wired { machine, disk, namespace, pcap, _bench: bench }
    }

    /// A client over TCP, and the root's handle.
    fn tcp(&self, server: &str) -> (Nfs, Handle) {
        let connect = |port| {
            let stream = self.namespace.run(|| TcpStream::connect_timeout(&at(server, port), SOON));
            let stream = stream.unwrap().unwrap();
            stream.set_nodelay(true).unwrap();
            RpcClient::over_host(stream)
        };
        let root = mount(&mut connect(MOUNT_PORT), "/").unwrap().unwrap();
        (Nfs::new(connect(NFS_PORT)), root)
    }

    fn udp(&self, server: &str) -> Nfs {
        let socket = self.namespace.run(|| {
            let any = if server.contains(':') { "::" } else { "0.0.0.0" };
            let socket = UdpSocket::bind(at(any, 0)).unwrap();
            socket.connect(at(server, NFS_PORT)).unwrap();
            socket
        });
        Nfs::new(RpcClient::over_host_datagrams(socket.unwrap()))
    }

    /// A counter of the host's stack, such as `Tcp` `InErrs`.
    fn host(&self, protocol: &str, counter: &str) -> u64 {
        let text = self.namespace.run(|| fs::read_to_string("/proc/thread-self/net/snmp").unwrap()).unwrap();
        let mut lines = text.lines().filter(|line| line.starts_with(&format!("{protocol}:")));
        let names = lines.next().unwrap().split_whitespace();
        let values = lines.next().unwrap().split_whitespace();
        let found = names.zip(values).find(|(name, _)| *name == counter);
        found.unwrap_or_else(|| panic!("{protocol} {counter} in {text}")).1.parse().unwrap()
    }

    /// Carries out `work`; what the appliance's NIC counted, and what it cost.
    fn counted(&self, what: &str, bytes: u64, work: impl FnOnce()) -> NicCounters {
        let (before, cpu, start) =
            (NicCounters::of(&self.machine), self.machine.usage().unwrap().cpu, Instant::now());
        work();
        let elapsed = start.elapsed();
        let cpu = self.machine.usage().unwrap().cpu - cpu;
        let counters = NicCounters::of(&self.machine).since(before);
        let per_mib = cpu.as_secs_f64() * 1e3 / (bytes as f64 / MIB as f64);
        eprintln!("{what}: {elapsed:.1?}, {per_mib:.1} ms CPU per MiB, {counters:?}");
        counters
    }

    fn finish(self) {
        let pcap = self.pcap.clone();
        self.finish_with(|| check_sums(&fs::read(pcap).unwrap()));
    }

    /// Powers off, and looks at what cannot be looked at before.
    fn finish_with(self, look: impl FnOnce()) {
        for (protocol, counter) in [("Tcp", "InErrs"), ("Tcp", "InCsumErrors"), ("Udp", "InCsumErrors")] {
            assert_eq!(self.host(protocol, counter), 0, "{protocol} {counter}");
        }
        assert_eq!(NicCounters::of(&self.machine).lost, 0);
        self.machine.console().send_line("poweroff").unwrap();
        assert_eq!(self.machine.wait(SOON).unwrap(), Exit::PowerOff);
        self.disk.check().unwrap();
        look();
    }
}

/// A receiver on the same host never looks at a checksum that was left to the device. So look here: the field of
/// every TCP frame from the appliance must hold the sum of the pseudo-header, uncomplemented (virtio 1.2 section 5.1.6.2).
fn check_sums(capture: &[u8]) {
    /// QEMU 7.2 captures the virtio header too.
    const HEADER: usize = 12;
    let (mut at, mut frames) = (24, 0);
    while let Some(head) = capture.get(at..at + 16) {
        let kept = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        let length = u32::from_le_bytes(head[12..16].try_into().unwrap()) as usize - HEADER;
        let (header, frame) = capture[at + 16..at + 16 + kept].split_at(HEADER);
        at += 16 + kept;
        // Where the addresses are, and the TCP header.
        let (addresses, tcp) = match &frame[12..14] {
            [0x08, 0x00] if frame[23] == 6 && frame[26..30] == [10, 0, 0, 1] => (&frame[26..34], 34),
            [0x86, 0xdd] if frame[20] == 6 && frame[22..24] == [0xfd, 0] && frame[37] == 1 => {
                (&frame[22..54], 54)
            }
            _ => continue,
        };
        let pseudo = [&[0, 6][..], &((length - tcp) as u16).to_be_bytes()].concat();
        let field = u16::from_be_bytes([frame[tcp + 16], frame[tcp + 17]]);
        assert_eq!(
            (header[0], header[6], header[8]),
            (1, tcp as u8, 16),
            "checksum wanted, from where, to where"
        );
        assert_eq!(field, !checksum(&[addresses, &pseudo]), "frame of {length} bytes: {frame:02x?}");
        frames += 1;
    }
    assert!(frames > 100, "{frames} frames looked at");
}

fn pattern(seed: u64, len: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..len / 8).flat_map(|_| rng.next_u64().to_le_bytes()).collect()
}

fn file(nfs: &mut Nfs, root: &[u8], name: &str) -> Handle {
    nfs.create(root, name.as_bytes(), How::Unchecked(Set::mode(0o644))).unwrap().ok().handle
}

fn write(nfs: &mut Nfs, file: &[u8], data: &[u8], piece: usize) {
    for (i, part) in data.chunks(piece).enumerate() {
        let written = nfs.write(file, (i * piece) as u64, part, Stable::Unstable).unwrap().ok();
        assert_eq!(written.count as usize, part.len());
    }
}

fn read(nfs: &mut Nfs, file: &[u8], data: &[u8], piece: usize) {
    for (i, part) in data.chunks(piece).enumerate() {
        let read = nfs.read(file, (i * piece) as u64, part.len() as u32).unwrap().ok();
        assert!(read.data == part, "piece {i} of {piece} bytes came back changed");
    }
}

#[test]
fn large_frames_both_ways() {
    let wired = Wired::new("offload", 1500, "");
    let data = pattern(1, 32 * MIB);
    let bytes = data.len() as u64;
    let (mut nfs, root) = wired.tcp(V4);
    let object = file(&mut nfs, &root, "large");

    let wrote = wired.counted("write", bytes, || write(&mut nfs, &object, &data, MIB as usize));
    let got = wired.counted("read", bytes, || read(&mut nfs, &object, &data, MIB as usize));

    // Of 1448 bytes of payload each there would be 724 frames for a MiB.
    let frames = 724 * bytes / MIB;
    assert!(wrote.rx_packets < frames / 4, "{wrote:?}: frames arrive as small as the MTU");
    assert!(wrote.rx_bytes / wrote.rx_packets > 4 * 1500, "{wrote:?}");
    assert!(got.tx_packets < frames / 4, "{got:?}: frames are sent as small as the MTU");
    assert!(got.tso > 0 && got.tso * 65_536 >= bytes, "{got:?}");
    for (counters, what) in [(wrote, "writing"), (got, "reading")] {
        assert_eq!(counters.lost, 0, "{what}");
        // Less than one doorbell for each frame that would be sent without offloads.
        assert!(counters.doorbells < frames / 4, "{what}: {counters:?}");
    }
    assert!(wired.host("Tcp", "RetransSegs") < 10);

    // The same file through another client.
    let mut cat = wired.namespace.command("timeout");
    let url = format!("nfs://{V4}//large?version=3&nfsport={NFS_PORT}&mountport={MOUNT_PORT}");
    let output = cat.args(["60", "nfs-cat", &url]).output().unwrap();
    assert!(output.status.success(), "nfs-cat: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == data, "nfs-cat read something else");
    wired.finish();
}

#[test]
fn ipv6_and_datagrams() {
    let wired = Wired::new("offload-6", 1500, "");
    let data = pattern(2, 8 * MIB);
    let (mut nfs, root) = wired.tcp(V6);
    let object = file(&mut nfs, &root, "six");
    let wrote = wired.counted("write over IPv6", 8 * MIB, || write(&mut nfs, &object, &data, MIB as usize));
    assert!(wrote.rx_bytes / wrote.rx_packets > 4 * 1500, "{wrote:?}: merged over IPv6 too");
    wired.counted("read over IPv6", 8 * MIB, || read(&mut nfs, &object, &data, MIB as usize));

    // 23 fragments each way: their checksum is nobody's but the stack's.
    for server in [V4, V6] {
        let mut datagrams = wired.udp(server);
        let part = pattern(3, MIB);
        let object = file(&mut nfs, &root, "datagrams");
        let counters = wired.counted("datagrams", 2 * MIB, || {
            write(&mut datagrams, &object, &part, 32 << 10);
            read(&mut datagrams, &object, &part, 32 << 10);
            // Whole datagrams, too: of an odd and an even number of bytes.
            read(&mut datagrams, &object, &part[..1001], 143);
        });
        assert!(counters.tx_packets > MIB / 1480, "{counters:?}: datagrams leave in fragments");
    }
    wired.finish();
}

#[test]
fn other_mtus() {
    for (host, own) in [(1500, 1000), (9000, 9000)] {
        let wired = Wired::new(&format!("offload-mtu-{own}"), host, &format!("mtu={own}"));
        let data = pattern(4, 8 * MIB);
        for server in [V4, V6] {
            let (mut nfs, root) = wired.tcp(server);
            let object = file(&mut nfs, &root, "file");
            let what = format!("mtu {own} {server}");
            let counters = wired.counted(&what, 16 * MIB, || {
                write(&mut nfs, &object, &data, MIB as usize);
                read(&mut nfs, &object, &data, MIB as usize);
            });
            if server == V4 {
                assert!(counters.tso > 0, "{counters:?}");
            } else if own == 9000 {
                assert!(counters.tx_packets < 16 * MIB / 1440, "{counters:?}: jumbo frames are used");
            }
        }
        let mut datagrams = wired.udp(V4);
        let (_, root) = wired.tcp(V4);
        let object = file(&mut datagrams, &root, "datagrams");
        write(&mut datagrams, &object, &data[..256 << 10], 32 << 10);
        read(&mut datagrams, &object, &data[..256 << 10], 32 << 10);
        wired.finish();
    }
}

/// Segments and fragments of 9000 bytes cross in both directions, those received in five buffers each.
#[test]
#[ignore = "needs QEMU 8.0 or later, which has igb"]
fn igb_exchanges_jumbo_frames() {
    let wired = Wired::by(NicModel::Igb, "", "igb-9000", 9000, "mtu=9000");
    assert!(wired.machine.console().contains("eth0: igb at *, offloads tx_checksum tso4 rx_checksum"));
    let data = pattern(5, 16 * MIB);
    for server in [V4, V6] {
        let (mut nfs, root) = wired.tcp(server);
        let object = file(&mut nfs, &root, if server == V4 { "four" } else { "six" });
        let wrote = wired.counted(&format!("write, {server}"), 16 * MIB, || {
            write(&mut nfs, &object, &data, MIB as usize);
        });
        assert!(wrote.rx_packets < 16 * MIB / 8000, "{wrote:?}: full frames are received");
        let read = wired.counted(&format!("read, {server}"), 16 * MIB, || {
            read(&mut nfs, &object, &data, MIB as usize);
        });
        // Over IPv6 the chip segments nothing: each frame sent is one on the wire.
        let frames = 16 * MIB / if server == V4 { 20_000 } else { 8000 };
        assert!(read.tx_packets < frames, "{read:?}");
        assert_eq!(read.tso > 0, server == V4, "{read:?}");
    }
    let mut datagrams = wired.udp(V4);
    let (mut nfs, root) = wired.tcp(V4);
    let object = file(&mut nfs, &root, "datagrams");
    let counters = wired.counted("datagrams", 2 * MIB, || {
        write(&mut datagrams, &object, &data[..MIB as usize], 32 << 10);
        read(&mut datagrams, &object, &data[..MIB as usize], 32 << 10);
    });
    // Four fragments each way for 32 KiB, and calls and replies.
    assert!((128..192).contains(&counters.tx_packets), "{counters:?}");
    assert!((128..192).contains(&counters.rx_packets), "{counters:?}");
    wired.finish_with(|| {});
}

#[test]
fn nothing_leads_out_of_the_namespace() {
    let namespace = Namespace::new().unwrap();
    let tap = namespace.tap(&["10.0.0.9/24"]).unwrap();
    let links = namespace.ip(&["-o", "link"]).unwrap();
    assert_eq!(links.lines().count(), 2, "loopback and {}:\n{links}", tap.name());
    assert!(!fs::read_to_string("/proc/net/dev").unwrap().contains("tap0"), "the host does not see it");
    namespace
        .run(|| {
            let out = at("192.0.2.1", 80);
            assert!(TcpStream::connect_timeout(&out, Duration::from_secs(5)).is_err());
        })
        .unwrap();
}
