//! Walking from the root pointer to single tables (sections 5.2.6 to 5.2.8).

use core::fmt;

use super::bytes::{array, sums_to_zero, u32_at, u64_at};
use super::rsdp::Rsdp;

/// Physical memory as the boot code can reach it.
pub trait PhysicalMemory {
    /// The `len` bytes at physical address `phys`, or `None` when not all of them are reachable. The bytes
    /// do not change while they are borrowed.
    fn bytes(&self, phys: u64, len: usize) -> Option<&[u8]>;
}

/// Length of the header that every table starts with.
pub(super) const HEADER_LEN: usize = 36;
/// Longest table that is believed. The largest DSDTs of servers are below 1 MiB.
const MAX_TABLE: usize = 16 << 20;
/// Most tables that are looked at.
const MAX_TABLES: usize = 256;

/// The header that every table starts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Four letters: `APIC`, `FACP`, `DSDT`.
    pub signature: [u8; 4],
    /// Length of the table, header included.
    pub len: u32,
    /// Revision of the table's layout.
    pub revision: u8,
    /// Who made it.
    pub oem: [u8; 6],
}

/// One table whose length and checksum are right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table<'a> {
    /// Its header.
    pub header: Header,
    /// Physical address.
    pub phys: u64,
    /// All its bytes, header included, so that offsets are those of the specification.
    pub bytes: &'a [u8],
}

/// Why a table is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableError {
    /// The address is 0 or the memory there is not reachable.
    Unreadable,
    /// Shorter than its header or longer than 16 MiB.
    Length(u32),
    /// The bytes do not add up to zero.
    Checksum([u8; 4]),
    /// Another table than expected stands there.
    Signature([u8; 4]),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::Unreadable => f.write_str("ACPI table is outside readable memory"),
            TableError::Length(len) => write!(f, "ACPI table claims a length of {len} bytes"),
            TableError::Checksum(name) => {
                write!(f, "ACPI table {} has a wrong checksum", name.escape_ascii())
            }
            TableError::Signature(name) => {
                write!(f, "ACPI table {} stands where another should", name.escape_ascii())
            }
        }
    }
}

impl<'a> Table<'a> {
    /// Reads and checks the table at `phys`.
    pub fn read<M: PhysicalMemory + ?Sized>(memory: &'a M, phys: u64) -> Result<Table<'a>, TableError> {
        let start = Some(phys).filter(|phys| *phys != 0).and_then(|phys| memory.bytes(phys, HEADER_LEN));
        let header = start.and_then(Header::parse).ok_or(TableError::Unreadable)?;
        let len = header.len as usize;
        if !(HEADER_LEN..=MAX_TABLE).contains(&len) {
            return Err(TableError::Length(header.len));
        }
        let bytes = memory.bytes(phys, len).ok_or(TableError::Unreadable)?;
        if !sums_to_zero(bytes) {
            return Err(TableError::Checksum(header.signature));
        }
        Ok(Table { header, phys, bytes })
    }

    /// What follows the header.
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(HEADER_LEN..).unwrap_or_default()
    }
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Header> {
        Some(Header {
            signature: array(bytes, 0)?,
            len: u32_at(bytes, 4)?,
            revision: *bytes.get(8)?,
            oem: array(bytes, 10)?,
        })
    }
}

/// The tables that the root table points at.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a, M: ?Sized> {
    memory: &'a M,
    root: Table<'a>,
    /// 8 in an XSDT, 4 in an RSDT.
    pointer_len: usize,
}

impl<'a, M: PhysicalMemory + ?Sized> Tables<'a, M> {
    /// Opens the XSDT, or the RSDT when there is no sound XSDT.
    pub fn open(memory: &'a M, rsdp: &Rsdp) -> Result<Tables<'a, M>, TableError> {
        let open = |phys, signature: &[u8; 4], pointer_len| {
            let root = Table::read(memory, phys)?;
            if root.header.signature != *signature {
                return Err(TableError::Signature(root.header.signature));
            }
            Ok(Tables { memory, root, pointer_len })
        };
        open(rsdp.xsdt, b"XSDT", 8).or_else(|_| open(rsdp.rsdt.into(), b"RSDT", 4))
    }

    /// Every table listed, sound or not, at most 256.
    pub fn iter(&self) -> impl Iterator<Item = Result<Table<'a>, TableError>> + use<'a, M> {
        let (memory, len) = (self.memory, self.pointer_len);
        let pointer = move |bytes: &[u8]| match len {
            8 => u64_at(bytes, 0),
            _ => u32_at(bytes, 0).map(u64::from),
        };
        let pointers = self.root.body().chunks_exact(len).filter_map(pointer).filter(|phys| *phys != 0);
        pointers.take(MAX_TABLES).map(move |phys| Table::read(memory, phys))
    }

    /// The first sound table with this signature.
    pub fn find(&self, signature: &[u8; 4]) -> Option<Table<'a>> {
        self.iter().flatten().find(|table| table.header.signature == *signature)
    }

    /// The table with the system's AML, which hangs off the FADT instead of the root table.
    pub fn dsdt(&self, fadt: &super::Fadt) -> Result<Table<'a>, TableError> {
        let table = Table::read(self.memory, fadt.dsdt)?;
        if table.header.signature != *b"DSDT" {
            return Err(TableError::Signature(table.header.signature));
        }
        Ok(table)
    }
}
