//! Which signal an exception is.

use crate::mm::Fault;
use crate::signals::*;
use keelson_hal::user::{Access, UserContext};

/// `si_code`s of SIGFPE and SIGTRAP, SIGILL (sigaction(2)).
const FPE_INTDIV: i32 = 1;
const FPE_FLTDIV: i32 = 3;
const FPE_FLTOVF: i32 = 4;
const FPE_FLTUND: i32 = 5;
const FPE_FLTRES: i32 = 6;
const FPE_FLTINV: i32 = 7;
const TRAP_TRACE: i32 = 2;
const ILL_ILLOPN: i32 = 2;

/// The page-fault vector.
const PAGE_FAULT: u64 = 14;

/// The signal for a page fault that cannot be resolved; `None` when there is no memory.
pub fn page_fault(fault: &Fault, address: u64, access: Access, present: bool) -> Option<SigInfo> {
    let (signal, code) = match fault {
        Fault::MapErr => (SIGSEGV, SEGV_MAPERR),
        Fault::AccErr => (SIGSEGV, SEGV_ACCERR),
        Fault::Bus | Fault::Missing(_) => (SIGBUS, BUS_ADRERR),
        Fault::OutOfMemory => return None,
    };
    // The error code as the processor pushes it (Intel SDM volume 3, 4.7): present, write, user, instruction fetch.
    let error = u64::from(present)
        | match access {
            Access::Read => 0,
            Access::Write => 2,
            Access::Execute => 16,
        }
        | 4;
    Some(SigInfo::fault(signal, code, address, PAGE_FAULT, error))
}

/// The signal for another exception (Intel SDM volume 3, table 6-1).
pub fn exception(vector: u8, error: u64, context: &UserContext) -> SigInfo {
    let at = context.registers.rip;
    let (signal, code, address) = match vector {
        0 => (SIGFPE, FPE_INTDIV, at),
        1 => (SIGTRAP, TRAP_TRACE, at),
        3 => (SIGTRAP, SI_KERNEL, 0),
        6 => (SIGILL, ILL_ILLOPN, at),
        11 | 12 => (SIGBUS, SI_KERNEL, 0),
        16 | 19 => (SIGFPE, floating_point(vector, context), at),
        17 => (SIGBUS, BUS_ADRALN, 0),
        _ => (SIGSEGV, SI_KERNEL, 0),
    };
    SigInfo::fault(signal, code, address, u64::from(vector), error)
}

/// What went wrong in the x87 or SSE unit, from its status and masks in the legacy area (Intel SDM volume 1, 10.5.1).
fn floating_point(vector: u8, context: &UserContext) -> i32 {
    let mut area = alloc::vec![0; context.extended.len().max(512)];
    context.extended.save(&mut area);
    let word = |at: usize| u32::from(area[at]) | u32::from(area[at + 1]) << 8;
    let raised = if vector == 16 {
        // Status word and control word of the x87.
        word(2) & !word(0)
    } else {
        // MXCSR: masks are 7 bits above the flags.
        let mxcsr = word(24);
        mxcsr & !(mxcsr >> 7)
    };
    match raised & 0x3f {
        bits if bits & 0x01 != 0 => FPE_FLTINV,
        bits if bits & 0x04 != 0 => FPE_FLTDIV,
        bits if bits & 0x08 != 0 => FPE_FLTOVF,
        bits if bits & 0x12 != 0 => FPE_FLTUND,
        bits if bits & 0x20 != 0 => FPE_FLTRES,
        _ => FPE_FLTINV,
    }
}
