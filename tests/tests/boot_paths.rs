//! The ways to boot that a site has: BIOS and UEFI, over the network, from disks and CDs, and directly. Always with the very
//! file that `make images` leaves, and with the examples of `images/pxe`.
//!
//! Each asserts how the image was entered, what arrived of the command line, and that the role does its work.

use std::net::Ipv4Addr;
use std::time::Duration;

use keelson_qemu::{
    Bench, Board, DhcpConfig, Drive, Ext4Spec, Firmware, Machine, MachineSpec, NetLoader, Nic, NicModel,
};
use keelson_tests::Appliance;
use keelson_tests::boot::{HttpServer, Site, boot64, esp, iso, systemd_boot, unified};
use keelson_tests::world::{SERVER, World};

/// Firmware is slow in emulation, and more so beside other tests.
const BOOTED: Duration = Duration::from_secs(240);

/// What each role says when it does its work.
const SERVING: [(&str, &str); 4] = [
    ("nfs-server", "serving NFS on port 2049"),
    ("lnet-router", "LNet: Accept secure, port 988"),
    ("qnet-node", "qnet: mounted as /net"),
    ("lwk-compute", "lwk: hosts may connect to TCP port 8810 with the key"),
];

/// Starts the machine; see [`served`].
fn boots(spec: MachineSpec, role: &str, line: &str, entered: &str) -> Machine {
    let machine = spec.start().unwrap();
    served(&machine, role, line, entered);
    machine
}

/// Waits for the service, then looks what was said on the way: which role it is, the command line as it was put together, how
/// the image was entered. What stands in front of a log line may be the firmware's.
fn served(machine: &Machine, role: &str, line: &str, entered: &str) {
    let (_, serving) = SERVING.iter().find(|(name, _)| *name == role).unwrap();
    machine.expect(serving, BOOTED).unwrap();
    let said = machine.console().lines();
    let after = |what: &str| {
        let found = said.iter().find_map(|line| line.text.split_once(what));
        found.unwrap_or_else(|| panic!("{what:?} on the console")).1.to_string()
    };
    assert!(after("kernel: Keelson ").ends_with(&format!(" {role}")));
    assert_eq!(after("config: command line: "), line);
    let loader = after("kernel: booted by ");
    assert!(loader.starts_with(&format!("{entered} at 0x")), "{loader}");
    assert!(!machine.console().contains("no ACPI tables"));
}

/// A NIC that nothing is booted from.
fn user() -> Nic {
    Nic::user(NicModel::Virtio)
}

// ---- BIOS, over the network ----

#[test]
fn pxelinux() {
    let bench = Bench::new("pxelinux");
    let site = Site::new(bench.dir());
    let disk = bench.ext4("data", &Ext4Spec::new(16 << 20)).unwrap();
    let nic = site.nic("nfs-server", NicModel::E1000e, NetLoader::Ipxe, "pxelinux.0");
    let spec = bench.machine("m").nic(nic).drive(Drive::file(disk.path()));
    // The machine's own file, by its MAC address.
    let line = "ip=dhcp BOOT_IMAGE=keelson/nfs-server.img ip=dhcp hostname=files nfs.exports=\"/ 10.0.0.0/8(rw) ; /pub *(ro)\"";
    let machine = boots(spec, "nfs-server", line, "Linux (loader 0x30)");
    assert!(machine.console().contains("eth0: e1000e at"));
}

#[test]
fn pxelinux_without_a_file_for_the_machine() {
    let bench = Bench::new("pxelinux-default");
    let site = Site::new(bench.dir());
    let nic = site.nic("lnet-router", NicModel::Virtio, NetLoader::Ipxe, "pxelinux.0");
    let line = "ip=dhcp BOOT_IMAGE=keelson/lnet-router.img ip=dhcp lnet.networks=tcp0(eth0)";
    boots(bench.machine("m").board(Board::Pc).nic(nic), "lnet-router", line, "Linux (loader 0x30)");
}

#[test]
fn ipxe_with_two_nics() {
    let bench = Bench::new("ipxe");
    let site = Site::new(bench.dir());
    let nic = site.nic("lnet-router", NicModel::Virtio, NetLoader::Ipxe, "boot.ipxe");
    // iPXE knows NICs that it has a ROM for.
    let other = user().boots(NetLoader::Ipxe);
    let line = "ip=dhcp ip=dhcp hostname=router lnet.networks=tcp0(eth0),tcp1(eth1)";
    boots(bench.machine("m").nic(nic).nic(other), "lnet-router", line, "Linux (loader 0x46)");
}

#[test]
fn ipxe_with_a_key_as_initial_ram_disk() {
    let bench = Bench::new("ipxe-key");
    let site = Site::new(bench.dir());
    let nic = site.nic("lwk-compute", NicModel::E1000, NetLoader::Ipxe, "boot.ipxe");
    let spec = bench.machine("m").board(Board::Pc).cpus(2).nic(nic);
    let machine = boots(spec, "lwk-compute", "ip=dhcp ip=dhcp hostname=compute4", "Linux (loader 0x46)");
    assert!(!machine.console().contains("5a5a5a"), "the key is not shown");
}

#[test]
fn grub_over_the_network() {
    let bench = Bench::new("grub-network");
    let site = Site::new(bench.dir()).with_grub();
    let nic = site.nic("qnet-node", NicModel::Virtio, NetLoader::Ipxe, "boot/grub/i386-pc/core.0");
    let line = "BOOT_IMAGE=/keelson/qnet-node.img ip=dhcp hostname=node3";
    boots(bench.machine("m").nic(nic), "qnet-node", line, "Linux (loader 0x72)");
}

/// A host on the virtual network that gives addresses and URIs.
fn boots_over_http(world: &World, uri: &str) {
    world.host.serve_dhcp(DhcpConfig {
        server: Ipv4Addr::new(10, 0, 0, 9),
        first: Ipv4Addr::new(10, 0, 0, 1),
        prefix: 24,
        router: None,
        ntp: Vec::new(),
        dns: vec![],
        host_name: None,
        boot_uri: Some(uri.into()),
        lease_seconds: 3600,
    });
}

#[test]
fn ipxe_over_http() {
    let world = World::new("ipxe-http");
    let site = Site::new(world.bench.dir());
    let http = HttpServer::start(&world.host, &site.path(""));
    boots_over_http(&world, "http://10.0.0.9/boot.ipxe");
    let nic = Nic::on(&world.port, NicModel::Virtio).boots(NetLoader::Ipxe);
    let spec = world.bench.machine("m").nic(nic);
    // No script has its MAC address.
    let _machine = boots(spec, "qnet-node", "ip=dhcp", "Linux (loader 0x46)");
    assert!(http.requests().iter().any(|line| line.starts_with("GET /keelson/qnet-node.img ")));
    world.host.wait_for(SERVER.parse().unwrap(), BOOTED).unwrap();
}

// ---- UEFI, over the network ----

#[test]
fn uefi_pxe_without_a_command_line() {
    let bench = Bench::new("uefi-pxe");
    let site = Site::new(bench.dir());
    let nic = site.nic("lnet-router", NicModel::Virtio, NetLoader::Firmware, "keelson/lnet-router.img");
    let spec = bench.machine("m").firmware(Firmware::Uefi).nic(nic);
    let machine = boots(spec, "lnet-router", "ip=dhcp", "Efi (loader 0x00)");
    assert!(machine.console().contains("Added LNI 10.0.2.15@tcp"), "a node with an address");
}

/// Over HTTP; `make bench-boot` goes over TFTP.
#[test]
fn ipxe_on_uefi() {
    let world = World::new("uefi-ipxe");
    let site = Site::new(world.bench.dir());
    let _http = HttpServer::start(&world.host, &site.path(""));
    boots_over_http(&world, "http://10.0.0.9/boot.ipxe");
    let nic = Nic::on(&world.port, NicModel::Virtio).mac(Site::mac("lnet-router")).boots(NetLoader::Ipxe);
    let spec = world.bench.machine("m").firmware(Firmware::Uefi).nic(nic);
    // iPXE puts the name of the image in front here.
    let line = "ip=dhcp lnet-router.img ip=dhcp hostname=router lnet.networks=tcp0(eth0)";
    let _machine = boots(spec, "lnet-router", line, "Efi (loader 0x00)");
    world.host.wait_for(SERVER.parse().unwrap(), BOOTED).unwrap();
}

#[test]
fn uefi_over_http() {
    let world = World::new("uefi-http");
    let site = Site::new(world.bench.dir());
    let http = HttpServer::start(&world.host, &site.path(""));
    boots_over_http(&world, "http://10.0.0.9/keelson/lnet-router.efi");
    let nic = Nic::on(&world.port, NicModel::Virtio).boots(NetLoader::Firmware);
    // Else the firmware looks for PXE first, for minutes.
    let no_pxe = ["IPv4", "IPv6"].map(|ip| format!("name=opt/org.tianocore/{ip}PXESupport,string=n"));
    let no_pxe = no_pxe.iter().flat_map(|name| ["-fw_cfg", name]);
    let spec = world.bench.machine("m").firmware(Firmware::Uefi).nic(nic).args(no_pxe);
    let _machine = boots(spec, "lnet-router", "ip=dhcp", "Efi (loader 0x00)");
    assert!(http.requests().iter().any(|line| line.starts_with("GET /keelson/lnet-router.efi ")));
    world.host.wait_for(SERVER.parse().unwrap(), BOOTED).unwrap();
}

// ---- UEFI, from disks ----

#[test]
fn uefi_disk_without_a_command_line() {
    let bench = Bench::new("uefi-disk");
    let data = bench.ext4("data", &Ext4Spec::new(16 << 20)).unwrap();
    let esp = esp(bench.dir(), &Appliance::image("nfs-server"));
    // The first disk is the data's.
    let spec = bench.machine("m").firmware(Firmware::Uefi).nic(user());
    let spec = spec.drive(Drive::file(data.path())).drive(Drive::directory(&esp).boots());
    boots(spec, "nfs-server", "ip=dhcp", "Efi (loader 0x00)");
}

#[test]
fn unified_kernel_image() {
    let bench = Bench::new("unified");
    let data = bench.ext4("data", &Ext4Spec::new(16 << 20)).unwrap();
    let line = "fs=vdb nfs.exports=\"/ *(ro)\"";
    let esp = esp(bench.dir(), &unified(bench.dir(), &Appliance::image("nfs-server"), line, None));
    let spec = bench.machine("m").firmware(Firmware::Uefi).nic(user());
    let spec = spec.drive(Drive::directory(&esp).boots()).drive(Drive::file(data.path()));
    boots(spec, "nfs-server", &format!("ip=dhcp {line}"), "Efi (loader 0x00)");
}

/// It hands the text over as a file of its own (LoadFile2), which the image reads before the firmware is gone.
#[test]
fn unified_kernel_image_with_an_initial_ram_disk() {
    let bench = Bench::new("unified-initrd");
    let data = bench.ext4("data", &Ext4Spec::new(16 << 20)).unwrap();
    let file = unified(bench.dir(), &Appliance::image("nfs-server"), "fs=vdb", Some(&long_text()));
    let esp = esp(bench.dir(), &file);
    let spec = bench.machine("m").firmware(Firmware::Uefi).nic(user());
    let spec = spec.drive(Drive::directory(&esp).boots()).drive(Drive::file(data.path()));
    boots(spec, "nfs-server", &with_text("ip=dhcp fs=vdb", &long_text()), "Efi (loader 0x00)");
}

#[test]
fn systemd_boot_with_configuration_as_initial_ram_disk() {
    let bench = Bench::new("systemd-boot");
    let data = bench.ext4("data", &Ext4Spec::new(16 << 20)).unwrap();
    let esp = systemd_boot(bench.dir(), &Appliance::image("nfs-server"), "fs=vdb", &long_text());
    let spec = bench.machine("m").firmware(Firmware::Uefi).nic(user());
    let spec = spec.drive(Drive::directory(&esp).boots()).drive(Drive::file(data.path()));
    // It names the file on the command line as well.
    let line = with_text("ip=dhcp initrd=\\keelson.txt fs=vdb", &long_text());
    boots(spec, "nfs-server", &line, "Efi (loader 0x00)");
}

/// Debian's iPXE offers files only: the command line names the one that is meant.
#[test]
fn ipxe_on_uefi_with_a_file_as_initial_ram_disk() {
    let world = World::new("uefi-ipxe-initrd");
    let site = Site::new(world.bench.dir());
    let text = "hostname=by-file\n";
    std::fs::write(site.path("keelson/node.txt"), text).unwrap();
    let script = "#!ipxe\nkernel keelson/lnet-router.img initrd=node.txt\ninitrd keelson/node.txt\nboot\n";
    std::fs::write(site.path("file.ipxe"), script).unwrap();
    let _http = HttpServer::start(&world.host, &site.path(""));
    boots_over_http(&world, "http://10.0.0.9/file.ipxe");
    let nic = Nic::on(&world.port, NicModel::Virtio).mac(Site::mac("lnet-router")).boots(NetLoader::Ipxe);
    let spec = world.bench.machine("m").firmware(Firmware::Uefi).nic(nic);
    let line = with_text("ip=dhcp lnet-router.img initrd=node.txt", text);
    let _machine = boots(spec, "lnet-router", &line, "Efi (loader 0x00)");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let bench = Bench::new("efi-no-file");
    let line = "initrd=\\no\\such.txt";
    let esp = esp(bench.dir(), &unified(bench.dir(), &Appliance::image("lnet-router"), line, None));
    let spec = bench.machine("m").firmware(Firmware::Uefi).nic(user()).drive(Drive::directory(&esp).boots());
    let machine = boots(spec, "lnet-router", &format!("ip=dhcp {line}"), "Efi (loader 0x00)");
    assert!(
        machine.console().contains("initrd=: the file on the volume that the image is from cannot be read")
    );
}

// ---- GRUB, from a CD ----

/// Presses the key of a menu entry.
fn grub(spec: MachineSpec, key: &str, role: &str, line: &str) {
    let machine = spec.cd(iso()).start().unwrap();
    machine.expect("GNU GRUB", BOOTED).unwrap();
    machine.expect("LWK compute node", BOOTED).unwrap();
    machine.console().send(key).unwrap();
    served(&machine, role, line, "Linux (loader 0x72)");
}

#[test]
fn grub_on_bios() {
    let bench = Bench::new("grub-bios");
    let spec = bench.machine("m").nic(user());
    grub(spec, "q", "qnet-node", "BOOT_IMAGE=/keelson/qnet-node.img ip=dhcp");
}

#[test]
fn grub_on_uefi() {
    let bench = Bench::new("grub-uefi");
    let data = bench.ext4("data", &Ext4Spec::new(16 << 20)).unwrap();
    let spec = bench.machine("m").firmware(Firmware::Uefi).nic(user()).drive(Drive::file(data.path()));
    // It puts its quotes around the whole word.
    let line = "ip=dhcp BOOT_IMAGE=/keelson/nfs-server.img ip=dhcp \"nfs.exports=/ *(ro)\"";
    grub(spec, "n", "nfs-server", line);
}

// ---- Directly ----

/// An initial RAM disk with more words than a command line has room for.
fn long_text() -> String {
    let mut text = "# more than 4095 bytes\nhostname=of-the-text\nnfs.exports=\"/ *(rw)\"\n".to_string();
    for host in 0..300 {
        text += &format!("nfs.hosts=10.0.{}.{}=h{host}\n", host / 250, host % 250);
    }
    assert!(text.len() > 4096);
    text
}

/// What becomes of it behind the words before.
fn with_text(line: &str, text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.fold(line.to_string(), |line, more| format!("{line} {more}"))
}

#[test]
fn pvh_on_microvm_with_configuration_as_initial_ram_disk() {
    let bench = Bench::new("microvm");
    let data = bench.ext4("data", &Ext4Spec::new(16 << 20)).unwrap();
    let text = bench.dir().join("text");
    std::fs::write(&text, long_text()).unwrap();
    let spec = bench.machine("m").board(Board::Microvm).kernel(Appliance::elf("nfs-server")).initrd(&text);
    let spec = spec.append("hostname=of-the-line").nic(user()).drive(Drive::file(data.path()));
    let line = with_text("ip=dhcp hostname=of-the-line", &long_text());
    boots(spec, "nfs-server", &line, "Pvh (loader 0x00)");
}

#[test]
fn the_64_bit_entry_with_configuration_as_initial_ram_disk() {
    let bench = Bench::new("boot64");
    let data = bench.ext4("data", &Ext4Spec::new(16 << 20)).unwrap();
    let (loader, module) = boot64(bench.dir(), &Appliance::image("nfs-server"), long_text().as_bytes());
    let spec = bench.machine("m").kernel(loader).initrd(module).append("log=info");
    let spec = spec.nic(user()).drive(Drive::file(data.path()));
    let line = with_text("ip=dhcp log=info", &long_text());
    let machine = boots(spec, "nfs-server", &line, "Linux (loader 0xff)");
    assert!(machine.console().contains("at 0x1000000; "), "where the loader put it");
}

#[test]
fn an_initrd_of_linux_is_refused_and_named() {
    let bench = Bench::new("initramfs");
    let archive = bench.dir().join("initramfs");
    std::fs::write(&archive, b"070701\0\0\0\0 and so on").unwrap();
    let spec = bench.machine("m").kernel(Appliance::image("qnet-node")).initrd(&archive).nic(user());
    let machine = boots(spec, "qnet-node", "", "Linux (loader 0xb0)");
    assert!(machine.console().contains("initial RAM disk of 20 bytes is ignored: byte 6 is not of a text"));
}
