use super::*;
use crate::intel::ring::COUNT;
use crate::intel::testing::{TSO, bytes, fill, pattern, peek, poke, tcp_frame};
use crate::testing::{TestClock, TestDma};
use keelson_hal::{LinkSpeed, TxChecksum};
use std::cell::{Cell, RefCell};

mod bring_up;
mod receiving;
mod sending;

const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

/// What the fake does not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refuses {
    Nothing,
    /// Reset never ends.
    Reset,
    /// It goes on using memory.
    MasterDisable,
    /// It never says that its EEPROM is loaded.
    AutoRead,
    /// It does not answer MDIC; its PHY does not answer.
    Mdic,
    Phy,
    /// Firmware keeps its semaphore; keeps the PHY.
    Semaphore,
    Turn,
    /// This queue's control register never reads as enabled.
    Queue(usize),
}

/// Register file, and the device side of the rings.
struct Fake {
    file: RefCell<Vec<u32>>,
    refuses: Cell<Refuses>,
    /// What the chip loads into RAL and RAH.
    loaded: Cell<(u32, u32)>,
    /// Link mode that the EEPROM asks for.
    mode: Cell<u32>,
    /// The PHY's control register, which a reset of the chip leaves as it is.
    bmcr: Cell<u32>,
    /// Which port it is.
    port: Cell<u32>,
    /// The context descriptor in force.
    context: Cell<[u32; 4]>,
    /// Interrupts sent, by entry; without MSI-X all are of entry 0.
    sent: Cell<[u32; 5]>,
    /// The register that was written last.
    last: Cell<usize>,
}

impl Fake {
    fn new() -> Rc<Fake> {
        let [a, b, c, d, e, f] = MAC.0;
        Rc::new(Fake {
            file: RefCell::new(vec![0; WINDOW / 4]),
            refuses: Cell::new(Refuses::Nothing),
            loaded: Cell::new((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0]) | RAH_AV)),
            mode: Cell::new(LINK_PHY),
            bmcr: Cell::new(BMCR_NEGOTIATE),
            port: Cell::new(0),
            context: Cell::new([0; 4]),
            sent: Cell::new([0; 5]),
            last: Cell::new(0),
        })
    }

    fn reg(&self, offset: usize) -> u32 {
        self.file.borrow()[offset / 4]
    }

    fn put(&self, offset: usize, value: u32) {
        self.file.borrow_mut()[offset / 4] = value;
    }

    fn base(&self, low: usize) -> u64 {
        u64::from(self.reg(low)) | u64::from(self.reg(low + 4)) << 32
    }

    fn msix(&self) -> bool {
        self.reg(GPIE) & GPIE_MSIX != 0
    }

    /// Notes causes in ICR, and for MSI-X those of the mapped entries; sends what is not masked.
    fn cause(&self, plain: u32, mapped: u32) {
        let before = (self.reg(ICR) & self.reg(IMS), self.reg(EICR) & self.reg(EIMS));
        self.put(ICR, self.reg(ICR) | plain);
        if !self.msix() {
            if self.reg(ICR) & self.reg(IMS) & !before.0 != 0 {
                self.interrupt(0);
            }
            return;
        }
        let other = self.reg(ICR) & self.reg(IMS) & !before.0;
        let entry = self.reg(IVAR_MISC) >> 8 & 0xff;
        let other = if other != 0 && entry & IVAR_VALID != 0 { 1 << (entry & 31) } else { 0 };
        self.put(EICR, self.reg(EICR) | mapped | other);
        self.send(self.reg(EICR) & self.reg(EIMS) & !before.1);
    }

    /// Sends messages for these bits of EICR, which clears those in EIAC.
    fn send(&self, bits: u32) {
        (0..5).filter(|entry| bits & 1 << entry != 0).for_each(|entry| self.interrupt(entry));
        self.put(EICR, self.reg(EICR) & !(bits & self.reg(EIAC)));
    }

    fn interrupt(&self, entry: usize) {
        let mut sent = self.sent.get();
        sent[entry] += 1;
        self.sent.set(sent);
    }

    /// Interrupts since the last call.
    fn interrupts(&self) -> [u32; 5] {
        self.sent.replace([0; 5])
    }

    /// The bit of EICR that queue 0 is mapped to, by the position in IVAR0.
    fn entry(&self, shift: u32) -> u32 {
        let entry = self.reg(IVAR0) >> shift & 0xff;
        if entry & IVAR_VALID != 0 { 1 << (entry & 31) } else { 0 }
    }

    /// Writes one receive descriptor with its buffer; false without a free one.
    fn piece(&self, content: &[u8], length: u16, status: u32) -> bool {
        assert!(self.reg(RCTL) & RCTL_EN != 0 && self.reg(RXDCTL) & DCTL_ENABLE != 0);
        assert_eq!(self.reg(SRRCTL), 2 | 1 << 25, "buffers of 2 KiB, one for each descriptor");
        let head = self.reg(RDH);
        if head == self.reg(RDT) {
            return false;
        }
        let at = self.base(RDBAL) + 16 * u64::from(head);
        assert_eq!(peek::<u64>(at + 8), 0, "no buffer for headers, and DD is clear");
        let buffer = peek::<u64>(at);
        fill(buffer, content);
        write_back(at, length, status);
        self.put(RDH, (head + 1) % COUNT as u32);
        true
    }

    /// An access to the PHY, by whoever has it.
    fn mdic(&self, command: u32) {
        let owner = [1 << 1, 1 << 2, 1 << 5, 1 << 6][self.port.get() as usize];
        assert_eq!(self.reg(SW_FW_SYNC), owner, "used in turn with firmware");
        assert_eq!(command >> 16 & 0x3ff, 1 << 5, "register 0 of PHY 1");
        let done = match self.refuses.get() {
            Refuses::Mdic => 0,
            Refuses::Phy => MDIC_READY | MDIC_ERROR,
            _ => MDIC_READY,
        };
        match command >> 26 & 3 {
            1 => self.bmcr.set(command & MDIC_DATA),
            2 => return self.put(MDIC, command & !MDIC_DATA | self.bmcr.get() | done),
            other => panic!("operation {other}"),
        }
        self.put(MDIC, command | done);
    }

    fn noted(&self) {
        self.cause(INT_RXT0, self.entry(0));
    }

    /// Receives a frame (no FCS) over as many descriptors as it takes; false when they are too few, or the frame is
    /// too long for what the driver programmed.
    fn deliver(&self, frame: &[u8], status: u32) -> bool {
        let most = if self.reg(RCTL) & RCTL_LPE != 0 { self.reg(RLPML) as usize } else { 1522 };
        let free = (self.reg(RDT) + COUNT as u32 - self.reg(RDH)) as usize % COUNT;
        if frame.len() + 4 > most || free < frame.len().div_ceil(2048) {
            return false;
        }
        let mut pieces = frame.chunks(2048).peekable();
        while let Some(piece) = pieces.next() {
            // Of the status only DD means something before the end.
            let status = if pieces.peek().is_some() { 0 } else { status | EOP };
            assert!(self.piece(piece, piece.len() as u16, status));
        }
        self.noted();
        true
    }

    /// Sends everything up to the tail: frames with their context where one was asked for.
    fn transmit(&self) -> Vec<(Vec<u8>, Option<[u32; 4]>)> {
        assert!(self.reg(TCTL) & TCTL_EN != 0 && self.reg(TXDCTL) & DCTL_ENABLE != 0);
        let (mut frames, mut frame, mut payload) = (Vec::new(), Vec::new(), 0);
        while self.reg(TDH) != self.reg(TDT) {
            let head = self.reg(TDH);
            let at = self.base(TDBAL) + 16 * u64::from(head);
            let words: [u32; 4] = std::array::from_fn(|i| peek(at + 4 * i as u64));
            assert!(words[2] & 1 << 29 != 0, "advanced descriptors only");
            match words[2] >> 20 & 15 {
                2 => {
                    assert!(frame.is_empty(), "a context in the middle of a frame");
                    self.context.set(words);
                }
                3 => {
                    assert!(words[2] & 1 << 25 != 0, "FCS is the chip's");
                    if frame.is_empty() {
                        payload = words[3] >> 14;
                    }
                    assert_eq!(words[3] >> 14, payload, "all pieces tell the same");
                    let buffer = u64::from(words[0]) | u64::from(words[1]) << 32;
                    let length = (words[2] & 0xffff) as usize;
                    assert!((1..=4096).contains(&length), "piece of {length} bytes");
                    frame.extend_from_slice(&bytes(buffer, length));
                    if words[2] & 1 << 24 != 0 {
                        let segment = words[2] & 1 << 31 != 0;
                        let context = (words[3] & 1 << 9 != 0).then(|| self.context.get());
                        let headers = match context {
                            Some(context) if segment => {
                                assert!(words[3] & 1 << 8 != 0, "the IP header's checksum is the chip's");
                                ((context[0] >> 9 & 0x7f) + (context[0] & 0x1ff) + (context[3] >> 8 & 0xff))
                                    as usize
                            }
                            _ => 0,
                        };
                        assert_eq!(payload as usize, frame.len() - headers, "PAYLEN");
                        assert!(segment || frame.len() <= 9018);
                        frames.push((std::mem::take(&mut frame), context));
                    }
                }
                other => panic!("descriptor type {other}"),
            }
            if words[2] & 1 << 27 != 0 {
                poke(at + 12, 1u32);
                self.cause(INT_TXDW, self.entry(8));
            }
            self.put(TDH, (head + 1) % COUNT as u32);
        }
        assert!(frame.is_empty(), "the tail is at the end of a frame");
        frames
    }
}

impl Registers for Fake {
    fn len(&self) -> usize {
        WINDOW
    }

    fn read8(&self, _: usize) -> u8 {
        panic!("registers are 32 bits wide")
    }

    fn read16(&self, _: usize) -> u16 {
        panic!("registers are 32 bits wide")
    }

    fn read32(&self, offset: usize) -> u32 {
        let value = self.reg(offset);
        match offset {
            // Causes and counters are cleared by reading.
            ICR | 0x4000..0x4100 => self.put(offset, 0),
            SWSM => self.put(SWSM, value | SWSM_DRIVERS),
            _ => {}
        }
        value
    }

    fn write8(&self, _: usize, _: u8) {
        panic!("registers are 32 bits wide")
    }

    fn write16(&self, _: usize, _: u16) {
        panic!("registers are 32 bits wide")
    }

    fn write32(&self, offset: usize, value: u32) {
        self.last.set(offset);
        let refuses = self.refuses.get();
        match offset {
            CTRL if value & CTRL_RST != 0 => {
                let busy = self.reg(STATUS) & STATUS_MASTER_ENABLED != 0;
                assert!(!busy || refuses == Refuses::MasterDisable, "reset with requests on their way");
                if refuses == Refuses::Reset {
                    return self.put(CTRL, value);
                }
                self.file.borrow_mut().fill(0);
                // Nobody says that a reset takes this back.
                self.put(CTRL, value & (CTRL_MASTER_DISABLE | CTRL_FRCSPD));
                self.put(STATUS, STATUS_MASTER_ENABLED | self.port.get() << STATUS_PORT_SHIFT);
                if refuses == Refuses::Turn {
                    self.put(SW_FW_SYNC, 1 << 17);
                }
                self.put(CTRL_EXT, self.mode.get() << CTRL_EXT_LINK_SHIFT);
                self.put(RXDCTL, DCTL_ENABLE);
                self.put(TXDCTL, DCTL_ENABLE);
                // As QEMU's 82576 has it.
                self.put(TCTL, TCTL_PSP | 0x0f << 4 | 0x40 << 12 | 1 << 28);
                if refuses != Refuses::AutoRead {
                    self.put(EECD, EECD_AUTO_RD);
                }
                let (low, high) = self.loaded.get();
                self.put(RAL0, low);
                self.put(RAH0, high);
            }
            CTRL => {
                self.put(CTRL, value);
                let enabled = if value & CTRL_MASTER_DISABLE == 0 { STATUS_MASTER_ENABLED } else { 0 };
                if refuses != Refuses::MasterDisable {
                    self.put(STATUS, self.reg(STATUS) & !STATUS_MASTER_ENABLED | enabled);
                }
            }
            SWSM if refuses == Refuses::Semaphore => self.put(SWSM, value & !SWSM_FIRMWARE),
            SW_FW_SYNC => {
                assert!(self.reg(SWSM) & SWSM_FIRMWARE != 0, "changed without the semaphore");
                self.put(SW_FW_SYNC, value);
            }
            MDIC => self.mdic(value),
            RXDCTL | TXDCTL if refuses == Refuses::Queue(offset) => self.put(offset, value & !DCTL_ENABLE),
            ICR => self.put(ICR, self.reg(ICR) & !value),
            IMS => {
                self.put(IMS, self.reg(IMS) | value);
                if !self.msix() && self.reg(ICR) & value != 0 {
                    self.interrupt(0);
                }
            }
            IMC => self.put(IMS, self.reg(IMS) & !value),
            EICR => self.put(EICR, self.reg(EICR) & !value),
            EIMS => {
                self.put(EIMS, self.reg(EIMS) | value);
                self.send(self.reg(EICR) & value);
            }
            EIMC => self.put(EIMS, self.reg(EIMS) & !value),
            EIAC => {
                assert!(self.msix(), "EIAC means nothing without MSI-X");
                self.put(EIAC, value);
            }
            RDBAL | RDBAH | RDLEN | SRRCTL => {
                assert_eq!(self.reg(RXDCTL) & DCTL_ENABLE, 0, "the ring of a queue that works");
                self.put(offset, value);
            }
            TDBAL | TDBAH | TDLEN => {
                assert_eq!(self.reg(TXDCTL) & DCTL_ENABLE, 0, "the ring of a queue that works");
                self.put(offset, value);
            }
            RDT => {
                assert!(
                    value == 0 || self.reg(RXDCTL) & DCTL_ENABLE != 0,
                    "tail of a queue that does not work"
                );
                self.put(RDT, value);
            }
            TDT => {
                assert!(
                    value == 0 || self.reg(TXDCTL) & DCTL_ENABLE != 0,
                    "tail of a queue that does not work"
                );
                self.put(TDT, value);
            }
            _ => self.put(offset, value),
        }
    }
}

/// Writes a receive descriptor as the chip does.
fn write_back(at: u64, length: u16, status: u32) {
    // In the place of the address: packet type and hash.
    poke(at, 0x0123_4567_89ab_cdefu64);
    poke(at + 12, u32::from(length) | 0x5a5a_0000);
    poke(at + 8, status | 1);
}

fn bring_up(fake: &Rc<Fake>, mode: InterruptMode) -> Result<Igb, InitError> {
    Igb::new(fake.clone(), Rc::new(TestDma), Rc::new(TestClock::default()), mode)
}

fn up() -> (Rc<Fake>, Igb) {
    let fake = Fake::new();
    let device = bring_up(&fake, InterruptMode::Msix(0)).unwrap();
    (fake, device)
}

fn received(device: &mut Igb) -> Vec<(Vec<u8>, bool)> {
    let mut frames = Vec::new();
    device.receive(64, &mut |frame, meta| frames.push((frame.to_vec(), meta.checksum_ok)));
    frames
}

fn send(device: &mut Igb, frame: &[u8]) -> Result<(), TransmitError> {
    device.transmit(frame.len(), TxOffload::default(), &mut |buffer| buffer.copy_from_slice(frame))
}

/// Status of a received descriptor: end of packet; TCP or UDP checksum computed, and wrong; error of the wire.
const EOP: u32 = 1 << 1;
const UDPCS: u32 = 1 << 4;
const L4CS: u32 = 1 << 5;
const L4E: u32 = 1 << 29;
const RXE: u32 = 1 << 31;
