//! Results of interrupted system calls that a program never sees.
//!
//! The numbers are those that Linux uses inside itself (`linux/errno.h`).

use crate::Errno;

/// Made again when the handler's action has SA_RESTART, else EINTR (ERESTARTSYS).
pub const RESTART: Errno = number(512);
/// Made again whatever the action says (ERESTARTNOINTR).
pub const ALWAYS: Errno = number(513);
/// EINTR when a handler ran, made again otherwise (ERESTARTNOHAND).
pub const NO_HANDLER: Errno = number(514);

/// True for the numbers that are none of a program's.
pub fn is_internal(errno: Errno) -> bool {
    errno.raw() >= 512
}

const fn number(raw: i32) -> Errno {
    match Errno::from_raw(raw) {
        Some(errno) => errno,
        // Never: the numbers here are below 4096.
        None => Errno::EINTR,
    }
}
