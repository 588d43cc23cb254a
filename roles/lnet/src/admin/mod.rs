//! The administrator's tools: `lnetctl`, `lctl`, `routerstat` and the files below `/sys/kernel/debug/lnet`, with
//! the words and the layouts that they have on a Linux node (LNet specification sections 1.9, 6 and 8.3).
//!
//! ```text
//!   words -> args -> lnetctl::grammar, lctl -> Control -> snapshot -> views -> yaml -> text
//!                                                                  `-> files, routerstat
//!   YAML text -> yaml::parse -> import -> Control
//! ```
//!
//! Principles:
//!
//! 1. **What a script reads on Linux it reads here**: keys, their order, nesting and columns; success says
//!    nothing; failures are YAML with `errno` and `descr`.
//! 2. **Tools know nothing of sockets or credits**: they ask [`Control`] for snapshots (`lnet::show`) and tell it
//!    what to change.
//! 3. **What has no effect here is refused**, with the reason, unless it asks for what is the case anyway.
//!
//! Not here: selection policies (`udsp`), CPU partitions, health values (always 1000), `lnetctl debug`,
//! `cpt-of-nid`.

mod args;
mod control;
mod export;
mod failure;
mod faults;
mod files;
mod import;
mod lctl;
pub mod lnetctl;
mod routerstat;
#[cfg(test)]
mod testing;
mod views;
pub mod yaml;

pub use control::{Buffers, Configure, Control, NetRequest, Setting, TunableChanges};
pub use failure::{Failure, errno};

use alloc::rc::Rc;
use alloc::string::String;

/// The tools of a node.
pub struct Admin<C> {
    control: Rc<C>,
}

impl<C> Clone for Admin<C> {
    fn clone(&self) -> Admin<C> {
        Admin { control: self.control.clone() }
    }
}

impl<C: Control> Admin<C> {
    /// Tools for what `control` reaches.
    pub fn new(control: Rc<C>) -> Admin<C> {
        Admin { control }
    }

    /// `lnetctl WORDS`.
    pub async fn lnetctl(&self, words: &[&str]) -> String {
        match lnetctl::grammar::parse(words) {
            Ok(command) => lnetctl::run(&*self.control, command).await,
            Err(text) => text,
        }
    }

    /// `lctl WORDS`.
    pub async fn lctl(&self, words: &[&str]) -> String {
        lctl::run(&*self.control, words).await
    }

    /// `routerstat [INTERVAL [COUNT]]`.
    pub async fn routerstat(&self, words: &[&str]) -> String {
        routerstat::run(&*self.control, words).await
    }

    /// `cat FILE`, for the files that LNet has on Linux.
    pub fn cat(&self, words: &[&str]) -> String {
        files::cat(&*self.control, words)
    }
}
