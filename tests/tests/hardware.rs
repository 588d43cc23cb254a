//! Machines as they come: with NVMe and SATA disks, devices behind bridges and switches, registers above 4 GiB, IOMMUs, many
//! processors, a watchdog, without HPET, with processors that can do little, without a serial port. On each the image boots and its
//! role serves.

use std::time::{Duration, Instant};

use keelson_qemu::{Board, Drive, DriveModel, Exit, Ext4Image, Machine, MachineSpec, Nic, NicModel};
use keelson_tests::Appliance;
use keelson_tests::nfs3::{Nfs, Transport, status};
use keelson_tests::world::{SERVER, SOON, World, assert_sound, shell};

/// An NFS server whose disk and machine the caller says.
fn server(world: &World, nic: Nic, drive: Drive) -> MachineSpec {
    let line = format!("ip={SERVER}/24:eth0 nfs.exports=\"/ *(rw,no_root_squash)\"");
    Appliance::nfs(&world.bench, "nfs", &line).nic(nic).drive(drive)
}

/// Starts it, and has it answer: large datagrams, too, which take many interrupts.
fn serves(world: &World, spec: MachineSpec) -> Machine {
    let machine = spec.start().unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    world.assert_serves(SERVER);
    world.host.ping(SERVER.parse().unwrap(), 8000, SOON).unwrap();
    assert_sound(&machine);
    machine
}

fn virtio(disk: &Ext4Image) -> Drive {
    Drive::file(disk.path()).snapshot()
}

#[test]
fn nvme_disks_on_every_board_with_pci() {
    for board in [Board::Q35, Board::Pc] {
        let world = World::new("nvme");
        let disk = world.disk();
        let nvme = Drive::file(disk.path()).model(DriveModel::Nvme);
        let nic = Nic::on(&world.port, NicModel::Virtio);
        let machine = serves(&world, server(&world, nic, nvme).board(board).cpus(2));
        assert!(machine.console().contains("nvme0n1: mounted read-write"));
        machine.console().send_line("poweroff").unwrap();
        machine.wait(SOON).unwrap();
        disk.check().unwrap();
    }
}

#[test]
fn two_kinds_of_disk_have_names_of_their_own() {
    let world = World::new("disks");
    let (data, other) =
        (world.disk(), world.bench.ext4("other", &keelson_qemu::Ext4Spec::new(16 << 20)).unwrap());
    let nic = Nic::on(&world.port, NicModel::Virtio);
    let spec = server(&world, nic, Drive::file(other.path()).snapshot())
        .drive(virtio(&data).model(DriveModel::Nvme))
        .append("fs=/dev/nvme0n1");
    let machine = serves(&world, spec);
    assert!(machine.console().contains("vda: 16 MiB"));
    assert!(machine.console().contains("nvme0n1: mounted"));
}

#[test]
fn sata_disks_on_every_board_with_pci() {
    // The controller that q35 has anyway, and one that is put into a machine without.
    for board in [Board::Q35, Board::Pc] {
        let world = World::new("sata");
        let disk = world.disk();
        let sata = Drive::file(disk.path()).model(DriveModel::Ahci);
        let nic = Nic::on(&world.port, NicModel::Virtio);
        let machine = serves(&world, server(&world, nic, sata).board(board).cpus(2));
        assert!(machine.console().contains("commands are queued"));
        assert!(machine.console().contains("sda: mounted read-write"));
        assert!(!machine.console().contains("no interrupt that can be used"));
        machine.console().send_line("poweroff").unwrap();
        machine.wait(SOON).unwrap();
        disk.check().unwrap();
    }
}

#[test]
fn sata_disks_share_a_controller_with_a_cd() {
    let world = World::new("sata-two");
    let (data, other) =
        (world.disk(), world.bench.ext4("other", &keelson_qemu::Ext4Spec::new(16 << 20)).unwrap());
    let cd = world.bench.dir().join("cd");
    std::fs::write(&cd, vec![0; 1 << 20]).unwrap();
    let nic = Nic::on(&world.port, NicModel::Virtio);
    let sata = |disk: &Ext4Image| Drive::file(disk.path()).model(DriveModel::Ahci);
    // The second disk has blocks of 4096 bytes inside, and is the one that is served.
    let large = "physical_block_size=4096";
    let spec =
        server(&world, nic, sata(&other)).drive(sata(&data).options(large)).cd(cd).append("fs=/dev/sdb");
    let machine = serves(&world, spec);
    let console = machine.console();
    assert!(console.contains("sda: 16 MiB"));
    assert!(console.contains("blocks of 512 bytes (4096 on the medium)"));
    assert!(console.contains("sdb: mounted read-write"));
    assert!(console.contains("passed over, an optical drive"));
    machine.console().send_line("poweroff").unwrap();
    machine.wait(SOON).unwrap();
    data.check().unwrap();
}

/// The disk fails where a file has its content: who reads it hears of it, everybody else is served.
#[test]
fn errors_of_a_sata_disk_belong_to_one_request() {
    let world = World::new("sata-errors");
    let tree = world.bench.dir().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let contents = [vec![0x5a; 64 << 10], vec![0xa5; 1 << 20]];
    std::fs::write(tree.join("bad"), &contents[0]).unwrap();
    std::fs::write(tree.join("good"), &contents[1]).unwrap();
    let image =
        world.bench.ext4("errors", &keelson_qemu::Ext4Spec::new(64 << 20).populated_from(&tree)).unwrap();
    let raw = std::fs::read(image.path()).unwrap();
    let at = raw.chunks(4096).position(|block| block == &contents[0][..4096]).unwrap() as u64 * 4096;
    let disk = world.bench.volatile_disk("errors", image.path()).unwrap();
    disk.faults(|faults| faults.read_errors.push(at..at + 512));
    let nic = Nic::on(&world.port, NicModel::Virtio);
    let drive = Drive::nbd(disk.socket()).model(DriveModel::Ahci);
    let machine = server(&world, nic, drive).start().unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    let (mut nfs, root) = Transport::Tcp.mount(&world.host, SERVER.parse().unwrap(), "/");
    let open = |nfs: &mut Nfs, name: &[u8]| nfs.lookup(&root, name).unwrap().ok().handle;
    let (bad, good) = (open(&mut nfs, b"bad"), open(&mut nfs, b"good"));
    for _ in 0..2 {
        assert_eq!(nfs.read(&bad, 0, 4096).unwrap().status, status::IO);
        assert!(nfs.read(&good, 0, 64 << 10).unwrap().ok().data == contents[1][..64 << 10]);
    }
    disk.faults(|faults| faults.read_errors.clear());
    assert!(nfs.read(&bad, 0, 4096).unwrap().ok().data == contents[0][..4096]);
    assert_sound(&machine);
}

#[test]
fn devices_behind_bridges() {
    // A root port, a switch below one, a conventional bus below PCIe, a conventional bridge.
    let root_port = ["pcie-root-port,id=rp0,chassis=1"].as_slice();
    let switch =
        &[root_port[0], "x3130-upstream,bus=rp0,id=up", "xio3130-downstream,bus=up,id=down,chassis=2,slot=1"];
    let conventional = ["pcie-pci-bridge,id=bridge"].as_slice();
    let old = ["pci-bridge,id=bridge,chassis_nr=1"].as_slice();
    for (board, bridges, bus, model) in [
        (Board::Q35, root_port, "rp0", NicModel::Virtio),
        (Board::Q35, root_port, "rp0", NicModel::E1000e),
        (Board::Q35, switch.as_slice(), "down", NicModel::Virtio),
        (Board::Q35, conventional, "bridge,addr=1", NicModel::E1000),
        (Board::Pc, old, "bridge,addr=1", NicModel::E1000),
        (Board::Pc, old, "bridge,addr=1", NicModel::Virtio),
    ] {
        let world = World::new("bridges");
        let disk = world.disk();
        let nic = Nic::on(&world.port, model).options(&format!("bus={bus}"));
        let mut spec = server(&world, nic, virtio(&disk)).board(board);
        for bridge in bridges {
            spec = spec.bridge(bridge);
        }
        println!("{board:?}, {bus}, {model:?}");
        let machine = serves(&world, spec);
        let is_on_the_first = |line: &str| line.contains("eth0: ") && line.contains("at 0000:00:");
        let mut lines = machine.console().lines().into_iter();
        assert!(!lines.any(|line| is_on_the_first(&line.text)), "the NIC is on a bus of its own");
    }
}

#[test]
fn registers_above_4_gib() {
    let world = World::new("bar64");
    let disk = world.disk();
    let nic = Nic::on(&world.port, NicModel::Virtio);
    // A window of 8 GiB, for which the firmware moves all that can be moved.
    let large = ["-object", "memory-backend-ram,id=large,size=8G", "-device", "ivshmem-plain,memdev=large"];
    let spec = server(&world, nic, virtio(&disk).model(DriveModel::Nvme)).args(large);
    let machine = serves(&world, spec);
    let devices = machine.qmp("query-pci", "{}").unwrap();
    let addresses = devices.split("\"address\":").skip(1);
    let number = |text: &str| {
        text.trim_start().split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok())
    };
    let high = addresses.filter_map(number).filter(|address: &u64| *address >= 1 << 32).count();
    // The large one, those of the NIC and those of the disk.
    assert!(high >= 3, "{devices}");
}

#[test]
fn processors_of_all_kinds() {
    // The oldest that QEMU has for 64 bits; without x2APIC; without a TSC that says it is invariant; without RDRAND and RDTSCP.
    for (cpu, cpus) in [
        ("qemu64", 2),
        ("max,-x2apic", 2),
        ("max,-invtsc,-tsc-deadline", 4),
        ("max,-rdrand,-rdseed,-rdtscp", 1),
        ("Nehalem", 2),
    ] {
        let world = World::new("cpus");
        let disk = world.disk();
        let nic = Nic::on(&world.port, NicModel::Virtio);
        println!("{cpu}");
        let machine = serves(&world, server(&world, nic, virtio(&disk)).cpu(cpu).cpus(cpus));
        assert_eq!(shell(&machine, "cpus").len(), cpus as usize, "{cpu}");
    }
}

#[test]
#[ignore = "needs QEMU 9.0 or later, whose emulated processors have x2APIC"]
fn x2apic_processors() {
    let world = World::new("x2apic");
    let disk = world.disk();
    let nic = Nic::on(&world.port, NicModel::Virtio);
    let machine =
        serves(&world, server(&world, nic, virtio(&disk)).cpu("max,+x2apic").cpus(64).memory_mib(512));
    let cpus = shell(&machine, "cpus");
    assert!(cpus.len() == 64 && cpus.iter().all(|line| line.contains(": x2APIC ")), "{cpus:#?}");
}

#[test]
fn sixty_four_processors() {
    let world = World::new("cpus64");
    let disk = world.disk();
    let nic = Nic::on(&world.port, NicModel::Virtio);
    let machine = serves(&world, server(&world, nic, virtio(&disk)).cpus(64).memory_mib(512));
    assert_eq!(shell(&machine, "cpus").len(), 64);
}

#[test]
fn iommus_that_nobody_programs() {
    for device in ["intel-iommu", "amd-iommu"] {
        let world = World::new("iommu");
        let disk = world.disk();
        let nic = Nic::on(&world.port, NicModel::E1000e);
        println!("{device}");
        serves(&world, server(&world, nic, virtio(&disk).model(DriveModel::Nvme)).bridge(device));
    }
}

#[test]
fn clocks_without_hpet() {
    for board in [Board::Q35, Board::Pc] {
        let world = World::new("no-hpet");
        let disk = world.disk();
        let nic = Nic::on(&world.port, NicModel::Virtio);
        serves(&world, server(&world, nic, virtio(&disk)).board(board).args(["-machine", "hpet=off"]));
    }
}

/// A processor that hangs, the first or another, leads to a reset, and the machine serves again and says what happened.
#[test]
fn a_watchdog_resets_a_machine_that_hangs() {
    // The chipset's own needs to be told that no strap forbids it, as QEMU 7.2 has it by default.
    let chipset: &[&str] = &["-global", "ICH9-LPC.noreboot=false"];
    let added: &[&str] = &["-device", "i6300esb"];
    let kinds = [
        (Board::Q35, 0, added, "i6300esb"),
        (Board::Pc, 1, added, "i6300esb"),
        (Board::Q35, 1, chipset, "iTCO_wdt"),
    ];
    for (board, core, args, name) in kinds {
        let world = World::new("watchdog");
        let disk = world.disk();
        let nic = Nic::on(&world.port, NicModel::Virtio);
        let spec = server(&world, nic, virtio(&disk)).board(board).cpus(2).append("watchdog=8");
        let machine = spec.args(args.iter().copied()).start().unwrap();
        machine.expect(&format!("{name} at *: resets the machine when it hangs for 8s"), SOON).unwrap();
        machine.expect("serving NFS", SOON).unwrap();
        // It is fed: more than its time changes nothing.
        std::thread::sleep(Duration::from_secs(12));
        world.assert_serves(SERVER);
        machine.console().send_line(&format!("lockup {core}")).unwrap();
        machine.expect("the last boot was ended by the watchdog", SOON).unwrap();
        machine.expect("serving NFS", SOON).unwrap();
        world.assert_serves(SERVER);
        machine.console().send_line("poweroff").unwrap();
        assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
    }
}

/// Before a reboot the watchdog is stopped: firmware may take longer than its time, and the chipset's counts on through a reset.
#[test]
fn a_watchdog_leaves_a_slow_boot_alone() {
    // The firmware waits for somebody to choose.
    let menu = ["-global", "ICH9-LPC.noreboot=false", "-boot", "menu=on,splash-time=6000"];
    let world = World::new("watchdog-menu");
    let disk = world.disk();
    let nic = Nic::on(&world.port, NicModel::Virtio);
    let machine = server(&world, nic, virtio(&disk)).append("watchdog=2").args(menu).start().unwrap();
    machine.expect("iTCO_wdt at *: resets the machine when it hangs for 2s", SOON).unwrap();
    machine.expect("serving NFS", SOON).unwrap();
    let asked = Instant::now();
    machine.console().send_line("reboot").unwrap();
    machine.expect("iTCO_wdt at *: resets the machine when it hangs for 2s", SOON).unwrap();
    assert!(asked.elapsed() >= Duration::from_secs(6), "nobody waited");
    machine.expect("serving NFS", SOON).unwrap();
    let said = machine.console().transcript();
    assert!(!said.contains("ended by the watchdog"), "{said}");
}

/// Who reads the screen after a panic is not disturbed.
#[test]
fn a_watchdog_leaves_a_halted_machine_alone() {
    for args in [["-device", "i6300esb"], ["-global", "ICH9-LPC.noreboot=false"]] {
        let world = World::new("watchdog-halt");
        let disk = world.disk();
        let nic = Nic::on(&world.port, NicModel::Virtio);
        let spec = server(&world, nic, virtio(&disk)).append("watchdog=2 panic=0");
        let machine = spec.args(args).start().unwrap();
        machine.expect("resets the machine when it hangs for 2s", SOON).unwrap();
        machine.expect("serving NFS", SOON).unwrap();
        machine.console().send_line("panic").unwrap();
        machine.expect("panic: halt", SOON).unwrap();
        assert!(machine.expect("booted by", Duration::from_secs(8)).is_err(), "it was reset");
    }
}
