//! smoltcp behind a lock, driven by a thread and by whoever waits for something.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{Socket, tcp};
use smoltcp::wire::{EthernetAddress, IpCidr};

use super::Address;
use super::wire::Wire;
use crate::error::{Error, Result};

/// What an endpoint, its sockets and its thread share.
pub struct Shared {
    stack: Mutex<Stack>,
    /// Signalled whenever sockets may have changed.
    changed: Condvar,
    wake: OwnedFd,
    stopped: AtomicBool,
}

/// The protocol stack of an endpoint.
pub struct Stack {
    pub iface: Interface,
    pub sockets: SocketSet<'static>,
    pub wire: Wire,
    epoch: Instant,
    /// TCP sockets whose owner is gone, kept until the peer knows.
    closing: Vec<SocketHandle>,
    /// When the thread will poll next without being woken.
    planned: Option<Instant>,
    next_port: u16,
}

impl Shared {
    pub fn start(stream: UnixStream, name: &str, mac: [u8; 6], addresses: &[Address]) -> Result<Arc<Shared>> {
        let io = |e| Error::Io { doing: format!("set up endpoint {name}"), source: e };
        stream.set_nonblocking(true).map_err(io)?;
        let watched = stream.try_clone().map_err(io)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(Error::errno("create the wake-up of an endpoint"))?;
        let shared = Arc::new(Shared {
            stack: Mutex::new(Stack::new(stream, mac, addresses)),
            changed: Condvar::new(),
            wake,
            stopped: AtomicBool::new(false),
        });
        let driver = shared.clone();
        thread::Builder::new()
            .name(format!("host-{name}"))
            .spawn(move || driver.drive(&watched))
            .map_err(Error::io("start the thread of an endpoint"))?;
        Ok(shared)
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.kick();
    }

    fn kick(&self) {
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, Stack> {
        // A test that panicked while holding the lock must not hide behind a second panic.
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drive(&self, stream: &UnixStream) {
        while !self.stopped.load(Ordering::Relaxed) {
            let mut stack = self.lock();
            stack.poll();
            if stack.wire.unplugged() {
                break;
            }
            let next = stack.next_poll();
            stack.planned = next;
            let mut events = PollFlags::IN;
            events.set(PollFlags::OUT, stack.wire.wants_to_write());
            drop(stack);
            self.changed.notify_all();
            let timeout = next.map(|at| {
                let left = at.saturating_duration_since(Instant::now());
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
            });
            let mut fds = [PollFd::new(&self.wake, PollFlags::IN), PollFd::new(stream, events)];
            let _ = poll(&mut fds, timeout.as_ref());
            if !fds[0].revents().is_empty() {
                let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
            }
        }
        self.changed.notify_all();
    }

    /// Does something with the stack and lets it act on it at once.
    pub fn with<T>(&self, action: impl FnOnce(&mut Stack) -> T) -> T {
        let mut stack = self.lock();
        let result = action(&mut stack);
        self.settle(stack);
        result
    }

    /// Tries `action` whenever something has changed, until it has a result or `timeout` is over (`None`).
    pub fn wait<T>(&self, timeout: Duration, mut action: impl FnMut(&mut Stack) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut stack = self.lock();
        loop {
            if let Some(result) = action(&mut stack) {
                self.settle(stack);
                return Some(result);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            stack = self.changed.wait_timeout(stack, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Polls after a change and wakes the thread if it now sleeps too long.
    fn settle(&self, mut stack: MutexGuard<'_, Stack>) {
        stack.poll();
        let next = stack.next_poll();
        let too_late = match (next, stack.planned) {
            (Some(next), Some(planned)) => next < planned,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let kick = too_late || stack.wire.wants_to_write();
        drop(stack);
        self.changed.notify_all();
        if kick {
            self.kick();
        }
    }
}

impl Stack {
    fn new(stream: UnixStream, mac: [u8; 6], addresses: &[Address]) -> Stack {
        let mut wire = Wire::new(stream);
        let mut config = Config::new(EthernetAddress(mac).into());
        // Ports and sequence numbers of a new endpoint must not repeat those of the one before.
        config.random_seed = std::process::id() as u64
            ^ u64::from_be_bytes([0, 0, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]]);
        let epoch = Instant::now();
        let mut iface = Interface::new(config, &mut wire, smoltcp::time::Instant::ZERO);
        iface.update_ip_addrs(|list| {
            for address in addresses {
                // smoltcp holds a few addresses only; a test that gives more notices at its first packet.
                let _ = list.push(IpCidr::new(address.ip.into(), address.prefix));
            }
        });
        let next_port = 49152 + (config_port_offset(mac) % 8192);
        Stack {
            iface,
            sockets: SocketSet::new(Vec::new()),
            wire,
            epoch,
            closing: Vec::new(),
            planned: None,
            next_port,
        }
    }

    pub fn now(&self) -> smoltcp::time::Instant {
        smoltcp::time::Instant::from_micros(self.epoch.elapsed().as_micros() as i64)
    }

    /// Receives, answers, sends; until there is nothing left to do.
    pub fn poll(&mut self) {
        loop {
            let more = self.wire.fill();
            let now = self.now();
            self.iface.poll(now, &mut self.wire, &mut self.sockets);
            self.wire.flush();
            if !more {
                break;
            }
        }
        let sockets = &mut self.sockets;
        self.closing.retain(|&handle| {
            let state = sockets.get::<tcp::Socket>(handle).state();
            let over = matches!(state, tcp::State::Closed | tcp::State::TimeWait);
            if over {
                sockets.remove(handle);
            }
            !over
        });
    }

    fn next_poll(&mut self) -> Option<Instant> {
        let at = self.iface.poll_at(self.now(), &self.sockets)?;
        Some(self.epoch + Duration::from_micros(at.total_micros().max(0) as u64))
    }

    /// Removes a TCP socket once its connection has ended.
    pub fn abandon(&mut self, handle: SocketHandle) {
        self.closing.push(handle);
    }

    /// Whether there is a TCP connection from this port to that peer, alive or in TIME-WAIT.
    pub fn is_connected(&self, port: u16, to: SocketAddr) -> bool {
        let local = |socket: &tcp::Socket| socket.local_endpoint().map(|end| end.port);
        self.sockets.iter().any(|(_, socket)| match socket {
            Socket::Tcp(socket) => local(socket) == Some(port) && socket.remote_endpoint() == Some(to.into()),
            _ => false,
        })
    }

    /// Whether a UDP socket has this port.
    pub fn is_bound(&self, port: u16) -> bool {
        let bound =
            |socket: &Socket<'_>| matches!(socket, Socket::Udp(socket) if socket.endpoint().port == port);
        self.sockets.iter().any(|(_, socket)| bound(socket))
    }

    pub fn ephemeral_port(&mut self) -> u16 {
        self.next_port = if self.next_port == u16::MAX { 49152 } else { self.next_port + 1 };
        self.next_port
    }

    pub fn set_gateway(&mut self, gateway: IpAddr) {
        let routes = self.iface.routes_mut();
        let _ = match gateway {
            IpAddr::V4(gateway) => routes.add_default_ipv4_route(gateway),
            IpAddr::V6(gateway) => routes.add_default_ipv6_route(gateway),
        };
    }
}

fn config_port_offset(mac: [u8; 6]) -> u16 {
    u16::from_be_bytes([mac[4], mac[5]]).wrapping_mul(631) ^ std::process::id() as u16
}
