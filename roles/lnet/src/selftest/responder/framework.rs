//! The framework's services: sessions, batches, tests, statistics.

use super::{Asked, Responder};
use crate::selftest::batch::ClientPart;
use crate::selftest::counters::Count;
use crate::selftest::probe::Probe;
use crate::selftest::session::Session;
use crate::selftest::{Place, Transport};
use alloc::rc::Rc;
use alloc::vec::Vec;
use keelson_lnet_wire::srpc::{
    BatchOpcode, DESTINATION_LEN, FrameworkCounters, LnetCounters, MAX_DESTINATIONS, Name, REPLY_PORTAL,
    Reply, Request, RpcCounters, Service, SessionId, Test, decode_destinations, status,
};

/// Most loops for one destination of a test (section 7.4).
const MOST_CONCURRENCY: u32 = 1024;
/// Numbers up to this one belong to the framework.
const FRAMEWORK_SERVICES: u32 = 10;
/// Linux error number: a bound of this node is reached.
const ENOMEM: u32 = 12;

impl<T: Transport> Responder<T> {
    /// Answers a request that needs no data; those that do go to a worker.
    pub(super) fn serve_framework(&self, asked: Asked) {
        if let Some(session) = self.current() {
            session.hear(self.handle.now());
        }
        let (status, reply) = match asked.request {
            Request::MakeSession { session, force, name } => {
                self.make_session(session, asked.features, force != 0, name)
            }
            Request::RemoveSession { session } => self.remove_session(session),
            Request::Debug { .. } => self.debug(),
            Request::QueryStat { session, .. } => self.query(session),
            Request::Batch { session, batch, opcode, test_index, argument } => {
                self.batch(session, batch, opcode, test_index, argument != 0)
            }
            Request::Test(test) => match self.judge_test(&test) {
                Ok(_) if test.is_client != 0 => return self.queue(asked),
                Ok(service) => (self.add_test(&test, service, None), self.blank(Service::Test)),
                Err(status) => (status, self.blank(Service::Test)),
            },
            Request::Ping { .. } | Request::Brw { .. } => return,
        };
        // A session that was removed is not there any more, and one that was made has the request's features.
        self.reply(&asked, asked.features, status, reply);
        if matches!(asked.request, Request::Test(_)) && status == status::OK {
            self.test_added();
        }
    }

    fn current(&self) -> Option<Rc<Session>> {
        self.session.borrow().clone()
    }

    /// The session there is, if it is this one.
    fn current_if(&self, id: SessionId) -> Option<Rc<Session>> {
        self.current().filter(|session| session.id == id)
    }

    fn current_id(&self) -> SessionId {
        self.session().unwrap_or(SessionId::INVALID)
    }

    /// A reply that names the session there is, and nothing else.
    pub(super) fn blank(&self, service: Service) -> Reply {
        let session = self.current_id();
        match service {
            Service::Debug => Reply::Debug { session, timeout: 0, batches: 0, name: Name::EMPTY },
            Service::MakeSession => Reply::MakeSession { session, timeout: 0, name: Name::EMPTY },
            Service::RemoveSession => Reply::RemoveSession { session },
            Service::Batch => Reply::Batch { session, active: 0, time: 0 },
            Service::Test => Reply::Test { session },
            Service::QueryStat => Reply::QueryStat {
                session,
                framework: FrameworkCounters::default(),
                rpc: RpcCounters::default(),
                lnet: LnetCounters::default(),
            },
            Service::Brw => Reply::Brw,
            Service::Ping => Reply::Ping { magic: 0, sequence: 0 },
        }
    }

    fn timeout_s(&self) -> u32 {
        self.config.session_timeout.as_secs() as u32
    }

    fn make_session(&self, id: SessionId, features: u32, force: bool, name: Name) -> (u32, Reply) {
        let timeout = self.timeout_s();
        if id.is_invalid() {
            return (status::EINVAL, self.blank(Service::MakeSession));
        }
        match self.current() {
            Some(there) if there.id == id => {
                there.join();
                return (status::OK, Reply::MakeSession { session: id, timeout, name: Name::EMPTY });
            }
            Some(there) if !force => {
                let reply = Reply::MakeSession { session: there.id, timeout, name: there.name };
                return (status::EBUSY, reply);
            }
            Some(_) => self.end_session("replaced"),
            None => {}
        }
        log::info!(target: "lnet", "selftest: session \"{name}\" of {}", id.nid());
        let session = Session::new(id, name, features, self.handle.now());
        *self.session.borrow_mut() = Some(session.clone());
        if let Some(me) = self.me.upgrade() {
            self.handle.spawn("lst session", async move { me.watch_session(session).await });
        }
        (status::OK, Reply::MakeSession { session: id, timeout, name: Name::EMPTY })
    }

    /// Ends the session when its console falls silent.
    async fn watch_session(&self, session: Rc<Session>) {
        loop {
            let deadline = session.deadline(self.config.session_timeout);
            if !self.current().is_some_and(|current| Rc::ptr_eq(&current, &session)) {
                return;
            }
            if self.handle.now() >= deadline {
                return self.end_session("ended: nothing heard of its console");
            }
            self.handle.sleep_until(deadline).await;
        }
    }

    fn end_session(&self, how: &str) {
        let Some(session) = self.session.borrow_mut().take() else { return };
        log::info!(target: "lnet", "selftest: session \"{}\" {how}", session.name);
        session.abort();
    }

    fn remove_session(&self, id: SessionId) -> (u32, Reply) {
        let status = match self.current() {
            _ if id.is_invalid() => status::EINVAL,
            None => status::ESRCH,
            Some(session) if session.id != id => status::EBUSY,
            Some(session) => {
                if session.leave() {
                    self.end_session("removed");
                }
                status::OK
            }
        };
        (status, self.blank(Service::RemoveSession))
    }

    fn debug(&self) -> (u32, Reply) {
        let Some(session) = self.current() else {
            return (status::ESRCH, self.blank(Service::Debug));
        };
        let (batches, name) = (session.batches() as u32, session.name);
        (status::OK, Reply::Debug { session: session.id, timeout: self.timeout_s(), batches, name })
    }

    fn query(&self, id: SessionId) -> (u32, Reply) {
        let Some(session) = self.current_if(id) else {
            return (status::ESRCH, self.blank(Service::QueryStat));
        };
        let reply = Reply::QueryStat {
            session: session.id,
            framework: session.counters(self.handle.now()),
            rpc: self.counters.to_wire(),
            lnet: self.transport.counters(),
        };
        (status::OK, reply)
    }

    fn batch(
        &self,
        id: SessionId,
        batch: u64,
        opcode: BatchOpcode,
        test_index: u32,
        at_once: bool,
    ) -> (u32, Reply) {
        let refused = |status| (status, self.blank(Service::Batch));
        let Some(session) = self.current_if(id) else { return refused(status::ESRCH) };
        let Some(batch) = session.batch(batch) else { return refused(status::ENOENT) };
        let mut active = 0;
        match opcode {
            BatchOpcode::Run => batch.run(&session, &self.rpcs),
            BatchOpcode::Stop => batch.stop(at_once),
            BatchOpcode::Query if test_index == 0 => active = batch.active_tests(),
            BatchOpcode::Query => match batch.active_loops(test_index) {
                Some(loops) => active = loops,
                None => return refused(status::ENOENT),
            },
            BatchOpcode::Unknown(_) => return refused(status::EINVAL),
        }
        (status::OK, Reply::Batch { session: session.id, active: active as u32, time: 0 })
    }

    /// Whether a test can be added; `Err` holds the status of the answer.
    fn judge_test(&self, test: &Test) -> Result<Service, u32> {
        let is_client = test.is_client != 0;
        let destinations = test.destinations as usize;
        if test.iterations == 0
            || test.concurrency == 0
            || test.concurrency > MOST_CONCURRENCY
            || test.session.is_invalid()
            || (is_client && (destinations == 0 || destinations > MAX_DESTINATIONS))
            || test.service <= FRAMEWORK_SERVICES
        {
            return Err(status::EINVAL);
        }
        let session = self.current_if(test.session).ok_or(status::ENOENT)?;
        let service = Service::from_number(test.service).ok_or(status::ENOENT)?;
        if session.batch(test.batch).is_some_and(|batch| batch.active_tests() > 0) {
            return Err(status::EBUSY);
        }
        if is_client {
            Probe::from_test(test, session.features)?;
            let loops = destinations.saturating_mul(test.concurrency as usize);
            if session.planned_loops().saturating_add(loops) > self.config.loops {
                log::warn!(
                    target: "lnet",
                    "selftest: refused a test with {loops} loops, at most {} may run", self.config.loops
                );
                return Err(ENOMEM);
            }
        }
        Ok(service)
    }

    /// Adds a test that has been judged; the status of the answer.
    fn add_test(&self, test: &Test, service: Service, client: Option<ClientPart>) -> u32 {
        let batch = self.current_if(test.session).map(|session| session.batch_or_new(test.batch));
        match batch {
            None => status::ENOENT,
            Some(Some(batch)) if batch.add(service, client) => status::OK,
            Some(_) => ENOMEM,
        }
    }

    /// Fetches the destinations of a client test and adds it.
    pub(super) async fn fetch_test(&self, asked: &Asked, test: Test) {
        let place = Place::new(REPLY_PORTAL, test.bulkid);
        let len = test.destinations.saturating_mul(DESTINATION_LEN as u32);
        let (source, console) = (Some(asked.delivery.target), asked.delivery.initiator);
        let list = match self.transport.get(source, console, place, len, self.config.rpc_timeout).await {
            Ok(list) => list,
            Err(error) => return self.fail(asked, error),
        };
        self.counters.bulk_get.add(list.len() as u64);
        let bytes: Vec<u8> = list.slices().flatten().copied().collect();
        let destinations = match decode_destinations(&bytes, asked.swapped) {
            Ok(destinations) if bytes.len() == len as usize => destinations,
            _ => return self.reply(asked, asked.features, status::EINVAL, self.blank(Service::Test)),
        };
        // The session may have gone meanwhile, or the batch may have been started.
        let added = self.judge_test(&test).and_then(|service| {
            let part = ClientPart {
                probe: Probe::from_test(&test, asked.features)?,
                features: asked.features,
                iterations: test.iterations,
                concurrency: test.concurrency,
                stop_on_error: test.stop_on_error != 0,
                destinations,
            };
            Ok(self.add_test(&test, service, Some(part)))
        });
        let status = added.unwrap_or_else(|status| status);
        self.reply(asked, asked.features, status, self.blank(Service::Test));
    }
}
