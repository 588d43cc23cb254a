use super::attributes::Changes;
use super::host::{Host, Hub};
use super::*;
use crate::delegate::{Delegate, Opened};
use crate::testing::TestClock;
use core::task::{Context, Waker};
use keelson_lwk_wire::layout::Stat;

/// Processes of one node, and whether the host was asked.
struct Processes {
    hub: Arc<Hub>,
    clock: Arc<TestClock>,
}

/// A process: the next request is answered with this.
struct Process(Host, Arc<Session>, u64);

impl Processes {
    fn new(changes: Changes) -> Processes {
        let (system, _, clock) = crate::testing::system();
        Processes {
            hub: Arc::new(Hub { system, tickets: Arc::default(), changes, calls: Default::default() }),
            clock,
        }
    }

    fn process(&self) -> Process {
        let session = Arc::new(Session::default());
        Process(Host::new(session.clone(), self.hub.clone()), session, 0)
    }
}

impl Process {
    /// Makes a call that the host, if it is asked, answers with `reply`. The answer, and whether it was asked.
    fn call(&mut self, call: Call, reply: Reply) -> (Reply, bool) {
        let mut pending = self.0.call(call);
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(known) = pending.as_mut().poll(&mut cx) {
            return (known, false);
        }
        self.2 += 1;
        assert!(self.1.answered(self.2, reply));
        match pending.as_mut().poll(&mut cx) {
            Poll::Ready(reply) => (reply, true),
            Poll::Pending => panic!("answered, and not ready"),
        }
    }

    /// stat of a path: whether the host was asked.
    fn asks(&mut self, path: &str) -> bool {
        let (reply, asked) = self.call(stat(path), told(7));
        assert_eq!(reply.output, told(7).output);
        asked
    }

    fn does(&mut self, number: u32, arguments: [u64; 6]) {
        assert!(self.call(Call { number, arguments, ..Call::default() }, Reply::default()).1);
    }
}

fn stat(path: &str) -> Call {
    let input = vec![(0, [path.as_bytes(), b"\0"].concat())];
    Call { tid: 1, number: 4, arguments: [0x1000, 0x2000, 0, 0, 0, 0], input, output: vec![(1, 144)] }
}

fn told(inode: u64) -> Reply {
    let stat = Stat { ino: inode, mode: 0o100644, ..Stat::default() };
    Reply { output: vec![(1, stat.to_bytes().to_vec())], ..Reply::default() }
}

fn open(flags: u64) -> Call {
    let arguments = [-100i64 as u64, 0, flags, 0, 0, 0];
    Call { number: 257, arguments, input: vec![(1, b"/f\0".to_vec())], ..Call::default() }
}

fn opened(handle: i64, mode: u32) -> Reply {
    let stat = Stat { ino: 7, mode, ..Stat::default() };
    Reply {
        result: handle,
        opened: Some(Opened { stat, seekable: true, terminal: false }),
        ..Reply::default()
    }
}

fn fstat(handle: u64) -> Call {
    Call { number: 5, arguments: [handle, 0x3000, 0, 0, 0, 0], output: vec![(1, 144)], ..Call::default() }
}

#[test]
fn an_answer_is_good_for_a_second() {
    let processes = Processes::new(Changes::default());
    let mut process = processes.process();
    assert!(process.asks("/a"));
    assert!(!process.asks("/a"));
    // From another place of the program, into another buffer.
    let other = Call { tid: 2, arguments: [0x9000, 0x8000, 0, 0, 0, 0], ..stat("/a") };
    assert!(!process.call(other, told(7)).1);
    assert!(process.asks("/b") && processes.process().asks("/a"), "another path, another process");
    let missing = Reply { result: -2, ..Reply::default() };
    assert!(process.call(stat("/none"), missing.clone()).1);
    assert_eq!(process.call(stat("/none"), told(7)).0.result, -2, "neither is it there a moment later");
    processes.clock.advance(attributes::LIFE);
    assert!(process.asks("/a"));
}

#[test]
fn whatever_may_have_changed_something_ends_it() {
    let processes = Processes::new(Changes::default());
    let (mut process, mut other) = (processes.process(), processes.process());
    let write = (1, [9, 0, 0, 0, 0, 0]);
    let chmod = (91, [9, 0, 0, 0, 0, 0]);
    let chdir = (80, [0; 6]);
    // From somebody who may have said that something changed.
    let read_of_a_socket = (0, [9, 0, 0, 0, 0, 0]);
    for (number, arguments) in [write, chmod, chdir, read_of_a_socket] {
        process.asks("/a");
        assert!(!process.asks("/a"));
        other.does(number, arguments);
        assert!(process.asks("/a"), "call {number}");
    }
    let lseek = (8, [9, 0, 0, 0, 0, 0]);
    other.does(lseek.0, lseek.1);
    assert!(!process.asks("/a"), "lseek changes nothing");
    assert!(process.call(open(0o101), opened(3, 0o100644)).1);
    assert!(process.asks("/a"), "O_CREAT");
}

#[test]
fn an_answer_from_before_a_change_is_not_kept() {
    let processes = Processes::new(Changes::default());
    let (mut process, mut other) = (processes.process(), processes.process());
    let mut slow = process.0.call(stat("/a"));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(slow.as_mut().poll(&mut cx).is_pending());
    other.does(1, [9, 0, 0, 0, 0, 0]);
    assert!(process.1.answered(1, told(7)));
    assert!(slow.as_mut().poll(&mut cx).is_ready());
    process.2 = 1;
    assert!(process.asks("/a"));
}

#[test]
fn what_was_just_opened_is_known_and_reading_it_is_no_change() {
    let processes = Processes::new(Changes::default());
    let mut process = processes.process();
    process.asks("/a");
    assert!(process.call(open(0), opened(3, 0o100644)).1);
    assert!(!process.asks("/a"), "opening changes nothing");
    let (reply, asked) = process.call(fstat(3), told(8));
    assert!(!asked && Stat::read(&reply.output[0].1).unwrap().ino == 7);
    process.does(0, [3, 0, 0, 0, 0, 0]);
    assert!(!process.asks("/a") && !process.call(fstat(3), told(8)).1, "reading it neither");
    process.does(1, [3, 0, 0, 0, 0, 0]);
    assert!(process.call(fstat(3), told(8)).1, "writing does");
    // A FIFO or a device is somebody to talk to.
    process.asks("/a");
    assert!(process.call(open(0), opened(4, 0o010644)).1);
    assert!(process.asks("/a") && process.call(fstat(4), told(8)).1 && process.call(fstat(4), told(8)).1);
}

#[test]
fn off_is_off_and_memory_is_bounded() {
    let mut process = Processes::new(Changes::new(false)).process();
    assert!(process.asks("/a") && process.asks("/a"));
    let mut process = Processes::new(Changes::new(true)).process();
    for number in 0..2000 {
        assert!(process.asks(&format!("/{}/{number}", "long".repeat(100))));
    }
    assert!(!process.asks(&format!("/{}/{}", "long".repeat(100), 1999)));
    assert!(process.0.remembers() <= 128 << 10);
}
