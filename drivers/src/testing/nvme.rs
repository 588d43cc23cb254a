//! An NVMe controller in software: registers, an admin queue that answers at once, and one pair of queues whose commands the
//! test has executed, in any order and honestly or not.

use super::TestDma;
use keelson_hal::Registers;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Entries of its queues.
const ENTRIES: u32 = 128;

#[derive(Default)]
struct Pair {
    commands: u64,
    completions: u64,
    entries: u32,
    /// Device-side positions.
    seen: u32,
    done: u32,
    tail: u32,
}

/// A command that was taken: its dwords.
pub type Taken = [u32; 16];

/// What the controller says of itself and of its namespace.
#[derive(Clone)]
pub struct Said {
    /// CAP.
    pub capabilities: u64,
    /// Shift of pages for the longest transfer; 0 for any.
    pub largest_transfer: u8,
    pub write_cache: bool,
    pub namespace: u32,
    pub blocks: u64,
    /// Metadata, shift of the block size.
    pub format: (u16, u8),
    pub write_protected: bool,
}

impl Default for Said {
    fn default() -> Said {
        Said {
            // 128 entries, half a second, the NVM command set.
            capabilities: u64::from(ENTRIES - 1) | 1 << 24 | 1 << 37,
            largest_transfer: 7,
            write_cache: true,
            namespace: 1,
            blocks: 8192,
            format: (0, 9),
            write_protected: false,
        }
    }
}

/// The controller.
pub struct FakeNvme {
    said: Said,
    configuration: Cell<u32>,
    admin_entries: Cell<u32>,
    pairs: RefCell<[Pair; 2]>,
    /// The medium.
    pub content: RefCell<Vec<u8>>,
    /// Flushes executed.
    pub flushes: Cell<u32>,
    /// Doorbells rung, admin ones included.
    pub doorbells: Cell<u32>,
    /// It does not change its state any more.
    pub is_stuck: Cell<bool>,
    /// It is not there any more.
    pub is_gone: Cell<bool>,
    /// Status of admin commands with this opcode.
    pub refuses: Cell<Option<(u8, u16)>>,
    is_ready: Cell<bool>,
}

fn peek<T: Copy>(phys: u64) -> T {
    // SAFETY: queues are checked against the regions; buffers come from the driver under test.
    unsafe { (TestDma::virt_of(phys) as *const T).read_volatile() }
}

fn poke<T>(phys: u64, value: T) {
    // SAFETY: as for `peek`.
    unsafe { (TestDma::virt_of(phys) as *mut T).write_volatile(value) }
}

impl FakeNvme {
    pub fn new(said: Said) -> Rc<FakeNvme> {
        let bytes = said.blocks.checked_shl(said.format.1.into()).unwrap_or(0).min(16 << 20);
        Rc::new(FakeNvme {
            said,
            configuration: Cell::new(0),
            admin_entries: Cell::new(0),
            pairs: RefCell::default(),
            content: RefCell::new(vec![0; bytes as usize]),
            flushes: Cell::new(0),
            doorbells: Cell::new(0),
            is_stuck: Cell::new(false),
            is_gone: Cell::new(false),
            refuses: Cell::new(None),
            is_ready: Cell::new(false),
        })
    }

    /// It is enabled.
    pub fn is_enabled(&self) -> bool {
        self.configuration.get() & 1 == 1
    }

    /// Commands of the second pair that are new.
    pub fn fetch(&self) -> Vec<Taken> {
        std::iter::from_fn(|| self.next(1)).collect()
    }

    fn next(&self, number: usize) -> Option<Taken> {
        let pair = &mut self.pairs.borrow_mut()[number];
        if pair.seen == pair.tail {
            return None;
        }
        let phys = pair.commands + u64::from(pair.seen) * 64;
        TestDma::check_region(phys, 64);
        pair.seen = (pair.seen + 1) % pair.entries;
        Some(peek(phys))
    }

    /// Says that a command is done.
    pub fn complete(&self, number: usize, id: u16, status: u16) {
        let pair = &mut self.pairs.borrow_mut()[number];
        let phys = pair.completions + u64::from(pair.done % pair.entries) * 16;
        TestDma::check_region(phys, 16);
        // The phase is 1 the first time round.
        let phase = u16::from((pair.done / pair.entries).is_multiple_of(2));
        poke(phys + 12, id);
        poke(phys + 14, status << 1 | phase);
        pair.done += 1;
    }

    /// Executes a command and says that it is done with this status; 0 is success.
    pub fn execute(&self, command: &Taken, status: u16) {
        if status == 0 {
            self.perform(command);
        }
        self.complete(1, (command[0] >> 16) as u16, status);
    }

    fn perform(&self, command: &Taken) {
        assert_eq!(command[1], self.said.namespace);
        let block = 1_usize << self.said.format.1;
        let start = (u64::from(command[10]) | u64::from(command[11]) << 32) as usize * block;
        let len = ((command[12] & 0xffff) as usize + 1) * block;
        let mut content = self.content.borrow_mut();
        match command[0] as u8 {
            0 => self.flushes.set(self.flushes.get() + 1),
            1 => {
                let mut at = start;
                for (phys, len) in pieces(command, len) {
                    content[at..at + len]
                        .iter_mut()
                        .enumerate()
                        .for_each(|(i, to)| *to = peek(phys + i as u64));
                    at += len;
                }
            }
            2 => {
                let mut at = start;
                for (phys, len) in pieces(command, len) {
                    content[at..at + len]
                        .iter()
                        .enumerate()
                        .for_each(|(i, byte)| poke(phys + i as u64, *byte));
                    at += len;
                }
            }
            other => panic!("opcode {other}"),
        }
    }

    fn admin(&self, command: Taken) {
        let (opcode, id) = (command[0] as u8, (command[0] >> 16) as u16);
        let data = u64::from(command[6]) | u64::from(command[7]) << 32;
        if let Some((refused, status)) = self.refuses.get()
            && refused == opcode
        {
            return self.complete(0, id, status);
        }
        let mut pairs = self.pairs.borrow_mut();
        match opcode {
            6 => {
                TestDma::check_region(data, 4096);
                (0..512).for_each(|word| poke(data + word * 8, 0_u64));
                match command[10] {
                    1 => {
                        b"Test disk   "
                            .iter()
                            .enumerate()
                            .for_each(|(i, byte)| poke(data + 24 + i as u64, *byte));
                        poke(data + 77, self.said.largest_transfer);
                        poke(data + 525, u8::from(self.said.write_cache));
                    }
                    2 => poke(data, self.said.namespace),
                    0 => {
                        poke(data, self.said.blocks);
                        // The second format of the list.
                        poke(data + 26, 1_u8);
                        poke(data + 99, u8::from(self.said.write_protected));
                        let (metadata, shift) = self.said.format;
                        poke(data + 132, u32::from(metadata) | u32::from(shift) << 16);
                    }
                    other => panic!("identify {other}"),
                }
            }
            9 => assert_eq!(command[10], 7),
            5 => {
                assert_eq!(
                    (command[10] & 0xffff, command[11]),
                    (1, 3),
                    "queue 1, contiguous, interrupts by entry 0"
                );
                pairs[1].completions = data;
                pairs[1].entries = (command[10] >> 16) + 1;
            }
            1 => {
                assert_eq!((command[10] & 0xffff, command[11]), (1, 1 << 16 | 1));
                pairs[1].commands = data;
            }
            other => panic!("admin opcode {other}"),
        }
        drop(pairs);
        self.complete(0, id, 0);
    }
}

/// Where the data of a command is: the PRP fields, or the list that the second one names.
pub fn pieces(command: &Taken, len: usize) -> Vec<(u64, usize)> {
    let field = |at: usize| u64::from(command[at]) | u64::from(command[at + 1]) << 32;
    let (first, second) = (field(6), field(8));
    let head = (4096 - (first as usize & 4095)).min(len);
    let mut pieces = vec![(first, head)];
    let rest = len - head;
    if rest > 4096 {
        TestDma::check_region(second, rest.div_ceil(4096) * 8);
        assert!((second as usize & 4095) + rest.div_ceil(4096) * 8 <= 4096, "a list within a page");
    }
    let mut done = 0;
    while done < rest {
        let page = if rest > 4096 { peek(second + done as u64 / 512) } else { second };
        assert_eq!(page & 4095, 0, "pages after the first begin at their start");
        pieces.push((page, (rest - done).min(4096)));
        done += 4096;
    }
    pieces
}

impl Registers for FakeNvme {
    fn len(&self) -> usize {
        0x2000
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
        match offset {
            0x00 => self.said.capabilities as u32,
            0x04 => (self.said.capabilities >> 32) as u32,
            0x14 => self.configuration.get(),
            0x1c => u32::from(self.is_ready.get()),
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
        let half = |old: u64, high: bool| {
            if high {
                old & 0xffff_ffff | u64::from(value) << 32
            } else {
                old & !0xffff_ffff | u64::from(value)
            }
        };
        match offset {
            0x14 => {
                self.configuration.set(value);
                if !self.is_stuck.get() {
                    self.is_ready.set(value & 1 == 1);
                    let entries = self.admin_entries.get();
                    let mut pairs = self.pairs.borrow_mut();
                    if value & 1 == 1 {
                        pairs[0].entries = entries;
                    } else {
                        *pairs = Default::default();
                    }
                }
            }
            0x24 => self.admin_entries.set((value & 0xfff) + 1),
            0x28 | 0x2c => {
                let pair = &mut self.pairs.borrow_mut()[0];
                pair.commands = half(pair.commands, offset == 0x2c);
            }
            0x30 | 0x34 => {
                let pair = &mut self.pairs.borrow_mut()[0];
                pair.completions = half(pair.completions, offset == 0x34);
            }
            0x1000 | 0x1008 => {
                self.doorbells.set(self.doorbells.get() + 1);
                let number = (offset - 0x1000) / 8;
                self.pairs.borrow_mut()[number].tail = value;
                while number == 0
                    && let Some(command) = self.next(0)
                {
                    self.admin(command);
                }
            }
            0x1004 | 0x100c => self.doorbells.set(self.doorbells.get() + 1),
            other => panic!("write of register {other:#x}"),
        }
    }
}
