//! A disk with a volatile write cache, served to QEMU over NBD.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::nbd::{Request, Status, handshake, read_request, reply};
use super::volatile::{Cache, Keep};
use crate::bench::Bench;
use crate::error::{Error, Result};

/// A disk that acknowledges writes from its cache and makes them permanent when flushed, like a real one.
///
/// To cut the power: [`Machine::kill`](crate::Machine::kill), then [`VolatileDisk::cut`], then examine the image or
/// start again. The disk stays where it is; a restarted machine finds it at the same socket.
pub struct VolatileDisk {
    inner: Arc<Inner>,
    socket: PathBuf,
}

struct Inner {
    state: Mutex<State>,
    size: u64,
    connected: AtomicBool,
    ended: AtomicBool,
    flushes: AtomicU64,
    writes: AtomicU64,
}

struct State {
    cache: Cache,
    faults: Faults,
}

/// Faults to inject, changeable at any time with [`VolatileDisk::faults`]. Ranges are in bytes of the disk.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Reads touching these ranges fail with EIO.
    pub read_errors: Vec<Range<u64>>,
    /// Writes touching these ranges fail with EIO and change nothing.
    pub write_errors: Vec<Range<u64>>,
    /// Flushes fail with EIO and make nothing permanent.
    pub flush_errors: bool,
    /// Flushes are acknowledged and make nothing permanent: a disk that lies.
    pub flushes_ignored: bool,
    /// Every request takes this much longer.
    pub delay: Duration,
}

impl Bench {
    /// Puts a volatile cache in front of an image file.
    pub fn volatile_disk(&self, name: &str, image: &Path) -> Result<VolatileDisk> {
        let doing = |what: &str| format!("{what} {}", image.display());
        let file = File::options()
            .read(true)
            .write(true)
            .open(image)
            .map_err(Error::io(doing("open disk image")))?;
        let size = file.metadata().map_err(Error::io(doing("size disk image")))?.len();
        let socket = self.dir().join(format!("{name}-nbd.sock"));
        let listener = UnixListener::bind(&socket).map_err(Error::io(doing("serve disk image")))?;
        let inner = Arc::new(Inner {
            state: Mutex::new(State { cache: Cache::new(file), faults: Faults::default() }),
            size,
            connected: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            flushes: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        });
        let server = inner.clone();
        thread::Builder::new()
            .name(format!("disk-{name}"))
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    if server.ended.load(Ordering::Relaxed) {
                        break;
                    }
                    server.connected.store(true, Ordering::Release);
                    // A connection ends with an error when QEMU is killed: that is what the disk is for.
                    let _ = server.serve(stream);
                    server.connected.store(false, Ordering::Release);
                }
            })
            .map_err(Error::io("start the thread of a disk"))?;
        Ok(VolatileDisk { inner, socket })
    }
}

impl VolatileDisk {
    /// The socket for [`Drive::nbd`](crate::Drive::nbd).
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Changes the faults being injected.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.inner.lock().faults);
    }

    /// Flushes asked for so far.
    pub fn flushes(&self) -> u64 {
        self.inner.flushes.load(Ordering::Relaxed)
    }

    /// Write requests so far.
    pub fn writes(&self) -> u64 {
        self.inner.writes.load(Ordering::Relaxed)
    }

    /// Writes of 4 KiB blocks that a power cut would lose now.
    pub fn unflushed(&self) -> usize {
        self.inner.lock().cache.unflushed()
    }

    /// Loses what was not flushed, except for what `keep` says. The machine must have been killed before.
    pub fn cut(&self, keep: Keep) -> Result<()> {
        // What QEMU sent before it died is still being taken in.
        for _ in 0..1000 {
            if !self.inner.connected.load(Ordering::Acquire) {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        if self.inner.connected.load(Ordering::Acquire) {
            return Err(Error::machine("disk", "is still in use: kill the machine before the cut"));
        }
        self.inner.lock().cache.cut(keep).map_err(Error::io("write the surviving blocks"))
    }
}

impl Drop for VolatileDisk {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::Relaxed);
        let _ = UnixStream::connect(&self.socket);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        if !handshake(&mut stream, self.size)? {
            return Ok(());
        }
        let mut data = Vec::new();
        loop {
            let (cookie, request) = read_request(&mut stream, &mut data)?;
            if request == Request::Disconnect {
                return Ok(());
            }
            let is_read = matches!(request, Request::Read { .. });
            let delay = self.lock().faults.delay;
            if !delay.is_zero() {
                thread::sleep(delay);
            }
            let status = self.carry_out(request, &mut data);
            let answer = if is_read && status == Status::Ok { &data[..] } else { &[] };
            reply(&mut stream, cookie, status, answer)?;
        }
    }

    fn carry_out(&self, request: Request, data: &mut Vec<u8>) -> Status {
        let mut state = self.lock();
        let State { cache, faults } = &mut *state;
        let hit = |ranges: &[Range<u64>], offset: u64, len: usize| {
            ranges.iter().any(|range| offset < range.end && range.start < offset + len as u64)
        };
        let outside =
            |offset: u64, len: usize| offset.checked_add(len as u64).is_none_or(|end| end > self.size);
        let done = match request {
            Request::Read { offset, len } => {
                let len = len as usize;
                if outside(offset, len) {
                    return Status::Invalid;
                }
                if hit(&faults.read_errors, offset, len) {
                    return Status::Io;
                }
                data.resize(len, 0);
                cache.read(offset, data)
            }
            Request::Write { offset, durable } => {
                self.writes.fetch_add(1, Ordering::Relaxed);
                if outside(offset, data.len()) {
                    return Status::Invalid;
                }
                if hit(&faults.write_errors, offset, data.len()) {
                    return Status::Io;
                }
                let written = cache.write(offset, data);
                if durable && !faults.flushes_ignored {
                    written.and_then(|()| cache.flush())
                } else {
                    written
                }
            }
            Request::Flush => {
                self.flushes.fetch_add(1, Ordering::Relaxed);
                if faults.flush_errors {
                    return Status::Io;
                }
                if faults.flushes_ignored {
                    return Status::Ok;
                }
                cache.flush()
            }
            Request::Disconnect | Request::Unknown => return Status::Invalid,
        };
        if done.is_ok() { Status::Ok } else { Status::Io }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// qemu-io (of qemu-utils) on the disk; its commands are `write -P byte offset length`, `read`, `flush`.
    fn qemu_io(disk: &VolatileDisk, commands: &[&str]) -> Option<String> {
        let mut io = Command::new("qemu-io");
        io.args(["-f", "raw", "-t", "writeback"]);
        for command in commands {
            io.args(["-c", command]);
        }
        io.arg(format!("nbd+unix:///?socket={}", disk.socket().display()));
        let output = io.output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }

    #[test]
    fn qemu_uses_it_and_a_cut_loses_what_was_not_flushed() {
        let bench = Bench::new("nbd");
        let image = bench.dir().join("image");
        File::create(&image).unwrap().set_len(1 << 20).unwrap();
        let disk = bench.volatile_disk("d", &image).unwrap();
        let Some(text) = qemu_io(&disk, &["write -P 1 0 8k", "flush", "read -P 1 4k 4k"]) else {
            eprintln!("skipped: no qemu-io on this host");
            return;
        };
        assert!(!text.contains("fail"), "{text}");
        assert!(disk.flushes() >= 1 && disk.writes() == 1);

        // qemu-io flushes when it ends; a disk that refuses flushes keeps the write in its cache.
        disk.faults(|faults| faults.flush_errors = true);
        qemu_io(&disk, &["write -P 2 0 4k"]);
        assert_eq!(disk.unflushed(), 1);
        disk.cut(Keep::None).unwrap();
        disk.faults(|faults| {
            faults.flush_errors = false;
            faults.read_errors.push(65536..65537);
        });
        let text = qemu_io(&disk, &["read -P 1 0 8k", "read 64k 4k"]).unwrap();
        assert!(!text.contains("Pattern verification failed"), "{text}");
        assert!(text.contains("Input/output error"), "{text}");
    }
}
