//! The root pointer (section 5.2.5).

use core::fmt;
use core::ops::Range;

use super::bytes::{sums_to_zero, u32_at, u64_at};
use super::tables::PhysicalMemory;

/// Where the BIOS leaves the root pointer when it is not in the extended BIOS data area.
const BIOS_AREA: Range<u64> = 0xe_0000..0x10_0000;
/// Real-mode address (segment) of the extended BIOS data area, in the BIOS data area.
const EBDA_SEGMENT: u64 = 0x40e;
/// Only its first kilobyte is searched.
const EBDA_LEN: u64 = 1024;
const SIGNATURE: &[u8; 8] = b"RSD PTR ";
/// Length of the structure in revision 0 and from revision 2 on.
const LEN_V1: usize = 20;
const LEN_V2: usize = 36;

/// The root pointer's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rsdp {
    /// 0 for ACPI 1.0, 2 for everything later.
    pub revision: u8,
    /// Physical address of the RSDT, with 32-bit pointers; 0 when there is none.
    pub rsdt: u32,
    /// Physical address of the XSDT, with 64-bit pointers; 0 when there is none.
    pub xsdt: u64,
}

/// Why bytes are no root pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RsdpError {
    /// The memory there cannot be read, or is too short.
    Unreadable,
    /// It does not start with "RSD PTR ".
    Signature,
    /// The bytes do not add up to zero.
    Checksum,
}

impl fmt::Display for RsdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RsdpError::Unreadable => "ACPI root pointer is outside readable memory",
            RsdpError::Signature => "ACPI root pointer has no \"RSD PTR \" signature",
            RsdpError::Checksum => "ACPI root pointer has a wrong checksum",
        })
    }
}

impl Rsdp {
    /// Reads the root pointer at the start of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Rsdp, RsdpError> {
        let v1 = bytes.get(..LEN_V1).ok_or(RsdpError::Unreadable)?;
        if !v1.starts_with(SIGNATURE) {
            return Err(RsdpError::Signature);
        }
        if !sums_to_zero(v1) {
            return Err(RsdpError::Checksum);
        }
        let revision = v1[15];
        let rsdt = u32_at(v1, 16).ok_or(RsdpError::Unreadable)?;
        if revision < 2 {
            return Ok(Rsdp { revision, rsdt, xsdt: 0 });
        }
        let v2 = bytes.get(..LEN_V2).ok_or(RsdpError::Unreadable)?;
        if !sums_to_zero(v2) {
            return Err(RsdpError::Checksum);
        }
        Ok(Rsdp { revision, rsdt, xsdt: u64_at(v2, 24).ok_or(RsdpError::Unreadable)? })
    }

    /// Reads the root pointer at physical address `phys`, as a loader passed it.
    pub fn read(memory: &(impl PhysicalMemory + ?Sized), phys: u64) -> Result<Rsdp, RsdpError> {
        let bytes = memory.bytes(phys, LEN_V2).or_else(|| memory.bytes(phys, LEN_V1));
        Rsdp::parse(bytes.ok_or(RsdpError::Unreadable)?)
    }
}

/// Searches where a BIOS puts the root pointer (section 5.2.5.1), for loaders that do not pass it: the first
/// kilobyte of the extended BIOS data area, then E0000 to FFFFF, at multiples of 16. Returns its address.
pub fn find_rsdp(memory: &(impl PhysicalMemory + ?Sized)) -> Option<u64> {
    let segment = memory.bytes(EBDA_SEGMENT, 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let ebda = u64::from(segment) << 4;
    let in_ebda = (ebda != 0).then(|| search(memory, ebda..ebda + EBDA_LEN)).flatten();
    in_ebda.or_else(|| search(memory, BIOS_AREA))
}

fn search(memory: &(impl PhysicalMemory + ?Sized), area: Range<u64>) -> Option<u64> {
    area.step_by(16).find(|&phys| {
        memory.bytes(phys, SIGNATURE.len()).is_some_and(|bytes| bytes == SIGNATURE)
            && Rsdp::read(memory, phys).is_ok()
    })
}
