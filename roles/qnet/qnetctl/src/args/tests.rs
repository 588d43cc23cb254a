//! Command lines as people write them, and those that are refused.

use super::*;
use crate::transport::{Ends, Peer};
use keelson_qnet_wire::frame::Mac;
use std::net::Ipv4Addr;
use std::time::Duration;

fn run(line: &str) -> (Options, Command) {
    match parse(line.split_whitespace().map(str::to_string)) {
        Ok(Invocation::Run(options, command)) => (*options, command),
        other => panic!("{line}: {other:?}"),
    }
}

fn refusal(line: &str) -> String {
    match parse(line.split_whitespace().map(str::to_string)) {
        Err(UsageError(message)) => message,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn options_stand_anywhere() {
    let (before, _) = run("--if tap0 --name a --json ls /net");
    let (after, command) = run("ls --name=a /net --if=tap0 --json");
    assert_eq!(before, after);
    assert_eq!((before.name.as_deref(), before.json), (Some("a"), true));
    assert_eq!(before.transports, [TransportSpec::Interface("tap0".into())]);
    let wait = Duration::from_secs(2);
    assert_eq!(command, Command::Ls { path: "/net".into(), long: false, wait, names: vec![] });
}

#[test]
fn transports() {
    let of = |line: &str| run(&format!("{line} stats beta")).0.transports;
    let inet = |text: &str| text.parse().unwrap();
    assert_eq!(
        of("--qemu-stream 127.0.0.1:9 --qemu-stream listen:./s"),
        [
            TransportSpec::Stream(Peer::Inet(inet("127.0.0.1:9")), false),
            TransportSpec::Stream(Peer::Unix("./s".into()), true)
        ]
    );
    assert_eq!(
        of("--qemu-dgram 127.0.0.1:1,127.0.0.1:2 --qemu-dgram unix:a,unix:b --qemu-dgram 230.0.0.1:7"),
        [
            TransportSpec::Datagrams(Ends::Inet(inet("127.0.0.1:1"), inet("127.0.0.1:2"))),
            TransportSpec::Datagrams(Ends::Unix("a".into(), "b".into())),
            TransportSpec::Datagrams(Ends::Group("230.0.0.1:7".parse().unwrap())),
        ]
    );
    let ip = Ipv4Addr::new(10, 0, 0, 1);
    assert_eq!(of("--ip 10.0.0.1"), [TransportSpec::Ip(ip)]);
    assert_eq!(of("--replay x.pcap"), [TransportSpec::Replay("x.pcap".into())]);
}

#[test]
fn values() {
    let line = "--if a --uid 0x10 --gid 7 --mac 02:00:00:00:00:0a --host b=10.0.0.2 --timeout 1.5 --loss 5% --dup 0.25 \
                --reorder 1 --corrupt 0 --delay 2.5 --seed 9 --crc --domain lab.test --write w stat /net/b";
    let (options, _) = run(line);
    assert_eq!((options.uid, options.gid), (Some(16), Some(7)));
    assert_eq!(options.mac, Some(Mac([2, 0, 0, 0, 0, 10])));
    assert_eq!(options.hosts, [("b".to_string(), Ipv4Addr::new(10, 0, 0, 2))]);
    assert_eq!(options.timeout, Some(Duration::from_millis(1500)));
    let rule = options.impairment;
    assert_eq!((rule.loss, rule.duplicate, rule.reorder, rule.corrupt), (0.05, 0.25, 1.0, 0.0));
    assert_eq!((rule.delay, options.seed, options.crc), (Duration::from_micros(2500), 9, true));
    assert_eq!((options.domain.as_str(), options.write), ("lab.test", Some("w".into())));
}

#[test]
fn commands() {
    let of = |line: &str| run(&format!("--if tap0 {line}")).1;
    let (node, file) = (|| "n".to_string(), Some("/net/n/tmp/x".to_string()));
    assert_eq!(
        of("ls -l --names a,b --wait 0.5 /net"),
        Command::Ls {
            path: "/net".into(),
            long: true,
            wait: Duration::from_millis(500),
            names: vec!["a".into(), "b".into()]
        }
    );
    assert_eq!(of("cp a b"), Command::Cp("a".into(), "b".into()));
    assert_eq!(of("pidin -n n mem"), Command::Pidin { node: node(), report: PidinReport::Memory });
    assert_eq!(of("pidin net"), Command::PidinNet { wait: Duration::from_secs(2) });
    let words = vec!["ls".to_string(), "-l".into(), "--json".into()];
    assert_eq!(of("on -f n ls -l --json"), Command::On { node: node(), words: words.clone(), is_root: true });
    assert_eq!(of("on -n n -- ls -l --json"), Command::On { node: node(), words, is_root: false });
    assert_eq!(of("ping -c 2 n"), Command::Ping { node: node(), count: 2 });
    assert_eq!(
        of("send n 1 0x2 0102 03"),
        Command::Send { node: node(), pid: 1, chid: 2, data: vec![1, 2, 3] }
    );
    assert_eq!(
        of("pulse n 1 1 -- -5 -7"),
        Command::Pulse { node: node(), pid: 1, chid: 1, code: -5, value: -7 }
    );
    assert_eq!(
        of("sniff -c 3 --for 1"),
        Command::Sniff { count: Some(3), span: Some(Duration::from_secs(1)) }
    );
    assert_eq!(of("bench --file /net/n/tmp/x n"), Command::Bench { node: node(), file, count: 1000 });
    assert_eq!(of("serve d"), Command::Serve("d".into()));
    assert_eq!(run("--if a --if b impair").1, Command::Impair { span: None });
}

#[test]
fn help() {
    for line in ["help", "--help", "ls --help", "on -h"] {
        assert_eq!(parse(line.split(' ').map(str::to_string)), Ok(Invocation::Help), "{line}");
    }
}

#[test]
fn refusals_name_what_is_wrong() {
    for (line, wanted) in [
        ("", "a command is missing"),
        ("ls /net", "a transport is missing"),
        ("--if a fly", "\"fly\""),
        ("--if a ls", "one path"),
        ("--if a ls /net x", "2 words given"),
        ("--if a ls --fast /net", "\"--fast\""),
        ("--if a --loss 1.5 ls /net", "\"1.5\""),
        ("--if a --loss", "--loss needs a value"),
        ("--if a --json=1 ls /net", "--json has no value"),
        ("--if a --mac 01:00:00:00:00:01 ls /net", "one station"),
        ("--ip 10.0.0.1 --if a ls /net", "--ip does not go together"),
        ("--if a impair", "exactly two transports"),
        ("--if a pidin", "-n NODE"),
        ("--if a on ls", "-f NODE"),
        ("--if a on -f n", "a command to run is missing"),
        ("--if a send n 1 1 0", "pairs of hexadecimal digits"),
        ("--if a pulse n 1 1 300 0", "CODE: \"300\""),
        ("--if a cp x", "copy to"),
        ("--if a cp x y z", "\"z\""),
        ("--if a bench --count 0 n", "--count: 0"),
        ("--qemu-dgram x ls /net", "multicast"),
        ("--qemu-dgram 127.0.0.1:1,[::1]:2 ls /net", "OURS,QEMUS"),
        ("--qemu-stream x ls /net", "HOST:PORT"),
    ] {
        let message = refusal(line);
        assert!(message.contains(wanted), "{line}: {message}");
    }
}
