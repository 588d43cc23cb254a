//! A host that reads and writes for programs which ask it over TCP: what Linux guests have in place of mcexec.

use keelson_qemu::{Error, Namespace, Result};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

/// Longest piece that is read or written at once.
const MOST: usize = 1 << 20;

/// Layout of a request (`bench.c`): operation and length, 32 bits each, and the place in the file, 64 bits, all as the host has
/// them; then what is to be written.
const REQUEST: usize = 16;

const READ: u32 = 0;
const WRITE: u32 = 1;

/// Starts it in a namespace, with a file of its own at `path`; its port. It serves as long as this process lives.
///
/// # Errors
///
/// When there can be no such file, or no socket.
pub fn serve_file(namespace: &Namespace, path: &Path) -> Result<u16> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    let file = file.map_err(|source| Error::Io { doing: format!("make {}", path.display()), source })?;
    let listener = namespace.run(|| TcpListener::bind(("0.0.0.0", 0)))?.map_err(problem)?;
    let port = listener.local_addr().map_err(problem)?.port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(io::Result::ok) {
            let Ok(file) = file.try_clone() else { return };
            // Whoever closes a connection is served.
            thread::spawn(move || serve(stream, &file));
        }
    });
    Ok(port)
}

fn problem(source: io::Error) -> Error {
    Error::Io { doing: "listen for whom a file is served".into(), source }
}

fn serve(mut stream: TcpStream, file: &File) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // The result stands before what is read: one call sends both.
    let mut reply = vec![0; 8 + MOST];
    loop {
        let mut request = [0; REQUEST];
        stream.read_exact(&mut request)?;
        let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|n| request[at + n]));
        let (operation, length) = (word(0), word(4) as usize);
        let place = u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|n| request[8 + n]));
        let data = reply.get_mut(8..8 + length).ok_or(io::ErrorKind::InvalidInput)?;
        let done = match operation {
            READ => file.read_at(data, place)?,
            WRITE => {
                stream.read_exact(data)?;
                file.write_at(data, place)?
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        reply[..8].copy_from_slice(&(done as i64).to_ne_bytes());
        let answer = if operation == READ { 8 + done } else { 8 };
        stream.write_all(&reply[..answer])?;
    }
}
