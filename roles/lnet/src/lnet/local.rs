//! Messages of this node itself: what it asks, what it is asked (LNet specification section 4.9).

use super::ni::Ni;
use super::peer::PeerNi;
use super::requests::{Answer, Awaited, RequestError};
use super::send::{NoHop, carries};
use super::tag::Tag;
use super::{Life, Lnet};
use crate::buffers::Payload;
use crate::lnd::SendError;
use crate::message::Message;
use crate::portal::{Delivery, Portal};
use alloc::rc::Rc;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;
use keelson_lnet_wire::message::{Ack, Get, Header, Kind, LNET_MTU, PORTALS, Put, Reply, Wmd};
use keelson_lnet_wire::nid::{LUSTRE_PID, Nid, ProcessId};
use keelson_lnet_wire::ping::{FIRST_SINK_LENGTH, PingError, PingInfo};

/// Where a PUT goes to at its receiver.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PutArgs {
    /// Portal number, 0 to 63.
    pub portal: u32,
    /// Match bits.
    pub match_bits: u64,
    /// 64 bits for the receiver.
    pub hdr_data: u64,
    /// Offset into the receiver's memory.
    pub offset: u32,
}

/// The NID of ours that a message of this node comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// That of the NI it leaves through.
    Leaving,
    /// This one, whatever NI it leaves through.
    Named(Nid),
    /// This one, and it leaves through its NI.
    Through(Nid),
}

impl From<Option<Nid>> for Source {
    fn from(nid: Option<Nid>) -> Source {
        nid.map_or(Source::Leaving, Source::Named)
    }
}

impl Source {
    fn nid(self) -> Option<Nid> {
        match self {
            Source::Leaving => None,
            Source::Named(nid) | Source::Through(nid) => Some(nid),
        }
    }
}

impl PutArgs {
    fn put(&self, ack_wmd: Wmd) -> Put {
        let PutArgs { portal, match_bits, hdr_data, offset } = *self;
        Put { ack_wmd, match_bits, hdr_data, portal, offset }
    }
}

impl Delivery {
    /// What a PUT or GET says; meaningless for the other types.
    pub(super) fn of(header: &Header, from: Nid) -> Delivery {
        let (portal, match_bits, hdr_data, offset, len) = match header.kind {
            Kind::Get => {
                let get = header.get();
                (get.portal, get.match_bits, 0, get.src_offset, get.sink_length)
            }
            _ => {
                let put = header.put();
                (put.portal, put.match_bits, put.hdr_data, put.offset, header.payload_length)
            }
        };
        let (initiator, target) = (header.source(), header.dest_nid);
        Delivery { initiator, target, from, portal, match_bits, hdr_data, offset, len }
    }
}

impl Lnet {
    /// Registers the service of a portal; it replaces the one that was there.
    pub fn register(&self, portal: u32, service: Rc<dyn Portal>) {
        if let Some(place) = self.portals.borrow_mut().get_mut(portal as usize) {
            *place = Some(service);
        }
    }

    /// Ends the service of a portal.
    pub fn unregister(&self, portal: u32) {
        if let Some(place) = self.portals.borrow_mut().get_mut(portal as usize) {
            *place = None;
        }
    }

    pub(super) fn portal(&self, portal: u32) -> Option<Rc<dyn Portal>> {
        if portal >= PORTALS {
            return None;
        }
        self.portals.borrow().get(portal as usize)?.clone()
    }

    /// Takes a message for this node.
    pub(super) fn deliver(&self, mut message: Message) {
        let header = message.header;
        let Some(from) = message.tag.from.clone() else { return };
        let payload = core::mem::take(&mut message.payload);
        let matched = match header.kind {
            Kind::Ack => self.complete(&header.ack().dst_wmd, Answer::Ack(header.ack().mlength)),
            Kind::Reply => self.complete(&header.reply().dst_wmd, Answer::Reply(payload, header.src_nid)),
            Kind::Put => {
                let put = header.put();
                let taken = if put.is_push() {
                    self.take_push(&from, &header, &payload);
                    true
                } else {
                    let service = self.portal(put.portal);
                    if let Some(service) = &service {
                        service.put(Delivery::of(&header, from.nid), payload);
                    }
                    service.is_some()
                };
                if taken && !put.ack_wmd.is_none() {
                    let (dst_wmd, match_bits) = (put.ack_wmd, put.match_bits);
                    let ack = Ack { dst_wmd, match_bits, mlength: header.payload_length };
                    let header = Header::new_ack(answerer(&header), header.source(), &ack);
                    self.answer(&from, header, Payload::default(), &mut message.tag);
                }
                taken
            }
            Kind::Get => {
                let get = header.get();
                let bytes = if get.is_ping() {
                    Some(self.own_info(get.src_offset, get.sink_length))
                } else {
                    let service = self.portal(get.portal);
                    service.and_then(|service| service.get(&Delivery::of(&header, from.nid)))
                };
                let matched = bytes.is_some();
                if let Some(mut bytes) = bytes {
                    bytes.truncate(get.sink_length.min(LNET_MTU) as usize);
                    let reply = Reply { dst_wmd: get.return_wmd };
                    let header =
                        Header::new_reply(answerer(&header), header.source(), &reply, bytes.len() as u32);
                    self.answer(&from, header, bytes, &mut message.tag);
                }
                matched
            }
        };
        if matched {
            let counted = matches!(header.kind, Kind::Put | Kind::Reply);
            self.books.statistics.received.one(if counted { header.payload_length } else { 0 });
        } else {
            self.count_drop(&from, &header, &self.books.statistics.drops.unmatched);
        }
    }

    fn complete(&self, handle: &Wmd, answer: Answer) -> bool {
        let mut requests = self.requests.borrow_mut();
        let wanted = |awaited| match (&answer, awaited) {
            (Answer::Ack(_), Awaited::Ack) => true,
            (Answer::Reply(payload, _), Awaited::Reply(room)) => payload.len() <= room as usize,
            _ => false,
        };
        let cookie = requests.awaited(handle, wanted);
        if let Some(cookie) = cookie {
            requests.complete(cookie, Ok(answer));
        }
        cookie.is_some()
    }

    /// Sends an answer back to where the request came from, at the expense of the credit of the request.
    fn answer(&self, to: &Rc<PeerNi>, header: Header, payload: Payload, request: &mut Tag) {
        let mut tag = Tag::own(&self.books);
        request.pass_credit(&mut tag);
        let message = Message { header, payload, tag };
        if Rc::ptr_eq(to, &self.this_node) { self.send_to_self(message) } else { self.launch(to, message) }
    }

    /// Sends a message of this node; `header` is given the NID that it comes from.
    fn send_own(
        &self,
        source: Source,
        to: ProcessId,
        request: u64,
        payload: Payload,
        header: impl FnOnce(ProcessId) -> Header,
    ) -> Result<(), RequestError> {
        if self.life.get() != Life::Running {
            return Err(RequestError::Down);
        }
        let mut tag = Tag::own(&self.books);
        tag.request = request;
        if to.nid == Nid::LOOPBACK || self.is_own(&to.nid) {
            let header = header(ProcessId::lustre(source.nid().unwrap_or(to.nid)));
            self.send_to_self(Message { header, payload, tag });
            return Ok(());
        }
        let next = match source {
            Source::Through(nid) => self.next_hop_through(&nid, &to.nid),
            _ => self.next_hop(&to.nid, None),
        };
        let next = next.map_err(|error| match error {
            NoHop::NoRoute | NoHop::NoFamily | NoHop::Loop => RequestError::NoRoute,
            NoHop::TableFull => RequestError::TooMany,
        })?;
        let source = source.nid().unwrap_or_else(|| self.source_for(&to.nid, &next.ni));
        let header = header(ProcessId::lustre(source));
        if !carries(&next, &header) {
            return Err(RequestError::NoRoute);
        }
        self.launch(&next, Message { header, payload, tag });
        Ok(())
    }

    /// The NID to write as the sender of what goes to `to` through `ni`: that of `ni`, unless it has an IPv6
    /// address and `to` is an IPv4 one behind routers, whose answer could not come back to it. Another NID of ours
    /// can stand in then.
    fn source_for(&self, to: &Nid, ni: &Ni) -> Nid {
        if to.is_large() || !ni.nid.is_large() {
            return ni.nid;
        }
        self.nis.borrow().iter().map(|ni| ni.nid).find(|nid| !nid.is_large()).unwrap_or(ni.nid)
    }

    /// A message of this node to itself is delivered by a task of its own, so that no service is called from
    /// within its own call.
    fn send_to_self(&self, mut message: Message) {
        message.tag.from = message.tag.from.take().or_else(|| Some(self.this_node.clone()));
        self.books.statistics.sent.one(message.header.payload_length);
        if message.tag.request != 0 {
            self.requests.borrow_mut().sent(message.tag.request, Ok(()));
        }
        self.to_self.borrow_mut().push_back(message);
        self.to_self_ready.notify();
    }

    /// Sends a PUT without waiting for anything; its loss shows in the counters only. The source is one of our
    /// NIDs, by default that of the NI it leaves through. Own messages are not held back by buffers: their
    /// number is for the caller to bound.
    ///
    /// # Errors
    ///
    /// [`SendError::Unreachable`] without a route, [`SendError::Down`] when LNet is not up.
    pub fn put(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        args: PutArgs,
        payload: Payload,
    ) -> Result<(), SendError> {
        let len = payload.len() as u32;
        let sent = self.send_own(source.into(), to, 0, payload, |source| {
            Header::new_put(source, to, &args.put(Wmd::NONE), len)
        });
        sent.map_err(|error| match error {
            RequestError::Down => SendError::Down,
            _ => SendError::Unreachable,
        })
    }

    /// Sends a PUT and waits until all of it has been handed to TCP.
    pub async fn put_sent(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        args: PutArgs,
        payload: Payload,
        timeout: Duration,
    ) -> Result<(), RequestError> {
        let len = payload.len() as u32;
        self.request(Awaited::Sent, timeout, |cookie, _| {
            self.send_own(source.into(), to, cookie, payload, |source| {
                Header::new_put(source, to, &args.put(Wmd::NONE), len)
            })
        })
        .await
        .map(|_| ())
    }

    /// Sends a PUT and waits for the receiver's ACK: how many bytes it took.
    pub async fn put_acked(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        args: PutArgs,
        payload: Payload,
        timeout: Duration,
    ) -> Result<u32, RequestError> {
        let len = payload.len() as u32;
        let answer = self
            .request(Awaited::Ack, timeout, |cookie, handle| {
                self.send_own(source.into(), to, cookie, payload, |source| {
                    Header::new_put(source, to, &args.put(handle), len)
                })
            })
            .await?;
        match answer {
            Answer::Ack(taken) => Ok(taken),
            Answer::Sent | Answer::Reply(..) => Ok(0),
        }
    }

    /// Asks for at most `sink_length` bytes of the memory at a portal; returns them and the NID that they came
    /// from.
    pub async fn get(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        portal: u32,
        match_bits: u64,
        sink_length: u32,
        timeout: Duration,
    ) -> Result<(Payload, Nid), RequestError> {
        self.get_from(source.into(), to, (portal, match_bits), sink_length, timeout).await
    }

    async fn get_from(
        &self,
        source: Source,
        to: ProcessId,
        (portal, match_bits): (u32, u64),
        sink_length: u32,
        timeout: Duration,
    ) -> Result<(Payload, Nid), RequestError> {
        let answer = self
            .request(Awaited::Reply(sink_length), timeout, |cookie, return_wmd| {
                let get = Get { return_wmd, match_bits, portal, src_offset: 0, sink_length };
                self.send_own(source, to, cookie, Payload::default(), |source| {
                    Header::new_get(source, to, &get)
                })
            })
            .await?;
        match answer {
            Answer::Reply(payload, nid) => Ok((payload, nid)),
            Answer::Sent | Answer::Ack(_) => Ok((Payload::default(), to.nid)),
        }
    }

    /// What a node says of itself; asks again with more room if it says more than usual.
    pub async fn ping(&self, to: ProcessId, timeout: Duration) -> Result<PingInfo, RequestError> {
        self.ping_from(Source::Leaving, to, timeout).await.map(|(info, _)| info)
    }

    /// The same, asked by this NID of ours through its NI.
    pub async fn ping_through(
        &self,
        own: Nid,
        to: ProcessId,
        timeout: Duration,
    ) -> Result<PingInfo, RequestError> {
        self.ping_from(Source::Through(own), to, timeout).await.map(|(info, _)| info)
    }

    pub(super) async fn ping_from(
        &self,
        source: Source,
        to: ProcessId,
        timeout: Duration,
    ) -> Result<(PingInfo, Nid), RequestError> {
        let most = self.config.borrow().max_interfaces;
        let deadline = self.handle.now() + timeout;
        let mut room = FIRST_SINK_LENGTH;
        loop {
            let left = deadline - self.handle.now();
            let Get { portal, match_bits, .. } = Get::ping(Wmd::NONE, room);
            let (payload, nid) = self.get_from(source, to, (portal, match_bits), room, left).await?;
            match super::ping::decode(&payload, most) {
                Ok(info) => return Ok((info, nid)),
                Err(PingError::Truncated { needed })
                    if needed > room as usize && needed <= super::ping::LONGEST_PUSH as usize =>
                {
                    room = needed as u32;
                }
                Err(error) => return Err(RequestError::Malformed(error)),
            }
        }
    }

    /// Sends something that is answered, and waits for that.
    async fn request(
        &self,
        awaited: Awaited,
        timeout: Duration,
        send: impl FnOnce(u64, Wmd) -> Result<(), RequestError>,
    ) -> Result<Answer, RequestError> {
        let most = self.config.borrow().max_requests;
        let (cookie, handle) = {
            let mut requests = self.requests.borrow_mut();
            let cookie = requests.open(awaited, most, &*self.entropy)?;
            (cookie, requests.handle(cookie))
        };
        let _open = Open { lnet: self, cookie };
        send(cookie, handle)?;
        let mut sleep = self.handle.sleep(timeout);
        poll_fn(|cx| {
            if let Some(result) = self.requests.borrow_mut().poll(cookie, cx.waker()) {
                return Poll::Ready(result);
            }
            if Pin::new(&mut sleep).poll(cx).is_ready() {
                self.books.statistics.response_timeout.one();
                return Poll::Ready(Err(RequestError::TimedOut));
            }
            Poll::Pending
        })
        .await
    }
}

/// The process that answers a request: what was asked, with the PID of the Lustre services.
fn answerer(header: &Header) -> ProcessId {
    ProcessId { nid: header.dest_nid, pid: LUSTRE_PID }
}

/// A request that is waited for.
struct Open<'a> {
    lnet: &'a Lnet,
    cookie: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.lnet.requests.borrow_mut().close(self.cookie);
    }
}
