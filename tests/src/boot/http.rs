//! A web server on the virtual network: just what boot ROMs and firmware ask for.

use keelson_qemu::{Endpoint, TcpStream};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Serves the files of a directory over HTTP/1.1 until it is dropped.
pub struct HttpServer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    directory: PathBuf,
    requests: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl HttpServer {
    /// Starts it on port 80 of `host`.
    ///
    /// # Panics
    ///
    /// When the port is taken.
    pub fn start(host: &Endpoint, directory: &Path) -> HttpServer {
        let listener = host.tcp_listen(80).expect("port 80");
        let shared = Arc::new(Shared {
            directory: directory.into(),
            requests: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let serving = shared.clone();
        let thread = thread::spawn(move || {
            while !serving.stop.load(Ordering::Relaxed) {
                if let Ok(stream) = listener.accept(Duration::from_millis(100)) {
                    let serving = serving.clone();
                    // A client that goes away in between is not our problem.
                    thread::spawn(move || serving.talk(stream));
                }
            }
        });
        HttpServer { shared, thread: Some(thread) }
    }

    /// The first lines of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().expect("requests").clone()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    /// Answers the requests of a connection.
    fn talk(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream.clone()).lines();
        while let Some(request) = lines.next().transpose()? {
            while lines.next().transpose()?.is_some_and(|header| !header.is_empty()) {}
            self.requests.lock().expect("requests").push(request.clone());
            let mut words = request.split(' ');
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let file = target.trim_start_matches('/');
            let found = if file.split('/').any(|part| part == "..") {
                None
            } else {
                fs::read(self.directory.join(file)).ok()
            };
            let (status, body) = match found {
                Some(body) => ("200 OK", body),
                None => ("404 Not Found", b"not here\n".to_vec()),
            };
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len())?;
            if method != "HEAD" {
                stream.write_all(&body)?;
            }
        }
        Ok(())
    }
}
