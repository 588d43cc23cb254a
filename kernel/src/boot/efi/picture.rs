//! The framebuffer that the firmware draws on: the Graphics Output Protocol (UEFI 2.10, section 12.9).

use super::super::info::{Framebuffer, u32_at, u64_at};
use super::{Status, word};
use core::ffi::c_void;

/// Offset in EFI_BOOT_SERVICES.
const BOOT_LOCATE_HANDLE_BUFFER: usize = 0x138;
/// EFI_LOCATE_SEARCH_TYPE: those that have a protocol.
const BY_PROTOCOL: u32 = 2;
/// EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID.
const GRAPHICS_OUTPUT: [u8; 16] =
    [0xde, 0xa9, 0x42, 0x90, 0xdc, 0x23, 0x38, 0x4a, 0x96, 0xfb, 0x7a, 0xde, 0xd0, 0x80, 0x51, 0x6a];
/// Offset in the protocol.
const GRAPHICS_MODE: usize = 0x18;
/// Offsets and lengths of EFI_GRAPHICS_OUTPUT_PROTOCOL_MODE and EFI_GRAPHICS_OUTPUT_MODE_INFORMATION.
const MODE_INFORMATION: usize = 0x08;
const MODE_FRAMEBUFFER: usize = 0x18;
const MODE_LEN: usize = 0x28;
const INFORMATION_WIDTH: usize = 0x04;
const INFORMATION_HEIGHT: usize = 0x08;
const INFORMATION_FORMAT: usize = 0x0c;
const INFORMATION_LINE: usize = 0x20;
const INFORMATION_LEN: usize = 0x24;
/// Formats with a byte each for red, green and blue, in either order, and one that is not used.
const FORMATS_OF_BYTES: core::ops::RangeInclusive<u32> = 0..=1;
/// More screens than any machine has.
const SCREENS_MAX: usize = 64;

type LocateHandleBuffer =
    extern "efiapi" fn(u32, *const [u8; 16], *const c_void, *mut usize, *mut *const *mut c_void) -> Status;

/// The first screen whose pixels are in memory. Some can only be drawn on by calling the firmware.
///
/// # Safety
/// `boot` is the boot services table.
pub(super) unsafe fn find(boot: *const u8) -> Option<Framebuffer> {
    let (mut count, mut handles) = (0, core::ptr::null());
    // SAFETY: 1. the caller's promise; 2. the firmware allocates the handles, and boot services' memory is ours after their end.
    unsafe {
        let locate: LocateHandleBuffer = core::mem::transmute(word(boot, BOOT_LOCATE_HANDLE_BUFFER));
        if locate(BY_PROTOCOL, &GRAPHICS_OUTPUT, core::ptr::null(), &mut count, &mut handles) != 0
            || handles.is_null()
        {
            return None;
        }
        let handles = core::slice::from_raw_parts(handles, count.min(SCREENS_MAX));
        handles.iter().find_map(|handle| of_handle(boot, *handle))
    }
}

/// # Safety
/// `boot` is the boot services table, `handle` one of its handles.
unsafe fn of_handle(boot: *const u8, handle: *mut c_void) -> Option<Framebuffer> {
    // SAFETY: the caller's promise; the structures are the specification's.
    unsafe {
        let graphics = super::protocol_of(boot, handle, &GRAPHICS_OUTPUT)?;
        let mode = word(graphics, GRAPHICS_MODE) as *const u8;
        if mode.is_null() {
            return None;
        }
        let information = word(mode, MODE_INFORMATION) as *const u8;
        if information.is_null() {
            return None;
        }
        read(
            core::slice::from_raw_parts(mode, MODE_LEN),
            core::slice::from_raw_parts(information, INFORMATION_LEN),
        )
    }
}

/// What a mode and its information say.
fn read(mode: &[u8], information: &[u8]) -> Option<Framebuffer> {
    if !FORMATS_OF_BYTES.contains(&u32_at(information, INFORMATION_FORMAT)?) {
        return None;
    }
    let buffer = Framebuffer {
        address: u64_at(mode, MODE_FRAMEBUFFER)?,
        width: u32_at(information, INFORMATION_WIDTH)?,
        height: u32_at(information, INFORMATION_HEIGHT)?,
        pitch: u32_at(information, INFORMATION_LINE)?.checked_mul(4)?,
        bits: 32,
    };
    (buffer.address != 0 && buffer.bytes().is_some()).then_some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_without_pixels_in_memory_are_left_out() {
        let mode = |address: u64| {
            let mut mode = vec![0; MODE_LEN];
            mode[MODE_FRAMEBUFFER..][..8].copy_from_slice(&address.to_le_bytes());
            mode
        };
        let information = |format: u32, line: u32| {
            let mut information = vec![0; INFORMATION_LEN];
            for (offset, value) in [(4, 1280), (8, 800), (0x0c, format), (0x20, line)] {
                information[offset..offset + 4].copy_from_slice(&u32::to_le_bytes(value));
            }
            information
        };
        let expected = Framebuffer { address: 1 << 31, width: 1280, height: 800, pitch: 5120, bits: 32 };
        assert_eq!(read(&mode(1 << 31), &information(1, 1280)), Some(expected));
        assert_eq!(read(&mode(1 << 31), &information(0, 1280)), Some(expected));
        assert_eq!(read(&mode(0), &information(1, 1280)), None);
        assert_eq!(read(&mode(1 << 31), &information(2, 1280)), None, "a layout of its own");
        assert_eq!(read(&mode(1 << 31), &information(3, 1280)), None, "by calls only");
        assert_eq!(read(&mode(1 << 31), &information(1, u32::MAX)), None);
    }
}
