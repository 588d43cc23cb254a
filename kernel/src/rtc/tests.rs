use super::*;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};

/// A clock whose registers change under the reader's eyes when told so.
struct Clock {
    registers: RefCell<[u8; 128]>,
    index: Cell<u8>,
    busy_reads: Cell<usize>,
    /// Data reads until the second ticks once.
    tick_after: Cell<Option<usize>>,
}

impl PortIo for Clock {
    fn read16(&self, port: u16) -> u16 {
        panic!("the clock has no port {port:#x} of two bytes");
    }
    fn write16(&self, port: u16, _: u16) {
        panic!("the clock has no port {port:#x} of two bytes");
    }
    fn read8(&self, port: u16) -> u8 {
        assert_eq!(port, DATA);
        if let Some(left) = self.tick_after.get() {
            self.tick_after.set(left.checked_sub(1));
            if left == 0 {
                self.registers.borrow_mut()[usize::from(SECONDS)] += 1;
            }
        }
        if self.index.get() == STATUS_A && self.busy_reads.get() > 0 {
            self.busy_reads.set(self.busy_reads.get() - 1);
            return UPDATE_IN_PROGRESS | 0x26;
        }
        self.registers.borrow()[usize::from(self.index.get())]
    }
    fn write8(&self, port: u16, value: u8) {
        assert_eq!(port, INDEX);
        assert!(value < 0x80);
        self.index.set(value);
    }
}

/// seconds, minutes, hours, day, month, year, century (register 0x32), status B.
fn clock(values: [u8; 8]) -> Clock {
    let mut registers = [0; 128];
    let places = [SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR, 0x32, STATUS_B];
    for (place, value) in places.into_iter().zip(values) {
        registers[usize::from(place)] = value;
    }
    Clock {
        registers: RefCell::new(registers),
        index: Cell::new(0),
        busy_reads: Cell::new(0),
        tick_after: Cell::new(None),
    }
}

fn shown(values: [u8; 8]) -> String {
    read(&clock(values), 0x32).map_or_else(|error| format!("{error:?}"), |time| time.to_string())
}

#[test]
fn each_format() {
    assert_eq!(shown([0x56, 0x34, 0x23, 0x21, 0x11, 0x26, 0x20, HOURS_24]), "2026-11-21T23:34:56Z");
    assert_eq!(shown([56, 34, 23, 21, 11, 26, 20, HOURS_24 | BINARY]), "2026-11-21T23:34:56Z");
    assert_eq!(shown([0x56, 0x34, 0x91, 0x21, 0x11, 0x26, 0x20, 0]), "2026-11-21T23:34:56Z");
    assert_eq!(shown([56, 34, 11 | PM, 21, 11, 26, 20, BINARY]), "2026-11-21T23:34:56Z");
}

#[test]
fn noon_midnight_and_centuries() {
    assert_eq!(shown([0, 0, 0x12, 1, 1, 0x30, 0x20, 0]), "2030-01-01T00:00:00Z");
    assert_eq!(shown([0, 0, 0x92, 1, 1, 0x30, 0x20, 0]), "2030-01-01T12:00:00Z");
    assert_eq!(shown([0, 0, 0, 1, 1, 0x99, 0x19, HOURS_24]), "1999-01-01T00:00:00Z");
    // A century register that holds something else.
    assert_eq!(shown([0, 0, 0, 1, 1, 0x30, 0x07, HOURS_24]), "2030-01-01T00:00:00Z");
    let time = read(&clock([0, 0, 0, 1, 1, 0x30, 0x19, HOURS_24]), 0).unwrap();
    assert_eq!(time.year, 2030);
}

#[test]
fn dates_that_do_not_exist() {
    for (day, month, year) in
        [(0x29, 0x02, 0x27), (0x31, 0x04, 0x26), (0, 1, 0x26), (1, 0, 0x26), (1, 0x13, 0x26), (0x1a, 1, 0x26)]
    {
        assert_eq!(shown([0, 0, 0, day, month, year, 0x20, HOURS_24]), "Nonsense");
    }
    assert_eq!(shown([0, 0, 0, 0x29, 2, 0x28, 0x20, HOURS_24]), "2028-02-29T00:00:00Z");
    assert_eq!(shown([0x60, 0, 0, 1, 1, 0x28, 0x20, HOURS_24]), "Nonsense");
    assert_eq!(shown([0, 0, 0x13, 1, 1, 0x28, 0x20, 0]), "Nonsense");
}

#[test]
fn an_update_is_waited_for() {
    let clock = clock([0x10, 0, 0, 1, 1, 0x26, 0x20, HOURS_24]);
    clock.busy_reads.set(100);
    assert!(read(&clock, 0x32).is_ok());
    clock.busy_reads.set(usize::MAX);
    assert_eq!(read(&clock, 0x32), Err(RtcError::Absent));
}

#[test]
fn a_tick_between_two_readings_is_seen() {
    for reads in 0..20 {
        let clock = clock([0x10, 0, 0, 1, 1, 0x26, 0x20, HOURS_24]);
        clock.tick_after.set(Some(reads));
        let second = read(&clock, 0x32).unwrap().second;
        assert!(second == 10 || second == 11);
    }
}

#[test]
fn a_floating_bus_is_no_clock() {
    struct Nothing;
    impl PortIo for Nothing {
        fn read8(&self, _: u16) -> u8 {
            0xff
        }
        fn write8(&self, _: u16, _: u8) {}
        fn read16(&self, _: u16) -> u16 {
            0xffff
        }
        fn write16(&self, _: u16, _: u16) {}
    }
    assert_eq!(read(&Nothing, 0), Err(RtcError::Absent));
}

#[test]
fn known_moments() {
    let at = |year, month, day| CivilTime { year, month, day, hour: 0, minute: 0, second: 0 }.unix_seconds();
    assert_eq!(at(1970, 1, 1), 0);
    assert_eq!(at(2000, 3, 1), 951_868_800);
    assert_eq!(at(2038, 1, 19), 2_147_472_000);
    assert_eq!(
        CivilTime { hour: 23, minute: 59, second: 59, ..time(2026, 11, 21) }.unix_seconds(),
        1_795_305_599
    );
}

fn time(year: u16, month: u8, day: u8) -> CivilTime {
    CivilTime { year, month, day, hour: 0, minute: 0, second: 0 }
}

#[test]
fn every_day_follows_the_one_before() {
    let mut expected = 0;
    for year in 1970..2500 {
        for month in 1..=12 {
            for day in (1..=31).filter(|day| time(year, month, *day).checked().is_some()) {
                assert_eq!(time(year, month, day).unix_seconds(), expected, "{year}-{month}-{day}");
                expected += 86_400;
            }
        }
    }
}

proptest! {
    #[test]
    fn any_registers_are_read(values in any::<[u8; 8]>(), century in any::<u8>()) {
        if let Ok(time) = read(&clock(values), century) {
            prop_assert!(time.unix_seconds() < 253_402_300_800);
        }
    }
}
