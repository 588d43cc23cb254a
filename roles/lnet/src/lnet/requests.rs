//! What this node asks of others, until the answer is there.
//!
//! A request travels with a handle that comes back in the answer. Half of it is this life of the node, the other
//! half is random: nobody who has not seen the request can answer it.

use crate::buffers::Payload;
use crate::lnd::SendError;
use core::fmt;
use core::task::Waker;
use keelson_hal::Entropy;
use keelson_lnet_wire::message::Wmd;
use keelson_lnet_wire::nid::Nid;
use keelson_lnet_wire::ping::PingError;
use keelson_net::hash::{Key, KeyedMap};

/// Why an own request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// LNet is not up.
    Down,
    /// No route to the network, or none that is up.
    NoRoute,
    /// As many requests wait as may (`LnetConfig::max_requests`), or the table of peers is full.
    TooMany,
    /// It could not be sent.
    NotSent(SendError),
    /// No answer in time.
    TimedOut,
    /// The answer to a ping makes no sense.
    Malformed(PingError),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Down => f.write_str("LNet is not up: lnetctl lnet configure starts it"),
            RequestError::NoRoute => f.write_str("no route to the network is up"),
            RequestError::TooMany => f.write_str("too many requests are waiting for an answer"),
            RequestError::NotSent(SendError::Unreachable) => f.write_str("no route to host"),
            RequestError::NotSent(SendError::TimedOut) => f.write_str("connection timed out"),
            RequestError::NotSent(SendError::Broken) => f.write_str("connection reset"),
            RequestError::NotSent(SendError::NotExpressible) => {
                f.write_str("the NID does not fit the peer's version of the protocol")
            }
            RequestError::NotSent(SendError::Down) => f.write_str("the network interface was removed"),
            RequestError::TimedOut => f.write_str("timed out"),
            RequestError::Malformed(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RequestError {}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Awaited {
    /// That the message has been handed to TCP.
    Sent,
    Ack,
    /// At most so many bytes.
    Reply(u32),
}

/// What came.
pub(crate) enum Answer {
    Sent,
    Ack(u32),
    Reply(Payload, Nid),
}

enum State {
    Waiting(Option<Waker>),
    Done(Result<Answer, RequestError>),
}

struct Request {
    awaited: Awaited,
    state: State,
}

pub(crate) struct Requests {
    table: KeyedMap<u64, Request>,
    /// First half of our handles.
    life: u64,
}

impl Requests {
    pub fn new(entropy: &dyn Entropy) -> Requests {
        Requests { table: KeyedMap::with_hasher(Key::new(entropy)), life: entropy.next_u64() >> 1 }
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// A new request, by its cookie; never 0.
    pub fn open(&mut self, awaited: Awaited, max: usize, entropy: &dyn Entropy) -> Result<u64, RequestError> {
        if self.table.len() >= max {
            return Err(RequestError::TooMany);
        }
        loop {
            let cookie = entropy.next_u64();
            if cookie != 0 && !self.table.contains_key(&cookie) {
                self.table.insert(cookie, Request { awaited, state: State::Waiting(None) });
                return Ok(cookie);
            }
        }
    }

    /// What the answer names.
    pub fn handle(&self, cookie: u64) -> Wmd {
        Wmd::new(self.life, cookie)
    }

    fn cookie(&self, handle: &Wmd) -> Option<u64> {
        let (life, cookie) = handle.0.split_first_chunk::<8>()?;
        let cookie = u64::from_le_bytes(*cookie.first_chunk()?);
        (u64::from_le_bytes(*life) == self.life).then_some(cookie)
    }

    /// The request that this answers, if one waits for such an answer.
    pub fn awaited(&self, handle: &Wmd, answers: impl Fn(Awaited) -> bool) -> Option<u64> {
        let cookie = self.cookie(handle)?;
        let request = self.table.get(&cookie)?;
        (matches!(request.state, State::Waiting(_)) && answers(request.awaited)).then_some(cookie)
    }

    /// The request failed, or was sent when only that was waited for.
    pub fn sent(&mut self, cookie: u64, result: Result<(), SendError>) {
        let Some(request) = self.table.get(&cookie) else { return };
        match (result, request.awaited) {
            (Ok(()), Awaited::Sent) => self.complete(cookie, Ok(Answer::Sent)),
            (Ok(()), _) => {}
            (Err(error), _) => self.complete(cookie, Err(RequestError::NotSent(error))),
        }
    }

    pub fn complete(&mut self, cookie: u64, result: Result<Answer, RequestError>) {
        let Some(request) = self.table.get_mut(&cookie) else { return };
        if let State::Waiting(waker) = &mut request.state {
            let waker = waker.take();
            request.state = State::Done(result);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// The end of a request that has come; else `waker` is called when it does.
    pub fn poll(&mut self, cookie: u64, waker: &Waker) -> Option<Result<Answer, RequestError>> {
        let Some(request) = self.table.get_mut(&cookie) else { return Some(Err(RequestError::Down)) };
        if let State::Waiting(known) = &mut request.state {
            match known {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
            return None;
        }
        match self.table.remove(&cookie)?.state {
            State::Done(result) => Some(result),
            State::Waiting(_) => None,
        }
    }

    pub fn close(&mut self, cookie: u64) {
        self.table.remove(&cookie);
    }

    /// All that waits fails: LNet goes down.
    pub fn fail_all(&mut self) {
        for request in self.table.values_mut() {
            if let State::Waiting(waker) = &mut request.state {
                let waker = waker.take();
                request.state = State::Done(Err(RequestError::Down));
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }
}
