//! Booting: every board, NIC, entry point and address configuration, and every way to go down.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use keelson_qemu::{Board, DhcpConfig, Drive, Exit, Machine, Nic, NicModel};
use keelson_tests::Appliance;
use keelson_tests::rpc::{NFS, RpcClient};
use keelson_tests::world::{SERVER, SOON, World, at, shell};

/// Boots an appliance of every kind on `board` and has it answer.
fn every_machine_of(board: Board, models: &[NicModel]) {
    let world = World::new(&format!("{board:?}"));
    let disk = world.disk();
    for (kind, file) in [("img", Appliance::image("nfs-server")), ("elf", Appliance::elf("nfs-server"))] {
        for cpus in [1, 2] {
            for &model in models {
                let name = format!("{kind}-{cpus}-{model:?}");
                let machine = world
                    .bench
                    .machine(&name)
                    .board(board)
                    .cpus(cpus)
                    .kernel(&file)
                    .append("panic=exit ip=10.0.0.1/24:eth0 nfs.exports=\"/ *(rw)\"")
                    .nic(Nic::on(&world.port, model))
                    .drive(Drive::file(disk.path()).snapshot())
                    .start()
                    .unwrap();
                machine.expect(&format!("{cpus} of {cpus} cores"), SOON).unwrap();
                machine.expect("eth0: address 10.0.0.1/24", SOON).unwrap();
                machine.expect("serving NFS on port 2049", SOON).unwrap();
                let server = SERVER.parse().unwrap();
                world.host.ping(server, 56, SOON).unwrap();
                // Six fragments each way.
                world.host.ping(server, 8000, SOON).unwrap();
                world.assert_serves(SERVER);
                assert_eq!(shell(&machine, "cpus").len(), cpus as usize);
                machine.console().send_line("poweroff").unwrap();
                assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
                assert!(machine.console().contains("filesystem unmounted"));
            }
        }
    }
}

#[test]
fn pc() {
    use NicModel::*;
    every_machine_of(Board::Pc, &[Virtio, E1000, I82544gc, I82545em, E1000e]);
}

#[test]
fn q35() {
    every_machine_of(Board::Q35, &[NicModel::Virtio, NicModel::E1000, NicModel::E1000e]);
}

#[test]
#[ignore = "needs QEMU 8.0 or later, which has igb"]
fn igb_on_every_board_with_pci() {
    every_machine_of(Board::Q35, &[NicModel::Igb]);
    every_machine_of(Board::Pc, &[NicModel::Igb]);
}

#[test]
fn microvm() {
    every_machine_of(Board::Microvm, &[NicModel::Virtio]);
}

#[test]
fn four_cores() {
    let world = World::new("smp");
    let disk = world.disk();
    let machine = world.appliance("").cpus(4).drive(Drive::file(disk.path())).start().unwrap();
    machine.expect("4 of 4 cores", SOON).unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    assert_eq!(shell(&machine, "cpus").len(), 4);
    world.assert_serves(SERVER);
}

#[test]
fn much_memory() {
    // Below and above the hole under 4 GiB; QEMU touches no page that the machine does not.
    for (mib, board) in [(1024, Board::Q35), (5120, Board::Q35), (5120, Board::Pc), (5120, Board::Microvm)] {
        let world = World::new("memory");
        let disk = world.disk();
        let spec = world.appliance("").board(board).memory_mib(mib);
        let machine = spec.drive(Drive::file(disk.path())).start().unwrap();
        let line = machine.expect("MiB of memory", SOON).unwrap().text;
        let found: u32 = number_before(&line, " MiB of memory");
        // The firmware keeps a little for itself.
        assert!((mib - 4..=mib).contains(&found), "{mib} MiB: {line}");
        machine.expect("serving NFS", SOON).unwrap();
        world.assert_serves(SERVER);
    }
}

/// The number that ends where `what` begins.
fn number_before(line: &str, what: &str) -> u32 {
    let (front, _) = line.split_once(what).unwrap_or_else(|| panic!("{what:?} in {line:?}"));
    let digits = front.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("a number before {what:?} in {line:?}"))
}

#[test]
fn image_size_and_idle_memory() {
    let size = fs::metadata(Appliance::image("nfs-server")).unwrap().len();
    assert!(size < 4 << 20, "the image has {size} bytes");
    let world = World::new("idle");
    let machine = world.serving("");
    world.assert_serves(SERVER);
    let output = shell(&machine, "mem");
    let used = output.iter().find(|line| line.starts_with("used ")).unwrap();
    let kib = number_before(used, " KiB");
    assert!(kib < 32 << 10, "{used}");
    let most = number_before(used, " KiB; allocations");
    assert!(most < 32 << 10, "{used}");
}

#[test]
fn dhcp() {
    let world = World::new("dhcp");
    world.host.serve_dhcp(DhcpConfig {
        server: Ipv4Addr::new(10, 0, 0, 9),
        first: Ipv4Addr::new(10, 0, 0, 100),
        prefix: 24,
        router: Some(Ipv4Addr::new(10, 0, 0, 9)),
        ntp: Vec::new(),
        dns: vec![Ipv4Addr::new(10, 0, 0, 9)],
        host_name: None,
        boot_uri: None,
        lease_seconds: 3600,
    });
    let disk = world.disk();
    // Asked for, by default, and for one device.
    for (i, line) in ["ip=dhcp", "", "ip=eth0:dhcp"].into_iter().enumerate() {
        let name = format!("dhcp{i}");
        let port = world.lan.port(&name).unwrap();
        let machine = Appliance::nfs(&world.bench, &name, line)
            .append("nfs.exports=\"/ *(rw)\"")
            .nic(Nic::on(&port, NicModel::Virtio))
            .drive(Drive::file(disk.path()).snapshot())
            .start()
            .unwrap();
        let address = format!("10.0.0.{}", 100 + i);
        machine.expect("serving NFS", SOON).unwrap();
        world.host.wait_for(address.parse().unwrap(), SOON).unwrap();
        assert!(machine.console().contains(&format!("eth0: address {address}/24")));
        world.assert_serves(&address);
    }
    assert_eq!(world.host.leases().len(), 3);
}

#[test]
fn ipv6() {
    let world = World::new("ipv6");
    let machine = world.serving("ip=[fd00::1]/64:eth0");
    world.host.ping("fd00::1".parse().unwrap(), 56, SOON).unwrap();
    world.host.ping("fd00::1".parse().unwrap(), 1400, SOON).unwrap();
    world.assert_serves("fd00::1");
    // The link-local address made from the MAC address.
    let output = shell(&machine, "ip").join("\n");
    let local = output
        .split_whitespace()
        .find(|word| word.starts_with("fe80:"))
        .unwrap_or_else(|| panic!("{output}"));
    let (local, _) = local.split_once('/').unwrap();
    let near = world.bench.endpoint(&world.lan, "near", &["fe80::9/64"]).unwrap();
    near.ping(local.parse().unwrap(), 56, SOON).unwrap();
}

#[test]
fn two_nics_have_two_addresses() {
    let world = World::new("two-nics");
    let other = world.bench.lan("other").unwrap();
    let neighbour = world.bench.endpoint(&other, "neighbour", &["10.0.1.9/24"]).unwrap();
    let disk = world.disk();
    let port = other.port("nfs").unwrap();
    let machine = world
        .appliance("ip=10.0.1.1/24:eth1")
        .nic(Nic::on(&port, NicModel::E1000))
        .drive(Drive::file(disk.path()))
        .start()
        .unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    world.host.ping(SERVER.parse().unwrap(), 8000, SOON).unwrap();
    neighbour.ping("10.0.1.1".parse().unwrap(), 8000, SOON).unwrap();
    world.assert_serves(SERVER);
    // Same server, other interface: over TCP and, with the right source address, over UDP.
    let address = at("10.0.1.1", 2049);
    RpcClient::tcp(&neighbour, address).unwrap().null(NFS, 3).unwrap();
    RpcClient::udp(&neighbour, address).unwrap().null(NFS, 3).unwrap();
}

#[test]
fn the_power_button_ends_in_order() {
    for board in [Board::Q35, Board::Pc] {
        let world = World::new("button");
        let disk = world.disk();
        let machine = world.appliance("").board(board).drive(Drive::file(disk.path())).start().unwrap();
        machine.expect("serving NFS", SOON).unwrap();
        machine.power_button().unwrap();
        machine.expect("filesystem unmounted", SOON).unwrap();
        assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
        disk.check().unwrap();
    }
}

/// Waits for `ready`, types `reboot`, `count` times; returns the longest round.
fn reboot(machine: &Machine, count: usize, ready: &str) -> Duration {
    let mut longest = Duration::ZERO;
    for round in 0..count {
        let start = Instant::now();
        machine.expect(ready, SOON).unwrap_or_else(|e| panic!("after {round} reboots: {e}"));
        machine.console().send_line("reboot").unwrap();
        longest = longest.max(start.elapsed());
    }
    machine.expect(ready, SOON).unwrap();
    longest
}

/// 25 times in a row; 100 times in the long form (`make soak`).
#[test]
fn many_reboots() {
    let count = if std::env::var_os("KEELSON_SOAK").is_some() { 100 } else { 25 };
    let world = World::new("reboots");
    let disk = world.disk();
    let machine = world.appliance("").cpus(2).drive(Drive::file(disk.path())).start().unwrap();
    let start = Instant::now();
    let longest = reboot(&machine, count, "serving NFS");
    eprintln!("{count} reboots took {:.1?}, the longest {longest:.1?}", start.elapsed());
    world.assert_serves(SERVER);
    // One start more than reboots, all counted on the disk.
    assert!(machine.console().contains(&format!("start number {}", count + 1)));
    machine.console().send_line("poweroff").unwrap();
    assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
    disk.check().unwrap();
}

#[test]
fn every_board_reboots() {
    for board in [Board::Pc, Board::Q35, Board::Microvm] {
        let world = World::new("reboot");
        let disk = world.disk();
        let machine = world.appliance("").board(board).drive(Drive::file(disk.path())).start().unwrap();
        reboot(&machine, 2, "serving NFS");
        world.assert_serves(SERVER);
    }
}
