//! The shell, as a program and in front of a terminal.

use crate::lab::{Lab, Sink, Source, descriptors};
use crate::world::root;
use keelson_qnet::procs::{End, signal};
use keelson_qnet::sh::{Outcome, Shell};
use keelson_qnet_wire::Errno;
use std::rc::Rc;
use std::time::Duration;

fn sh(lab: &Lab, line: &str) -> (i32, String, String) {
    lab.run(0, &["sh", "-c", line], "")
}

#[test]
fn pipes_and_lists() {
    let lab = Lab::new();
    assert_eq!(sh(&lab, "echo a b | cat | grep b").1, "a b\n");
    assert_eq!(sh(&lab, "false && echo no || echo yes; echo end").1, "yes\nend\n");
    assert_eq!(sh(&lab, "true | false").0, 1);
    assert_eq!(sh(&lab, "exit 7; echo no"), (7, String::new(), String::new()));
    assert_eq!(sh(&lab, "cd /net/beta; pwd | cat; cd etc && cat TIMEZONE").1, "/net/beta\nUTC0\n");
    assert_eq!(sh(&lab, "cd /etc/TIMEZONE").2, "sh: cd: /etc/TIMEZONE: Not a directory\n");
    assert_eq!(sh(&lab, "nothing | cat"), (0, String::new(), "sh: nothing: not found\n".into()));
    assert_eq!(sh(&lab, "nothing").0, 127);
    assert_eq!(sh(&lab, "/etc/elf"), (126, String::new(), "sh: /etc/elf: Exec format error\n".into()));
    assert_eq!(sh(&lab, "echo 'a").2, "sh: syntax error: ' is not closed\n");
    assert_eq!(
        sh(&lab, "echo \"*\" '?' /net/* /etc/TIME*").1,
        "* ? /net/alpha /net/beta /net/gamma /etc/TIMEZONE\n"
    );
    assert_eq!(
        sh(&lab, "echo /net/*/etc/TIMEZ?NE /no*where").1,
        "/net/alpha/etc/TIMEZONE /net/beta/etc/TIMEZONE /net/gamma/etc/TIMEZONE /no*where\n"
    );
    // A reader that ends early ends its writer.
    assert_eq!(sh(&lab, "cat /dev/zero | true").0, 0);
    lab.settle();
    lab.assert_baseline();
}

#[test]
fn redirections() {
    let lab = Lab::new();
    sh(&lab, "echo one > /net/beta/f; echo two >> /net/beta/f");
    assert_eq!(lab.get(1, "/f").unwrap(), "one\ntwo\n");
    assert_eq!(sh(&lab, "cat < /net/beta/f").1, "one\ntwo\n");
    sh(&lab, "echo new > /net/beta/f");
    assert_eq!(lab.get(1, "/f").unwrap(), "new\n");
    assert_eq!(
        sh(&lab, "cat /nowhere > /both 2>&1; cat /both").1,
        "cat: /nowhere: No such file or directory\n"
    );
    assert_eq!(sh(&lab, "cat /nowhere 2> /dev/null").2, "");
    assert_eq!(sh(&lab, "cat < /nowhere").2, "sh: /nowhere: No such file or directory\n");
    assert_eq!(sh(&lab, "> /net/beta/empty").0, 0);
    assert_eq!(lab.get(1, "/empty").unwrap(), "");
    assert_eq!(lab.get(1, "/nothing"), Err(Errno::ENOENT));
    lab.settle();
    lab.assert_baseline();
}

#[test]
fn scripts_and_input() {
    let lab = Lab::new();
    lab.put(0, "/script", b"#!/bin/sh\n# nothing\necho script\ncd /net\npwd\nexit 3\necho no\n");
    assert_eq!(lab.run(0, &["sh", "/script"], ""), (3, "script\n/net\n".into(), String::new()));
    assert_eq!(lab.run(0, &["sh", "-c", "/script"], "").0, 126, "not executable");
    let files = lab.files.files(0, &root());
    lab.files.world.run(async move { files.chmod("/script", 0o755).await.unwrap() });
    assert_eq!(lab.run(0, &["/script"], "").1, "script\n/net\n");
    assert_eq!(lab.run(0, &["sh"], "echo a\nexit 4\necho b\n"), (4, "a\n".into(), String::new()));
    // What is behind a line is for the command of that line.
    assert_eq!(lab.run(0, &["sh"], "cat\nfor cat\n").1, "for cat\n");
    lab.settle();
    lab.assert_baseline();
}

/// Ctrl-C ends what runs, and not the shell.
#[test]
fn typed_at_a_terminal() {
    let lab = Lab::new();
    let (keys, shown) = (Source::terminal(), Sink::terminal());
    let pid = lab.start(0, &["sh"], descriptors(keys.clone(), shown.clone(), shown.clone())).unwrap();
    lab.settle();
    assert_eq!(shown.take(), "# ");
    keys.give("sleep 1000\n");
    lab.settle();
    assert_eq!(lab.processes[0].running(), 2);
    let kernel = lab.files.world.kernel(0);
    let request =
        keelson_qnet::api::SignalRequest { pid: -(pid as i32), signo: signal::INT, ..Default::default() };
    kernel.signal(keelson_qnet_wire::Nd::LOCAL, &root(), request).unwrap();
    lab.settle();
    assert_eq!((lab.processes[0].running(), shown.take().as_str()), (1, "# "));
    keys.give("echo still here\nexit\n");
    assert_eq!(lab.wait(0, pid), Ok(End::Exited(0)));
    assert_eq!(shown.take(), "still here\n# ");
}

#[test]
fn in_front_of_a_console() {
    let lab = Lab::new();
    let terminal = lab.files.nodes[0].terminal.clone();
    let shell = Rc::new(Shell::new(&lab.processes[0], terminal.clone(), &root()).unwrap());
    let run = |line: &'static str| {
        let shell = shell.clone();
        lab.files.world.run(async move { shell.line(line).await })
    };
    assert_eq!(run("echo hello | cat; cd /net"), Outcome::Status(0));
    assert_eq!((terminal.shown.take(), shell.cwd()), (b"hello\n".to_vec(), "/net".into()));
    assert_eq!(run("exit 5"), Outcome::Exit(5));
    assert_eq!(run("false"), Outcome::Status(1));
    // In the background it goes on; a signal for the foreground is none for it.
    run("sleep 5 &");
    assert!(terminal.shown.take().starts_with(b"[1] "));
    assert_eq!(lab.processes[0].running(), 1);
    let (waiting, handle) = (shell.clone(), lab.files.world.executor.handle());
    lab.files.world.run(async move {
        // Ctrl-C: nobody waits for the line any more.
        let line = "cat /dev/zero | cat | sleep 1000";
        assert!(handle.timeout(Duration::from_secs(1), waiting.line(line)).await.is_err());
    });
    lab.files.world.pass(Duration::from_millis(100));
    assert_eq!(lab.processes[0].running(), 1, "only what is in the background");
    assert_eq!(run("wait"), Outcome::Status(0));
    assert_eq!((lab.processes[0].running(), lab.processes[0].zombies()), (0, 0));
    drop(shell);
    lab.settle();
    lab.assert_baseline();
}
