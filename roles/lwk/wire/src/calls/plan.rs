//! The node's side of a call: what to copy from and to the program, derived from the table.
//!
//! [`plan`] looks at the program's memory once and has no effect: when it reports a [`Fault`] on a page that only has to be
//! brought in, the caller does that and plans again. What was looked at (paths, headers, lengths) is kept, so that another
//! thread cannot change it afterwards.

use alloc::vec::Vec;

use super::ioctl::{self, IoctlArg};
use super::{Arg, Call, FcntlArg, Len, MAX_RW_COUNT, PATH_MAX, UIO_MAXIOV, fcntl_arg};
use crate::bytes::Writer;
use crate::errno::Errno;
use crate::frame::{MAX_INLINE, MAX_INLINE_TOTAL};
use crate::layout::{Ifconf, Iovec, Msghdr};
use crate::messages::{Desc, Direction, Part, Sysret};

/// Bytes of an address, at most: `struct sockaddr_storage`.
pub(super) const MAX_NAME: u32 = 128;
/// Bytes of control data, at most.
pub(super) const MAX_CONTROL: u32 = 8192;
/// Bytes of [`Part::Lengths`].
pub(super) const LENGTHS: u32 = 12;

/// What is to be done with memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
}

/// Memory of the program.
pub trait Memory {
    /// Copies in. `Err(n)`: only `n` bytes could be read.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), usize>;

    /// Copies out. `Err(n)`: only `n` bytes could be written.
    fn write(&self, at: u64, from: &[u8]) -> Result<(), usize>;

    /// How many bytes from `at` on can be accessed, at most `len`.
    fn accessible(&self, at: u64, len: u64, access: Access) -> u64;
}

/// Memory that cannot be accessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The first such address.
    pub address: u64,
    /// What was to be done.
    pub access: Access,
}

/// Why a call is not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// It fails with this.
    Errno(Errno),
    /// It fails with EFAULT, unless the page can be brought in.
    Fault(Fault),
}

impl PlanError {
    /// What the program gets when nothing can be brought in.
    pub fn errno(self) -> Errno {
        match self {
            PlanError::Errno(error) => error,
            PlanError::Fault(_) => Errno::EFAULT,
        }
    }
}

/// A run of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
}

/// One descriptor, and where its bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// As sent.
    pub desc: Desc,
    /// The memory, in order.
    pub ranges: Vec<Range>,
    /// Bytes of an `In` or `InOut` piece that were looked at; for the others they are read when they are sent.
    pub kept: Option<Vec<u8>>,
}

/// What to copy for one call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The arguments, as they are sent: replace those in [`Call::handles`] by handles.
    pub args: [u64; 6],
    /// Descriptors.
    pub pieces: Vec<Piece>,
    /// The bytes of the data piece do not fit in the request: they follow in DATA, and the frame has
    /// [`Flags::MORE`](crate::frame::Flags::MORE).
    pub streams: bool,
}

/// Plans `call` with the program's `args`.
pub fn plan(call: &Call, args: &[u64; 6], memory: &dyn Memory, flat_ioctl: bool) -> Result<Plan, PlanError> {
    let mut planner = Planner { args, memory, flat_ioctl, pieces: Vec::new() };
    for (index, arg) in call.args.iter().enumerate() {
        planner.argument(index as u8, *arg)?;
    }
    let pieces = planner.pieces;
    let inline = |data: bool| -> u64 {
        let counted = pieces
            .iter()
            .filter(|piece| piece.desc.direction.is_in() && (data || piece.desc.part != Part::Data));
        counted.map(|piece| u64::from(piece.desc.len)).sum()
    };
    if inline(false) > MAX_INLINE_TOTAL as u64 {
        return Err(PlanError::Errno(Errno::E2BIG));
    }
    let data =
        pieces.iter().find(|piece| piece.desc.part == Part::Data && piece.desc.direction == Direction::In);
    let streams = data.is_some_and(|data| data.desc.len as usize > MAX_INLINE)
        || inline(true) > MAX_INLINE_TOTAL as u64;
    Ok(Plan { args: *args, pieces, streams })
}

struct Planner<'a> {
    args: &'a [u64; 6],
    memory: &'a dyn Memory,
    flat_ioctl: bool,
    pieces: Vec<Piece>,
}

impl Planner<'_> {
    fn value(&self, index: u8) -> u64 {
        self.args.get(usize::from(index)).copied().unwrap_or(0)
    }

    fn argument(&mut self, index: u8, arg: Arg) -> Result<(), PlanError> {
        let at = self.value(index);
        match arg {
            Arg::Scalar | Arg::Handle | Arg::Dir => Ok(()),
            Arg::Ioctl => self.ioctl(index),
            Arg::Fcntl => match fcntl_arg(self.value(1)) {
                FcntlArg::Scalar => Ok(()),
                FcntlArg::Flock => self.whole(index, Direction::InOut, 32),
                FcntlArg::Refused => Err(PlanError::Errno(Errno::EINVAL)),
            },
            Arg::Series(_) => Err(PlanError::Errno(Errno::ENOSYS)),
            _ if at == 0 => Ok(()),
            Arg::Path => self.path(index, at),
            Arg::In(len) => {
                let len = len.of(self.args);
                if len > MAX_INLINE as u64 {
                    return Err(PlanError::Errno(Errno::E2BIG));
                }
                self.whole(index, Direction::In, len)
            }
            Arg::Out(len) => self.whole(index, Direction::Out, clip(len, self.args)),
            Arg::InOut(len) => self.whole(index, Direction::InOut, clip(len, self.args)),
            Arg::DataIn(len) => self.data(index, Direction::In, &[Range { addr: at, len: self.value(len) }]),
            Arg::DataOut(len) => {
                self.data(index, Direction::Out, &[Range { addr: at, len: self.value(len) }])
            }
            Arg::IovIn(count) => {
                let ranges = self.vector(at, self.value(count))?;
                self.data(index, Direction::In, &ranges)
            }
            Arg::IovOut(count) => {
                let ranges = self.vector(at, self.value(count))?;
                self.data(index, Direction::Out, &ranges)
            }
            Arg::OutBy(len_at, most) => {
                let mut len = [0; 4];
                let len_at = self.value(len_at);
                if len_at == 0 {
                    return Ok(());
                }
                self.look(len_at, &mut len)?;
                self.whole(index, Direction::Out, u64::from(u32::from_le_bytes(len).min(most)))
            }
            Arg::MsgIn => self.message(index, at, Direction::In),
            Arg::MsgOut => self.message(index, at, Direction::Out),
        }
    }

    /// Copies something small that decides how to go on.
    fn look(&self, at: u64, into: &mut [u8]) -> Result<(), PlanError> {
        self.memory.read(at, into).map_err(|done| fault(at.saturating_add(done as u64), Access::Read))
    }

    fn must(&self, at: u64, len: u64, access: Access) -> Result<(), PlanError> {
        let good = self.memory.accessible(at, len, access);
        if good < len { Err(fault(at.saturating_add(good), access)) } else { Ok(()) }
    }

    fn push(
        &mut self,
        index: u8,
        part: Part,
        direction: Direction,
        ranges: Vec<Range>,
        kept: Option<Vec<u8>>,
    ) {
        let len = ranges.iter().map(|range| range.len).sum::<u64>().min(u32::MAX.into()) as u32;
        let addr = ranges.first().map_or(0, |range| range.addr);
        self.pieces.push(Piece { desc: Desc { addr, len, direction, arg: index, part }, ranges, kept });
    }

    /// A buffer that must be there from end to end. What goes in is kept.
    fn part(
        &mut self,
        index: u8,
        part: Part,
        direction: Direction,
        addr: u64,
        len: u64,
    ) -> Result<(), PlanError> {
        if len == 0 {
            return Ok(());
        }
        let mut kept = None;
        if direction.is_in() {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(len as usize).map_err(|_| PlanError::Errno(Errno::ENOMEM))?;
            bytes.resize(len as usize, 0);
            self.look(addr, &mut bytes)?;
            kept = Some(bytes);
        }
        if direction.is_out() {
            self.must(addr, len, Access::Write)?;
        }
        self.push(index, part, direction, alloc::vec![Range { addr, len }], kept);
        Ok(())
    }

    fn whole(&mut self, index: u8, direction: Direction, len: u64) -> Result<(), PlanError> {
        match self.value(index) {
            0 => Ok(()),
            at => self.part(index, Part::Whole, direction, at, len),
        }
    }

    fn path(&mut self, index: u8, at: u64) -> Result<(), PlanError> {
        let mut path = Vec::new();
        let mut from = at;
        while path.len() < PATH_MAX {
            // Never over the end of a page for a string that ends before it.
            let room = (256 - from % 256).min((PATH_MAX - path.len()) as u64) as usize;
            let mut bytes = [0; 256];
            let chunk = bytes.get_mut(..room).unwrap_or_default();
            let read = self.memory.read(from, chunk);
            let got = match read {
                Ok(()) => &*chunk,
                Err(done) => chunk.get(..done).unwrap_or_default(),
            };
            if let Some(end) = got.iter().position(|byte| *byte == 0) {
                path.extend_from_slice(got.get(..=end).unwrap_or_default());
                let range = Range { addr: at, len: path.len() as u64 };
                self.push(index, Part::Whole, Direction::In, alloc::vec![range], Some(path));
                return Ok(());
            }
            path.extend_from_slice(got);
            if let Err(done) = read {
                return Err(fault(from.saturating_add(done as u64), Access::Read));
            }
            from = from.checked_add(room as u64).ok_or(fault(u64::MAX, Access::Read))?;
        }
        Err(PlanError::Errno(Errno::ENAMETOOLONG))
    }

    fn vector(&self, at: u64, count: u64) -> Result<Vec<Range>, PlanError> {
        if count > UIO_MAXIOV {
            return Err(PlanError::Errno(Errno::EINVAL));
        }
        let mut bytes = alloc::vec![0; count as usize * Iovec::LEN];
        self.look(at, &mut bytes)?;
        let entries = bytes.chunks_exact(Iovec::LEN).filter_map(Iovec::read);
        let ranges: Vec<Range> = entries.map(|entry| Range { addr: entry.base, len: entry.len }).collect();
        if ranges.iter().any(|range| range.len > i64::MAX as u64) {
            return Err(PlanError::Errno(Errno::EINVAL));
        }
        Ok(ranges)
    }

    /// Bytes of a read or write: as many as can be accessed, since Linux moves those too, and at least one.
    fn data(&mut self, index: u8, direction: Direction, wanted: &[Range]) -> Result<(), PlanError> {
        let access = if direction == Direction::In { Access::Read } else { Access::Write };
        let (mut ranges, mut left) = (Vec::new(), MAX_RW_COUNT);
        for range in wanted {
            let len = range.len.min(left);
            let good = self.memory.accessible(range.addr, len, access);
            if good > 0 {
                ranges.push(Range { addr: range.addr, len: good });
                left = left.saturating_sub(good);
            }
            if good < len {
                if ranges.is_empty() {
                    return Err(fault(range.addr.saturating_add(good), access));
                }
                break;
            }
        }
        if !ranges.is_empty() {
            self.push(index, Part::Data, direction, ranges, None);
        }
        Ok(())
    }

    fn message(&mut self, index: u8, at: u64, direction: Direction) -> Result<(), PlanError> {
        let mut bytes = [0; Msghdr::LEN];
        self.look(at, &mut bytes)?;
        let header = Msghdr::from_bytes(&bytes);
        let namelen = if header.name == 0 { 0 } else { header.namelen.min(MAX_NAME) };
        let ranges = self.vector(header.iov, header.iovlen)?;
        let mut controllen = if header.control == 0 { 0 } else { header.controllen };
        if controllen > MAX_CONTROL.into() {
            if direction == Direction::In {
                return Err(PlanError::Errno(Errno::ENOBUFS));
            }
            controllen = MAX_CONTROL.into();
        }
        self.data(index, direction, &ranges)?;
        self.part(index, Part::Name, direction, header.name, namelen.into())?;
        self.part(index, Part::Control, direction, header.control, controllen)?;
        if direction == Direction::Out {
            self.must(at, Msghdr::LEN as u64, Access::Write)?;
            // msg_namelen, msg_controllen, msg_flags, as the write-back knows.
            let range = Range { addr: at, len: LENGTHS.into() };
            self.push(index, Part::Lengths, Direction::Out, alloc::vec![range], None);
        }
        Ok(())
    }

    fn ioctl(&mut self, index: u8) -> Result<(), PlanError> {
        let request = self.value(1) as u32;
        let known = ioctl::find(request).map(|entry| entry.arg);
        let arg = known.or_else(|| ioctl::flat(request).filter(|_| self.flat_ioctl));
        match arg.ok_or(PlanError::Errno(Errno::ENOTTY))? {
            IoctlArg::Scalar => Ok(()),
            IoctlArg::In(len) => self.whole(index, Direction::In, len.into()),
            IoctlArg::Out(len) => self.whole(index, Direction::Out, len.into()),
            IoctlArg::InOut(len) => self.whole(index, Direction::InOut, len.into()),
            IoctlArg::Ifconf => {
                self.whole(index, Direction::InOut, Ifconf::LEN as u64)?;
                let kept = self.pieces.last().and_then(|piece| piece.kept.as_deref()).unwrap_or_default();
                match Ifconf::read(kept) {
                    Some(ifconf) if ifconf.buffer != 0 && ifconf.len > 0 => {
                        let len = (ifconf.len as u64).min(MAX_INLINE as u64);
                        self.part(index, Part::Nested, Direction::Out, ifconf.buffer, len)
                    }
                    _ => Ok(()),
                }
            }
            IoctlArg::Ethtool => {
                self.whole(index, Direction::InOut, 40)?;
                let kept = self.pieces.last().and_then(|piece| piece.kept.as_deref()).unwrap_or_default();
                let Some(pointer) = kept.get(16..).and_then(|rest| rest.first_chunk()) else { return Ok(()) };
                let pointer = u64::from_le_bytes(*pointer);
                let mut command = [0; 4];
                self.look(pointer, &mut command)?;
                let size = ioctl::ethtool_size(u32::from_le_bytes(command));
                let size = size.ok_or(PlanError::Errno(Errno::EOPNOTSUPP))?;
                self.part(index, Part::Nested, Direction::InOut, pointer, size.into())
            }
        }
    }
}

fn clip(len: Len, args: &[u64; 6]) -> u64 {
    len.of(args).min(MAX_INLINE as u64)
}

fn fault(address: u64, access: Access) -> PlanError {
    PlanError::Fault(Fault { address, access })
}

impl Plan {
    /// Writes the payload of the SYSCALL. Bytes go from the program's memory to where they leave from.
    pub fn write(&self, to: &mut Writer<'_>, memory: &dyn Memory) -> Result<(), PlanError> {
        let used = self.args.iter().rposition(|arg| *arg != 0).map_or(0, |last| last + 1);
        to.u8(used as u8);
        for arg in self.args.iter().take(used) {
            to.u64(*arg);
        }
        to.u8(self.pieces.len() as u8);
        for Piece { desc, .. } in &self.pieces {
            to.u64(desc.addr).u32(desc.len).u8(desc.direction as u8).u8(desc.arg | (desc.part as u8) << 3);
        }
        for piece in self.pieces.iter().filter(|piece| piece.desc.direction.is_in()) {
            match &piece.kept {
                Some(bytes) => {
                    to.bytes(bytes);
                }
                None if self.streams => {}
                None => gather(&piece.ranges, memory, 0, to.room(piece.desc.len as usize))?,
            }
        }
        Ok(())
    }

    /// Bytes of the piece that travels in DATA.
    pub fn data_len(&self) -> u32 {
        self.data().map_or(0, |piece| piece.desc.len)
    }

    /// Reads `into.len()` bytes of it, `offset` from its start: for DATA to the host.
    pub fn read_data(&self, memory: &dyn Memory, offset: u64, into: &mut [u8]) -> Result<(), PlanError> {
        gather(self.data().map_or(&[][..], |piece| &piece.ranges), memory, offset, into)
    }

    /// Puts bytes of DATA from the host where they belong.
    pub fn write_data(&self, memory: &dyn Memory, offset: u64, from: &[u8]) -> Result<(), PlanError> {
        scatter(self.data().map_or(&[][..], |piece| &piece.ranges), memory, offset, from)
    }

    fn data(&self) -> Option<&Piece> {
        self.pieces.iter().find(|piece| piece.desc.part == Part::Data)
    }

    /// Control data that a sendmsg carries: the node puts handles in place of descriptors in it (see
    /// [`layout::each_right`](crate::layout::each_right)).
    pub fn control(&mut self) -> Option<&mut Vec<u8>> {
        self.pieces
            .iter_mut()
            .find(|piece| piece.desc.part == Part::Control)
            .and_then(|piece| piece.kept.as_mut())
    }

    /// Copies the bytes of the answer out, and gives its result. `rights` is called with control data before it is copied.
    ///
    /// EPROTO when the answer does not fit the request: the host broke the protocol.
    pub fn commit(
        &self,
        answer: &Sysret<'_>,
        memory: &dyn Memory,
        rights: &mut dyn FnMut(&mut [u8]),
    ) -> Result<i64, PlanError> {
        const BROKEN: PlanError = PlanError::Errno(Errno::EPROTO);
        let mut bytes = answer.bytes;
        for out in &answer.outs {
            let piece = self
                .pieces
                .get(usize::from(out.desc))
                .filter(|piece| piece.desc.direction.is_out())
                .ok_or(BROKEN)?;
            if out.len > piece.desc.len {
                return Err(BROKEN);
            }
            let (part, rest) = bytes.split_at_checked(out.len as usize).ok_or(BROKEN)?;
            bytes = rest;
            match piece.desc.part {
                Part::Lengths => write_lengths(piece.desc.addr, part, memory)?,
                Part::Control => {
                    let mut control = part.to_vec();
                    rights(&mut control);
                    scatter(&piece.ranges, memory, 0, &control)?;
                }
                _ => scatter(&piece.ranges, memory, 0, part)?,
            }
        }
        Ok(answer.result)
    }
}

fn write_lengths(at: u64, part: &[u8], memory: &dyn Memory) -> Result<(), PlanError> {
    let word = |index: usize| {
        part.get(index * 4..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or([0; 4])
    };
    let control = u64::from(u32::from_le_bytes(word(1))).to_le_bytes();
    for (offset, field) in [(8, &word(0)[..]), (40, &control[..]), (48, &word(2)[..])] {
        let to = at.wrapping_add(offset);
        memory.write(to, field).map_err(|done| fault(to.saturating_add(done as u64), Access::Write))?;
    }
    Ok(())
}

/// The parts of `ranges` that hold `len` bytes from `offset` on.
fn within(ranges: &[Range], offset: u64, len: usize) -> impl Iterator<Item = Range> {
    let (mut skip, mut left) = (offset, len as u64);
    ranges.iter().filter_map(move |range| {
        let skipped = skip.min(range.len);
        skip -= skipped;
        let len = (range.len - skipped).min(left);
        left -= len;
        (len > 0).then(|| Range { addr: range.addr.wrapping_add(skipped), len })
    })
}

fn gather(ranges: &[Range], memory: &dyn Memory, offset: u64, mut into: &mut [u8]) -> Result<(), PlanError> {
    for range in within(ranges, offset, into.len()) {
        let (part, rest) = into.split_at_mut(range.len as usize);
        into = rest;
        memory
            .read(range.addr, part)
            .map_err(|done| fault(range.addr.saturating_add(done as u64), Access::Read))?;
    }
    if into.is_empty() { Ok(()) } else { Err(PlanError::Errno(Errno::EPROTO)) }
}

fn scatter(ranges: &[Range], memory: &dyn Memory, offset: u64, mut from: &[u8]) -> Result<(), PlanError> {
    for range in within(ranges, offset, from.len()) {
        let (part, rest) = from.split_at(range.len as usize);
        from = rest;
        memory
            .write(range.addr, part)
            .map_err(|done| fault(range.addr.saturating_add(done as u64), Access::Write))?;
    }
    if from.is_empty() { Ok(()) } else { Err(PlanError::Errno(Errno::EPROTO)) }
}
