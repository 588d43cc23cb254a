//! A line about a call, in the manner of strace(1).

use super::arity::arity;
use super::{Asked, End};
use crate::Errno;
use crate::mm::Mm;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::time::Duration;
use keelson_lwk_wire::calls::{self, AT_FDCWD, Arg};

/// Most bytes of a path that are shown.
const PATH: usize = 128;
/// And of data.
const DATA: usize = 32;

/// A call as it was made.
pub(super) struct Line {
    number: u32,
    /// Its arguments, as they are shown; empty where that is known when the call is over.
    args: Vec<String>,
    /// Bytes that it returns: which argument says where.
    out: Option<(usize, u64)>,
}

/// Its name: also of those that do not exist.
pub(super) fn name(number: u32) -> Cow<'static, str> {
    calls::call(number).map_or_else(|| format!("syscall_{number:#x}").into(), |call| call.name.into())
}

/// To the microsecond. Not by way of a fraction: printing those takes 40 KiB of code.
pub(super) fn seconds(time: Duration) -> String {
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}

impl Line {
    pub(super) async fn new(number: u32, args: &[u64; 6], mm: &Mm) -> Line {
        let kinds = calls::call(number).map_or(&[][..], |call| call.args);
        let (mut shown, mut out) = (Vec::with_capacity(args.len()), None);
        for (index, value) in args.iter().copied().enumerate().take(arity(number)) {
            shown.push(match kinds.get(index) {
                Some(Arg::Dir) if value as i32 == AT_FDCWD as i32 => "AT_FDCWD".into(),
                Some(Arg::Handle | Arg::Dir) => format!("{}", value as i32),
                Some(Arg::Path) => path(mm, value).await,
                Some(Arg::DataIn(len)) => data(mm, value, args.get(usize::from(*len)).copied().unwrap_or(0)),
                Some(Arg::DataOut(_)) => {
                    out = Some((index, value));
                    String::new()
                }
                _ => plain(value),
            });
        }
        Line { number, args: shown, out }
    }

    /// The whole line.
    pub(super) fn line(mut self, tid: u32, mm: &Mm, end: End, took: Duration, asked: Asked) -> String {
        if let Some((index, at)) = self.out
            && let Some(shown) = self.args.get_mut(index)
        {
            *shown = match end {
                End::Returned(len) if Errno::from_result(len as i64).is_none() => data(mm, at, len),
                _ => plain(at),
            };
        }
        let mut line = format!("[{tid}] {}({}) = ", name(self.number), self.args.join(", "));
        // Writing to a string does not fail.
        let _ = match end {
            End::Never => write!(line, "?"),
            End::Interrupted => write!(line, "? (interrupted)"),
            End::Returned(result) => match Errno::from_result(result as i64) {
                Some(errno) => write!(line, "-1 {} ({})", errno.name(), errno.text()),
                None => write!(line, "{}", plain(result)),
            },
        };
        let _ = write!(line, " <{}>", seconds(took));
        let _ = match asked.requests {
            0 => write!(line, " L"),
            _ => write!(line, " D {}", seconds(asked.time)),
        };
        line.push('\n');
        line
    }
}

/// A number: what is large is an address or has flags.
fn plain(value: u64) -> String {
    if value < 0x1_0000 { format!("{value}") } else { format!("{value:#x}") }
}

async fn path(mm: &Mm, at: u64) -> String {
    if at == 0 {
        return "NULL".into();
    }
    match mm.read_string_wait(at, PATH).await {
        Ok(bytes) => quoted(&bytes, false),
        Err(Errno::ENAMETOOLONG) => data(mm, at, PATH as u64),
        Err(_) => plain(at),
    }
}

/// The first of `len` bytes, if they are in memory now.
fn data(mm: &Mm, at: u64, len: u64) -> String {
    let mut bytes = alloc::vec![0; DATA.min(usize::try_from(len).unwrap_or(DATA))];
    match mm.read(at, &mut bytes) {
        Ok(()) => quoted(&bytes, len > bytes.len() as u64),
        Err(_) => plain(at),
    }
}

fn quoted(bytes: &[u8], is_more: bool) -> String {
    format!("\"{}\"{}", bytes.escape_ascii(), if is_more { "..." } else { "" })
}
