//! Terminals.

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::layout::{Termios, Termios2, Winsize};
use keelson_lwk_wire::messages::Part;
use rustix::process::Pid;
use rustix::termios::{
    self, Action, ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector,
    SpecialCodeIndex,
};

use super::{Reply, Task, done};
use crate::fail::Fail;
use crate::proxy::handles::Handle;

/// Control characters, in the order of `c_cc`.
const CODES: [SpecialCodeIndex; 17] = [
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VEOF,
    SpecialCodeIndex::VTIME,
    SpecialCodeIndex::VMIN,
    SpecialCodeIndex::VSWTC,
    SpecialCodeIndex::VSTART,
    SpecialCodeIndex::VSTOP,
    SpecialCodeIndex::VSUSP,
    SpecialCodeIndex::VEOL,
    SpecialCodeIndex::VREPRINT,
    SpecialCodeIndex::VDISCARD,
    SpecialCodeIndex::VWERASE,
    SpecialCodeIndex::VLNEXT,
    SpecialCodeIndex::VEOL2,
];

/// Where `c_cflag` has the speed, and what says there that it is a number of its own (BOTHER).
const CBAUD: u32 = 0o10017;
const BOTHER: u32 = 0o10000;

fn get(handle: &Handle) -> Result<Termios2, Fail> {
    let found = termios::tcgetattr(handle)?;
    let mut cc = [0; 19];
    for (to, code) in cc.iter_mut().zip(CODES) {
        *to = found.special_codes[code];
    }
    let base = Termios {
        iflag: found.input_modes.bits(),
        oflag: found.output_modes.bits(),
        cflag: found.control_modes.bits(),
        lflag: found.local_modes.bits(),
        line: found.line_discipline,
        cc,
    };
    Ok(Termios2 { base, ispeed: found.input_speed(), ospeed: found.output_speed() })
}

fn set(
    handle: &Handle,
    wanted: &Termios,
    speeds: Option<(u32, u32)>,
    when: OptionalActions,
) -> Result<(), Fail> {
    let mut next = termios::tcgetattr(handle)?;
    next.input_modes = InputModes::from_bits_retain(wanted.iflag);
    next.output_modes = OutputModes::from_bits_retain(wanted.oflag);
    next.local_modes = LocalModes::from_bits_retain(wanted.lflag);
    next.line_discipline = wanted.line;
    for (from, code) in wanted.cc.iter().zip(CODES) {
        next.special_codes[code] = *from;
    }
    if let Some((input, output)) = speeds.filter(|_| wanted.cflag & CBAUD == BOTHER) {
        next.set_input_speed(input)?;
        next.set_output_speed(output)?;
    }
    // Last: it holds the speeds of all others, as the program wants them.
    next.control_modes = ControlModes::from_bits_retain(wanted.cflag);
    Ok(termios::tcsetattr(handle, when, &next)?)
}

/// Requests about terminals.
pub(super) fn ioctl(task: &Task<'_>, handle: &Handle) -> Result<Reply, Fail> {
    let answer = |bytes: &[u8]| Ok(Reply::done().with(task.checked.output(2, Part::Whole), bytes));
    let number =
        |bytes: &[u8]| bytes.first_chunk().map(|bytes| i32::from_le_bytes(*bytes)).ok_or(Fail(Errno::EFAULT));
    let pid = |pid: Pid| answer(&pid.as_raw_nonzero().get().to_le_bytes());
    match task.int(1) {
        0x5401 => answer(&get(handle)?.base.to_bytes()),
        0x802c_542a => answer(&get(handle)?.to_bytes()),
        request @ 0x5402..=0x5404 => {
            let wanted = Termios::from_bytes(task.input(2)?.first_chunk().ok_or(Fail(Errno::EFAULT))?);
            let when = [OptionalActions::Now, OptionalActions::Drain, OptionalActions::Flush];
            done(set(handle, &wanted, None, when[(request - 0x5402) as usize]))
        }
        request @ 0x402c_542b..=0x402c_542d => {
            let wanted = Termios2::from_bytes(task.input(2)?.first_chunk().ok_or(Fail(Errno::EFAULT))?);
            let when = [OptionalActions::Now, OptionalActions::Drain, OptionalActions::Flush];
            let speeds = Some((wanted.ispeed, wanted.ospeed));
            done(set(handle, &wanted.base, speeds, when[(request - 0x402c_542b) as usize]))
        }
        0x5409 if task.int(2) == 0 => done(termios::tcsendbreak(handle)),
        0x5409 => done(termios::tcdrain(handle)),
        0x540a => {
            let actions = [Action::OOff, Action::OOn, Action::IOff, Action::IOn];
            done(termios::tcflow(handle, *actions.get(task.int(2) as usize).ok_or(Fail(Errno::EINVAL))?))
        }
        0x540b => {
            let queues = [QueueSelector::IFlush, QueueSelector::OFlush, QueueSelector::IOFlush];
            done(termios::tcflush(handle, *queues.get(task.int(2) as usize).ok_or(Fail(Errno::EINVAL))?))
        }
        0x540e => done(rustix::process::ioctl_tiocsctty(handle)),
        0x540f => pid(termios::tcgetpgrp(handle)?),
        0x5410 => {
            let group = Pid::from_raw(number(task.input(2)?)?).ok_or(Fail(Errno::EINVAL))?;
            done(termios::tcsetpgrp(handle, group))
        }
        0x5429 => pid(termios::tcgetsid(handle)?),
        0x5413 => {
            let size = termios::tcgetwinsize(handle)?;
            let size = Winsize {
                rows: size.ws_row,
                columns: size.ws_col,
                xpixel: size.ws_xpixel,
                ypixel: size.ws_ypixel,
            };
            answer(&size.to_bytes())
        }
        0x5414 => {
            let size = Winsize::read(task.input(2)?).ok_or(Fail(Errno::EFAULT))?;
            let size = termios::Winsize {
                ws_row: size.rows,
                ws_col: size.columns,
                ws_xpixel: size.xpixel,
                ws_ypixel: size.ypixel,
            };
            done(termios::tcsetwinsize(handle, size))
        }
        _ => Err(Fail(Errno::ENOTTY)),
    }
}
