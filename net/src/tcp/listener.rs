//! Accepting connections.

use super::TcpOptions;
use super::connection::Stage;
use super::stream::TcpStream;
use super::table::Listener;
use crate::stack::{ListenError, Shared};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::future::poll_fn;
use core::task::Poll;

/// A listening port. Connections that wait for [`TcpListener::accept`] are reset when it is dropped.
pub struct TcpListener {
    shared: Rc<Shared>,
    port: u16,
}

impl TcpListener {
    pub(crate) fn new(
        shared: Rc<Shared>,
        port: u16,
        options: TcpOptions,
    ) -> Result<TcpListener, ListenError> {
        let mut state = shared.state.borrow_mut();
        if port == 0 {
            return Err(ListenError::InvalidPort);
        }
        if state.tcp.listeners.contains_key(&port) {
            return Err(ListenError::InUse(port));
        }
        let options = options.clamped();
        let listener = Listener {
            options,
            half_open: VecDeque::with_capacity(2 * options.backlog + 1),
            half_open_count: 0,
            queue: VecDeque::with_capacity(options.backlog),
            waker: None,
        };
        state.tcp.listeners.insert(port, listener);
        drop(state);
        Ok(TcpListener { shared, port })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the next connection whose handshake is complete.
    pub async fn accept(&self) -> TcpStream {
        poll_fn(|cx| {
            let mut state = self.shared.state.borrow_mut();
            loop {
                let Some(listener) = state.tcp.listeners.get_mut(&self.port) else { return Poll::Pending };
                let Some(id) = listener.queue.pop_front() else {
                    listener.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                };
                // One that broke meanwhile is handed out too: reading from it says so.
                if let Some(connection) = state.tcp.get(id) {
                    connection.stage = Stage::Owned;
                    let flow = connection.flow;
                    return Poll::Ready(TcpStream::new(self.shared.clone(), id, flow));
                }
            }
        })
        .await
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        let state = &mut *self.shared.state.borrow_mut();
        let Some(listener) = state.tcp.listeners.remove(&self.port) else { return };
        for id in listener.queue {
            if let Some(connection) = state.tcp.get(id) {
                connection.abort();
                connection.stage = Stage::Orphaned;
                state.tcp.make_ready(&mut state.net, id.slot);
            }
        }
        for id in listener.half_open {
            if state.tcp.get(id).is_some_and(|c| matches!(c.stage, Stage::HalfOpen(_))) {
                state.tcp.remove(id.slot);
            }
        }
    }
}
