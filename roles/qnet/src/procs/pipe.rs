//! Pipes between programs: bounded, with an end that notices when the other is gone.

use super::stream::Stream;
use crate::io::Io;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use keelson_exec::sync::Notify;
use keelson_qnet_wire::Errno;

/// Bytes that are written and not read.
const CAPACITY: usize = 16_384;

struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
    has_reader: Cell<bool>,
    has_writer: Cell<bool>,
    changed: Notify,
}

/// The end to read from.
pub struct PipeReader(Rc<Pipe>);

/// The end to write to.
pub struct PipeWriter(Rc<Pipe>);

/// A new pipe.
pub fn pipe() -> (PipeReader, PipeWriter) {
    let pipe = Rc::new(Pipe {
        bytes: RefCell::new(VecDeque::new()),
        has_reader: Cell::new(true),
        has_writer: Cell::new(true),
        changed: Notify::new(),
    });
    (PipeReader(pipe.clone()), PipeWriter(pipe))
}

impl Stream for PipeReader {
    fn read<'a>(&'a self, room: &'a mut [u8]) -> Io<'a, usize> {
        Box::pin(async move {
            loop {
                let wait = self.0.changed.notified();
                let len = {
                    let mut bytes = self.0.bytes.borrow_mut();
                    let len = bytes.len().min(room.len());
                    room.iter_mut().zip(bytes.drain(..len)).for_each(|(to, from)| *to = from);
                    len
                };
                if len > 0 {
                    self.0.changed.notify();
                }
                if len > 0 || room.is_empty() || !self.0.has_writer.get() {
                    return Ok(len);
                }
                wait.await;
            }
        })
    }
}

impl Stream for PipeWriter {
    fn write<'a>(&'a self, data: &'a [u8]) -> Io<'a, usize> {
        Box::pin(async move {
            loop {
                let wait = self.0.changed.notified();
                if !self.0.has_reader.get() {
                    return Err(Errno::EPIPE);
                }
                let len = {
                    let mut bytes = self.0.bytes.borrow_mut();
                    let len = CAPACITY.saturating_sub(bytes.len()).min(data.len());
                    bytes.extend(data.get(..len).unwrap_or_default());
                    len
                };
                if len > 0 {
                    self.0.changed.notify();
                }
                if len > 0 || data.is_empty() {
                    return Ok(len);
                }
                wait.await;
            }
        })
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.0.has_reader.set(false);
        self.0.bytes.borrow_mut().clear();
        self.0.changed.notify();
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.0.has_writer.set(false);
        self.0.changed.notify();
    }
}
