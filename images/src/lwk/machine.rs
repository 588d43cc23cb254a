//! The machine as the LWK node's parts want it, from any core.

use super::cores;
use alloc::rc::Rc;
use alloc::sync::Arc;
use keelson_hal::{Clock, Entropy};
use keelson_kernel::drbg::Drbg;
use keelson_kernel::sync::SpinLock;
use keelson_kernel::time::KernelClock;
use keelson_kernel::user::UserMode;
use keelson_lwk::mm::{NodeMemory, ShmSettings};
use keelson_lwk::system::System;
use keelson_lwk::timers::Timers;

/// Random numbers for all cores, a generator of their own.
struct SharedEntropy(SpinLock<Drbg>);

impl Entropy for SharedEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill(bytes);
    }
}

/// What every part of the node needs.
pub fn system(machine: UserMode, entropy: &Rc<Drbg>, shm: ShmSettings) -> Arc<System> {
    let clock: Arc<dyn Clock + Send + Sync> = Arc::new(KernelClock);
    Arc::new(System {
        machine: Arc::new(machine),
        timers: Timers::new(clock.clone()),
        clock,
        entropy: Arc::new(SharedEntropy(SpinLock::new(entropy.fork()))),
        memory: Arc::new(NodeMemory::with_shm(shm)),
        run_on: cores::run_on,
    })
}
