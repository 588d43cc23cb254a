//! An AHCI controller in software: registers, ports with disks or other things. Disks identify themselves and show their log at
//! once; other commands wait until the test has them executed, in any order and honestly or not.

use super::TestDma;
use keelson_hal::Registers;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

const ST: u32 = 1;
const FRE: u32 = 1 << 4;
const CR: u32 = 1 << 15;
const FR: u32 = 1 << 14;
/// Ready, and nothing wrong; and the same with an error.
const READY: u32 = 0x50;
const FAILED: u32 = 0x51;
/// PxIS: register FIS, device bits FIS, error.
const REGISTERS: u32 = 1;
const DEVICE_BITS: u32 = 1 << 3;
const TASK_FILE: u32 = 1 << 30;

/// A command that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    pub slot: u16,
    pub opcode: u8,
    pub block: u64,
    pub blocks: u16,
    pub data: Option<(u64, usize)>,
    pub to_device: bool,
}

/// What a port has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plugged {
    Nothing,
    Disk,
    /// Something with another signature.
    Other(u32),
    /// A device that is seen and has no link.
    NoLink,
}

/// What the controller and its disks say.
#[derive(Clone)]
pub struct Said {
    pub capabilities: u32,
    pub ports: Vec<Plugged>,
    /// Words of IDENTIFY that differ from those of the disk in use.
    pub words: Vec<(usize, u16)>,
}

impl Default for Said {
    fn default() -> Said {
        Said {
            // 64-bit addresses, queued commands, 32 commands, six ports.
            capabilities: 1 << 31 | 1 << 30 | 31 << 8 | 5,
            ports: vec![Plugged::Disk],
            words: Vec::new(),
        }
    }
}

#[derive(Default)]
struct Port {
    list: u64,
    received: u64,
    events: u32,
    enabled: u32,
    command: u32,
    task_file: u32,
    signature: u32,
    status: u32,
    control: u32,
    active: u32,
    issued: u32,
    /// Issued, and not taken yet.
    new: u32,
}

/// The controller.
pub struct FakeAhci {
    said: Said,
    ports: RefCell<Vec<Port>>,
    host_control: Cell<u32>,
    pub pending: Cell<u32>,
    /// The medium of each port.
    pub content: RefCell<Vec<Vec<u8>>>,
    pub flushes: Cell<u32>,
    /// Resets of devices.
    pub resets: Cell<u32>,
    /// Commands do not stop.
    pub is_stuck: Cell<bool>,
    pub is_gone: Cell<bool>,
    /// Devices do not come back from a reset.
    pub stays_away: Cell<bool>,
    /// Bits of commands stay when the port stops, as QEMU 7.2 leaves them.
    pub keeps_bits: Cell<bool>,
    /// First and fourth byte of the log; the command fails without.
    pub log: Cell<Option<(u8, u8)>>,
    /// IDENTIFY fails.
    pub refuses: Cell<bool>,
}

fn peek<T: Copy>(phys: u64) -> T {
    // SAFETY: lists and tables are checked against the regions; buffers come from the driver under test.
    unsafe { (TestDma::virt_of(phys) as *const T).read_unaligned() }
}

fn poke<T>(phys: u64, value: T) {
    // SAFETY: as for `peek`.
    unsafe { (TestDma::virt_of(phys) as *mut T).write_unaligned(value) }
}

/// Sectors of a disk.
pub const SECTORS: u64 = 8192;

impl FakeAhci {
    pub fn new(said: Said) -> Rc<FakeAhci> {
        let count = said.ports.len();
        Rc::new(FakeAhci {
            ports: RefCell::new((0..count).map(|_| Port::default()).collect()),
            content: RefCell::new(vec![vec![0; SECTORS as usize * 512]; count]),
            said,
            host_control: Cell::new(0),
            pending: Cell::new(0),
            flushes: Cell::new(0),
            resets: Cell::new(0),
            is_stuck: Cell::new(false),
            is_gone: Cell::new(false),
            stays_away: Cell::new(false),
            keeps_bits: Cell::new(false),
            log: Cell::new(None),
            refuses: Cell::new(false),
        })
    }

    /// The port takes commands.
    pub fn is_started(&self, port: usize) -> bool {
        self.ports.borrow()[port].command & ST != 0
    }

    /// Commands of the port that are new, in the order of their slots.
    pub fn fetch(&self, port: usize) -> Vec<Taken> {
        let port = &mut self.ports.borrow_mut()[port];
        let new = std::mem::take(&mut port.new);
        (0..32).filter(|slot| new >> slot & 1 == 1).map(|slot| take(port, slot)).collect()
    }

    /// Executes a command and says that it is done, or that it failed with this value of the error register.
    pub fn execute(&self, number: usize, command: &Taken, error: Option<u8>) {
        if error.is_none() {
            self.perform(number, command);
        }
        self.complete(number, 1 << command.slot, error, is_queued(command.opcode));
    }

    /// Says that commands are done, or that the device failed.
    pub fn complete(&self, number: usize, slots: u32, error: Option<u8>, queued: bool) {
        let port = &mut self.ports.borrow_mut()[number];
        match error {
            None => {
                port.active &= !slots;
                port.issued &= !slots;
                port.task_file = READY;
                port.events |= if queued { DEVICE_BITS } else { REGISTERS };
            }
            Some(error) => {
                port.task_file = FAILED | u32::from(error) << 8;
                port.events |= TASK_FILE;
            }
        }
        self.pending.set(self.pending.get() | 1 << number);
    }

    /// Something happens at the port: bits of PxIS.
    pub fn event(&self, number: usize, events: u32) {
        self.ports.borrow_mut()[number].events |= events;
        self.pending.set(self.pending.get() | 1 << number);
    }

    /// Says which commands were not taken yet.
    pub fn write_issued(&self, number: usize, slots: u32) {
        self.ports.borrow_mut()[number].issued = slots;
    }

    fn perform(&self, number: usize, command: &Taken) {
        let block = if self.said.words.iter().any(|(word, _)| *word == 117) { 4096 } else { 512 };
        let content = &mut self.content.borrow_mut()[number];
        match command.opcode {
            0xea | 0xe7 => self.flushes.set(self.flushes.get() + 1),
            0x25 | 0x35 | 0x60 | 0x61 => {
                let (phys, len) = command.data.unwrap();
                assert_eq!(len, usize::from(command.blocks) * block);
                let start = command.block as usize * block;
                for (index, byte) in content[start..start + len].iter_mut().enumerate() {
                    let at = phys + index as u64;
                    if command.to_device { *byte = peek(at) } else { poke(at, *byte) }
                }
                assert_eq!(command.to_device, command.opcode == 0x35 || command.opcode == 0x61);
            }
            other => panic!("opcode {other:#x}"),
        }
    }

    /// IDENTIFY and READ LOG EXT; false for what waits for the test.
    fn answer(&self, number: usize, slot: u16) -> bool {
        let command = take(&self.ports.borrow()[number], slot);
        let refused = match command.opcode {
            0xec => self.refuses.get(),
            0x2f => self.log.get().is_none(),
            _ => return false,
        };
        let (phys, len) = command.data.unwrap();
        assert_eq!(len, 512);
        TestDma::check_region(phys, len);
        if !refused {
            let page = if command.opcode == 0xec { self.identity() } else { self.failure(&command) };
            page.iter().enumerate().for_each(|(at, byte)| poke(phys + at as u64, *byte));
        }
        self.complete(number, 1 << slot, refused.then_some(4), false);
        true
    }

    fn failure(&self, command: &Taken) -> [u8; 512] {
        assert_eq!((command.block, command.blocks), (0x10, 1));
        let (first, error) = self.log.get().unwrap();
        let mut page = [0; 512];
        (page[0], page[3]) = (first, error);
        page[511] = 0_u8.wrapping_sub(first.wrapping_add(error));
        page
    }

    fn identity(&self) -> [u8; 512] {
        let mut words = [0_u16; 256];
        for (word, pair) in words[27..].iter_mut().zip(b"Test disk ".chunks(2)) {
            *word = u16::from_be_bytes([pair[0], pair[1]]);
        }
        words[49] = 3 << 8;
        (words[75], words[76]) = (31, 1 << 8);
        (words[82], words[83], words[85]) = (1 << 5, 1 << 14 | 1 << 13 | 1 << 10, 1 << 5);
        words[100] = SECTORS as u16;
        self.said.words.iter().for_each(|(at, word)| words[*at] = *word);
        let mut page = [0; 512];
        for (bytes, word) in page.chunks_mut(2).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        page[510] = 0xa5;
        page[511] = page[511].wrapping_sub(page.iter().fold(0, |sum, byte| sum.wrapping_add(*byte)));
        page
    }

    fn reset_device(&self, number: usize, port: &mut Port) {
        self.resets.set(self.resets.get() + 1);
        (port.active, port.issued, port.new) = (0, 0, 0);
        if self.stays_away.get() {
            (port.status, port.task_file) = (0, 0x7f);
            return;
        }
        (port.status, port.task_file, port.signature) = match self.said.ports[number] {
            Plugged::Nothing => (0, 0x7f, u32::MAX),
            Plugged::Disk => (0x123, READY, 0x101),
            Plugged::Other(signature) => (0x123, READY, signature),
            Plugged::NoLink => (1, 0x7f, u32::MAX),
        };
    }

    fn write_port(&self, number: usize, register: usize, value: u32) {
        let ports = &mut *self.ports.borrow_mut();
        let port = &mut ports[number];
        match register {
            0x00 => port.list = port.list & !0xffff_ffff | u64::from(value),
            0x04 => port.list = port.list & 0xffff_ffff | u64::from(value) << 32,
            0x08 => port.received = port.received & !0xffff_ffff | u64::from(value),
            0x0c => port.received = port.received & 0xffff_ffff | u64::from(value) << 32,
            0x10 => port.events &= !value,
            0x14 => port.enabled = value,
            0x18 => {
                if value & FRE != 0 {
                    TestDma::check_region(port.received, 256);
                }
                if value & ST != 0 {
                    assert!(value & FRE != 0 && port.task_file & 0x88 == 0, "started too early");
                    TestDma::check_region(port.list, 1024);
                } else if port.command & ST != 0 && !self.keeps_bits.get() {
                    (port.active, port.issued, port.new) = (0, 0, 0);
                }
                let stuck = if self.is_stuck.get() { port.command & (CR | FR) } else { 0 };
                port.command = value & !(CR | FR) | stuck;
                port.command |= if value & ST != 0 { CR } else { 0 } | if value & FRE != 0 { FR } else { 0 };
            }
            0x2c => {
                if port.control & 0xf == 1 && value & 0xf == 0 {
                    assert_eq!(port.command & ST, 0, "reset while commands run");
                    self.reset_device(number, port);
                }
                port.control = value;
            }
            0x30 => {}
            0x34 => {
                assert!(port.command & ST != 0);
                port.active |= value;
            }
            0x38 => {
                assert!(port.command & ST != 0);
                assert_eq!(port.issued & value, 0, "issued twice");
                port.issued |= value;
            }
            other => panic!("write of port register {other:#x}"),
        }
    }
}

fn is_queued(opcode: u8) -> bool {
    matches!(opcode, 0x60 | 0x61)
}

/// The command in a slot.
fn take(port: &Port, slot: u16) -> Taken {
    let header = port.list + u64::from(slot) * 32;
    TestDma::check_region(header, 32);
    let (first, table): (u32, u64) = (peek(header), peek(header + 8));
    assert_eq!(first & 0x1f, 5, "a FIS of five dwords");
    TestDma::check_region(table, 0x90);
    let fis: [u8; 20] = peek(table);
    assert_eq!((fis[0], fis[1], fis[7]), (0x27, 0x80, 0x40));
    let count = u16::from_le_bytes([fis[12], fis[13]]);
    let features = u16::from_le_bytes([fis[3], fis[11]]);
    let queued = is_queued(fis[2]);
    if queued {
        assert_eq!((count, port.active >> slot & 1), (slot << 3, 1), "tag and slot are one");
    } else {
        assert_eq!((features, port.active >> slot & 1), (0, 0));
        assert_eq!(port.issued.count_ones(), 1, "what is not queued goes alone");
    }
    let data = (first >> 16 == 1).then(|| {
        let (phys, len): (u64, u32) = (peek(table + 0x80), peek(table + 0x8c));
        (phys, len as usize + 1)
    });
    Taken {
        slot,
        opcode: fis[2],
        block: u64::from_le_bytes([fis[4], fis[5], fis[6], fis[8], fis[9], fis[10], 0, 0]),
        blocks: if queued { features } else { count },
        data,
        to_device: first & 1 << 6 != 0,
    }
}

impl Registers for FakeAhci {
    fn len(&self) -> usize {
        0x100 + self.said.ports.len() * 0x80
    }

    fn read8(&self, _: usize) -> u8 {
        panic!("registers have four bytes")
    }

    fn read16(&self, _: usize) -> u16 {
        panic!("registers have four bytes")
    }

    fn read32(&self, offset: usize) -> u32 {
        if self.is_gone.get() {
            return u32::MAX;
        }
        if offset >= 0x100 {
            let port = &self.ports.borrow()[(offset - 0x100) / 0x80];
            return match (offset - 0x100) % 0x80 {
                0x10 => port.events,
                0x18 => port.command,
                0x20 => port.task_file,
                0x24 => port.signature,
                0x28 => port.status,
                0x34 => port.active,
                0x38 => port.issued,
                other => panic!("read of port register {other:#x}"),
            };
        }
        match offset {
            0x00 => self.said.capabilities,
            0x04 => self.host_control.get(),
            // More ports than there are registers of.
            0x0c => u32::MAX,
            0x24 => 0,
            other => panic!("read of register {other:#x}"),
        }
    }

    fn write8(&self, _: usize, _: u8) {
        panic!("registers have four bytes")
    }

    fn write16(&self, _: usize, _: u16) {
        panic!("registers have four bytes")
    }

    fn write32(&self, offset: usize, value: u32) {
        if self.is_gone.get() {
            return;
        }
        if offset >= 0x100 {
            let (number, register) = ((offset - 0x100) / 0x80, (offset - 0x100) % 0x80);
            self.write_port(number, register, value);
            if register == 0x38 {
                let slot = value.trailing_zeros() as u16;
                if !self.answer(number, slot) {
                    self.ports.borrow_mut()[number].new |= value;
                }
            }
            return;
        }
        match offset {
            0x04 => self.host_control.set(value & !1),
            0x08 => self.pending.set(self.pending.get() & !value),
            other => panic!("write of register {other:#x}"),
        }
    }
}
