//! DATA in both directions, and the credit for it (section 5.5).
//!
//! A sender may have [`REQUEST_WINDOW`] bytes of a request under way, and [`SESSION_WINDOW`] of all together; each CREDIT lets
//! more follow. What a host sends goes by `bulk`, if that is to be had, and ends with its SYSRET, which has MORE and comes after the
//! last DATA on the same connection; what a node sends comes by `hi`, as all that it sends, and ends with LAST. A CREDIT for a request
//! that has been answered counts for the session alone. So neither side ever holds more than it agreed to, whatever lengths the
//! other sends.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::frame::{DATA_PIECE, Flags, FrameType, Header, REQUEST_WINDOW, SESSION_WINDOW};
use keelson_lwk_wire::messages::{Credit, Data};

use super::cancel::Request;
use super::{Proxy, lock};
use crate::fail::Fail;
use crate::link::Lane;

/// DATA of one request.
pub(super) struct Streams {
    /// To the node: bytes that may still go.
    credit: u64,
    sent: u64,
    /// From the node: what came and was not taken.
    queue: VecDeque<Vec<u8>>,
    queued: u64,
    received: u64,
    last: bool,
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams {
            credit: REQUEST_WINDOW.into(),
            sent: 0,
            queue: VecDeque::new(),
            queued: 0,
            received: 0,
            last: false,
        }
    }
}

/// What all requests together may have under way to the node.
pub(crate) struct SessionWindow {
    left: Mutex<u64>,
    more: Condvar,
}

impl SessionWindow {
    pub(super) fn new() -> SessionWindow {
        SessionWindow { left: Mutex::new(SESSION_WINDOW.into()), more: Condvar::new() }
    }

    fn add(&self, bytes: u32) {
        let mut left = lock(&self.left);
        *left = left.saturating_add(bytes.into()).min(SESSION_WINDOW.into());
        self.more.notify_all();
    }

    /// Takes `bytes`; waits for them in steps that are short enough to notice the end of the request.
    fn take(&self, bytes: u64, request: &Request) -> Result<(), Fail> {
        let mut left = lock(&self.left);
        while *left < bytes {
            request.check()?;
            let wait = self.more.wait_timeout(left, std::time::Duration::from_millis(10));
            left = wait.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        *left -= bytes;
        Ok(())
    }
}

impl Request {
    /// DATA to the node was sent.
    pub(super) fn streamed(&self) -> bool {
        self.way.get().is_some()
    }

    /// The second connection, if DATA went there: so does the answer.
    pub(super) fn bulk(&self) -> Option<&Lane> {
        self.way.get()?.as_deref()
    }

    /// Waits until `bytes` may go to the node.
    fn take_credit(&self, bytes: u64) -> Result<u64, Fail> {
        let mut streams = lock(&self.streams);
        while streams.credit < bytes {
            self.check()?;
            streams = self.changed.wait(streams).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        streams.credit -= bytes;
        let offset = streams.sent;
        streams.sent += bytes;
        Ok(offset)
    }
}

impl Proxy {
    /// Waits until a piece of `bytes` could be sent, so that nothing is read from a file that then cannot be delivered.
    pub(crate) fn reserve_data(&self, request: &Request, bytes: usize) -> Result<u64, Fail> {
        self.session_window.take(bytes as u64, request)?;
        request.take_credit(bytes as u64).inspect_err(|_| self.session_window.add(bytes as u32))
    }

    /// Gives back what was taken for a piece that does not go.
    pub(crate) fn unreserve_data(&self, request: &Request, bytes: usize) {
        self.session_window.add(bytes as u32);
        let mut streams = lock(&request.streams);
        streams.credit += bytes as u64;
        streams.sent -= bytes as u64;
    }

    /// Sends a piece for which `reserved` bytes were taken, at the offset they were taken for.
    pub(crate) fn send_data(
        self: &Arc<Proxy>,
        request: &Request,
        offset: u64,
        reserved: usize,
        bytes: &[u8],
    ) {
        let unused = reserved.saturating_sub(bytes.len());
        if unused > 0 {
            self.session_window.add(unused as u32);
            let mut streams = lock(&request.streams);
            streams.credit += unused as u64;
            streams.sent -= unused as u64;
        }
        let header = Header { flags: Flags::empty(), ..*request.header() }.reply(FrameType::Data);
        let way = request.way.get_or_init(|| self.bulk.lane(self, request));
        self.sent(way.as_deref().unwrap_or(&self.hi).send(&header, &Data { offset, bytes }));
    }

    pub(super) fn credit(&self, id: u64, bytes: u32) {
        self.session_window.add(bytes);
        if let Some(request) = self.request(id) {
            let mut streams = lock(&request.streams);
            streams.credit = streams.credit.saturating_add(bytes.into()).min(REQUEST_WINDOW.into());
            request.changed.notify_all();
        }
    }

    /// DATA from the node.
    pub(super) fn data(&self, id: u64, data: &Data<'_>, last: bool) -> Result<(), String> {
        // The rest of a request that was answered early.
        let Some(request) = self.request(id) else { return Ok(()) };
        let mut streams = lock(&request.streams);
        if data.offset != streams.received || streams.last {
            return Err("DATA out of order".into());
        }
        let len = data.bytes.len() as u64;
        if streams.queued.saturating_add(len) > REQUEST_WINDOW.into() {
            return Err("DATA beyond the window".into());
        }
        streams.received += len;
        streams.queued += len;
        streams.last = last;
        if len > 0 {
            streams.queue.push_back(data.bytes.to_vec());
        }
        request.changed.notify_all();
        Ok(())
    }

    /// The next piece of DATA from the node; `None` after the last.
    pub(crate) fn next_data(&self, request: &Request) -> Result<Option<Vec<u8>>, Fail> {
        let mut streams = lock(&request.streams);
        loop {
            if let Some(piece) = streams.queue.pop_front() {
                streams.queued -= piece.len() as u64;
                drop(streams);
                let header = Header { flags: Flags::empty(), ..*request.header() }.reply(FrameType::Credit);
                self.send(&header, &Credit { bytes: piece.len() as u32 });
                return Ok(Some(piece));
            }
            if streams.last {
                return Ok(None);
            }
            request.check()?;
            if self.is_over() {
                return Err(Fail(Errno::EIO));
            }
            streams = request.changed.wait(streams).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }
}

/// Bytes of a piece, for what is left of `wanted`.
pub(crate) fn piece(wanted: u64, done: u64) -> usize {
    wanted.saturating_sub(done).min(DATA_PIECE as u64) as usize
}
