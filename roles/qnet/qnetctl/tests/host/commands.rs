//! Every command, over QEMU's datagrams.

use crate::support::{Directory, check_capture, datagrams, pattern};

#[test]
fn files_are_listed_read_and_copied() {
    let directory = Directory::new();
    let [alpha, beta] = datagrams(&directory, ["alpha", "beta"]);
    let _server = alpha.serve(&directory.tree());
    assert_eq!(beta.ok(&["ls", "--names", "alpha", "/net"]), "beta\nalpha\n");
    let listed = beta.ok(&["ls", "/net/alpha"]);
    assert_eq!(listed, "big\nbin\ndev\netc\nnet\nproc\nzone\n");
    let long = beta.ok(&["ls", "-l", "/net/alpha/"]);
    let line = |name: &str| {
        long.lines().find(|line| line.ends_with(name)).unwrap_or_else(|| panic!("{name}: {long}"))
    };
    assert!(line(" big").starts_with("-rw-r--r--") && line(" big").contains(" 1500000 "));
    assert!(line(" etc").starts_with("drwxr-xr-x"));
    assert!(line(" zone -> etc/TIMEZONE").starts_with("l"));
    assert_eq!(beta.ok(&["cat", "/net/alpha/etc/TIMEZONE", "/net/alpha/zone"]), "UTC0\nUTC0\n");
    let copy = directory.path("copy");
    beta.ok(&["cp", "/net/alpha/big", &copy.display().to_string()]);
    assert!(check_capture(&beta.capture()) > 1000);
    assert!(std::fs::read(&copy).unwrap() == pattern(1_500_000));
    assert!(beta.run(&["cat", "/net/alpha/big"]).stdout == pattern(1_500_000));
    let stat = beta.ok(&["stat", "/net/alpha/etc/TIMEZONE"]);
    assert!(stat.contains("  type   regular file\n") && stat.contains("  size   5\n"), "{stat}");
    assert!(check_capture(&alpha.capture()) > 1000);
}

#[test]
fn what_is_refused_has_a_status_and_a_reason() {
    let directory = Directory::new();
    let [alpha, beta] = datagrams(&directory, ["alpha", "beta"]);
    let _server = alpha.serve(&directory.tree());
    let (status, text) = beta.fails(&["cat", "/net/alpha/nothing"]);
    assert_eq!(
        (status, text.as_str()),
        (1, "qnetctl: /net/alpha/nothing: ENOENT (2): No such file or directory")
    );
    for command in ["rm", "rmdir", "mkdir"] {
        let (status, text) = beta.fails(&[command, "/net/alpha/etc/new"]);
        let expected = if command == "mkdir" { "EROFS (30)" } else { "ENOENT (2)" };
        assert!(status == 1 && text.contains(expected), "{command}: {status} {text}");
    }
    let (status, text) = beta.fails(&["rm", "/net/alpha/big"]);
    assert!(status == 1 && text.contains("EROFS (30)"), "{text}");
    let (status, text) = beta.fails(&["stats", "gamma"]);
    assert!(status == 3 && text.starts_with("qnetctl: there is no node \"gamma\""), "{text}");
    let (status, text) = beta.fails(&["--json", "cat", "/net/alpha/nothing"]);
    assert_eq!(
        (status, text.as_str()),
        (
            1,
            r#"{"error":"/net/alpha/nothing: ENOENT (2): No such file or directory","status":1,"errno":2,"name":"ENOENT"}"#
        )
    );
    let (status, text) = beta.fails(&["--timeout", "0.3", "on", "-f", "alpha", "sleep", "30"]);
    assert!(status == 4 && text.contains("--timeout"), "{status} {text}");
    let (status, text) = beta.fails(&["ls"]);
    assert!(status == 2 && text.contains("one path"), "{text}");
    assert!(check_capture(&alpha.capture()) > 10);
}

#[test]
fn messages_pulses_pings_and_counters() {
    let directory = Directory::new();
    let [alpha, beta] = datagrams(&directory, ["alpha", "beta"]);
    let _server = alpha.serve(&directory.tree());
    // _SYS_CONF asks for the release: command at 4, name at 8, room at 16 (section 14.3).
    let sysconf = "00000000 00001000 03000000 00000000 4000000000000000";
    let reply = beta.ok(&["send", "alpha", "1", "1", sysconf]);
    assert!(reply.starts_with("status ") && reply.contains("362e352e30"), "6.5.0 is in {reply}");
    assert!(beta.ok(&["--json", "send", "alpha", "1", "1", sysconf]).contains("\"reply\":\"0"));
    assert_eq!(beta.ok(&["pulse", "alpha", "1", "1", "5", "0x1234"]), "");
    let (status, text) = beta.fails(&["pulse", "alpha", "1", "77", "5", "1"]);
    assert!(status == 1 && text.contains("ESRCH (3)"), "{text}");
    let pings = beta.ok(&["--json", "ping", "-c", "3", "alpha"]);
    assert_eq!(pings.lines().count(), 3);
    assert!(pings.lines().all(|line| line.starts_with(r#"{"node":"alpha","number":"#)), "{pings}");
    assert!(check_capture(&beta.capture()) > 8);
    let stats = beta.ok(&["stats", "alpha"]);
    assert!(stats.starts_with("**** Qnet compiled on ") && stats.contains(" running on alpha\n"), "{stats}");
    let stats = beta.ok(&["--json", "stats", "alpha"]);
    assert!(stats.contains(r#"{"name":"rxd bad crc","value":0}"#), "{stats}");
}

#[test]
fn processes_are_listed_and_started() {
    let directory = Directory::new();
    let [alpha, beta] = datagrams(&directory, ["alpha", "beta"]);
    let _server = alpha.serve(&directory.tree());
    let threads = beta.ok(&["pidin", "-n", "alpha"]);
    assert!(threads.contains("procnto") && threads.contains("RECEIVE"), "{threads}");
    assert!(beta.ok(&["pidin", "-n", "alpha", "mem"]).contains("lsm-qnet.so"));
    assert!(beta.ok(&["pidin", "-n", "alpha", "info"]).contains("Release:6.5.0"));
    let arguments = beta.ok(&["--json", "pidin", "-n", "alpha", "arg"]);
    assert!(arguments.starts_with(r#"{"pid":1,"parent":0,"name":"procnto""#), "{arguments}");
    assert!(beta.ok(&["pidin", "--wait", "0", "net"]).contains(" beta "));
    assert_eq!(beta.ok(&["on", "-f", "alpha", "hostname"]), "alpha\n");
    assert_eq!(beta.ok(&["on", "-f", "alpha", "cat", "/etc/TIMEZONE"]), "UTC0\n");
    assert_eq!(beta.ok(&["on", "-n", "alpha", "echo", "-n", "--json"]), "--json");
    assert_eq!(beta.fails(&["on", "-f", "alpha", "false"]).0, 1);
    assert_eq!(beta.fails(&["on", "-f", "alpha", "sh", "-c", "nothing"]).0, 127);
    let (status, text) = beta.fails(&["on", "-f", "alpha", "nothing"]);
    assert!(status == 1 && text.contains("ENOENT (2)"), "{text}");
    let input = pattern(200_000);
    let output = beta.with_input(&["on", "-f", "alpha", "cat"], &input);
    assert!(output.status.success() && output.stdout == input);
    assert!(check_capture(&beta.capture()) > 100);
}

#[test]
fn a_benchmark_measures_each_kind_of_request() {
    let directory = Directory::new();
    let [alpha, beta] = datagrams(&directory, ["alpha", "beta"]);
    let _server = alpha.serve(&directory.tree());
    let lines = beta.ok(&["--json", "bench", "--count", "20", "alpha"]);
    let of = |operation: &str| lines.lines().filter(|line| line.contains(operation)).count();
    assert_eq!([of(r#""operation":"stat""#), of("\"write\""), of("\"read\"")], [1, 3, 3], "{lines}");
    assert!(lines.contains(r#""size":65536,"count":20,"bytes":1310720"#), "{lines}");
    check_capture(&beta.capture());
}

#[test]
fn frames_are_shown_as_they_pass_and_from_files() {
    let directory = Directory::new();
    let [alpha, beta] = datagrams(&directory, ["alpha", "beta"]);
    let _server = alpha.serve(&directory.tree());
    beta.ok(&["cat", "/net/alpha/etc/TIMEZONE"]);
    let capture = directory.word("beta.pcap");
    let replay =
        std::process::Command::new(crate::support::QNETCTL).args(["--replay", &capture, "sniff"]).output();
    let text = String::from_utf8(replay.unwrap().stdout).unwrap();
    for wanted in [
        "LR request: beta asks for alpha",
        "TCS_INIT",
        "_IO_CONNECT (0x100)",
        "_IO_READ (0x101)",
        "node alpha at ",
        "  11 KIF version: 1",
        "  12 CONNECT_SUCCESS: server_id first",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    // A node can hear a file too.
    let replay = std::process::Command::new(crate::support::QNETCTL)
        .args(["--replay", &capture, "--name", "gamma", "ls", "--wait", "0.2", "/net"])
        .output();
    assert_eq!(
        String::from_utf8(replay.unwrap().stdout).unwrap(),
        "gamma\nbeta\n",
        "alpha said nothing to everybody"
    );
}
