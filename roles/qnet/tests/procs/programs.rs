//! Every program, on files of its own node and of others.

use crate::lab::{BOOT, Lab, Sink, Source, descriptors};
use crate::world::{root, user};
use keelson_qnet::client::Zone;
use keelson_qnet::io::{Order, TextFile};
use keelson_qnet::procs::{End, signal};
use keelson_qnet::programs::PROGRAMS;
use keelson_qnet_wire::Errno;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn plain_ones() {
    let lab = Lab::new();
    assert_eq!((lab.run(0, &["true"], "").0, lab.run(0, &["false"], "").0), (0, 1));
    assert_eq!(lab.output(0, &["use", "true"]), "true\nSucceed.\n");
    assert!(lab.output(0, &["cat", "/bin/true"]).ends_with("\ntrue\nSucceed.\n"));
    let before = lab.files.world.executor.handle().now();
    lab.output(0, &["sleep", "2.5"]);
    assert_eq!(lab.files.world.executor.handle().now() - before, Duration::from_millis(2500));
    assert_eq!(lab.run(0, &["sleep", "x"], "").0, 1);
    let list = lab.output(0, &["ls", "/net/beta/bin"]);
    let names: Vec<&str> = list.lines().collect();
    let mut expected: Vec<&str> = PROGRAMS.iter().map(|program| program.name).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

/// Local time is that of TZ, of the file, or UTC.
#[test]
fn the_date() {
    let lab = Lab::new();
    assert_eq!(lab.output(0, &["date"]), "Fri Jan 02 03:04:05 UTC 2026\n");
    assert_eq!(lab.output(0, &["date", "+%Y-%m-%d %H:%M"]), "2026-01-02 03:04\n");
    let file = Rc::new(TextFile::new(|| "EST5EDT4,M3.2.0,M11.1.0\n".into()));
    lab.files.nodes[0].dispatcher.namespace().mount("/etc/TIMEZONE", file, Order::Before).unwrap();
    assert_eq!(lab.output(0, &["date"]), "Thu Jan 01 22:04:05 EST 2026\n");
    assert_eq!(lab.output(0, &["date", "-u"]), "Fri Jan 02 03:04:05 UTC 2026\n");
    assert_eq!(Zone::default().local(BOOT as i64).format("%F"), "2026-01-02");
}

#[test]
fn the_machine() {
    let lab = Lab::new();
    assert_eq!(lab.output(1, &["hostname"]), "beta\n");
    assert_eq!(lab.output(0, &["uname", "-a"]), "QNX alpha 6.5.0 2026/01/01-00:00:00UTC x86pc\n");
    assert_eq!(lab.output(0, &["uname"]), "QNX\n");
    lab.output(1, &["hostname", "delta"]);
    assert_eq!(*lab.machines[1].host.borrow(), "delta");
    let (status, _, errors) = lab.run_as(1, &user(100), &["hostname", "mine"], "");
    assert_eq!((status, errors.as_str()), (1, "hostname: mine: Operation not permitted\n"));

    lab.output(0, &["mount", "-Tio-pkt", "-o", "do_crc=1", "lsm-qnet.so"]);
    let mounted = lab.machines[0].mounts.borrow()[0].clone();
    assert_eq!((mounted.kind.as_str(), mounted.object.as_str()), ("io-pkt", "lsm-qnet.so"));
    assert_eq!((mounted.options.as_str(), mounted.path.as_str()), ("do_crc=1", ""));
    assert_eq!(lab.run(0, &["mount", "-T", "io-pkt", "missing.so"], "").0, 1);
    assert_eq!(lab.run_as(0, &user(100), &["umount", "lsm-qnet.so"], "").0, 1);
    lab.output(0, &["umount", "lsm-qnet.so"]);
    assert!(lab.machines[0].mounts.borrow().is_empty());

    let namespace = lab.files.nodes[0].dispatcher.namespace();
    let text = TextFile::new(|| "en0:\n  Packets Transmitted OK ..... 7\n".into());
    namespace.mount("/proc/nicinfo/en0", Rc::new(text), Order::After).unwrap();
    let text = "en0:\n  Packets Transmitted OK ..... 7\n";
    assert_eq!(lab.output(0, &["nicinfo"]), text);
    assert_eq!(lab.output(0, &["nicinfo", "/dev/io-net/en0"]), text);
    assert_eq!(lab.run(0, &["nicinfo", "en1"], "").0, 1);
}

#[test]
fn lists() {
    let lab = Lab::new();
    lab.put(1, "/motd", b"welcome\n");
    lab.put(1, "/.profile", b"");
    lab.output(0, &["mkdir", "-m", "750", "/net/beta/dir"]);
    let list = lab.output(0, &["ls", "-l", "/net/beta/motd"]);
    assert_eq!(
        list,
        "-rw-r--r--  1 root      root              8 Jan 01 00:00 /net/beta/motd\n"
            .replace("Jan 01 00:00", &stamp(&list))
    );
    let long = lab.output(0, &["ls", "-la", "/net/beta"]);
    assert!(long.starts_with("total "), "{long}");
    assert!(long.lines().any(|line| line.starts_with("drwxr-x---") && line.ends_with(" dir")), "{long}");
    assert!(long.lines().any(|line| line.ends_with(" .profile")));
    let short = lab.output(0, &["ls", "-F", "/net/beta"]);
    assert!(!short.contains("profile") && short.contains("dir/\n") && short.contains("motd\n"), "{short}");
    assert_eq!(lab.output(0, &["ls", "-d", "/net/beta/dir"]), "/net/beta/dir\n");
    let both = lab.output(0, &["ls", "/net/beta/motd", "/net/beta/dir", "/net"]);
    assert_eq!(both, "/net/beta/motd\n\n/net/beta/dir:\n\n/net:\nalpha\nbeta\ngamma\n");
    // In columns where somebody looks.
    let (output, errors) = (Sink::terminal(), Sink::new());
    let pid = lab.start(0, &["ls", "/net"], descriptors(Source::ended(""), output.clone(), errors)).unwrap();
    lab.wait(0, pid).unwrap();
    assert_eq!(output.text(), "alpha  beta   gamma\n");
    let (status, _, errors) = lab.run(0, &["ls", "/nowhere"], "");
    assert_eq!((status, errors.as_str()), (1, "ls: /nowhere: No such file or directory\n"));
    lab.settle();
    lab.assert_baseline();
}

/// The time in a line of `ls -l`: twelve characters before the name.
fn stamp(line: &str) -> String {
    let end = line.rfind(' ').unwrap();
    line[end - 12..end].to_string()
}

/// `ls -l /net` verifies, and what does not answer goes (section 15); so does what is removed.
#[test]
fn nodes_that_are_gone() {
    let lab = Lab::new();
    lab.files.nodes[0].directory.down.borrow_mut().insert(1);
    let (status, output, errors) = lab.run(0, &["ls", "-l", "/net"], "");
    assert_eq!((status, errors.as_str()), (1, "ls: beta: Host is down\n"));
    assert!(
        output.lines().any(|line| line.starts_with("dr-xr-xr-x") && line.ends_with(" gamma")),
        "{output}"
    );
    assert_eq!(lab.output(0, &["ls", "/net"]), "alpha\ngamma\n");
    let (status, _, errors) = lab.run(0, &["sh", "-c", "rmdir /net/*"], "");
    assert_eq!((status, errors.as_str()), (1, "rmdir: /net/alpha: Resource busy\n"));
    assert_eq!(lab.output(0, &["ls", "/net"]), "alpha\n");
    assert_eq!(lab.run(0, &["mkdir", "/net/delta"], "").2, "mkdir: /net/delta: Read-only file system\n");
}

#[test]
fn changes() {
    let lab = Lab::new();
    let text: Vec<u8> = (0..300_000_u32).map(|index| b'a' + (index % 23) as u8).collect();
    lab.put(1, "/large", &text);
    lab.output(0, &["cp", "/net/beta/large", "/copy"]);
    assert_eq!(lab.get(0, "/copy").unwrap().into_bytes(), text);
    lab.output(0, &["mkdir", "-p", "/a/b/c", "/net/gamma/x"]);
    lab.output(0, &["mv", "/copy", "/a/b"]);
    assert_eq!(
        (lab.get(0, "/copy"), lab.get(0, "/a/b/copy").unwrap().len()),
        (Err(Errno::ENOENT), text.len())
    );
    // To another node it is a copy, and then it is gone here.
    lab.output(0, &["mv", "/a", "/net/gamma/x"]);
    assert_eq!(lab.get(2, "/x/a/b/copy").unwrap().len(), text.len());
    assert_eq!(lab.run(0, &["ls", "/a"], "").0, 1);
    lab.output(0, &["cp", "-r", "/net/gamma/x", "/net/beta/y"]);
    assert_eq!(lab.get(1, "/y/a/b/copy").unwrap().len(), text.len());
    let (status, _, errors) = lab.run(0, &["rm", "/net/gamma/x"], "");
    assert_eq!((status, errors.as_str()), (1, "rm: /net/gamma/x: Is a directory\n"));
    lab.output(0, &["rm", "-r", "/net/gamma/x"]);
    assert_eq!(lab.run(0, &["ls", "/net/gamma/x"], "").0, 1);
    lab.output(0, &["rm", "-f", "/nothing"]);
    assert_eq!(lab.run(0, &["rmdir", "/net/beta/y"], "").2, "rmdir: /net/beta/y: Directory not empty\n");
    assert_eq!(lab.run(0, &["cp", "/net/beta/y", "/y"], "").2, "cp: /net/beta/y: Is a directory\n");
    // Onto itself it would be empty afterwards.
    assert_eq!(lab.run(0, &["cp", "/net/beta/large", "/net/beta/large"], "").0, 1);
    assert_eq!(lab.get(1, "/large").unwrap().len(), text.len());
    assert_eq!(lab.run(0, &["cp", "-r", "/net/beta/y", "/net/beta/y/z"], "").0, 1);
    assert_eq!(lab.run(0, &["cp", "/net/beta/large", "/net/beta/y", "/nowhere"], "").0, 1);
    lab.settle();
    lab.assert_baseline();
}

#[test]
fn attributes() {
    let lab = Lab::new();
    lab.put(1, "/file", b"text");
    assert_eq!(lab.run(0, &["chmod", "4751", "/net/beta/file"], ""), (0, String::new(), String::new()));
    assert_eq!(lab.run(0, &["chown", "7:8", "/net/beta/file"], "").0, 0);
    assert_eq!(lab.run(0, &["sync", "/net/beta/file"], "").0, 0);
    let stat = lab.files.world.run({
        let files = lab.files.files(0, &root());
        async move { files.stat("/net/beta/file").await.unwrap() }
    });
    assert_eq!((stat.uid, stat.gid, stat.size), (7, 8, 4));
    assert_eq!(lab.run(0, &["chown", ":9", "/net/beta/file"], "").0, 0);
    for wrong in
        [&["chmod", "8", "/net/beta/file"][..], &["chmod", "10000", "/net/beta/file"], &["chmod", "7"]]
    {
        assert_eq!(lab.run(0, wrong, "").0, 1, "{wrong:?}");
    }
    for wrong in [&["chown", "x", "/net/beta/file"][..], &["chown", "1"], &["sync"], &["sync", "/nothing"]] {
        assert_eq!(lab.run(0, wrong, "").0, 1, "{wrong:?}");
    }
}

#[test]
fn grep() {
    let lab = Lab::new();
    lab.put(
        1,
        "/stats",
        b"txd ok     930\ntxd bad      0\nrxd ok     880\nlr req tx    2\nQnet compiled on Jan 1\n",
    );
    let stats = "/net/beta/stats";
    assert_eq!(lab.output(0, &["grep", "compiled", stats]), "Qnet compiled on Jan 1\n");
    let lines = lab.output(0, &["grep", "-e", "ok", "-e", "bad", stats]);
    assert_eq!(lines, "txd ok     930\ntxd bad      0\nrxd ok     880\n");
    assert_eq!(lab.output(0, &["grep", "-ci", "QNET", stats]), "1\n");
    assert_eq!(lab.output(0, &["grep", "-n", "^lr", stats]), "4:lr req tx    2\n");
    assert_eq!(lab.output(0, &["grep", "-vc", "ok", stats]), "3\n");
    assert_eq!(
        lab.output(0, &["grep", "^rxd", stats, "/net/beta/stats"]),
        "/net/beta/stats:rxd ok     880\n".repeat(2)
    );
    assert_eq!(lab.run(0, &["grep", "nothing", stats], ""), (1, String::new(), String::new()));
    assert_eq!(lab.run(0, &["grep", "a"], "ab\nc\na").1, "ab\na\n");
    assert_eq!(lab.run(0, &["grep", "[", stats], "").0, 2);
    assert_eq!(lab.run(0, &["grep", "x", "/nowhere"], "").0, 2);
}

/// Lines longer than any buffer are taken for several, and nothing is lost.
#[test]
fn lines_without_end() {
    let lab = Lab::new();
    let long = "x".repeat(100_000) + "\nshort";
    let (status, output, _) = lab.run(0, &["grep", "x"], &long);
    assert_eq!((status, output.matches('x').count()), (0, 100_000));
}

#[test]
fn pages() {
    let lab = Lab::new();
    let lines: String = (1..=60).map(|line| format!("line {line}\n")).collect();
    lab.put(1, "/long", lines.as_bytes());
    let args = ["less", "/net/beta/long"];
    assert_eq!(lab.output(0, &args), lines, "nobody looks");
    let (keys, shown) = (Source::terminal(), Sink::terminal());
    let pid = lab.start(0, &args, descriptors(keys.clone(), shown.clone(), shown.clone())).unwrap();
    lab.settle();
    let text = shown.take();
    assert!(text.ends_with("line 23\n--More--"), "{text}");
    keys.give("\n");
    lab.settle();
    assert_eq!(shown.take(), "\r        \rline 24\n--More--");
    keys.give(" ");
    lab.settle();
    assert!(shown.take().ends_with("line 47\n--More--"));
    keys.give("q");
    assert_eq!(lab.wait(0, pid), Ok(End::Exited(0)));
    assert!(!shown.text().contains("line 48"));
}

#[test]
fn slay_and_kill() {
    let lab = Lab::new();
    let quiet = || descriptors(Source::new(), Sink::new(), Sink::new());
    let first = lab.start(1, &["sleep", "100"], quiet()).unwrap();
    let second = lab.start(1, &["sleep", "100"], quiet()).unwrap();
    let others = lab.start_as(1, &user(100), &["cat"], quiet()).unwrap();
    // From another node, by name; the status is their number.
    assert_eq!(lab.run(0, &["slay", "-n", "beta", "sleep"], "").0, 2);
    let term = Ok(End::Killed(signal::TERM));
    assert_eq!((lab.wait(1, first), lab.wait(1, second)), (term, term));
    let (status, _, errors) = lab.run(0, &["slay", "-n", "beta", "sleep"], "");
    assert_eq!((status, errors.as_str()), (0, "slay: unable to find process 'sleep'\n"));
    // Not what belongs to somebody else.
    let (_, _, errors) = lab.run_as(1, &user(200), &["kill", "-9", &others.to_string()], "");
    assert_eq!(errors, format!("kill: {others}: Operation not permitted\n"));
    assert_eq!(lab.run_as(1, &user(200), &["slay", "cat"], "").0, 0);
    assert_eq!(lab.run_as(1, &user(100), &["kill", "-s", "HUP", &others.to_string()], "").0, 0);
    assert_eq!(lab.wait(1, others), Ok(End::Killed(signal::HUP)));
    assert_eq!(lab.run(1, &["kill", "999999"], "").2, "kill: 999999: No such process\n");
    // The system itself does not end.
    assert_eq!(lab.run(1, &["slay", "-s", "KILL", "io-pkt-v4-hc", "procnto"], "").0, 2);
    assert!(lab.output(1, &["pidin"]).contains("io-pkt-v4-hc"));
    lab.settle();
    lab.assert_baseline();
}
