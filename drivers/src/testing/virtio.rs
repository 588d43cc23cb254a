//! A virtio device in software: registers on PCI and MMIO, queues in guest memory, and a device side that
//! the test drives step by step, honestly or not.

use super::TestDma;
use crate::registry::{PciId, VIRTIO_VENDOR};
use crate::virtio::{MmioTransport, PciCapabilities, PciTransport, Transport, Window};
use keelson_hal::Registers;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

type NotifyHook = Rc<dyn Fn(&FakeDevice, u16)>;

#[derive(Default, Clone)]
struct Queue {
    max: u16,
    size: u16,
    enabled: bool,
    vector: u16,
    descriptors: u64,
    driver: u64,
    device: u64,
    /// Device-side positions.
    seen: u16,
    used: u16,
}

struct Model {
    device_type: u32,
    offer: u64,
    accepted: u64,
    feature_select: u32,
    driver_select: u32,
    status: u8,
    config: Vec<u8>,
    config_vector: u16,
    queues: Vec<Queue>,
    selected: u16,
    isr: u32,
    doorbells: Vec<u16>,
}

/// The device; clones are the same device.
#[derive(Clone)]
pub struct FakeDevice {
    model: Rc<RefCell<Model>>,
    hook: Rc<RefCell<Option<NotifyHook>>>,
    /// The device does not finish a reset.
    pub stuck: Rc<Cell<bool>>,
    /// The device writes its doorbell wish (`avail_event`) whenever it has emptied a queue.
    pub wants_doorbells: Rc<Cell<bool>>,
}

/// A chain taken from the available ring.
#[derive(Clone, Debug)]
pub struct Chain {
    pub head: u16,
    pub readable: Vec<(u64, u32)>,
    pub writable: Vec<(u64, u32)>,
}

fn peek<T: Copy>(phys: u64) -> T {
    // SAFETY: queue addresses are checked against the regions; buffers come from the driver under test.
    unsafe { (TestDma::virt_of(phys) as *const T).read_volatile() }
}

fn poke<T>(phys: u64, value: T) {
    // SAFETY: as for `peek`.
    unsafe { (TestDma::virt_of(phys) as *mut T).write_volatile(value) }
}

const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

impl FakeDevice {
    /// A device that offers `features` and VERSION_1 and has queues of these sizes.
    pub fn new(device_type: u32, features: u64, config: &[u8], queues: &[u16]) -> FakeDevice {
        let queues = queues.iter().map(|&max| Queue { max, ..Queue::default() }).collect();
        FakeDevice {
            model: Rc::new(RefCell::new(Model {
                device_type,
                offer: features | VERSION_1,
                accepted: 0,
                feature_select: 0,
                driver_select: 0,
                status: 0,
                config: config.to_vec(),
                config_vector: 0xffff,
                queues,
                selected: 0,
                isr: 0,
                doorbells: Vec::new(),
            })),
            hook: Rc::default(),
            stuck: Rc::default(),
            wants_doorbells: Rc::new(Cell::new(true)),
        }
    }

    /// The device on PCI, with MSI-X entry 3.
    pub fn pci(&self) -> Box<dyn Transport> {
        let id = PciId { vendor: VIRTIO_VENDOR, device: 0x1040 + self.model.borrow().device_type as u16 };
        let window = |bar, offset, len| Window { bar, offset, len };
        let capabilities = PciCapabilities {
            common: window(4, 0x1000, 0x38),
            notify: window(4, 0x3000, 0x1000),
            notify_multiplier: 4,
            isr: window(4, 0x2000, 1),
            device: Some(window(4, 0x2800, 0x100)),
        };
        let bar: Rc<dyn Registers> = Rc::new(PciBar(self.clone()));
        Box::new(PciTransport::new(id, &capabilities, &|n| (n == 4).then(|| bar.clone()), Some(3)).unwrap())
    }

    /// The device on MMIO.
    pub fn mmio(&self) -> Box<dyn Transport> {
        Box::new(MmioTransport::new(Rc::new(MmioWindow(self.clone()))).unwrap().unwrap())
    }

    /// Withdraws VERSION_1.
    pub fn make_legacy(&self) {
        self.model.borrow_mut().offer &= !VERSION_1;
    }

    /// Runs whenever a doorbell rings.
    pub fn on_notify(&self, hook: impl Fn(&FakeDevice, u16) + 'static) {
        *self.hook.borrow_mut() = Some(Rc::new(hook));
    }

    pub fn status(&self) -> u8 {
        self.model.borrow().status
    }

    pub fn set_status_bit(&self, bit: u8) {
        self.model.borrow_mut().status |= bit;
    }

    pub fn accepted(&self) -> u64 {
        self.model.borrow().accepted
    }

    pub fn config_mut(&self, offset: usize, value: u8) {
        self.model.borrow_mut().config[offset] = value;
    }

    pub fn isr(&self) -> u32 {
        self.model.borrow().isr
    }

    /// Queues whose doorbell rang, in order, since the last call.
    pub fn take_doorbells(&self) -> Vec<u16> {
        std::mem::take(&mut self.model.borrow_mut().doorbells)
    }

    fn queue(&self, index: u16) -> Queue {
        let model = self.model.borrow();
        let queue = model.queues[usize::from(index)].clone();
        assert!(queue.enabled, "queue {index} is not set up");
        assert!(model.status & 4 != 0, "queue used before DRIVER_OK");
        TestDma::check_region(queue.descriptors, 16 * usize::from(queue.size));
        TestDma::check_region(queue.driver, 6 + 2 * usize::from(queue.size));
        TestDma::check_region(queue.device, 6 + 8 * usize::from(queue.size));
        queue
    }

    fn event_idx(&self) -> bool {
        self.accepted() & EVENT_IDX != 0
    }

    /// Chains the driver has made available and the device has not taken.
    pub fn available(&self, index: u16) -> u16 {
        let queue = self.queue(index);
        peek::<u16>(queue.driver + 2).wrapping_sub(queue.seen)
    }

    /// Takes the next available chain.
    pub fn pop(&self, index: u16) -> Option<Chain> {
        let queue = self.queue(index);
        let avail_event = queue.device + 4 + 8 * u64::from(queue.size);
        if self.available(index) == 0 {
            if self.event_idx() && self.wants_doorbells.get() {
                poke::<u16>(avail_event, queue.seen);
            }
            return None;
        }
        assert!(self.available(index) <= queue.size, "available ring overrun");
        let slot = u64::from(queue.seen % queue.size);
        let head = peek::<u16>(queue.driver + 4 + 2 * slot);
        let mut chain = Chain { head, readable: Vec::new(), writable: Vec::new() };
        let mut at = head;
        for _ in 0..queue.size {
            let descriptor = queue.descriptors + 16 * u64::from(at);
            let entry = (peek::<u64>(descriptor), peek::<u32>(descriptor + 8));
            let flags = peek::<u16>(descriptor + 12);
            if flags & 2 != 0 {
                chain.writable.push(entry);
            } else {
                assert!(chain.writable.is_empty(), "readable after writable");
                chain.readable.push(entry);
            }
            if flags & 1 == 0 {
                self.model.borrow_mut().queues[usize::from(index)].seen = queue.seen.wrapping_add(1);
                return Some(chain);
            }
            at = peek::<u16>(descriptor + 14);
        }
        panic!("descriptor chain is a loop");
    }

    /// Everything readable in a chain.
    pub fn readable(&self, chain: &Chain) -> Vec<u8> {
        let bytes = |&(phys, len): &(u64, u32)| (0..u64::from(len)).map(move |i| peek::<u8>(phys + i));
        chain.readable.iter().flat_map(bytes).collect()
    }

    /// Writes into the chain's writable part and returns it to the driver.
    pub fn complete(&self, index: u16, chain: &Chain, bytes: &[u8]) -> bool {
        self.write(chain, bytes);
        self.push_used(index, u32::from(chain.head), bytes.len() as u32)
    }

    /// Writes into the chain's writable part.
    pub fn write(&self, chain: &Chain, bytes: &[u8]) {
        let places =
            chain.writable.iter().flat_map(|&(phys, len)| (0..u64::from(len)).map(move |i| phys + i));
        let mut written = 0;
        for (place, &byte) in places.zip(bytes) {
            poke::<u8>(place, byte);
            written += 1;
        }
        assert_eq!(written, bytes.len(), "chain too small");
    }

    /// Adds a used entry, whatever it says; true when the driver asked for an interrupt.
    pub fn push_used(&self, index: u16, id: u32, len: u32) -> bool {
        let queue = self.queue(index);
        let slot = u64::from(queue.used % queue.size);
        poke::<u32>(queue.device + 4 + 8 * slot, id);
        poke::<u32>(queue.device + 8 + 8 * slot, len);
        self.set_used(index, queue.used.wrapping_add(1))
    }

    /// Sets the used index, whatever it was; true when the driver asked for an interrupt.
    pub fn set_used(&self, index: u16, used: u16) -> bool {
        let queue = self.queue(index);
        self.model.borrow_mut().queues[usize::from(index)].used = used;
        poke::<u16>(queue.device + 2, used);
        let interrupt = if self.event_idx() {
            let event = peek::<u16>(queue.driver + 4 + 2 * u64::from(queue.size));
            used.wrapping_sub(event).wrapping_sub(1) < used.wrapping_sub(queue.used)
        } else {
            peek::<u16>(queue.driver) & 1 == 0
        };
        if interrupt {
            self.model.borrow_mut().isr |= 1;
        }
        interrupt
    }

    /// Without EVENT_IDX: whether the device wants doorbells for a queue.
    pub fn set_no_notify(&self, index: u16, suppress: bool) {
        poke::<u16>(self.queue(index).device, u16::from(suppress));
    }

    /// Makes the wish for a doorbell for what comes next invisible, as a processor that reads it too early would
    /// see it; [`FakeDevice::show_wish`] ends that.
    pub fn hide_wish(&self, index: u16) {
        let queue = self.queue(index);
        if self.event_idx() {
            poke::<u16>(queue.device + 4 + 8 * u64::from(queue.size), queue.seen.wrapping_sub(1));
        } else {
            self.set_no_notify(index, true);
        }
    }

    /// See [`FakeDevice::hide_wish`].
    pub fn show_wish(&self, index: u16) {
        let queue = self.queue(index);
        if self.event_idx() {
            poke::<u16>(queue.device + 4 + 8 * u64::from(queue.size), queue.seen);
        } else {
            self.set_no_notify(index, false);
        }
    }

    fn ring(&self, queue: u16) {
        self.model.borrow_mut().doorbells.push(queue);
        let hook = self.hook.borrow().clone();
        if let Some(hook) = hook {
            hook(self, queue);
        }
    }

    fn write_status(&self, value: u8) {
        let mut model = self.model.borrow_mut();
        if value == 0 {
            if self.stuck.get() {
                return;
            }
            for queue in &mut model.queues {
                *queue = Queue { max: queue.max, ..Queue::default() };
            }
            (model.status, model.accepted, model.isr) = (0, 0, 0);
            return;
        }
        let mut value = value;
        if model.accepted & !model.offer != 0 {
            value &= !8;
        }
        model.status = value;
    }

    fn set_feature_half(&self, value: u32) {
        let mut model = self.model.borrow_mut();
        let shift = 32 * model.driver_select;
        model.accepted = model.accepted & !(0xffff_ffff << shift) | u64::from(value) << shift;
    }
}

fn set_half(target: &mut u64, high: bool, value: u32) {
    let shift = if high { 32 } else { 0 };
    *target = *target & !(0xffff_ffff << shift) | u64::from(value) << shift;
}

/// BAR 4: common configuration at 1000h, ISR 2000h, device configuration 2800h, doorbells 3000h.
struct PciBar(FakeDevice);

impl PciBar {
    fn with_queue<T>(&self, f: impl FnOnce(&mut Queue) -> T) -> T {
        let mut model = self.0.model.borrow_mut();
        let selected = usize::from(model.selected);
        f(&mut model.queues[selected])
    }
}

impl Registers for PciBar {
    fn len(&self) -> usize {
        0x4000
    }

    fn read8(&self, offset: usize) -> u8 {
        let mut model = self.0.model.borrow_mut();
        match offset {
            0x1014 => model.status,
            0x1015 => 0,
            0x2000 => std::mem::take(&mut model.isr) as u8,
            0x2800..0x2900 => model.config.get(offset - 0x2800).copied().unwrap_or(0),
            _ => panic!("read8 {offset:#x}"),
        }
    }

    fn read16(&self, offset: usize) -> u16 {
        match offset {
            0x1010 => self.0.model.borrow().config_vector,
            0x1012 => self.0.model.borrow().queues.len() as u16,
            0x1018 => self.with_queue(|queue| queue.max),
            0x101a => self.with_queue(|queue| queue.vector),
            0x101c => self.with_queue(|queue| u16::from(queue.enabled)),
            0x101e => self.0.model.borrow().selected,
            0x2800..0x2900 => u16::from_le_bytes([self.read8(offset), self.read8(offset + 1)]),
            _ => panic!("read16 {offset:#x}"),
        }
    }

    fn read32(&self, offset: usize) -> u32 {
        match offset {
            0x1004 => {
                let model = self.0.model.borrow();
                (model.offer >> (32 * model.feature_select)) as u32
            }
            0x2800..0x2900 => u32::from_le_bytes(std::array::from_fn(|i| self.read8(offset + i))),
            _ => panic!("read32 {offset:#x}"),
        }
    }

    fn write8(&self, offset: usize, value: u8) {
        assert_eq!(offset, 0x1014);
        self.0.write_status(value);
    }

    fn write16(&self, offset: usize, value: u16) {
        match offset {
            0x1010 => self.0.model.borrow_mut().config_vector = value,
            0x1016 => self.0.model.borrow_mut().selected = value,
            0x1018 => self.with_queue(|queue| queue.size = value),
            0x101a => self.with_queue(|queue| queue.vector = value),
            0x101c => self.with_queue(|queue| queue.enabled = value == 1),
            0x3000..0x4000 => {
                assert_eq!((offset - 0x3000) / 4, usize::from(value), "doorbell of another queue");
                self.0.ring(value);
            }
            _ => panic!("write16 {offset:#x}"),
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        match offset {
            0x1000 => self.0.model.borrow_mut().feature_select = value,
            0x1008 => self.0.model.borrow_mut().driver_select = value,
            0x100c => self.0.set_feature_half(value),
            0x1020 | 0x1024 => {
                self.with_queue(|queue| set_half(&mut queue.descriptors, offset == 0x1024, value))
            }
            0x1028 | 0x102c => self.with_queue(|queue| set_half(&mut queue.driver, offset == 0x102c, value)),
            0x1030 | 0x1034 => self.with_queue(|queue| set_half(&mut queue.device, offset == 0x1034, value)),
            _ => panic!("write32 {offset:#x}"),
        }
    }
}

/// The register window of virtio-mmio version 2.
struct MmioWindow(FakeDevice);

impl MmioWindow {
    fn with_queue<T: Default>(&self, f: impl FnOnce(&mut Queue) -> T) -> T {
        let mut model = self.0.model.borrow_mut();
        let selected = usize::from(model.selected);
        model.queues.get_mut(selected).map(f).unwrap_or_default()
    }
}

impl Registers for MmioWindow {
    fn len(&self) -> usize {
        0x200
    }

    fn read8(&self, offset: usize) -> u8 {
        self.0.model.borrow().config.get(offset - 0x100).copied().unwrap_or(0)
    }

    fn read16(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.read8(offset), self.read8(offset + 1)])
    }

    fn read32(&self, offset: usize) -> u32 {
        if offset >= 0x100 {
            return u32::from_le_bytes(std::array::from_fn(|i| self.read8(offset + i)));
        }
        let model = self.0.model.borrow();
        match offset {
            0x00 => u32::from_le_bytes(*b"virt"),
            0x04 => 2,
            0x08 => model.device_type,
            0x10 => (model.offer >> (32 * model.feature_select)) as u32,
            0x34 => model.queues.get(usize::from(model.selected)).map_or(0, |queue| u32::from(queue.max)),
            0x44 => model.queues.get(usize::from(model.selected)).map_or(0, |queue| u32::from(queue.enabled)),
            0x60 => model.isr,
            0x70 => u32::from(model.status),
            0xfc => 0,
            _ => panic!("read32 {offset:#x}"),
        }
    }

    fn write8(&self, offset: usize, _value: u8) {
        panic!("write8 {offset:#x}");
    }

    fn write16(&self, offset: usize, _value: u16) {
        panic!("write16 {offset:#x}");
    }

    fn write32(&self, offset: usize, value: u32) {
        match offset {
            0x14 => self.0.model.borrow_mut().feature_select = value,
            0x20 => self.0.set_feature_half(value),
            0x24 => self.0.model.borrow_mut().driver_select = value,
            0x30 => self.0.model.borrow_mut().selected = value as u16,
            0x38 => self.with_queue(|queue| queue.size = value as u16),
            0x44 => self.with_queue(|queue| queue.enabled = value == 1),
            0x50 => self.0.ring(value as u16),
            0x64 => self.0.model.borrow_mut().isr &= !value,
            0x70 => self.0.write_status(value as u8),
            0x80 | 0x84 => self.with_queue(|queue| set_half(&mut queue.descriptors, offset == 0x84, value)),
            0x90 | 0x94 => self.with_queue(|queue| set_half(&mut queue.driver, offset == 0x94, value)),
            0xa0 | 0xa4 => self.with_queue(|queue| set_half(&mut queue.device, offset == 0xa4, value)),
            _ => panic!("write32 {offset:#x}"),
        }
    }
}
