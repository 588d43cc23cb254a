//! User mode as one object, for roles.

use super::{extended, pool, space};
use crate::arch::cpu;
use crate::mm::frames;
use crate::{numa, postmortem, smp, time};
use alloc::sync::Arc;
use keelson_hal::user::{AddressSpace, CoreEntries, ExtendedState, Frame, PageSize, UserMachine};

/// The machine, able to run programs: exists once [`super::init`] went well.
#[derive(Clone, Copy, Debug)]
pub struct UserMode(());

impl UserMode {
    pub(super) fn new() -> UserMode {
        UserMode(())
    }

    /// Lets programs have so many bytes of each NUMA node, and of further ones nothing. Before there are programs.
    pub fn limit_memory(&self, bytes: &[u64]) {
        (0..numa::nodes()).for_each(|node| pool::limit(node, bytes.get(node).copied().unwrap_or(0)));
    }
}

impl UserMachine for UserMode {
    fn allocate(&self, size: PageSize, node: usize) -> Option<Frame> {
        pool::allocate(size, node)
    }
    fn allocate_on(&self, size: PageSize, node: usize) -> Option<Frame> {
        pool::allocate_on(size, node)
    }
    fn memory(&self, node: usize) -> (u64, u64) {
        pool::memory(node)
    }
    fn is_short(&self) -> bool {
        frames::is_short()
    }
    fn nodes(&self) -> usize {
        numa::nodes()
    }
    fn distance(&self, from: usize, to: usize) -> u32 {
        numa::topology().distance(from, to).into()
    }
    fn node_of_memory(&self, address: u64) -> Option<usize> {
        Some(numa::node_of_memory(address))
    }
    fn has_pages(&self, size: PageSize) -> bool {
        space::has_pages(size)
    }
    fn new_space(&self) -> Option<Arc<dyn AddressSpace>> {
        space::new()
    }
    fn new_extended(&self) -> Option<Arc<dyn ExtendedState>> {
        extended::new()
    }
    fn cores(&self) -> usize {
        smp::online()
    }
    fn node_of(&self, core: usize) -> usize {
        numa::node_of_core(core)
    }
    fn here(&self) -> usize {
        numa::node_of_core(smp::current_core())
    }
    fn kick(&self, core: usize) {
        smp::kick(core);
    }
    fn entries(&self, core: usize) -> CoreEntries {
        if core < smp::online() { smp::cpu(core).entries.read() } else { CoreEntries::default() }
    }
    fn tsc(&self) -> (u64, u64) {
        (cpu::rdtsc(), time::tsc_hz())
    }
    fn tsc_is_clock(&self) -> bool {
        time::source() == time::ClockSource::Tsc
    }
    fn process_began(&self, pid: u32, space: &dyn AddressSpace, name: &[u8]) {
        postmortem::process_began(pid, space, name);
    }
    fn process_ended(&self, pid: u32) {
        postmortem::process_ended(pid);
    }
    fn cpuid(&self, leaf: u32, sub: u32) -> [u32; 4] {
        let result = cpu::cpuid(leaf, sub);
        [result.eax, result.ebx, result.ecx, result.edx]
    }
}
