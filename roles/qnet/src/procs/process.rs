//! What a program has: arguments, descriptors, files.

use super::entry::{Entry, Thread, signal};
use super::stream::{Closed, Stream, write_all};
use super::table::{Descriptors, Group, Processes, Start};
use crate::api::Credentials;
use crate::client::{Files, OpenFlags};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::pending;
use core::time::Duration;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::proc::ThreadState;

/// Bytes of output that are held back.
const HELD: usize = 8192;

/// The end of a program with a status other than 0. What was wrong has been said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit(pub i32);

/// A process, as its program has it.
pub struct Process {
    processes: Processes,
    entry: Rc<Entry>,
    files: Files,
    held: RefCell<Vec<u8>>,
}

impl Process {
    pub(super) fn new(processes: &Processes, entry: &Rc<Entry>) -> Process {
        let files = processes.files(&entry.who);
        Process { processes: processes.clone(), entry: entry.clone(), files, held: RefCell::default() }
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.entry.pid
    }

    /// Its parent's id.
    pub fn parent(&self) -> u32 {
        self.entry.parent.get()
    }

    /// The name by which it was called, without directories.
    pub fn name(&self) -> &str {
        self.entry.args.first().map_or(self.entry.name(), |name| name.rsplit('/').next().unwrap_or_default())
    }

    /// Arguments, without the name.
    pub fn args(&self) -> &[String] {
        self.entry.args.get(1..).unwrap_or_default()
    }

    /// Value of a variable of the environment.
    pub fn env(&self, name: &str) -> Option<&str> {
        let value = |text: &'_ String| text.split_once('=').is_some_and(|(known, _)| known == name);
        let text = self.entry.env.iter().find(|text| value(text))?;
        text.split_once('=').map(|(_, value)| value)
    }

    /// Its whole environment.
    pub fn environment(&self) -> &[String] {
        &self.entry.env
    }

    /// Its user.
    pub fn who(&self) -> &Credentials {
        &self.entry.who
    }

    /// Files as its user has them.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The node's processes.
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// Working directory.
    pub fn cwd(&self) -> String {
        self.entry.cwd.borrow().clone()
    }

    /// Changes the working directory.
    pub fn set_cwd(&self, cwd: String) {
        *self.entry.cwd.borrow_mut() = cwd;
    }

    /// The path from the root for a path from the working directory.
    pub fn path(&self, path: &str) -> String {
        absolute(&self.entry.cwd.borrow(), path)
    }

    /// Mask for new files.
    pub fn umask(&self) -> u32 {
        self.entry.umask
    }

    /// Permission bits of a new file.
    pub fn new_mode(&self, mode: u32) -> u32 {
        mode & !self.entry.umask
    }

    /// A descriptor: 0 input, 1 output, 2 for errors.
    pub fn descriptor(&self, number: i32) -> Rc<dyn Stream> {
        self.entry.fds.borrow().get(&number).cloned().unwrap_or_else(|| Rc::new(Closed))
    }

    /// All its descriptors.
    pub fn descriptors(&self) -> Descriptors {
        self.entry.fds.borrow().clone()
    }

    /// Adds to the output; it is written when enough has come together, before input is waited for, and at the end.
    pub async fn print(&self, text: impl AsRef<[u8]>) -> Result<(), Exit> {
        let is_full = {
            let mut held = self.held.borrow_mut();
            held.extend_from_slice(text.as_ref());
            held.len() >= HELD
        };
        if is_full { self.flush().await } else { Ok(()) }
    }

    /// Writes the output.
    pub async fn flush(&self) -> Result<(), Exit> {
        let text = core::mem::take(&mut *self.held.borrow_mut());
        if text.is_empty() { Ok(()) } else { self.write_out(&text).await }
    }

    /// Writes bytes behind the output.
    pub async fn write_out(&self, bytes: &[u8]) -> Result<(), Exit> {
        let output = self.descriptor(1);
        match write_all(&*output, bytes).await {
            Ok(()) => Ok(()),
            Err(Errno::EPIPE) => {
                // Does not come back, unless it is ignored.
                drop(output);
                let _ = self.processes.signal(self.pid(), signal::PIPE);
                match self.entry.is_running() {
                    true => Err(Exit(1)),
                    false => pending().await,
                }
            }
            Err(errno) => Err(self.fail("write", errno).await),
        }
    }

    /// Says something about an error: `name: text`. Output that was held back is written before.
    pub async fn complain(&self, text: &str) {
        // Whoever cannot be told cannot be told that either.
        let _ = self.flush().await;
        let line = format!("{}: {text}\n", self.name());
        let _ = write_all(&*self.descriptor(2), line.as_bytes()).await;
    }

    /// Says what is wrong with something: `name: what: why`.
    pub async fn warn(&self, what: &str, errno: Errno) {
        self.complain(&format!("{what}: {}", why(errno))).await;
    }

    /// The same, as the program's last words.
    pub async fn fail(&self, what: &str, errno: Errno) -> Exit {
        // Not through `complain`, which writes what could not be written.
        self.held.borrow_mut().clear();
        let line = format!("{}: {what}: {}\n", self.name(), why(errno));
        let _ = write_all(&*self.descriptor(2), line.as_bytes()).await;
        Exit(1)
    }

    /// Says that it was called in a wrong way, and how it is right.
    pub async fn usage(&self, problem: &str) -> Exit {
        self.complain(problem).await;
        let program = self.processes.programs().iter().find(|program| program.name == self.entry.name());
        if let Some(program) = program {
            let _ = write_all(&*self.descriptor(2), program.usage.as_bytes()).await;
        }
        Exit(1)
    }

    /// Sleeps.
    pub async fn sleep(&self, time: Duration) {
        self.entry.thread.set(Thread { state: ThreadState::NANOSLEEP, ..self.entry.thread.get() });
        self.processes.kernel().executor().sleep(time).await;
        self.entry.thread.set(Thread { state: ThreadState::READY, ..self.entry.thread.get() });
    }

    /// From now on these signals do not end it; see [`Process::caught`].
    pub fn catch(&self, signals: &[i32]) {
        self.entry.signals.catch(signals);
    }

    /// Waits for a signal that is caught.
    pub async fn caught(&self) -> i32 {
        self.entry.signals.next().await
    }

    /// Runs a program with its own descriptors, environment and directory; see [`Processes::wait`].
    pub async fn spawn(&self, args: Vec<String>, fds: Descriptors) -> Result<u32, Errno> {
        let path = args.first().cloned().unwrap_or_default();
        let start = Start {
            path: &path,
            search: Some(self.env("PATH").unwrap_or(super::SEARCH_PATH)),
            args,
            env: self.entry.env.clone(),
            cwd: self.cwd(),
            umask: self.entry.umask,
            who: self.entry.who,
            parent: self.pid(),
            group: Group::Parents,
            fds,
        };
        self.processes.spawn(start).await
    }

    /// Waits for the end of a child.
    pub async fn wait(&self, pid: u32) -> i32 {
        let before = self.entry.thread.get();
        self.entry.thread.set(Thread { state: ThreadState::SIGWAITINFO, ..before });
        let end = self.processes.wait(pid).await;
        self.entry.thread.set(before);
        end.map_or(127, |end| end.status())
    }

    /// Opens a file to be read, `-` being the input.
    pub async fn open_input(&self, name: &str) -> Result<Rc<dyn Stream>, Errno> {
        if name == "-" {
            return Ok(self.descriptor(0));
        }
        let file = self.files.open(&self.path(name), OpenFlags::READ).await?;
        Ok(Rc::new(super::FileStream(file)))
    }

    /// Reads, after writing what was held back.
    pub async fn read(&self, input: &dyn Stream, room: &mut [u8]) -> Result<Result<usize, Errno>, Exit> {
        self.flush().await?;
        Ok(input.read(room).await)
    }

    /// Runs a program's body to its end: the output is written, the result becomes the status.
    pub async fn run(self, body: impl AsyncFnOnce(&Process) -> Result<i32, Exit>) -> i32 {
        let result = body(&self).await;
        let flushed = self.flush().await;
        match (result, flushed) {
            (Err(Exit(status)), _) | (Ok(0), Err(Exit(status))) | (Ok(status), _) => status,
        }
    }
}

/// What an error means, in words.
fn why(errno: Errno) -> String {
    errno.message().map_or_else(|| errno.to_string(), ToString::to_string)
}

/// The path from the root for a path from a directory. Dots are left to whoever resolves it.
pub(crate) fn absolute(cwd: &str, path: &str) -> String {
    match path {
        "" | "." => cwd.to_string(),
        path if path.starts_with('/') => path.to_string(),
        path => format!("{}/{path}", cwd.trim_end_matches('/')),
    }
}
