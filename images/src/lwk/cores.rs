//! An executor on every core that runs programs, and the way to put work on it.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::future::poll_fn;
use core::task::{Poll, Waker};
use keelson_exec::{Executor, Handle};
use keelson_hal::user::UserCore;
use keelson_kernel::smp::{self, Idle, MAX_CORES};
use keelson_kernel::sync::SpinLock;
use keelson_kernel::time::KernelClock;
use keelson_kernel::user::{ComputePark, ThisCore};
use keelson_lwk::options;
use keelson_lwk::system::{Core, CoreWork};

/// Work that a core has not taken yet, and its task that waits for some.
struct Inbox {
    work: VecDeque<CoreWork>,
    task: Option<Waker>,
    open: bool,
}

static INBOXES: [SpinLock<Inbox>; MAX_CORES] =
    [const { SpinLock::new(Inbox { work: VecDeque::new(), task: None, open: false }) }; MAX_CORES];

/// Puts work on the executor of `core`; false when it runs none.
pub fn run_on(core: usize, work: CoreWork) -> bool {
    let Some(inbox) = INBOXES.get(core) else { return false };
    let task = {
        let mut inbox = inbox.lock();
        if !inbox.open {
            return false;
        }
        inbox.work.push_back(work);
        inbox.task.take()
    };
    if let Some(task) = task {
        task.wake();
    }
    true
}

/// Starts the executor of a core other than the first; false when there is no such core.
pub fn start(core: usize, idle: options::Idle) -> bool {
    let idle = match idle {
        options::Idle::Auto => Idle::Look,
        options::Idle::Poll => Idle::Poll,
        options::Idle::Mwait => Idle::Mwait,
        options::Idle::Halt => Idle::Halt,
    };
    open(core) && smp::give_away(core, move || run(core, idle)).is_ok()
}

/// Lets the first core, whose executor `handle` belongs to, take work too.
pub fn serve_first(handle: &Handle) {
    if let (Some(core), true) = (here(0, handle.clone()), open(0)) {
        handle.spawn("lwk-inbox", serve(core));
    }
}

fn open(core: usize) -> bool {
    INBOXES.get(core).map(|inbox| inbox.lock().open = true).is_some()
}

/// The core that asks; `None` when user mode is off.
fn here(number: usize, executor: Handle) -> Option<Core> {
    let user: Rc<dyn UserCore> = Rc::new(ThisCore::new()?);
    Some(Core { number, executor, user })
}

fn run(number: usize, idle: Idle) {
    let executor = Executor::new(Rc::new(KernelClock), Some(smp::kicker(number)));
    let handle = executor.handle();
    if let Some(core) = here(number, handle.clone()) {
        handle.spawn("lwk-inbox", serve(core));
    }
    executor.run(&ComputePark::new(idle))
}

/// Does the work of a core as it comes.
async fn serve(core: Core) {
    let Some(inbox) = INBOXES.get(core.number) else { return };
    loop {
        let work: CoreWork = poll_fn(|cx| {
            let mut inbox = inbox.lock();
            match inbox.work.pop_front() {
                Some(work) => Poll::Ready(work),
                None => {
                    inbox.task = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        work(&core);
    }
}
