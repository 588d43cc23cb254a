//! The tests of section 26, each by its number.

pub mod defects;
