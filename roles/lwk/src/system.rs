//! What every part of the node needs of the machine and of the node itself.

use crate::mm::NodeMemory;
use crate::timers::Timers;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
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

/// Bytes of segments that are worth a word when there is no memory.
const WORTH_A_WORD: u64 = 1 << 20;

impl System {
    /// Says that there is no memory, and what could be done about it.
    pub fn no_memory(&self) -> String {
        let unattached = self.memory.shm_unattached();
        match unattached {
            0..WORTH_A_WORD => "not enough memory on the node".to_string(),
            _ => format!(
                "no memory on the node: {} MiB are in System V segments that nobody has attached; see ipcs -m, remove them with \
                 ipcrm, or boot the node with shm_rmid_forced=1",
                unattached >> 20
            ),
        }
    }
}
