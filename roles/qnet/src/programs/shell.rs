//! `sh`: the shell as a program, for a line, a file, or what is typed.

use super::text::{Lines, Options};
use crate::procs::{Exit, Process, signal};
use crate::sh::{Context, LINE_MAX, Outcome};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

pub(super) async fn main(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "i", "c").await?;
    let context = Context::of_process(process);
    if let Some(line) = options.value('c') {
        return Ok(status_of(context.run(line).await));
    }
    if let Some(name) = options.rest.first() {
        return script(process, &context, name).await;
    }
    typed(process, &context).await
}

fn status_of(outcome: Outcome) -> i32 {
    match outcome {
        Outcome::Status(status) | Outcome::Exit(status) => status,
    }
}

async fn script(process: &Process, context: &Context, name: &str) -> Result<i32, Exit> {
    let input = match process.open_input(name).await {
        Ok(input) => input,
        Err(errno) => return Err(process.fail(name, errno).await),
    };
    let mut lines = Lines::new(input);
    let mut status = 0;
    loop {
        let line = match lines.next(process).await? {
            Ok(Some(line)) => String::from_utf8_lossy(line).into_owned(),
            Ok(None) => return Ok(status),
            Err(errno) => return Err(process.fail(name, errno).await),
        };
        match context.run(&line).await {
            Outcome::Exit(status) => return Ok(status),
            Outcome::Status(last) => status = last,
        }
    }
}

/// What is typed, or comes through a pipe. Of that no more is read than the line, as the rest may be for the commands.
async fn typed(process: &Process, context: &Context) -> Result<i32, Exit> {
    let input = process.descriptor(0);
    let is_terminal = input.is_terminal().await.unwrap_or(false);
    if is_terminal {
        // It ends what runs, not the shell.
        process.catch(&[signal::INT, signal::QUIT]);
    }
    let prompt = if process.who().euid == 0 { "# " } else { "$ " };
    let mut typed = Typed { input: Rc::clone(&input), held: Vec::new(), at_once: if is_terminal { 512 } else { 1 } };
    let mut status = 0;
    loop {
        if is_terminal {
            process.print(prompt).await?;
        }
        let Some(line) = typed.line(process).await? else {
            return Ok(status);
        };
        match context.run(&line).await {
            Outcome::Exit(status) => return Ok(status),
            Outcome::Status(last) => status = last,
        }
    }
}

struct Typed {
    input: Rc<dyn crate::procs::Stream>,
    held: Vec<u8>,
    at_once: usize,
}

impl Typed {
    /// A line, however it ends; `None` at the end.
    async fn line(&mut self, process: &Process) -> Result<Option<String>, Exit> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                let line = line.get(..end).unwrap_or_default();
                return Ok(Some(String::from_utf8_lossy(line).into_owned()));
            }
            if self.held.len() > LINE_MAX {
                process.complain("the line is too long").await;
                return Err(Exit(2));
            }
            let mut piece = vec![0; self.at_once];
            match process.read(&*self.input, &mut piece).await? {
                Ok(0) if self.held.is_empty() => return Ok(None),
                Ok(0) => {
                    let line = core::mem::take(&mut self.held);
                    return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
                }
                Ok(len) => self.held.extend_from_slice(piece.get(..len).unwrap_or_default()),
                Err(errno) => return Err(process.fail("input", errno).await),
            }
        }
    }
}
