//! Processes of one node: start, end, signals, pipes.

use crate::lab::{Lab, Sink, Source, descriptors};
use crate::world::user;
use keelson_qnet::procs::{End, pipe, signal};
use keelson_qnet_wire::Errno;
use std::rc::Rc;

#[test]
fn echo_and_cat() {
    let lab = Lab::new();
    lab.put(1, "/motd", b"welcome\n");
    assert_eq!(lab.output(0, &["echo", "a", "b c"]), "a b c\n");
    assert_eq!(lab.output(0, &["/bin/echo", "-n", "x"]), "x");
    assert_eq!(lab.output(0, &["cat", "/etc/TIMEZONE", "/net/beta/motd"]), "UTC0\nwelcome\n");
    assert_eq!(lab.run(0, &["cat"], "typed").1, "typed");
    let (status, output, errors) = lab.run(0, &["cat", "/nowhere", "/etc/TIMEZONE"], "");
    assert_eq!((status, output.as_str()), (1, "UTC0\n"));
    assert_eq!(errors, "cat: /nowhere: No such file or directory\n");
    let (status, _, errors) = lab.run(0, &["cat", "-x"], "");
    assert_eq!((status, errors.lines().next()), (1, Some("cat: unknown option -- x")));
    lab.settle();
    lab.assert_baseline();
}

#[test]
fn what_cannot_be_started() {
    let lab = Lab::new();
    let start =
        |path| lab.start_as(0, &user(100), &[path], descriptors(Source::new(), Sink::new(), Sink::new()));
    assert_eq!(start("/bin/nothing"), Err(Errno::ENOENT));
    assert_eq!(start("nothing"), Err(Errno::ENOENT));
    assert_eq!(start("/etc/TIMEZONE"), Err(Errno::EACCES));
    assert_eq!(start("/etc"), Err(Errno::EACCES));
    assert_eq!(start("/etc/elf"), Err(Errno::ENOEXEC));
    lab.settle();
    lab.assert_baseline();
}

#[test]
fn signals_end_what_waits() {
    let lab = Lab::new();
    for signo in [signal::HUP, signal::INT, signal::QUIT, signal::KILL, signal::TERM] {
        let pid = lab.start(0, &["cat"], descriptors(Source::new(), Sink::new(), Sink::new())).unwrap();
        lab.settle();
        lab.processes[0].signal(pid, 20).unwrap();
        lab.settle();
        assert_eq!(lab.processes[0].running(), 1, "signal 20 is ignored");
        lab.processes[0].signal(pid, signo).unwrap();
        assert_eq!(lab.wait(0, pid), Ok(End::Killed(signo)));
        assert_eq!(lab.wait(0, pid), Err(Errno::ECHILD));
    }
    lab.assert_baseline();
}

/// Who writes to a pipe that nobody reads ends by SIGPIPE; who reads one that nobody writes gets its end.
#[test]
fn ends_of_pipes() {
    let lab = Lab::new();
    let (reader, writer) = pipe();
    let mut fds = descriptors(Source::new(), Sink::new(), Sink::new());
    fds.insert(1, Rc::new(writer));
    let pid = lab.start(0, &["cat", "/dev/zero"], fds).unwrap();
    lab.settle();
    assert_eq!(lab.processes[0].running(), 1, "the pipe is full, and not larger than that");
    drop(reader);
    assert_eq!(lab.wait(0, pid), Ok(End::Killed(signal::PIPE)));

    let (reader, writer) = pipe();
    let mut fds = descriptors(Source::new(), Sink::new(), Sink::new());
    fds.insert(0, Rc::new(reader));
    let reading = lab.start(0, &["cat"], fds).unwrap();
    let mut fds = descriptors(Source::ended("through"), Sink::new(), Sink::new());
    fds.insert(1, Rc::new(writer));
    let writing = lab.start(0, &["cat"], fds).unwrap();
    assert_eq!((lab.wait(0, writing), lab.wait(0, reading)), (Ok(End::Exited(0)), Ok(End::Exited(0))));
    lab.settle();
    lab.assert_baseline();
}
