use crate::InitError;
use crate::watchdog::Watchdog;
use crate::watchdog::tco::{Place, Tco};
use keelson_hal::{PortIo, Registers};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const BASE: u16 = 0x660;

/// The timer and GCS: time passes by [`Fake::passes`].
struct Fake {
    timer: Cell<u16>,
    left: Cell<u16>,
    status: Cell<[u16; 2]>,
    control: Cell<u16>,
    gcs: Cell<u32>,
    is_strapped: bool,
    is_absent: bool,
    resets: Cell<u32>,
}

impl Default for Fake {
    /// As a firmware may leave it: counting, but without consequences.
    fn default() -> Fake {
        Fake {
            timer: Cell::new(4),
            left: Cell::new(4),
            status: Cell::default(),
            control: Cell::new(1 << 9),
            gcs: Cell::new(0x20 | 0xc00),
            is_strapped: false,
            is_absent: false,
            resets: Cell::new(0),
        }
    }
}

impl Fake {
    fn start(self, timeout: Option<u64>) -> (Rc<Fake>, Result<Tco, InitError>) {
        let fake = Rc::new(self);
        let tco = Tco::new(fake.clone(), BASE, &*fake, timeout.map(Duration::from_secs));
        (fake, tco)
    }

    fn is_halted(&self) -> bool {
        self.control.get() & 1 << 11 != 0
    }

    /// So many counts of 0.6 s.
    fn passes(&self, counts: u16) {
        for _ in 0..counts {
            if self.is_halted() {
                return;
            }
            self.left.set(self.left.get().saturating_sub(1));
            if self.left.get() > 0 {
                continue;
            }
            self.left.set(self.timer.get());
            let [mut first, mut second] = self.status.get();
            if first & 1 << 3 != 0 {
                second |= 0b110;
                if self.gcs.get() & 0x20 == 0 {
                    self.resets.set(self.resets.get() + 1);
                }
            }
            first |= 1 << 3;
            self.status.set([first, second]);
        }
    }
}

impl PortIo for Fake {
    fn read8(&self, _: u16) -> u8 {
        panic!("a register of two bytes")
    }
    fn write8(&self, _: u16, _: u8) {
        panic!("a register of two bytes")
    }
    fn read16(&self, port: u16) -> u16 {
        match port - BASE {
            _ if self.is_absent => u16::MAX,
            0x04 => self.status.get()[0],
            0x06 => self.status.get()[1],
            0x08 => self.control.get(),
            other => panic!("register {other:#x}"),
        }
    }
    fn write16(&self, port: u16, value: u16) {
        let [first, second] = self.status.get();
        match port - BASE {
            0x00 => self.left.set(self.timer.get()),
            0x04 => self.status.set([first & !value, second]),
            0x06 => {
                assert_ne!(value & 0b110, 0b110, "the reason of the boot goes last");
                self.status.set([first, second & !value]);
            }
            0x08 => {
                assert_eq!(value & 1 << 8, 0, "an NMI");
                self.control.set(value);
            }
            0x12 => self.timer.set(value),
            other => panic!("register {other:#x}"),
        }
    }
}

impl Registers for Fake {
    fn len(&self) -> usize {
        4
    }
    fn read8(&self, _: usize) -> u8 {
        panic!("four bytes")
    }
    fn read16(&self, _: usize) -> u16 {
        panic!("four bytes")
    }
    fn read32(&self, offset: usize) -> u32 {
        assert_eq!(offset, 0);
        self.gcs.get()
    }
    fn write8(&self, _: usize, _: u8) {
        panic!("four bytes")
    }
    fn write16(&self, _: usize, _: u16) {
        panic!("four bytes")
    }
    fn write32(&self, offset: usize, value: u32) {
        assert_eq!(offset, 0);
        self.gcs.set(value | if self.is_strapped { 0x20 } else { 0 });
    }
}

#[test]
fn it_resets_after_its_time_and_not_when_it_is_fed() {
    let (fake, tco) = Fake::default().start(Some(30));
    let tco = tco.unwrap();
    assert_eq!(
        (fake.timer.get(), fake.gcs.get()),
        (25, 0xc00),
        "two times 15 s, and nothing else is changed"
    );
    assert!(!tco.has_reset());
    for _ in 0..5 {
        fake.passes(40);
        assert_eq!(fake.status.get()[0], 1 << 3, "counted down once");
        tco.feed();
    }
    assert_eq!(fake.resets.get(), 0);
    fake.passes(49);
    assert_eq!(fake.resets.get(), 0);
    fake.passes(1);
    assert_eq!(fake.resets.get(), 1);
}

#[test]
fn a_time_is_never_cut_short() {
    for (seconds, counts) in [(2, 2), (3, 3), (8, 7), (600, 500)] {
        let (fake, tco) = Fake::default().start(Some(seconds));
        assert!(tco.is_ok());
        assert_eq!(fake.timer.get(), counts, "{seconds} s");
    }
}

#[test]
fn it_tells_once_that_it_has_reset_the_machine() {
    let (fake, tco) = Fake { status: Cell::new([1 << 3, 0b110]), ..Fake::default() }.start(Some(2));
    assert!(tco.unwrap().has_reset());
    assert_eq!(fake.status.get(), [0, 0]);
}

#[test]
fn what_the_firmware_started_is_stopped_when_it_is_not_wanted() {
    let (fake, tco) = Fake::default().start(None);
    assert!(tco.is_ok() && fake.is_halted());
    assert_eq!(fake.gcs.get(), 0xc20, "nobody asked for that");
}

#[test]
fn the_switch_stops_it_and_lets_it_go_on() {
    let (fake, tco) = Fake { control: Cell::new(1 << 9 | 1 << 8), ..Fake::default() }.start(Some(6));
    let switch = tco.unwrap().switch();
    PortIo::write16(&*fake, switch.control, switch.stopped);
    fake.passes(1000);
    assert!(fake.is_halted() && fake.resets.get() == 0);
    PortIo::write16(&*fake, switch.control, switch.running);
    PortIo::write16(&*fake, switch.reload, 1);
    assert_eq!(fake.control.get(), 1 << 9, "as the firmware had it");
    fake.passes(10);
    assert_eq!(fake.resets.get(), 1);
}

#[test]
fn what_cannot_be_is_refused() {
    let (fake, tco) = Fake::default().start(Some(1300));
    assert!(matches!(tco.err(), Some(InitError::BadConfig { .. })) && fake.is_halted());
    let (fake, tco) = Fake { is_strapped: true, ..Fake::default() }.start(Some(30));
    assert!(matches!(tco.err(), Some(InitError::Strapped(_))) && fake.is_halted());
    let (_, tco) = Fake { is_absent: true, ..Fake::default() }.start(Some(30));
    assert!(matches!(tco.err(), Some(InitError::NotADevice { .. })));
}

#[test]
fn its_place_is_told_by_the_bridge() {
    let bridge = |base: u32, control: u32, chipset: u32| {
        Place::find(&move |offset| match offset {
            0x40 => base,
            0x44 => control,
            0xf0 => chipset,
            other => panic!("offset {other:#x}"),
        })
    };
    let place = bridge(0x601, 0x80, 0xfed1_c001).unwrap();
    assert_eq!(place, Place { ports: BASE, gcs: 0xfed1_f410 });
    for (base, control, chipset) in
        [(1, 0x80, 0xfed1_c001), (0x601, 0, 0xfed1_c001), (0x601, 0x80, 0xfed1_c000), (0x601, 0x80, 1)]
    {
        assert!(matches!(bridge(base, control, chipset), Err(InitError::BadConfig { .. })));
    }
}
