use super::*;
use proptest::prelude::*;

/// Configuration space with capabilities at 40h (MSI-X), 50h, 64h, 74h, 84h (virtio) in a list.
fn space() -> [u8; 256] {
    let mut space = [0; 256];
    space[6] = 0x10;
    space[0x34] = 0x40;
    space[0x40..0x42].copy_from_slice(&[0x11, 0x50]);
    let mut capability = |at: usize, next: u8, len: u8, kind: u8, offset: u32, window: u32| {
        space[at..at + 5].copy_from_slice(&[0x09, next, len, kind, 4]);
        space[at + 8..at + 12].copy_from_slice(&offset.to_le_bytes());
        space[at + 12..at + 16].copy_from_slice(&window.to_le_bytes());
    };
    capability(0x50, 0x64, 20, 2, 0x3000, 0x1000);
    capability(0x64, 0x74, 16, 4, 0x2000, 0x1000);
    capability(0x74, 0x84, 16, 3, 0x1000, 0x1000);
    capability(0x84, 0x00, 16, 1, 0x0000, 0x1000);
    space[0x60] = 4;
    space
}

fn find(space: &[u8; 256]) -> Result<PciCapabilities, InitError> {
    PciCapabilities::find(&|offset| {
        let at = usize::from(offset);
        assert!(at.is_multiple_of(4));
        u32::from_le_bytes(space[at..at + 4].try_into().unwrap())
    })
}

#[test]
fn qemu_capabilities_are_found() {
    let window = |offset| Window { bar: 4, offset, len: 0x1000 };
    let found = find(&space()).unwrap();
    assert_eq!(found.common, window(0));
    assert_eq!(found.isr, window(0x1000));
    assert_eq!(found.device, Some(window(0x2000)));
    assert_eq!((found.notify, found.notify_multiplier), (window(0x3000), 4));
}

#[test]
fn missing_capabilities_are_named_and_loops_end() {
    let mut without = space();
    without[0x87] = 9;
    assert_eq!(find(&without), Err(InitError::BadCapability("common configuration")));
    let mut looped = space();
    looped[0x65] = 0x50;
    assert_eq!(find(&looped), Err(InitError::BadCapability("common configuration")));
    let mut none = space();
    none[6] = 0;
    assert_eq!(find(&none), Err(InitError::BadCapability("notify")));
}

#[test]
fn windows_outside_their_bar_are_refused() {
    struct Bar;
    impl Registers for Bar {
        fn len(&self) -> usize {
            0x4000
        }
        fn read8(&self, _: usize) -> u8 {
            0
        }
        fn read16(&self, _: usize) -> u16 {
            0
        }
        fn read32(&self, _: usize) -> u32 {
            0
        }
        fn write8(&self, _: usize, _: u8) {}
        fn write16(&self, _: usize, _: u16) {}
        fn write32(&self, _: usize, _: u32) {}
    }
    let id = PciId { vendor: 0x1af4, device: 0x1041 };
    let bar = |number| (number == 4).then(|| Rc::new(Bar) as Rc<dyn Registers>);
    let with = |change: &dyn Fn(&mut PciCapabilities)| {
        let mut capabilities = find(&space()).unwrap();
        change(&mut capabilities);
        PciTransport::new(id, &capabilities, &bar, None).map(|_| ())
    };
    assert_eq!(with(&|_| ()), Ok(()));
    assert_eq!(with(&|all| all.notify.len = 0x1001), Err(InitError::BadCapability("notify")));
    assert_eq!(with(&|all| all.common.len = 55), Err(InitError::BadCapability("common configuration")));
    assert_eq!(with(&|all| all.common.offset = 2), Err(InitError::BadCapability("common configuration")));
    assert_eq!(with(&|all| all.isr.bar = 1), Err(InitError::BadCapability("interrupt status")));
    assert_eq!(with(&|all| all.isr.offset = u32::MAX - 3), Err(InitError::BadCapability("interrupt status")));
    // A device that forgets its vector: this BAR reads 0 where NO_VECTOR was written.
    let transport = PciTransport::new(id, &find(&space()).unwrap(), &bar, None).unwrap();
    let addresses = QueueAddresses { descriptors: 0, driver: 0, device: 0 };
    assert_eq!(transport.set_queue(0, 2, addresses).err(), Some(InitError::VectorRefused(NO_VECTOR)));
}

proptest! {
    #[test]
    fn any_configuration_space_is_survived(bytes in prop::collection::vec(any::<u8>(), 256)) {
        let mut space: [u8; 256] = bytes.try_into().unwrap();
        space[6] |= 0x10;
        let _ = find(&space);
    }
}
