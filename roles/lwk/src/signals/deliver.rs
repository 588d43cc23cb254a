//! Calling handlers, and coming back from them.

use super::frame::{self, Context};
use super::{Action, AltStack, Details, SA_NODEFER, SA_ONSTACK, SA_RESTORER, SIGSEGV, SigInfo, SigSet};
use crate::Errno;
use crate::run::Task;

/// First address that a program cannot have.
const USER_END: u64 = 1 << 47;

/// Direction, trap and resume flag: clear in handlers.
const CLEARED_FLAGS: u64 = 1 << 10 | 1 << 8 | 1 << 16;

impl AltStack {
    /// True for a stack pointer that lies in it.
    pub fn contains(&self, pointer: u64) -> bool {
        self.flags & frame::SS_AUTODISARM == 0 && pointer > self.base && pointer - self.base <= self.size
    }

    /// `ss_flags` as sigaltstack(2) tells a thread with this stack pointer.
    pub fn flags_at(&self, pointer: u64) -> u32 {
        let state = match self.size {
            0 => frame::SS_DISABLE,
            _ if self.contains(pointer) => frame::SS_ONSTACK,
            _ => 0,
        };
        state | self.flags & frame::SS_AUTODISARM
    }
}

impl Task {
    /// Puts the frame of a handler on the stack and goes to the handler. EFAULT when the stack has no room for it.
    pub(crate) fn deliver(&mut self, info: &SigInfo, action: &Action) -> Result<(), Errno> {
        if action.flags & SA_RESTORER == 0 {
            return Err(Errno::EFAULT);
        }
        let thread = self.thread.clone();
        let registers = self.context.registers;
        let stack = *thread.signals.stack.lock();
        let on_stack = stack.contains(registers.rsp);
        let switch = action.flags & SA_ONSTACK != 0 && stack.size != 0 && !on_stack;
        let top = if switch {
            stack.base.wrapping_add(stack.size)
        } else {
            registers.rsp.wrapping_sub(frame::RED_ZONE)
        };

        let extended = frame::encode_extended(&*self.context.extended, self.features());
        let extended_at = top.checked_sub(extended.len() as u64).ok_or(Errno::EFAULT)? & !63;
        let at = extended_at.checked_sub(frame::FRAME_SIZE).ok_or(Errno::EFAULT)?;
        // As after a call: 16-byte aligned without the return address.
        let at = (at & !15).checked_sub(8).ok_or(Errno::EFAULT)?;
        if (switch || on_stack) && at < stack.base || top > USER_END {
            return Err(Errno::EFAULT);
        }
        let mask = thread.take_replaced().unwrap_or(thread.signals.mask());
        let fault = match info.details {
            Details::Fault { address, trap, error } => (trap, error, address),
            _ => (0, 0, 0),
        };
        let saved = AltStack { flags: stack.flags_at(registers.rsp), ..stack };
        let context = Context { extended: extended_at, fault, stack: saved, mask };
        self.mm.write(extended_at, &extended)?;
        self.mm.write(at, &action.restorer.to_le_bytes())?;
        self.mm.write(at + frame::UCONTEXT_AT, &frame::encode_ucontext(&registers, &context))?;
        self.mm.write(at + frame::SIGINFO_AT, &info.encode())?;

        if switch && stack.flags & frame::SS_AUTODISARM != 0 {
            *thread.signals.stack.lock() = AltStack::default();
        }
        let registers = &mut self.context.registers;
        registers.rsp = at;
        registers.rip = action.handler;
        registers.rdi = u64::from(info.signal);
        registers.rsi = at + frame::SIGINFO_AT;
        registers.rdx = at + frame::UCONTEXT_AT;
        registers.rax = 0;
        registers.rflags &= !CLEARED_FLAGS;
        let own = if action.flags & SA_NODEFER != 0 { SigSet::EMPTY } else { SigSet::of(info.signal) };
        thread.set_mask(thread.signals.mask() | action.mask | own);
        Ok(())
    }

    /// rt_sigreturn(2): back to where the handler was called. A bad frame is a SIGSEGV.
    pub(crate) fn sigreturn(&mut self) {
        if self.restore_frame().is_err() {
            self.thread.force(SigInfo::kernel(SIGSEGV));
        }
    }

    fn restore_frame(&mut self) -> Result<(), Errno> {
        // The return took the first word.
        let at = self.context.registers.rsp.checked_sub(8).ok_or(Errno::EFAULT)?;
        let mut bytes = [0; frame::UCONTEXT_SIZE];
        self.mm.read(at.checked_add(frame::UCONTEXT_AT).ok_or(Errno::EFAULT)?, &mut bytes)?;
        let mut registers = self.context.registers;
        let context = frame::decode_ucontext(&bytes, &mut registers);
        if registers.rip >= USER_END || registers.rsp >= USER_END {
            return Err(Errno::EFAULT);
        }
        self.restore_extended(context.extended)?;
        self.context.registers = registers;
        self.thread.set_mask(context.mask);
        let stack = context.stack;
        // A stack that makes no sense is left alone, as in Linux.
        let _ = self.thread.set_stack(stack, registers.rsp);
        Ok(())
    }

    fn restore_extended(&mut self, at: u64) -> Result<(), Errno> {
        if at == 0 {
            self.context.extended.reset();
            return Ok(());
        }
        let size = frame::extended_size(&*self.context.extended) as usize;
        let mut bytes = alloc::vec![0; size];
        if self.mm.read(at, &mut bytes).is_err() {
            // A legacy area need not be followed by anything.
            bytes.truncate(512);
            self.mm.read(at, &mut bytes)?;
        }
        if frame::load_extended(&*self.context.extended, &bytes) { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// The state components that frames carry: those of XCR0.
    fn features(&self) -> u64 {
        frame::components(&*self.thread.process.system.machine, self.context.extended.len())
    }
}
