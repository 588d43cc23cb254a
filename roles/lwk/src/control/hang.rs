//! Which cores hang (section 10): those that are in the kernel at two looks and have not left it in between, and service cores
//! that did not take up a trifle meanwhile.

use crate::cores::CoreState;
use crate::node::Node;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

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

/// Keeps a core in the kernel for a while, to see what is done about that; false when there is no such core.
pub fn provoke(node: &Arc<Node>, core: usize, span: Duration) -> bool {
    let (node, run_on) = (node.clone(), node.system.run_on);
    let spin = move |_: &_| {
        let (Some(core), clock) = (node.core(core), &node.system.clock) else { return };
        core.set_state(CoreState::Kernel);
        let end = clock.now() + span;
        while clock.now() < end {
            core::hint::spin_loop();
        }
        core.count();
        core.set_state(CoreState::Idle);
    };
    run_on(core, Box::new(spin))
}

/// Makes the kernel give up on a core, to see what a dump shows of it; false when there is no such core.
pub fn provoke_failure(node: &Arc<Node>, core: usize) -> bool {
    (node.system.run_on)(core, Box::new(|_| fail_as_asked()))
}

/// A name to be found in backtraces.
#[inline(never)]
fn fail_as_asked() {
    panic!("asked for on the console");
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
