use crate::InitError;
use crate::watchdog::Watchdog;
use crate::watchdog::i6300esb::{ENABLE, I6300esb, LOCK, Space};
use keelson_hal::Registers;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// The device: what was written counts only when it was unlocked before.
#[derive(Default)]
struct Fake {
    unlocked: Cell<u8>,
    timers: RefCell<[u32; 2]>,
    configuration: Cell<u16>,
    enabled: Cell<bool>,
    fed: Cell<u32>,
    ran_down: Cell<bool>,
    is_absent: bool,
}

impl Fake {
    fn start(self, timeout: Option<u64>) -> (Rc<Fake>, Result<I6300esb, InitError>) {
        let fake = Rc::new(self);
        let watchdog = I6300esb::new(fake.clone(), &*fake, timeout.map(Duration::from_secs));
        (fake, watchdog)
    }
}

impl Registers for Fake {
    fn len(&self) -> usize {
        0x10
    }
    fn read8(&self, _: usize) -> u8 {
        panic!("no register of a byte")
    }
    fn read16(&self, offset: usize) -> u16 {
        assert_eq!(offset, 0x0c);
        if self.is_absent { u16::MAX } else { u16::from(self.ran_down.get()) << 9 }
    }
    fn read32(&self, _: usize) -> u32 {
        panic!("nothing to read")
    }
    fn write8(&self, _: usize, _: u8) {
        panic!("no register of a byte")
    }
    fn write16(&self, offset: usize, value: u16) {
        assert_eq!(offset, 0x0c);
        match (value, self.unlocked.get()) {
            (0x80, 0) => self.unlocked.set(1),
            (0x86, 1) => self.unlocked.set(2),
            (_, 2) => {
                self.unlocked.set(0);
                self.fed.set(self.fed.get() + u32::from(value >> 8 & 1));
                if value & 1 << 9 != 0 {
                    self.ran_down.set(false);
                }
            }
            _ => panic!("{value:#x} without unlocking"),
        }
    }
    fn write32(&self, offset: usize, value: u32) {
        assert_eq!(self.unlocked.replace(0), 2);
        self.timers.borrow_mut()[offset / 4] = value;
    }
}

impl Space for Fake {
    fn write16(&self, offset: u16, value: u16) {
        assert_eq!(offset, 0x60);
        self.configuration.set(value);
    }
    fn write8(&self, offset: u16, value: u8) {
        assert_eq!(offset, LOCK);
        self.enabled.set(value & ENABLE != 0);
    }
}

#[test]
fn it_counts_the_time_in_two_halves_and_is_fed() {
    let (fake, watchdog) = Fake::default().start(Some(30));
    let watchdog = watchdog.unwrap();
    assert_eq!((*fake.timers.borrow(), fake.configuration.get()), ([15 * 1024; 2], 3));
    assert!(fake.enabled.get() && !watchdog.has_reset());
    let before = fake.fed.get();
    watchdog.feed();
    assert_eq!(fake.fed.get(), before + 1);
}

#[test]
fn it_tells_once_that_it_has_reset_the_machine() {
    let (fake, watchdog) = Fake { ran_down: Cell::new(true), ..Fake::default() }.start(Some(2));
    assert!(watchdog.unwrap().has_reset() && !fake.ran_down.get());
}

#[test]
fn what_the_firmware_started_is_stopped_when_it_is_not_wanted() {
    let (fake, watchdog) = Fake { enabled: Cell::new(true), ..Fake::default() }.start(None);
    assert!(watchdog.is_ok() && !fake.enabled.get() && fake.fed.get() == 0);
}

#[test]
fn what_cannot_be_is_refused() {
    let (fake, watchdog) = Fake::default().start(Some(1 << 20));
    assert!(matches!(watchdog.err(), Some(InitError::BadConfig { .. })) && !fake.enabled.get());
    let (_, watchdog) = Fake { is_absent: true, ..Fake::default() }.start(Some(30));
    assert!(matches!(watchdog.err(), Some(InitError::NotADevice { .. })));
}
