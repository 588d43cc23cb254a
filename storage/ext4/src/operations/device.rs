//! Device numbers in `i_block` (Linux `include/linux/kdev_t.h`, `Documentation/filesystems/ext4/ifork.rst`).

use crate::layout::bytes::{put_u32, u32_at};
use crate::layout::inode::MAP_LENGTH;
use keelson_volume::DeviceNumber;

/// Numbers that fit into eight bits each go into the first word, all others into the second. `None` for numbers that
/// Linux has no room for.
pub fn encode(device: DeviceNumber) -> Option<[u8; MAP_LENGTH]> {
    let DeviceNumber { major, minor } = device;
    if major >= 1 << 12 || minor >= 1 << 20 {
        return None;
    }
    let mut map = [0; MAP_LENGTH];
    if major < 256 && minor < 256 {
        put_u32(&mut map, 0, major << 8 | minor);
    } else {
        put_u32(&mut map, 4, minor & 0xff | major << 8 | (minor & !0xff) << 12);
    }
    Some(map)
}

/// The numbers of a device node.
pub fn decode(map: &[u8; MAP_LENGTH]) -> DeviceNumber {
    let (old, new) = (u32_at(map, 0), u32_at(map, 4));
    if old != 0 {
        return DeviceNumber { major: old >> 8 & 0xff, minor: old & 0xff };
    }
    DeviceNumber { major: new >> 8 & 0xfff, minor: new & 0xff | new >> 12 & 0xf_ff00 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_numbers() {
        for (major, minor) in [(0, 0), (8, 1), (255, 255), (256, 0), (8, 256), (4095, (1 << 20) - 1)] {
            let device = DeviceNumber { major, minor };
            assert_eq!(encode(device).map(|map| decode(&map)), Some(device));
        }
        assert_eq!(encode(DeviceNumber { major: 4096, minor: 0 }), None);
        let mut map = [0; MAP_LENGTH];
        put_u32(&mut map, 4, 0x1234_5678);
        assert_eq!(decode(&map), DeviceNumber { major: 0x456, minor: 0x1_2378 });
    }
}
