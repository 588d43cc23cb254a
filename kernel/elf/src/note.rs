//! Notes (gABI, "Note Section"): bytes of whoever wants to say something, one behind the other.
//!
//! ```text
//!   u32 bytes of the owner, with its zero | u32 bytes of the description | u32 type | owner, 0 | description
//! ```
//!
//! Owner and description are padded to 4 bytes each. In files of 64 bits the gABI wants 8, but Linux and debuggers know only 4.

use crate::bytes::u32_at;

/// Owner of notes that all systems know.
pub const CORE: &str = "CORE";
/// Owner of what only Linux has.
pub const LINUX: &str = "LINUX";

/// Type of a note of [`CORE`]: [`crate::ThreadStatus`]. The notes up to the next one of this type are of the same thread.
pub const NT_PRSTATUS: u32 = 1;
/// Type of a note of [`CORE`]: x87 and SSE registers, as FXSAVE has them.
pub const NT_FPREGSET: u32 = 2;
/// Type of a note of [`CORE`]: [`crate::ProcessStatus`].
pub const NT_PRPSINFO: u32 = 3;
/// Type of a note of [`CORE`]: the auxiliary vector.
pub const NT_AUXV: u32 = 6;
/// Type of a note of [`CORE`]: which files are mapped where.
pub const NT_FILE: u32 = 0x4649_4c45;
/// Type of a note of [`CORE`]: `siginfo_t` of the signal.
pub const NT_SIGINFO: u32 = 0x5349_4749;
/// Type of a note of [`LINUX`]: all registers that XSAVE has.
pub const NT_X86_XSTATE: u32 = 0x202;

/// What comes before the owner.
const HEADER: usize = 12;
const ALIGN: usize = 4;

/// A note.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Note<'a> {
    /// Whose, without the zero at its end.
    pub owner: &'a [u8],
    /// Which, of that owner.
    pub kind: u32,
    /// What.
    pub desc: &'a [u8],
}

impl<'a> Note<'a> {
    /// Bytes of a note, given those of its owner and its description.
    pub const fn len_of(owner: usize, desc: usize) -> usize {
        HEADER + (owner + 1).next_multiple_of(ALIGN) + desc.next_multiple_of(ALIGN)
    }

    /// Appends the note, with what aligns the next one.
    pub fn append_to(&self, to: &mut impl for<'b> Extend<&'b u8>) {
        let owner_len = self.owner.len() + 1;
        for word in [owner_len as u32, self.desc.len() as u32, self.kind] {
            to.extend(&word.to_le_bytes());
        }
        to.extend(self.owner);
        to.extend(&[0]);
        to.extend(padding(owner_len));
        to.extend(self.desc);
        to.extend(padding(self.desc.len()));
    }

    /// The first of some notes, and the others; `None` when the first one is cut off. What would align the end of the last one may
    /// be missing.
    pub fn split_first(notes: &'a [u8]) -> Option<(Note<'a>, &'a [u8])> {
        let (header, rest) = notes.split_first_chunk::<HEADER>()?;
        let [owner, desc, kind] = [0, 4, 8].map(|at| u32_at(header, at));
        let (owner, rest) = field(rest, owner as usize)?;
        let (desc, rest) = field(rest, desc as usize)?;
        let owner = owner.split(|byte| *byte == 0).next().unwrap_or_default();
        Some((Note { owner, kind, desc }, rest))
    }
}

/// So many bytes, and what lies behind them and their padding.
fn field(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    let (field, rest) = bytes.split_at_checked(len)?;
    Some((field, rest.get(padding(len).len()..).unwrap_or_default()))
}

/// What aligns the next field.
fn padding(len: usize) -> &'static [u8] {
    const ZEROS: [u8; ALIGN] = [0; ALIGN];
    &ZEROS[..len.next_multiple_of(ALIGN) - len]
}
