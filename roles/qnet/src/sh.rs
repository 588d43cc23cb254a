//! The shell: `a | b`, `a > f`, `a >> f`, `a < f`, `2> f`, `2>&1`, `a &`, `a ; b`, `a && b`, `a || b`, `*`, `?`, `[a-z]`,
//! `'...'`, `"..."`, `\`, `# comment`; of its own `cd`, `pwd`, `exit`, `wait` and `:`.
//!
//! ```text
//!   words     a line taken apart        glob   names that fit a word
//!   context   what commands run in      run    pipelines, lists, redirections
//! ```
//!
//! Not here: variables, control structures, functions, job control.

mod context;
mod glob;
mod run;
mod words;

pub use context::{Context, Outcome};

use crate::api::Credentials;
use crate::io::Terminal;
use crate::procs::{Descriptors, Processes, Registered, SEARCH_PATH, Stream, TerminalStream};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use keelson_qnet_wire::Errno;

/// Longest line.
pub const LINE_MAX: usize = 8192;

/// A shell in front of a terminal of this machine.
pub struct Shell {
    context: Context,
    _process: Registered,
}

impl Shell {
    /// A shell for a user. `EAGAIN` when there are too many processes.
    pub fn new(processes: &Processes, terminal: Rc<dyn Terminal>, who: &Credentials) -> Result<Shell, Errno> {
        let process = processes.register("bin/sh", who)?;
        let stream: Rc<dyn Stream> = Rc::new(TerminalStream(terminal));
        let fds: Descriptors = (0..3).map(|number| (number, stream.clone())).collect();
        let env = vec![String::from("HOME=/"), format!("PATH={SEARCH_PATH}")];
        let context = Context::interactive(processes, process.pid(), env, fds)?;
        Ok(Shell { context, _process: process })
    }

    /// Runs a line, to the end of what runs in the foreground; the status. Dropped while it runs it is Ctrl-C: the
    /// processes in the foreground get SIGINT.
    pub async fn line(&self, line: &str) -> Outcome {
        self.context.run(line).await
    }

    /// The working directory.
    pub fn cwd(&self) -> String {
        self.context.cwd()
    }
}
