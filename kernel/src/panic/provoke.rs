//! Deliberate failures, so that tests and people can see what the reports look like.

/// Writes to an address where nothing is mapped.
pub fn page_fault() -> ! {
    // SAFETY: deliberately none: the page is unmapped, the write faults, and the fault does not return.
    unsafe { (0xdead_0000 as *mut u8).write_volatile(1) };
    panic!("a write to unmapped memory went through");
}

/// Makes the time stamp counter go wrong.
pub fn skew() {
    crate::time::provoke_skew();
}

/// Computes for ever, and answers nothing.
pub fn lock_up() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Recurses until the stack is used up.
pub fn stack_overflow() -> ! {
    panic!("recursion ended with {}", recurse(1));
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 64]);
    recurse(depth + 1) + core::hint::black_box(frame)[0]
}
