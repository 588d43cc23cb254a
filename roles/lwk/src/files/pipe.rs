//! Pipes (pipe(7)).

use super::flags::{F_GETPIPE_SZ, F_SETPIPE_SZ, O_ACCMODE, O_DIRECT, O_RDONLY, O_WRONLY};
use super::{Events, File, FileType, Operation, Source, Stat, Target, WaitQueue, moved};
use crate::Errno;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::task::{Context, Poll};
use spin::Mutex;

/// Bytes that a pipe holds unless told otherwise (pipe(7)).
const CAPACITY: usize = 64 << 10;
/// Most bytes it can be made to hold (`/proc/sys/fs/pipe-max-size`).
pub const MAX_CAPACITY: usize = 1 << 20;
/// Writes up to this length are not mixed with others (PIPE_BUF).
pub const PIPE_BUF: usize = 4096;

/// A pipe.
pub struct Pipe {
    inode: u64,
    state: Mutex<State>,
    queue: WaitQueue,
}

struct State {
    bytes: VecDeque<u8>,
    runs: VecDeque<Run>,
    /// Runs that are packets.
    packets: usize,
    capacity: usize,
    readers: usize,
    writers: usize,
}

/// Bytes that belong together.
struct Run {
    len: usize,
    /// Written with O_DIRECT: read by one read, which drops what it has no room for.
    packet: bool,
}

/// An end of a pipe.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
}

impl Pipe {
    /// An empty pipe: its end for reading and its end for writing.
    pub fn ends() -> (Arc<PipeEnd>, Arc<PipeEnd>) {
        let state = State {
            bytes: VecDeque::new(),
            runs: VecDeque::new(),
            packets: 0,
            capacity: CAPACITY,
            readers: 0,
            writers: 0,
        };
        let pipe =
            Arc::new(Pipe { inode: super::next_inode(), state: Mutex::new(state), queue: WaitQueue::new() });
        (pipe.open(O_RDONLY), pipe.open(O_WRONLY))
    }

    /// A further end, as the access mode in `flags` says.
    pub fn open(self: &Arc<Self>, flags: u32) -> Arc<PipeEnd> {
        let mode = flags & O_ACCMODE;
        let (reads, writes) = (mode != O_WRONLY, mode != O_RDONLY);
        let mut state = self.state.lock();
        state.readers += usize::from(reads);
        state.writers += usize::from(writes);
        drop(state);
        Arc::new(PipeEnd { pipe: self.clone(), reads, writes })
    }
}

impl PipeEnd {
    /// The pipe.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }
}

impl State {
    /// Bytes that still fit. However short a packet is, it counts for a page, as on Linux.
    fn room(&self) -> usize {
        let full = self.packets >= self.capacity / PIPE_BUF;
        if full { 0 } else { self.capacity.saturating_sub(self.bytes.len()) }
    }

    /// Moves what is there, up to the end of a packet.
    fn read(&mut self, into: &mut dyn Target) -> Result<usize, Errno> {
        let (wanted, mut done) = (into.left(), 0);
        while into.left() > 0 {
            let Some(run) = self.runs.front_mut() else { break };
            if run.packet && done > 0 {
                break;
            }
            let len = run.len.min(into.left());
            let put = give(&self.bytes, len, into);
            if put < len && done == 0 && into.may_come() {
                return Err(Errno::EFAULT);
            }
            done += put;
            let used = if run.packet && put == len { run.len } else { put };
            self.bytes.drain(..used);
            run.len -= used;
            let packet = run.packet;
            if run.len == 0 {
                self.packets -= usize::from(packet);
                self.runs.pop_front();
            }
            if put < len || packet {
                break;
            }
        }
        moved(done, wanted)
    }

    /// Adds a run of at most `most` bytes, joined to the last one unless it is a packet. ENOMEM where it would need memory and
    /// there is none, or little.
    fn write(
        &mut self,
        most: usize,
        packet: bool,
        short: bool,
        from: &mut dyn Source,
    ) -> Result<usize, Errno> {
        let wanted = from.left().min(most);
        if short && self.bytes.capacity() - self.bytes.len() < wanted {
            return Err(Errno::ENOMEM);
        }
        self.bytes.try_reserve(wanted).map_err(|_| Errno::ENOMEM)?;
        let mut done = 0;
        let mut part = [0; 1024];
        while done < wanted {
            let len = part.len().min(wanted - done);
            let got = from.take(&mut part[..len]);
            self.bytes.extend(&part[..got]);
            done += got;
            if got < len {
                break;
            }
        }
        match self.runs.back_mut() {
            Some(last) if !packet && !last.packet => last.len += done,
            _ if done > 0 => {
                self.runs.push_back(Run { len: done, packet });
                self.packets += usize::from(packet);
            }
            _ => {}
        }
        moved(done, wanted)
    }
}

/// Puts the first `len` bytes of a queue into a target; how many it took.
pub fn give(bytes: &VecDeque<u8>, len: usize, into: &mut dyn Target) -> usize {
    let (first, second) = bytes.as_slices();
    let first = &first[..len.min(first.len())];
    let done = into.put(first);
    if done < first.len() || done == len {
        return done;
    }
    done + into.put(&second[..(len - done).min(second.len())])
}

impl File for PipeEnd {
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        _at: Option<u64>,
        into: &mut dyn Target,
    ) -> Poll<Result<usize, Errno>> {
        if into.left() == 0 {
            return Poll::Ready(Ok(0));
        }
        let mut state = self.pipe.state.lock();
        if state.bytes.is_empty() {
            if state.writers == 0 {
                return Poll::Ready(Ok(0));
            }
            // Under the lock, so that no writer comes between.
            self.pipe.queue.register(cx);
            return operation.wait();
        }
        let result = state.read(into);
        drop(state);
        // Linux tells by signals of every read, whether there was room before or not.
        self.pipe.queue.notify(Events::WRITABLE | Events::ROOM);
        Poll::Ready(result)
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        _at: Option<u64>,
        from: &mut dyn Source,
    ) -> Poll<Result<usize, Errno>> {
        if from.left() == 0 {
            return Poll::Ready(Ok(operation.done));
        }
        let packets = operation.flags & O_DIRECT != 0;
        let mut state = self.pipe.state.lock();
        let before = operation.done;
        let result = loop {
            if state.readers == 0 {
                break Err(Errno::EPIPE);
            }
            let left = from.left();
            let needed = match () {
                () if packets => left.min(PIPE_BUF),
                () if operation.done == 0 && left <= PIPE_BUF => left,
                () => 1,
            };
            if state.room() < needed {
                self.pipe.queue.register(cx);
                break Err(Errno::EAGAIN);
            }
            let most = if packets { needed } else { state.room() };
            match state.write(most, packets, operation.short, from) {
                Ok(done) => operation.done += done,
                Err(error) => break Err(error),
            }
            if from.left() == 0 || operation.done - before < left.min(most) {
                break Ok(operation.done);
            }
        };
        drop(state);
        if operation.done > before {
            self.pipe.queue.notify(Events::READABLE);
        }
        match result {
            Err(Errno::EAGAIN) if !operation.nonblocking() => Poll::Pending,
            Err(_) if operation.done > 0 => Poll::Ready(Ok(operation.done)),
            result => Poll::Ready(result),
        }
    }

    fn stat(&self) -> Stat {
        Stat { mode: FileType::Fifo as u32 | 0o600, links: 1, ..super::anonymous(self.pipe.inode) }
    }

    fn name(&self) -> String {
        format!("pipe:[{}]", self.pipe.inode)
    }

    fn events(&self) -> Events {
        let state = self.pipe.state.lock();
        let read = Events::READABLE.when(!state.bytes.is_empty()) | Events::HUP.when(state.writers == 0);
        let write = Events::WRITABLE.when(state.room() >= PIPE_BUF) | Events::ERR.when(state.readers == 0);
        let nothing = Events::NONE;
        (if self.reads { read } else { nothing }) | (if self.writes { write } else { nothing })
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.queue)
    }

    fn signals(&self) -> bool {
        true
    }

    fn readable(&self) -> Option<usize> {
        Some(self.pipe.state.lock().bytes.len())
    }

    fn control(&self, command: u32, argument: u64) -> Result<u64, Errno> {
        let mut state = self.pipe.state.lock();
        match command {
            F_GETPIPE_SZ => Ok(state.capacity as u64),
            F_SETPIPE_SZ => {
                // An int, and a power of two has to fit into it.
                let wanted = i32::try_from(argument).map_err(|_| Errno::EINVAL)? as usize;
                if wanted > MAX_CAPACITY {
                    return Err(Errno::EPERM);
                }
                let capacity = wanted.max(PIPE_BUF).next_power_of_two();
                if capacity < state.bytes.len() || state.packets > capacity / PIPE_BUF {
                    return Err(Errno::EBUSY);
                }
                state.capacity = capacity;
                drop(state);
                self.pipe.queue.notify(Events::WRITABLE);
                Ok(capacity as u64)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        state.readers -= usize::from(self.reads);
        state.writers -= usize::from(self.writes);
        drop(state);
        self.pipe.queue.notify(Events::ALWAYS | Events::IN | Events::OUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::flags::O_NONBLOCK;
    use crate::files::{BytesSource, BytesTarget};
    use core::task::Waker;

    fn write(end: &PipeEnd, bytes: &[u8], flags: u32) -> Poll<Result<usize, Errno>> {
        let cx = &mut Context::from_waker(Waker::noop());
        end.poll_write(cx, &mut Operation::new(1, flags), None, &mut BytesSource(bytes))
    }

    fn read(end: &PipeEnd, len: usize) -> Poll<Result<Vec<u8>, Errno>> {
        let mut into = vec![0; len];
        let cx = &mut Context::from_waker(Waker::noop());
        let result = end.poll_read(cx, &mut Operation::new(1, 0), None, &mut BytesTarget::new(&mut into));
        result.map_ok(|len| into[..len].to_vec())
    }

    fn ready<T>(value: T) -> Poll<Result<T, Errno>> {
        Poll::Ready(Ok(value))
    }

    #[test]
    fn bytes_go_through_in_order() {
        let (reader, writer) = Pipe::ends();
        assert_eq!(read(&reader, 10), Poll::Pending);
        assert_eq!(write(&writer, b"abc", 0), ready(3));
        assert_eq!(write(&writer, b"def", 0), ready(3));
        assert_eq!(reader.readable(), Some(6));
        assert_eq!(read(&reader, 4), ready(b"abcd".to_vec()));
        assert_eq!(read(&reader, 4), ready(b"ef".to_vec()));
        drop(writer);
        assert_eq!(read(&reader, 4), ready(vec![]));
        assert_eq!(reader.events(), Events::HUP);
    }

    #[test]
    fn short_writes_are_whole_and_long_ones_go_on() {
        let (reader, writer) = Pipe::ends();
        assert_eq!(write(&writer, &[1; CAPACITY - 100], 0), ready(CAPACITY - 100));
        assert_eq!(write(&writer, &[2; 101], 0), Poll::Pending);
        assert_eq!(write(&writer, &[2; 101], O_NONBLOCK), Poll::Ready(Err(Errno::EAGAIN)));
        assert!(!writer.events().intersects(Events::OUT));
        assert_eq!(write(&writer, &[2; 5000], O_NONBLOCK), ready(100), "as much as there is room for");
        let (mut operation, bytes) = (Operation::new(1, 0), vec![3; 100_000]);
        let (mut source, cx) = (BytesSource(&bytes), &mut Context::from_waker(Waker::noop()));
        assert_eq!(writer.poll_write(cx, &mut operation, None, &mut source), Poll::Pending);
        assert_eq!(read(&reader, 60_000).map_ok(|bytes| bytes.len()), ready(60_000));
        assert_eq!(writer.poll_write(cx, &mut operation, None, &mut source), Poll::Pending);
        assert_eq!(operation.done, 60_000);
        assert_eq!(read(&reader, 70_000).map_ok(|bytes| bytes.len()), ready(CAPACITY));
        assert_eq!(writer.poll_write(cx, &mut operation, None, &mut source), ready(100_000));
        drop(reader);
        assert_eq!(write(&writer, b"x", 0), Poll::Ready(Err(Errno::EPIPE)));
        assert!(writer.events().intersects(Events::ERR));
    }

    #[test]
    fn packets() {
        let (reader, writer) = Pipe::ends();
        assert_eq!(write(&writer, b"first", O_DIRECT), ready(5));
        assert_eq!(write(&writer, b"second", O_DIRECT), ready(6));
        assert_eq!(write(&writer, &[7; 6000], O_DIRECT), ready(6000));
        assert_eq!(read(&reader, 3), ready(b"fir".to_vec()), "the rest of a packet is dropped");
        assert_eq!(read(&reader, 100), ready(b"second".to_vec()));
        assert_eq!(read(&reader, 9000), ready(vec![7; PIPE_BUF]));
        assert_eq!(read(&reader, 9000), ready(vec![7; 6000 - PIPE_BUF]));
    }

    #[test]
    fn packets_are_as_few_as_pages() {
        let (reader, writer) = Pipe::ends();
        for _ in 0..CAPACITY / PIPE_BUF {
            assert_eq!(write(&writer, b"x", O_DIRECT | O_NONBLOCK), ready(1));
        }
        assert_eq!(write(&writer, b"x", O_DIRECT | O_NONBLOCK), Poll::Ready(Err(Errno::EAGAIN)));
        assert!(!writer.events().intersects(Events::OUT));
        assert_eq!(read(&reader, 1), ready(b"x".to_vec()));
        assert_eq!(write(&writer, b"more", O_NONBLOCK), ready(4));
    }

    #[test]
    fn a_pipe_does_not_grow_while_memory_is_short() {
        let (reader, writer) = Pipe::ends();
        let write = |bytes: &[u8]| {
            let mut operation = Operation::new(1, 0);
            operation.short = true;
            let cx = &mut Context::from_waker(Waker::noop());
            writer.poll_write(cx, &mut operation, None, &mut BytesSource(bytes))
        };
        assert_eq!(write(b"abc"), Poll::Ready(Err(Errno::ENOMEM)));
        assert_eq!(super::tests::write(&writer, b"abc", 0), ready(3));
        assert_eq!(read(&reader, 3), ready(b"abc".to_vec()));
        assert_eq!(write(b"def"), ready(3), "there is room for it");
    }

    #[test]
    fn its_size_can_be_changed() {
        let (_reader, writer) = Pipe::ends();
        assert_eq!(writer.control(F_GETPIPE_SZ, 0), Ok(65536));
        assert_eq!(writer.control(F_SETPIPE_SZ, 5000), Ok(8192));
        assert_eq!(write(&writer, &[0; 10_000], O_NONBLOCK), ready(8192));
        assert_eq!(writer.control(F_SETPIPE_SZ, 4096), Err(Errno::EBUSY));
        assert_eq!(writer.control(F_SETPIPE_SZ, 2 << 20), Err(Errno::EPERM));
        assert_eq!(writer.control(F_SETPIPE_SZ, 1 << 31), Err(Errno::EINVAL));
    }
}
