//! What a machine says: its serial line as timed lines, and waiting for one of them.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// One line of a console and when its end arrived, counted from the first start of the machine.
#[derive(Clone, Debug)]
pub struct Line {
    /// Time since the machine was first started.
    pub at: Duration,
    /// The text without line end; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The serial console of a machine. It outlives the machine, so a transcript is there after a crash.
#[derive(Clone)]
pub struct Console(Arc<Inner>);

struct Inner {
    name: String,
    epoch: Instant,
    state: Mutex<State>,
    changed: Condvar,
    input: Mutex<Option<Box<dyn Write + Send>>>,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    partial: Vec<u8>,
    /// Index of the first line that `expect` has not consumed.
    cursor: usize,
    /// Streams still open; a console without any will not say more.
    open: usize,
}

impl Console {
    /// An empty console; [`Console::attach`] gives it something to listen to.
    pub fn new(name: &str) -> Console {
        Console(Arc::new(Inner {
            name: name.into(),
            epoch: Instant::now(),
            state: Mutex::default(),
            changed: Condvar::new(),
            input: Mutex::new(None),
        }))
    }

    /// Reads `from` to its end on a thread of its own. Lines get `prefix` in front (empty for the serial line).
    pub fn attach(&self, mut from: impl Read + Send + 'static, prefix: &'static str) {
        self.lock().open += 1;
        let console = self.clone();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            let mut own = Vec::new();
            while let Ok(n) = from.read(&mut chunk) {
                if n == 0 {
                    break;
                }
                if prefix.is_empty() {
                    console.push(&chunk[..n]);
                } else {
                    own.extend_from_slice(&chunk[..n]);
                    while let Some(end) = own.iter().position(|&b| b == b'\n') {
                        let line: Vec<u8> = own.drain(..=end).collect();
                        console.note(&format!("{prefix}{}", String::from_utf8_lossy(&line).trim_end()));
                    }
                }
            }
            console.lock().open -= 1;
            console.0.changed.notify_all();
        });
    }

    /// Where [`Console::send`] writes.
    pub fn attach_input(&self, to: impl Write + Send + 'static) {
        *self.0.input.lock().expect("console input") = Some(Box::new(to));
    }

    /// Types `text` and a newline into the serial line.
    pub fn send_line(&self, text: &str) -> Result<()> {
        self.send(&format!("{text}\n"))
    }

    /// Presses these keys on the terminal at the serial line.
    pub fn send(&self, keys: &str) -> Result<()> {
        let mut input = self.0.input.lock().expect("console input");
        let Some(to) = input.as_mut() else {
            return Err(Error::machine(&self.0.name, "has no serial input"));
        };
        to.write_all(keys.as_bytes())
            .and_then(|()| to.flush())
            .map_err(Error::io(format!("type into the console of {}", self.0.name)))
    }

    /// Waits for a line containing `pattern` after the lines already expected, and returns it.
    ///
    /// `*` in the pattern stands for any text within the line. A line that has not ended yet (a prompt) counts.
    pub fn expect(&self, pattern: &str, timeout: Duration) -> Result<Line> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        let mut searched = state.cursor;
        loop {
            while searched < state.lines.len() {
                searched += 1;
                if matches(pattern, &state.lines[searched - 1].text) {
                    state.cursor = searched;
                    return Ok(state.lines[searched - 1].clone());
                }
            }
            if state.cursor <= state.lines.len() {
                let text = String::from_utf8_lossy(&state.partial).into_owned();
                if matches(pattern, &text) {
                    state.cursor = state.lines.len() + 1;
                    return Ok(Line { at: self.0.epoch.elapsed(), text });
                }
            }
            if state.open == 0 {
                return Err(Error::machine(
                    &self.0.name,
                    format!(
                        "ended without saying \"{pattern}\"; its last words:\n{}",
                        tail(&state.lines, 25)
                    ),
                ));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout {
                    waiting_for: format!("\"{pattern}\" on the console of {}", self.0.name),
                    after: timeout,
                    seen: tail(&state.lines, 25),
                });
            }
            state = self.0.changed.wait_timeout(state, left).expect("console").0;
        }
    }

    /// True if any line so far contains `pattern` (does not move the place `expect` continues from).
    pub fn contains(&self, pattern: &str) -> bool {
        self.lock().lines.iter().any(|line| matches(pattern, &line.text))
    }

    /// Everything said so far.
    pub fn lines(&self) -> Vec<Line> {
        self.lock().lines.clone()
    }

    /// Everything said so far as text, each line with its time in seconds.
    pub fn transcript(&self) -> String {
        let state = self.lock();
        let mut text = tail(&state.lines, usize::MAX);
        if !state.partial.is_empty() {
            let _ = writeln!(text, "[ partial] {}", String::from_utf8_lossy(&state.partial));
        }
        text
    }

    /// Adds a line of the bench's own ("power cut", "reset") to the transcript.
    pub fn note(&self, text: &str) {
        let at = self.0.epoch.elapsed();
        self.lock().lines.push(Line { at, text: text.into() });
        self.0.changed.notify_all();
    }

    fn push(&self, bytes: &[u8]) {
        let at = self.0.epoch.elapsed();
        let mut state = self.lock();
        for &byte in bytes {
            if byte == b'\n' {
                let mut text = String::from_utf8_lossy(&state.partial).into_owned();
                text.truncate(text.trim_end_matches('\r').len());
                state.partial.clear();
                state.lines.push(Line { at, text });
            } else {
                state.partial.push(byte);
            }
        }
        drop(state);
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("console")
    }
}

/// `pattern` occurs in `line`; its `*` parts may have anything between them.
fn matches(pattern: &str, line: &str) -> bool {
    let mut rest = line;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

fn tail(lines: &[Line], count: usize) -> String {
    let mut text = String::new();
    for line in &lines[lines.len().saturating_sub(count)..] {
        let _ = writeln!(text, "[{:8.3}] {}", line.at.as_secs_f64(), line.text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    const SOON: Duration = Duration::from_secs(2);
    const NOW: Duration = Duration::from_millis(20);

    #[test]
    fn lines_are_expected_once_and_in_order() {
        let (mut tx, rx) = UnixStream::pair().unwrap();
        let console = Console::new("m");
        console.attach(rx, "");
        tx.write_all(b"boot\r\neth0: link up\nboot\nlogin: ").unwrap();
        assert_eq!(console.expect("eth*: * up", SOON).unwrap().text, "eth0: link up");
        assert_eq!(console.expect("boot", SOON).unwrap().text, "boot");
        assert!(console.expect("boot", NOW).is_err());
        assert_eq!(console.expect("login:", SOON).unwrap().text, "login: ");
        assert!(console.expect("login:", NOW).is_err(), "a prompt counts once");
        tx.write_all(b"root\nwelcome\n").unwrap();
        console.expect("welcome", SOON).unwrap();
        assert!(console.contains("login: root"));
    }

    #[test]
    fn a_dead_console_fails_at_once() {
        let (tx, rx) = UnixStream::pair().unwrap();
        let console = Console::new("m");
        console.attach(rx, "");
        drop(tx);
        let start = Instant::now();
        let error = console.expect("never", Duration::from_secs(60)).unwrap_err();
        assert!(error.to_string().contains("ended without"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
