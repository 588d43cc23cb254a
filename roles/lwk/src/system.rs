//! What every part of the node needs of the machine and of the node itself.

use crate::mm::NodeMemory;
use crate::timers::Timers;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use keelson_exec::Handle;
use keelson_hal::user::{UserCore, UserMachine};
use keelson_hal::{Clock, Entropy};

/// What a core offers to the threads on it.
#[derive(Clone)]
pub struct Core {
    /// Its number in the machine.
    pub number: usize,
    /// Its executor.
    pub executor: Handle,
    /// Its way into ring 3.
    pub user: Rc<dyn UserCore>,
}

/// Work for a core, done on its executor.
pub type CoreWork = Box<dyn FnOnce(&Core) + Send>;

/// The machine as the node was given it. Everything may be called from any core.
pub struct System {
    /// Memory, address spaces, cores.
    pub machine: Arc<dyn UserMachine>,
    /// Monotonic and wall-clock time.
    pub clock: Arc<dyn Clock + Send + Sync>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy + Send + Sync>,
    /// Deadlines, served by the service core.
    pub timers: Timers,
    /// Memory that processes share: pages of files, System V segments.
    pub memory: Arc<NodeMemory>,
    /// Puts work on the executor of a core; false when there is no such core.
    pub run_on: fn(core: usize, work: CoreWork) -> bool,
}
