//! The host's side of a call: whether a request is what the table says.
//!
//! Nothing of a request is used before this; what does not match ends the session (section 5.11).

use alloc::vec::Vec;

use super::ioctl::{self, IoctlArg, IoctlClass};
use super::plan::{LENGTHS, MAX_CONTROL, MAX_NAME};
use super::{Arg, Call, FcntlArg, MAX_RW_COUNT, PATH_MAX, UIO_MAXIOV, fcntl_arg};
use crate::frame::MAX_INLINE;
use crate::messages::{Desc, Direction, OutPart, Part, Syscall};

/// How a request differs from the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// The call is not one that travels.
    Call(u32),
    /// A descriptor for an argument that has none, or twice, or out of order.
    Descriptor(u8),
    /// A descriptor is missing.
    Missing(u8),
    /// Its direction or length is not what the table says.
    Signature(u8),
    /// Inline bytes are more or fewer than the descriptors say.
    Inline,
    /// A path without its NUL, or with another.
    Path(u8),
    /// The command or request number does not travel.
    Command(u32),
}

impl core::fmt::Display for Violation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Violation::Call(nr) => write!(f, "system call {nr} is not delegated"),
            Violation::Descriptor(arg) => write!(f, "descriptor for argument {arg} out of place"),
            Violation::Missing(arg) => write!(f, "no descriptor for argument {arg}"),
            Violation::Signature(arg) => write!(f, "descriptor for argument {arg} is not as in the table"),
            Violation::Inline => f.write_str("inline bytes do not match the descriptors"),
            Violation::Path(arg) => write!(f, "argument {arg} is not a path"),
            Violation::Command(command) => write!(f, "command {command:#x} is not delegated"),
        }
    }
}

impl core::error::Error for Violation {}

/// Bytes from the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Input<'a> {
    /// Argument.
    pub arg: u8,
    /// Part.
    pub part: Part,
    /// The bytes; `None` for those that follow in DATA.
    pub bytes: Option<&'a [u8]>,
    /// How many they are.
    pub len: u32,
}

/// Room for bytes to the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Output {
    /// Index of the descriptor, for the answer.
    pub desc: u8,
    /// Argument.
    pub arg: u8,
    /// Part.
    pub part: Part,
    /// Bytes, at most.
    pub len: u32,
}

impl Output {
    /// So many of its bytes are in the answer.
    pub fn filled(&self, len: usize) -> OutPart {
        OutPart { desc: self.desc, len: len.min(self.len as usize) as u32 }
    }
}

/// A request that is as the table says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked<'a> {
    /// What is to be done.
    pub call: &'static Call,
    /// With what.
    pub args: [u64; 6],
    /// From the program.
    pub inputs: Vec<Input<'a>>,
    /// To the program.
    pub outputs: Vec<Output>,
}

impl<'a> Checked<'a> {
    /// Bytes of an argument that came with the request; `None` for a NULL pointer.
    pub fn input(&self, arg: u8, part: Part) -> Option<&'a [u8]> {
        self.inputs.iter().find(|input| input.arg == arg && input.part == part).and_then(|input| input.bytes)
    }

    /// The path in an argument, without its NUL.
    pub fn path(&self, arg: u8) -> Option<&'a [u8]> {
        self.input(arg, Part::Whole).and_then(|path| path.split_last()).map(|(_, path)| path)
    }

    /// Room in an argument; `None` for a NULL pointer.
    pub fn output(&self, arg: u8, part: Part) -> Option<Output> {
        self.outputs.iter().find(|output| output.arg == arg && output.part == part).copied()
    }

    /// The data of the call: where it comes from, if it writes.
    pub fn data_in(&self) -> Option<Input<'a>> {
        self.inputs.iter().find(|input| input.part == Part::Data).copied()
    }

    /// The data of the call: where it goes to, if it reads.
    pub fn data_out(&self) -> Option<Output> {
        self.outputs.iter().find(|output| output.part == Part::Data).copied()
    }
}

/// Checks a request for system call `nr`. `streams`: the frame had [`Flags::MORE`](crate::frame::Flags::MORE).
pub fn check<'a>(
    nr: u32,
    request: &Syscall<'a>,
    streams: bool,
    flat_ioctl: bool,
) -> Result<Checked<'a>, Violation> {
    let call = super::call(nr).filter(|call| call.travels()).ok_or(Violation::Call(nr))?;
    let (inputs, outputs) = split(request, streams)?;
    let checked = Checked { call, args: request.args, inputs, outputs };
    let mut descs = &request.descs[..];
    for (index, arg) in call.args.iter().enumerate() {
        let index = index as u8;
        let count = descs.iter().take_while(|desc| desc.arg == index).count();
        let (own, rest) = descs.split_at(count);
        descs = rest;
        argument(*arg, index, own, &checked, flat_ioctl)?;
    }
    match descs.first() {
        Some(desc) => Err(Violation::Descriptor(desc.arg)),
        None => Ok(checked),
    }
}

fn split<'a>(request: &Syscall<'a>, streams: bool) -> Result<(Vec<Input<'a>>, Vec<Output>), Violation> {
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let (mut inline, mut streamed) = (request.inline, false);
    for (index, desc) in request.descs.iter().enumerate() {
        let Desc { len, direction, arg, part, .. } = *desc;
        if direction.is_in() && streams && part == Part::Data {
            streamed = true;
            inputs.push(Input { arg, part, bytes: None, len });
        } else if direction.is_in() {
            let (bytes, rest) = inline.split_at_checked(len as usize).ok_or(Violation::Inline)?;
            inline = rest;
            inputs.push(Input { arg, part, bytes: Some(bytes), len });
        }
        if direction.is_out() {
            outputs.push(Output { desc: index as u8, arg, part, len });
        }
    }
    if inline.is_empty() && streams == streamed { Ok((inputs, outputs)) } else { Err(Violation::Inline) }
}

/// One descriptor of an argument, as the table wants it.
struct Wanted {
    part: Part,
    direction: Direction,
    least: u64,
    most: u64,
}

impl Wanted {
    fn exactly(part: Part, direction: Direction, len: u64) -> Wanted {
        Wanted { part, direction, least: len, most: len }
    }

    fn whole(direction: Direction, len: u64) -> Wanted {
        Wanted::exactly(Part::Whole, direction, len)
    }

    /// May be missing, when `most` bytes of it are none.
    fn up_to(part: Part, direction: Direction, most: u64) -> Wanted {
        Wanted { part, direction, least: 0, most }
    }
}

fn argument(
    arg: Arg,
    index: u8,
    descs: &[Desc],
    checked: &Checked<'_>,
    flat_ioctl: bool,
) -> Result<(), Violation> {
    let value = |index: u8| checked.args.get(usize::from(index)).copied().unwrap_or(0);
    let inline_max = MAX_INLINE as u64;
    if value(index) == 0 && !matches!(arg, Arg::Ioctl | Arg::Fcntl | Arg::Series(_)) {
        return descs.first().map_or(Ok(()), |_| Err(Violation::Descriptor(index)));
    }
    let wanted: Vec<Wanted> = match arg {
        Arg::Scalar | Arg::Handle | Arg::Dir => Vec::new(),
        Arg::Ioctl => ioctl_argument(value(1) as u32, index, checked, flat_ioctl)?,
        Arg::Fcntl => match fcntl_arg(value(1)) {
            FcntlArg::Scalar => Vec::new(),
            FcntlArg::Flock => alloc::vec![Wanted::whole(Direction::InOut, 32)],
            FcntlArg::Refused => return Err(Violation::Command(value(1) as u32)),
        },
        Arg::Series(_) => return Err(Violation::Call(checked.call.nr)),
        Arg::Path => {
            if let Some(path) = checked.input(index, Part::Whole) {
                let (end, path) = path.split_last().ok_or(Violation::Path(index))?;
                if *end != 0 || path.contains(&0) {
                    return Err(Violation::Path(index));
                }
            }
            alloc::vec![Wanted {
                part: Part::Whole,
                direction: Direction::In,
                least: 1,
                most: PATH_MAX as u64
            }]
        }
        Arg::In(len) => {
            let len = len.of(&checked.args);
            if len > inline_max {
                return Err(Violation::Signature(index));
            }
            alloc::vec![Wanted::whole(Direction::In, len)]
        }
        Arg::Out(len) => alloc::vec![Wanted::whole(Direction::Out, len.of(&checked.args).min(inline_max))],
        Arg::InOut(len) => {
            alloc::vec![Wanted::whole(Direction::InOut, len.of(&checked.args).min(inline_max))]
        }
        Arg::DataIn(len) => alloc::vec![data(Direction::In, value(len))],
        Arg::DataOut(len) => alloc::vec![data(Direction::Out, value(len))],
        Arg::IovIn(count) | Arg::IovOut(count) if value(count) > UIO_MAXIOV => {
            return Err(Violation::Signature(index));
        }
        // The lengths are in the program's memory: the sum is for the node to know, and may be none.
        Arg::IovIn(_) => alloc::vec![Wanted::up_to(Part::Data, Direction::In, MAX_RW_COUNT)],
        Arg::IovOut(_) => alloc::vec![Wanted::up_to(Part::Data, Direction::Out, MAX_RW_COUNT)],
        Arg::OutBy(len_at, most) => {
            let said = checked.input(len_at, Part::Whole).and_then(|bytes| bytes.first_chunk());
            let said = said.map_or(0, |bytes| u32::from_le_bytes(*bytes));
            alloc::vec![Wanted::whole(Direction::Out, said.min(most).into())]
        }
        Arg::MsgIn => alloc::vec![
            Wanted::up_to(Part::Data, Direction::In, MAX_RW_COUNT),
            Wanted::up_to(Part::Name, Direction::In, MAX_NAME.into()),
            Wanted::up_to(Part::Control, Direction::In, MAX_CONTROL.into()),
        ],
        Arg::MsgOut => alloc::vec![
            Wanted::up_to(Part::Data, Direction::Out, MAX_RW_COUNT),
            Wanted::up_to(Part::Name, Direction::Out, MAX_NAME.into()),
            Wanted::up_to(Part::Control, Direction::Out, MAX_CONTROL.into()),
            Wanted::exactly(Part::Lengths, Direction::Out, LENGTHS.into()),
        ],
    };
    if wanted.is_empty() || value(index) == 0 {
        return descs.first().map_or(Ok(()), |_| Err(Violation::Descriptor(index)));
    }
    compare(index, &wanted, descs)
}

/// Data of a read or write: the node may have cut it at the first page that is not there.
fn data(direction: Direction, count: u64) -> Wanted {
    Wanted { part: Part::Data, direction, least: count.min(1), most: count.min(MAX_RW_COUNT) }
}

fn compare(index: u8, wanted: &[Wanted], descs: &[Desc]) -> Result<(), Violation> {
    let mut descs = descs.iter().peekable();
    for want in wanted {
        match descs.next_if(|desc| desc.part == want.part) {
            Some(desc) => {
                let len = u64::from(desc.len);
                if desc.direction != want.direction || len == 0 || len < want.least || len > want.most {
                    return Err(Violation::Signature(index));
                }
            }
            None if want.least == 0 => {}
            None => return Err(Violation::Missing(index)),
        }
    }
    descs.next().map_or(Ok(()), |_| Err(Violation::Descriptor(index)))
}

fn ioctl_argument(
    request: u32,
    index: u8,
    checked: &Checked<'_>,
    flat_ioctl: bool,
) -> Result<Vec<Wanted>, Violation> {
    let arg = match ioctl::find(request) {
        Some(entry) if matches!(entry.class, IoctlClass::Delegated | IoctlClass::Side) => Some(entry.arg),
        Some(_) => None,
        None => ioctl::flat(request).filter(|_| flat_ioctl),
    };
    Ok(match arg.ok_or(Violation::Command(request))? {
        IoctlArg::Scalar => Vec::new(),
        IoctlArg::In(len) => alloc::vec![Wanted::whole(Direction::In, len.into())],
        IoctlArg::Out(len) => alloc::vec![Wanted::whole(Direction::Out, len.into())],
        IoctlArg::InOut(len) => alloc::vec![Wanted::whole(Direction::InOut, len.into())],
        IoctlArg::Ifconf => alloc::vec![
            Wanted::whole(Direction::InOut, 16),
            Wanted::up_to(Part::Nested, Direction::Out, MAX_INLINE as u64),
        ],
        IoctlArg::Ethtool => {
            let command = checked.input(index, Part::Nested).and_then(|bytes| bytes.first_chunk());
            let size = command.and_then(|bytes| ioctl::ethtool_size(u32::from_le_bytes(*bytes)));
            let size = size.ok_or(Violation::Missing(index))?;
            alloc::vec![
                Wanted::whole(Direction::InOut, 40),
                Wanted::exactly(Part::Nested, Direction::InOut, size.into()),
            ]
        }
    })
}
