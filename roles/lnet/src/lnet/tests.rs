//! The rules of LNet, one by one.

mod forward;
