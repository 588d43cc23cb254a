//! Block devices that finish every request in `submit`.

use keelson_hal::{
    BlockCompletion, BlockDevice, BlockError, BlockGeometry, BlockOp, BlockRequest, SECTOR_SIZE, Ticket,
};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Bytes that a power cut writes wholly or not at all: the physical sector of today's disks. (With less, a cut
/// can tear the superblock, whose checksum then keeps Linux and us from mounting before e2fsck ran.)
const ATOMIC: usize = 4096;

/// Requests at a time, finished ones that were not collected included: few, so that tests fill the queue.
const QUEUE: usize = 4;

/// Results waiting to be collected.
#[derive(Default)]
struct Done {
    next: Cell<u32>,
    results: RefCell<HashMap<u32, BlockCompletion>>,
}

impl Done {
    fn is_full(&self) -> bool {
        self.results.borrow().len() >= QUEUE
    }

    fn poll_room(&self) -> Poll<()> {
        if self.is_full() { Poll::Pending } else { Poll::Ready(()) }
    }

    fn put(&self, result: Result<(), BlockError>, buffer: Vec<u8>) -> Ticket {
        let ticket = self.next.get();
        self.next.set(ticket.wrapping_add(1));
        self.results.borrow_mut().insert(ticket, BlockCompletion { result, buffer });
        Ticket(ticket)
    }

    fn take(&self, ticket: Ticket) -> Poll<BlockCompletion> {
        self.results.borrow_mut().remove(&ticket.0).map_or(Poll::Pending, Poll::Ready)
    }
}

fn geometry_of(bytes: u64, read_only: bool) -> BlockGeometry {
    BlockGeometry {
        sectors: bytes / SECTOR_SIZE as u64,
        read_only,
        write_cache: true,
        write_through: false,
        max_transfer: 1 << 20,
        queue_depth: QUEUE,
    }
}

/// A disk image in a file.
pub struct FileDisk {
    file: File,
    geometry: BlockGeometry,
    done: Done,
}

impl FileDisk {
    /// Opens an image.
    pub fn open(path: &Path, read_only: bool) -> io::Result<Rc<FileDisk>> {
        let file = OpenOptions::new().read(true).write(!read_only).open(path)?;
        let geometry = geometry_of(file.metadata()?.len(), read_only);
        Ok(Rc::new(FileDisk { file, geometry, done: Done::default() }))
    }
}

impl BlockDevice for FileDisk {
    fn name(&self) -> &str {
        "vda"
    }

    fn geometry(&self) -> BlockGeometry {
        self.geometry
    }

    fn submit(&self, request: BlockRequest) -> Result<Ticket, BlockRequest> {
        if self.done.is_full() {
            return Err(request);
        }
        let BlockRequest { op, sector, mut buffer } = request;
        let position = sector * SECTOR_SIZE as u64;
        let result = match op {
            BlockOp::Read => self.file.read_exact_at(&mut buffer, position),
            BlockOp::Write => self.file.write_all_at(&buffer, position),
            BlockOp::Flush => Ok(()),
            BlockOp::WriteThrough => Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(self.done.put(result.map_err(|_| BlockError::Io), buffer))
    }

    fn poll_room(&self, _cx: &mut Context<'_>) -> Poll<()> {
        self.done.poll_room()
    }

    fn poll_done(&self, ticket: Ticket, _cx: &mut Context<'_>) -> Poll<BlockCompletion> {
        self.done.take(ticket)
    }

    fn abandon(&self, ticket: Ticket) {
        let _ = self.done.take(ticket);
    }
}

/// What a [`SimDisk`] was told to do.
#[derive(Clone, Debug)]
pub enum DiskEvent {
    /// A write of these bytes at this byte position.
    Write(u64, Vec<u8>),
    /// The same, safe from a power cut by itself.
    WriteThrough(u64, Vec<u8>),
    /// A flush.
    Flush,
    /// A note of the test.
    Mark(usize),
}

/// A disk in memory that remembers everything since the start and fails on demand.
pub struct SimDisk {
    geometry: BlockGeometry,
    start: RefCell<Vec<u8>>,
    content: RefCell<Vec<u8>>,
    events: RefCell<Vec<DiskEvent>>,
    recording: bool,
    write_through: Cell<bool>,
    /// Bytes that a power cut writes wholly or not at all.
    piece: Cell<usize>,
    /// Requests of this kind fail: first this many succeed, then that many fail.
    failing: Cell<Option<(BlockOp, u32, u32)>>,
    done: Done,
}

impl SimDisk {
    /// A disk with this content. Recording keeps every write for [`SimDisk::after_cut`].
    pub fn new(image: Vec<u8>, recording: bool) -> Rc<SimDisk> {
        Rc::new(SimDisk {
            geometry: geometry_of(image.len() as u64, false),
            start: RefCell::new(if recording { image.clone() } else { Vec::new() }),
            content: RefCell::new(image),
            events: RefCell::new(Vec::new()),
            recording,
            write_through: Cell::new(false),
            piece: Cell::new(ATOMIC),
            failing: Cell::new(None),
            done: Done::default(),
        })
    }

    /// Lets the disk say that it takes [`BlockOp::WriteThrough`]. Before it is mounted.
    pub fn with_write_through(self: Rc<SimDisk>) -> Rc<SimDisk> {
        self.write_through.set(true);
        self
    }

    /// Lets power cuts tear writes into pieces of so many bytes, as disks did that had such sectors. The filesystem's
    /// superblock stays whole: its checksum spans two sectors, and nobody mounts without.
    pub fn with_pieces(self: Rc<SimDisk>, bytes: usize) -> Rc<SimDisk> {
        self.piece.set(bytes);
        self
    }

    /// Lets requests of a kind fail after `good` further ones; `None` ends it.
    pub fn fail(&self, what: Option<(BlockOp, u32)>) {
        self.failing.set(what.map(|(op, good)| (op, good, u32::MAX)));
    }

    /// Lets the next request of a kind fail, and none after it.
    pub fn fail_once(&self, what: BlockOp) {
        self.failing.set(Some((what, 0, 1)));
    }

    /// Puts a note into the record.
    pub fn mark(&self, note: usize) {
        self.events.borrow_mut().push(DiskEvent::Mark(note));
    }

    /// What the disk holds, flushed or not.
    pub fn image(&self) -> Vec<u8> {
        self.content.borrow().clone()
    }

    /// Whether an event is a write to this byte.
    pub fn is_write_to(&self, event: usize, byte: u64) -> bool {
        match &self.events.borrow()[event] {
            DiskEvent::Write(position, data) | DiskEvent::WriteThrough(position, data) => {
                (*position..position + data.len() as u64).contains(&byte)
            }
            DiskEvent::Flush | DiskEvent::Mark(_) => false,
        }
    }

    /// Number of recorded events.
    pub fn events(&self) -> usize {
        self.events.borrow().len()
    }

    /// What a disk holds whose power went before event `cut`: all that a flush made safe, and each later
    /// piece of it (of 4096 bytes, see [`SimDisk::with_pieces`]) only if `kept` says so (it is asked once per
    /// write and once per piece of a write that was torn). Also returns the last note before the cut.
    pub fn after_cut(&self, cut: usize, mut kept: impl FnMut() -> Kept) -> (Vec<u8>, Option<usize>) {
        self.after_cut_by(cut, |_| kept())
    }

    /// The same where what is kept depends on the byte position of the write, or of the piece.
    pub fn after_cut_by(&self, cut: usize, mut kept: impl FnMut(u64) -> Kept) -> (Vec<u8>, Option<usize>) {
        let events = self.events.borrow();
        let flushed = events[..cut].iter().rposition(|event| matches!(event, DiskEvent::Flush)).unwrap_or(0);
        let mut image = self.start.borrow().clone();
        let mut note = None;
        for (index, event) in events[..cut].iter().enumerate() {
            match event {
                DiskEvent::Write(position, data) | DiskEvent::WriteThrough(position, data) => {
                    let safe = index < flushed || matches!(event, DiskEvent::WriteThrough(..));
                    let fate = if safe { Kept::All } else { kept(*position) };
                    let mut rest = &data[..];
                    while !rest.is_empty() {
                        let start = *position as usize + data.len() - rest.len();
                        let (piece, more) = rest.split_at(self.piece_at(start).min(rest.len()));
                        if fate == Kept::All || (fate == Kept::Torn && kept(start as u64) == Kept::All) {
                            image[start..start + piece.len()].copy_from_slice(piece);
                        }
                        rest = more;
                    }
                }
                DiskEvent::Mark(mark) => note = Some(*mark),
                DiskEvent::Flush => {}
            }
        }
        (image, note)
    }

    /// Length of the piece that begins at a byte.
    fn piece_at(&self, start: usize) -> usize {
        match (self.piece.get(), start) {
            (512, 1024) => 1024,
            (piece, _) => piece,
        }
    }

    /// Does what a request asks for, now.
    pub(super) fn execute(&self, request: BlockRequest) -> (Result<(), BlockError>, Vec<u8>) {
        let BlockRequest { op, sector, mut buffer } = request;
        if self.fails(op) {
            return (Err(BlockError::Io), buffer);
        }
        let start = (sector as usize).saturating_mul(SECTOR_SIZE);
        let mut content = self.content.borrow_mut();
        let result = match (op, content.get_mut(start..start.saturating_add(buffer.len()))) {
            (BlockOp::Flush, _) => {
                self.events.borrow_mut().push(DiskEvent::Flush);
                Ok(())
            }
            (_, None) => Err(BlockError::OutOfRange),
            (BlockOp::Read, Some(place)) => {
                buffer.copy_from_slice(place);
                Ok(())
            }
            (BlockOp::Write | BlockOp::WriteThrough, Some(place)) => {
                place.copy_from_slice(&buffer);
                if self.recording {
                    let event = match op {
                        BlockOp::WriteThrough => DiskEvent::WriteThrough,
                        _ => DiskEvent::Write,
                    };
                    self.events.borrow_mut().push(event(start as u64, buffer.clone()));
                }
                Ok(())
            }
        };
        (result, buffer)
    }

    fn fails(&self, op: BlockOp) -> bool {
        match self.failing.get() {
            Some((failing, good, bad)) if failing == op && good > 0 => {
                self.failing.set(Some((failing, good - 1, bad)));
                false
            }
            Some((failing, _, bad)) if failing == op && bad > 0 => {
                self.failing.set(Some((failing, 0, bad - 1)));
                true
            }
            _ => false,
        }
    }
}

/// What becomes of a write that was not flushed when the power went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// It reached the medium.
    All,
    /// It did not.
    Nothing,
    /// Some of its pieces did.
    Torn,
}

impl BlockDevice for SimDisk {
    fn name(&self) -> &str {
        "sim"
    }

    fn geometry(&self) -> BlockGeometry {
        BlockGeometry { write_through: self.write_through.get(), ..self.geometry }
    }

    fn submit(&self, request: BlockRequest) -> Result<Ticket, BlockRequest> {
        if self.done.is_full() {
            return Err(request);
        }
        let (result, buffer) = self.execute(request);
        Ok(self.done.put(result, buffer))
    }

    fn poll_room(&self, _cx: &mut Context<'_>) -> Poll<()> {
        self.done.poll_room()
    }

    fn poll_done(&self, ticket: Ticket, _cx: &mut Context<'_>) -> Poll<BlockCompletion> {
        self.done.take(ticket)
    }

    fn abandon(&self, ticket: Ticket) {
        let _ = self.done.take(ticket);
    }
}
