//! Running a line: lists, pipelines, redirections, and the commands of the shell itself.

use super::LINE_MAX;
use super::context::{Context, Foreground, Outcome};
use super::glob::expand;
use super::words::{Command, Pipeline, Redirection, When, Word, parse};
use crate::client::OpenFlags;
use crate::procs::{Descriptors, FileStream, NullStream, Stream, pipe, write_all};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::io::ioflag;

/// Words of a command, with names filled in.
const ARGUMENTS: usize = 1024;

/// Type bits of a mode, and those of a directory.
const TYPE: u32 = 0xf000;
const DIRECTORY: u32 = 0x4000;

/// A status, when a command could not even be started; what was wrong has been said.
type Failed = i32;

impl Context {
    /// Runs a line.
    pub async fn run(&self, line: &str) -> Outcome {
        self.reap();
        if line.len() > LINE_MAX {
            self.complain(&format!("a line has {LINE_MAX} bytes at most")).await;
            return self.ended(2);
        }
        let pipelines = match parse(line) {
            Ok(pipelines) => pipelines,
            Err(error) => {
                self.complain(&error.to_string()).await;
                return self.ended(2);
            }
        };
        for pipeline in pipelines {
            let runs = match pipeline.when {
                When::Always => true,
                When::Success => self.last.get() == 0,
                When::Failure => self.last.get() != 0,
            };
            if runs && let Outcome::Exit(status) = self.pipeline(&pipeline).await {
                return Outcome::Exit(status);
            }
        }
        Outcome::Status(self.last.get())
    }

    fn ended(&self, status: i32) -> Outcome {
        self.last.set(status);
        Outcome::Status(status)
    }

    async fn pipeline(&self, pipeline: &Pipeline) -> Outcome {
        if let ([command], false) = (&pipeline.commands[..], pipeline.in_background)
            && let Some(outcome) = self.own(command).await
        {
            return outcome;
        }
        let mut foreground = Foreground { context: self, pids: Vec::new() };
        let mut input: Option<Rc<dyn Stream>> = pipeline.in_background.then(|| Rc::new(NullStream) as _);
        let mut last = Ok(0);
        let count = pipeline.commands.len();
        for (index, command) in pipeline.commands.iter().enumerate() {
            let mut fds = self.fds.clone();
            if let Some(input) = input.take() {
                fds.insert(0, input);
            }
            if index + 1 < count {
                let (reader, writer) = pipe();
                fds.insert(1, Rc::new(writer));
                input = Some(Rc::new(reader));
            }
            let leader = foreground.pids.first().copied();
            last = self.command(command, fds, leader).await;
            foreground.pids.extend(last);
        }
        // The shell's own ends are closed, or nobody would see an end.
        drop(input);
        if pipeline.in_background {
            let pids = core::mem::take(&mut foreground.pids);
            return self.leave_in_background(pids, last.err()).await;
        }
        let mut status = last.err().unwrap_or(0);
        while let Some(pid) = foreground.pids.first().copied() {
            let end = self.processes.wait(pid).await;
            foreground.pids.remove(0);
            if last == Ok(pid) {
                status = end.map_or(127, |end| end.status());
            }
        }
        self.ended(status)
    }

    async fn leave_in_background(&self, pids: Vec<u32>, failed: Option<Failed>) -> Outcome {
        if let (Some(pid), true) = (pids.last(), self.is_interactive) {
            let number = self.background.borrow().len() + 1;
            let text = format!("[{number}] {pid}\n");
            if let Some(errors) = self.fds.get(&2) {
                let _ = write_all(&**errors, text.as_bytes()).await;
            }
        }
        self.background.borrow_mut().extend(pids);
        self.ended(failed.unwrap_or(0))
    }

    /// Starts a command.
    async fn command(
        &self,
        command: &Command,
        mut fds: Descriptors,
        leader: Option<u32>,
    ) -> Result<u32, Failed> {
        self.redirect(command, &mut fds).await?;
        let args = self.arguments(&command.words).await?;
        let Some(name) = args.first().cloned() else {
            // Only redirections: the files are made, and that is all.
            return Err(0);
        };
        match self.spawn(args, fds, leader).await {
            Ok(pid) => Ok(pid),
            Err(Errno::ENOENT) => {
                self.complain(&format!("{name}: not found")).await;
                Err(127)
            }
            Err(errno) => {
                self.complain(&format!("{name}: {}", why(errno))).await;
                Err(126)
            }
        }
    }

    async fn arguments(&self, words: &[Word]) -> Result<Vec<String>, Failed> {
        let mut args = Vec::new();
        for word in words {
            match expand(&self.files(), &self.cwd(), word).await {
                Ok(names) => args.extend(names),
                Err(errno) => {
                    self.complain(&format!("{}: {}", word.text(), why(errno))).await;
                    return Err(1);
                }
            }
            if args.len() > ARGUMENTS {
                self.complain(&why(Errno::E2BIG)).await;
                return Err(1);
            }
        }
        Ok(args)
    }

    async fn redirect(&self, command: &Command, fds: &mut Descriptors) -> Result<(), Failed> {
        for (number, redirection) in &command.redirections {
            let (word, flags) = match redirection {
                Redirection::From(word) => (word, OpenFlags::READ),
                Redirection::To(word) => (word, OpenFlags::REPLACE),
                Redirection::Append(word) => (word, OpenFlags::WRITE.with(ioflag::CREAT | ioflag::APPEND)),
                Redirection::Same(other) => {
                    match fds.get(other).cloned() {
                        Some(stream) => fds.insert(*number, stream),
                        None => {
                            self.complain(&format!("{other}: {}", why(Errno::EBADF))).await;
                            return Err(1);
                        }
                    };
                    continue;
                }
            };
            let path = self.path(&word.text());
            match self.files().open_mode(&path, flags, self.new_mode()).await {
                Ok(file) => drop(fds.insert(*number, Rc::new(FileStream(file)))),
                Err(errno) => {
                    self.complain(&format!("{}: {}", word.text(), why(errno))).await;
                    return Err(1);
                }
            }
        }
        Ok(())
    }

    /// What the shell does itself; `None` if it is a program's.
    async fn own(&self, command: &Command) -> Option<Outcome> {
        let name = command.words.first()?.text();
        if !matches!(name.as_str(), "cd" | "exit" | "pwd" | "wait" | ":") {
            return None;
        }
        let mut fds = self.fds.clone();
        if let Err(status) = self.redirect(command, &mut fds).await {
            return Some(self.ended(status));
        }
        let args = match self.arguments(&command.words).await {
            Ok(args) => args,
            Err(status) => return Some(self.ended(status)),
        };
        let argument = args.get(1).map(String::as_str);
        let status = match name.as_str() {
            "cd" => self.change_directory(argument).await,
            "exit" => {
                let status = argument.map_or(Some(self.last.get()), |text| text.parse().ok());
                return Some(Outcome::Exit(status.unwrap_or(2) & 0xff));
            }
            "pwd" => match fds.get(&1) {
                Some(output) => {
                    let text = format!("{}\n", self.cwd());
                    i32::from(write_all(&**output, text.as_bytes()).await.is_err())
                }
                None => 1,
            },
            "wait" => {
                loop {
                    let next = self.background.borrow().first().copied();
                    let Some(pid) = next else { break };
                    let _ = self.processes.wait(pid).await;
                    self.background.borrow_mut().retain(|other| *other != pid);
                }
                0
            }
            _ => 0,
        };
        Some(self.ended(status))
    }

    async fn change_directory(&self, to: Option<&str>) -> i32 {
        let to = to.or(self.env("HOME")).unwrap_or("/");
        let path = match crate::io::normal(self.path(to).as_bytes()).map(String::from_utf8) {
            Ok(Ok(path)) => path,
            _ => to.to_string(),
        };
        let found = self.files().stat(&path).await;
        let is_directory = |mode: u32| mode & TYPE == DIRECTORY;
        let result =
            found.and_then(|stat| if is_directory(stat.mode) { Ok(()) } else { Err(Errno::ENOTDIR) });
        match result {
            Ok(()) => {
                self.set_cwd(path);
                0
            }
            Err(errno) => {
                self.complain(&format!("cd: {to}: {}", why(errno))).await;
                1
            }
        }
    }
}

fn why(errno: Errno) -> String {
    errno.message().map_or_else(|| errno.to_string(), ToString::to_string)
}
