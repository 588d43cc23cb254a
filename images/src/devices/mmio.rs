//! Virtio devices in register windows: machines without PCI, such as QEMU's `microvm`.

use super::{Devices, polled};
use crate::Node;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use keelson_drivers::virtio::MmioTransport;
use keelson_hal::{Interrupt, Registers};
use keelson_kernel::irq::{self, Wire};
use keelson_kernel::mm;

/// Where QEMU's `microvm` has its windows when the firmware describes them in AML only, which we do not run.
const MICROVM_BASE: u64 = 0xfeb0_0000;
const MICROVM_WINDOW: u64 = 512;
const MICROVM_WINDOWS: u32 = 8;
/// Wire of its first window; the others follow.
const MICROVM_FIRST_GSI: u32 = 16;

/// Adds what the command line announces, or what `microvm` is known to have.
pub fn find(node: &Node, devices: &mut Devices) {
    let mut announced = false;
    for window in node.config.mmio_devices("virtio_mmio.device") {
        announced = true;
        probe(node, devices, window.base, window.size, window.irq);
    }
    // The windows would be somebody else's registers on a machine with PCI.
    if !announced && node.machine.pci.functions.is_empty() {
        for index in 0..MICROVM_WINDOWS {
            let base = MICROVM_BASE + u64::from(index) * MICROVM_WINDOW;
            probe(node, devices, base, MICROVM_WINDOW, MICROVM_FIRST_GSI + index);
        }
    }
}

fn probe(node: &Node, devices: &mut Devices, base: u64, len: u64, gsi: u32) {
    let place = format!("mmio {base:x}");
    if let Err(error) = try_probe(node, devices, base, len, gsi, place.clone()) {
        log::error!(target: "virtio", "{place}: {error}");
    }
}

fn try_probe(
    node: &Node,
    devices: &mut Devices,
    base: u64,
    len: u64,
    gsi: u32,
    place: String,
) -> Result<(), String> {
    let window = usize::try_from(len).ok().and_then(|len| mm::map_mmio(base, len).ok());
    let registers: Rc<dyn Registers> = Rc::new(window.ok_or("its registers cannot be mapped")?);
    let Some(transport) = MmioTransport::new(registers).map_err(|error| format!("{error}"))? else {
        return Ok(());
    };
    let (transport, interrupt): (_, Rc<dyn Interrupt>) = match irq::legacy(gsi, Wire::LEVEL_HIGH) {
        Some(source) => (transport, Rc::new(source)),
        None => (transport.without_interrupt(), polled()),
    };
    devices.add_virtio(node, Box::new(transport), interrupt, place).map_err(|error| format!("{error}"))
}
