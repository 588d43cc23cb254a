//! Who uses a port: a console, or whoever is connected at the other end.

use super::port::{State, TRANSMIT_BUFFER};
use super::{Inner, VirtioConsole};
use crate::virtio::QueueFault;
use alloc::rc::Rc;
use alloc::string::String;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use keelson_hal::Console;

/// Time the device has to take what a console writes; afterwards output is dropped until it does.
const PATIENCE: Duration = Duration::from_millis(10);

/// What went through a port since boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortCounters {
    /// Somebody is at the other end.
    pub connected: bool,
    /// Bytes that came from there and were read.
    pub received: u64,
    /// Bytes that were sent there.
    pub sent: u64,
}

/// A port of a device.
pub struct Port {
    device: Rc<VirtioConsole>,
    number: usize,
    name: String,
}

impl Port {
    pub(super) fn new(device: Rc<VirtioConsole>, number: usize, name: String) -> Port {
        Port { device, number, name }
    }

    /// Its name on the host's side; empty for a console.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What went through it.
    pub fn counters(&self) -> PortCounters {
        let inner = self.device.inner.borrow();
        let port = inner.ports.get(self.number);
        let count = |of: fn(&State) -> u64| port.map_or(0, of);
        PortCounters {
            connected: port.is_some_and(|port| port.connected),
            received: count(|port| port.received),
            sent: count(|port| port.sent),
        }
    }

    /// Waits until somebody is at the other end, and both halves for an earlier one are gone. One task may wait.
    ///
    /// The halves end with that connection. What they get first may be for an earlier one: the device tells neither when in the
    /// stream somebody went, nor when somebody came.
    pub async fn accept(&self) -> (Reader, Writer) {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<(Reader, Writer)> {
        let mut inner = self.device.inner.borrow_mut();
        let Some(port) = inner.ports.get_mut(self.number) else { return Poll::Pending };
        if !port.connected || port.halves > 0 {
            port.acceptor = Some(cx.waker().clone());
            return Poll::Pending;
        }
        port.halves = 2;
        let half = || Half { device: self.device.clone(), number: self.number, generation: port.generation };
        Poll::Ready((Reader(half()), Writer(half())))
    }

    /// Works with the port; `None` when there is no device any more.
    fn with<T>(&self, work: impl FnOnce(&mut State) -> Result<T, QueueFault>) -> Option<T> {
        self.device.with(self.number, work)
    }
}

impl VirtioConsole {
    fn with<T>(&self, number: usize, work: impl FnOnce(&mut State) -> Result<T, QueueFault>) -> Option<T> {
        let inner: &mut Inner = &mut self.inner.borrow_mut();
        let port = inner.ports.get_mut(number).filter(|_| !inner.gone)?;
        work(port).map_err(|fault| inner.shut_off(self, fault)).ok()
    }
}

impl Console for Port {
    fn write(&self, bytes: &[u8]) {
        let clock = &self.device.clock;
        for chunk in bytes.chunks(TRANSMIT_BUFFER) {
            let sent = self.with(|port| match port.reap()? {
                true => port.write(chunk),
                false => Ok(0),
            });
            if sent != Some(chunk.len()) {
                self.dropped_more(chunk.len());
                continue;
            }
            let deadline = clock.now() + PATIENCE;
            while self.with(State::reap) == Some(false) && clock.now() <= deadline {
                core::hint::spin_loop();
            }
            // A device that is late has the bytes nevertheless: they are not counted, what follows is.
        }
    }

    fn dropped(&self) -> u64 {
        self.device.inner.borrow().ports.get(self.number).map_or(0, |port| port.dropped)
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<usize> {
        let read = self.with(|port| {
            let count = port.read(buffer)?;
            if count == 0 {
                port.reader = Some(cx.waker().clone());
            }
            Ok(count)
        });
        match read {
            Some(count @ 1..) => Poll::Ready(count),
            _ => Poll::Pending,
        }
    }
}

impl Port {
    fn dropped_more(&self, count: usize) {
        if let Some(port) = self.device.inner.borrow_mut().ports.get_mut(self.number) {
            port.dropped += count as u64;
        }
    }
}

/// One direction of a connection.
struct Half {
    device: Rc<VirtioConsole>,
    number: usize,
    generation: u64,
}

impl Half {
    /// `None` when the connection has ended; the port has kept the waker where there is nothing to do (0).
    fn poll(&self, work: impl FnOnce(&mut State) -> Result<usize, QueueFault>) -> Poll<Option<usize>> {
        let done = self.device.with(self.number, |port| {
            let current = port.connected && port.generation == self.generation;
            if current { work(port).map(Some) } else { Ok(None) }
        });
        match done.flatten() {
            Some(0) => Poll::Pending,
            other => Poll::Ready(other),
        }
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        if let Some(port) = self.device.inner.borrow_mut().ports.get_mut(self.number) {
            port.halves = port.halves.saturating_sub(1);
            if port.halves == 0 {
                port.acceptor.take().into_iter().for_each(Waker::wake);
            }
        }
    }
}

/// What comes from whoever is connected.
pub struct Reader(Half);

impl Reader {
    /// Moves what came into `buffer`; Ready with the count, or `None` when the connection has ended.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Option<usize>> {
        self.0.poll(|port| {
            let count = port.read(buffer)?;
            if count == 0 {
                port.reader = Some(cx.waker().clone());
            }
            Ok(count)
        })
    }
}

/// What goes to whoever is connected.
pub struct Writer(Half);

impl Writer {
    /// Takes the beginning of `bytes`, which must not be empty; Ready with how much, or `None` when the connection has ended.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<usize>> {
        self.0.poll(|port| {
            let count = port.write(bytes)?;
            if count == 0 {
                port.writer = Some(cx.waker().clone());
            }
            Ok(count)
        })
    }
}
