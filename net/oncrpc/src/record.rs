//! Record marking on byte streams (RFC 5531 section 11): a record is one or more fragments, each with its
//! length and a "last" bit before it.

use crate::buffer::{Buffer, BufferPool, SMALL_BUFFER};
use alloc::rc::Rc;
use embedded_io_async::Read;

/// The bit that marks the last fragment of a record.
const LAST_FRAGMENT: u32 = 1 << 31;

/// Fragments in one record; clients send one. Bounds what a stream of empty fragments can cost.
const MAX_FRAGMENTS: u32 = 256;

/// Why no record came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordError {
    /// The stream ended between two records.
    Closed,
    /// The stream ended within a record, or failed.
    Broken,
    /// The record is longer than the limit, or has too many fragments.
    TooLong,
}

/// What a reader of records tells while it reads one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Bytes have come. The first time it means that a record has begun.
    Bytes,
    /// What follows waits until there is a buffer for it: it is not the client that makes nothing go on.
    NoBuffer,
    /// There is one now.
    Buffer,
}

/// The header of a record of one fragment.
pub(crate) fn mark(len: usize) -> u32 {
    LAST_FRAGMENT | len as u32
}

/// Collects one record at a time, in a buffer of its own or, when it is large, one of the pool's.
pub struct RecordReader {
    pool: Rc<BufferPool>,
    limit: usize,
    small: Buffer,
    large: Option<Buffer>,
    len: usize,
}

impl RecordReader {
    /// Reads records of at most `limit` bytes.
    pub fn new(pool: Rc<BufferPool>, limit: usize) -> RecordReader {
        RecordReader { pool, limit, small: Buffer::unpooled(SMALL_BUFFER), large: None, len: 0 }
    }

    /// The record read last.
    pub fn record(&self) -> &[u8] {
        self.large.as_ref().unwrap_or(&self.small).get(..self.len).unwrap_or_default()
    }

    /// Gives back the large buffer, if the record had one.
    pub fn release(&mut self) {
        self.large = None;
        self.len = 0;
    }

    /// Reads the next record. `progress` is told of every piece that arrives, and of waits for a buffer.
    pub async fn read<R: Read>(
        &mut self,
        stream: &mut R,
        mut progress: impl FnMut(Progress),
    ) -> Result<(), RecordError> {
        self.release();
        for fragment in 0..MAX_FRAGMENTS {
            let mut header = [0; 4];
            let started = fragment > 0;
            read_all(stream, &mut header, &mut progress, started).await?;
            let header = u32::from_be_bytes(header);
            let length = (header & !LAST_FRAGMENT) as usize;
            let end = self.len.saturating_add(length);
            if end > self.limit {
                return Err(RecordError::TooLong);
            }
            self.make_room(end, &mut progress).await?;
            let buffer = self.large.as_mut().unwrap_or(&mut self.small);
            let place = buffer.get_mut(self.len..end).ok_or(RecordError::TooLong)?;
            read_all(stream, place, &mut progress, true).await?;
            self.len = end;
            if header & LAST_FRAGMENT != 0 {
                return Ok(());
            }
        }
        Err(RecordError::TooLong)
    }

    /// Moves to a larger buffer when `end` does not fit the present one.
    async fn make_room(
        &mut self,
        end: usize,
        progress: &mut impl FnMut(Progress),
    ) -> Result<(), RecordError> {
        let current = self.large.as_ref().unwrap_or(&self.small);
        if end <= current.len() {
            return Ok(());
        }
        // A record of several fragments that outgrows a pooled buffer gives it up before it asks for the
        // largest one, so that nobody holds one and waits for another.
        let so_far = self.record().to_vec();
        self.large = None;
        progress(Progress::NoBuffer);
        let mut larger = self.pool.acquire(end).await.ok_or(RecordError::TooLong)?;
        progress(Progress::Buffer);
        larger.get_mut(..so_far.len()).ok_or(RecordError::TooLong)?.copy_from_slice(&so_far);
        self.large = Some(larger);
        Ok(())
    }
}

/// Fills `place`. The end of the stream is [`RecordError::Closed`] only before the first byte of a record.
async fn read_all<R: Read>(
    stream: &mut R,
    place: &mut [u8],
    progress: &mut impl FnMut(Progress),
    started: bool,
) -> Result<(), RecordError> {
    let mut filled = 0;
    while let Some(rest) = place.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest).await {
            Ok(0) if filled == 0 && !started => return Err(RecordError::Closed),
            Ok(0) | Err(_) => return Err(RecordError::Broken),
            Ok(count) => filled += count,
        }
        progress(Progress::Bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Runs a future whose stream is a slice, so that it never waits.
    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
        match core::pin::pin!(future).poll(&mut cx) {
            core::task::Poll::Ready(value) => value,
            core::task::Poll::Pending => panic!("a slice never waits"),
        }
    }

    fn records(limit: usize, mut bytes: &[u8]) -> (Vec<Vec<u8>>, RecordError) {
        let mut reader = RecordReader::new(BufferPool::new(1 << 20, limit), limit);
        let mut out = Vec::new();
        loop {
            match run(reader.read(&mut bytes, |_| ())) {
                Ok(()) => out.push(reader.record().to_vec()),
                Err(error) => return (out, error),
            }
        }
    }

    #[test]
    fn fragments_are_joined() {
        let stream = [
            &[0, 0, 0, 2, 1, 2][..],
            &[0, 0, 0, 0],
            &[0x80, 0, 0, 1, 3],
            &[0x80, 0, 0, 0],
            &[0x80, 0, 0, 1, 9],
        ]
        .concat();
        let expected = [&[1, 2, 3][..], &[], &[9]].map(<[u8]>::to_vec).to_vec();
        assert_eq!(records(100, &stream), (expected, RecordError::Closed));
    }

    #[test]
    fn limits_hold() {
        assert_eq!(records(100, &[0x80, 0, 0, 101]).1, RecordError::TooLong);
        assert_eq!(records(100, &[0xff, 0xff, 0xff, 0xff]).1, RecordError::TooLong);
        assert_eq!(records(3, &[0, 0, 0, 2, 1, 2, 0x80, 0, 0, 2, 3, 4]).1, RecordError::TooLong);
        assert_eq!(records(100, &[0; 4 * 300]).1, RecordError::TooLong, "empty fragments without end");
        assert_eq!(records(100, &[0x80, 0, 0]).1, RecordError::Broken);
        assert_eq!(records(100, &[0x80, 0, 0, 4, 1]).1, RecordError::Broken);
    }

    #[test]
    fn large_records_move_through_the_pool() {
        let first = alloc::vec![7u8; 5000];
        let second = alloc::vec![8u8; 90_000];
        let mut stream = (first.len() as u32).to_be_bytes().to_vec();
        stream.extend_from_slice(&first);
        stream.extend_from_slice(&mark(second.len()).to_be_bytes());
        stream.extend_from_slice(&second);
        let (records, error) = records(1 << 20, &stream);
        assert_eq!(error, RecordError::Closed);
        assert_eq!(records, [[first, second].concat()]);
    }

    proptest! {
        #[test]
        fn any_cut_into_fragments_gives_the_record(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..20)
        ) {
            let mut stream = Vec::new();
            for (at, piece) in pieces.iter().enumerate() {
                let last = if at + 1 == pieces.len() { LAST_FRAGMENT } else { 0 };
                stream.extend_from_slice(&(piece.len() as u32 | last).to_be_bytes());
                stream.extend_from_slice(piece);
            }
            prop_assert_eq!(records(1000, &stream), (alloc::vec![pieces.concat()], RecordError::Closed));
        }

        #[test]
        fn random_streams_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = records(64, &bytes);
        }
    }
}
