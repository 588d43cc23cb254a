//! Places for connections, and who gets them.

use super::Site;
use super::connection::Connection;
use super::counters::{Counters, Cut, count};
use super::endpoint::Endpoint;
use super::response::{Page, Then};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use embedded_io_async::Write;
use keelson_exec::Handle;
use keelson_exec::sync::{Notify, Semaphore};
use keelson_hal::Instant;
use keelson_net::{ListenError, Stack, TcpListener, TcpOptions, TcpStream};

/// How much the server gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Answers in memory at a time; who asks for more waits within its time for an answer.
    pub answers: usize,
    /// Time from the first byte of a request to its last.
    pub request: Duration,
    /// Time from the last byte of a request until its answer was taken.
    pub answer: Duration,
    /// Time without a request.
    pub idle: Duration,
}

impl Default for Limits {
    /// 16 connections, 4 answers, 10 s for request and answer, two minutes between requests: scrapes come every minute or more often.
    fn default() -> Limits {
        Limits {
            connections: 16,
            answers: 4,
            request: Duration::from_secs(10),
            answer: Duration::from_secs(10),
            idle: Duration::from_secs(120),
        }
    }
}

/// The rings of a connection: a request is short, an answer goes out in pieces.
const TCP: TcpOptions = TcpOptions {
    receive_buffer: 4 << 10,
    send_buffer: 16 << 10,
    backlog: 32,
    keep_alive: Some(Duration::from_secs(60)),
    timeout: Some(Duration::from_secs(30)),
    ack_delay: Some(Duration::from_millis(10)),
    nagle: false,
    linger: Duration::from_secs(5),
};

/// How long a peer that gets no place has to take the reason.
const FAREWELL: Duration = Duration::from_millis(100);

/// A server. Clones are the same server.
#[derive(Clone)]
pub struct Server(Rc<Shared>);

pub(super) struct Shared {
    pub handle: Handle,
    pub limits: Limits,
    pub site: Rc<dyn Site>,
    pub counters: Rc<Counters>,
    pub answers: Rc<Semaphore>,
    places: RefCell<Vec<Rc<Place>>>,
}

/// A connection's place.
#[derive(Default)]
pub(super) struct Place {
    /// Since when the server waits for the peer's request; `None` while it answers.
    pub waits_since: Cell<Option<Instant>>,
    lost: Cell<bool>,
    taken_away: Notify,
}

impl Server {
    /// Listens and serves until the executor ends. The caller keeps nothing: clones of the server are for looking at it.
    ///
    /// # Errors
    ///
    /// When the port is taken.
    pub fn start(
        handle: &Handle,
        stack: &Stack,
        endpoint: Endpoint,
        limits: Limits,
        site: Rc<dyn Site>,
        counters: Rc<Counters>,
    ) -> Result<Server, ListenError> {
        let listener = stack.listen(endpoint.port, TCP)?;
        let answers = Semaphore::new(limits.answers);
        let places = RefCell::new(Vec::with_capacity(limits.connections));
        let shared = Shared { handle: handle.clone(), limits, site, counters, answers, places };
        let server = Server(Rc::new(shared));
        handle.spawn("http-accept", server.clone().accept(listener, endpoint));
        Ok(server)
    }

    /// What happened.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    async fn accept(self, listener: TcpListener, endpoint: Endpoint) {
        loop {
            let stream = listener.accept().await;
            count(&self.0.counters.accepted);
            if !endpoint.is_at(stream.local().ip()) {
                self.0.counters.count_cut(Cut::OtherAddress);
                stream.abort();
            } else if let Some(place) = self.0.take_place() {
                let shared = self.0.clone();
                self.0.handle.spawn("http", async move {
                    Connection::new(&shared, &place, stream).serve().await;
                    shared.leave_place(&place);
                });
            } else {
                self.0.counters.count_cut(Cut::Full);
                self.turn_away(stream).await;
            }
        }
    }

    /// Says that there is no place. A fresh connection has room for that.
    async fn turn_away(&self, mut stream: TcpStream) {
        let page = Page::busy();
        let mut text = page.head(Then::Close);
        text.push_str(&page.body);
        if let Ok(Ok(())) = self.0.handle.timeout(FAREWELL, stream.write_all(text.as_bytes())).await {
            self.0.counters.count_answer(page.status);
        }
    }
}

impl Shared {
    /// A place: a free one, or that of whoever keeps the server waiting longest. None when all are being answered.
    fn take_place(&self) -> Option<Rc<Place>> {
        let mut places = self.places.borrow_mut();
        if places.len() >= self.limits.connections {
            let waiting =
                places.iter().enumerate().filter_map(|(at, place)| Some((place.waits_since.get()?, at)));
            let (_, at) = waiting.min()?;
            let place = places.swap_remove(at);
            place.lost.set(true);
            place.taken_away.notify();
        }
        let place = Rc::new(Place::default());
        place.waits_since.set(Some(self.handle.now()));
        places.push(place.clone());
        self.counters.open.set(self.counters.open.get() + 1);
        Some(place)
    }

    fn leave_place(&self, place: &Rc<Place>) {
        self.places.borrow_mut().retain(|other| !Rc::ptr_eq(other, place));
        self.counters.open.set(self.counters.open.get() - 1);
    }
}

impl Place {
    /// Waits until somebody else has the place.
    pub async fn lost(&self) {
        loop {
            let taken_away = self.taken_away.notified();
            if self.lost.get() {
                return;
            }
            taken_away.await;
        }
    }
}
