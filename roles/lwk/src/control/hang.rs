//! Which cores hang (section 10): those that are in the kernel at two looks and have not left it in between, and service cores
//! that did not take up a trifle meanwhile.

use crate::cores::CoreState;
use crate::node::Node;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

/// A core at a look.
struct Seen {
    core: usize,
    progress: u64,
    state: CoreState,
    /// Service cores: it has done the trifle that it was given.
    answered: Option<Arc<AtomicBool>>,
}

/// What a look found of a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The core, as the machine counts them.
    pub core: usize,
    /// It hangs.
    pub hangs: bool,
}

/// Looks at all cores, time after time.
#[derive(Default)]
pub struct Detector {
    last: Vec<Seen>,
}

impl Detector {
    /// Compares with the look before. Nothing is found the first time.
    pub fn look(&mut self, node: &Node) -> Vec<Finding> {
        let now: Vec<Seen> = node
            .cores()
            .map(|core| Seen {
                core: core.number,
                progress: core.progress(),
                state: core.state(),
                answered: node.settings.service.contains(&core.number).then(|| ask(node, core.number)),
            })
            .collect();
        let before = core::mem::replace(&mut self.last, now);
        let hangs = |before: &Seen| {
            let now = self.last.iter().find(|now| now.core == before.core);
            let in_kernel = now.is_some_and(|now| {
                now.state == CoreState::Kernel
                    && before.state == CoreState::Kernel
                    && now.progress == before.progress
            });
            in_kernel || before.answered.as_ref().is_some_and(|answered| !answered.load(Ordering::Acquire))
        };
        before.iter().map(|before| Finding { core: before.core, hangs: hangs(before) }).collect()
    }
}

/// Gives a core something to do that takes no time.
fn ask(node: &Node, core: usize) -> Arc<AtomicBool> {
    let answered = Arc::new(AtomicBool::new(false));
    let done = answered.clone();
    if !(node.system.run_on)(core, Box::new(move |_| done.store(true, Ordering::Release))) {
        // It takes no work at all, and so cannot be asked.
        answered.store(true, Ordering::Release);
    }
    answered
}
