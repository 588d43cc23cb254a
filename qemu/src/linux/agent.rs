//! Commands to a guest and their results, over a virtio-serial port (the other side is in `init.sh`).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE64;

use crate::error::{Error, Result};

/// What a script left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 + n when killed by signal n.
    pub status: i32,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The connection to the program that runs scripts in a guest.
pub struct Agent {
    machine: String,
    sender: Mutex<(UnixStream, u64)>,
    results: Arc<Results>,
}

#[derive(Default)]
struct Results {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: bool,
    closed: bool,
    done: HashMap<u64, Output>,
}

/// A script that was started.
pub struct Job {
    machine: String,
    id: u64,
    script: String,
    results: Arc<Results>,
}

impl Agent {
    pub fn connect(machine: &str, stream: UnixStream) -> Agent {
        let results = Arc::new(Results::default());
        let (listener, reader) = (results.clone(), stream.try_clone());
        thread::spawn(move || {
            if let Ok(reader) = reader {
                listener.listen(BufReader::new(reader));
            }
            listener.state.lock().expect("results").closed = true;
            listener.changed.notify_all();
        });
        Agent { machine: machine.into(), sender: Mutex::new((stream, 0)), results }
    }

    /// Waits for the guest to say that it takes commands; false if it does not.
    pub fn wait_ready(&self, timeout: Duration) -> bool {
        self.results.wait(timeout, |state| state.ready.then_some(())).is_some()
    }

    pub fn spawn(&self, script: &str) -> Result<Job> {
        let mut sender = self.sender.lock().expect("agent");
        sender.1 += 1;
        let id = sender.1;
        // The script is the leader of its session, so its process id is that of the whole group.
        let full = format!("echo $$ > /run/jobs/{id}.pid\n{script}\n");
        let line = format!("{id} {}\n", BASE64.encode(full.as_bytes()));
        let sent = sender.0.write_all(line.as_bytes());
        sent.map_err(Error::io(format!("send a command to guest {}", self.machine)))?;
        Ok(Job { machine: self.machine.clone(), id, script: script.into(), results: self.results.clone() })
    }

    pub fn write_file(&self, path: &str, contents: &[u8]) -> Result<()> {
        // The guest's shell reads a line at a time; a moderate length keeps that quick.
        let mut operator = ">";
        for chunk in contents.chunks(24 * 1024).chain(contents.is_empty().then_some(&[][..])) {
            let script = format!("echo {} | base64 -d {operator} '{path}'", BASE64.encode(chunk));
            let output = self.spawn(&script)?.wait(Duration::from_secs(60))?;
            if output.status != 0 {
                let what = format!("can not write {path}: {}", output.stderr.trim());
                return Err(Error::machine(&self.machine, what));
            }
            operator = ">>";
        }
        Ok(())
    }

    /// Ends a job and all its children.
    pub fn kill(&self, job: &Job) -> Result<()> {
        self.spawn(&format!("kill -9 -- -$(cat /run/jobs/{}.pid)", job.id)).map(drop)
    }
}

impl Job {
    /// Waits for the end of the script.
    pub fn wait(self, timeout: Duration) -> Result<Output> {
        if let Some(output) = self.results.wait(timeout, |state| state.done.remove(&self.id)) {
            return Ok(output);
        }
        if self.results.state.lock().expect("results").closed {
            let what = format!("ended while running `{}`", self.script);
            return Err(Error::machine(&self.machine, what));
        }
        Err(Error::Timeout {
            waiting_for: format!("the end of `{}` in guest {}", self.script, self.machine),
            after: timeout,
            seen: "no result".into(),
        })
    }

    /// True once the script has ended; [`Job::wait`] then returns at once.
    pub fn is_done(&self) -> bool {
        self.results.state.lock().expect("results").done.contains_key(&self.id)
    }
}

impl Results {
    fn listen(&self, reader: impl BufRead) {
        for line in reader.lines() {
            let Ok(line) = line else { return };
            let mut state = self.state.lock().expect("results");
            if line.trim() == "ready" {
                state.ready = true;
            } else if let Some((id, output)) = parse(&line) {
                state.done.insert(id, output);
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    fn wait<T>(&self, timeout: Duration, mut find: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock().expect("results");
        loop {
            let found = find(&mut state);
            let left = deadline.saturating_duration_since(Instant::now());
            if found.is_some() || state.closed || left.is_zero() {
                return found;
            }
            state = self.changed.wait_timeout(state, left).expect("results").0;
        }
    }
}

/// An answer line of the guest.
fn parse(line: &str) -> Option<(u64, Output)> {
    let mut words = line.trim_end().split(' ');
    let id = words.next()?.parse().ok()?;
    let status = words.next()?.parse().ok()?;
    let mut text = || {
        let bytes = BASE64.decode(words.next()?.strip_prefix(':')?.as_bytes()).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    Some((id, Output { status, stdout: text()?, stderr: text()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_parsed_or_refused() {
        let output = Output { status: 2, stdout: "hi\n".into(), stderr: String::new() };
        assert_eq!(parse("7 2 :aGkK :"), Some((7, output)));
        for bad in ["", "7", "7 x : :", "7 2 :", "7 2 aGkK :", "7 2 :!!!! :"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
