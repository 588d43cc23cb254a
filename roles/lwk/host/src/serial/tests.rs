use super::*;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use keelson_lwk_wire::serial::{Mark, Search};

/// Long enough for any of the tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of ports that goes away.
struct Ports(PathBuf);

impl Ports {
    fn new() -> Ports {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lwk-serial-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Ports(path)
    }

    fn listen(&self, name: &str) -> UnixListener {
        UnixListener::bind(self.0.join(name)).unwrap()
    }

    fn claim(&self) -> Result<Claim, String> {
        claim(&self.0, Traffic::Hi).map_err(|error| error.to_string())
    }

    /// The first port, once it is free: for a moment a program that another test starts has every descriptor.
    fn comes_free(&self) -> Claim {
        let start = Instant::now();
        loop {
            match self.claim() {
                Ok(claim) => return claim,
                Err(text) => assert!(start.elapsed() < PATIENCE, "{text}"),
            }
        }
    }

    fn names(&self, traffic: Traffic) -> Vec<String> {
        let ports = ports::list(&self.0, traffic).unwrap();
        ports.iter().map(|port| port.path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name(claim: &Claim) -> &str {
    claim.path().file_name().unwrap().to_str().unwrap()
}

/// The next mark that a host sends.
fn mark(stream: &mut UnixStream, search: &mut Search) -> Option<Mark> {
    loop {
        let len = stream.read(search.space()).ok().filter(|len| *len > 0)?;
        if let Some(mark) = search.filled(len) {
            return Some(mark);
        }
    }
}

/// A node that sends junk, does not hear the first `deaf` calls, and greets behind its last mark.
fn node(listener: UnixListener, junk: &'static [u8], deaf: usize) -> JoinHandle<UnixStream> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut search = Search::default();
        stream.write_all(junk).unwrap();
        for _ in 0..deaf {
            mark(&mut stream, &mut search).unwrap();
        }
        while let Some(heard) = mark(&mut stream, &mut search) {
            stream.write_all(&heard.bytes()).unwrap();
            if matches!(heard, Mark::Go(_)) {
                stream.write_all(b"HELLO").unwrap();
                break;
            }
        }
        stream
    })
}

#[test]
fn ports_are_the_sockets_of_a_directory() {
    let ports = Ports::new();
    let text = connect(&ports.0, Traffic::Hi, PATIENCE).unwrap_err().to_string();
    assert!(text.starts_with(&format!("no ports in {}; start the node", ports.0.display())), "{text}");
    assert_eq!(connect(&ports.0, Traffic::Bulk, PATIENCE).unwrap_err().kind(), NONE_FREE);
    fs::write(ports.0.join("lwk.hi.1"), "a file").unwrap();
    fs::create_dir(ports.0.join("lwk.hi.3")).unwrap();
    let all = ["lwk.hi.10", "lwk.bulk.11", "lwk.hi.2", "lwk.bulk.3", "a"].map(|name| ports.listen(name));
    assert_eq!(ports.names(Traffic::Hi), ["a", "lwk.hi.2", "lwk.hi.10"]);
    assert_eq!(ports.names(Traffic::Bulk), ["lwk.bulk.3", "lwk.bulk.11"]);
    // Tools have their own first.
    assert_eq!(ports.names(Traffic::Tool), ["a", "lwk.hi.2", "lwk.hi.10"]);
    let own = ports.listen("lwk.ctl.7");
    assert_eq!(ports.names(Traffic::Tool), ["lwk.ctl.7", "a", "lwk.hi.2", "lwk.hi.10"]);
    assert_eq!(ports.names(Traffic::Hi), ["a", "lwk.hi.2", "lwk.hi.10"]);
    drop((all, own));

    let text = |path: &str| connect(Path::new(path), Traffic::Hi, PATIENCE).unwrap_err().to_string();
    assert!(text("/proc/version").contains("neither a socket nor a directory"));
    assert!(text("/nowhere/at/all").starts_with("/nowhere/at/all: No such file"));
}

#[test]
fn one_has_a_port_at_a_time() {
    let ports = Ports::new();
    let _all = ["hi.10", "hi.2", "bulk.1"].map(|name| ports.listen(name));
    let first = ports.claim().unwrap();
    let second = ports.claim().unwrap();
    assert_eq!([name(&first), name(&second)], ["hi.2", "hi.10"]);
    let more = "give the node more (virtserialport, or ports= in the node table)";
    assert_eq!(ports.claim().err(), Some(format!("all 2 ports in {} are in use; {more}", ports.0.display())));
    let full = connect(&ports.0, Traffic::Hi, PATIENCE).unwrap_err();
    assert_eq!(full.kind(), NONE_FREE);
    drop(first);
    assert_eq!(name(&ports.comes_free()), "hi.2");
    // A socket alone is a port, too, and not for bulk.
    let one = ports.0.join("hi.10");
    let text = claim(&one, Traffic::Hi).err().unwrap().to_string();
    assert_eq!(text, format!("the only port at {} is in use; {more}", one.display()));
    assert_eq!(claim(&one, Traffic::Bulk).err().unwrap().kind(), NONE_FREE);
    drop(second);
    let (_first, second) = (ports.comes_free(), ports.comes_free());
    assert_eq!(second.path(), one);
}

#[test]
fn a_claim_lasts_as_long_as_its_connection() {
    let ports = Ports::new();
    let node = node(ports.listen("hi.0"), b"", 0);
    let stream = connect(&ports.0, Traffic::Hi, PATIENCE).unwrap();
    assert_eq!((stream.read_timeout().unwrap(), stream.write_timeout().unwrap()), (None, None));
    assert!(ports.claim().is_err());
    let other = stream.try_clone().unwrap();
    drop(stream);
    // Its other end is not what counts.
    drop(node.join().unwrap());
    assert!(ports.claim().is_err());
    drop(other);
    ports.comes_free();
}

#[test]
fn no_other_program_inherits_a_claim() {
    let ports = Ports::new();
    let _listener = ports.listen("hi.0");
    let claim = ports.claim().unwrap();
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    drop(claim);
    ports.comes_free();
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_is_left_of_a_machine_is_passed_over() {
    let ports = Ports::new();
    drop(ports.listen("hi.0"));
    let text = connect(&ports.0, Traffic::Hi, PATIENCE).unwrap_err();
    assert_eq!(text.kind(), ErrorKind::ConnectionRefused);
    assert!(text.to_string().contains("hi.0: Connection refused"), "{text}");
    let node = node(ports.listen("hi.1"), b"", 0);
    let stream = connect(&ports.0, Traffic::Hi, PATIENCE).unwrap();
    node.join().unwrap();
    // All that anybody listens on is in use.
    assert_eq!(connect(&ports.0, Traffic::Hi, PATIENCE).unwrap_err().kind(), NONE_FREE);
    drop(stream);
    // So it is with one that was claimed before.
    let old = ports.comes_free();
    assert_eq!(name(&old), "hi.0");
    fs::remove_file(ports.0.join("hi.1")).unwrap();
    let node = self::node(ports.listen("hi.1"), b"", 0);
    connect_claimed(old, &ports.0, Traffic::Hi, PATIENCE).unwrap();
    node.join().unwrap();
}

#[test]
fn what_a_claim_was_made_for() {
    let ports = Ports::new();
    let node = node(ports.listen("hi.0"), b"", 0);
    let claim = ports.claim().unwrap();
    assert!(ports.claim().is_err());
    let _stream = connect_claimed(claim, &ports.0, Traffic::Hi, PATIENCE).unwrap();
    assert!(ports.claim().is_err());
    node.join().unwrap();
}

#[test]
fn a_meeting_begins_behind_whatever_is_left() {
    for (junk, deaf) in [(&b""[..], 0), (b"old", 1), (b"LWKC cut off", 0), (&[0x4c; 70_000], 3)] {
        let ports = Ports::new();
        let node = node(ports.listen("lwk"), junk, deaf);
        let mut stream = connect(&ports.0.join("lwk"), Traffic::Hi, PATIENCE).unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        assert_eq!(hello, *b"HELLO");
        // Calls that were not needed are before the last mark: nothing else comes.
        stream.write_all(b"LWK1").unwrap();
        let mut far = node.join().unwrap();
        let mut answer = [0; 4];
        far.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"LWK1");
    }
}

#[test]
fn a_node_that_does_not_answer() {
    let ports = Ports::new();
    let listener = ports.listen("hi.0");
    let start = Instant::now();
    let silent = connect(&ports.0, Traffic::Hi, Duration::from_millis(500)).unwrap_err();
    assert_eq!(silent.kind(), ErrorKind::TimedOut);
    let socket = ports.0.join("hi.0");
    assert_eq!(
        silent.to_string(),
        format!(
            "nobody answers on {}; the node may not be up, or not listen there (listen=serial:NAME)",
            socket.display()
        )
    );
    assert!(start.elapsed() < PATIENCE);
    // It was called again and again, with one token.
    let (mut stream, _) = listener.accept().unwrap();
    let (mut search, mut calls) = (Search::default(), Vec::new());
    while let Some(mark) = mark(&mut stream, &mut search) {
        calls.push(mark);
    }
    assert!(calls.len() >= 2 && calls.iter().all(|call| *call == calls[0]), "{calls:?}");
    assert!(matches!(calls[0], Mark::Call(token) if token != [0; 16]));
}

#[test]
fn a_node_that_says_nothing_but_junk_or_goes() {
    let ports = Ports::new();
    let listener = ports.listen("hi.0");
    let node = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let other = Mark::Call([7; 16]).bytes();
        while stream.write_all(&other).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
        // The second one is sent away.
        drop(listener.accept().unwrap());
    });
    let silent = connect(&ports.0, Traffic::Hi, Duration::from_millis(300)).unwrap_err();
    assert!(silent.to_string().starts_with("nobody answers on "), "{silent}");
    let gone = connect(&ports.0, Traffic::Hi, PATIENCE).unwrap_err();
    assert_ne!(gone.kind(), ErrorKind::TimedOut);
    assert!(gone.to_string().starts_with(&ports.0.display().to_string()), "{gone}");
    node.join().unwrap();
}

#[test]
fn who_waits_behind_others_waits_no_longer_than_it_may() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let ports = Ports::new();
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let path = ports.0.join("hi.0");
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    // They have not claimed it.
    let _other = UnixStream::connect(&path).unwrap();
    let error = connect(&ports.0, Traffic::Hi, Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(error.to_string(), format!("{}: others wait for this port; end what uses it", path.display()));
}
