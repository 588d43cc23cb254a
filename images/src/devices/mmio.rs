//! Virtio devices in register windows: machines without PCI, such as QEMU's `microvm`.

use super::{Devices, polled};
use crate::Node;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use keelson_drivers::virtio::{MmioTransport, Transport};
use keelson_hal::{Interrupt, Registers};
use keelson_kernel::irq::{self, Wire};
use keelson_kernel::mm;

/// Where QEMU's `microvm` has its windows when the firmware describes them in AML only, which we do not run.
const MICROVM_BASE: u64 = 0xfeb0_0000;
const MICROVM_WINDOW: u64 = 512;

/// How many windows `microvm` has, and the wire of the first; the others follow. It has two I/O APICs and
/// wires the windows to all pins of the second, or (with `ioapic2=off`) to the last eight of its only one.
fn microvm_windows(io_apics: &[(u64, u32)]) -> (u32, u32) {
    match io_apics.get(1) {
        Some((_, first_gsi)) => (24, *first_gsi),
        None => (8, 16),
    }
}

/// Adds what the command line announces, or what `microvm` is known to have.
pub fn find(node: &Node, devices: &mut Devices) {
    let mut announced = false;
    for window in node.config.mmio_devices("virtio_mmio.device") {
        announced = true;
        probe(node, devices, window.base, window.size, window.irq);
    }
    // The windows would be somebody else's registers on a machine with PCI.
    if !announced && node.machine.pci.functions.is_empty() {
        let (count, first_gsi) = microvm_windows(&node.machine.platform.io_apics);
        // QEMU puts the first device of its command line into the last window.
        for index in (0..count).rev() {
            let base = MICROVM_BASE + u64::from(index) * MICROVM_WINDOW;
            probe(node, devices, base, MICROVM_WINDOW, first_gsi + index);
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
    let transport = MmioTransport::new(registers.clone()).map_err(|error| format!("{error}"))?;
    let Some(transport) = transport else { return Ok(()) };
    let (transport, interrupt): (_, Rc<dyn Interrupt>) = match irq::legacy(gsi, Wire::LEVEL_HIGH) {
        Some(source) => (transport, Rc::new(source)),
        None => (transport.without_interrupt(), polled()),
    };
    let again = move || {
        let transport = MmioTransport::new(registers.clone()).map_err(|error| format!("{error}"))?;
        let transport = transport.ok_or("the device is gone")?.without_interrupt();
        Ok(Box::new(transport) as Box<dyn Transport>)
    };
    devices.add_virtio(node, Box::new(transport), interrupt, place, again).map_err(|error| format!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_the_io_apics() {
        let one = [(0xfec0_0000, 0)];
        assert_eq!(microvm_windows(&one), (8, 16));
        assert_eq!(microvm_windows(&[one[0], (0xfec1_0000, 24)]), (24, 24));
        assert_eq!(microvm_windows(&[]), (8, 16));
    }
}
