//! What every part of the node needs of the machine and of the node itself.

use crate::mm::NodeMemory;
use crate::timers::Timers;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
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

/// Bytes of what programs left that are worth a word when there is no memory.
const WORTH_A_WORD: u64 = 1 << 20;

impl System {
    /// Says that there is no memory, and what could be done about it.
    pub fn no_memory(&self) -> String {
        let (_, files) = self.memory.lasting.files(&*self.machine);
        left_behind(self.memory.shm_unattached(), files)
    }
}

/// The words for so many bytes in segments that nobody has attached, and in files in /dev/shm.
fn left_behind(segments: u64, files: u64) -> String {
    let in_segments = (segments >= WORTH_A_WORD).then(|| {
        format!(
            "{} MiB are in System V segments that nobody has attached; see ipcs -m, remove them with ipcrm, or boot the node with \
             shm_rmid_forced=1",
            segments >> 20
        )
    });
    let in_files = (files >= WORTH_A_WORD).then(|| {
        format!("{} MiB are in files in /dev/shm; see ls -l /dev/shm, remove them with rm", files >> 20)
    });
    let causes: Vec<String> = in_segments.into_iter().chain(in_files).collect();
    match causes.is_empty() {
        true => "not enough memory on the node".to_string(),
        false => format!("no memory on the node: {}", causes.join(", and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::left_behind;

    #[test]
    fn who_has_the_memory_is_told() {
        assert_eq!(left_behind(4096, 0), "not enough memory on the node");
        let files = "3 MiB are in files in /dev/shm; see ls -l /dev/shm, remove them with rm";
        assert_eq!(left_behind(0, 3 << 20), format!("no memory on the node: {files}"));
        let both = left_behind(2 << 20, 3 << 20);
        assert!(both.starts_with("no memory on the node: 2 MiB are in System V segments"), "{both}");
        assert!(both.ends_with(&format!("shm_rmid_forced=1, and {files}")), "{both}");
    }
}
