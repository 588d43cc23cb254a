//! The server: connections and datagrams, workers, limits, counters.

mod connection;
mod datagrams;
mod registry;
pub(crate) mod replies;

use crate::buffer::BufferPool;
use crate::service::Service;
use crate::transport::{RpcDatagrams, RpcListener, RpcStream};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use keelson_exec::sync::Notify;
use keelson_exec::{Handle, TaskHandle};
use registry::Registry;
use replies::Replies;
pub use replies::ReplyCacheCounters;

/// Limits of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerOptions {
    /// Longest record in bytes.
    pub max_record: usize,
    /// Bytes of large message buffers for all connections together.
    pub buffer_memory: usize,
    /// Calls of one connection that are executed at once.
    pub calls_per_connection: usize,
    /// Calls of all connections that are executed at once, besides one of each. A place takes about 16 KiB.
    pub more_calls: usize,
    /// Datagrams of one socket that are executed at once.
    pub calls_per_socket: usize,
    /// Connections.
    pub connections: usize,
    /// Connections of one client address.
    pub connections_per_host: usize,
    /// Replies kept of calls that must not be executed twice, and as many of those that overwrite; about 1 KiB each at
    /// most.
    pub kept_replies: usize,
    /// A connection without any call this long is closed.
    pub idle: Duration,
    /// A connection that stops in the middle of a record or of taking a reply this long is closed.
    pub stall: Duration,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            max_record: (1 << 20) + 4096,
            buffer_memory: 24 << 20,
            calls_per_connection: 16,
            more_calls: 1024,
            calls_per_socket: 8,
            connections: 1024,
            connections_per_host: 16,
            kept_replies: 2048,
            // Linux clients close after 5 minutes themselves (XS_IDLE_DISC_TO).
            idle: Duration::from_secs(360),
            stall: Duration::from_secs(60),
        }
    }
}

/// What happened since the server started. Snapshot with [`RpcServer::counters`].
#[derive(Clone, Default, Debug)]
pub struct ServerCounters {
    /// Connections accepted.
    pub accepted: Cell<u64>,
    /// Connections turned away because there were too many.
    pub turned_away: Cell<u64>,
    /// Connections closed for being idle, or to make room for a new one.
    pub idle_closed: Cell<u64>,
    /// Connections closed because the client stopped in the middle of a message.
    pub stalled: Cell<u64>,
    /// Times a connection had to make do with the workers it had, because there were too many.
    pub workers_denied: Cell<u64>,
    /// Connections that ended within a record.
    pub broken: Cell<u64>,
    /// Records announced longer than allowed.
    pub too_long: Cell<u64>,
    /// Messages that are no proper calls.
    pub malformed: Cell<u64>,
    /// Calls.
    pub calls: Cell<u64>,
    /// Calls refused: unknown program, version or procedure, bad arguments or credential, server failure.
    pub refused: Cell<u64>,
    /// Datagrams received.
    pub datagrams: Cell<u64>,
}

impl ServerCounters {
    pub(crate) fn count(counter: &Cell<u64>) {
        counter.set(counter.get().wrapping_add(1));
    }
}

pub(crate) struct Shared {
    handle: Handle,
    options: ServerOptions,
    counters: ServerCounters,
    replies: Replies,
    pool: Rc<BufferPool>,
    registry: Registry,
    stopping: Cell<bool>,
    stop: Notify,
    /// Datagrams in execution.
    executing: Cell<usize>,
    /// Workers of connections, besides the first of each.
    more_workers: Cell<usize>,
}

impl Shared {
    /// Waits until the server is to stop.
    async fn stopped(&self) {
        while !self.stopping.get() {
            self.stop.notified().await;
        }
    }
}

/// Runs services on listeners and datagram sockets, under limits common to all of them.
pub struct RpcServer {
    shared: Rc<Shared>,
    tasks: RefCell<Vec<TaskHandle>>,
}

impl RpcServer {
    /// A server that serves nothing yet.
    pub fn new(handle: Handle, options: ServerOptions) -> RpcServer {
        let shared = Rc::new(Shared {
            pool: BufferPool::new(options.buffer_memory, options.max_record),
            replies: Replies::new(&handle, options.kept_replies),
            handle: handle.clone(),
            options,
            counters: ServerCounters::default(),
            registry: Registry::default(),
            stopping: Cell::new(false),
            stop: Notify::new(),
            executing: Cell::new(0),
            more_workers: Cell::new(0),
        });
        let reaper = handle.spawn("rpc-reaper", registry::reap(shared.clone()));
        RpcServer { shared, tasks: RefCell::new(alloc::vec![reaper]) }
    }

    /// Serves every connection that `listener` accepts.
    pub fn serve_listener<L, S>(&self, mut listener: L, service: Rc<S>)
    where
        L: RpcListener + 'static,
        S: Service,
    {
        let shared = self.shared.clone();
        let task = self.shared.handle.spawn("rpc-listener", async move {
            while let Some(stream) = listener.accept().await {
                match shared.registry.admit(&shared, stream.peer()) {
                    Some(state) => connection::start(&shared, stream, service.clone(), state),
                    None => {
                        ServerCounters::count(&shared.counters.turned_away);
                        log::warn!(target: "rpc", "connection of {} turned away: too many", stream.peer());
                    }
                }
            }
        });
        self.tasks.borrow_mut().push(task);
    }

    /// Serves every datagram that `socket` receives.
    pub fn serve_datagrams<D, S>(&self, socket: D, service: Rc<S>)
    where
        D: RpcDatagrams + 'static,
        S: Service,
    {
        datagrams::start(&self.shared, socket, service);
    }

    /// Stops accepting, lets the calls in execution finish (for at most 5 seconds), closes everything.
    pub async fn stop(&self) {
        for task in self.tasks.borrow_mut().drain(..) {
            task.abort();
        }
        self.shared.registry.close_all();
        self.shared.stopping.set(true);
        self.shared.stop.notify();
        let handle = &self.shared.handle;
        let deadline = handle.now() + Duration::from_secs(5);
        while (self.connections() > 0 || self.shared.executing.get() > 0) && handle.now() < deadline {
            handle.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Counters since the start.
    pub fn counters(&self) -> ServerCounters {
        self.shared.counters.clone()
    }

    /// What the duplicate request cache did since the start.
    pub fn reply_cache(&self) -> ReplyCacheCounters {
        self.shared.replies.counters()
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.shared.registry.len()
    }

    /// The pool of large message buffers.
    pub fn buffers(&self) -> Rc<BufferPool> {
        self.shared.pool.clone()
    }
}

#[cfg(test)]
mod tests;
