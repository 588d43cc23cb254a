//! A whole file from one place to another: reads of 64 KiB, several on their way at once, written in order.

use super::file::File;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use keelson_qnet_wire::Errno;

/// Bytes of one read.
const PIECE: usize = 65_536;

/// Reads that are on their way at once.
const WINDOW: usize = 4;

/// Which side of a copy failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyError {
    /// Reading.
    From(Errno),
    /// Writing.
    To(Errno),
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyError::From(errno) => write!(f, "cannot read: {errno}"),
            CopyError::To(errno) => write!(f, "cannot write: {errno}"),
        }
    }
}

impl core::error::Error for CopyError {}

type Reading<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, Errno>> + 'a>>;

/// Reads that have begun, in the order of the file.
enum Piece<'a> {
    Reading(Reading<'a>),
    Read(Result<Vec<u8>, Errno>),
}

/// Copies from the start of one file to the start of another, to the end of the first. `progress` is told how many bytes
/// are written. How many there were.
pub async fn copy(from: &File, to: &File, mut progress: impl FnMut(u64)) -> Result<u64, CopyError> {
    let mut pieces: VecDeque<Piece<'_>> = VecDeque::new();
    let (mut asked, mut written) = (0_u64, 0_u64);
    loop {
        while pieces.len() < WINDOW {
            pieces.push_back(Piece::Reading(Box::pin(read_piece(from, asked))));
            asked += PIECE as u64;
        }
        let bytes = poll_fn(|cx| poll_first(&mut pieces, cx)).await.map_err(CopyError::From)?;
        if bytes.is_empty() {
            return Ok(written);
        }
        {
            let mut write = pin!(write_piece(to, written, &bytes));
            // The other reads go on meanwhile.
            let done = poll_fn(|cx| {
                poll_all(&mut pieces, cx);
                write.as_mut().poll(cx)
            });
            done.await.map_err(CopyError::To)?;
        }
        written += bytes.len() as u64;
        progress(written);
        if bytes.len() < PIECE {
            // Either the end, or a server that returns less at once: what was asked for behind it starts elsewhere.
            pieces.clear();
            asked = written;
        }
    }
}

async fn read_piece(from: &File, offset: u64) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; PIECE];
    let len = from.read_at(offset, &mut bytes).await?;
    bytes.truncate(len);
    Ok(bytes)
}

async fn write_piece(to: &File, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match to.write_at(offset.saturating_add(done as u64), rest).await? {
            0 => return Err(Errno::EIO),
            len => done += len,
        }
    }
    Ok(())
}

fn poll_all(pieces: &mut VecDeque<Piece<'_>>, cx: &mut Context<'_>) {
    for piece in pieces {
        if let Piece::Reading(reading) = piece
            && let Poll::Ready(result) = reading.as_mut().poll(cx)
        {
            *piece = Piece::Read(result);
        }
    }
}

fn poll_first(pieces: &mut VecDeque<Piece<'_>>, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Errno>> {
    poll_all(pieces, cx);
    match pieces.pop_front() {
        Some(Piece::Read(result)) => Poll::Ready(result),
        Some(reading) => {
            pieces.push_front(reading);
            Poll::Pending
        }
        None => Poll::Ready(Ok(Vec::new())),
    }
}
