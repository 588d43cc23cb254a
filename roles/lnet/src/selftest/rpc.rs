//! RPCs as their client sees them: a request, perhaps bulk data, a reply (lnet specification section 7.1).

use super::counters::{Count, Counters};
use super::data::Memory;
use super::{Place, SelftestConfig, Transport};
use crate::buffers::Payload;
use crate::lnd::SendError;
use crate::portal::{Delivery, Portal};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::poll_fn;
use core::task::{Poll, Waker};
use core::time::Duration;
use keelson_exec::{Either, Handle, select};
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_lnet_wire::srpc::{self, Body, Message, Received, Reply, Request, Test};

/// The data that go with a request, as its client sees them.
pub enum Bulk {
    /// None.
    Nothing,
    /// The server will PUT this many bytes.
    Sink(u32),
    /// The server will GET these.
    Source(Payload),
}

/// What an RPC brought.
pub struct Answer {
    /// Status of the reply, see [`srpc::status`].
    pub status: u32,
    /// Features of the reply.
    pub features: u32,
    /// The reply itself.
    pub reply: Reply,
    /// The server has the other byte order: so have its data.
    pub swapped: bool,
    /// What arrived for [`Bulk::Sink`]; nothing where the status is not 0.
    pub bulk: Payload,
}

/// Why an RPC failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallError {
    /// The request was not sent.
    Send(SendError),
    /// Reply or data did not come in time.
    TimedOut,
    /// As many RPCs as there may be are under way.
    TooMany,
    /// The answer is no reply to this request.
    NotAReply,
}

/// The RPCs of this node that are under way.
///
/// An RPC's match bits name its place in a table: 16 bits that differ from one life of the node to the next, 31
/// bits that count, 16 bits of place, and one that tells data from reply. Finding it is a look at one entry.
pub struct Rpcs<T> {
    handle: Handle,
    transport: Rc<T>,
    counters: Rc<Counters>,
    memory: Memory,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u16>>,
    most: usize,
    epoch: u64,
    sequence: Cell<u64>,
    timeout: Duration,
}

/// Place of an RPC.
struct Slot {
    /// Match bits of the reply; 0 while nothing is under way. Those of the data have bit 0 set.
    rpyid: u64,
    peer: ProcessId,
    reply: Option<Received>,
    bulk: Stage,
    waker: Option<Waker>,
}

/// How far the data of an RPC are.
enum Stage {
    /// None, or all given away.
    Done,
    /// To come, this many bytes.
    Expected(u32),
    Arrived(Payload),
    /// To be fetched.
    Offered(Payload),
}

impl Slot {
    /// The server has said all it has to say. One that refuses a request does not touch the data.
    fn is_complete(&self) -> bool {
        match &self.reply {
            None => false,
            Some(Received { message: Message { body: Body::Reply { status: 0, .. }, .. }, .. }) => {
                matches!(self.bulk, Stage::Done | Stage::Arrived(_))
            }
            Some(_) => true,
        }
    }

    fn wake_if_complete(&mut self) {
        if self.is_complete()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }
}

impl<T: Transport> Rpcs<T> {
    pub(super) fn new(
        handle: Handle,
        transport: Rc<T>,
        counters: Rc<Counters>,
        memory: Memory,
        config: &SelftestConfig,
    ) -> Rc<Rpcs<T>> {
        let epoch = handle.clock().wall().as_secs() << 48;
        Rc::new(Rpcs {
            handle,
            transport,
            counters,
            memory,
            slots: RefCell::default(),
            free: RefCell::default(),
            most: config.rpcs.min(usize::from(u16::MAX)),
            epoch,
            sequence: Cell::new(0),
            timeout: config.rpc_timeout,
        })
    }

    /// The executor that everything here runs on.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// LNet.
    pub fn transport(&self) -> &Rc<T> {
        &self.transport
    }

    /// Counters of this node.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The time that an RPC may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// RPCs under way.
    pub fn in_flight(&self) -> usize {
        self.slots.borrow().len() - self.free.borrow().len()
    }

    /// Sends a request from `source` (LNet chooses without one) and waits for reply and data, at most `timeout`.
    ///
    /// # Errors
    ///
    /// See [`CallError`]. That the server refused the request is not an error here: see [`Answer::status`].
    pub async fn call(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        features: u32,
        request: Request,
        bulk: Bulk,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        let service = request.service();
        let result = self.exchange(source, to, features, request, bulk, timeout).await;
        match &result {
            Ok(_) => {}
            Err(error) => {
                log::debug!(target: "lnet", "selftest: {service:?} request to {to}: {error}");
                self.counters.errors.up();
                if *error == CallError::TimedOut {
                    self.counters.rpcs_expired.up();
                }
            }
        }
        result
    }

    async fn exchange(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        features: u32,
        request: Request,
        bulk: Bulk,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        let stage = match bulk {
            Bulk::Nothing => Stage::Done,
            Bulk::Sink(len) => Stage::Expected(len),
            Bulk::Source(payload) => Stage::Offered(payload),
        };
        let service = request.service();
        let place = self.reserve(to, stage).ok_or(CallError::TooMany)?;
        let request = with_bulkid(request, place.rpyid | 1);
        let bytes = Message::request(features, place.rpyid, request).encode();
        self.transport
            .put(
                source,
                to,
                Place::new(service.portal(), service.number().into()),
                self.memory.message(&bytes),
            )
            .map_err(CallError::Send)?;
        self.counters.rpcs_sent.up();
        let complete = poll_fn(|cx| place.poll_complete(cx));
        let Either::First((received, bulk)) = select(complete, self.handle.sleep(timeout)).await else {
            return Err(CallError::TimedOut);
        };
        match received.message.body {
            Body::Reply { status, reply } if reply.service() == service => {
                let (features, swapped) = (received.message.features, received.swapped);
                Ok(Answer { status, features, reply, swapped, bulk })
            }
            _ => Err(CallError::NotAReply),
        }
    }

    /// Takes a place in the table; it is given back when the returned value is dropped.
    fn reserve(&self, peer: ProcessId, bulk: Stage) -> Option<Reserved<'_, T>> {
        let mut slots = self.slots.borrow_mut();
        let recycled = self.free.borrow_mut().pop();
        let index = match recycled {
            Some(index) => index,
            None if slots.len() < self.most => {
                slots.push(Slot { rpyid: 0, peer, reply: None, bulk: Stage::Done, waker: None });
                u16::try_from(slots.len() - 1).ok()?
            }
            None => return None,
        };
        self.sequence.set(self.sequence.get() + 1);
        let rpyid = self.epoch | (self.sequence.get() & 0x7fff_ffff) << 17 | u64::from(index) << 1;
        let slot = slots.get_mut(usize::from(index))?;
        *slot = Slot { rpyid, peer, reply: None, bulk, waker: None };
        Some(Reserved { rpcs: self, index, rpyid })
    }

    /// Calls `visit` with the RPC that a message is about, unless it comes from somebody else or too late.
    fn visit<R>(&self, delivery: &Delivery, visit: impl FnOnce(&mut Slot, bool) -> Option<R>) -> Option<R> {
        let bits = delivery.match_bits;
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(usize::from((bits >> 1) as u16))?;
        if slot.rpyid == 0 || slot.rpyid != bits & !1 || slot.peer != delivery.initiator {
            return None;
        }
        visit(slot, bits & 1 != 0)
    }

    /// A message that nobody waits for: its RPC timed out, or it is somebody's mistake.
    fn unexpected(&self, delivery: &Delivery) {
        self.counters.rpcs_dropped.up();
        log::debug!(
            target: "lnet",
            "selftest: {} bytes from {} with match bits {:#x} that nobody waits for",
            delivery.len, delivery.initiator, delivery.match_bits
        );
    }
}

impl<T: Transport> Portal for Rpcs<T> {
    fn admits(&self, delivery: &Delivery) -> bool {
        let admitted = self.visit(delivery, |slot, is_bulk| match &slot.bulk {
            Stage::Expected(len) if is_bulk => (delivery.len <= *len).then_some(()),
            _ if is_bulk => None,
            _ => (slot.reply.is_none() && delivery.len as usize == srpc::LEN).then_some(()),
        });
        if admitted.is_none() {
            self.unexpected(delivery);
        }
        admitted.is_some()
    }

    fn put(&self, delivery: Delivery, payload: Payload) {
        let taken = self.visit(&delivery, |slot, is_bulk| {
            if is_bulk {
                let Stage::Expected(len) = slot.bulk else { return None };
                if payload.len() != len as usize {
                    return None;
                }
                slot.bulk = Stage::Arrived(payload);
            } else {
                slot.reply = Some(Message::decode(payload.as_slice()?).ok()?);
            }
            slot.wake_if_complete();
            Some(())
        });
        if taken.is_none() {
            self.unexpected(&delivery);
        }
    }

    fn get(&self, delivery: &Delivery) -> Option<Payload> {
        let fetched = self.visit(delivery, |slot, is_bulk| {
            let Stage::Offered(_) = slot.bulk else { return None };
            if !is_bulk {
                return None;
            }
            let Stage::Offered(mut payload) = core::mem::replace(&mut slot.bulk, Stage::Done) else {
                return None;
            };
            payload.truncate(delivery.len as usize);
            slot.wake_if_complete();
            Some(payload)
        });
        if fetched.is_none() {
            self.unexpected(delivery);
        }
        fetched
    }
}

/// A place in the table, in use.
struct Reserved<'a, T> {
    rpcs: &'a Rpcs<T>,
    index: u16,
    rpyid: u64,
}

impl<T> Reserved<'_, T> {
    fn poll_complete(&self, cx: &core::task::Context<'_>) -> Poll<(Received, Payload)> {
        let mut slots = self.rpcs.slots.borrow_mut();
        let Some(slot) = slots.get_mut(usize::from(self.index)) else { return Poll::Pending };
        if slot.is_complete()
            && let Some(received) = slot.reply.take()
        {
            let bulk = match core::mem::replace(&mut slot.bulk, Stage::Done) {
                Stage::Arrived(payload) => payload,
                _ => Payload::default(),
            };
            return Poll::Ready((received, bulk));
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Reserved<'_, T> {
    fn drop(&mut self) {
        let mut slots = self.rpcs.slots.borrow_mut();
        if let Some(slot) = slots.get_mut(usize::from(self.index)) {
            slot.rpyid = 0;
            slot.reply = None;
            slot.waker = None;
            let bulk = core::mem::replace(&mut slot.bulk, Stage::Done);
            drop(slots);
            drop(bulk);
        }
        self.rpcs.free.borrow_mut().push(self.index);
    }
}

/// The request with the match bits of its data, where it has any.
fn with_bulkid(request: Request, bulkid: u64) -> Request {
    match request {
        Request::Brw { direction, len, flags, .. } => Request::Brw { bulkid, direction, len, flags },
        Request::Test(test) if test.is_client != 0 => Request::Test(Test { bulkid, ..test }),
        other => other,
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Send(error) => write!(f, "not sent: {error:?}"),
            CallError::TimedOut => f.write_str("no answer in time"),
            CallError::TooMany => f.write_str("too many RPCs at once"),
            CallError::NotAReply => f.write_str("answered with something else"),
        }
    }
}

impl core::error::Error for CallError {}
