//! A TFTP server that takes files (RFC 1350, 2347, 2348, 7440), on a host of the test.

use keelson_qemu::{Endpoint, UdpSocket};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;
/// A client that says nothing for this long is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the server does with what it is asked for.
#[derive(Clone, Copy, Default)]
pub struct Habit {
    /// Options are not known to it.
    pub is_old: bool,
    /// Every so many-th block gets lost.
    pub loses: Option<u64>,
    /// Files may not be made.
    pub refuses: bool,
}

/// A file that came whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// What the client calls it.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Bytes of a block.
    pub block: usize,
}

/// The server, until it is dropped.
pub struct TftpServer {
    stop: Arc<AtomicBool>,
    files: Receiver<File>,
    thread: Option<JoinHandle<()>>,
}

impl TftpServer {
    /// Serves port 69 of a host.
    ///
    /// # Panics
    ///
    /// When the port is taken.
    pub fn start(host: &Endpoint, habit: Habit) -> TftpServer {
        let (socket, transfer) = (host.udp(69).expect("port 69"), host.udp(0).expect("a port"));
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, files) = channel();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((request, from)) = socket.receive(Duration::from_millis(200)) {
                    serve(&transfer, &request, from, habit, &sender);
                }
            }
        });
        TftpServer { stop, files, thread: Some(thread) }
    }

    /// The next file.
    ///
    /// # Panics
    ///
    /// When none came whole in time.
    pub fn file(&self, timeout: Duration) -> File {
        self.files.recv_timeout(timeout).expect("a file")
    }
}

impl Drop for TftpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn serve(socket: &UdpSocket, request: &[u8], client: SocketAddr, habit: Habit, files: &Sender<File>) {
    if number(request, 0) != Some(WRQ) {
        return;
    }
    // A client that is gone is not this server's problem.
    let send = |parts: &[&[u8]]| drop(socket.send_to(&parts.concat(), client));
    if habit.refuses {
        return send(&[&ERROR.to_be_bytes(), &2_u16.to_be_bytes(), b"Access violation\0"]);
    }
    let words: Vec<String> = request[2..].split(|byte| *byte == 0).map(text).collect();
    let option = |name: &str| {
        let at = words.iter().skip(2).step_by(2).position(|word| word.eq_ignore_ascii_case(name))?;
        words.get(2 + 2 * at + 1)?.parse::<usize>().ok()
    };
    let (block, window) = match habit.is_old {
        true => (None, None),
        false => (option("blksize"), option("windowsize")),
    };
    let (size, window_size) = (block.unwrap_or(512), window.unwrap_or(1) as u64);
    if block.is_some() || window.is_some() {
        let mut granted = OACK.to_be_bytes().to_vec();
        for (name, value) in [("blksize", block), ("windowsize", window)] {
            if let Some(value) = value {
                granted.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
            }
        }
        send(&[&granted]);
    } else {
        send(&[&ACK.to_be_bytes(), &0_u16.to_be_bytes()]);
    }
    let (mut bytes, mut have, mut seen, mut in_window) = (Vec::new(), 0_u64, 0_u64, 0);
    while let Ok((packet, from)) = socket.receive(PATIENCE) {
        let (Some(DATA), Some(block)) = (number(&packet, 0), number(&packet, 2)) else { continue };
        if from != client {
            continue;
        }
        seen += 1;
        if habit.loses.is_some_and(|every| seen.is_multiple_of(every)) {
            continue;
        }
        let data = &packet[4..];
        let expected = block == (have + 1) as u16;
        if expected {
            bytes.extend_from_slice(data);
            have += 1;
            in_window += 1;
        }
        let ends = expected && data.len() < size;
        // In order and in the middle of a window: there is more to come.
        if !expected || ends || in_window >= window_size {
            in_window = 0;
            send(&[&ACK.to_be_bytes(), &(have as u16).to_be_bytes()]);
        }
        if ends {
            let _ = files.send(File { name: words[0].clone(), bytes, block: size });
            return;
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
