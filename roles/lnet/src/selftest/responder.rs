//! A test node's answers: the framework's services and the tests' (lnet specification sections 7.4 to 7.7).

mod framework;

use super::counters::{Count, Counters};
use super::data::Memory;
use super::rpc::Rpcs;
use super::session::Session;
use super::workers::Workers;
use super::{Place, SelftestConfig, Transport, brw};
use crate::buffers::Payload;
use crate::portal::{Delivery, Portal};
use alloc::collections::VecDeque;
use alloc::rc::{Rc, Weak};
use core::cell::RefCell;
use keelson_exec::Handle;
use keelson_hal::Instant;
use keelson_lnet_wire::srpc::{
    self, BULK_LEN, Body, Message, REPLY_PORTAL, Reply, Request, Service, SessionId, VERSION, status,
};

/// Every feature there is.
const FEATURES: u32 = BULK_LEN;

/// Answers the requests of consoles and of tests.
///
/// Requests that need no data are answered where they arrive. Bulk tests, and client tests whose destinations
/// are to be fetched, wait for a worker: there is one for each MiB of [`SelftestConfig::bulk_memory`]. Requests
/// of a test wait, as at a lazy portal, until the console has said that this node is a server of that test.
pub struct Responder<T: Transport> {
    me: Weak<Responder<T>>,
    handle: Handle,
    transport: Rc<T>,
    counters: Rc<Counters>,
    memory: Memory,
    rpcs: Rc<Rpcs<T>>,
    config: SelftestConfig,
    session: RefCell<Option<Rc<Session>>>,
    /// Requests of tests that this node is no server of yet, with the time when they arrived.
    early: RefCell<VecDeque<(Instant, Asked)>>,
    workers: Rc<Workers<Asked>>,
}

/// A request, read.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub delivery: Delivery,
    pub version: u32,
    pub features: u32,
    pub rpyid: u64,
    pub request: Request,
    /// The client has the other byte order: so have its data.
    pub swapped: bool,
}

impl Asked {
    /// Reads a request; none where it is no request to the service it was sent to.
    fn read(delivery: Delivery, payload: &Payload) -> Option<Asked> {
        let received = Message::decode(payload.as_slice()?).ok()?;
        let Message { version, features, body } = received.message;
        let Body::Request { rpyid, request } = body else { return None };
        let service = request.service();
        let is_its_own =
            service.portal() == delivery.portal && u64::from(service.number()) == delivery.match_bits;
        is_its_own.then_some(Asked { delivery, version, features, rpyid, request, swapped: received.swapped })
    }

    fn is_test(&self) -> bool {
        matches!(self.request, Request::Ping { .. } | Request::Brw { .. })
    }
}

impl<T: Transport> Responder<T> {
    pub(super) fn new(
        handle: Handle,
        transport: Rc<T>,
        counters: Rc<Counters>,
        memory: Memory,
        rpcs: Rc<Rpcs<T>>,
        config: SelftestConfig,
    ) -> Rc<Responder<T>> {
        let workers = Workers::new(config.waiting, config.bulk_memory >> 20);
        Rc::new_cyclic(|me| Responder {
            me: me.clone(),
            handle,
            transport,
            counters,
            memory,
            rpcs,
            config,
            session: RefCell::default(),
            early: RefCell::default(),
            workers,
        })
    }

    /// Counters of this node.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The session there is.
    pub fn session(&self) -> Option<SessionId> {
        self.session.borrow().as_ref().map(|session| session.id)
    }

    pub(super) fn transport(&self) -> &T {
        &self.transport
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn config(&self) -> &SelftestConfig {
        &self.config
    }

    /// Serves a request, or puts it where it waits.
    fn accept(&self, asked: Asked) {
        let service = asked.request.service();
        if asked.is_test() && !self.serves(service) {
            return self.wait_for_test(asked);
        }
        self.counters.rpcs_rcvd.up();
        if let Some((status, features)) = self.refused(&asked) {
            return self.reply(&asked, features, status, self.blank(service));
        }
        match asked.request {
            Request::Ping { magic: Request::PING_MAGIC, sequence, .. } => {
                let reply = Reply::Ping { magic: Request::PING_MAGIC, sequence };
                self.reply(&asked, asked.features, status::OK, reply);
            }
            // Not even worth an answer.
            Request::Ping { .. } => self.counters.rpcs_dropped.up(),
            Request::Brw { .. } => self.queue(asked),
            _ => self.serve_framework(asked),
        }
    }

    fn serves(&self, service: Service) -> bool {
        self.session.borrow().as_ref().is_some_and(|session| session.serves(service))
    }

    /// Status and features of the answer to a request in a version or with features that are not ours.
    fn refused(&self, asked: &Asked) -> Option<(u32, u32)> {
        if asked.version != VERSION {
            return Some((status::EPROTO, asked.features));
        }
        if asked.features & !FEATURES != 0 {
            return Some((status::EPROTO, FEATURES));
        }
        let free = matches!(asked.request, Request::MakeSession { .. } | Request::Debug { .. });
        let session = self.session.borrow();
        let features = session.as_ref().map_or(asked.features, |session| session.features);
        (!free && !asked.is_test() && features != asked.features).then_some((status::EPROTO, features))
    }

    fn wait_for_test(&self, asked: Asked) {
        let now = self.handle.now();
        let mut early = self.early.borrow_mut();
        while early.front().is_some_and(|(arrived, _)| now - *arrived >= self.config.rpc_timeout) {
            early.pop_front();
            self.counters.rpcs_dropped.up();
        }
        if early.len() >= self.config.waiting {
            self.counters.rpcs_dropped.up();
            return;
        }
        early.push_back((now, asked));
    }

    /// Serves what waited for a test that is here now.
    pub(super) fn test_added(&self) {
        let waited = core::mem::take(&mut *self.early.borrow_mut());
        for (arrived, asked) in waited {
            if self.handle.now() - arrived >= self.config.rpc_timeout {
                self.counters.rpcs_dropped.up();
            } else if self.serves(asked.request.service()) {
                self.accept(asked);
            } else {
                self.early.borrow_mut().push_back((arrived, asked));
            }
        }
    }

    /// Leaves a request to a worker.
    pub(super) fn queue(&self, asked: Asked) {
        let start = |number| {
            let Some(me) = self.me.upgrade() else { return };
            self.handle.spawn("lst worker", async move { me.work(number).await });
        };
        if self.workers.push(asked, start).is_err() {
            self.counters.rpcs_dropped.up();
        }
    }

    async fn work(&self, number: usize) {
        loop {
            let asked = self.workers.next(number).await;
            match asked.request {
                Request::Brw { .. } => brw::serve(self, &asked).await,
                Request::Test(test) => self.fetch_test(&asked, test).await,
                _ => {}
            }
        }
    }

    /// Sends a reply: from where the request went, to where it came from.
    pub(super) fn reply(&self, asked: &Asked, features: u32, status: u32, reply: Reply) {
        let bytes = Message::reply(features, status, reply).encode();
        let Delivery { initiator, target, .. } = asked.delivery;
        let place = Place::new(REPLY_PORTAL, asked.rpyid);
        let sent = self.transport.put(Some(target), initiator, place, self.memory.message(&bytes));
        if let Err(error) = sent {
            log::debug!(target: "lnet", "selftest: no reply to {initiator}: {error:?}");
            self.counters.errors.up();
        }
    }

    /// Something failed for which there is no reply: the client finds out by itself.
    pub(super) fn fail(&self, asked: &Asked, why: impl core::fmt::Display) {
        let (service, client) = (asked.request.service(), asked.delivery.initiator);
        log::debug!(target: "lnet", "selftest: {service:?} request of {client}: {why}");
        self.counters.errors.up();
    }
}

impl<T: Transport> Portal for Responder<T> {
    fn admits(&self, delivery: &Delivery) -> bool {
        let service = u32::try_from(delivery.match_bits).ok().and_then(Service::from_number);
        let known = service.is_some_and(|service| service.portal() == delivery.portal);
        let most = self.config.waiting.saturating_add(self.config.rpcs);
        let admitted = known
            && delivery.len as usize == srpc::LEN
            && self.workers.has_room()
            && self.memory.messages_waiting() < most;
        if !admitted {
            self.counters.rpcs_dropped.up();
        }
        admitted
    }

    fn put(&self, delivery: Delivery, payload: Payload) {
        match Asked::read(delivery, &payload) {
            Some(asked) => {
                drop(payload);
                self.accept(asked);
            }
            None => self.counters.rpcs_dropped.up(),
        }
    }

    fn get(&self, _: &Delivery) -> Option<Payload> {
        None
    }
}
