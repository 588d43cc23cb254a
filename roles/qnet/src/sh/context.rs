//! What commands run in: descriptors, directory, environment, and who is told of Ctrl-C.

use crate::api::Credentials;
use crate::client::Files;
use crate::procs::{Descriptors, Group, Process, Processes, Start, absolute, signal, write_all};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use keelson_qnet_wire::Errno;

/// How a line ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// With this status.
    Status(i32),
    /// The shell is to end with this status.
    Exit(i32),
}

/// What commands run in.
pub struct Context {
    pub(super) processes: Processes,
    who: Credentials,
    /// The shell's own process.
    pid: u32,
    env: Vec<String>,
    umask: u32,
    cwd: RefCell<String>,
    pub(super) fds: Descriptors,
    pub(super) background: RefCell<Vec<u32>>,
    pub(super) last: Cell<i32>,
    /// In front of a terminal of this machine: pipelines have groups of their own, and are told of Ctrl-C from here.
    pub(super) is_interactive: bool,
}

impl Context {
    pub(super) fn interactive(
        processes: &Processes,
        pid: u32,
        env: Vec<String>,
        fds: Descriptors,
    ) -> Result<Context, Errno> {
        let who = processes.kernel().credentials(pid)?;
        Ok(Context {
            processes: processes.clone(),
            who,
            pid,
            env,
            umask: 0o22,
            cwd: RefCell::new("/".into()),
            fds,
            background: RefCell::default(),
            last: Cell::new(0),
            is_interactive: true,
        })
    }

    /// What the commands of a program `sh` run in.
    pub fn of_process(process: &Process) -> Context {
        Context {
            processes: process.processes().clone(),
            who: *process.who(),
            pid: process.pid(),
            env: process.environment().to_vec(),
            umask: process.umask(),
            cwd: RefCell::new(process.cwd()),
            fds: process.descriptors(),
            background: RefCell::default(),
            last: Cell::new(0),
            is_interactive: false,
        }
    }

    /// Files as they are now: Qnet may have been mounted since the last line.
    pub(super) fn files(&self) -> Files {
        self.processes.files(&self.who)
    }

    /// The working directory.
    pub fn cwd(&self) -> String {
        self.cwd.borrow().clone()
    }

    pub(super) fn set_cwd(&self, cwd: String) {
        *self.cwd.borrow_mut() = cwd;
    }

    pub(super) fn path(&self, path: &str) -> String {
        absolute(&self.cwd.borrow(), path)
    }

    pub(super) fn env(&self, name: &str) -> Option<&str> {
        let mut pairs = self.env.iter().filter_map(|text| text.split_once('='));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub(super) fn new_mode(&self) -> u32 {
        0o666 & !self.umask
    }

    /// Starts a command in a group: that of the shell, or of the first of its pipeline.
    pub(super) async fn spawn(
        &self,
        args: Vec<String>,
        fds: Descriptors,
        leader: Option<u32>,
    ) -> Result<u32, Errno> {
        let path = args.first().cloned().unwrap_or_default();
        let group = match leader {
            _ if !self.is_interactive => Group::Parents,
            None => Group::Own,
            Some(leader) => Group::Of(leader),
        };
        let start = Start {
            path: &path,
            search: Some(self.env("PATH").unwrap_or(crate::procs::SEARCH_PATH)),
            args,
            env: self.env.clone(),
            cwd: self.cwd(),
            umask: self.umask,
            who: self.who,
            parent: self.pid,
            group,
            fds,
        };
        self.processes.spawn(start).await
    }

    /// Says what is wrong.
    pub(super) async fn complain(&self, text: &str) {
        if let Some(errors) = self.fds.get(&2) {
            // Whoever cannot be told cannot be told that either.
            let _ = write_all(&**errors, format!("sh: {text}\n").as_bytes()).await;
        }
    }

    /// Those in the background that have ended are forgotten.
    pub(super) fn reap(&self) {
        self.background
            .borrow_mut()
            .retain(|pid| self.processes.try_wait(*pid).is_none() && self.processes.is_known(*pid));
    }
}

/// Processes in the foreground. If the shell stops waiting for them, that is Ctrl-C.
pub(super) struct Foreground<'a> {
    pub context: &'a Context,
    pub pids: Vec<u32>,
}

impl Drop for Foreground<'_> {
    fn drop(&mut self) {
        if !self.context.is_interactive {
            return;
        }
        for pid in &self.pids {
            // It may have ended already.
            let _ = self.context.processes.signal(*pid, signal::INT);
            self.context.processes.detach(*pid);
        }
    }
}
