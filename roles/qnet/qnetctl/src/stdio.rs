//! Standard input and output of the program, each with a thread of its own: a pipe that nobody reads, or a terminal at which
//! nobody types, does not stop the node.

use crate::reactor::Wake;
use keelson_exec::sync::Notify;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

/// Bytes of output that may wait.
const WAITING: usize = 256 << 10;

/// Pieces of input that may wait, and their size.
const PIECES: usize = 4;
const PIECE: usize = 16 << 10;

/// Nobody takes the output any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutputGone;

/// Where output goes.
pub struct Output {
    pieces: mpsc::Sender<Vec<u8>>,
    state: Arc<OutputState>,
    changed: Rc<Notify>,
}

#[derive(Default)]
struct OutputState {
    waiting: AtomicUsize,
    gone: AtomicBool,
}

impl Output {
    /// Writes to `sink` on a thread; `changed` is what `wake` notifies.
    pub fn new(wake: Wake, changed: Rc<Notify>, mut sink: impl Write + Send + 'static) -> Output {
        let (pieces, receiver) = mpsc::channel::<Vec<u8>>();
        let state = Arc::new(OutputState::default());
        let shared = state.clone();
        thread::spawn(move || {
            for piece in receiver {
                if sink.write_all(&piece).and_then(|()| sink.flush()).is_err() {
                    shared.gone.store(true, Ordering::Release);
                }
                shared.waiting.fetch_sub(piece.len(), Ordering::AcqRel);
                wake.wake();
            }
        });
        Output { pieces, state, changed }
    }

    /// Bytes that it takes now.
    pub fn room(&self) -> usize {
        WAITING.saturating_sub(self.state.waiting.load(Ordering::Acquire))
    }

    /// Whether nobody takes it any more.
    pub fn is_gone(&self) -> bool {
        self.state.gone.load(Ordering::Acquire)
    }

    /// Takes as many bytes as there is room for.
    pub fn take(&self, bytes: &[u8]) -> usize {
        let piece = bytes.get(..bytes.len().min(self.room())).unwrap_or_default();
        if !piece.is_empty() {
            self.state.waiting.fetch_add(piece.len(), Ordering::AcqRel);
            // The thread only ends with this.
            let _ = self.pieces.send(piece.to_vec());
        }
        piece.len()
    }

    /// Writes everything, waiting for room.
    pub async fn write(&self, mut bytes: &[u8]) -> Result<(), OutputGone> {
        while !bytes.is_empty() {
            let changed = self.changed.notified();
            if self.is_gone() {
                return Err(OutputGone);
            }
            let taken = self.take(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            if taken == 0 {
                changed.await;
            }
        }
        Ok(())
    }

    /// Waits until everything has gone out.
    pub async fn drained(&self) -> Result<(), OutputGone> {
        loop {
            let changed = self.changed.notified();
            if self.is_gone() {
                return Err(OutputGone);
            }
            if self.room() == WAITING {
                return Ok(());
            }
            changed.await;
        }
    }
}

/// Where input comes from. Nothing is read before it is wanted.
pub struct Input {
    source: Cell<Option<Box<dyn Read + Send>>>,
    wake: Wake,
    pieces: RefCell<Option<mpsc::Receiver<Vec<u8>>>>,
    read: RefCell<VecDeque<u8>>,
    ended: Cell<bool>,
}

impl Input {
    /// Reads from `source` on a thread.
    pub fn new(wake: Wake, source: impl Read + Send + 'static) -> Input {
        let source: Box<dyn Read + Send> = Box::new(source);
        Input {
            source: Cell::new(Some(source)),
            wake,
            pieces: RefCell::default(),
            read: RefCell::default(),
            ended: Cell::new(false),
        }
    }

    fn start(&self) {
        let Some(mut source) = self.source.take() else { return };
        let (sender, receiver) = mpsc::sync_channel(PIECES);
        *self.pieces.borrow_mut() = Some(receiver);
        let wake = self.wake.clone();
        thread::spawn(move || {
            let mut room = vec![0; PIECE];
            loop {
                let piece = match source.read(&mut room) {
                    Ok(0) => break,
                    Ok(len) => room.get(..len).unwrap_or_default().to_vec(),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                if sender.send(piece).is_err() {
                    break;
                }
                wake.wake();
            }
            drop(sender);
            wake.wake();
        });
    }

    /// Takes over what the thread has read.
    fn gather(&self) {
        self.start();
        let pieces = self.pieces.borrow();
        let Some(receiver) = pieces.as_ref() else { return };
        let mut read = self.read.borrow_mut();
        while read.len() < PIECE {
            match receiver.try_recv() {
                Ok(piece) => read.extend(piece),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.ended.set(true);
                    break;
                }
            }
        }
    }

    /// Takes what there is.
    pub fn take(&self, room: &mut [u8]) -> usize {
        self.gather();
        let mut read = self.read.borrow_mut();
        let len = room.len().min(read.len());
        room.iter_mut().zip(read.drain(..len)).for_each(|(to, from)| *to = from);
        len
    }

    /// Whether there is something.
    pub fn has_some(&self) -> bool {
        self.gather();
        !self.read.borrow().is_empty()
    }

    /// Whether everything was taken, and no more will come.
    pub fn has_ended(&self) -> bool {
        self.gather();
        self.ended.get() && self.read.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Reactor;
    use keelson_exec::Executor;
    use std::os::unix::net::UnixStream;

    #[test]
    fn output_that_nobody_reads_makes_writers_wait_and_not_the_thread() {
        let reactor = Reactor::new().unwrap();
        let executor = Executor::new(reactor.clock(), None);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let output = Rc::new(Output::new(reactor.wake(), reactor.called(), ours));
        let bytes: Vec<u8> = (0..2_000_000u32).map(|number| number as u8).collect();
        let (writer, expected) = (output.clone(), bytes.clone());
        let written = Rc::new(Cell::new(false));
        let done = written.clone();
        executor.handle().spawn("write", async move {
            writer.write(&bytes).await.unwrap();
            done.set(true);
        });
        let handle = executor.handle();
        executor.block_on(&*reactor, async move { handle.sleep(std::time::Duration::from_millis(50)).await });
        assert!(!written.get());
        let thread = thread::spawn(move || {
            let mut read = vec![0; expected.len()];
            theirs.read_exact(&mut read).unwrap();
            assert!(read == expected);
        });
        executor.block_on(&*reactor, async move { output.drained().await.unwrap() });
        thread.join().unwrap();
        assert!(written.get());
    }

    #[test]
    fn output_to_nobody() {
        let reactor = Reactor::new().unwrap();
        let executor = Executor::new(reactor.clock(), None);
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let output = Output::new(reactor.wake(), reactor.called(), ours);
        let result = executor.block_on(&*reactor, async move {
            output.write(b"x").await.unwrap();
            output.drained().await
        });
        assert_eq!(result, Err(OutputGone));
    }

    #[test]
    fn input_comes_in_order_and_ends() {
        let reactor = Reactor::new().unwrap();
        let executor = Executor::new(reactor.clock(), None);
        let bytes: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
        let input = Input::new(reactor.wake(), std::io::Cursor::new(bytes.clone()));
        let called = reactor.called();
        let read = executor.block_on(&*reactor, async move {
            let mut all: Vec<u8> = Vec::new();
            let mut room = [0; 1000];
            loop {
                let more = called.notified();
                match input.take(&mut room) {
                    0 if input.has_ended() => return all,
                    0 => more.await,
                    len => all.extend(&room[..len]),
                }
            }
        });
        assert!(read == bytes);
    }
}
