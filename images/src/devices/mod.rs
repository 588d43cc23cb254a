//! Finds the machine's devices and gives each its driver.
//!
//! Order is what names depend on: network devices become `eth0, eth1, ...`, disks `vda, vdb, ...`, `sda, sdb, ...` and
//! `nvme0n1, nvme1n1, ...` in the order of their PCI addresses and ports; without PCI in the order of the command line, the
//! loader's or, on QEMU's `microvm`, QEMU's own. A device that cannot be started is reported and left out; the next one takes its
//! name.

mod mmio;
mod pci;

use crate::Node;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use keelson_drivers::ahci::{self, Ahci};
use keelson_drivers::disk::{Disk, Engine, LOOK_PERIOD};
use keelson_drivers::virtio::Transport;
use keelson_drivers::virtio::blk::VirtioBlk;
use keelson_drivers::virtio::console::{Port, VirtioConsole};
use keelson_drivers::virtio::net::VirtioNet;
use keelson_drivers::virtio::rng::VirtioRng;
use keelson_drivers::{DriverKind, InitError, probe_virtio};
use keelson_hal::{BlockDevice, Clock, Dma, Interrupt, NetDevice};
use keelson_kernel::irq;

/// How often a device without any interrupt is looked at.
const POLL_PERIOD: Duration = Duration::from_micros(100);
/// Bytes taken from a hardware random number generator as a seed.
const SEED: usize = 64;

/// A network device ready for the stack.
pub struct Nic {
    /// The driver.
    pub device: Box<dyn NetDevice>,
    /// What wakes its task.
    pub interrupt: Rc<dyn Interrupt>,
    /// Where it is: `0000:00:02.0`, or `mmio feb00e00`.
    pub place: String,
    /// Resets the device and gives it a new driver: for a kernel whose old one is not to be trusted any more.
    pub again: Again,
}

/// Starts a network device again, polled, with this memory.
pub type Again = Box<dyn Fn(Rc<dyn Dma>) -> Result<Box<dyn NetDevice>, String>>;

/// The devices of the machine.
#[derive(Default)]
pub struct Devices {
    /// Network devices in the order of their names.
    pub nics: Vec<Nic>,
    /// Disks in the order of their names, each with its task running.
    pub disks: Vec<Rc<dyn BlockDevice>>,
    /// How many of those are virtio disks, how many SATA disks, and how many NVMe controllers.
    virtio_disks: usize,
    sata_disks: usize,
    controllers: usize,
    /// The role has a use for disks.
    wants_disks: bool,
    /// virtio consoles, each with its task running.
    pub consoles: Vec<Rc<Port>>,
    /// Other ports of virtio consoles, which have names.
    pub ports: Vec<Rc<Port>>,
}

impl Devices {
    /// Looks at PCI, and at the virtio register windows of a machine without.
    pub fn find(node: &Node) -> Devices {
        Devices::default().found(node)
    }

    /// The same for roles that keep something on disks. Others leave disks as they are, whose controllers take their time.
    pub fn find_with_disks(node: &Node) -> Devices {
        Devices { wants_disks: true, ..Devices::default() }.found(node)
    }

    fn found(mut self, node: &Node) -> Devices {
        pci::find(node, &mut self);
        mmio::find(node, &mut self);
        self
    }

    /// Whether a device of this kind is for the role.
    fn wants(&self, kind: DriverKind) -> bool {
        self.wants_disks || !matches!(kind, DriverKind::VirtioBlk | DriverKind::Nvme | DriverKind::Ahci)
    }

    fn add_nic(
        &mut self,
        device: impl NetDevice + 'static,
        interrupt: Rc<dyn Interrupt>,
        place: String,
        again: Again,
    ) {
        self.nics.push(Nic { device: Box::new(device), interrupt, place, again });
    }

    /// Starts a disk's tasks.
    fn add_disk<E: Engine + 'static>(
        &mut self,
        node: &Node,
        task: &'static str,
        disk: Disk<E>,
        interrupt: Rc<dyn Interrupt>,
    ) {
        let disk = Rc::new(disk);
        node.handle.spawn(task, disk.clone().service(interrupt));
        keep_looking(node, "disk-look", alloc::vec![disk.clone()]);
        self.disks.push(disk);
    }

    /// Starts the task of a SATA controller, and keeps the deadlines of its disks.
    fn add_sata(&mut self, node: &Node, disks: Vec<Ahci>, interrupt: Rc<dyn Interrupt>) {
        let disks: Vec<_> = disks.into_iter().map(Rc::new).collect();
        self.sata_disks += disks.len();
        self.disks.extend(disks.iter().map(|disk| disk.clone() as Rc<dyn BlockDevice>));
        node.handle.spawn("ahci", ahci::service(disks.clone(), interrupt));
        keep_looking(node, "ahci-deadlines", disks);
    }

    /// Gives a virtio device its driver. `again` finds the way to it once more, without an interrupt.
    fn add_virtio(
        &mut self,
        node: &Node,
        transport: Box<dyn Transport>,
        interrupt: Rc<dyn Interrupt>,
        place: String,
        again: impl Fn() -> Result<Box<dyn Transport>, String> + 'static,
    ) -> Result<(), InitError> {
        let machine = &node.machine;
        let (dma, clock): (Rc<dyn Dma>, Rc<dyn Clock>) = (machine.dma.clone(), machine.clock.clone());
        let Some(kind) = probe_virtio(transport.device_type()) else {
            log::info!(target: "virtio", "{place}: no driver for virtio device type {}", transport.device_type());
            return Ok(());
        };
        if !self.wants(kind) {
            return Ok(());
        }
        match kind {
            DriverKind::VirtioNet => {
                let again = move |dma| {
                    let device = VirtioNet::new(again()?, dma).map_err(|error| error.to_string())?;
                    Ok(Box::new(device) as Box<dyn NetDevice>)
                };
                self.add_nic(VirtioNet::new(transport, dma)?, interrupt, place, Box::new(again));
            }
            DriverKind::VirtioBlk => {
                let disk = VirtioBlk::new(transport, dma, &disk_name('v', self.virtio_disks))?;
                self.virtio_disks += 1;
                self.add_disk(node, "virtio-blk", disk, interrupt);
            }
            DriverKind::VirtioConsole => {
                let console = VirtioConsole::new(transport, dma, clock)?;
                self.consoles.extend(console.consoles());
                self.ports.extend(console.ports());
                node.handle.spawn("virtio-console", console.service(interrupt));
            }
            DriverKind::VirtioRng => {
                let mut seed = [0; SEED];
                match VirtioRng::new(transport, &dma, clock)?.read(&mut seed) {
                    Ok(()) => machine.entropy.reseed(&seed),
                    Err(error) => log::warn!(target: "virtio", "{place}: {error}; its seed is not used"),
                }
            }
            DriverKind::E1000
            | DriverKind::E1000e
            | DriverKind::Igb
            | DriverKind::Nvme
            | DriverKind::Ahci
            | DriverKind::I6300esb
            | DriverKind::Tco => {}
        }
        Ok(())
    }
}

/// Looks at disks now and then, whatever their interrupts say.
fn keep_looking<E: Engine + 'static>(node: &Node, task: &'static str, disks: Vec<Rc<Disk<E>>>) {
    let handle = node.handle.clone();
    node.handle.spawn(task, async move {
        loop {
            handle.sleep(LOOK_PERIOD).await;
            disks.iter().for_each(|disk| disk.look());
        }
    });
}

/// `vda`, `vdb`, ... `vdz`, `vdaa`, as Linux counts; `sda` for another kind.
fn disk_name(kind: char, mut index: usize) -> String {
    let mut suffix = String::new();
    loop {
        suffix.insert(0, char::from(b'a' + (index % 26) as u8));
        if index < 26 {
            return format!("{kind}d{suffix}");
        }
        index = index / 26 - 1;
    }
}

/// The interrupt of last resort: the clock.
fn polled() -> Rc<dyn Interrupt> {
    Rc::new(irq::timer_polled(POLL_PERIOD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_linux_names_them() {
        let names = [0, 1, 25, 26, 27, 701, 702].map(|index| disk_name('v', index));
        assert_eq!(names, ["vda", "vdb", "vdz", "vdaa", "vdab", "vdzz", "vdaaa"]);
        assert_eq!(disk_name('s', 2), "sdc");
    }
}
