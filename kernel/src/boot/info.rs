//! What the loader told us, in one shape whichever loader it was.

use crate::acpi::PhysicalMemory;
use core::fmt;
use core::ops::Range;
use heapless::Vec;

/// Longest command line kept, in bytes; the Linux boot protocol's limit less its terminator.
pub const CMDLINE_MAX: usize = 4095;

/// Most memory regions kept; further ones are counted in [`BootInfo::regions_lost`].
pub const REGIONS_MAX: usize = 256;

/// Most bytes of a framebuffer: 8192 by 4320 pixels have less.
const FRAMEBUFFER_MAX: usize = 256 << 20;

/// The way the image was entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Linux boot protocol, through the 16-, 32- or 64-bit entry.
    Linux,
    /// As an EFI application.
    Efi,
    /// Xen PVH, as QEMU uses it for ELF files.
    Pvh,
}

/// What a region of physical memory is for. Types as in E820 (ACPI 6.5 section 15.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionKind {
    /// Usable memory.
    Ram,
    /// Not ours.
    Reserved,
    /// ACPI tables; could be reclaimed after parsing, which we do not do.
    AcpiTables,
    /// Firmware's own across sleep states.
    AcpiNvs,
    /// Found bad by the firmware.
    Bad,
}

impl RegionKind {
    /// The kind of an E820 type number; unknown numbers are reserved.
    pub fn from_e820(number: u32) -> RegionKind {
        match number {
            1 => RegionKind::Ram,
            3 => RegionKind::AcpiTables,
            4 => RegionKind::AcpiNvs,
            5 => RegionKind::Bad,
            _ => RegionKind::Reserved,
        }
    }
}

/// One entry of the memory map: `start..end` in physical bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// Use.
    pub kind: RegionKind,
}

/// Why an initial RAM disk could not be loaded: a status of the EFI firmware (UEFI 2.10, appendix D).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlobProblem {
    /// The loader offers one.
    Offered(usize),
    /// The command line names a file.
    File(usize),
}

impl fmt::Display for BlobProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, status) = match self {
            BlobProblem::Offered(status) => ("the initial RAM disk that the loader offers", status),
            BlobProblem::File(status) => ("initrd=: the file on the volume that the image is from", status),
        };
        // An error has the highest bit set.
        let (code, error) = (status & !(1 << 63), status >> 63 == 1);
        let why = match code {
            5 if error => " (more than 64 MiB)",
            14 if error => " (not found)",
            9 if error => " (out of memory)",
            _ => "",
        };
        write!(f, "{what} cannot be read: EFI status {code}{why}; going on without it")
    }
}

/// A picture in memory that the screen shows, as firmware or loader has set it up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Framebuffer {
    /// Physical address of its first pixel.
    pub address: u64,
    /// Pixels of a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bytes from a line to the next.
    pub pitch: u32,
    /// Bits of a pixel.
    pub bits: u32,
}

impl Framebuffer {
    /// Its length in bytes; `None` for more than any screen has.
    pub fn bytes(&self) -> Option<usize> {
        let len = (self.pitch as usize).checked_mul(self.height as usize)?;
        (1..=FRAMEBUFFER_MAX).contains(&len).then_some(len)
    }
}

/// Everything a loader passes on.
pub struct BootInfo {
    /// How we were entered.
    pub protocol: Protocol,
    /// `type_of_loader` of the Linux boot protocol: b0 QEMU, 30 PXELINUX, 46 iPXE, 72 GRUB; 0 unknown.
    pub loader: u8,
    /// The command line as the loader passed it.
    cmdline: Vec<u8, CMDLINE_MAX>,
    /// The memory map, as found: unsorted, and possibly overlapping.
    pub memory: Vec<Region, REGIONS_MAX>,
    /// Regions that did not fit into `memory`.
    pub regions_lost: usize,
    /// Physical address of the ACPI root pointer, when the loader knew it.
    pub rsdp: Option<u64>,
    /// Physical address of the EFI system table, when booted by EFI firmware.
    pub efi_system_table: Option<u64>,
    /// The initial RAM disk or PVH module: a configuration blob for us.
    pub blob: Option<Range<u64>>,
    /// Why it is missing, when there was to be one.
    pub blob_problem: Option<BlobProblem>,
    /// What the screen shows, where that is pixels.
    pub framebuffer: Option<Framebuffer>,
    /// Where the image itself lies.
    pub image: Range<u64>,
}

impl BootInfo {
    /// An empty report.
    pub fn new(protocol: Protocol, image: Range<u64>) -> BootInfo {
        BootInfo {
            protocol,
            loader: 0,
            cmdline: Vec::new(),
            memory: Vec::new(),
            regions_lost: 0,
            rsdp: None,
            efi_system_table: None,
            blob: None,
            blob_problem: None,
            framebuffer: None,
            image,
        }
    }

    /// The command line up to its first byte that is not UTF-8.
    pub fn cmdline(&self) -> &str {
        match core::str::from_utf8(&self.cmdline) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&self.cmdline[..error.valid_up_to()]).unwrap_or(""),
        }
    }

    /// The command line as the loader passed it, whatever its bytes.
    pub fn cmdline_bytes(&self) -> &[u8] {
        &self.cmdline
    }

    /// Bytes of usable memory.
    pub fn ram(&self) -> u64 {
        self.memory.iter().filter(|r| r.kind == RegionKind::Ram).map(|r| r.end - r.start).sum()
    }

    /// A BIOS started the machine, or nobody did: what PCs have always had is where it always was.
    pub fn has_bios(&self) -> bool {
        self.protocol != Protocol::Efi && self.efi_system_table.is_none()
    }

    /// True when a byte of `len` at `start` is usable memory, or they are no range of addresses.
    pub fn is_memory(&self, start: u64, len: Option<usize>) -> bool {
        let Some(end) = len.and_then(|len| start.checked_add(len as u64)) else { return true };
        self.memory.iter().any(|r| r.kind == RegionKind::Ram && r.start < end && start < r.end)
    }

    /// Takes a NUL-terminated line from `memory`; cut at [`CMDLINE_MAX`].
    pub(super) fn set_cmdline(&mut self, memory: &dyn PhysicalMemory, address: u64) {
        self.cmdline.clear();
        for offset in 0..CMDLINE_MAX as u64 {
            let Some(&[byte]) = memory.bytes(address.wrapping_add(offset), 1) else { return };
            if byte == 0 || self.cmdline.push(byte).is_err() {
                return;
            }
        }
    }

    /// Takes a line in UTF-16, little-endian, up to its end or a NUL; cut at [`CMDLINE_MAX`].
    pub(super) fn set_cmdline_utf16(&mut self, bytes: &[u8]) {
        self.cmdline.clear();
        let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        for c in char::decode_utf16(units.take_while(|unit| *unit != 0)) {
            let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
            if self.cmdline.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Adds a region; empty ones and those that wrap around the address space are dropped.
    pub(super) fn add_region(&mut self, start: u64, len: u64, kind: RegionKind) {
        let Some(end) = start.checked_add(len).filter(|end| *end > start) else { return };
        if self.memory.push(Region { start, end, kind }).is_err() {
            self.regions_lost += 1;
        }
    }
}

/// Little-endian numbers at an offset of a structure; `None` outside of it.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

/// See [`u32_at`].
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

/// See [`u32_at`].
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(offset..offset + 8)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod fake {
    use crate::acpi::PhysicalMemory;

    /// Sparse physical memory of a test: pieces at addresses.
    #[derive(Default)]
    pub struct FakeMemory(pub Vec<(u64, Vec<u8>)>);

    impl PhysicalMemory for FakeMemory {
        fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
            self.0.iter().find_map(|(start, piece)| {
                let offset = usize::try_from(address.checked_sub(*start)?).ok()?;
                piece.get(offset..offset.checked_add(len)?)
            })
        }
    }
}
