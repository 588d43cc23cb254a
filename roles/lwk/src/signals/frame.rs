//! The frame of a handler on the stack, laid out as Linux lays it out (`asm/sigcontext.h`, `asm/ucontext.h`), so that debuggers,
//! unwinders and language runtimes find their way.
//!
//! ```text
//!   higher   extended state (XSAVE area, 64-byte aligned), magic word
//!      |     siginfo                                   frame + 312
//!      |     ucontext: flags, link, stack, registers, mask   + 8
//!   lower    return address (sa_restorer)              frame + 0   <- rsp of the handler
//! ```

use super::{AltStack, SigSet};
use alloc::vec::Vec;
use keelson_hal::user::{ExtendedState, Registers, UserMachine};

/// Bytes of the frame below the extended state.
pub const FRAME_SIZE: u64 = 8 + UCONTEXT_SIZE as u64 + 128;
/// Bytes of `struct ucontext`.
pub const UCONTEXT_SIZE: usize = 304;
/// Offset of `ucontext` in the frame.
pub const UCONTEXT_AT: u64 = 8;
/// Offset of `siginfo_t` in the frame.
pub const SIGINFO_AT: u64 = UCONTEXT_AT + UCONTEXT_SIZE as u64;
/// Bytes below the stack pointer that belong to the function that runs (x86-64 ABI, 3.2.2).
pub const RED_ZONE: u64 = 128;

/// `SS_ONSTACK`.
pub const SS_ONSTACK: u32 = 1;
/// `SS_DISABLE`.
pub const SS_DISABLE: u32 = 2;
/// `SS_AUTODISARM`.
pub const SS_AUTODISARM: u32 = 1 << 31;

/// `UC_FP_XSTATE`: there is an XSAVE area. `UC_SIGCONTEXT_SS` and `UC_STRICT_RESTORE_SS`: `ss` is saved and restored.
const UC_FLAGS: u64 = 1 | 2 | 4;

/// Where `struct sigcontext` begins in `ucontext`, and the mask behind it.
const REGISTERS_AT: usize = 40;
const FPSTATE_AT: usize = REGISTERS_AT + 184;
const MASK_AT: usize = REGISTERS_AT + 256;

/// Marks an XSAVE area behind the legacy part, and its end.
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;
/// Where the software's bytes of the legacy area are, and the XSAVE header.
const SOFTWARE_AT: usize = 464;
const LEGACY: usize = 512;

/// Selector of programs' code on x86-64 Linux.
pub const USER_CS: u64 = 0x33;
/// Selector of their stacks.
pub const USER_SS: u64 = 0x2b;

/// What a program may change of the flags: CF, PF, AF, ZF, SF, TF, DF, OF, RF, AC.
const USER_FLAGS: u64 = 0x5_0dd5;

/// What goes into `ucontext` beside the registers.
pub struct Context {
    /// Address of the extended state; 0 for none.
    pub extended: u64,
    /// Exception number, error code, address: of the last fault.
    pub fault: (u64, u64, u64),
    /// The alternate stack.
    pub stack: AltStack,
    /// The mask to come back to.
    pub mask: SigSet,
}

/// `struct ucontext` in memory.
pub fn encode_ucontext(registers: &Registers, context: &Context) -> [u8; UCONTEXT_SIZE] {
    let mut bytes = [0; UCONTEXT_SIZE];
    let mut put = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, UC_FLAGS);
    put(16, context.stack.base);
    put(24, u64::from(context.stack.flags));
    put(32, context.stack.size);
    for (index, value) in in_order(registers).into_iter().enumerate() {
        put(REGISTERS_AT + index * 8, value);
    }
    put(REGISTERS_AT + 144, USER_CS | USER_SS << 48);
    let (trap, error, address) = context.fault;
    put(REGISTERS_AT + 152, error);
    put(REGISTERS_AT + 160, trap);
    put(REGISTERS_AT + 168, context.mask.0);
    put(REGISTERS_AT + 176, address);
    put(FPSTATE_AT, context.extended);
    put(MASK_AT, context.mask.0);
    bytes
}

/// What comes back from `struct ucontext`: registers are changed, the rest is returned.
pub fn decode_ucontext(bytes: &[u8; UCONTEXT_SIZE], registers: &mut Registers) -> Context {
    let get = |at: usize| u64::from_le_bytes(core::array::from_fn(|index| bytes[at + index]));
    let before = registers.rflags;
    for (index, place) in places(registers).into_iter().enumerate() {
        *place = get(REGISTERS_AT + index * 8);
    }
    registers.rflags = before & !USER_FLAGS | registers.rflags & USER_FLAGS;
    Context {
        extended: get(FPSTATE_AT),
        fault: (0, 0, 0),
        stack: AltStack { base: get(16), flags: get(24) as u32, size: get(32) },
        mask: SigSet(get(MASK_AT)) & !SigSet::UNSTOPPABLE,
    }
}

/// In the order of `struct sigcontext`.
fn in_order(r: &Registers) -> [u64; 18] {
    [
        r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax,
        r.rcx, r.rsp, r.rip, r.rflags,
    ]
}

fn places(r: &mut Registers) -> [&mut u64; 18] {
    [
        &mut r.r8,
        &mut r.r9,
        &mut r.r10,
        &mut r.r11,
        &mut r.r12,
        &mut r.r13,
        &mut r.r14,
        &mut r.r15,
        &mut r.rdi,
        &mut r.rsi,
        &mut r.rbp,
        &mut r.rbx,
        &mut r.rdx,
        &mut r.rax,
        &mut r.rcx,
        &mut r.rsp,
        &mut r.rip,
        &mut r.rflags,
    ]
}

/// Bytes of the extended state in a frame, with the magic word at its end.
pub fn extended_size(extended: &dyn ExtendedState) -> u64 {
    let len = extended.len() as u64;
    if len > LEGACY as u64 { len + 4 } else { LEGACY as u64 }
}

/// The state components that an XSAVE area of `len` bytes has: those of the processor (CPUID leaf 0xd) that end within it. The
/// kernel turns on fewer than there are.
pub fn components(machine: &dyn UserMachine, len: usize) -> u64 {
    let [low, _, _, high] = machine.cpuid(0xd, 0);
    let supported = u64::from(high) << 32 | u64::from(low);
    let inside = |component: &u32| {
        let [size, offset, ..] = machine.cpuid(0xd, *component);
        supported >> component & 1 != 0 && u64::from(size) + u64::from(offset) <= len as u64
    };
    // x87 and SSE are always there.
    (2..63).filter(inside).fold(3, |all, component| all | 1 << component)
}

/// The extended state as a frame has it. `features` are the components that the processor saves (XCR0).
pub fn encode_extended(extended: &dyn ExtendedState, features: u64) -> Vec<u8> {
    let len = extended.len();
    let mut bytes = alloc::vec![0; extended_size(extended) as usize];
    extended.save(&mut bytes[..len]);
    if len > LEGACY {
        let total = bytes.len() as u32;
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(SOFTWARE_AT, &MAGIC1.to_le_bytes());
        put(SOFTWARE_AT + 4, &total.to_le_bytes());
        put(SOFTWARE_AT + 8, &features.to_le_bytes());
        put(SOFTWARE_AT + 16, &(len as u32).to_le_bytes());
        put(len, &MAGIC2.to_le_bytes());
    }
    bytes
}

/// Takes over what a frame has at the place of the extended state. Without the magic words only the legacy part counts, as a
/// program that knows no other made it. False when the processor would refuse it.
pub fn load_extended(extended: &dyn ExtendedState, bytes: &[u8]) -> bool {
    let len = extended.len();
    let word =
        |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u32::from_le_bytes(*word));
    if len <= LEGACY {
        return bytes.get(..len).is_some_and(|bytes| extended.load(bytes));
    }
    let whole = word(SOFTWARE_AT) == Some(MAGIC1)
        && word(SOFTWARE_AT + 16) == Some(len as u32)
        && word(len) == Some(MAGIC2);
    let mut area = alloc::vec![0; len];
    if whole {
        area.copy_from_slice(&bytes[..len]);
        // The software's bytes are not the processor's.
        area[SOFTWARE_AT..LEGACY].fill(0);
    } else {
        let Some(legacy) = bytes.get(..LEGACY) else { return false };
        area[..LEGACY].copy_from_slice(legacy);
        area[SOFTWARE_AT..LEGACY].fill(0);
        // XSTATE_BV: x87 and SSE are in the area.
        area[LEGACY] = 3;
    }
    extended.load(&area)
}
