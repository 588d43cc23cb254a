//! Many calls at once, to any number of servers, over one UDP socket.

use super::{CallError, Target, put_arguments, results};
use crate::buffer::Buffer;
use crate::message::parse_reply;
use crate::transport::{RpcDatagram, RpcDatagrams};
use crate::xdr::Encoder;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::task::{Poll, Waker};
use core::time::Duration;
use keelson_exec::{Either, Handle, select};

/// Room for the front of a call besides its arguments.
const CALL_HEAD: usize = 1024;

/// When a call is repeated, and when it is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Time to the first repetition; doubled for each one after. At least `total` for none.
    pub retry: Duration,
    /// Time after which there is no answer.
    pub total: Duration,
}

/// A call that waits for its reply.
struct Waiting {
    server: SocketAddr,
    reply: Option<Vec<u8>>,
    waker: Option<Waker>,
}

/// Calls over one UDP socket: a reply finds its call by number and sender, and a server that does not answer
/// delays nobody but its own callers.
///
/// [`SharedDatagramClient::receive`] must run in a task of its own while calls are made.
pub struct SharedDatagramClient<D> {
    handle: Handle,
    socket: D,
    waiting: RefCell<BTreeMap<u32, Waiting>>,
    next: Cell<u32>,
    /// Datagrams that answer no call of ours: late, doubled or forged.
    stray: Cell<u64>,
}

impl<D: RpcDatagrams> SharedDatagramClient<D> {
    /// A client; `xid` is the number of the first call and should be random, so that nobody foretells it.
    pub fn new(handle: Handle, socket: D, xid: u32) -> SharedDatagramClient<D> {
        SharedDatagramClient {
            handle,
            socket,
            waiting: RefCell::default(),
            next: Cell::new(xid),
            stray: Cell::new(0),
        }
    }

    /// Datagrams received that answered no call.
    pub fn stray(&self) -> u64 {
        self.stray.get()
    }

    /// Hands replies to their calls, until the socket is closed.
    pub async fn receive(&self) {
        while let Some(datagram) = self.socket.receive().await {
            if !self.take(datagram) {
                self.stray.set(self.stray.get().wrapping_add(1));
            }
        }
    }

    /// Calls `server` from our address `local` (or the one routing chooses), with arguments of at most
    /// `largest` bytes; the value is the results, still encoded.
    pub async fn call(
        &self,
        local: Option<IpAddr>,
        server: SocketAddr,
        target: Target<'_>,
        patience: Patience,
        arguments: &[u8],
    ) -> Result<Vec<u8>, CallError> {
        let entered = self.enter(server);
        let mut out = Encoder::new(Buffer::unpooled(arguments.len() + CALL_HEAD), 4);
        put_arguments(&mut out, entered.xid, target, |out| out.fixed(arguments))?;
        let message = out.written().get(4..).unwrap_or_default();
        let deadline = self.handle.now() + patience.total;
        let mut wait = patience.retry;
        while self.handle.now() < deadline {
            self.socket.send(local, server, message).await;
            let retry = (self.handle.now() + wait).min(deadline);
            wait *= 2;
            match select(entered.reply(), self.handle.sleep_until(retry)).await {
                Either::First(reply) => return results(&reply).map(|results| results.remaining().to_vec()),
                Either::Second(()) => {}
            }
        }
        Err(CallError::TimedOut)
    }

    /// A number that no other call in execution has.
    fn enter(&self, server: SocketAddr) -> Entered<'_, D> {
        let mut waiting = self.waiting.borrow_mut();
        let mut xid = self.next.get();
        while waiting.contains_key(&xid) {
            xid = xid.wrapping_add(1);
        }
        self.next.set(xid.wrapping_add(1));
        waiting.insert(xid, Waiting { server, reply: None, waker: None });
        Entered { client: self, xid }
    }

    fn take(&self, datagram: RpcDatagram) -> bool {
        let Ok((xid, _)) = parse_reply(&datagram.payload) else { return false };
        let mut waiting = self.waiting.borrow_mut();
        let Some(call) = waiting.get_mut(&xid).filter(|call| call.server == datagram.peer) else {
            return false;
        };
        call.reply = Some(datagram.payload);
        if let Some(waker) = call.waker.take() {
            waker.wake();
        }
        true
    }
}

/// A call in execution; leaves the table when it ends, however it ends.
struct Entered<'a, D> {
    client: &'a SharedDatagramClient<D>,
    xid: u32,
}

impl<D> Entered<'_, D> {
    async fn reply(&self) -> Vec<u8> {
        poll_fn(|cx| {
            let mut waiting = self.client.waiting.borrow_mut();
            let Some(call) = waiting.get_mut(&self.xid) else { return Poll::Pending };
            match call.reply.take() {
                Some(reply) => Poll::Ready(reply),
                None => {
                    call.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl<D> Drop for Entered<'_, D> {
    fn drop(&mut self) {
        self.client.waiting.borrow_mut().remove(&self.xid);
    }
}
