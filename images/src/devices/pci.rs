//! PCI functions: their register windows, their interrupts, their drivers.

use super::{Devices, disk_name, polled};
use crate::{Node, watchdog};
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use core::cell::RefCell;
use core::time::Duration;
use keelson_drivers::ahci;
use keelson_drivers::e1000::{Chip, E1000, InterruptMode};
use keelson_drivers::igb::Igb;
use keelson_drivers::nvme::Nvme;
use keelson_drivers::virtio::{PciCapabilities, PciTransport, Transport};
use keelson_drivers::watchdog::i6300esb::{self, I6300esb, Space};
use keelson_drivers::watchdog::tco::{self, Tco};
use keelson_drivers::{DriverKind, InitError, PciId, probe_pci};
use keelson_hal::{Dma, Interrupt, NetDevice, Registers};
use keelson_kernel::arch::port::Ports;
use keelson_kernel::irq;
use keelson_kernel::mm;
use keelson_kernel::options;
use keelson_kernel::pci::{Address, Bar, ConfigAccess, Function, MsiXTable};
use keelson_kernel::pci_host::PciHost;
use keelson_kernel::watchdog::{self as kernel_watchdog, Switch, Watchdog};

/// The MSI-X entry every cause of a device is sent through. igb uses the one behind it, too, which does the same.
const ENTRY: u16 = 0;

/// Starts the driver of every function that has one.
pub fn find(node: &Node, devices: &mut Devices) {
    for function in &node.machine.pci.functions {
        let id = PciId { vendor: function.vendor, device: function.device };
        let class = function.class;
        let Some(kind) = probe_pci(id, (class.base, class.sub, class.interface)) else { continue };
        if !devices.wants(kind) {
            continue;
        }
        if let Err(error) = start(node, devices, function, id, kind) {
            log::error!(
                target: "pci",
                "{}: device {:04x}:{:04x} is left out: {error}",
                function.address,
                id.vendor,
                id.device
            );
        }
    }
}

fn start(
    node: &Node,
    devices: &mut Devices,
    function: &Function,
    id: PciId,
    kind: DriverKind,
) -> Result<(), String> {
    let machine = &node.machine;
    let access = &*machine.pci;
    if kind == DriverKind::Tco {
        // A bridge, which is left as it is.
        return start_tco(node, function);
    }
    let bars = Rc::new(Bars { sizes: function.size_bars(access), mapped: RefCell::default() });
    function.enable_decoding(access);
    if kind == DriverKind::I6300esb {
        // It neither reads memory nor interrupts.
        return start_i6300esb(node, function, &bars);
    }
    function.set_bus_master(access, true);
    let (interrupt, delivery) = interrupt_of(node, function, &bars);
    let place = function.address.to_string();
    match kind {
        DriverKind::E1000 | DriverKind::E1000e => {
            let registers = bars.get(0).ok_or("its registers (BAR 0) cannot be mapped")?;
            let chip = if kind == DriverKind::E1000 { Chip::I82540em } else { Chip::I82574l };
            let (clock, mode) = (machine.clock.clone(), delivery.mode());
            let start = move |dma, mode| E1000::new(chip, registers.clone(), dma, clock.clone(), mode);
            add_intel(devices, machine.dma.clone(), mode, interrupt, place, start)
        }
        DriverKind::Igb => {
            let registers = bars.get(0).ok_or("its registers (BAR 0) cannot be mapped")?;
            let (clock, mode) = (machine.clock.clone(), delivery.mode());
            let start = move |dma, mode| Igb::new(registers.clone(), dma, clock.clone(), mode);
            add_intel(devices, machine.dma.clone(), mode, interrupt, place, start)
        }
        DriverKind::Nvme => {
            let registers = bars.get(0).ok_or("its registers (BAR 0) cannot be mapped")?;
            let (dma, clock) = (machine.dma.clone(), machine.clock.clone());
            let name = format!("nvme{}n1", devices.controllers);
            let disk = Nvme::new(registers, dma, clock, &name).map_err(|error| error.to_string())?;
            devices.controllers += 1;
            devices.add_disk(node, "nvme", disk, interrupt);
            Ok(())
        }
        DriverKind::Ahci => {
            let registers = bars.get(5).ok_or("its registers (BAR 5) cannot be mapped")?;
            let (dma, clock) = (machine.dma.clone(), machine.clock.clone());
            let first = devices.sata_disks;
            let disks = ahci::start(registers, dma, clock, |index| disk_name('s', first + index))
                .map_err(|error| error.to_string())?;
            devices.add_sata(node, disks, interrupt);
            Ok(())
        }
        _ => {
            let vector = (delivery == Delivery::MsiX).then_some(ENTRY);
            let mut transport = virtio_transport(access, function, id, &bars, vector)?;
            if delivery == Delivery::None {
                transport = transport.without_interrupt();
            }
            let (host, function) = (machine.pci.clone(), function.clone());
            let again = move || {
                let transport = virtio_transport(&host, &function, id, &bars, None)?;
                Ok(Box::new(transport.without_interrupt()) as Box<dyn Transport>)
            };
            devices
                .add_virtio(node, Box::new(transport), interrupt, place, again)
                .map_err(|error| error.to_string())
        }
    }
}

/// Starts one of Intel's NICs.
fn add_intel<N: NetDevice + 'static>(
    devices: &mut Devices,
    dma: Rc<dyn Dma>,
    mode: InterruptMode,
    interrupt: Rc<dyn Interrupt>,
    place: String,
    start: impl Fn(Rc<dyn Dma>, InterruptMode) -> Result<N, InitError> + 'static,
) -> Result<(), String> {
    let device = start(dma, mode).map_err(|error| error.to_string())?;
    let again = move |dma| {
        let device = start(dma, InterruptMode::Polled).map_err(|error| error.to_string())?;
        Ok(Box::new(device) as Box<dyn NetDevice>)
    };
    devices.add_nic(device, interrupt, place, Box::new(again));
    Ok(())
}

fn virtio_transport(
    access: &PciHost,
    function: &Function,
    id: PciId,
    bars: &Bars,
    vector: Option<u16>,
) -> Result<PciTransport, String> {
    let read32 = |offset| access.read32(function.address, offset);
    let capabilities = PciCapabilities::find(&read32).map_err(|error| error.to_string())?;
    PciTransport::new(id, &capabilities, &|bar| bars.get(bar), vector).map_err(|error| error.to_string())
}

fn start_i6300esb(node: &Node, function: &Function, bars: &Bars) -> Result<(), String> {
    let registers = bars.get(0).ok_or("its registers (BAR 0) cannot be mapped")?;
    let timeout = watchdog_time(node);
    let space = ConfigurationSpace(&node.machine.pci, function.address);
    function.disable_intx(space.0);
    let device = I6300esb::new(registers, &space, timeout).map_err(|error| error.to_string())?;
    let (offset, running) = (i6300esb::LOCK, i6300esb::ENABLE);
    let switch = Switch::Configuration { address: function.address, offset, stopped: 0, running };
    if let Some(timeout) = timeout {
        kernel_watchdog::runs(Watchdog { switch, timeout });
    }
    watchdog::start(node, device, timeout, &format!("i6300esb at {}", function.address));
    Ok(())
}

fn start_tco(node: &Node, function: &Function) -> Result<(), String> {
    let read32 = |offset| node.machine.pci.read32(function.address, offset);
    let place = tco::Place::find(&read32).map_err(|error| error.to_string())?;
    let gcs = mm::map_mmio(place.gcs, 4).map_err(|_| "its register GCS cannot be mapped")?;
    let timeout = watchdog_time(node);
    let device = Tco::new(Rc::new(Ports), place.ports, &gcs, timeout).map_err(|error| error.to_string())?;
    if let Some(timeout) = timeout {
        let tco::Switch { control, stopped, running, reload } = device.switch();
        let switch = Switch::Port { control, stopped, running, reload };
        kernel_watchdog::runs(Watchdog { switch, timeout });
    }
    watchdog::start(node, device, timeout, &format!("iTCO_wdt at {}", function.address));
    Ok(())
}

/// What a watchdog is to be told: one is enough.
fn watchdog_time(node: &Node) -> Option<Duration> {
    options::watchdog(&node.config).filter(|_| node.watchdog.timeout() == Duration::ZERO)
}

/// The configuration space of a function.
struct ConfigurationSpace<'a>(&'a PciHost, Address);

impl Space for ConfigurationSpace<'_> {
    fn write16(&self, offset: u16, value: u16) {
        self.0.write16(self.1, offset, value);
    }
    fn write8(&self, offset: u16, value: u8) {
        self.0.write8(self.1, offset, value);
    }
}

/// The function's memory BARs, mapped when asked for.
struct Bars {
    sizes: [Option<Bar>; 6],
    mapped: RefCell<[Option<Rc<dyn Registers>>; 6]>,
}

impl Bars {
    fn get(&self, index: u8) -> Option<Rc<dyn Registers>> {
        let index = usize::from(index);
        let mut mapped = self.mapped.borrow_mut();
        let place = mapped.get_mut(index)?;
        if place.is_none() {
            let Bar::Memory { base, len, .. } = self.sizes[index]? else { return None };
            if base == 0 {
                // The firmware assigned none, and neither do we.
                return None;
            }
            *place = Some(Rc::new(mm::map_mmio(base, usize::try_from(len).ok()?).ok()?));
        }
        place.clone()
    }
}

/// How a function's interrupts arrive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// By message through the entry [`ENTRY`] of its MSI-X table, and the one behind it.
    MsiX,
    /// By its only message, or its line.
    Plain,
    /// Not at all.
    None,
}

impl Delivery {
    /// The same for the drivers of Intel's NICs.
    fn mode(self) -> InterruptMode {
        match self {
            Delivery::MsiX => InterruptMode::Msix(ENTRY as u8),
            Delivery::Plain => InterruptMode::Plain,
            Delivery::None => InterruptMode::Polled,
        }
    }
}

/// What wakes the function's task, and how that arrives: a message if it can send one; else its line,
/// where the firmware's routing can be trusted; else the clock.
fn interrupt_of(node: &Node, function: &Function, bars: &Bars) -> (Rc<dyn Interrupt>, Delivery) {
    let access = &*node.machine.pci;
    if let Some(msix) = function.msi_x(access, &bars.sizes)
        && let Some(registers) = bars.get(msix.table_bar as u8)
        && let Some(table) = MsiXTable::new(registers, msix.table_offset as usize, msix.vectors)
        && let Some((source, message)) = irq::allocate()
    {
        function.disable_intx(access);
        (ENTRY..table.vectors().min(ENTRY + 2)).for_each(|entry| table.set(entry, message));
        msix.set_enabled(access, true);
        return (Rc::new(source), Delivery::MsiX);
    }
    if let Some(msi) = function.msi(access)
        && let Some((source, message)) = irq::allocate()
    {
        function.disable_intx(access);
        if msi.enable(access, message) {
            return (Rc::new(source), Delivery::Plain);
        }
    }
    // How a pin is wired to the I/O APIC stands in AML, which we do not run. The line register tells it too
    // where the firmware wired PCI to one of the ISA wires and says so in an override: that is level-triggered.
    if function.interrupt_pin != 0 && function.interrupt_line < 16 {
        let (gsi, wire) = node.machine.platform.isa_wire(function.interrupt_line);
        if wire.level
            && let Some(source) = irq::legacy(gsi, wire)
        {
            return (Rc::new(source), Delivery::Plain);
        }
    }
    function.disable_intx(access);
    log::info!(
        target: "pci",
        "{}: no interrupt that can be used; polled every {:?}",
        function.address,
        super::POLL_PERIOD
    );
    (polled(), Delivery::None)
}
