//! Processes that lock, their machines' lock managers, and what all of them believe to hold.

pub mod beliefs;
pub mod lockd;
pub mod locker;
pub mod nlm;
pub mod service;
