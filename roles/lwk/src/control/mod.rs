//! What tools ask of a running node (section 6): its state, its log, its programs, and to stop, go on and end.
//!
//! A tool sends CTRL with a verb and its words. Most verbs have one answer; the log and the events are streams that last until the
//! tool hangs up. Everything here runs on the service core.
//!
//! ```text
//!   verb        words --> Verb, and the role that it needs
//!   report      what a verb says, as text or as JSON
//!   state       get status, query cpu|mem, query_free_mem, cores
//!   processes   ps
//!   usage       rusage
//!   noise       noise [reset]
//!   interrupt   intr CORE VECTOR [--force]
//!   kmsg        kmsg [-f], clear_kmsg
//!   freeze      freeze, thaw
//!   dump        dump [-d 0|24] [-i], memory PHYSICAL LENGTH, info
//!   shutdown    shutdown [-f]
//!   watch       events [-i SECONDS]: OOM, HUNGUP, KMSG_FULL, STALLED
//!   hang        which cores hang
//! ```

mod dump;
mod freeze;
mod hang;
mod interrupt;
mod kmsg;
mod noise;
mod processes;
mod report;
mod shutdown;
mod state;
mod usage;
mod verb;
mod watch;

pub use dump::{Piece, Postmortem};
pub use hang::{provoke as provoke_hang, provoke_failure};
pub use kmsg::LONGEST;
pub use shutdown::GRACE;
pub use watch::Checks;

use crate::Errno;
use crate::node::Node;
use crate::session::Tool;
use crate::timers::Timers;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use keelson_hal::log::KernelLog;
use keelson_hal::user::CoreEntries;
use keelson_lwk_wire::messages::Ctrl;
use report::Report;
use verb::{Verb, role_name};

/// What only the kernel below can tell or do.
pub trait Kernel {
    /// The log.
    fn log(&self) -> &dyn KernelLog;

    /// Bytes that the kernel uses for itself.
    fn memory_used(&self) -> u64;

    /// Interrupts a core (as the machine counts them) by a vector, to see it arrive.
    ///
    /// # Errors
    ///
    /// In words: no such core, or a vector that would do harm.
    fn interrupt(&self, core: usize, vector: u8) -> Result<(), String>;

    /// Switches the machine off, soon.
    fn power_off(&self);

    /// What a dump takes; `None` where none can be made.
    fn postmortem(&self) -> Option<&dyn Postmortem> {
        None
    }
}

/// Why a verb was not done: for programs and for people.
type Refusal = (Errno, String);

/// The node, as tools see it.
pub struct Control {
    node: Arc<Node>,
    kernel: Rc<dyn Kernel>,
    build: String,
    /// Where the log begins for tools: what is before was cleared.
    cleared: Cell<u64>,
    /// What had interrupted the cores when that was last reset.
    baseline: RefCell<Vec<CoreEntries>>,
    watchers: watch::Watchers,
    /// Cores that hang, as the machine counts them.
    hung: RefCell<BTreeSet<usize>>,
    /// A dump is being made.
    dumping: Cell<bool>,
    most_memory: Cell<u64>,
    most_kernel_memory: Cell<u64>,
}

impl Control {
    /// For a node that was built as `build`.
    pub fn new(node: Arc<Node>, kernel: Rc<dyn Kernel>, build: String) -> Rc<Control> {
        Rc::new(Control {
            node,
            kernel,
            build,
            cleared: Cell::new(0),
            baseline: RefCell::default(),
            watchers: watch::Watchers::default(),
            hung: RefCell::default(),
            dumping: Cell::new(false),
            most_memory: Cell::new(0),
            most_kernel_memory: Cell::new(0),
        })
    }

    /// Answers a tool, for as long as that takes.
    pub async fn answer(self: Rc<Self>, tool: Tool, ctrl: Ctrl) {
        let (verb, json) = match verb::parse(&ctrl) {
            Ok(parsed) => parsed,
            Err(text) => return tool.fail(Errno::EINVAL, &text),
        };
        if !tool.roles.contains(verb.role()) {
            let text = format!("{}: needs a key for {}", ctrl.verb, role_name(verb.role()));
            return tool.fail(Errno::EPERM, &text);
        }
        let done = match verb {
            Verb::Kmsg { follow, after } => return self.send_log(&tool, follow, after).await,
            Verb::Events { interval } => return self.send_events(tool, interval).await,
            Verb::Shutdown { force } => return self.shut_down(&tool, force).await,
            Verb::Dump { level, stay } => {
                let level = level.unwrap_or(self.node.settings.dump_level);
                return self.send_dump(&tool, level, stay).await;
            }
            Verb::PhysicalMemory { physical, len } => return self.send_memory(&tool, physical, len),
            Verb::Info => return self.send_info(&tool),
            Verb::Status => Ok(Report::Word("status", self.status().into())),
            Verb::BuildId => Ok(Report::Word("buildid", self.build.clone())),
            Verb::Cpus => Ok(Report::Word("cpus", self.cpus())),
            Verb::Memory => Ok(Report::Word("memory", self.memory())),
            Verb::FreeMemory => Ok(Report::Word("free", self.free_memory())),
            Verb::Cores => Ok(Report::Table(self.cores())),
            Verb::Processes => self.processes().map(Report::Table).map_err(too_long),
            Verb::Usage => Ok(Report::Pairs(self.usage().await)),
            Verb::Noise => Ok(Report::Table(self.noise())),
            Verb::ResetNoise => {
                self.reset_noise();
                Ok(Report::Done)
            }
            Verb::ClearKmsg => {
                self.clear_log();
                Ok(Report::Done)
            }
            Verb::Interrupt { core, vector, force } => self.interrupt(core, vector, force),
            Verb::Freeze => self.freeze().await,
            Verb::Thaw => self.thaw(),
        };
        let said = done.and_then(|report| if json { report.json() } else { report.text() }.map_err(too_long));
        match said {
            Ok(text) => tool.text(&text),
            Err((error, text)) => tool.fail(error, &text),
        }
    }

    fn timers(&self) -> &Timers {
        &self.node.system.timers
    }
}

/// Why there is no answer that programs made long.
fn too_long(error: Errno) -> (Errno, String) {
    (error, String::from("the node has no memory for an answer of that length"))
}
