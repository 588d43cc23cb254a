//! Memory of a node that runs or waits, asked for page by page.

use std::cell::RefCell;
use std::collections::HashMap;

use keelson_lwk_wire::dump::Info;

use super::elf::PAGE;
use super::memory::{Memory, Unread};
use crate::problem::Problem;
use crate::tools::remote::Remote;

/// Pages that are kept.
const KEPT: usize = 4096;

/// A connection for a node's memory.
pub struct LiveMemory(RefCell<State>);

struct State {
    remote: Remote,
    /// What was read once is not asked for again.
    pages: HashMap<u64, Vec<u8>>,
}

impl LiveMemory {
    /// Over this connection, which must be one for an administrator.
    pub fn new(remote: Remote) -> LiveMemory {
        LiveMemory(RefCell::new(State { remote, pages: HashMap::new() }))
    }

    /// The kernel's block.
    pub fn info(&self) -> Result<Info, Problem> {
        let mut state = self.0.borrow_mut();
        let bytes = state.remote.ask_bytes("info", &[])?;
        Info::decode(&bytes).map_err(|error| Problem::failed("the kernel's block", error))
    }

    fn page(&self, physical: u64, within: usize, into: &mut [u8]) -> Result<(), Unread> {
        let mut state = self.0.borrow_mut();
        let State { remote, pages } = &mut *state;
        if !pages.contains_key(&physical) {
            let args = [physical.to_string(), PAGE.to_string()];
            let bytes =
                remote.ask_bytes("memory", &args).map_err(|problem| Unread::Failed(problem.to_string()))?;
            if pages.len() >= KEPT {
                pages.clear();
            }
            pages.insert(physical, bytes);
        }
        let page = pages.get(&physical).map(Vec::as_slice).unwrap_or_default();
        let from = page.get(within..within + into.len()).ok_or(Unread::Absent(physical))?;
        into.copy_from_slice(from);
        Ok(())
    }
}

impl Memory for LiveMemory {
    fn read(&self, physical: u64, into: &mut [u8]) -> Result<(), Unread> {
        let (mut at, mut rest) = (physical, into);
        while !rest.is_empty() {
            let within = (at % PAGE) as usize;
            let here = rest.len().min(PAGE as usize - within);
            let (now, later) = rest.split_at_mut(here);
            self.page(at - at % PAGE, within, now)?;
            (at, rest) = (at.checked_add(here as u64).ok_or(Unread::Absent(at))?, later);
        }
        Ok(())
    }
}
