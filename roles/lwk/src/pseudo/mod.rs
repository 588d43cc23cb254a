//! /proc and /sys as the node serves them (section 3.12).
//!
//! Formats: proc(5) and the kernel's documentation of sysfs (ABI/stable/sysfs-devices-system-cpu, -node). Content is made when a
//! file is read from its beginning. What it tells comes from a [`NodeView`].

mod file;
mod memory_maps;
mod proc;
mod process;
mod status;
mod sys;
mod sysvipc;
#[cfg(test)]
mod tests;
mod text;
mod view;

pub(crate) use memory_maps::maps;
pub(crate) use text::Text;

pub use file::{DirectoryFile, Entries, PseudoFile};
pub use status::list;
pub use sys::SysTree;
pub use view::{
    AreaView, CacheView, CpuView, Each, MemoryUse, NodeCounts, NodeFacts, NodeView, NumaView, ProcessView,
    QueueView, SetView, ThreadView,
};

use crate::Errno;
use alloc::vec::Vec;

/// Who looks: /proc/self and /proc/thread-self are about it.
#[derive(Clone, Copy, Debug)]
pub struct Looker {
    /// Its process.
    pub pid: u32,
    /// Its thread.
    pub tid: u32,
}

/// Something below /proc or /sys.
pub enum Entry {
    /// A directory with its entries.
    Directory(Entries),
    /// A file: its permissions and how its content is made.
    File(u32, Content),
    /// A link to a path.
    Link(Vec<u8>),
    /// A link of /proc/[pid]/fd: process and number.
    Descriptor(u32, u32),
}

/// The text of a file; ENOMEM.
pub type Made = Result<Text, Errno>;

/// How the content of a file is made.
pub enum Content {
    /// It does not change.
    Bytes(Vec<u8>),
    /// Of the node.
    Node(fn(&dyn NodeView, Looker) -> Made),
    /// Of a process and one of its threads.
    Process(fn(&dyn NodeView, &ProcessView, u32) -> Made, u32, u32),
    /// /proc/[pid]/fdinfo/[fd]: of a process and its descriptor.
    Descriptor(u32, u32),
    /// meminfo of a NUMA node.
    Numa(usize),
    /// /proc/[pid]/mem.
    Memory(u32),
    /// /proc/[pid]/pagemap.
    PageMap(u32),
}

impl Content {
    /// Makes it. ESRCH when the process is gone.
    pub fn make(&self, view: &dyn NodeView, looker: Looker) -> Made {
        match self {
            Content::Bytes(bytes) => Text::of(bytes),
            Content::Node(make) => make(view, looker),
            Content::Process(make, pid, tid) => make(view, &view.process(*pid).ok_or(Errno::ESRCH)?, *tid),
            Content::Descriptor(pid, fd) => {
                let process = view.process(*pid).ok_or(Errno::ESRCH)?;
                process::descriptor(&process, *fd)
            }
            Content::Numa(number) => sys::memory(view, *number),
            Content::Memory(_) | Content::PageMap(_) => Ok(Text::default()),
        }
    }
}

/// What lies at a path below /proc, given as its components; ENOENT.
pub fn find_proc(view: &dyn NodeView, looker: Looker, parts: &[&[u8]]) -> Result<Entry, Errno> {
    proc::find(view, looker, parts)
}

/// Where a link below /proc leads to, without looking at anything else; `None` for what is no link to a path.
pub fn proc_link(view: &dyn NodeView, looker: Looker, parts: &[&[u8]]) -> Option<Vec<u8>> {
    match parts {
        [b"self" | b"thread-self"] | [_, b"exe" | b"cwd" | b"root"] => {
            match proc::find(view, looker, parts).ok()? {
                Entry::Link(target) => Some(target),
                _ => None,
            }
        }
        _ => None,
    }
}
