//! The alternate stack (sigaltstack(2)).

use super::AltStack;
use super::frame::{SS_AUTODISARM, SS_DISABLE, SS_ONSTACK};
use crate::Errno;
use crate::thread::Thread;

/// Least bytes of a stack.
const MINSIGSTKSZ: u64 = 2048;

impl Thread {
    /// Changes the alternate stack. EPERM while the thread runs on it, EINVAL for flags that do not exist, ENOMEM when it is too
    /// small.
    pub(crate) fn set_stack(&self, new: AltStack, pointer: u64) -> Result<(), Errno> {
        let mut stack = self.signals.stack.lock();
        if stack.contains(pointer) {
            return Err(Errno::EPERM);
        }
        *stack = match new.flags & !SS_AUTODISARM {
            SS_DISABLE => AltStack::default(),
            0 | SS_ONSTACK if new.size < MINSIGSTKSZ => return Err(Errno::ENOMEM),
            0 | SS_ONSTACK => AltStack { flags: new.flags & SS_AUTODISARM, ..new },
            _ => return Err(Errno::EINVAL),
        };
        Ok(())
    }
}
