//! What a process does with each signal (sigaction(2)).

use super::set::{DefaultAction, SigSet, default_action, is_signal};

/// `sa_handler`: the default action.
pub const SIG_DFL: u64 = 0;
/// `sa_handler`: ignored.
pub const SIG_IGN: u64 = 1;
/// No SIGCHLD when a child stops or continues.
pub const SA_NOCLDSTOP: u64 = 1;
/// Children leave no zombies.
pub const SA_NOCLDWAIT: u64 = 2;
/// Runs on the alternate stack.
pub const SA_ONSTACK: u64 = 0x0800_0000;
/// Interrupted system calls go on afterwards.
pub const SA_RESTART: u64 = 0x1000_0000;
/// The signal itself is not blocked while its handler runs.
pub const SA_NODEFER: u64 = 0x4000_0000;
/// The action is the default again once the handler was called.
pub const SA_RESETHAND: u64 = 0x8000_0000;
/// `sa_restorer` is where the handler returns to; x86-64 needs it.
pub const SA_RESTORER: u64 = 0x0400_0000;

/// The action for one signal: `struct sigaction` as the kernel has it, in its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Action {
    /// Address of the handler, [`SIG_DFL`] or [`SIG_IGN`].
    pub handler: u64,
    /// `SA_` flags.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: SigSet,
}

/// What comes of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// A handler of the program runs.
    Handler,
    /// The system does something.
    System(DefaultAction),
}

impl Action {
    /// Bytes of the structure.
    pub const SIZE: usize = 32;

    /// What comes of `signal` with this action.
    pub fn effect(&self, signal: u32) -> Effect {
        match self.handler {
            SIG_DFL => Effect::System(default_action(signal)),
            SIG_IGN => Effect::System(DefaultAction::Ignore),
            _ => Effect::Handler,
        }
    }

    /// As it lies in memory.
    pub fn encode(&self) -> [u8; Action::SIZE] {
        let mut bytes = [0; Action::SIZE];
        let words = [self.handler, self.flags, self.restorer, self.mask.0];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// From memory of a program. What cannot be blocked is not.
    pub fn decode(bytes: &[u8; Action::SIZE]) -> Action {
        let mut words = [0; 4];
        for (word, part) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*part);
        }
        let [handler, flags, restorer, mask] = words;
        Action { handler, flags, restorer, mask: SigSet(mask) & !SigSet::UNSTOPPABLE }
    }
}

/// The actions of a process.
#[derive(Clone, Debug)]
pub struct Actions([Action; 64]);

impl Default for Actions {
    fn default() -> Actions {
        Actions([Action::default(); 64])
    }
}

impl Actions {
    /// The action for a signal.
    pub fn get(&self, signal: u32) -> Action {
        let index = signal.wrapping_sub(1) as usize;
        self.0.get(index).copied().unwrap_or_default()
    }

    /// Sets the action for a signal.
    pub fn set(&mut self, signal: u32, action: Action) {
        if is_signal(signal) {
            self.0[signal as usize - 1] = action;
        }
    }

    /// For a child that shall have no handlers (CLONE_CLEAR_SIGHAND).
    pub fn without_handlers(mut self) -> Actions {
        self.forget_handlers();
        self
    }

    /// After exec: what had a handler is default again, what is ignored stays so.
    pub fn forget_handlers(&mut self) {
        for action in &mut self.0 {
            let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            *action = Action { handler, ..Action::default() };
        }
    }
}
