//! A single-threaded async executor with timers: the same one on the bare machine, in host tests and in
//! deterministic simulation.
//!
//! Principles:
//!
//! 1. **One executor per core; tasks never migrate** and need not be `Send`. Only wakers cross cores.
//! 2. **Time is a device**: the executor reads the [`Clock`](keelson_hal::Clock) it was given and rests in
//!    the [`Park`](keelson_hal::Park) it was given. With [`sim::SimClock`] as both, hours pass in
//!    microseconds and every run of a seed is the same run.
//! 3. **A turn is bounded**: at most [`TURN_BUDGET`] polls before timers and interrupts are looked at again.
//! 4. **Waking does not allocate**: the ready queue has a place for every task from the moment it is spawned.
//!
//! ```text
//!            spawn                    poll -> Pending
//!   (none) ---------> queued ---------------------------> waiting
//!                       ^  |                                 |
//!                       |  | poll -> Ready, or abort         | wake
//!                       |  v                                 |
//!                       | (none)                             |
//!                       +------------------------------------+
//! ```
//!
//! Not here: priorities, cross-core channels, work stealing.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod combinators;
mod executor;
mod ready;
pub mod sim;
pub mod sync;
mod timer;

pub use combinators::{Either, Elapsed, Timeout, join, select, yield_now};
pub use executor::{Executor, Handle, TURN_BUDGET, TaskHandle};
pub use timer::Sleep;
