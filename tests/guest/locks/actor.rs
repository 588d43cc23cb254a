//! A process that takes locks as it is told, a line at a time, and says what came of each.
//!
//! Commands (START and LENGTH in bytes, decimal or `0x`; length 0 is to the end, negative is before the start):
//!
//! - `set r|w START LENGTH`, `unlock START LENGTH`: F_SETLK; `wait r|w START LENGTH`: F_SETLKW;
//!   `test r|w START LENGTH`: F_GETLK
//! - `flock sh|ex|un [nb]`, `lockf lock|try|unlock|test LENGTH` from the position set by `seek POSITION`
//! - `write POSITION TEXT`, `read POSITION LENGTH`
//! - `open rw|ro`: close the file and open it again; `other`: open and close it a second time
//! - `result`: the end of a call that waited; `still`: whether it waits; `interrupt`: a signal ends it
//! - `kill`, `exit`: the end of the process

use std::ffi::c_int;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::sys::{self, Lock};

/// Between two looks at the thread that may wait.
const LOOK: Duration = Duration::from_millis(5);

/// Functions of Linux in which a process sleeps that waits for a lock; in those of the RPC client it only waits for an answer
/// (linux: fs/locks.c, fs/lockd/clntlock.c, fs/lockd/clntproc.c).
const WAITING: [&str; 6] = [
    "fcntl_setlk",
    "do_lock_file_wait",
    "locks_lock_inode_wait",
    "flock_lock_inode_wait",
    "nlmclnt_block",
    "nlmclnt_wait",
];

/// Executes commands from standard input.
pub fn run(file: &str) {
    sys::accept_interrupts();
    let mut worker = Worker::start(file.into());
    for line in io::stdin().lines() {
        let Ok(line) = line else { break };
        match line.as_str() {
            "kill" => sys::die(),
            "exit" => break,
            command => println!("{}", worker.execute(command)),
        }
        let _ = io::stdout().flush();
    }
    std::process::exit(0);
}

/// Executes commands, all of which must succeed, and sleeps. Says so, and when it waits for one.
pub fn hold(file: &str, commands: &[&str]) {
    let say = |what: &str| {
        println!("{what}");
        let _ = io::stdout().flush();
    };
    let mut worker = Worker::start(file.into());
    for command in commands {
        let mut result = worker.execute(command);
        if result == "waits" {
            say("waiting");
            result = worker.execute("result");
        }
        assert_eq!(result, "ok", "{command}");
    }
    say("holding");
    loop {
        thread::park();
    }
}

/// The thread that makes the calls, so that another can look whether they wait.
struct Worker {
    thread: c_int,
    commands: Sender<String>,
    results: Receiver<String>,
    /// A call that waited when it was last looked at.
    pending: bool,
}

impl Worker {
    fn start(path: String) -> Worker {
        let (commands, received) = channel::<String>();
        let (sender, results) = channel();
        let (number, thread) = channel();
        thread::spawn(move || {
            let _ = number.send(sys::this_thread());
            let mut file = open(&path, "rw").expect("the file to lock");
            for command in received {
                let result = carry_out(&path, &mut file, &command);
                let _ = sender.send(result.unwrap_or_else(|error| error_name(&error)));
            }
        });
        Worker { thread: thread.recv().expect("a thread"), commands, results, pending: false }
    }

    fn execute(&mut self, command: &str) -> String {
        match command {
            "result" => self.outcome(|_| false),
            "still" => self.outcome(|_| true),
            "interrupt" => self.outcome(|worker| {
                sys::interrupt(worker.thread);
                false
            }),
            _ if self.pending => "busy".into(),
            _ => {
                self.commands.send(command.into()).expect("the worker");
                self.pending = true;
                let may_wait = ["wait", "flock", "lockf"].contains(&command.split(' ').next().unwrap_or(""));
                self.outcome(|_| may_wait)
            }
        }
    }

    /// The result of the call under way, or `waits` once it waits for a lock, if that is an answer (asked each time).
    fn outcome(&mut self, mut waiting_is_an_answer: impl FnMut(&Worker) -> bool) -> String {
        if !self.pending {
            return "idle".into();
        }
        loop {
            match self.results.recv_timeout(LOOK) {
                Ok(result) => {
                    self.pending = false;
                    return result;
                }
                Err(RecvTimeoutError::Timeout) if self.waits() && waiting_is_an_answer(self) => {
                    return "waits".into();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return "the worker has ended".into(),
            }
        }
    }

    fn waits(&self) -> bool {
        let wchan = fs::read_to_string(format!("/proc/self/task/{}/wchan", self.thread)).unwrap_or_default();
        WAITING.iter().any(|function| wchan.starts_with(function))
    }
}

fn open(path: &str, mode: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(mode == "rw").create(mode == "rw").truncate(false).open(path)
}

fn carry_out(path: &str, file: &mut File, command: &str) -> io::Result<String> {
    let words: Vec<&str> = command.split(' ').collect();
    let ok = |()| "ok".to_string();
    match words[..] {
        ["set", kind, start, length] => lock(file, sys::SET, kind, start, length).map(ok),
        ["wait", kind, start, length] => lock(file, sys::SET_WAIT, kind, start, length).map(ok),
        ["unlock", start, length] => lock(file, sys::SET, "u", start, length).map(ok),
        ["test", kind, start, length] => test(file, kind, start, length),
        ["flock", operation] => sys::file_lock(file, flock_operation(operation)).map(ok),
        ["flock", operation, "nb"] => {
            sys::file_lock(file, flock_operation(operation) | sys::FLOCK_NO_WAIT).map(ok)
        }
        ["lockf", operation, length] => {
            sys::section_lock(file, lockf_operation(operation), number(length)).map(ok)
        }
        ["seek", position] => file.seek(SeekFrom::Start(number(position) as u64)).map(|_| "ok".into()),
        ["write", position, text] => file.write_all_at(text.as_bytes(), number(position) as u64).map(ok),
        ["read", position, length] => {
            let mut bytes = vec![0; number(length) as usize];
            file.read_exact_at(&mut bytes, number(position) as u64)?;
            Ok(String::from_utf8_lossy(&bytes).replace('\0', "."))
        }
        ["open", mode] => {
            // As a program does it: the old one is closed first.
            *file = File::open("/dev/null")?;
            *file = open(path, mode)?;
            Ok("ok".into())
        }
        ["other"] => open(path, "rw").map(|other| {
            drop(other);
            "ok".into()
        }),
        _ => Ok(format!("unknown command {command:?}")),
    }
}

fn lock(file: &File, command: c_int, kind: &str, start: &str, length: &str) -> io::Result<()> {
    sys::range_lock(file, command, &mut range(kind, start, length))
}

fn test(file: &File, kind: &str, start: &str, length: &str) -> io::Result<String> {
    let mut lock = range(kind, start, length);
    sys::range_lock(file, sys::GET, &mut lock)?;
    let kind = match lock.kind {
        sys::SHARED => "r",
        sys::EXCLUSIVE => "w",
        _ => return Ok("free".into()),
    };
    Ok(format!("held {kind} {} {}", lock.start, lock.length))
}

fn range(kind: &str, start: &str, length: &str) -> Lock {
    let kind = match kind {
        "r" => sys::SHARED,
        "w" => sys::EXCLUSIVE,
        _ => sys::UNLOCK,
    };
    Lock { kind, whence: 0, start: number(start), length: number(length), pid: 0 }
}

fn flock_operation(name: &str) -> c_int {
    match name {
        "sh" => sys::FLOCK_SHARED,
        "ex" => sys::FLOCK_EXCLUSIVE,
        _ => sys::FLOCK_UNLOCK,
    }
}

fn lockf_operation(name: &str) -> c_int {
    match name {
        "lock" => sys::LOCKF_LOCK,
        "try" => sys::LOCKF_TRY,
        "test" => sys::LOCKF_TEST,
        _ => sys::LOCKF_UNLOCK,
    }
}

fn number(text: &str) -> i64 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Names as in errno(3), of those that lock calls can give.
fn error_name(error: &io::Error) -> String {
    let name = match error.raw_os_error() {
        Some(4) => "EINTR",
        Some(5) => "EIO",
        Some(9) => "EBADF",
        Some(11) => "EAGAIN",
        Some(13) => "EACCES",
        Some(22) => "EINVAL",
        Some(27) => "EFBIG",
        Some(35) => "EDEADLK",
        Some(37) => "ENOLCK",
        Some(75) => "EOVERFLOW",
        Some(116) => "ESTALE",
        _ => return error.to_string(),
    };
    name.into()
}
