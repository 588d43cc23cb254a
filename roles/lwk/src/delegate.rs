//! The host's part of a process: calls that are done there.

use crate::Errno;
use crate::exit::Exit;
use crate::watched::Watch;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use keelson_lwk_wire::layout::Stat;
use keelson_lwk_wire::messages::Shown;

/// An open file of the host, as its proxy names it (section 5.9).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Handle(pub u64);

/// One call for the host. Handles stand in the arguments where the program had numbers; user memory is copied before and after.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The thread that asks; 0 for the node itself.
    pub tid: u32,
    /// x86-64 system call number.
    pub number: u32,
    /// Arguments; those that are addresses are ignored by the host.
    pub arguments: [u64; 6],
    /// The bytes of every argument that is read: (number of the argument, bytes), in the order of the arguments.
    pub input: Vec<(u8, Vec<u8>)>,
    /// For every argument that is written: (number of the argument, most bytes).
    pub output: Vec<(u8, u32)>,
}

/// What became of a call.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Result as the system call has it: a negative errno, or what it returns.
    pub result: i64,
    /// Bytes for the arguments that are written, in the order of [`Call::output`].
    pub output: Vec<(u8, Vec<u8>)>,
    /// Events of the handle after the call (poll(2) bits), when it is subscribed; [`NOT_TOLD`] when they went the other way.
    pub events: u32,
    /// After open: what was opened.
    pub opened: Option<Opened>,
    /// The host was not asked: it had said so shortly before, or could not be asked that.
    pub unasked: bool,
}

/// The events of a handle are known from [`Readiness`] alone: those in a reply may be older when its thread comes to read it.
pub const NOT_TOLD: u32 = u32::MAX;

/// What the host says about a file it opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// What fstat(2) told then.
    pub stat: Stat,
    /// Can be positioned.
    pub seekable: bool,
    /// Is a terminal.
    pub terminal: bool,
}

impl Reply {
    /// The error, if it is one.
    pub fn failure(&self) -> Result<(), Errno> {
        Errno::from_result(self.result).map_or(Ok(()), Err)
    }
}

/// A call under way. Dropping it cancels the call; its result is then lost, so whoever must know uses [`Delegate::cancel`].
pub type Pending = Pin<Box<dyn Future<Output = Reply>>>;

/// Bytes on their way from a file.
pub type Bytes = Pin<Box<dyn Future<Output = Result<Vec<u8>, Errno>>>>;

/// Something that will have been done.
pub type Done = Pin<Box<dyn Future<Output = Result<(), Errno>>>>;

/// The connection to the host that launched a process. Everything may be called from any core.
pub trait Delegate: Send + Sync {
    /// Sends a call and waits for its result. The loss of the host is an answer: `-EIO`.
    fn call(&self, call: Call) -> Pending;

    /// Asks the host to break off what the thread waits for. The reply still comes: the real result, or `-EINTR`.
    fn cancel(&self, tid: u32);

    /// Releases handles; the host is told soon. What can fail at close is done with [`Delegate::call`] instead.
    fn close(&self, handles: &[Handle]);

    /// Wants to be told when one of `events` (poll(2) bits) holds for `handle`, until unsubscribed with no events.
    fn subscribe(&self, handle: Handle, events: u32, ready: Arc<dyn Readiness>) -> Result<(), Errno>;

    /// Reads `len` bytes of a file at `offset`, whatever its position is; fewer at its end.
    fn page_in(
        &self,
        handle: Handle,
        offset: u64,
        len: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, Errno>>>>;

    /// Writes back to a file.
    fn page_out(&self, handle: Handle, offset: u64, bytes: Vec<u8>) -> Done;

    /// Which host: the same number for all processes that it launched, and for no other host's.
    fn host(&self) -> u64;

    /// False once the host is lost.
    fn is_alive(&self) -> bool;

    /// True while a call of thread `tid` is with the host.
    fn has_call_of(&self, _tid: u32) -> bool {
        false
    }

    /// What is with the host, for dumps.
    fn under_way(&self) -> Vec<UnderWay> {
        Vec::new()
    }

    /// A process ended: EXIT goes to its proxy.
    fn exited(&self, _exit: &Exit) {}

    /// Duplicates the proxy for a fork by thread `tid` (section 3.8): ready once the new proxy has said hello. EAGAIN when the
    /// host cannot fork.
    fn fork(&self, _tid: u32) -> Pin<Box<dyn Future<Output = Result<Forked, Errno>>>> {
        Box::pin(async { Err(Errno::ENOSYS) })
    }

    /// Who looks at the calls of the process, if anybody does.
    fn watch(&self) -> Option<&Watch> {
        None
    }

    /// Shows whole lines to who started the program, and waits until the host has them.
    fn show(&self, _kind: Shown, _lines: String) -> Done {
        Box::pin(async { Ok(()) })
    }

    /// The next part of the core file of a process that crashed; false when the host takes no more.
    fn core_file(&self, _part: CorePart) -> Pin<Box<dyn Future<Output = bool>>> {
        Box::pin(async { false })
    }
}

/// A request that the host has not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnderWay {
    /// Its number.
    pub id: u64,
    /// The thread that waits; 0 for requests of the process.
    pub tid: u32,
    /// What it is about.
    pub handle: Option<Handle>,
    /// The thread does not want to wait any more.
    pub cancelled: bool,
}

/// A part of a core file. Parts come in order; what lies between them is zeros.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorePart {
    /// Bytes of the whole file, the same in every part.
    pub size: u64,
    /// Where the part is in it.
    pub offset: u64,
    /// The bytes. A part that ends where the file does is the last; it may be empty.
    pub bytes: Vec<u8>,
}

impl CorePart {
    /// Nothing comes after it.
    pub fn is_last(&self) -> bool {
        self.offset + self.bytes.len() as u64 == self.size
    }
}

/// The proxy of a child.
pub struct Forked {
    /// Its process id, which is that of the child.
    pub pid: u32,
    /// The way to it.
    pub delegate: Arc<dyn Delegate>,
}

/// Who is told what holds for a subscribed handle.
pub trait Readiness: Send + Sync {
    /// Something happened: these events hold now.
    fn ready(&self, events: u32);

    /// These events hold now, after a call; nothing need have happened.
    fn holds(&self, events: u32);
}
