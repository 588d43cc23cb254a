//! From the start of QEMU to the service of a role, by each way to boot, beside a Linux guest that its kernel is given to.
//!
//! Most of it is the firmware's and the loader's time; what is ours is in the rows without firmware.

use super::Plan;
use super::report::{Report, median};
use super::servers::{LONG, failed};
use crate::Appliance;
use crate::boot::{Site, esp, iso};
use keelson_qemu::{
    Bench, Drive, Firmware, LinuxGuest, LinuxSpec, MachineSpec, NetLoader, Nic, NicModel, Result,
};
use std::fs;

/// The role: one without a disk.
const ROLE: &str = "lnet-router";
const SERVING: &str = "LNet: Accept secure";
/// What part of Linux's time we may take where both are given to QEMU.
const TARGET: f64 = 0.25;

/// A way to boot: its name, its machine, and the key that chooses the role from a menu.
type Way = (&'static str, fn(&Bench, &Site) -> MachineSpec, Option<&'static str>);

const WAYS: [Way; 8] = [
    ("QEMU -kernel, PVH", |bench, _| direct(bench).kernel(Appliance::elf(ROLE)), None),
    ("QEMU -kernel, image", |bench, _| direct(bench).kernel(Appliance::image(ROLE)), None),
    ("PXELINUX", |bench, site| network(bench, site, NetLoader::Ipxe, "pxelinux.0"), None),
    ("iPXE, BIOS", |bench, site| network(bench, site, NetLoader::Ipxe, "boot.ipxe"), None),
    ("iPXE, UEFI", |bench, site| uefi(network(bench, site, NetLoader::Ipxe, "boot.ipxe")), None),
    (
        "UEFI PXE",
        |bench, site| uefi(network(bench, site, NetLoader::Firmware, "keelson/lnet-router.img")),
        None,
    ),
    (
        "UEFI disk",
        |bench, _| {
            let esp = esp(bench.dir(), &Appliance::image(ROLE));
            uefi(direct(bench).drive(Drive::directory(&esp).boots()))
        },
        None,
    ),
    ("GRUB on a CD, BIOS", |bench, _| direct(bench).cd(iso()), Some("l")),
];

fn direct(bench: &Bench) -> MachineSpec {
    bench.machine("m").nic(Nic::user(NicModel::Virtio))
}

fn network(bench: &Bench, site: &Site, loader: NetLoader, first: &str) -> MachineSpec {
    bench.machine("m").nic(site.nic(ROLE, NicModel::Virtio, loader, first))
}

fn uefi(spec: MachineSpec) -> MachineSpec {
    spec.firmware(Firmware::Uefi)
}

/// Runs the plan and prints as it goes.
pub fn run(plan: &Plan) -> Result<()> {
    let mut report = Report::new("machine", "linux");
    let size = fs::metadata(Appliance::image(ROLE)).map_err(failed("measure the image"))?.len();
    println!("boot to service of {ROLE}, an image of {} KiB", size >> 10);
    report.quantities();
    let mut linux = Vec::new();
    for _ in 0..plan.rounds {
        linux.push(boot_linux()?);
    }
    let linux = median(linux);
    for (name, machine, key) in WAYS.iter().filter(|(name, ..)| plan.wants(name)) {
        let mut ours = Vec::new();
        for _ in 0..plan.rounds {
            ours.push(boot(*machine, *key)?);
        }
        // Linux has no firmware to wait for.
        let target = if name.starts_with("QEMU") { TARGET } else { f64::INFINITY };
        report.quantity(name, "ms", median(ours), linux, target);
    }
    report.end();
    Ok(())
}

/// Milliseconds until the role serves.
fn boot(machine: fn(&Bench, &Site) -> MachineSpec, key: Option<&str>) -> Result<f64> {
    let bench = Bench::new("bench-boot");
    let site = Site::new(bench.dir());
    let machine = machine(&bench, &site).start()?;
    if let Some(key) = key {
        machine.expect("LWK compute node", LONG)?;
        machine.console().send(key)?;
    }
    machine.expect(SERVING, LONG)?;
    Ok(machine.started().elapsed().as_secs_f64() * 1e3)
}

/// Milliseconds until a guest takes commands.
fn boot_linux() -> Result<f64> {
    let bench = Bench::new("bench-boot-linux");
    let guest = LinuxGuest::boot(&bench, LinuxSpec::new("linux"))?;
    Ok(guest.machine().started().elapsed().as_secs_f64() * 1e3)
}
