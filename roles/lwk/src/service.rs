//! The node as hosts see it: LAUNCH becomes a process, signals reach it, tools get answers.

use crate::Errno;
use crate::control::Control;
use crate::delegate::{Delegate, Handle, Opened};
use crate::files::{FdTable, Vfs};
use crate::identity::{Id, Ids};
use crate::limits::{self, Limit, Limits};
use crate::loading::HostLoader;
use crate::mm::{Duplicate, MmSettings, nodes_with_memory};
use crate::node::{LaunchRequest, Node};
use crate::options::{Settings, nodes};
use crate::sched::HelperRules;
use crate::session::{Answer, Host, Hub, Programs, Session, Tool};
use crate::signals::{SIGKILL, SigInfo, SigSet};
use crate::view::View;
use crate::wall::HostTime;
use crate::watched::{Wanted, Watched};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::sync::Arc;
use keelson_hal::WallClock;
use keelson_hal::user::PageSize;
use keelson_lwk_wire::layout;
use keelson_lwk_wire::messages::{
    Ctrl, ExportedFd, FdKind, Launch, LaunchAck, LaunchFlags, LaunchOptions, Rank,
};

pub(crate) mod refusals;

/// File types (`S_IFMT`).
mod mode {
    pub const FIFO: u32 = 0o010_000;
    pub const CHARACTER: u32 = 0o020_000;
    pub const DIRECTORY: u32 = 0o040_000;
    pub const BLOCK: u32 = 0o060_000;
    pub const REGULAR: u32 = 0o100_000;
    pub const LINK: u32 = 0o120_000;
    pub const SOCKET: u32 = 0o140_000;
}

/// What the sessions ask.
pub struct Service {
    node: Arc<Node>,
    hub: Arc<Hub>,
    loader: Arc<HostLoader>,
    settings: Settings,
    /// What the files of all programs share.
    vfs: Arc<Vfs>,
    control: Rc<Control>,
    time: HostTime,
}

impl Service {
    /// For a node with these settings; tools are answered by `control`, and `wall` is set by hosts where nobody else does.
    pub fn new(
        node: Arc<Node>,
        hub: Arc<Hub>,
        loader: HostLoader,
        settings: Settings,
        control: Rc<Control>,
        wall: Rc<dyn WallClock>,
    ) -> Service {
        let machine = &node.system.machine;
        let memory = (0..machine.nodes()).map(|number| machine.memory(number).1).sum();
        let vfs = Arc::new(Vfs::new(memory));
        vfs.show(Arc::new(View::new(node.clone(), &settings.page_sizes)));
        Service { node, hub, loader: Arc::new(loader), settings, vfs, control, time: HostTime(wall) }
    }

    /// What a host wants to be started.
    pub(crate) fn request(&self, launch: Launch, host: &Host) -> Result<LaunchRequest, Errno> {
        let present = nodes_with_memory(&*self.node.system.machine);
        let memory = MmSettings {
            policy: nodes::policy(&launch.options.numa, present)?,
            ..memory(&self.settings, &launch.options)
        };
        let helpers = helpers(&self.settings, &launch);
        let delegate = self.delegate(launch.options.flags, host);
        request(launch, delegate, memory, helpers, self.loader.clone(), self.vfs.clone())
    }

    /// The host as the program has it: with somebody who looks on where that is wanted.
    fn delegate(&self, flags: LaunchFlags, host: &Host) -> Arc<dyn Delegate> {
        let host = Arc::new(host.clone());
        let wanted = Wanted {
            profile: flags.contains(LaunchFlags::PROFILE),
            json: flags.contains(LaunchFlags::PROFILE_JSON),
            trace: flags.contains(LaunchFlags::TRACE),
        };
        match wanted.profile || wanted.trace {
            true => Arc::new(Watched::new(host, self.node.system.clock.clone(), wanted)),
            false => host,
        }
    }
}

impl Programs for Service {
    fn launch(&self, launch: Launch, session: Arc<Session>) -> Answer<LaunchAck> {
        let host = Host::new(session, self.hub.clone());
        let node = self.node.clone();
        let path = String::from_utf8_lossy(&launch.path).into_owned();
        self.time.told(launch.wall, !self.node.processes().is_empty());
        let impossible = refusals::impossible(&self.settings, &launch);
        let cpu = launch.options.core;
        let request = self.request(launch, &host);
        Box::pin(async move {
            if let Some(refused) = impossible {
                return refused;
            }
            let request = match request {
                Ok(request) => request,
                Err(error) => return refusals::refused(&node, &path, cpu, error),
            };
            let pid = request.pid;
            match node.launch(request).await {
                Ok(launched) => {
                    host.audit(
                        launched
                            .cpus
                            .iter()
                            .filter_map(|cpu| Some((*cpu, *node.settings.compute.get(*cpu)?))),
                    );
                    log::debug!(target: "lwk", "process {pid} is {path}");
                    let machine = &node.system.machine;
                    let memory = (0..machine.nodes()).map(|node| machine.memory(node).1).sum();
                    LaunchAck::Started {
                        cores: launched.cpus.iter().map(|cpu| *cpu as u32).collect(),
                        memory,
                    }
                }
                Err(error) => refusals::refused(&node, &path, cpu, error),
            }
        })
    }

    fn signal(&self, pid: u32, tid: u32, info: layout::SigInfo) {
        let Ok(signal @ 1..=64) = u32::try_from(info.signo) else { return };
        let info = SigInfo::decode(signal, &info.to_bytes());
        // A signal for what has just ended is usual.
        let _ = match tid {
            0 => self.node.process(pid).map(|process| process.signal(info)),
            _ => self.node.thread(tid).filter(|t| t.process.pid == pid).map(|thread| thread.signal(info)),
        };
    }

    fn lost(&self, pid: u32) {
        // One that has ended has told its host so, and is still being buried.
        if let Some(process) = self.node.process(pid).filter(|process| process.end().is_none()) {
            log::warn!(target: "lwk", "process {pid} is ended: its host is gone");
            let _ = process.signal(SigInfo::kernel(SIGKILL));
        }
    }

    fn control(&self, tool: Tool, ctrl: Ctrl) -> Answer<()> {
        Box::pin(self.control.clone().answer(tool, ctrl))
    }
}

fn request(
    launch: Launch,
    delegate: Arc<dyn Delegate>,
    memory: MmSettings,
    helpers: HelperRules,
    loader: Arc<HostLoader>,
    vfs: Arc<Vfs>,
) -> Result<LaunchRequest, Errno> {
    let mut limits = Limits(launch.rlimits.map(|(soft, hard)| Limit { soft, hard }));
    if let (Some(most), Some(stack)) = (launch.options.stack.most, limits.0.get_mut(limits::STACK)) {
        // What is above the hard limit has been refused to others than root.
        *stack = Limit { soft: most, hard: stack.hard.max(most) };
    }
    let files = FdTable::of(vfs, u32::try_from(limits.soft(limits::NOFILE)).unwrap_or(u32::MAX));
    files.fs().launched_in(&launch.cwd);
    for fd in &launch.fds {
        files.install_host(fd.number, &delegate, Handle(fd.handle), opened(fd), fd.flags)?;
    }
    let id = |ids: [u32; 3]| Id { real: ids[0], effective: ids[1], saved: ids[2], file: ids[1] };
    Ok(LaunchRequest {
        pid: launch.pid,
        parent: launch.ppid,
        group: launch.pgid,
        session: launch.sid,
        executable: Handle(launch.executable),
        path: launch.path,
        arguments: launch.argv,
        environment: launch.envp,
        ids: Ids { user: id(launch.uids), group: id(launch.gids), groups: Arc::new(launch.groups) },
        limits,
        umask: launch.umask,
        blocked: SigSet(launch.blocked),
        ignored: SigSet(launch.ignored),
        slices: launch.rank.processes as usize,
        slice: Some(launch.rank.index as usize).filter(|_| launch.rank.index != Rank::UNKNOWN),
        cpu: launch.options.core.map(|core| core as usize),
        keeps: launch.options.flags.contains(LaunchFlags::NO_SCHED_YIELD),
        small_pages: launch.options.flags.contains(LaunchFlags::NO_THP),
        helpers,
        memory,
        files: Arc::new(files),
        delegate,
        loader,
    })
}

fn opened(fd: &ExportedFd) -> Opened {
    let mode = match fd.kind {
        FdKind::Regular | FdKind::Other => mode::REGULAR,
        FdKind::Directory => mode::DIRECTORY,
        FdKind::Terminal | FdKind::Character => mode::CHARACTER,
        FdKind::Block => mode::BLOCK,
        FdKind::Pipe | FdKind::Inotify | FdKind::MessageQueue => mode::FIFO,
        FdKind::Socket => mode::SOCKET,
        FdKind::Link => mode::LINK,
    };
    let seekable = matches!(fd.kind, FdKind::Regular | FdKind::Block | FdKind::Directory);
    Opened {
        stat: layout::Stat { mode, ..Default::default() },
        seekable,
        terminal: fd.kind == FdKind::Terminal,
    }
}

fn memory(settings: &Settings, options: &LaunchOptions) -> MmSettings {
    let has = |flag| options.flags.contains(flag);
    MmSettings {
        huge: settings.page_sizes.contains(&PageSize::Huge),
        large: settings.page_sizes.contains(&PageSize::Large),
        automatic: settings.thp,
        prefault: settings.prefault,
        duplicate: if settings.fork_cow { Duplicate::CopyOnWrite } else { Duplicate::Copy },
        extend_heap_by: options.heap_step,
        shm_premap: has(LaunchFlags::MPOL_SHM_PREMAP),
        stack_premap: options.stack.premap,
        policy_threshold: options.mpol_threshold,
        policy_not_heap: has(LaunchFlags::MPOL_NO_HEAP),
        policy_not_stack: has(LaunchFlags::MPOL_NO_STACK),
        policy_not_bss: has(LaunchFlags::MPOL_NO_BSS),
        vdso: !has(LaunchFlags::NO_VDSO),
        ..MmSettings::default()
    }
}

fn helpers(settings: &Settings, launch: &Launch) -> HelperRules {
    let options = &launch.options;
    HelperRules {
        allowance: launch.helpers.map_or(settings.helpers, |helpers| helpers as usize),
        rank: Some(options.uti_thread_rank).filter(|rank| *rank != 0),
        first: options.helper_first,
        name: None,
        // With ranks of an MPI job, threads beyond the slice are its library's.
        overflow: options.flags.contains(LaunchFlags::HELPER_AUTO) || launch.rank.processes > 0,
        last: options.flags.contains(LaunchFlags::UTI_LAST_CPU),
    }
}
