//! OpenSSH's client and this server, over loopback. Needs Debian's package openssh-client.

mod common;

use common::{Heard, HostTime, Socket, serve, setup};
use keelson_exec::Executor;
use keelson_ssh::{AuthorizedKey, HostKey, Limits};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the server goes on for connections whose clients have gone: less than any limit that would end them.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the server has to tell at its end.
struct Told {
    entered: Vec<String>,
    refused: Vec<String>,
    cuts: Vec<(&'static str, u64)>,
    open: u64,
}

/// A server in a thread, and a folder with keys.
struct Server {
    port: u16,
    folder: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Told>>,
}

impl Server {
    fn start(name: &str, limits: Limits) -> Server {
        let folder = std::env::temp_dir().join(format!("keelson-ssh-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        keygen(&folder, "alice");
        keygen(&folder, "mallory");
        let line = fs::read_to_string(folder.join("alice.pub")).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let thread = std::thread::spawn(move || run(listener, &line, limits, &ends));
        Server { port, folder, over, thread: Some(thread) }
    }

    fn ssh(&self, key: &str, user: &str, options: &[&str], words: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-p", &self.port.to_string(), "-i"]).arg(self.folder.join(key));
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", self.folder.join("known_hosts").display()));
        for option in ["IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=accept-new"] {
            ssh.args(["-o", option]);
        }
        ssh.args(options).arg(format!("{user}@127.0.0.1")).args(words);
        ssh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        ssh
    }

    fn exec(&self, line: &str) -> Output {
        self.ssh("alice", "root", &[], &[line]).output().unwrap()
    }

    fn end(mut self) -> Told {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn keygen(folder: &Path, name: &str) {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(folder.join(name))
        .status()
        .expect("ssh-keygen of Debian's package openssh-client");
    assert!(status.success());
}

fn run(listener: TcpListener, key: &str, limits: Limits, over: &AtomicBool) -> Told {
    let time = Rc::new(HostTime(Instant::now()));
    let executor = Executor::new(time.clone(), None);
    let handle = executor.handle();
    let setup = Rc::new(setup(&handle, vec![AuthorizedKey::parse(key).unwrap()], limits));
    let heard = Rc::new(Heard::default());
    let mut stopped = None;
    executor.run_until(&*time, || {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            let (setup, heard, stream) = (setup.clone(), heard.clone(), Rc::new(stream));
            handle.spawn("connection", async move {
                serve(&setup, &heard, Socket(stream.clone()), Socket(stream)).await;
            });
        }
        if !over.load(Ordering::Relaxed) {
            return false;
        }
        let since = *stopped.get_or_insert_with(Instant::now);
        setup.counters.open.get() == 0 || since.elapsed() > PATIENCE
    });
    let (entered, refused) = (heard.entered.take(), heard.refused.take());
    let told =
        Told { entered, refused, cuts: setup.counters.cuts().collect(), open: setup.counters.open.get() };
    executor.abort_all();
    told
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn commands_answer_with_their_status() {
    let server = Server::start("commands", Limits::default());
    let echo = server.exec("echo a  b");
    assert_eq!((text(&echo.stdout), echo.status.code()), ("a  b\n", Some(0)), "{}", text(&echo.stderr));
    let unknown = server.exec("frobnicate");
    assert_eq!((text(&unknown.stdout), unknown.status.code()), ("", Some(1)));
    assert!(text(&unknown.stderr).ends_with("frobnicate: unknown\n"), "{}", text(&unknown.stderr));
    // The key that the client has stored is the node's.
    let known = fs::read_to_string(server.folder.join("known_hosts")).unwrap();
    assert!(known.contains(&HostKey::from_seed(&[7; 32]).public_line()), "{known}");
    let told = server.end();
    assert_eq!((told.entered, told.open), (vec!["alice".to_string(); 2], 0));
    assert!(told.cuts.iter().all(|(_, count)| *count == 0), "{:?}", told.cuts);
}

#[test]
fn much_goes_both_ways() {
    let server = Server::start("much", Limits::default());
    for options in [&[][..], &["-o", "RekeyLimit=1M"]] {
        let mut ssh = server.ssh("alice", "admin", options, &["big", "9000000"]).spawn().unwrap();
        let mut out = ssh.stdout.take().unwrap();
        // The reader is slow at first, and reads in odd pieces.
        std::thread::sleep(Duration::from_millis(500));
        let (mut all, mut piece) = (Vec::new(), [0; 4093]);
        loop {
            match out.read(&mut piece).unwrap() {
                0 => break,
                count => all.extend_from_slice(&piece[..count]),
            }
        }
        let mut errors = String::new();
        ssh.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(ssh.wait().unwrap().code(), Some(0), "{options:?}: {errors}");
        assert_eq!(all.len(), 9_000_000, "{options:?}");
        assert!(all.chunks(50_000).flatten().enumerate().all(|(at, byte)| *byte == (at % 50_000) as u8));
    }
    let mut ssh = server.ssh("alice", "root", &[], &["count"]).stdin(Stdio::piped()).spawn().unwrap();
    ssh.stdin.take().unwrap().write_all(&[b'x'; 123_456]).unwrap();
    let count = ssh.wait_with_output().unwrap();
    assert_eq!((text(&count.stdout), count.status.code()), ("123456\n", Some(0)));
    server.end();
}

#[test]
fn shells_take_lines() {
    let server = Server::start("shell", Limits::default());
    let talk = |options: &[&str], typed: &[u8]| {
        let mut ssh = server.ssh("alice", "root", options, &[]).stdin(Stdio::piped()).spawn().unwrap();
        ssh.stdin.take().unwrap().write_all(typed).unwrap();
        ssh.wait_with_output().unwrap()
    };
    let ended = talk(&["-T"], b"one\ntwo\n");
    assert_eq!((text(&ended.stdout), ended.status.code()), ("> one\n> two\n> ", Some(0)));
    let left = talk(&["-T"], b"one\nexit\n");
    assert_eq!((text(&left.stdout), left.status.code()), ("> one\n> ", Some(3)));
    // From a terminal: there is none to be had at the node, which the client says, and leaves its own in line mode.
    let mut command = String::from("ssh");
    for word in server.ssh("alice", "root", &[], &[]).get_args() {
        command = format!("{command} {}", word.to_str().unwrap());
    }
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().expect("script of Debian's package bsdutils");
    let (mut keys, mut screen) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    let mut seen = Vec::new();
    for (prompt, typed) in [("> ", "one\n"), ("one\r\n> ", "exit\n"), ("closed.\r", "")] {
        while !text(&seen).ends_with(prompt) && !text(&seen).contains("closed.") {
            let mut byte = [0];
            screen.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {:?}", text(&seen)));
            seen.push(byte[0]);
        }
        keys.write_all(typed.as_bytes()).unwrap();
    }
    assert_eq!(script.wait().unwrap().code(), Some(3), "{}", text(&seen));
    assert!(text(&seen).contains("PTY allocation request failed"), "{}", text(&seen));
    server.end();
}

#[test]
fn strangers_are_refused() {
    let server = Server::start("strangers", Limits::default());
    let refused = |key: &str, user: &str, options: &[&str]| {
        let output = server.ssh(key, user, options, &["echo", "in"]).output().unwrap();
        assert_eq!((text(&output.stdout), output.status.code()), ("", Some(255)));
        text(&output.stderr).to_string()
    };
    assert!(refused("mallory", "root", &[]).contains("Permission denied (publickey)"));
    assert!(refused("alice", "eve", &[]).contains("Permission denied (publickey)"));
    // A password is not even asked for.
    let password = refused("mallory", "root", &["-o", "PreferredAuthentications=password"]);
    assert!(password.contains("Permission denied (publickey)"), "{password}");
    // Forwarding and subsystems.
    let sftp = server.ssh("alice", "root", &["-s"], &["sftp"]).output().unwrap();
    assert!(text(&sftp.stderr).contains("subsystem request failed"), "{}", text(&sftp.stderr));
    let told = server.end();
    assert_eq!(told.refused.len(), 2, "{:?}", told.refused);
    assert!(
        told.refused[0].starts_with("key SHA256:")
            && told.refused[0].ends_with("none of those that may enter")
    );
    assert_eq!(told.refused[1], "user \"eve\": only root and admin may enter");
}

#[test]
fn too_many_keys_are_too_many() {
    let server = Server::start("attempts", Limits::default());
    let more: Vec<String> = (0..4).map(|n| format!("key{n}")).collect();
    more.iter().for_each(|name| keygen(&server.folder, name));
    let paths: Vec<String> = more.iter().map(|name| server.folder.join(name).display().to_string()).collect();
    let options: Vec<&str> = paths.iter().flat_map(|path| ["-i", path]).collect();
    let output = server.ssh("mallory", "root", &options, &["echo", "in"]).output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    let told = server.end();
    assert_eq!(told.refused.len(), 3, "{:?}", told.refused);
    assert!(told.cuts.contains(&("attempts", 1)), "{:?}", told.cuts);
}

/// Waits until a child ends.
fn ends(child: &mut Child, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

#[test]
fn the_silent_and_the_gone_hold_nothing() {
    let second = Duration::from_secs(1);
    let server = Server::start("silent", Limits { login: second, idle: 2 * second, ..Limits::default() });
    // One says nothing, one begins and stops; the node closes.
    for beginning in [&b""[..], b"SSH-2.0-x\r\n"] {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap();
        stream.set_read_timeout(Some(10 * second)).unwrap();
        stream.write_all(beginning).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    // A shell in which nothing is typed.
    let mut idle = server.ssh("alice", "root", &["-T"], &[]).stdin(Stdio::piped()).spawn().unwrap();
    assert!(ends(&mut idle, 10 * second));
    // A client that goes while its command goes on.
    let mut waiting = server.ssh("alice", "root", &[], &["wait"]).spawn().unwrap();
    let mut first = [0; 8];
    waiting.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"waiting\n");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    let told = server.end();
    assert_eq!(told.open, 0);
    assert!(told.cuts.contains(&("slow_login", 2)) && told.cuts.contains(&("idle", 1)), "{:?}", told.cuts);
}
