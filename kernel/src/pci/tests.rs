//! Against configuration spaces in the shape of QEMU's machines, and against devices that lie.

use super::*;
use keelson_hal::Registers;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

/// 256 bytes of a function: values, and which bits a write changes.
#[derive(Clone)]
struct Space {
    words: [u32; 64],
    writable: [u32; 64],
}

#[derive(Default)]
struct Bus {
    functions: RefCell<BTreeMap<Address, Space>>,
    resets: Cell<u32>,
}

impl ConfigAccess for Bus {
    fn read32(&self, at: Address, offset: u16) -> u32 {
        assert_eq!(offset % 4, 0);
        self.functions.borrow().get(&at).map_or(u32::MAX, |space| space.words[usize::from(offset / 4)])
    }
    fn write32(&self, at: Address, offset: u16, value: u32) {
        assert_eq!(offset % 4, 0);
        let mut functions = self.functions.borrow_mut();
        let Some(space) = functions.get_mut(&at) else { return };
        let index = usize::from(offset / 4);
        if (4..10).contains(&index) && space.words[3] >> 16 & 0x7f == 0 {
            assert_eq!(space.words[1] & 3, 0, "a BAR of {at} is written while it decodes");
        }
        if offset == EXPRESS + 8 && value & 1 << 15 != 0 {
            // A function level reset: BARs and command are lost.
            self.resets.set(self.resets.get() + 1);
            (4..10).for_each(|bar| space.words[bar] &= !space.writable[bar]);
            space.words[1] &= !space.writable[1];
            return;
        }
        let mask = space.writable[index];
        space.words[index] = space.words[index] & !mask | value & mask;
    }
    fn write16(&self, at: Address, offset: u16, value: u16) {
        self.write8(at, offset, value as u8);
        self.write8(at, offset + 1, (value >> 8) as u8);
    }
    fn write8(&self, at: Address, offset: u16, value: u8) {
        let shift = 8 * (offset & 3);
        let word = self.read32(at, offset & !3) & !(0xff << shift) | u32::from(value) << shift;
        self.write32(at, offset & !3, word);
    }
}

const EXPRESS: u16 = 0x80;

fn at(bus: u8, device: u8, function: u8) -> Address {
    Address { segment: 0, bus, device, function }
}

impl Space {
    fn new(vendor: u16, device: u16, class: u32, header: u8) -> Space {
        let mut space = Space { words: [0; 64], writable: [0; 64] };
        space.words[0] = u32::from(device) << 16 | u32::from(vendor);
        space.words[1] = 0x0010_0003;
        space.writable[1] = 0x0507;
        space.words[2] = class << 8;
        space.words[3] = u32::from(header) << 16;
        space
    }
    fn bar(mut self, index: usize, value: u32, mask: u32) -> Space {
        (self.words[4 + index], self.writable[4 + index]) = (value, mask);
        self
    }
    fn word(mut self, offset: u16, value: u32, writable: u32) -> Space {
        (self.words[usize::from(offset / 4)], self.writable[usize::from(offset / 4)]) = (value, writable);
        self
    }
}

/// virtio-net as QEMU shows it: BAR 1 is 4 KiB with the MSI-X table, BAR 4 is 16 KiB, 64-bit, prefetchable.
fn virtio_net() -> Space {
    Space::new(0x1af4, 0x1041, 0x02_0000, 0)
        .bar(1, 0xfebd_1000, 0xffff_f000)
        .bar(4, 0x0000_400c, 0xffff_c000)
        .bar(5, 0x0000_0008, 0xffff_ffff)
        .word(0x2c, 0x1100_1af4, 0)
        .word(0x34, 0x98, 0)
        .word(0x3c, 0x010b, 0xff)
        .word(0x98, 0x0003_8411, 0xc000_0000)
        .word(0x9c, 0x0000_0001, 0)
        .word(0xa0, 0x0000_0801, 0)
        .word(0x84, 0x0000_0009, 0)
}

/// e1000e: MSI, PCI Express with function level reset, a port BAR with 16 bits.
fn e1000e() -> Space {
    Space::new(0x8086, 0x10d3, 0x02_0000, 0)
        .bar(0, 0xfea0_0000, 0xfffe_0000)
        .bar(2, 0x0000_c001, 0x0000_ffe0)
        .word(0x34, 0x60, 0)
        .word(0x60, 0x0080_8005, 0x0071_0000)
        .word(0x64, 0, 0xffff_fffc)
        .word(0x68, 0, u32::MAX)
        .word(0x6c, 0, 0xffff)
        .word(EXPRESS, 0x0002_0010, 0)
        .word(EXPRESS + 4, 1 << 28, 0)
        .word(EXPRESS + 8, 0x0020_0000, 0x7fff)
}

fn q35() -> Bus {
    let bus = Bus::default();
    bus.functions.borrow_mut().extend([
        (at(0, 0, 0), Space::new(0x8086, 0x29c0, 0x06_0000, 0)),
        (at(0, 1, 0), virtio_net()),
        // A single-function device that answers for every function number.
        (at(0, 1, 1), virtio_net()),
        (at(0, 2, 0), Space::new(0x1b36, 0x000c, 0x06_0400, 1).word(0x18, 0x0001_0100, 0)),
        (at(1, 0, 0), e1000e()),
        (at(0, 0x1f, 0), Space::new(0x8086, 0x2918, 0x06_0100, 0x80)),
        (at(0, 0x1f, 2), Space::new(0x8086, 0x2922, 0x01_0601, 0x80).bar(5, 0xfebd_2000, 0xffff_f000)),
        (at(0, 0x1f, 3), Space::new(0x8086, 0x2930, 0x0c_0500, 0x80).bar(4, 0x0701, 0xffff_ffc0)),
    ]);
    bus
}

fn find(bus: &Bus, device: u16) -> Function {
    enumerate(bus, 0, 0..=255).into_iter().find(|function| function.device == device).unwrap()
}

#[test]
fn finds_all_functions_and_looks_behind_the_bridge() {
    let found: Vec<String> =
        enumerate(&q35(), 0, 0..=255).iter().map(|function| function.to_string()).collect();
    assert_eq!(
        found,
        [
            "0000:00:00.0 [0600] 8086:29c0",
            "0000:00:01.0 [0200] 1af4:1041",
            "0000:00:02.0 [0604] 1b36:000c",
            "0000:00:1f.0 [0601] 8086:2918",
            "0000:00:1f.2 [0106] 8086:2922",
            "0000:00:1f.3 [0c05] 8086:2930",
            "0000:01:00.0 [0200] 8086:10d3",
        ]
    );
}

#[test]
fn sizes_bars_and_leaves_everything_as_it_was() {
    let bus = q35();
    let before = bus.functions.borrow().clone();
    let net = find(&bus, 0x1041);
    let bar1 = Bar::Memory { base: 0xfebd_1000, len: 0x1000, prefetchable: false };
    let bar4 = Bar::Memory { base: 0x8_0000_4000, len: 0x4000, prefetchable: true };
    assert_eq!(net.size_bars(&bus), [None, Some(bar1), None, None, Some(bar4), None]);
    assert_eq!(net.subsystem, (0x1af4, 0x1100));
    assert_eq!((net.interrupt_pin, net.interrupt_line), (1, 11));
    assert_eq!(find(&bus, 0x10d3).size_bars(&bus)[2], Some(Bar::Io { port: 0xc000, len: 32 }));
    for (address, space) in bus.functions.borrow().iter() {
        assert_eq!(space.words, before[address].words, "{address}");
    }
}

#[test]
fn msi_x_is_programmed() {
    let bus = q35();
    let net = find(&bus, 0x1041);
    let msi_x = net.msi_x(&bus, &net.size_bars(&bus)).unwrap();
    assert_eq!((msi_x.vectors, msi_x.table_bar, msi_x.table_offset, msi_x.table_len()), (4, 1, 0, 64));
    let window = &Window::new(0x1000);
    let table = MsiXTable::new(window, 0, msi_x.vectors).unwrap();
    table.set(2, Message::to_local_apic(3, 0x41).unwrap());
    assert_eq!((window.read32(32), window.read32(36), window.read32(40)), (0xfee0_3000, 0, 0x41));
    let masks: Vec<u32> = (0..4).map(|vector| window.read32(vector * 16 + 12)).collect();
    assert_eq!(masks, [1, 1, 0, 1]);
    msi_x.set_enabled(&bus, true);
    assert_eq!(bus.read32(net.address, 0x98), 0x8003_8411);
    msi_x.set_enabled(&bus, false);
    assert_eq!(bus.read32(net.address, 0x98), 0x0003_8411);
    assert!(MsiXTable::new(window, 0xff8, 1).is_none());
}

#[test]
fn msi_is_programmed() {
    let bus = q35();
    let nic = find(&bus, 0x10d3);
    let msi = nic.msi(&bus).unwrap();
    assert!(msi.wide);
    assert!(msi.enable(&bus, Message::to_local_apic(1, 0x52).unwrap()));
    assert_eq!(bus.read32(nic.address, 0x64), 0xfee0_1000);
    assert_eq!(bus.read32(nic.address, 0x6c), 0x52);
    assert_eq!(bus.read32(nic.address, 0x60), 0x0081_8005);
    msi.disable(&bus);
    assert_eq!(bus.read32(nic.address, 0x60), 0x0080_8005);
    assert_eq!(Message::to_local_apic(256, 0x52), None);
}

#[test]
fn command_bits() {
    let bus = q35();
    let nic = find(&bus, 0x10d3);
    nic.set_bus_master(&bus, true);
    nic.disable_intx(&bus);
    assert_eq!(bus.read16(nic.address, 4), 0x0407);
    nic.set_bus_master(&bus, false);
    assert_eq!(bus.read16(nic.address, 4), 0x0403);
}

#[test]
fn a_reset_gives_the_bars_back() {
    let bus = q35();
    let nic = find(&bus, 0x10d3);
    let mut waited = Duration::ZERO;
    nic.reset(&bus, &mut |time| waited += time).unwrap();
    assert_eq!(bus.resets.get(), 1);
    // Once for requests under way, once for the reset itself.
    assert_eq!(waited, Duration::from_millis(200));
    assert_eq!(bus.read32(nic.address, 0x10), 0xfea0_0000);
    assert_eq!(bus.read16(nic.address, 4), 0x0003);
    assert_eq!(find(&bus, 0x1041).reset(&bus, &mut |_| ()), Err(ResetError::Unsupported));
}

#[test]
fn lies_cost_the_liar_only() {
    let bus = q35();
    let liar = Space::new(0xbad0, 1, 0x02_0000, 0)
        .bar(0, 0x0000_0006, u32::MAX) // reserved type
        .bar(5, 0x0000_0004, u32::MAX) // 64 bits in the last slot
        .word(0x34, 0x40, 0)
        .word(0x40, 0x07ff_4411, 0) // 2048 vectors...
        .word(0x44, 0x0000_4005, 0); // ...in a BAR that is not there; the list then runs in a circle
    bus.functions.borrow_mut().insert(at(0, 3, 0), liar);
    // Bridges to themselves and backwards.
    bus.functions.borrow_mut().insert(at(0, 4, 0), Space::new(0xbad0, 2, 0x06_0400, 1));
    bus.functions
        .borrow_mut()
        .insert(at(1, 4, 0), Space::new(0xbad0, 3, 0x06_0400, 1).word(0x18, 0x0101_0100, 0));
    let liar = find(&bus, 1);
    assert_eq!(liar.size_bars(&bus), [None; 6]);
    assert_eq!(liar.capabilities.len(), 2);
    assert_eq!(liar.msi_x(&bus, &liar.size_bars(&bus)), None);
    assert_eq!(enumerate(&bus, 0, 0..=255).len(), 10);
    assert_eq!(enumerate(&bus, 0, 0..=0).len(), 8);
}

/// A register window in ordinary memory.
struct Window(RefCell<Vec<u8>>);

impl Window {
    fn new(len: usize) -> Window {
        Window(RefCell::new(vec![0; len]))
    }
    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        assert_eq!(offset % N, 0);
        self.0.borrow()[offset..offset + N].try_into().unwrap()
    }
    fn set(&self, offset: usize, bytes: &[u8]) {
        assert_eq!(offset % bytes.len(), 0);
        self.0.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

impl Registers for &Window {
    fn len(&self) -> usize {
        self.0.borrow().len()
    }
    fn read8(&self, offset: usize) -> u8 {
        self.get::<1>(offset)[0]
    }
    fn read16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.get(offset))
    }
    fn read32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.get(offset))
    }
    fn write8(&self, offset: usize, value: u8) {
        self.set(offset, &[value]);
    }
    fn write16(&self, offset: usize, value: u16) {
        self.set(offset, &value.to_le_bytes());
    }
    fn write32(&self, offset: usize, value: u32) {
        self.set(offset, &value.to_le_bytes());
    }
}

#[test]
fn ecam_addresses() {
    let window = &Window::new(2 << 20);
    let ecam = Ecam::new(window, 0, 4);
    window.write32(1 << 20 | 3 << 15 | 2 << 12 | 0x10, 0x1234_5678);
    assert_eq!(ecam.read32(at(5, 3, 2), 0x10), 0x1234_5678);
    assert_eq!(ecam.read16(at(5, 3, 2), 0x12), 0x1234);
    assert_eq!(ecam.read8(at(5, 3, 2), 0x11), 0x56);
    for outside in [at(3, 0, 0), at(6, 0, 0), Address { segment: 1, ..at(5, 3, 2) }] {
        assert_eq!(ecam.read32(outside, 0x10), u32::MAX);
        ecam.write32(outside, 0x10, 0);
    }
}

#[test]
fn port_addresses() {
    #[derive(Default)]
    struct Ports(RefCell<Vec<(u16, u32)>>);
    impl ConfigPorts for &Ports {
        fn read32(&self, port: u16) -> u32 {
            self.0.borrow_mut().push((port, 0));
            7
        }
        fn write32(&self, port: u16, value: u32) {
            self.0.borrow_mut().push((port, value));
        }
        fn write16(&self, port: u16, value: u16) {
            self.0.borrow_mut().push((port, value.into()));
        }
        fn write8(&self, port: u16, value: u8) {
            self.0.borrow_mut().push((port, value.into()));
        }
    }
    let ports = Ports::default();
    let config = PortConfig(&ports);
    assert_eq!(config.read32(at(1, 0x1f, 2), 0x40), 7);
    config.write32(at(0, 0, 0), 4, 9);
    assert_eq!(config.read32(at(0, 0, 0), 0x100), u32::MAX);
    assert_eq!(*ports.0.borrow(), [(0xcf8, 0x8001_fa40), (0xcfc, 0), (0xcf8, 0x8000_0004), (0xcfc, 9)]);
}

proptest! {
    /// Whatever a function says, enumeration ends and everything it found can be used.
    #[test]
    fn any_function_is_survived(
        words in prop::collection::vec(any::<u32>(), 64),
        writable in prop::collection::vec(any::<u32>(), 64),
        header in prop::sample::select(vec![0u32, 1, 2, 0x80, 0x81]),
    ) {
        let bus = q35();
        let mut space =
            Space { words: words.try_into().unwrap(), writable: writable.try_into().unwrap() };
        space.words[0] = 0xbad;
        space.words[1] |= 1 << 20;
        space.writable[1] |= 3;
        space.words[3] = header << 16;
        bus.functions.borrow_mut().insert(at(0, 9, 0), space);
        let found = enumerate(&bus, 0, 0..=255);
        let liar = found.iter().find(|function| function.vendor == 0xbad).unwrap();
        if let Some(msi_x) = liar.msi_x(&bus, &liar.size_bars(&bus)) {
            msi_x.set_enabled(&bus, true);
        }
        if let Some(msi) = liar.msi(&bus) {
            let _ = msi.enable(&bus, Message { address: 1 << 40, data: 1 });
            let _ = msi.enable(&bus, Message { address: 0xfee0_0000, data: 1 });
        }
        let _ = liar.reset(&bus, &mut |_| ());
    }
}
