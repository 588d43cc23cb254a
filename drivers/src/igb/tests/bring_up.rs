//! Reset, addresses, link, interrupts.

use super::*;

#[test]
fn registers_say_what_the_driver_does() {
    let (fake, device) = up();
    assert_eq!((device.driver(), device.mac(), device.max_mtu()), ("igb", MAC, 9000));
    assert_eq!(fake.reg(RCTL), RCTL_EN | RCTL_BAM | RCTL_SECRC | RCTL_LPE);
    assert_eq!(fake.reg(RLPML), 9022);
    assert_eq!((fake.reg(RDLEN), fake.reg(TDLEN)), (4096, 4096));
    assert_eq!(fake.reg(RXCSUM), RXCSUM_IPOFL | RXCSUM_TUOFL);
    assert_eq!(fake.reg(TCTL), TCTL_EN | TCTL_PSP | 0x0f << 4 | 0x40 << 12 | 1 << 28, "the rest as it was");
    assert_eq!(fake.reg(CTRL) & (CTRL_SLU | CTRL_MASTER_DISABLE), CTRL_SLU);
    assert!(fake.reg(CTRL_EXT) & CTRL_EXT_DRV_LOAD != 0);
    assert_eq!((fake.reg(RXDCTL) >> 16 & 31, fake.reg(TXDCTL) >> 16 & 31), (1, 1));
    assert_eq!(fake.reg(RDT), COUNT as u32 - 1);
    assert_eq!(device.rings(), (COUNT, COUNT));
}

#[test]
fn address_is_what_the_chip_has_loaded() {
    let fake = Fake::new();
    let (low, high) = fake.loaded.get();
    // Without the valid bit, no address, a group's.
    for bad in [(low, high & !RAH_AV), (0, RAH_AV), (low | 1, high)] {
        fake.loaded.set(bad);
        let value = u64::from(bad.1) << 32 | u64::from(bad.0);
        let error = InitError::BadConfig { field: "station address", value };
        assert_eq!(bring_up(&fake, InterruptMode::Plain).err(), Some(error));
        assert_eq!((TestDma::in_use(), fake.reg(RCTL)), (0, 0));
    }
}

#[test]
fn every_wait_of_the_start_has_an_end() {
    for (refuses, error) in [
        (Refuses::Reset, Some(InitError::ResetTimeout)),
        (Refuses::MasterDisable, None),
        (Refuses::AutoRead, None),
        (Refuses::Mdic, None),
        (Refuses::Phy, None),
        (Refuses::Semaphore, None),
        (Refuses::Turn, None),
        (Refuses::Queue(RXDCTL), Some(InitError::NoAnswer("receive queue enable"))),
        (Refuses::Queue(TXDCTL), Some(InitError::NoAnswer("transmit queue enable"))),
    ] {
        let fake = Fake::new();
        fake.put(STATUS, STATUS_MASTER_ENABLED);
        fake.refuses.set(refuses);
        assert_eq!(bring_up(&fake, InterruptMode::Plain).err(), error, "{refuses:?}");
        assert_eq!(TestDma::in_use(), 0, "{refuses:?}");
    }
}

#[test]
fn a_dropped_device_is_stopped_or_keeps_its_memory() {
    let (fake, device) = up();
    drop(device);
    assert_eq!((TestDma::in_use(), fake.reg(RCTL), fake.reg(RDBAL), fake.reg(EIMS)), (0, 0, 0, 0));
    let (fake, mut device) = up();
    device.arm();
    fake.refuses.set(Refuses::Reset);
    drop(device);
    assert!(TestDma::in_use() > 0);
    assert_eq!((fake.reg(RCTL), fake.reg(TCTL) & TCTL_EN, fake.reg(EIMS), fake.reg(IMS)), (0, 0, 0, 0));
    assert!(fake.reg(CTRL) & CTRL_MASTER_DISABLE != 0);
}

#[test]
fn shortage_of_memory_is_reported() {
    let fake = Fake::new();
    for limit in [1000, 300_000, 600_000, 1_100_000] {
        TestDma::set_limit(limit);
        assert!(matches!(bring_up(&fake, InterruptMode::Plain).err(), Some(InitError::NoMemory(_))));
        TestDma::set_limit(usize::MAX);
        assert_eq!(TestDma::in_use(), 0);
    }
}

#[test]
fn a_window_that_is_too_short_is_refused() {
    struct Short;
    impl Registers for Short {
        fn len(&self) -> usize {
            WINDOW - 4
        }
        fn read8(&self, _: usize) -> u8 {
            unreachable!()
        }
        fn read16(&self, _: usize) -> u16 {
            unreachable!()
        }
        fn read32(&self, _: usize) -> u32 {
            unreachable!()
        }
        fn write8(&self, _: usize, _: u8) {
            unreachable!()
        }
        fn write16(&self, _: usize, _: u16) {
            unreachable!()
        }
        fn write32(&self, _: usize, _: u32) {
            unreachable!()
        }
    }
    let device =
        Igb::new(Rc::new(Short), Rc::new(TestDma), Rc::new(TestClock::default()), InterruptMode::Plain);
    assert!(matches!(device.err(), Some(InitError::NotADevice { .. })));
}

#[test]
fn link_and_speed_come_from_status() {
    let (fake, mut device) = up();
    assert_eq!(device.link(), Link::Down);
    for (bits, speed) in [(0, 10), (1, 100), (2, 1000), (3, 1000)] {
        fake.put(STATUS, STATUS_LU | bits << 6);
        assert_eq!(device.link(), Link::Up(LinkSpeed(speed)));
    }
}

#[test]
fn every_change_of_the_link_interrupts() {
    for mode in [InterruptMode::Msix(0), InterruptMode::Msix(3), InterruptMode::Plain] {
        let fake = Fake::new();
        let mut device = bring_up(&fake, mode).unwrap();
        let entry = if let InterruptMode::Msix(entry) = mode { usize::from(entry) } else { 0 };
        for up in [true, false, true] {
            device.disarm();
            assert!(!device.arm());
            fake.interrupts();
            fake.put(STATUS, if up { STATUS_LU | 2 << 6 } else { 0 });
            fake.cause(INT_LSC, 0);
            assert_eq!(fake.interrupts()[entry], 1, "{mode:?}, up: {up}");
            device.disarm();
            assert_eq!(device.link() != Link::Down, up);
        }
    }
}

#[test]
fn ports_without_a_phy_are_coded_by_the_chip() {
    let forced = CTRL_FD | CTRL_SPEED_1000 | CTRL_FRCSPD | CTRL_FRCDPX;
    let negotiate = PCS_LCTL_AN_ENABLE | PCS_LCTL_AN_RESTART;
    for (mode, control, coding) in [
        (LINK_PHY, 0, None),
        (LINK_KX, forced, Some(PCS_LCTL_1000_FULL | PCS_LCTL_FSD | PCS_LCTL_FORCE_FLOW)),
        (LINK_SGMII, 0, Some(negotiate)),
        (3, forced, Some(PCS_LCTL_1000_FULL | PCS_LCTL_AN_TIMEOUT | negotiate)),
    ] {
        let fake = Fake::new();
        fake.mode.set(mode);
        let device = bring_up(&fake, InterruptMode::Plain).unwrap();
        assert_eq!(fake.reg(CTRL), CTRL_SLU | control, "mode {mode}");
        assert_eq!(fake.reg(PCS_LCTL), coding.unwrap_or(0), "mode {mode}");
        assert_eq!(fake.reg(PCS_CFG) & PCS_CFG_EN != 0, coding.is_some(), "mode {mode}");
        assert_eq!(fake.reg(CTRL_EXT) >> CTRL_EXT_LINK_SHIFT & 3, mode);
        drop(device);
    }
}

#[test]
fn causes_are_mapped_to_two_entries() {
    let fake = Fake::new();
    let device = bring_up(&fake, InterruptMode::Msix(2)).unwrap();
    assert_eq!((fake.reg(IVAR0), fake.reg(IVAR_MISC)), (0x8382, 0x8200));
    assert_eq!((fake.reg(EIAC), fake.reg(IMS), fake.reg(EIMS)), (0b1100, INT_LSC, 0));
    assert_eq!((fake.reg(EITR), fake.reg(EITR + 8)), (0, MODERATION << 2));
    assert!(fake.msix());
    drop(device);
    let device = bring_up(&fake, InterruptMode::Plain).unwrap();
    assert_eq!((fake.reg(GPIE), fake.reg(IVAR0), fake.reg(EITR)), (0, 0, MODERATION << 2));
    drop(device);
    for entry in [4, 5, 254] {
        let error = InitError::VectorRefused(u16::from(entry));
        assert_eq!(bring_up(&fake, InterruptMode::Msix(entry)).err(), Some(error));
    }
}

#[test]
fn no_wake_up_is_lost_between_looking_and_arming() {
    for mode in [InterruptMode::Msix(0), InterruptMode::Plain] {
        let fake = Fake::new();
        let mut device = bring_up(&fake, mode).unwrap();
        for _ in 0..500 {
            device.disarm();
            fake.deliver(&pattern(60), 0);
            assert_eq!(fake.interrupts(), [0; 5], "no interrupt while polling");
            assert_eq!(received(&mut device).len(), 1);
            fake.deliver(&pattern(60), 0);
            assert!(device.arm());
            device.disarm();
            assert_eq!(received(&mut device).len(), 1);
            assert!(!device.arm());
            assert_eq!(fake.interrupts(), [0; 5], "no stale cause ends the rest at once");
            fake.deliver(&pattern(60), 0);
            assert_eq!(fake.interrupts(), [1, 0, 0, 0, 0]);
            device.disarm();
            assert_eq!(received(&mut device).len(), 1);
        }
        assert_eq!(device.counters().interrupts, 500);
    }
}

#[test]
fn a_polled_chip_is_not_asked_to_interrupt() {
    let fake = Fake::new();
    let mut device = bring_up(&fake, InterruptMode::Polled).unwrap();
    fake.last.set(0);
    assert!(!device.arm());
    device.disarm();
    assert_eq!((fake.last.get(), fake.reg(IMS), fake.reg(EIMS), fake.reg(GPIE)), (0, 0, 0, 0));
    fake.deliver(&pattern(60), 0);
    assert!(device.arm());
    assert_eq!(received(&mut device).len(), 1);
    assert_eq!(fake.interrupts(), [0; 5]);
}

#[test]
fn groups_are_filtered() {
    let (fake, mut device) = up();
    let group = MacAddress([0x01, 0xaa, 0x00, 0x12, 0x34, 0x56]);
    device.set_multicast(&[group]);
    assert_eq!(fake.reg(MTA + 4 * (0x563 / 32)), 1 << (0x563 % 32));
    device.set_multicast(&[]);
    assert!((0..MTA_WORDS).all(|word| fake.reg(MTA + 4 * word) == 0));
}

#[test]
fn the_phy_is_switched_on_and_negotiates() {
    for port in 0..4 {
        let fake = Fake::new();
        fake.port.set(port);
        // Switched off by whoever was here before; speed and duplex as they were.
        fake.bmcr.set(BMCR_POWER_DOWN | BMCR_ISOLATE | 1 << 8 | 1 << 6);
        let device = bring_up(&fake, InterruptMode::Plain).unwrap();
        assert_eq!(fake.bmcr.get(), BMCR_NEGOTIATE | BMCR_RESTART | 1 << 8 | 1 << 6);
        let given_back = (fake.reg(SW_FW_SYNC), fake.reg(SWSM));
        assert_eq!(given_back, (0, 0), "port {port}");
        drop(device);
    }
    for refuses in [Refuses::Mdic, Refuses::Phy, Refuses::Semaphore, Refuses::Turn] {
        let fake = Fake::new();
        fake.refuses.set(refuses);
        drop(bring_up(&fake, InterruptMode::Plain).unwrap());
        assert_eq!(fake.bmcr.get(), BMCR_NEGOTIATE, "{refuses:?}: not told");
    }
}

#[test]
fn semaphores_are_given_back_when_the_phy_does_not_answer() {
    for (refuses, firmware) in [(Refuses::Mdic, 0), (Refuses::Phy, 0), (Refuses::Turn, 1 << 17)] {
        let fake = Fake::new();
        fake.refuses.set(refuses);
        let device = bring_up(&fake, InterruptMode::Plain).unwrap();
        assert_eq!((fake.reg(SW_FW_SYNC), fake.reg(SWSM)), (firmware, 0), "{refuses:?}");
        drop(device);
    }
}
