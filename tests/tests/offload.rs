//! Checksum and segmentation offload and merged receive buffers of virtio-net, and jumbo frames of Intel's NICs, against Linux's
//! own TCP.
//!
//! Only a tap has them. It needs root and `/dev/net/tun`; without, these tests fail and say so.

use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use keelson_qemu::{
    Bench, Board, Cache, Drive, Exit, Ext4Image, Ext4Spec, Machine, Namespace, Nic, NicModel, Rng,
};
use keelson_tests::Appliance;
use keelson_tests::frame::checksum;
use keelson_tests::nfs3::{Handle, How, MOUNT_PORT, NFS_PORT, Nfs, Set, Stable, mount};
use keelson_tests::rpc::RpcClient;
use keelson_tests::world::{NicCounters, SOON, at, shell};

const MIB: u64 = 1 << 20;
/// Addresses of the appliance.
const V4: &str = "10.0.0.1";
const V6: &str = "fd00::1";
const MAC: [u8; 6] = [0x52, 0x4b, 0xff, 0xff, 0, 1];

/// An appliance and the host's stack at the two ends of a tap.
struct Wired {
    machine: Machine,
    model: NicModel,
    disk: Ext4Image,
    namespace: Namespace,
    /// The first bytes of every frame, as the appliance gave it to QEMU.
    pcap: PathBuf,
    _bench: Bench,
}

impl Wired {
    fn new(name: &str, mtu: u32, append: &str) -> Wired {
        Wired::with(name, Board::Q35, NicModel::Virtio, mtu, append)
    }

    /// With another NIC than virtio-net.
    fn with(name: &str, board: Board, model: NicModel, mtu: u32, append: &str) -> Wired {
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
        let nic = Nic::tap(&tap, model).mac(MAC);
        let nic = if model == NicModel::Virtio { nic.options(&format!("host_mtu={mtu}")) } else { nic };
        let machine = Appliance::nfs(&bench, "nfs", &line)
            .board(board)
            .nic(nic)
            .drive(Drive::file(disk.path()).cache(Cache::Unsafe))
            .args(["-object", &dump])
            .start()
            .unwrap();
        let offloads = match model {
            NicModel::Virtio => "virtio_net at *, offloads tx_checksum tso4 tso6 rx_checksum lro",
            NicModel::E1000e => "e1000e at *, offloads tx_checksum rx_checksum",
            NicModel::Igb => "igb at *, offloads tx_checksum tso4 rx_checksum",
            _ => "e1000 at *, offloads tx_checksum tso4 rx_checksum",
        };
        machine.expect(&format!("eth0: {offloads}"), SOON).unwrap();
        machine.expect("serving NFS", SOON).unwrap();
        Wired { machine, model, disk, namespace, pcap, _bench: bench }
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
        assert_eq!(NicCounters::of(&self.machine).lost, 0);
        self.end();
    }

    /// Where some frames were lost.
    fn end(self) {
        for (protocol, counter) in [("Tcp", "InErrs"), ("Tcp", "InCsumErrors"), ("Udp", "InCsumErrors")] {
            assert_eq!(self.host(protocol, counter), 0, "{protocol} {counter}");
        }
        self.machine.console().send_line("poweroff").unwrap();
        assert_eq!(self.machine.wait(SOON).unwrap(), Exit::PowerOff);
        self.disk.check().unwrap();
        if self.virtio_header() > 0 {
            check_sums(&fs::read(&self.pcap).unwrap(), self.virtio_header());
        }
    }

    /// Bytes in front of each captured frame: QEMU 7.2 captures the virtio header too.
    fn virtio_header(&self) -> usize {
        match self.model {
            NicModel::Virtio => 12,
            NicModel::E1000e => 10,
            _ => 0,
        }
    }
}

/// The frames in a capture: how long each is, its virtio header and its first bytes.
fn frames(capture: &[u8], header: usize) -> Vec<(usize, &[u8], &[u8])> {
    let (mut at, mut frames) = (24, Vec::new());
    while let Some(head) = capture.get(at..at + 16) {
        let kept = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        let length = u32::from_le_bytes(head[12..16].try_into().unwrap()) as usize - header;
        // The last one may still be being written.
        let Some(bytes) = capture.get(at + 16..at + 16 + kept) else { break };
        let (virtio, frame) = bytes.split_at(header);
        frames.push((length, virtio, frame));
        at += 16 + kept;
    }
    frames
}

/// A receiver on the same host never looks at a checksum that was left to the device. So look here: the field of
/// every TCP frame from the appliance must hold the sum of the pseudo-header, uncomplemented (virtio 1.2 section 5.1.6.2).
fn check_sums(capture: &[u8], header: usize) {
    let mut looked_at = 0;
    for (length, virtio, frame) in frames(capture, header) {
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
            (virtio[0], virtio[6], virtio[8]),
            (1, tcp as u8, 16),
            "checksum wanted, from where, to where"
        );
        assert_eq!(field, !checksum(&[addresses, &pseudo]), "frame of {length} bytes: {frame:02x?}");
        looked_at += 1;
    }
    assert!(looked_at > 100, "{looked_at} frames looked at");
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

/// Every model that QEMU has, over both versions of IP, segmented by the chip and not.
#[test]
fn jumbo_frames_of_intel_nics() {
    cross_in_jumbo_frames(&[
        (Board::Pc, NicModel::E1000, 16_110),
        (Board::Pc, NicModel::I82545em, 16_110),
        (Board::Pc, NicModel::I82544gc, 16_110),
        (Board::Q35, NicModel::E1000e, 9000),
    ]);
}

#[test]
#[ignore = "needs QEMU 8.0 or later, which has igb"]
fn jumbo_frames_of_igb() {
    cross_in_jumbo_frames(&[(Board::Q35, NicModel::Igb, 9000)]);
}

/// The models with the largest MTU of each.
fn cross_in_jumbo_frames(models: &[(Board, NicModel, usize)]) {
    for &(board, model, largest) in models {
        let wired = Wired::with(&format!("jumbo-{model:?}"), board, model, 9000, "mtu=9000");
        let data = pattern(5, 8 * MIB);
        for server in [V4, V6] {
            let (mut nfs, root) = wired.tcp(server);
            let object = file(&mut nfs, &root, "file");
            let what = format!("{model:?}, {server}");
            let wrote = wired.counted(&format!("{what}: write"), 8 * MIB, || {
                write(&mut nfs, &object, &data, MIB as usize)
            });
            let got = wired
                .counted(&format!("{what}: read"), 8 * MIB, || read(&mut nfs, &object, &data, MIB as usize));
            // 8948 or 8928 bytes of payload in each.
            assert!(wrote.rx_packets < 8 * MIB / 8000, "{wrote:?}: small frames arrive");
            assert!(got.tx_packets < 8 * MIB / 8000, "{got:?}: small frames are sent");
            assert_eq!(got.tso > 0, server == V4 && model != NicModel::E1000e, "{got:?}");
        }
        // In fragments of the largest size, with a checksum that is the stack's.
        let mut datagrams = wired.udp(V4);
        let (_, root) = wired.tcp(V4);
        let object = file(&mut datagrams, &root, "datagrams");
        let counters = wired.counted(&format!("{model:?}: datagrams"), 2 * MIB, || {
            write(&mut datagrams, &object, &data[..MIB as usize], 32 << 10);
            read(&mut datagrams, &object, &data[..MIB as usize], 32 << 10);
        });
        assert!(counters.tx_packets < MIB / 8000 + 64, "{counters:?}");

        // What was on the wire: as long as they can be, most of them, and none longer.
        let capture = fs::read(&wired.pcap).unwrap();
        let frames = frames(&capture, wired.virtio_header());
        let full = |at: usize| {
            let full = frames.iter().filter(|(length, ..)| *length == 9014);
            full.filter(|(.., frame)| frame[at..at + 6] == MAC).count()
        };
        let (to, from) = (full(0), full(6));
        eprintln!("{model:?}: {} frames, {to} of 9014 bytes to the appliance, {from} from it", frames.len());
        // QEMU's igb leaves it to the tap to segment, which gets those frames whole.
        let whole = model == NicModel::Igb;
        let mut longer = frames.iter().filter(|(length, ..)| *length > 9014);
        assert!(longer.all(|(.., frame)| whole && frame[6..12] == MAC && frame[12..14] == [0x08, 0x00]));
        // 32 KiB that the chip segments end with a shorter one.
        let most = 16 * MIB / 9014 * 4 / 5;
        let most_from = if whole { most / 2 } else { most };
        assert!(to as u64 > most && from as u64 > most_from, "{to} and {from} of 9014 bytes");

        let answer = shell(&wired.machine, &format!("ip link set eth0 mtu {}", largest + 1));
        assert!(answer.concat().contains(&format!("is not between 576 and {largest}")), "{answer:?}");
        assert_eq!(NicCounters::of(&wired.machine).lost, 0);
        too_long(&wired, largest);
        wired.end();
    }
}

/// Frames of the largest size arrive; those that are longer than the driver takes are counted and forgotten.
fn too_long(wired: &Wired, largest: usize) {
    wired.namespace.ip(&["link", "set", "tap0", "mtu", "20000"]).unwrap();
    assert_eq!(shell(&wired.machine, &format!("ip link set eth0 mtu {largest}")), [""; 0]);
    // A small one behind them says that the chip has seen them; `arrive` is how many frames the appliance takes.
    let send = |packet: usize, arrive: u64| {
        let before = NicCounters::of(&wired.machine);
        let socket = wired.namespace.run(|| UdpSocket::bind(at("0.0.0.0", 0)).unwrap()).unwrap();
        for packet in [packet, packet, packet, 100] {
            socket.send_to(&vec![0; packet - 28], at(V4, 7)).unwrap();
        }
        let deadline = Instant::now() + SOON;
        loop {
            let counters = NicCounters::of(&wired.machine).since(before);
            if counters.rx_packets >= arrive || Instant::now() > deadline {
                return counters;
            }
        }
    };
    let counters = send(largest, 4);
    assert!(counters.rx_bytes >= 3 * (largest as u64 + 14) && counters.lost == 0, "{counters:?}");
    // 4 bytes more may be a VLAN tag.
    let counters = send(largest + 5, 1);
    // The igb chips are told what is too long, and QEMU's forgets to count it.
    let lost = if wired.model == NicModel::Igb { 0 } else { 3 };
    assert!(counters.rx_bytes < largest as u64 && counters.lost == lost, "{counters:?}");
    let (mut nfs, root) = wired.tcp(V4);
    let object = file(&mut nfs, &root, "after");
    write(&mut nfs, &object, &pattern(6, MIB), MIB as usize);
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
