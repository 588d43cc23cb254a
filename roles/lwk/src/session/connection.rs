//! One connection: handshake, then two tasks until it ends.

use super::server::{PATIENCE, Server};
use super::{Message, Outgoing, Session, Tool, bye, codec};
use crate::delegate::{Handle, NOT_TOLD, Reply};
use crate::{Errno, room};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use embedded_io_async::{Read, Write};
use keelson_exec::yield_now;
use keelson_lwk_wire::bytes::Malformed;
use keelson_lwk_wire::channel::{Channel, ChannelError, Identity, Received, Receiver, Sender};
use keelson_lwk_wire::frame::{Frame, FrameType, MAX_SESSIONS, TooLarge};
use keelson_lwk_wire::handshake::{Grant, Purpose, Roles};
use keelson_lwk_wire::messages::{
    ByeReason, Credit, Ctrl, Data, ForkErr, ForkOk, Launch, LaunchAck, Message as Payload, PageInReply,
    PageOutReply, Ping, Pong, Ready, SideReply, Signal, Ticket,
};

/// Bytes that are received at once.
const RECEIVE: usize = 64 << 10;
/// Messages are put together until so many bytes of frames are there: one segment of many small ones.
const SEND: usize = 64 << 10;

/// Why a connection ended before its host said so.
pub enum Ended {
    /// The host did not prove that it knows the key.
    NotProven,
    /// It wants another protection than its key is for.
    NoProtection(String),
    /// There are as many sessions as there may be.
    Busy(String),
    /// Its ticket is good no more: what it came for is over.
    Late,
    /// It broke the protocol.
    Violation(String),
    /// The network did.
    Gone,
}

impl From<ChannelError> for Ended {
    fn from(error: ChannelError) -> Ended {
        match error {
            ChannelError::Auth => Ended::NotProven,
            ChannelError::Mode => Ended::NoProtection(error.to_string()),
            ChannelError::Refused(_) | ChannelError::Closed => Ended::Gone,
            other => Ended::Violation(other.to_string()),
        }
    }
}

impl From<Malformed> for Ended {
    fn from(error: Malformed) -> Ended {
        Ended::Violation(error.to_string())
    }
}

/// Runs a connection to its end.
pub async fn run<R, W>(
    server: &Rc<Server>,
    mut reader: R,
    mut writer: W,
    identity: Identity,
) -> Result<(), Ended>
where
    R: Read + 'static,
    W: Write + 'static,
{
    let mut out = Vec::new();
    let mut channel = Channel::node(identity, server.keys.clone(), &*server.entropy, &mut out);
    let greeting = greet(&mut channel, &mut reader, &mut writer, &mut out);
    let (purpose, rest) = match server.handle.timeout(PATIENCE, greeting).await {
        Ok(result) => result?,
        Err(_) => return Err(Ended::Violation("it said nothing".to_string())),
    };
    let wanted = match purpose {
        Purpose::Control(roles) => roles,
        _ => Roles::LAUNCH,
    };
    if wanted.is_empty() || !channel.allowed().contains(wanted) {
        let text = format!("its key is not for {}", names(wanted));
        refuse(channel, writer, out, ByeReason::Auth, &text).await?;
        return Err(Ended::Violation(text));
    }
    // A second stream belongs to a session that was counted, and tools end sessions when there are too many.
    let place;
    if matches!(purpose, Purpose::Launch | Purpose::Fork(_)) {
        place = server.place();
        if place.is_none() {
            let text =
                format!("the node has {MAX_SESSIONS} sessions, the most there may be; wait for one to end");
            refuse(channel, writer, out, ByeReason::Busy, &text).await?;
            return Err(Ended::Busy(text));
        }
    }
    let session = match purpose {
        Purpose::Launch => Arc::new(Session::default()),
        Purpose::Fork(ticket) => match server.tickets.take(&ticket) {
            Some(session) => session,
            None => {
                refuse(channel, writer, out, ByeReason::Ticket, "nobody forked that").await?;
                return Err(Ended::Late);
            }
        },
        Purpose::Bulk(ticket) => match take_bulk(server, &ticket) {
            Some(session) => session,
            None => {
                refuse(channel, writer, out, ByeReason::Ticket, "no session has that ticket").await?;
                return Err(Ended::Late);
            }
        },
        Purpose::Control(_) => Arc::new(Session::default()),
    };
    let bulk = server.ticket();
    channel.admit(Grant { session: server.number(), roles: wanted, bulk }, &mut out)?;
    writer.write_all(&out).await.map_err(|_| Ended::Gone)?;
    let Some((sender, receiver)) = channel.split() else { return Err(Ended::Gone) };
    let mut incoming =
        Incoming { server: server.clone(), session: session.clone(), purpose, roles: wanted, receiver };
    if matches!(purpose, Purpose::Bulk(_)) {
        session.records.bulk(&incoming.receiver);
        // Long answers come this way; everything else, and all from here, goes the other. The writer stays open as long.
        let ended = incoming.receive(reader, rest).await;
        drop(writer);
        return ended;
    }
    server.bulk.borrow_mut().insert(bulk, session.clone());
    session.records.first(&sender, &incoming.receiver);
    session.attach();
    server.handle.spawn("lwk-session", send(session.clone(), sender, writer));
    let ended = incoming.receive(reader, rest).await;
    server.bulk.borrow_mut().remove(&bulk);
    if let Err(Ended::Violation(what)) = &ended {
        session.send(Message::Bye(bye(ByeReason::Protocol, what)));
    }
    session.lost();
    if let Some(pid) = session.pid() {
        server.programs.lost(pid);
    }
    ended
}

/// The handshake: what the host wants, and what it sent behind it.
async fn greet<R: Read, W: Write>(
    channel: &mut Channel,
    reader: &mut R,
    writer: &mut W,
    out: &mut Vec<u8>,
) -> Result<(Purpose, Vec<u8>), Ended> {
    let mut buffer = vec![0; 4096];
    loop {
        if !out.is_empty() {
            writer.write_all(out).await.map_err(|_| Ended::Gone)?;
            out.clear();
        }
        let len = match reader.read(&mut buffer).await {
            Ok(len @ 1..) => len,
            _ => return Err(Ended::Gone),
        };
        let mut input = buffer.get(..len).unwrap_or_default();
        let received = channel.receive(&mut input, out);
        if let Err(error) = received {
            // Why it is refused is worth an attempt.
            let _ = writer.write_all(out).await;
            return Err(error.into());
        }
        if let Ok(Some(Received::Asked(purpose))) = received {
            return Ok((purpose, input.to_vec()));
        }
    }
}

/// The session whose second stream this is; the ticket is good once.
fn take_bulk(server: &Server, ticket: &Ticket) -> Option<Arc<Session>> {
    server.bulk.borrow_mut().remove(ticket)
}

async fn refuse<W: Write>(
    mut channel: Channel,
    mut writer: W,
    mut out: Vec<u8>,
    reason: ByeReason,
    text: &str,
) -> Result<(), Ended> {
    channel.refuse(reason, text, &mut out);
    writer.write_all(&out).await.map_err(|_| Ended::Gone)
}

/// Sends what threads have for the host, until the session has ended.
async fn send<W: Write>(session: Arc<Session>, sender: Sender, writer: W) {
    let mut outgoing = Sending { sender, writer, out: Vec::new() };
    while let Some(first) = session.outgoing().await {
        let mut next = Some(first);
        let mut last = false;
        while let Some(message) = next {
            last |= matches!(message, Outgoing::Message(Message::Bye(_)));
            if outgoing.message(session.pid().unwrap_or(0), &message).await.is_err() {
                session.lost();
                return;
            }
            next = if outgoing.out.len() < SEND && !last { session.try_outgoing() } else { None };
        }
        if outgoing.flush().await.is_err() || last {
            session.lost();
            return;
        }
        outgoing.out.shrink_to(2 * SEND);
    }
}

/// The way out of the sending task.
struct Sending<W> {
    sender: Sender,
    writer: W,
    /// Frames that the stream does not have yet.
    out: Vec<u8>,
}

impl<W: Write> Sending<W> {
    /// A message, as frames. Of a long one each piece leaves when it is one: the host works on it while the next is made.
    async fn message(&mut self, pid: u32, message: &Outgoing) -> Result<(), Lost> {
        let room = codec::room_for(message);
        if self.out.try_reserve(room).is_err() {
            log::error!(target: "lwk", "no memory for {room} bytes to the host of process {pid}");
            return Err(Lost);
        }
        let mut pieces = codec::send(&mut self.sender, pid, message, &mut self.out).unwrap_or_else(|TooLarge| {
            // Only a list of handles could be, and it is cut where it is made.
            log::error!(target: "lwk", "a message to the host is too large: {} bytes waiting", self.out.len());
            None
        });
        while let Some(rest) = &mut pieces
            && rest.send(&mut self.sender, &mut self.out)
        {
            self.flush().await?;
            // The network's turn.
            yield_now().await;
        }
        Ok(())
    }

    /// No flush of the stream: that waits for an acknowledgement, which hosts put off for 40 ms when they have nothing to say.
    async fn flush(&mut self) -> Result<(), Lost> {
        self.writer.write_all(&self.out).await.map_err(|_| Lost)?;
        self.out.clear();
        Ok(())
    }
}

/// Nothing goes out any more.
struct Lost;

/// The receiving task.
struct Incoming {
    server: Rc<Server>,
    session: Arc<Session>,
    purpose: Purpose,
    roles: Roles,
    receiver: Receiver,
}

impl Incoming {
    /// Until the host says goodbye, or worse. `rest` came with the handshake.
    async fn receive<R: Read>(&mut self, mut reader: R, rest: Vec<u8>) -> Result<(), Ended> {
        let mut buffer = rest;
        let mut len = buffer.len();
        loop {
            let mut input = buffer.get(..len).unwrap_or_default();
            while let Some(frame) = self.receiver.next(&mut input)? {
                if frame.header.kind == FrameType::Bye {
                    return Ok(());
                }
                self.frame(frame).await?;
            }
            buffer.resize(RECEIVE, 0);
            len = match reader.read(&mut buffer).await {
                Ok(len @ 1..) => len,
                _ => return Err(Ended::Gone),
            };
        }
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), Ended> {
        let (header, payload) = (frame.header, &frame.payload[..]);
        let unknown =
            || Ended::Violation(format!("{:?} for request {}, which nobody made", header.kind, header.id));
        match header.kind {
            FrameType::Sysret => {
                let slot = self.session.slot(header.id).ok_or_else(unknown)?;
                let mut reply = codec::reply(header.flags, payload, &slot)?;
                if matches!(self.purpose, Purpose::Bulk(_)) {
                    // READY goes the other way, and may be newer.
                    reply.events = NOT_TOLD;
                }
                self.session.answered(header.id, reply);
            }
            FrameType::Data => {
                let slot = self.session.slot(header.id).ok_or_else(unknown)?;
                let data = Data::decode(payload)?;
                if !slot.stream(data.offset, data.bytes) {
                    return Err(Ended::Violation(format!("DATA that request {} did not ask for", header.id)));
                }
                let bytes = data.bytes.len() as u32;
                self.session.send(Message::Credit(header.id, Credit { bytes }));
            }
            FrameType::PageInReply => {
                let reply = match PageInReply::decode(payload)?.result {
                    Ok(bytes) => match room::copy_of(bytes) {
                        Ok(bytes) => Reply { output: vec![(0, bytes)], ..Reply::default() },
                        Err(errno) => failed(errno),
                    },
                    Err(errno) => failed(errno),
                };
                if !self.session.answered(header.id, reply) {
                    return Err(unknown());
                }
            }
            FrameType::PageOutReply => {
                let reply = PageOutReply::decode(payload)?.result.map_or_else(failed, |()| Reply::default());
                if !self.session.answered(header.id, reply) {
                    return Err(unknown());
                }
            }
            FrameType::SideReply => {
                let result = SideReply::decode(payload)?.result;
                if !self.session.answered(header.id, Reply { result, ..Reply::default() }) {
                    return Err(unknown());
                }
            }
            FrameType::ForkOk => {
                let forked = ForkOk::decode(payload)?;
                if !self.session.answered(header.id, Reply { result: forked.pid.into(), ..Reply::default() })
                {
                    return Err(unknown());
                }
            }
            FrameType::ForkErr => {
                if !self.session.answered(header.id, failed(ForkErr::decode(payload)?.error)) {
                    return Err(unknown());
                }
            }
            FrameType::Ready => {
                let ready = Ready::decode(payload)?;
                self.session.ready(Handle(ready.handle), ready.revents);
            }
            FrameType::Signal => {
                let signal = Signal::decode(payload)?;
                if let Some(pid) = self.session.pid() {
                    self.server.programs.signal(pid, header.tid, signal.info);
                }
            }
            FrameType::Ping => {
                let ping = Ping::decode(payload)?;
                let pong = Pong { echo: ping.monotonic, own: Ping::default() };
                self.session.send(Message::Pong(header.id, pong));
            }
            // The host holds back for as long as it likes; requests are small enough to need no window.
            FrameType::Credit | FrameType::Pong => {}
            FrameType::Launch if self.purpose == Purpose::Launch => self.launch(Launch::decode(payload)?)?,
            FrameType::Ctrl if matches!(self.purpose, Purpose::Control(_)) => {
                self.control(header.id, Ctrl::decode(payload)?);
            }
            other => return Err(Ended::Violation(format!("{other:?} at the wrong time"))),
        }
        Ok(())
    }

    fn launch(&self, launch: Launch) -> Result<(), Ended> {
        if !self.session.name(launch.pid) {
            return Err(Ended::Violation("a second LAUNCH".to_string()));
        }
        let (session, server) = (self.session.clone(), self.server.clone());
        // Starting a program asks the host for its file: this task must go on.
        self.server.handle.spawn("lwk-launch", async move {
            let ack = server.programs.launch(launch, session.clone()).await;
            let refused = matches!(ack, LaunchAck::Refused { .. });
            session.send(Message::Acknowledge(ack));
            if refused {
                session.send(Message::Bye(bye(ByeReason::Done, "not started")));
            }
        });
        Ok(())
    }

    fn control(&self, id: u64, ctrl: Ctrl) {
        let (server, tool) = (self.server.clone(), Tool::new(self.session.clone(), id, self.roles));
        self.server.handle.spawn("lwk-control", async move {
            server.programs.control(tool, ctrl).await;
        });
    }
}

/// What a role is for, in words.
fn names(roles: Roles) -> String {
    let all = [(Roles::LAUNCH, "launch"), (Roles::ADMIN, "admin"), (Roles::MONITOR, "monitor")];
    let names: Vec<&str> =
        all.iter().filter(|(role, _)| roles.contains(*role)).map(|(_, name)| *name).collect();
    if names.is_empty() { "nothing".to_string() } else { names.join(",") }
}

fn failed(errno: Errno) -> Reply {
    Reply { result: errno.as_result(), ..Reply::default() }
}
