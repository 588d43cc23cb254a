//! The transport for tasks: shared by whoever sends, woken by whoever drives it.

use super::{Body, Interest, NodeNr, Qos, RxId, RxMessage, SessionEvent, Sessions, TxId};
use crate::l4::{self, Pool, Transport};
use crate::link::{LinkAddress, LinkId};
use crate::nodes::{RequestId, Usage};
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::pin::Pin;
use core::task::{Context, Poll};
use keelson_exec::sync::Notify;
use keelson_hal::{Clock, Instant};
use keelson_qnet_wire::names::NodePath;
use keelson_qnet_wire::{Errno, Nd};

/// Bytes of memory for messages to be sent that are kept for reuse.
const BODIES_KEPT: usize = 1 << 20;

/// A [`Transport`] with a clock. Somebody drives it: calls [`Network::poll`] at the time that it returned, when
/// [`Network::wanted`] is notified, after frames were given to [`Network::input`], and when a link has room again.
pub struct Network {
    clock: Rc<dyn Clock>,
    transport: RefCell<Transport>,
    /// Memory of messages that are sent.
    bodies: Rc<Pool>,
    changed: Rc<Notify>,
    wanted: Rc<Notify>,
    /// Somebody was refused for want of room when so much had been made.
    refused: Cell<Option<u64>>,
}

impl Network {
    /// Shares a transport.
    pub fn new(clock: Rc<dyn Clock>, transport: Transport) -> Rc<Network> {
        let transport = RefCell::new(transport);
        let bodies = Pool::new(l4::MAX_SENT, BODIES_KEPT);
        let (changed, wanted) = Default::default();
        Rc::new(Network { clock, transport, bodies, changed, wanted, refused: Cell::new(None) })
    }

    /// Does something with the transport at the time that it is; then whoever drives it is woken.
    pub fn with<T>(&self, act: impl FnOnce(&mut Transport, Instant) -> T) -> T {
        let result = self.quietly(act);
        self.wanted.notify();
        result
    }

    fn quietly<T>(&self, act: impl FnOnce(&mut Transport, Instant) -> T) -> T {
        let now = self.clock.now();
        let mut transport = self.transport.borrow_mut();
        let result = act(&mut transport, now);
        let has_room = self.refused.get().is_some_and(|made| made != transport.room_made());
        let has_events = transport.has_events();
        drop(transport);
        if has_room {
            self.refused.set(None);
        }
        if has_room || has_events {
            self.changed.notify();
        }
        result
    }

    /// Looks at the transport.
    pub fn look<T>(&self, at: impl FnOnce(&Transport) -> T) -> T {
        at(&self.transport.borrow())
    }

    /// Takes in a frame; [`Network::poll`] is due after a batch of them.
    pub fn input(&self, link: LinkId, from: LinkAddress, was_broadcast: bool, frame: &[u8]) {
        self.quietly(|transport, now| transport.input(now, link, from, was_broadcast, frame));
    }

    /// Counts a frame that was not fit to be taken in: too short, or not whole.
    pub fn refused_frame(&self) {
        self.transport.borrow_mut().refused_frame();
    }

    /// Does what is due, and says when something will be.
    pub fn poll(&self) -> Option<Instant> {
        self.quietly(|transport, now| transport.poll(now))
    }

    /// Notified when the transport wants to be polled.
    pub fn wanted(&self) -> Rc<Notify> {
        self.wanted.clone()
    }

    /// Finds the node that a path names. ENOENT when there is none.
    pub async fn look_up(self: &Rc<Self>, path: &NodePath<'_>) -> Result<Nd, Errno> {
        let request = self.with(|transport, now| transport.look_up(now, path))?;
        self.wait(request).await.map(Nd)
    }

    /// Sees whether a node is there. EHOSTDOWN when it is not.
    pub async fn verify(self: &Rc<Self>, node: NodeNr) -> Result<(), Errno> {
        let request = self.with(|transport, now| transport.verify(now, node))?;
        self.wait(request).await.map(drop)
    }

    /// Asks a node for its descriptor of a third one. ETIMEDOUT when it does not say.
    pub async fn ask_remote_nd(self: &Rc<Self>, node: NodeNr, name: &str) -> Result<Nd, Errno> {
        let request = self.with(|transport, now| transport.remote_nd(now, node, name))?;
        self.wait(request).await.map(Nd)
    }

    /// Copies what a peer has to acknowledge before it can be forgotten. EMSGSIZE when no message is that long.
    fn keep(&self, body: Body<'_>) -> Result<l4::Body, Errno> {
        if body.is_empty() {
            return Ok(l4::Body::EMPTY);
        }
        let mut buffer = self.bodies.take(body.len()).ok_or(Errno::EMSGSIZE)?;
        let mut rest = buffer.bytes_mut();
        for piece in body.pieces() {
            let (room, behind) = rest.split_at_mut(piece.len().min(rest.len()));
            room.copy_from_slice(piece.get(..room.len()).unwrap_or_default());
            rest = behind;
        }
        Ok(l4::Body::new(buffer, body.len()))
    }

    fn wait(self: &Rc<Self>, request: RequestId) -> RequestFuture {
        RequestFuture { network: self.clone(), request }
    }
}

/// Waits for the answer to a request; dropped, nobody waits for it any more.
pub struct RequestFuture {
    network: Rc<Network>,
    request: RequestId,
}

impl Future for RequestFuture {
    type Output = Result<u32, Errno>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut transport = self.network.transport.borrow_mut();
        match transport.poll_request(self.request, Some(cx.waker())) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}

impl Drop for RequestFuture {
    fn drop(&mut self) {
        self.network.transport.borrow_mut().close_request(self.request);
    }
}

impl Sessions for Network {
    fn send(&self, to: NodeNr, qos: Qos, priority: u8, head: &[u8], body: Body<'_>) -> Result<TxId, Errno> {
        let body = self.keep(body)?;
        let (sent, made) = self.with(|transport, now| {
            let sent = transport.send(now, to, qos, priority, head, body);
            (sent, transport.room_made())
        });
        if sent == Err(Errno::EAGAIN) {
            self.refused.set(Some(made));
        }
        sent.map(|(tx, _)| tx)
    }

    fn take_event(&self) -> Option<SessionEvent> {
        let event = self.transport.borrow_mut().take_event()?;
        Some(event.map(RxMessage::from))
    }

    fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }

    fn release(&self, _rx: RxId, message: RxMessage) {
        drop(message);
    }

    fn close_rx(&self, _node: NodeNr, rx: RxId) {
        self.with(|transport, now| transport.close_rx(now, rx));
    }

    fn qos(&self, nd: Nd) -> Result<Qos, Errno> {
        self.look(|transport| transport.reach(nd)).map(|(_, qos)| qos).ok_or(Errno::ESRCH)
    }

    fn remote_nd_for_us(&self, node: NodeNr) -> Nd {
        Nd(self.look(|transport| transport.node(node).map_or(0, |entry| entry.remote_nd)).into())
    }

    fn set_interest(&self, node: NodeNr, interest: Interest) {
        let usage = match interest {
            Interest::None => Usage::default(),
            Interest::Connected => Usage { connections: 1, waiting: 0 },
            Interest::Waiting => Usage { connections: 1, waiting: 1 },
        };
        self.with(|transport, now| transport.set_usage(now, node, usage));
    }
}
