//! What passes a transport, written to a pcap file (`--write`).

use super::Transport;
use super::error::TransportError;
use keelson_exec::sync::Notify;
use keelson_hal::Instant;
use keelson_qnet::link::LinkAddress;
use keelson_qnet_wire::pcap;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

/// A pcap file that is being written.
pub struct Capture {
    /// Nothing after an error.
    out: RefCell<Option<BufWriter<File>>>,
    name: String,
}

impl Capture {
    /// Makes a file for Ethernet frames, or for IP packets.
    pub fn create(path: &Path, is_ip: bool) -> Result<Rc<Capture>, TransportError> {
        let link_type = if is_ip { pcap::RAW_IP } else { pcap::ETHERNET };
        let create = || -> io::Result<BufWriter<File>> {
            let mut out = BufWriter::with_capacity(1 << 16, File::create(path)?);
            out.write_all(&pcap::file_header(link_type))?;
            out.flush()?;
            Ok(out)
        };
        let name = path.display().to_string();
        let out = create().map_err(TransportError::plain(format!("write \"{name}\"")))?;
        Ok(Rc::new(Capture { out: RefCell::new(Some(out)), name }))
    }

    fn attempt(&self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        let mut out = self.out.borrow_mut();
        let Some(file) = out.as_mut() else { return };
        if let Err(error) = write(file) {
            eprintln!("qnetctl: cannot write \"{}\" any more: {error}", self.name);
            *out = None;
        }
    }

    /// Adds a frame that passes now.
    pub fn record(&self, frame: &[u8]) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.attempt(|out| {
            out.write_all(&pcap::record_header(since.as_nanos() as u64, frame.len() as u32))?;
            out.write_all(frame)
        });
    }

    /// Brings everything into the file: the process may be killed at any time.
    pub fn flush(&self) {
        self.attempt(|out| out.flush());
    }
}

/// A transport whose frames are written to a file.
pub struct Captured {
    inner: Rc<dyn Transport>,
    capture: Rc<Capture>,
}

impl Captured {
    /// Writes what passes `inner`.
    pub fn new(inner: Rc<dyn Transport>, capture: Rc<Capture>) -> Captured {
        Captured { inner, capture }
    }
}

impl Transport for Captured {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn address(&self) -> LinkAddress {
        self.inner.address()
    }

    fn mtu(&self) -> usize {
        self.inner.mtu()
    }

    fn is_up(&self) -> bool {
        self.inner.is_up()
    }

    fn room(&self) -> usize {
        self.inner.room()
    }

    fn send(&self, frame: &[u8]) -> bool {
        let taken = self.inner.send(frame);
        if taken {
            self.capture.record(frame);
        }
        taken
    }

    fn flush(&self) {
        self.inner.flush();
        self.capture.flush();
    }

    fn receive(&self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let count = self.inner.receive(budget, &mut |frame| {
            self.capture.record(frame);
            sink(frame);
        });
        self.capture.flush();
        count
    }

    fn changed(&self) -> Rc<Notify> {
        self.inner.changed()
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline()
    }

    fn has_ended(&self) -> bool {
        self.inner.has_ended()
    }
}
