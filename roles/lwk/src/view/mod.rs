//! The node as /proc and /sys show it (section 3.12).

mod areas;
mod processors;

use crate::Errno;
use crate::cpuid::Cpuid;
use crate::files::Cwd;
use crate::mm::{Mm, NODES_MOST, PAGE, SegmentView, nodes_with_memory};
use crate::node::Node;
use crate::process::Process;
use crate::pseudo::{
    self, AreaView, CpuView, Each, MemoryUse, NodeCounts, NodeFacts, NodeView, NumaView, ProcessView,
    QueueView, SetView, Text, ThreadView,
};
use crate::room;
use crate::signals::{SIG_DFL, SIG_IGN};
use crate::syscalls::misc::{RELEASE, VERSION};
use crate::sysv::Member;
use crate::table::{Ended, FIRST_TID};
use crate::thread::{Thread, Wait};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use keelson_hal::Instant;
use keelson_hal::user::{CoreEntries, PageSize};

/// The APIC id of a processor that has not said it yet.
const UNKNOWN: u32 = u32::MAX;

/// Numbers of namespaces begin above those that Linux gives to its first ones.
const NAMESPACES: u32 = 0xf000_0000;

/// The node, to be shown.
pub struct View {
    node: Arc<Node>,
    boot_id: [u8; 16],
    /// Sizes of large pages that programs get.
    large_pages: Vec<u64>,
    /// APIC ids of the compute cores, as far as they have said them.
    apic: Arc<[AtomicU32]>,
}

impl View {
    /// Of a node that gives programs pages of these sizes. Its cores are asked where they lie.
    pub fn new(node: Arc<Node>, page_sizes: &[PageSize]) -> View {
        let mut boot_id = [0; 16];
        node.system.entropy.fill(&mut boot_id);
        let machine = &node.system.machine;
        let sizes = [PageSize::Large, PageSize::Huge].into_iter();
        let large_pages = sizes
            .filter(|size| page_sizes.contains(size) && machine.has_pages(*size))
            .map(PageSize::bytes)
            .collect();
        let apic: Arc<[AtomicU32]> = node.settings.compute.iter().map(|_| AtomicU32::new(UNKNOWN)).collect();
        for (cpu, core) in node.settings.compute.iter().enumerate() {
            let (apic, machine) = (apic.clone(), machine.clone());
            let ask = move || {
                let number = Cpuid(&|leaf, sub| machine.cpuid(leaf, sub)).apic();
                apic.get(cpu).into_iter().for_each(|place| place.store(number, Ordering::Relaxed));
            };
            // A core that takes no work runs no threads either.
            let _ = (node.system.run_on)(*core, Box::new(move |_| ask()));
        }
        View { node, boot_id, large_pages, apic }
    }

    /// NUMA nodes of which programs may have memory.
    fn memory_nodes(&self) -> Vec<usize> {
        let nodes = nodes_with_memory(&*self.node.system.machine);
        (0..NODES_MOST).filter(|node| nodes & 1 << node != 0).collect()
    }

    fn up(&self) -> Duration {
        self.node.system.clock.now().saturating_since(Instant::ZERO)
    }

    /// APIC id of a logical CPU; the number of its core when it has not said it.
    fn apic(&self, cpu: usize) -> u32 {
        let said = self.apic.get(cpu).map_or(UNKNOWN, |number| number.load(Ordering::Relaxed));
        let core = self.node.settings.compute.get(cpu).copied().unwrap_or(cpu);
        if said == UNKNOWN { core as u32 } else { said }
    }
}

/// /proc/[pid]/maps of an address space.
pub(crate) fn maps(mm: &Mm) -> Result<Text, Errno> {
    let mut out = Text::default();
    areas::show(mm, &mut |area| pseudo::maps(&mut out, area))?;
    Ok(out)
}

/// What ended and was not waited for yet: names and numbers, and the time that it took.
impl View {
    fn zombie(&self, pid: u32) -> Option<ProcessView> {
        let table = self.node.table.lock();
        let member = table.member(pid)?;
        let Ended { own, total, started, .. } = member.exit?;
        let children = (total.user.saturating_sub(own.user), total.system.saturating_sub(own.system));
        Some(ProcessView {
            pid,
            parent: member.parent,
            group: member.group,
            session: member.session,
            uids: [member.uid; 4],
            threads: Vec::from([pid]),
            started: Duration::from_nanos(started),
            children_times: children,
            faults: (own.minor_faults, own.major_faults),
            ..ProcessView::default()
        })
    }

    /// The first thread of a process, when it has ended: the process has, too, or is about to, or other threads go on.
    fn first_thread(&self, pid: u32) -> Option<ThreadView> {
        let gone = ThreadView { state: 'Z', ..ThreadView::default() };
        if let Some(process) = self.node.process(pid) {
            return Some(ThreadView {
                name: process.program.lock().name().iter().copied().take(15).collect(),
                ..gone
            });
        }
        let Ended { own, name, .. } = self.node.table.lock().member(pid)?.exit?;
        Some(ThreadView {
            name: name.into_iter().take_while(|byte| *byte != 0).collect(),
            times: (own.user, own.system),
            switches: (own.voluntary, own.involuntary),
            ..gone
        })
    }
}

impl NodeView for View {
    fn facts(&self) -> NodeFacts {
        let (node, clock) = (&self.node, &self.node.system.clock);
        let helpers = if node.settings.service.is_empty() { 0 } else { node.settings.helpers };
        let threads = node.settings.compute.len() * node.settings.oversubscribe.max(1) + helpers;
        let [a, b, c, d, ..] = self.boot_id;
        NodeFacts {
            name: node.settings.name.clone(),
            release: String::from(RELEASE),
            version: String::from(VERSION),
            command_line: node.settings.command_line.clone(),
            boot_id: self.boot_id,
            // Room for those of one node.
            namespace: NAMESPACES | u32::from_le_bytes([a, b, c, d]) & 0x0fff_fff0,
            booted: clock.wall().saturating_sub(self.up()),
            tsc_hertz: node.system.machine.tsc().1,
            large_pages: self.large_pages.clone(),
            pid_max: FIRST_TID,
            threads_max: u32::try_from(threads).unwrap_or(u32::MAX),
            shm_pages: node.system.memory.shm_settings().pages(&*node.system.machine),
            shm_rmid_forced: node.system.memory.shm_settings().forced,
        }
    }

    fn is_short(&self) -> bool {
        self.node.system.machine.is_short()
    }

    fn cpu_count(&self) -> usize {
        self.node.settings.compute.len()
    }

    fn cpus(&self) -> Result<Vec<CpuView>, Errno> {
        let apics: Vec<u32> = (0..self.node.settings.compute.len()).map(|cpu| self.apic(cpu)).collect();
        processors::all(&self.node, &apics, self.up())
    }

    fn memory(&self) -> Vec<NumaView> {
        let (machine, memory) = (&self.node.system.machine, &self.node.system.memory);
        let count = machine.nodes();
        let of_nodes: Vec<(u64, u64)> = (0..count).map(|node| machine.memory(node)).collect();
        let used = |(free, total): (u64, u64)| total.saturating_sub(free);
        let all: u64 = of_nodes.iter().map(|node| used(*node)).sum();
        let cached = memory.cached().min(all);
        let shared = (memory.shm_info().resident * PAGE).min(all - cached);
        // The books of files and segments are not kept by NUMA node: each has its part of them.
        let part = |of: u64, node| (u128::from(of) * u128::from(used(node)) / u128::from(all.max(1))) as u64;
        let views = of_nodes.iter().enumerate().map(|(number, node)| {
            let (cached, shared) = (part(cached, *node), part(shared, *node));
            NumaView {
                total: node.1,
                free: node.0,
                cached,
                anonymous: used(*node).saturating_sub(cached + shared),
                shared,
                distances: (0..count).map(|other| machine.distance(number, other)).collect(),
            }
        });
        views.collect()
    }

    fn interrupts(&self) -> Vec<CoreEntries> {
        let compute = self.node.settings.compute.iter();
        compute.map(|core| self.node.system.machine.entries(*core)).collect()
    }

    fn uptime(&self) -> (Duration, Duration) {
        let up = self.up();
        let idle =
            (0..self.node.settings.compute.len()).filter_map(|cpu| self.node.core_of_cpu(cpu)).map(|core| {
                let used = core.usage(up);
                up.saturating_sub(used.user + used.system)
            });
        (up, idle.sum())
    }

    fn counts(&self) -> NodeCounts {
        NodeCounts {
            switches: self.node.cores().map(|core| core.switches()).sum(),
            forks: self.node.table.lock().begun(),
        }
    }

    fn segments(&self, each: Each<'_, SegmentView>) -> Result<(), Errno> {
        self.node.system.memory.shm_all().try_for_each(|segment| each(&segment))
    }

    fn semaphores(&self, each: Each<'_, SetView>) -> Result<(), Errno> {
        self.node.sysv.semaphores.all_with_ids().try_for_each(|(id, set)| {
            let permission = *set.permission().lock();
            each(&SetView { id, permission, count: set.count(), times: set.times() })
        })
    }

    fn queues(&self, each: Each<'_, QueueView>) -> Result<(), Errno> {
        self.node.sysv.messages.all_with_ids().try_for_each(|(id, queue)| {
            let permission = *queue.permission().lock();
            each(&QueueView { id, permission, stat: queue.stat() })
        })
    }

    fn processes(&self) -> Result<Vec<u32>, Errno> {
        room::collect(self.node.table.lock().members().map(|(pid, _)| pid))
    }

    fn process(&self, pid: u32) -> Option<ProcessView> {
        let Some(process) = self.node.process(pid) else { return self.zombie(pid) };
        let (group, session) = self.node.group_and_session(pid)?;
        let (ids, program, files) =
            (process.ids.lock().clone(), process.program.lock().clone(), process.files());
        let all = |id: &crate::identity::Id| [id.real, id.effective, id.saved, id.file];
        let (used, children) = (process.usage(), process.children_usage());
        let (ignored, caught) = dispositions(&process);
        let limits = *process.limits.lock();
        Some(ProcessView {
            pid,
            parent: process.parent.load(Ordering::Relaxed),
            group,
            session,
            uids: all(&ids.user),
            gids: all(&ids.group),
            groups: ids.groups,
            program,
            cwd: match files.fs().cwd() {
                Cwd::Host(path) | Cwd::Local(path) => path,
                Cwd::Unknown => b"/".to_vec(),
            },
            threads: process.threads().iter().map(|thread| thread.tid).collect(),
            started: Duration::from_nanos(process.started),
            children_times: (children.user, children.system),
            memory: memory_use(&process),
            pending: process.signals.pending().0,
            ignored,
            caught,
            limits: limits.0.map(|limit| (limit.soft, limit.hard)),
            umask: process.umask.load(Ordering::Relaxed),
            faults: (used.minor_faults, used.major_faults),
            io: [0; 4],
            files: Some(files),
            oom_adjust: process.facts.oom_adjust.load(Ordering::Relaxed),
            no_new_privileges: process.facts.no_new_privileges.load(Ordering::Relaxed),
        })
    }

    fn thread(&self, pid: u32, tid: u32) -> Option<ThreadView> {
        let Some(thread) = self.node.thread(tid).filter(|thread| thread.process.pid == pid) else {
            return (pid == tid).then(|| self.first_thread(pid)).flatten();
        };
        let process = &thread.process;
        let used = thread.times.usage(self.node.system.clock.now().as_nanos());
        let allowed = thread.placement.lock().affinity.and(process.slice.cpus);
        Some(ThreadView {
            name: thread.comm(),
            state: state_of(&thread),
            cpu: self.node.cpu_of_core(thread.core.load(Ordering::Relaxed)),
            times: (used.user, used.system),
            pending: thread.signals.pending().0,
            blocked: thread.signals.mask().0,
            cpus: (0..self.node.settings.compute.len()).filter(|cpu| allowed.has(*cpu)).collect(),
            policy: *thread.policy.lock(),
            memory_nodes: self.memory_nodes(),
            switches: (used.voluntary, used.involuntary),
        })
    }

    fn areas(&self, pid: u32, each: Each<'_, AreaView>) -> Result<(), Errno> {
        self.mm(pid).map_or(Ok(()), |mm| areas::show(&mm, each))
    }

    fn of_objects(&self, pid: u32) -> (u64, u64) {
        self.mm(pid).map_or((0, 0), |mm| areas::of_objects(&mm))
    }

    fn mm(&self, pid: u32) -> Option<Arc<Mm>> {
        self.node.process(pid).map(|process| process.mm())
    }

    fn write(&self, pid: u32, tid: u32, file: &str, text: &[u8]) -> Result<(), Errno> {
        let thread = self.node.thread(tid).filter(|thread| thread.process.pid == pid).ok_or(Errno::ESRCH)?;
        match file {
            "comm" => {
                thread.set_comm(text.strip_suffix(b"\n").unwrap_or(text));
                Ok(())
            }
            "oom_score_adj" => {
                let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
                let value: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
                if !(-1000..=1000).contains(&value) {
                    return Err(Errno::EINVAL);
                }
                thread.process.facts.oom_adjust.store(value, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(Errno::EACCES),
        }
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.node.system.entropy.fill(&mut bytes);
        bytes
    }
}

/// Signals that are ignored, and that are caught.
fn dispositions(process: &Process) -> (u64, u64) {
    let actions = process.signals.actions.lock();
    (1..=64).fold((0, 0), |(ignored, caught), signal| match actions.get(signal).handler {
        SIG_DFL => (ignored, caught),
        SIG_IGN => (ignored | 1 << (signal - 1), caught),
        _ => (ignored, caught | 1 << (signal - 1)),
    })
}

fn memory_use(process: &Process) -> MemoryUse {
    let usage = process.mm().usage();
    MemoryUse {
        size: usage.size,
        // What was mapped at most is not counted.
        peak_size: usage.size,
        resident: usage.resident,
        peak_resident: usage.resident_most.max(usage.resident),
        text: usage.text,
        data: usage.data,
        stack: usage.stack,
        tables: 0,
        locked: usage.locked,
    }
}

/// What proc(5) calls the state of a thread: R, S, D, T.
pub fn state_of(thread: &Thread) -> char {
    match (thread.times.is_running(), thread.process.stopped()) {
        (true, _) => 'R',
        (false, Some(_)) => 'T',
        (false, None) if thread.waits_for() == Wait::Host => 'D',
        (false, None) if thread.is_waiting() => 'S',
        // Ready, while another thread has the core.
        (false, None) => 'R',
    }
}
