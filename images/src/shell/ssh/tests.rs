//! The SSH server on a simulated network, as far as it can be seen without a key: OpenSSH's client enters in the system tests.

use super::*;
use embedded_io_async::Read;
use keelson_hal::NetFeatures;
use keelson_net_sim::{Faults, Lab};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOgYpEPq2bvWLjoKAlLd7l1gLc+SJ/ijWrXxPWjm9xDj alice at work";

/// Numbers for tests.
struct Sevens;

impl Entropy for Sevens {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// A node with this command line at 10.0.0.1, and a client.
fn lab(line: &str) -> (Lab, Stack, Rc<Counters>) {
    let lab = Lab::new(1, Faults::default());
    let (server, _) = lab.host("10.0.0.1/16", NetFeatures::empty());
    let (client, _) = lab.host("10.0.0.2/16", NetFeatures::empty());
    let config = Config::parse(&[OPTIONS], &["ssh"], "", line.as_bytes());
    let counters = Rc::new(Counters::default());
    listen(&lab.handle(), &server, &config, &Rc::new(Sevens), &counters, &Commands::new(Vec::new()));
    (lab, client, counters)
}

fn keyed(more: &str) -> String {
    format!("ssh.keys=\"{KEY}\" {more}")
}

async fn connect(stack: &Stack, port: u16) -> Result<TcpStream, keelson_net::ConnectError> {
    stack.connect(SocketAddr::from(([10, 0, 0, 1], port)), Default::default()).await
}

async fn line(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\n") {
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(1) => text.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(text).unwrap()
}

const NAME: &str = concat!("SSH-2.0-Keelson_", env!("CARGO_PKG_VERSION"), "\r\n");

#[test]
fn the_port_is_closed_without_keys() {
    for text in [
        "",
        "ssh.port=22",
        "ssh.hostkey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "ssh.keys=\"ssh-rsa AAAA x\"",
    ] {
        let (lab, client, _) = lab(text);
        let error = lab.run(async move { connect(&client, 22).await.map(drop) });
        assert!(matches!(error, Err(keelson_net::ConnectError::Refused(_))), "{text}: {error:?}");
    }
}

#[test]
fn it_names_itself_and_gives_up_the_silent() {
    let (lab, client, counters) = lab(&keyed("ssh.port=2222"));
    let handle = lab.handle();
    lab.run(async move {
        let began = handle.now();
        let mut stream = connect(&client, 2222).await.unwrap();
        assert_eq!(line(&mut stream).await, NAME);
        assert_eq!(line(&mut stream).await, "");
        let waited = handle.now() - began;
        assert!((20..25).contains(&waited.as_secs()), "{waited:?}");
    });
    assert_eq!((counters.cut(Cut::SlowLogin), counters.open.get()), (1, 0));
}

#[test]
fn one_too_many_is_told_so() {
    let (lab, client, counters) = lab(&keyed(""));
    lab.run(async move {
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = connect(&client, 22).await.unwrap();
            assert_eq!(line(&mut stream).await, NAME);
            open.push(stream);
        }
        let mut more = connect(&client, 22).await.unwrap();
        assert_eq!(line(&mut more).await, "8 connections are open; end one with exit\r\n");
        drop(open);
    });
    assert_eq!(counters.cut(Cut::Full), 1);
}

#[test]
fn keys_are_checked_when_the_line_is_read() {
    assert_eq!(keys(&format!("{KEY}, {KEY},")).unwrap().len(), 2);
    for (text, why) in [
        ("AAAA", "\"AAAA\" keys are not supported"),
        ("ssh-ed25519 AAAA x", "no whole ed25519 key"),
        ("ssh-ed25519", "the key is missing"),
    ] {
        assert!(keys(text).unwrap_err().contains(why), "{text}");
    }
    let config = Config::parse(&[OPTIONS], &["ssh"], "", b"ssh.hostkey=secretsecret ssh.port=22");
    assert!(!config.public_line().contains("secretsecret"));
    let problems: Vec<String> = config.problems().iter().map(ToString::to_string).collect();
    assert!(problems.len() == 1 && !problems[0].contains("secretsecret"), "{problems:?}");
}
