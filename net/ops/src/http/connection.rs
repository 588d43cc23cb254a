//! One connection, from request to request.

use super::counters::Cut;
use super::inbox::Inbox;
use super::request::{Refusal, Request};
use super::response::{Page, Then, has_body};
use super::server::{Place, Shared};
use keelson_exec::{Either, Elapsed, select};
use keelson_net::{TcpError, TcpStream};

pub(super) struct Connection<'a> {
    server: &'a Shared,
    place: &'a Place,
    stream: TcpStream,
    inbox: Inbox,
}

/// What a peer sent.
enum Received {
    /// A head of this length.
    Head(usize),
    /// Something that is refused.
    Refused(Refusal),
    /// Nothing more, in order.
    End,
}

impl<'a> Connection<'a> {
    pub fn new(server: &'a Shared, place: &'a Place, stream: TcpStream) -> Connection<'a> {
        Connection { server, place, stream, inbox: Inbox::default() }
    }

    /// Answers until one of both has enough.
    pub async fn serve(mut self) {
        match self.converse().await {
            // Delivers what was written.
            Ok(()) => drop(self.stream),
            Err(why) => {
                self.server.counters.count_cut(why);
                self.stream.abort();
            }
        }
    }

    async fn converse(&mut self) -> Result<(), Cut> {
        loop {
            self.place.waits_since.set(Some(self.server.handle.now()));
            let place = self.place;
            let received = match select(self.receive(), place.lost()).await {
                Either::First(received) => received?,
                Either::Second(()) => return Err(Cut::Displaced),
            };
            self.place.waits_since.set(None);
            let then = match received {
                Received::End => return Ok(()),
                Received::Refused(refusal) => {
                    let page = Page::from(refusal);
                    self.in_time(self.write(&page, true, Then::Close)).await?;
                    Then::Close
                }
                Received::Head(len) => {
                    let then = self.in_time(self.answer(len)).await?;
                    self.inbox.forget(len);
                    then
                }
            };
            if then == Then::Close {
                return Ok(());
            }
        }
    }

    /// Waits for a whole head.
    async fn receive(&mut self) -> Result<Received, Cut> {
        let handle = &self.server.handle;
        let (mut deadline, mut was_begun) = (handle.now() + self.server.limits.idle, false);
        loop {
            match self.inbox.head() {
                Ok(None) => {}
                Ok(Some(len)) => return Ok(Received::Head(len)),
                Err(refusal) => return Ok(Received::Refused(refusal)),
            }
            let begun = !self.inbox.is_empty();
            if begun && !was_begun {
                (deadline, was_begun) = (handle.now() + self.server.limits.request, true);
            }
            let inbox = &mut self.inbox;
            let more = self.stream.read_with(|bytes| (inbox.push(bytes), ()));
            match handle.timeout(deadline - handle.now(), more).await {
                Ok(Ok(Some(()))) => {}
                Ok(Ok(None)) if !begun => return Ok(Received::End),
                Ok(Ok(None) | Err(_)) => return Err(Cut::Broken),
                Err(Elapsed) if begun => return Err(Cut::SlowRequest),
                Err(Elapsed) => return Err(Cut::Idle),
            }
        }
    }

    /// Answers the request in the first `len` bytes that came.
    async fn answer(&self, len: usize) -> Result<Then, TcpError> {
        let request = match Request::parse(self.inbox.bytes(len)) {
            Ok(request) => request,
            Err(refusal) => {
                self.write(&Page::from(refusal), true, Then::Close).await?;
                return Ok(Then::Close);
            }
        };
        // Held until the answer was taken: so many pages are in memory.
        let patience = self.server.limits.answer / 2;
        let permit = self.server.handle.timeout(patience, self.server.answers.acquire()).await;
        let page = match permit {
            Ok(_) => self.server.site.page(request.path).unwrap_or_else(|| Page::missing(request.path)),
            Err(Elapsed) => Page::busy(),
        };
        let then = if request.keep_alive { Then::Continue } else { Then::Close };
        self.write(&page, has_body(request.method), then).await?;
        Ok(then)
    }

    async fn write(&self, page: &Page, body: bool, then: Then) -> Result<(), TcpError> {
        self.server.counters.count_answer(page.status);
        self.write_all(page.head(then).as_bytes()).await?;
        if body {
            self.write_all(page.body.as_bytes()).await?;
        }
        Ok(())
    }

    async fn write_all(&self, mut bytes: &[u8]) -> Result<(), TcpError> {
        let sent = &self.server.counters.bytes;
        while !bytes.is_empty() {
            let taken = self.stream.write_with(|space| {
                let len = space.len().min(bytes.len());
                space[..len].copy_from_slice(&bytes[..len]);
                (len, len)
            });
            let taken = taken.await?;
            sent.set(sent.get() + taken as u64);
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Sees to it that a peer takes its answer.
    async fn in_time<T>(&self, what: impl Future<Output = Result<T, TcpError>>) -> Result<T, Cut> {
        match self.server.handle.timeout(self.server.limits.answer, what).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(Cut::Broken),
            Err(Elapsed) => Err(Cut::SlowReader),
        }
    }
}
