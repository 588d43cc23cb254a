//! Frames as they pass, in words, and what their senders were seen to do where the protocol leaves a choice (section 28).

mod describe;
mod profiles;

pub use describe::{Seen, describe};
pub use profiles::{Observer, Ways};
