//! How processes start.

use super::Processes;
use crate::api::Credentials;
use crate::procs::entry::{End, Entry, Phase, Signals, Spawner, Thread};
use crate::procs::process::Process;
use crate::procs::program::{self, Loaded, Wanted};
use crate::procs::stream::Stream;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use keelson_exec::sync::Notify;
use keelson_qnet_wire::Errno;

/// Descriptors by number.
pub type Descriptors = BTreeMap<i32, Rc<dyn Stream>>;

/// Process group of a new process.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Group {
    /// That of its parent.
    #[default]
    Parents,
    /// One of its own.
    Own,
    /// This one.
    Of(u32),
}

/// What a process starts with.
pub struct Start<'a> {
    /// The program: a path, or a name to be looked for in `search`.
    pub path: &'a str,
    /// Directories, separated by colons; see [`crate::procs::SEARCH_PATH`].
    pub search: Option<&'a str>,
    /// Arguments, the name of the program first.
    pub args: Vec<String>,
    /// Environment: `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// Mask for new files.
    pub umask: u32,
    /// Its user.
    pub who: Credentials,
    /// Its parent.
    pub parent: u32,
    /// Its group.
    pub group: Group,
    /// Its descriptors.
    pub fds: Descriptors,
}

/// What a process that another node asked for starts with besides.
pub(in crate::procs) struct Extra {
    pub spawner: Option<Spawner>,
    pub nozombie: bool,
    pub ignored: u64,
    pub priority: Option<u8>,
}

impl Processes {
    /// Finds a program and starts a process of it; its id.
    pub async fn spawn(&self, start: Start<'_>) -> Result<u32, Errno> {
        let loaded = self.load(&start, true).await?;
        let extra = Extra { spawner: None, nozombie: false, ignored: 0, priority: None };
        self.start(start, loaded, extra, |_| ())
    }

    pub(in crate::procs) async fn load(&self, start: &Start<'_>, scripts: bool) -> Result<Loaded, Errno> {
        let files = (&self.files(&start.who), &self.files(&Credentials::default()));
        let wanted = Wanted { path: start.path, cwd: &start.cwd, search: start.search, scripts };
        program::find(self.0.programs, files, wanted).await
    }

    /// A process of the kernel's for one that is to be started, with a place in the table.
    pub(in crate::procs) fn reserve(&self, who: &Credentials) -> Result<Reserved, Errno> {
        let starting = self.0.starting.get();
        if self.running() + starting >= self.0.config.processes {
            return Err(Errno::EAGAIN);
        }
        let pid = self.0.kernel.create_process(who)?;
        self.0.starting.set(starting + 1);
        Ok(Reserved { processes: self.clone(), pid, is_used: false })
    }

    fn start(
        &self,
        start: Start<'_>,
        loaded: Loaded,
        extra: Extra,
        before: impl FnOnce(u32),
    ) -> Result<u32, Errno> {
        let reserved = self.reserve(&start.who)?;
        before(reserved.pid);
        self.start_reserved(reserved, start, loaded, extra)
    }

    pub(in crate::procs) fn start_reserved(
        &self,
        mut reserved: Reserved,
        start: Start<'_>,
        loaded: Loaded,
        extra: Extra,
    ) -> Result<u32, Errno> {
        let config = self.0.config;
        let strings = start.args.iter().chain(&start.env).fold(0_usize, |sum, text| sum + text.len() + 1);
        if strings > config.arguments {
            return Err(Errno::E2BIG);
        }
        if start.fds.len() > config.descriptors {
            return Err(Errno::EMFILE);
        }
        let pid = reserved.pid;
        let kernel = &self.0.kernel;
        match start.group {
            Group::Own => {}
            Group::Parents => kernel.set_process_group(pid, kernel.process_group(start.parent)?)?,
            Group::Of(group) => kernel.set_process_group(pid, group)?,
        }
        let args = match loaded.script {
            Some(script) => script.into_iter().chain(start.args.into_iter().skip(1)).collect(),
            None => start.args,
        };
        let priority = extra.priority.unwrap_or(Thread::READY.priority);
        let entry = Rc::new(Entry {
            pid,
            parent: Cell::new(start.parent),
            path: loaded.path,
            args,
            env: start.env,
            cwd: RefCell::new(start.cwd),
            umask: start.umask,
            who: kernel.credentials(pid)?,
            started: self.0.system.wall_time(),
            spawner: extra.spawner,
            nozombie: Cell::new(extra.nozombie),
            fds: RefCell::new(start.fds),
            signals: Signals::new(extra.ignored),
            thread: Cell::new(Thread { priority, ..Thread::READY }),
            phase: Cell::new(Phase::Running),
            changed: Notify::new(),
            task: RefCell::new(None),
            service: None,
        });
        self.0.list.borrow_mut().insert(pid, entry.clone());
        reserved.is_used = true;
        let process = Process::new(self, &entry);
        let (processes, of_task) = (self.clone(), entry.clone());
        let main = (loaded.program.main)(process);
        let task = kernel.executor().spawn(loaded.program.name, async move {
            let status = main.await;
            processes.end(&of_task, End::Exited(status & 0xff));
        });
        *entry.task.borrow_mut() = Some(task);
        Ok(pid)
    }
}

/// A process of the kernel's that has no task yet.
pub(in crate::procs) struct Reserved {
    processes: Processes,
    pub pid: u32,
    is_used: bool,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let shared = &self.processes.0;
        shared.starting.set(shared.starting.get().saturating_sub(1));
        if !self.is_used {
            shared.kernel.end_process(self.pid);
        }
    }
}
