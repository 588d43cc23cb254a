//! `pidin`: columns and content, of this node and of others (sections 14.2, 14.3, 24).

use crate::lab::{Lab, Sink, Source, descriptors};
use crate::world::user;
use keelson_qnet::procs::signal;

#[test]
fn threads() {
    let lab = Lab::new();
    let quiet = || descriptors(Source::new(), Sink::new(), Sink::new());
    let sleeper = lab.start(1, &["sleep", "1000"], quiet()).unwrap();
    let on = lab.start(1, &["on", "-f", "gamma", "sleep", "1000"], quiet()).unwrap();
    lab.settle();
    let text = lab.output(0, &["pidin", "-n", "beta"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "     pid tid name               prio STATE       Blocked",
            "       1   1 procnto              0f READY",
            "       1   2 procnto             10r RECEIVE     1",
            "       2   1 sbin/io-pkt-v4-hc   21r SIGWAITINFO",
            "       2   2 sbin/io-pkt-v4-hc   21r RECEIVE     1",
            "       3   1 sbin/devc-con       10r RECEIVE     1",
            &format!("{sleeper:>8}   1 bin/sleep           10r NANOSLEEP"),
            &format!("{on:>8}   1 bin/on              10r REPLY       1@gamma"),
        ]
    );
    // The same of the node itself, with the one that asks.
    let own = lab.output(1, &["pidin"]);
    assert!(own.starts_with(&text), "{own}");
    assert!(own.lines().last().unwrap().ends_with("1 bin/pidin           10r REPLY       1"), "{own}");
    // By name, by id.
    assert_eq!(lab.output(0, &["pidin", "-n", "beta", "-p", "sleep"]).lines().nth(1), Some(lines[6]));
    let by_id = lab.output(0, &["pidin", "-n", "beta", "-P", &on.to_string()]);
    assert_eq!(by_id.lines().skip(1).collect::<Vec<_>>(), [lines[7]]);
    assert_eq!(lab.output(0, &["on", "-f", "beta", "pidin", "-p", "on"]).lines().nth(1), Some(lines[7]));
    for pid in [sleeper, on] {
        lab.processes[1].signal(pid, signal::KILL).unwrap();
        lab.settle();
    }
    assert!(lab.output(0, &["pidin", "-n", "beta"]).contains("bin/on                  (Zombie)\n"));
}

#[test]
fn arguments() {
    let lab = Lab::new();
    let quiet = || descriptors(Source::new(), Sink::new(), Sink::new());
    let pid = lab.start(1, &["sh", "-c", "sleep 1000"], quiet()).unwrap();
    lab.settle();
    let text = lab.output(0, &["pidin", "-n", "beta", "arg"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..4],
        ["     pid Arguments", "       1 procnto", "       2 sbin/io-pkt-v4-hc", "       3 sbin/devc-con"]
    );
    assert_eq!(lines[4..], [format!("{pid:>8} sh -c sleep 1000"), format!("{:>8} sleep 1000", pid + 1)]);
}

/// That Qnet runs is seen by what the network stack has loaded.
#[test]
fn memory() {
    let lab = Lab::new();
    let args = ["pidin", "-n", "beta", "-P", "io-pkt-v4-hc", "mem"];
    let text = lab.output(0, &args);
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "     pid tid name               prio STATE            code  data        stack",
            "       2   1 sbin/io-pkt-v4-hc   21r SIGWAITINFO      4096  4096  8192(8192)",
            "       2   2 sbin/io-pkt-v4-hc   21r RECEIVE          4096  4096  8192(8192)",
            "            libc.so.3          @b0300000              64K  4096",
            "            devn-virtio.so     @b0400000              64K  4096",
            "            lsm-qnet.so        @b0500000              64K  4096",
        ]
    );
    lab.machines[0].objects.borrow_mut().clear();
    lab.files.world.kernel(0).unmount();
    let own = lab.output(0, &["pidin", "-P", "io-pkt-v4-hc", "mem"]);
    assert!(own.contains("libc.so.3") && !own.contains("lsm-qnet.so") && !own.contains("virtio"), "{own}");
}

#[test]
fn machines() {
    let lab = Lab::new();
    let info = lab.output(0, &["pidin", "-n", "beta", "info"]);
    let expected = "CPU:X86 Release:6.5.0  FreeMem:200Mb/256Mb BootTime:Jan 02 03:04:05 UTC 2026\n\
        Processes: 3, Threads: 5\n\
        Processor1: 15 Keelson 1 2400MHz FPU\n\
        Processor2: 15 Keelson 1 2400MHz FPU\n";
    assert_eq!(info, expected);
    let net = lab.output(0, &["pidin", "net"]);
    let lines: Vec<&str> = net.lines().collect();
    assert_eq!(lines[0], " ND    Node            CPU       Release FreeMem       BootTime");
    assert_eq!(lines[1], " 0     alpha            2 X86    6.5.0   200Mb/256Mb   Jan 02 03:04:05 UTC 2026");
    // With the pidin that asks.
    assert_eq!(lines[2], "           Processes: 4, Threads: 6");
    assert_eq!(lines[3], "           CPU 1:         15 Keelson 1              2400MHz FPU");
    assert!(lines[5].starts_with(" 1     beta  ") && lines[9].starts_with(" 2     gamma  "), "{net}");
    for column in ["Node", "Release", "FreeMem", "BootTime"] {
        let value = match column {
            "Node" => "alpha",
            "Release" => "6.5.0",
            "FreeMem" => "200Mb",
            _ => "Jan",
        };
        assert_eq!(lines[0].find(column), lines[1].find(value), "{column}");
    }
    lab.files.world.crash(2);
    let net = lab.output(0, &["pidin", "net"]);
    assert!(net.lines().last().unwrap().starts_with(" 2     gamma           "), "{net}");
    assert!(!net.lines().last().unwrap().contains("X86"), "{net}");
    let (status, _, errors) = lab.run(0, &["pidin", "-n", "nowhere"], "");
    assert_eq!((status, errors.as_str()), (1, "pidin: /net/nowhere/proc: No such file or directory\n"));
}

/// Who may see what: the environment is for the owner.
#[test]
fn environments_are_private() {
    let lab = Lab::new();
    let quiet = || descriptors(Source::new(), Sink::new(), Sink::new());
    let pid = lab.start(1, &["sleep", "1000"], quiet()).unwrap();
    let read = |who| {
        let files = lab.files.files(0, &who);
        let path = format!("/net/beta/proc/{pid}/as");
        lab.files.world.run(async move {
            let file = files.open(&path, keelson_qnet::client::OpenFlags::READ).await.unwrap();
            let mut memory = [0; 256];
            let len = file.read_at(0x0800_0000, &mut memory).await.unwrap();
            assert_eq!(file.read_at(0, &mut [0; 4]).await, Err(keelson_qnet_wire::Errno::EFAULT));
            String::from_utf8_lossy(&memory[..len]).into_owned()
        })
    };
    assert!(read(crate::world::root()).contains("HOME=/"));
    let others = read(user(100));
    assert!(others.contains("1000") && !others.contains("HOME"), "{others:?}");
}

#[test]
fn the_directory() {
    let lab = Lab::new();
    let list = lab.output(0, &["ls", "/net/beta/proc"]);
    assert_eq!(list.lines().collect::<Vec<_>>(), ["1", "2", "3", "boot", "mount", "qnetstats", "self"]);
    assert_eq!(
        lab.output(0, &["ls", "/net/beta/proc/1", "/proc/self"]),
        "/net/beta/proc/1:\nas\n\n/proc/self:\nas\n"
    );
    assert_eq!(lab.run(0, &["ls", "/net/beta/proc/01"], "").0, 1);
    assert_eq!(
        lab.run(0, &["rm", "/net/beta/proc/1/as"], "").2,
        "rm: /net/beta/proc/1/as: Read-only file system\n"
    );
}
