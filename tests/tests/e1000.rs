//! The Intel NICs: segments on the wire as TCP wants them, and rest when there is nothing to do.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use keelson_qemu::{Board, Cache, Capture, Drive, Ext4Spec, Machine, Nic, NicModel, Rng};
use keelson_tests::Appliance;
use keelson_tests::frame::checksum;
use keelson_tests::nfs3::Transport;
use keelson_tests::world::{NicCounters, SERVER, SOON, World};

const MIB: usize = 1 << 20;
const FILE: usize = 16 * MIB;

/// An appliance with one NIC of this model and a disk with a file on it, and the file's content.
fn serving(world: &World, board: Board, model: NicModel) -> (Machine, Vec<u8>) {
    serving_on(world, board, model, &[])
}

/// The same with further arguments for QEMU.
fn serving_on(world: &World, board: Board, model: NicModel, args: &[&str]) -> (Machine, Vec<u8>) {
    let mut rng = Rng::new(82_540);
    let data: Vec<u8> = (0..FILE / 8).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
    let tree = world.bench.dir().join("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("file"), &data).unwrap();
    let disk = world.bench.ext4("data", &Ext4Spec::new(32 << 20).populated_from(&tree)).unwrap();
    let line = format!("ip={SERVER}/24:eth0 nfs.exports=\"/ *(rw,no_root_squash)\"");
    let machine = Appliance::nfs(&world.bench, &format!("{model:?}"), &line)
        .board(board)
        .nic(Nic::on(&world.port, model))
        .drive(Drive::file(disk.path()).cache(Cache::Unsafe))
        .args(args.iter().copied())
        .start()
        .unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    (machine, data)
}

/// Reads the file over TCP; what the NIC counted.
fn read_file(world: &World, machine: &Machine, data: &[u8]) -> NicCounters {
    let (mut nfs, root) = Transport::Tcp.mount(&world.host, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), "/");
    let file = nfs.lookup(&root, b"file").unwrap().ok().handle;
    let (before, cpu) = (NicCounters::of(machine), machine.usage().unwrap().cpu);
    for (i, part) in data.chunks(MIB).enumerate() {
        let read = nfs.read(&file, (i * MIB) as u64, MIB as u32).unwrap().ok();
        assert!(read.data == part, "MiB {i} came back changed");
    }
    let cpu = machine.usage().unwrap().cpu - cpu;
    let counters = NicCounters::of(machine).since(before);
    eprintln!("{}: {:.1} ms CPU per MiB, {counters:?}", machine.name(), cpu.as_secs_f64() * 1e3 / 16.0);
    counters
}

#[test]
fn e1000_segments_tcp() {
    let world = World::new("e1000-tso");
    world.port.capture(Capture::Full);
    let (machine, data) = serving(&world, Board::Pc, NicModel::E1000);
    let counters = read_file(&world, &machine, &data);
    assert!(machine.console().contains("eth0: e1000 at *, offloads tx_checksum tso4 rx_checksum"));
    assert_eq!(counters.lost, 0);
    assert!(counters.tso as usize * 32_768 >= FILE, "{counters:?}");
    assert!(counters.tx_packets < 100 * 16, "{counters:?}: 724 frames per MiB would be sent without");
    world.port.capture(Capture::Off);
    check_segments(&world.port.pcap());
}

/// QEMU 7.2 would cut what its 82574L is to segment into IP fragments; see `Chip::segments` in the driver.
#[test]
fn e1000e_is_not_asked_to_segment() {
    let world = World::new("e1000e-tso");
    world.port.capture(Capture::Full);
    let (machine, data) = serving(&world, Board::Q35, NicModel::E1000e);
    assert!(machine.console().contains("eth0: e1000e at *, offloads tx_checksum rx_checksum"));
    let counters = read_file(&world, &machine, &data);
    assert_eq!((counters.lost, counters.tso), (0, 0));
    world.port.capture(Capture::Off);
    check_segments(&world.port.pcap());
}

#[test]
#[ignore = "needs QEMU 8.0 or later, which has igb"]
fn igb_segments_tcp() {
    let world = World::new("igb-tso");
    world.port.capture(Capture::Full);
    let (machine, data) = serving(&world, Board::Q35, NicModel::Igb);
    let counters = read_file(&world, &machine, &data);
    assert!(machine.console().contains("eth0: igb at *, offloads tx_checksum tso4 rx_checksum"));
    assert_eq!(counters.lost, 0);
    assert!(counters.tso as usize * 32_768 >= FILE, "{counters:?}");
    world.port.capture(Capture::Off);
    check_segments(&world.port.pcap());
}

/// Every frame from the appliance in a capture: lengths, both checksums, no gap in the sequence numbers, PSH and FIN
/// only in front of a new frame of the stack's.
fn check_segments(pcap: &Path) {
    let file = fs::read(pcap).unwrap();
    let (mut at, mut next) = (24, std::collections::HashMap::<[u8; 4], u32>::new());
    let (mut segments, mut full, mut pushed, mut again) = (0u32, 0u32, 0u32, 0u32);
    while let Some(head) = file.get(at..at + 16) {
        let length = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        assert_eq!(head[8..12], head[12..16], "whole frames");
        let frame = &file[at + 16..at + 16 + length];
        at += 16 + length;
        // From the appliance's address, TCP.
        if frame[12..14] != [8, 0] || frame[26..30] != [10, 0, 0, 1] || frame[23] != 6 {
            continue;
        }
        let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        assert!(length <= 1514 && total + 14 <= length, "IP length {total} in a frame of {length}");
        assert_eq!(frame[14], 0x45);
        assert_eq!([frame[20] & 0x3f, frame[21]], [0, 0], "no fragment");
        assert_eq!(checksum(&[&frame[14..34]]), 0, "IP checksum: {:02x?}", &frame[..34]);
        let tcp = &frame[34..14 + total];
        let pseudo = [0, 6, (tcp.len() >> 8) as u8, tcp.len() as u8];
        assert_eq!(checksum(&[&frame[26..34], &pseudo, tcp]), 0, "TCP checksum: {:02x?}", &frame[..80]);
        let data = tcp.len() - usize::from(tcp[12] >> 4) * 4;
        let seq = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
        let flags = tcp[13];
        let ports: [u8; 4] = tcp[..4].try_into().unwrap();
        let end = seq.wrapping_add(data as u32 + u32::from(flags & 2 != 0) + u32::from(flags & 1 != 0));
        let expected = next.entry(ports).or_insert(seq);
        if data > 0 {
            segments += 1;
            full += u32::from(total == 1500);
            pushed += u32::from(flags & 8 != 0);
        }
        // What is sent again, after a probe of a closed window for one, may reach beyond what was sent before.
        let ahead = seq.wrapping_sub(*expected) as i32;
        assert!(ahead <= 0, "a gap before {seq:#x}, expected {expected:#x}");
        again += u32::from(data > 0 && ahead < 0);
        if end.wrapping_sub(*expected) as i32 > 0 {
            *expected = end;
        }
    }
    eprintln!("{segments} segments, {full} of them full, {pushed} with PSH, {again} sent again");
    assert!(segments as usize >= FILE / 1460, "{segments} segments");
    assert!(full > segments / 2, "{full} of {segments} are full");
    assert!(pushed < segments / 8, "{pushed} of {segments} carry PSH");
    assert!(again < segments / 100, "{again} of {segments} were sent again");
}

#[test]
fn an_idle_machine_rests_whatever_its_nic() {
    idle_machines_rest([
        (Board::Pc, NicModel::E1000),
        (Board::Q35, NicModel::E1000e),
        (Board::Pc, NicModel::Virtio),
    ]);
}

#[test]
#[ignore = "needs QEMU 8.0 or later, which has igb"]
fn an_idle_machine_rests_with_igb() {
    idle_machines_rest([(Board::Q35, NicModel::Igb), (Board::Pc, NicModel::Igb)]);
}

fn idle_machines_rest<const N: usize>(kinds: [(Board, NicModel); N]) {
    let worlds = kinds.map(|(board, model)| {
        let world = World::new(&format!("rest-{board:?}-{model:?}"));
        let (machine, _) = serving(&world, board, model);
        assert!(!machine.console().contains("polled every"), "{model:?} has an interrupt on {board:?}");
        (world, machine)
    });
    let ping = |world: &World| world.host.ping(SERVER.parse().unwrap(), 56, SOON).unwrap();
    let before = worlds.each_ref().map(|(world, machine)| {
        ping(world);
        (NicCounters::of(machine), machine.usage().unwrap().cpu)
    });
    thread::sleep(Duration::from_secs(3));
    for ((world, machine), (counters, cpu)) in worlds.iter().zip(before) {
        let cpu = machine.usage().unwrap().cpu - cpu;
        assert!(cpu < Duration::from_millis(500), "{}: {cpu:?} of CPU in 3 s of rest", machine.name());
        // It is the interrupt that ends the rest: one for each ping, if none comes while another is served.
        for _ in 0..20 {
            ping(world);
            thread::sleep(Duration::from_millis(5));
        }
        let counted = NicCounters::of(machine).since(counters);
        assert!((10..100).contains(&counted.interrupts), "{}: {counted:?}", machine.name());
    }
}

/// Without ACPI nothing on this board says that the line is level-triggered, so it is not used.
#[test]
fn a_nic_without_a_usable_interrupt_is_polled() {
    let world = World::new("polled");
    let (machine, data) = serving_on(&world, Board::Pc, NicModel::E1000, &["-machine", "acpi=off"]);
    assert!(machine.console().contains("no interrupt that can be used; polled every 100"));
    let counters = read_file(&world, &machine, &data);
    assert_eq!(counters.lost, 0);
    assert!(counters.tso > 0, "{counters:?}");
}
