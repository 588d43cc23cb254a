//! The initial RAM disk of a machine that EFI firmware started.
//!
//! A loader offers it as a file of a device that exists for nothing else (LoadFile2, UEFI 2.10 section 13.2; the device's path is
//! Linux's, include/linux/efi.h), or names it on the command line: `initrd=\\path`, a file on the volume that the image is from.

use super::super::info::{BlobProblem, BootInfo};
use super::{LOADED_IMAGE, Status, protocol_of, word};
use core::ffi::c_void;
use core::ops::Range;

/// Offsets in EFI_BOOT_SERVICES.
const BOOT_ALLOCATE_PAGES: usize = 0x28;
const BOOT_LOCATE_DEVICE_PATH: usize = 0xb8;
/// EFI_ALLOCATE_TYPE: anywhere up to an address; EFI_MEMORY_TYPE: a loader's data.
const ALLOCATE_MAX_ADDRESS: u32 = 1;
const LOADER_DATA: u32 = 2;
/// EFI_LOAD_FILE2_PROTOCOL_GUID, and the offset of its function.
const LOAD_FILE2: [u8; 16] =
    [0xc1, 0xc0, 0x06, 0x40, 0xb3, 0xfc, 0x3e, 0x40, 0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d];
const LOAD_FILE: usize = 0x00;
/// EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID, and offsets in it and in EFI_FILE_PROTOCOL.
const FILE_SYSTEM: [u8; 16] =
    [0x22, 0x5b, 0x4e, 0x96, 0x59, 0x64, 0xd2, 0x11, 0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b];
const FILE_SYSTEM_OPEN_VOLUME: usize = 0x08;
const FILE_OPEN: usize = 0x08;
const FILE_CLOSE: usize = 0x10;
const FILE_READ: usize = 0x20;
const FILE_MODE_READ: u64 = 1;
/// Offset in EFI_LOADED_IMAGE_PROTOCOL.
const IMAGE_DEVICE: usize = 0x18;

/// EFI_NOT_FOUND and EFI_BUFFER_TOO_SMALL.
const ERROR: Status = 1 << 63;
const NOT_FOUND: Status = ERROR | 14;
const TOO_SMALL: Status = ERROR | 5;

/// The path of the device: a vendor's medium with LINUX_EFI_INITRD_MEDIA_GUID (section 10.3.5.3), and the end.
const INITRD_MEDIUM: [u8; 24] = [
    0x04, 0x03, 20, 0, 0x27, 0xe4, 0x68, 0x55, 0xfc, 0x68, 0x3d, 0x4f, 0xac, 0x74, 0xca, 0x55, 0x52, 0x31,
    0xcc, 0x68, 0x7f, 0xff, 4, 0,
];

/// Most bytes that are taken of a loader, which says in advance how many there are.
const LOAD_MAX: usize = 64 << 20;
/// Bytes that are read of a file: more than the text in it may have.
const FILE_MAX: usize = 128 << 10;
const PAGE: usize = 4096;
/// Longest path, in UTF-16 units with the zero at its end.
const PATH_MAX: usize = 256;

type AllocatePages = extern "efiapi" fn(u32, u32, usize, *mut u64) -> Status;
type LocateDevicePath = extern "efiapi" fn(*const [u8; 16], *mut *const u8, *mut *mut c_void) -> Status;
type LoadFile = extern "efiapi" fn(*const u8, *const u8, bool, *mut usize, *mut u8) -> Status;
type OpenVolume = extern "efiapi" fn(*const u8, *mut *const u8) -> Status;
type Open = extern "efiapi" fn(*const u8, *mut *const u8, *const u16, u64, u64) -> Status;
type Read = extern "efiapi" fn(*const u8, *mut usize, *mut u8) -> Status;
type Close = extern "efiapi" fn(*const u8) -> Status;

/// Loads it, if there is one, and says what kept it from being loaded.
///
/// # Safety
/// `boot` is the boot services table, `image` our image's handle.
pub(super) unsafe fn load(boot: *const u8, image: *mut c_void, info: &mut BootInfo) {
    let mut path = [0; PATH_MAX];
    // SAFETY: the caller's promise.
    let result = unsafe {
        match offered(boot) {
            Err(NOT_FOUND) => match named(info.cmdline(), &mut path) {
                Some(path) => read(boot, image, path).map(Some).map_err(BlobProblem::File),
                None => Ok(None),
            },
            other => other.map(Some).map_err(BlobProblem::Offered),
        }
    };
    match result {
        Ok(blob) => info.blob = blob,
        Err(problem) => info.blob_problem = Some(problem),
    }
}

/// What the loader offers; [`NOT_FOUND`] when that is nothing.
///
/// # Safety
/// `boot` is the boot services table.
unsafe fn offered(boot: *const u8) -> Result<Range<u64>, Status> {
    let (mut path, mut device) = (INITRD_MEDIUM.as_ptr(), core::ptr::null_mut());
    // SAFETY: 1. the caller's promise; 2. the path ends as paths do; 3. the buffer has as many bytes as are promised.
    unsafe {
        let locate: LocateDevicePath = core::mem::transmute(word(boot, BOOT_LOCATE_DEVICE_PATH));
        done(locate(&LOAD_FILE2, &mut path, &mut device))?;
        let protocol = protocol_of(boot, device, &LOAD_FILE2).ok_or(NOT_FOUND)?;
        let load: LoadFile = core::mem::transmute(word(protocol, LOAD_FILE));
        let mut len = 0;
        match load(protocol, path, false, &mut len, core::ptr::null_mut()) {
            TOO_SMALL if len <= LOAD_MAX => {}
            // None at all is as good as an empty one.
            0 => return Err(NOT_FOUND),
            status => return Err(status),
        }
        let start = allocate(boot, len)?;
        let room = len;
        done(load(protocol, path, false, &mut len, start as *mut u8))?;
        Ok(start..start + len.min(room) as u64)
    }
}

/// Reads a file of the volume that `image` is from.
///
/// # Safety
/// `boot` is the boot services table, `image` the handle of an image; `path` ends with a zero.
unsafe fn read(boot: *const u8, image: *mut c_void, path: &[u16]) -> Result<Range<u64>, Status> {
    // SAFETY: 1. the caller's promise; 2. no read is given more room than the buffer has left.
    unsafe {
        let image = protocol_of(boot, image, &LOADED_IMAGE).ok_or(NOT_FOUND)?;
        let device = word(image, IMAGE_DEVICE) as *mut c_void;
        let system = protocol_of(boot, device, &FILE_SYSTEM).ok_or(NOT_FOUND)?;
        let open_volume: OpenVolume = core::mem::transmute(word(system, FILE_SYSTEM_OPEN_VOLUME));
        let mut root = core::ptr::null();
        done(open_volume(system, &mut root))?;
        let open: Open = core::mem::transmute(word(root, FILE_OPEN));
        let mut file = core::ptr::null();
        done(open(root, &mut file, path.as_ptr(), FILE_MODE_READ, 0))?;
        let read: Read = core::mem::transmute(word(file, FILE_READ));
        let start = allocate(boot, FILE_MAX)?;
        let mut filled = 0;
        while filled < FILE_MAX {
            let mut len = FILE_MAX - filled;
            let room = len;
            done(read(file, &mut len, (start as usize + filled) as *mut u8))?;
            if len == 0 {
                break;
            }
            filled += len.min(room);
        }
        for handle in [file, root] {
            let close: Close = core::mem::transmute(word(handle, FILE_CLOSE));
            // Who fails to close a file has closed it.
            let _ = close(handle);
        }
        Ok(start..start + filled as u64)
    }
}

/// Memory for `len` bytes below 4 GiB.
///
/// # Safety
/// `boot` is the boot services table.
unsafe fn allocate(boot: *const u8, len: usize) -> Result<u64, Status> {
    let mut address = u64::from(u32::MAX);
    // SAFETY: the caller's promise.
    unsafe {
        let allocate: AllocatePages = core::mem::transmute(word(boot, BOOT_ALLOCATE_PAGES));
        done(allocate(ALLOCATE_MAX_ADDRESS, LOADER_DATA, len.div_ceil(PAGE).max(1), &mut address))?;
    }
    Ok(address)
}

fn done(status: Status) -> Result<(), Status> {
    if status == 0 { Ok(()) } else { Err(status) }
}

/// The path that the last `initrd=` of a command line names, as the firmware writes it; `None` without one, or when it is too long.
fn named<'a>(line: &str, into: &'a mut [u16; PATH_MAX]) -> Option<&'a [u16]> {
    let path = line.split_ascii_whitespace().filter_map(|word| word.strip_prefix("initrd=")).next_back()?;
    let mut len = 0;
    for unit in path.encode_utf16() {
        // The zero has to go there, too.
        if len + 1 == PATH_MAX {
            return None;
        }
        into[len] = if unit == u16::from(b'/') { u16::from(b'\\') } else { unit };
        len += 1;
    }
    into[len] = 0;
    (len > 0).then_some(&into[..=len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_written_as_the_firmware_does() {
        let path = |line: &str| {
            let mut path = [7; PATH_MAX];
            named(line, &mut path).map(|path| String::from_utf16(path).unwrap())
        };
        assert_eq!(path("a=b initrd=/conf/node.txt c").as_deref(), Some("\\conf\\node.txt\0"));
        assert_eq!(path("initrd=\\one initrd=\\tw\u{f6}").as_deref(), Some("\\tw\u{f6}\0"));
        assert_eq!(path("x.initrd=1 initrd"), None);
        assert_eq!(path("initrd="), None);
        assert!(path(&format!("initrd={}", "x".repeat(PATH_MAX - 1))).is_some());
        assert_eq!(path(&format!("initrd={}", "x".repeat(PATH_MAX))), None);
    }
}
