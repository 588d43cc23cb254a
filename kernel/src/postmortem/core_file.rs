//! This machine's memory as an ELF core file, for debuggers: made of memory as it is read, never whole anywhere.
//!
//! ```text
//!   ELF header | program headers | notes: registers of each core | pieces of RAM, rising
//!
//!   PT_NOTE
//!   PT_LOAD  image, stacks: at the addresses that code has; their bytes are those of a piece
//!   PT_LOAD  each piece: at its address in the direct map
//! ```
//!
//! A thread is a core, and its number one more than the core's.

#![forbid(unsafe_code)]

use super::block;
use super::memory::{self, Piece, Selection};
use crate::mm::{self, PAGE_SIZE};
use crate::{image, smp};
use alloc::vec::Vec;
use core::ops::Range;
use keelson_elf::{
    CORE, FileHeader, NT_PRSTATUS, Note, PF_R, PF_W, PF_X, PT_LOAD, PT_NOTE, ProgramHeader, REGISTERS,
    ThreadStatus,
};

/// Most pieces of RAM. If there are more, small gaps between them belong to the dump, too.
const MOST_PIECES: usize = 2048;
/// Gap that may belong to the dump in the first attempt; in each that follows eight times as much.
const FIRST_GAP: u64 = 16 * PAGE_SIZE;

/// Read, write and execute.
const RWX: u32 = PF_R | PF_W | PF_X;
/// What the core that failed is said to have received: SIGABRT.
const SIGNAL: u16 = 6;

/// Memory that is seen at another address than the direct map's.
#[derive(Clone, PartialEq, Eq, Debug)]
struct View {
    at: u64,
    physical: Range<u64>,
}

/// A core's thread.
struct Thread {
    number: u32,
    registers: [u64; REGISTERS],
    failed: bool,
}

impl Thread {
    fn status(&self) -> ThreadStatus {
        let signal = if self.failed { SIGNAL } else { 0 };
        ThreadStatus {
            info: [signal.into(), 0, 0],
            signal,
            thread: self.number,
            registers: self.registers,
            ..ThreadStatus::default()
        }
    }
}

/// A core file that can be read.
pub struct CoreFile {
    /// Headers and notes, up to a whole page.
    head: Vec<u8>,
    pieces: Vec<Placed>,
    len: u64,
}

/// A piece of RAM and where its bytes are in the file.
struct Placed {
    physical: Range<u64>,
    at: u64,
}

impl Placed {
    /// Where a part of it is in the file.
    fn offset_of(&self, part: &Range<u64>) -> Option<u64> {
        let inside = self.physical.start <= part.start && part.end <= self.physical.end;
        inside.then(|| self.at + (part.start - self.physical.start))
    }
}

impl CoreFile {
    /// What the kernel uses, when all other cores have stopped, and the locks of memory are free.
    pub(crate) fn new() -> CoreFile {
        let own = mm::rescue_place();
        let pieces = pieces(|from| Some(without(&own, from, memory::next(from, Selection::Kernel)?)));
        let mut views: Vec<View> = image_view().into_iter().collect();
        for (addresses, physical) in mm::stack::all() {
            let physical = physical..physical + addresses.len() as u64;
            views.push(View { at: addresses.start as u64, physical });
        }
        CoreFile::of(pieces, &views, &threads())
    }

    fn of(pieces: Vec<Range<u64>>, views: &[View], threads: &[Thread]) -> CoreFile {
        let notes_at = FileHeader::LEN + ProgramHeader::LEN * (1 + views.len() + pieces.len());
        let notes_len = Note::len_of(CORE.len(), ThreadStatus::LEN) * threads.len();
        let head_len = (notes_at + notes_len).next_multiple_of(PAGE_SIZE as usize);
        let mut head = Vec::with_capacity(head_len);
        let mut len = head_len as u64;
        let place = |physical: Range<u64>| {
            let at = len;
            len += physical.end - physical.start;
            Placed { physical, at }
        };
        let pieces: Vec<Placed> = pieces.into_iter().map(place).collect();

        let mut segments = Vec::with_capacity(views.len() + pieces.len());
        segments.extend(views.iter().filter_map(|view| {
            let offset = pieces.iter().find_map(|piece| piece.offset_of(&view.physical))?;
            Some((view.at, &view.physical, offset))
        }));
        let in_direct_map = |piece: &Placed| mm::phys_to_virt(piece.physical.start) as u64;
        segments.extend(pieces.iter().map(|piece| (in_direct_map(piece), &piece.physical, piece.at)));

        head.extend_from_slice(&FileHeader::core(1 + segments.len() as u16).encode());
        head.extend_from_slice(&segment(PT_NOTE, notes_at as u64, 0, &(0..notes_len as u64), 4));
        for (address, physical, offset) in &segments {
            head.extend_from_slice(&segment(PT_LOAD, *offset, *address, physical, PAGE_SIZE));
        }
        // A view that no piece holds leaves its header's place empty.
        head.resize(notes_at, 0);
        for thread in threads {
            let desc = thread.status().encode();
            Note { owner: CORE.as_bytes(), kind: NT_PRSTATUS, desc: &desc }.append_to(&mut head);
        }
        head.resize(head_len, 0);
        CoreFile { head, pieces, len }
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Always false: there are headers.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Reads from `offset` on; behind the end there are zeros.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        self.read_by(offset, into, |physical, part| {
            memory::copy(physical, part);
        });
    }

    fn read_by(&self, mut offset: u64, mut into: &mut [u8], copy: impl Fn(u64, &mut [u8])) {
        into.fill(0);
        if let Some(rest) = usize::try_from(offset).ok().and_then(|at| self.head.get(at..)) {
            let count = rest.len().min(into.len());
            into[..count].copy_from_slice(&rest[..count]);
            into = &mut into[count..];
            offset += count as u64;
        }
        let first = self.pieces.partition_point(|piece| piece.at <= offset).saturating_sub(1);
        for Placed { physical, at } in &self.pieces[first.min(self.pieces.len())..] {
            let Some(skipped) = offset.checked_sub(*at) else { return };
            let start = physical.start.saturating_add(skipped);
            let count = physical.end.saturating_sub(start).min(into.len() as u64);
            let (part, rest) = into.split_at_mut(count as usize);
            if part.is_empty() {
                return;
            }
            copy(start, part);
            (into, offset) = (rest, offset + count);
        }
    }
}

/// `piece`, which begins at `from` or behind it, up to where `own` begins or, inside of that, ends: nothing of it is wanted.
fn without(own: &Range<u64>, from: u64, piece: Piece) -> Piece {
    let Piece { range, wanted } = piece;
    let start = range.start.max(from);
    if own.contains(&start) {
        Piece { range: start..own.end, wanted: false }
    } else if !own.is_empty() && range.contains(&own.start) {
        Piece { range: start..own.start, wanted }
    } else {
        Piece { range: start..range.end, wanted }
    }
}

/// What of RAM is wanted, in few pieces.
fn pieces(next: impl Fn(u64) -> Option<Piece>) -> Vec<Range<u64>> {
    let mut pieces = Vec::with_capacity(MOST_PIECES);
    let mut gap = FIRST_GAP;
    while !collect(&next, gap, &mut pieces) {
        gap = gap.saturating_mul(8);
    }
    pieces
}

/// False when there are more pieces than may be.
fn collect(next: &impl Fn(u64) -> Option<Piece>, gap: u64, pieces: &mut Vec<Range<u64>>) -> bool {
    pieces.clear();
    // RAM from `connected` on is without a hole, up to `at`.
    let (mut at, mut connected) = (0, 0);
    while let Some(Piece { range, wanted }) = next(at) {
        if range.start != at {
            connected = range.start;
        }
        at = range.end;
        if !wanted {
            continue;
        }
        let is_full = pieces.len() == MOST_PIECES;
        match pieces.last_mut() {
            Some(last) if last.end >= connected && range.start - last.end <= gap => last.end = range.end,
            // Holes are few: with them alone there is always room.
            _ if is_full => return false,
            _ => pieces.push(range),
        }
    }
    true
}

fn image_view() -> Option<View> {
    let (start, len) = block::image_place()?;
    Some(View { at: image::BASE as u64, physical: start..start + len.next_multiple_of(PAGE_SIZE) })
}

/// The cores whose registers are known, the one that failed first: debuggers begin there.
fn threads() -> Vec<Thread> {
    let known = |core| {
        let (registers, failed) = block::core(core).registers()?;
        Some(Thread { number: core as u32 + 1, registers, failed })
    };
    let mut threads: Vec<_> = (0..smp::online()).filter_map(known).collect();
    if let Some(first) = threads.iter().position(|thread| thread.failed) {
        threads.swap(0, first);
    }
    threads
}

/// A program header. What is not in RAM begins at 0 there.
fn segment(
    kind: u32,
    offset: u64,
    address: u64,
    physical: &Range<u64>,
    align: u64,
) -> [u8; ProgramHeader::LEN] {
    let len = physical.end - physical.start;
    let header = ProgramHeader {
        kind,
        flags: RWX,
        offset,
        address,
        physical: physical.start,
        file_len: len,
        memory_len: len,
        align,
    };
    header.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
        bytes[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    /// Memory whose bytes are known by their addresses.
    fn byte(physical: u64) -> u8 {
        (physical.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
    }

    fn read(file: &CoreFile, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; len];
        file.read_by(offset, &mut bytes, |physical, part| {
            part.iter_mut().zip(physical..).for_each(|(to, at)| *to = byte(at));
        });
        bytes
    }

    fn sample() -> CoreFile {
        let pieces = vec![0x1000..0x3000, 0x8000..0x9000, 0x10_0000..0x18_0000];
        let views = [
            View { at: image::BASE as u64, physical: 0x10_0000..0x14_0000 },
            View { at: 0xffff_d000_0000_0000, physical: 0x2000..0x3000 },
            // Not in the dump.
            View { at: 0xffff_d000_0010_0000, physical: 0x2000..0x4000 },
        ];
        let thread = |number, failed| Thread {
            number,
            registers: core::array::from_fn(|register| u64::from(number) * 100 + register as u64),
            failed,
        };
        CoreFile::of(pieces, &views, &[thread(3, true), thread(1, false)])
    }

    #[test]
    fn headers_say_where_everything_is() {
        let file = sample();
        let bytes = read(&file, 0, file.len() as usize);
        assert_eq!(&bytes[..8], b"\x7fELF\x02\x01\x01\0");
        assert_eq!((number(&bytes, 16, 2), number(&bytes, 18, 2), number(&bytes, 32, 8)), (4, 62, 64));
        let count = number(&bytes, 56, 2) as usize;
        assert_eq!((number(&bytes, 54, 2), count), (56, 6));
        let mut seen = Vec::new();
        for header in bytes[64..][..count * 56].chunks(56) {
            let [offset, address, physical, len, in_memory] =
                [8, 16, 24, 32, 40].map(|at| number(header, at, 8));
            if number(header, 0, 4) == 1 {
                assert_eq!((len, offset % 4096), (in_memory, 0));
                let wanted: Vec<u8> = (physical..physical + len).map(byte).collect();
                assert!(bytes[offset as usize..][..len as usize] == wanted, "{address:#x}");
                seen.push((address, physical, len));
            }
        }
        let direct = mm::DIRECT_MAP as u64;
        assert_eq!(
            seen,
            [
                (image::BASE as u64, 0x10_0000, 0x4_0000),
                (0xffff_d000_0000_0000, 0x2000, 0x1000),
                (direct + 0x1000, 0x1000, 0x2000),
                (direct + 0x8000, 0x8000, 0x1000),
                (direct + 0x10_0000, 0x10_0000, 0x8_0000),
            ]
        );
    }

    #[test]
    fn notes_have_the_registers_of_each_core() {
        let file = sample();
        let bytes = read(&file, 0, file.len() as usize);
        let (offset, len) = (number(&bytes, 64 + 8, 8) as usize, number(&bytes, 64 + 32, 8) as usize);
        assert_eq!(number(&bytes, 64, 4), 4);
        let notes: Vec<&[u8]> = bytes[offset..][..len].chunks(12 + 8 + 336).collect();
        assert_eq!(notes.len(), 2);
        for (note, thread, signal) in [(notes[0], 3, 6), (notes[1], 1, 0)] {
            assert_eq!((number(note, 0, 4), number(note, 4, 4), number(note, 8, 4)), (5, 336, 1));
            assert_eq!(&note[12..20], b"CORE\0\0\0\0");
            let status = &note[20..];
            assert_eq!((number(status, 12, 2), number(status, 32, 4)), (signal, thread));
            let registers: Vec<u64> = (0..REGISTERS).map(|at| number(status, 112 + 8 * at, 8)).collect();
            assert!(registers.iter().zip(thread * 100..).all(|(register, wanted)| *register == wanted));
        }
    }

    #[test]
    fn any_part_of_the_file_reads_as_the_whole_does() {
        let file = sample();
        let whole = read(&file, 0, file.len() as usize + 10_000);
        assert!(whole[file.len() as usize..].iter().all(|byte| *byte == 0));
        for len in [1, 512, 1428, 8192] {
            for offset in (0..whole.len() - len).step_by(len / 2 + 1).chain([file.len() as usize - 1]) {
                assert!(
                    read(&file, offset as u64, len) == whole[offset..offset + len],
                    "{len} from {offset}"
                );
            }
        }
        assert_eq!(read(&file, u64::MAX, 3), [0; 3]);
    }

    #[test]
    fn what_a_dump_is_made_with_is_not_in_it() {
        let own = 0x8000..0xa000;
        let next = |from: u64| without(&own, from, Piece { range: from..from + 0x3000, wanted: true });
        let next = |from: u64| Some(next(from)).filter(|piece| piece.range.start < 0x10000);
        let (mut from, mut wanted) = (0x1000, Vec::new());
        while let Some(piece) = next(from) {
            from = piece.range.end;
            wanted.extend(piece.range.step_by(0x1000).filter(|_| piece.wanted));
        }
        let all = (0x1000..0x10000).step_by(0x1000).filter(|page| !own.contains(page));
        assert_eq!(wanted, all.collect::<Vec<u64>>());
        let piece = Piece { range: 0..5, wanted: true };
        assert_eq!(without(&(0..0), 0, piece.clone()), piece);
    }

    #[test]
    fn small_gaps_are_kept_when_there_are_too_many_pieces() {
        // Every other 64 KiB and 4 KiB are wanted, over 1 GiB; a hole is never bridged.
        let hole = 0x1000_0000..0x1000_1000;
        let next = |from: u64| {
            let start = if hole.contains(&from) { hole.end } else { from };
            let step = 0x1_1000;
            let (at, rest) = (start / step * step, start % step);
            let (end, wanted) = if rest < 0x1000 { (at + 0x1000, true) } else { (at + step, false) };
            let end = if start < hole.start { end.min(hole.start) } else { end };
            (start < 1 << 30).then_some(Piece { range: start..end, wanted })
        };
        let found = pieces(next);
        assert_eq!(found.len(), 2, "gaps of 64 KiB and less");
        assert!(found[0].end <= hole.start && found[1].start >= hole.end);
        // With gaps that are larger than the first attempt allows.
        let next = |from: u64| {
            let (at, rest) = (from / 0x2_0000 * 0x2_0000, from % 0x2_0000);
            let (end, wanted) = if rest < 0x1000 { (at + 0x1000, true) } else { (at + 0x2_0000, false) };
            (from < 1 << 30).then_some(Piece { range: from..end, wanted })
        };
        assert_eq!(pieces(next).len(), 1);
        let few = |from: u64| next(from).filter(|_| from < 1 << 20);
        assert_eq!(pieces(few).len(), 8);
    }
}
