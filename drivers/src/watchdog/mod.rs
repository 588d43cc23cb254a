//! Hardware watchdogs: who does not feed one in time is reset.

pub mod i6300esb;

#[cfg(test)]
mod tests;
