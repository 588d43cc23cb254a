//! What waits to be sent, as frames; and answers, as what the node's threads wait for.

use super::slot::Slot;
use super::{Message, Outgoing};
use crate::delegate::{Call, Handle, Opened, Reply};
use crate::{Errno, room};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use keelson_lwk_wire::bytes::Malformed;
use keelson_lwk_wire::calls::{self, Arg};
use keelson_lwk_wire::channel::Sender;
use keelson_lwk_wire::frame::{DATA_PIECE, Flags, FrameType, Header, MAX_INLINE, TooLarge};
use keelson_lwk_wire::messages::{
    Cancel, CloseBatch, Data, Desc, Direction, DumpData, Message as Payload, PageIn, PageOut, Part, Rlimit,
    SetIds, SetPgid, SetSid, Show, Subscribe, Syscall, Sysret, Umask, Unsubscribe,
};

/// The argument that an entry of [`Call::input`] or [`Call::output`] is about: the low bits, as on the wire.
const ARGUMENT: u8 = 7;
/// Where a call has something that is not NULL but has no address on the wire.
const SOMEWHERE: u64 = 1;

/// The descriptors of a call, by argument.
pub fn descriptors(call: &Call) -> Vec<Desc> {
    let mut descs: Vec<Desc> = Vec::with_capacity(call.input.len() + call.output.len());
    let inputs = call.input.iter().map(|(key, bytes)| (*key, bytes.len() as u32, Direction::In));
    let outputs = call.output.iter().map(|(key, len)| (*key, *len, Direction::Out));
    // Nothing is nowhere: read(2) and write(2) of no bytes have no descriptor.
    for (key, len, direction) in inputs.chain(outputs).filter(|(_, len, _)| *len > 0) {
        let (arg, part) = (key & ARGUMENT, part(call.number, key));
        match descs.iter_mut().find(|desc| desc.arg == arg && desc.part == part) {
            Some(desc) => desc.direction = Direction::InOut,
            None => {
                let addr = call.arguments.get(usize::from(arg)).copied().unwrap_or(0).max(SOMEWHERE);
                descs.push(Desc { addr, len, direction, arg, part });
            }
        }
    }
    // Stable: within an argument they keep the order they were named in.
    descs.sort_by_key(|desc| desc.arg);
    descs
}

/// The handle that a call is about, whose readiness comes with its answer.
pub fn subject(call: &Call) -> Option<Handle> {
    let first = calls::call(call.number)?.args.first()?;
    (*first == Arg::Handle).then_some(Handle(call.arguments[0]))
}

/// The part that an entry is. Whoever names a plain argument need not know that its bytes may travel by themselves.
fn part(number: u32, key: u8) -> Part {
    match key >> 3 {
        1 => Part::Data,
        2 => Part::Name,
        3 => Part::Control,
        4 => Part::Lengths,
        5 => Part::Nested,
        _ => match calls::call(number).and_then(|call| call.args.get(usize::from(key & ARGUMENT))) {
            Some(Arg::DataIn(_) | Arg::DataOut(_) | Arg::IovIn(_) | Arg::IovOut(_)) => Part::Data,
            _ => Part::Whole,
        },
    }
}

/// Calls that change what the proxy is have frames of their own (class S, section 4).
enum Side {
    Ids(SetIds),
    Group(SetPgid),
    Session(SetSid),
    Umask(Umask),
    Limit(Rlimit),
}

fn side(call: &Call) -> Option<Side> {
    let word = |index: usize| call.arguments.get(index).copied().unwrap_or(0);
    let half = |index| word(index) as u32;
    Some(match call.number {
        95 => Side::Umask(Umask { mask: half(0) }),
        105 | 106 | 113 | 114 | 116 | 117 | 119 | 122 | 123 => {
            let bytes = call.input.first().map(|(_, bytes)| &bytes[..]).unwrap_or_default();
            let groups =
                bytes.chunks_exact(4).map(|id| id.try_into().map_or(0, u32::from_le_bytes)).collect();
            Side::Ids(SetIds { call: call.number, ids: [half(0), half(1), half(2)], groups })
        }
        109 => Side::Group(SetPgid { pid: half(0), pgid: half(1) }),
        112 => Side::Session(SetSid),
        160 => Side::Limit(Rlimit { resource: half(0), soft: word(1), hard: word(2) }),
        _ => return None,
    })
}

/// Whether there is a way to have a call done by the host.
pub fn travels(call: &Call) -> bool {
    side(call).is_some() || calls::call(call.number).is_some_and(|known| known.travels())
}

fn send_side(sender: &mut Sender, header: Header, side: &Side, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let header = |kind| Header { kind, ..header };
    match side {
        Side::Ids(ids) => sender.send(&header(FrameType::SetIds), ids, out),
        Side::Group(group) => sender.send(&header(FrameType::SetPgid), group, out),
        Side::Session(session) => sender.send(&header(FrameType::SetSid), session, out),
        Side::Umask(umask) => sender.send(&header(FrameType::Umask), umask, out),
        Side::Limit(limit) => sender.send(&header(FrameType::Rlimit), limit, out),
    }
}

/// The bytes of a call that do not fit into its frame, and have frames of their own behind it.
pub struct Pieces<'a> {
    header: Header,
    bytes: &'a [u8],
    offset: usize,
}

impl Pieces<'_> {
    /// Appends the next frame to `out`; false when there was none left.
    pub fn send(&mut self, sender: &mut Sender, out: &mut Vec<u8>) -> bool {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let Some(piece) = rest.chunks(DATA_PIECE).next() else { return false };
        let flags = if piece.len() == rest.len() { Flags::LAST } else { Flags::MORE };
        let header = Header { kind: FrameType::Data, flags, ..self.header };
        let sent = sender.send(&header, &Data { offset: self.offset as u64, bytes: piece }, out);
        debug_assert!(sent.is_ok(), "a piece fits into a frame");
        self.offset += piece.len();
        true
    }
}

/// Most bytes that [`send`] or [`Pieces::send`] append to `out` at a time for a message, and somewhat more: what else it has beside
/// the bytes of a program is short.
pub fn room_for(message: &Outgoing) -> usize {
    const REST: usize = 8 << 10;
    let bytes = match message {
        Outgoing::Call(_, call, _) => call.input.iter().map(|(_, bytes)| bytes.len()).sum(),
        Outgoing::PageOut { bytes, .. } => bytes.len(),
        Outgoing::Close(handles) => handles.len() * 8,
        Outgoing::Message(Message::CoreData(_, part)) => part.bytes.len(),
        Outgoing::Message(Message::Show(_, _, text)) => text.len(),
        _ => 0,
    };
    REST + bytes.min(DATA_PIECE)
}

/// Appends the frame of a message to `out`. What has to follow it, before anything else, is returned.
pub fn send<'a>(
    sender: &mut Sender,
    pid: u32,
    message: &'a Outgoing,
    out: &mut Vec<u8>,
) -> Result<Option<Pieces<'a>>, TooLarge> {
    let header = |kind, id| Header { pid, ..Header::new(kind).id(id) };
    let sent = match message {
        Outgoing::Call(id, call, slot) => {
            return send_call(sender, header(FrameType::Syscall, *id), call, slot.descs(), out);
        }
        Outgoing::Cancel(id) => sender.send(&header(FrameType::Cancel, *id), &Cancel, out),
        Outgoing::Close(handles) => {
            let handles = handles.iter().map(|handle| handle.0).collect();
            sender.send(&header(FrameType::CloseBatch, 0), &CloseBatch { handles }, out)
        }
        Outgoing::Subscribe(handle, 0) => {
            sender.send(&header(FrameType::Unsubscribe, 0), &Unsubscribe { handle: handle.0 }, out)
        }
        Outgoing::Subscribe(handle, events) => {
            let subscribe = Subscribe { handle: handle.0, events: *events, generation: 0 };
            sender.send(&header(FrameType::Subscribe, 0), &subscribe, out)
        }
        Outgoing::PageIn { id, handle, offset, len } => {
            let page = PageIn { handle: handle.0, offset: *offset, len: *len };
            sender.send(&header(FrameType::PageIn, *id), &page, out)
        }
        Outgoing::PageOut { id, handle, offset, bytes } => {
            let page = PageOut { handle: handle.0, offset: *offset, sync: false, bytes };
            sender.send(&header(FrameType::PageOut, *id), &page, out)
        }
        Outgoing::Message(message) => send_message(sender, pid, message, out),
    };
    sent.map(|()| None)
}

fn send_call<'a>(
    sender: &mut Sender,
    mut header: Header,
    call: &'a Call,
    descs: &[Desc],
    out: &mut Vec<u8>,
) -> Result<Option<Pieces<'a>>, TooLarge> {
    header.tid = call.tid;
    if let Some(side) = side(call) {
        return send_side(sender, header, &side, out).map(|()| None);
    }
    header.code = call.number;
    let mut args = call.arguments;
    for desc in descs {
        if let Some(arg) = args.get_mut(usize::from(desc.arg)) {
            *arg = (*arg).max(SOMEWHERE);
        }
    }
    let data =
        call.input.iter().find(|(key, _)| part(call.number, *key) == Part::Data).map(|(_, bytes)| bytes);
    let streamed = data.filter(|bytes| bytes.len() > MAX_INLINE);
    // Nearly always of one argument: then nothing is put together.
    let mut inline = Cow::Borrowed(&[][..]);
    for desc in descs.iter().filter(|desc| desc.direction.is_in()) {
        if desc.part == Part::Data && streamed.is_some() {
            continue;
        }
        let wanted = |key: u8| key & ARGUMENT == desc.arg && part(call.number, key) == desc.part;
        if let Some((_, bytes)) = call.input.iter().find(|(key, _)| wanted(*key)) {
            if inline.is_empty() {
                inline = Cow::Borrowed(&bytes[..]);
            } else {
                inline.to_mut().extend_from_slice(bytes);
            }
        }
    }
    let request = Syscall { args, descs: descs.into(), inline: &inline };
    let Some(bytes) = streamed else { return sender.send(&header, &request, out).map(|()| None) };
    sender.send(&header.with(Flags::MORE), &request, out)?;
    Ok(Some(Pieces { header, bytes, offset: 0 }))
}

fn send_message(sender: &mut Sender, pid: u32, message: &Message, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let header = |kind| Header { pid, ..Header::new(kind) };
    match message {
        Message::Exit(exit) => sender.send(&header(FrameType::Exit), &**exit, out),
        Message::Credit(id, credit) => sender.send(&header(FrameType::Credit).id(*id), credit, out),
        Message::Acknowledge(ack) => sender.send(&header(FrameType::LaunchAck), ack, out),
        Message::Pong(id, pong) => sender.send(&header(FrameType::Pong).id(*id), pong, out),
        Message::Ping(ping) => sender.send(&header(FrameType::Ping), ping, out),
        Message::Fork { id, tid, fork } => {
            sender.send(&Header { tid: *tid, ..header(FrameType::Fork).id(*id) }, fork, out)
        }
        Message::CoreHeader(id, core) => sender.send(&header(FrameType::DumpHeader).id(*id), core, out),
        Message::CoreData(id, part) => {
            let flags = if part.is_last() { Flags::LAST } else { Flags::MORE };
            let data = DumpData { offset: part.offset, bytes: &part.bytes };
            sender.send(&header(FrameType::DumpData).id(*id).with(flags), &data, out)
        }
        Message::Show(id, kind, text) => {
            sender.send(&header(FrameType::Show).id(*id), &Show { kind: *kind, text }, out)
        }
        Message::Control(id, reply) => {
            sender.send(&header(FrameType::CtrlReply).id(*id).with(Flags::REPLY), reply, out)
        }
        Message::ControlPart(id, reply) => {
            let flags = Flags::REPLY | Flags::MORE;
            sender.send(&header(FrameType::CtrlReply).id(*id).with(flags), reply, out)
        }
        Message::Kmsg(id, lines) => {
            let flags = Flags::REPLY | Flags::MORE;
            sender.send(&header(FrameType::Kmsg).id(*id).with(flags), lines, out)
        }
        Message::Event(id, event) => {
            let flags = Flags::REPLY | Flags::MORE;
            sender.send(&header(FrameType::Event).id(*id).with(flags), event, out)
        }
        Message::Bye(bye) => sender.send(&header(FrameType::Bye), bye, out),
    }
}

/// What a SYSRET says to the thread that waits, with what came ahead of it.
pub fn reply(flags: Flags, payload: &[u8], slot: &Slot) -> Result<Reply, Malformed> {
    let sysret = Sysret::decode(payload)?;
    let mut output = Vec::with_capacity(sysret.outs.len() + 1);
    if flags.contains(Flags::MORE) {
        let data = slot.descs().iter().find(|desc| desc.part == Part::Data).ok_or(Malformed::Value)?;
        output.push((key(data), slot.streamed()));
    }
    let mut bytes = sysret.bytes;
    for out in &sysret.outs {
        let desc = slot.descs().get(usize::from(out.desc)).ok_or(Malformed::Value)?;
        if !desc.direction.is_out() || out.len > desc.len {
            return Err(Malformed::Limit);
        }
        let (own, rest) = bytes.split_at_checked(out.len as usize).ok_or(Malformed::Short)?;
        bytes = rest;
        let Ok(own) = room::copy_of(own) else {
            return Ok(Reply { result: Errno::ENOMEM.as_result(), ..Reply::default() });
        };
        output.push((key(desc), own));
    }
    let opened =
        sysret.hint.map(|hint| Opened { stat: hint.stat, seekable: hint.seekable, terminal: hint.tty });
    Ok(Reply { result: sysret.result, output, events: sysret.revents, opened, unasked: false })
}

/// As whoever made the call named it.
fn key(desc: &Desc) -> u8 {
    match desc.part {
        Part::Data => desc.arg,
        part => desc.arg | (part as u8) << 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_lwk_wire::calls::check;

    fn call(number: u32, arguments: [u64; 6], input: Vec<(u8, Vec<u8>)>, output: Vec<(u8, u32)>) -> Call {
        Call { tid: 3, number, arguments, input, output }
    }

    /// The frame of a call, as the host's side of the table sees it.
    fn accepted(call: &Call) -> Result<(), keelson_lwk_wire::calls::Violation> {
        let descs = descriptors(call);
        let mut args = call.arguments;
        descs.iter().for_each(|desc| args[usize::from(desc.arg)] = args[usize::from(desc.arg)].max(1));
        let inline: Vec<u8> = call.input.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        check(call.number, &Syscall { args, descs: descs.into(), inline: &inline }, false, false).map(drop)
    }

    #[test]
    fn calls_are_as_the_table_says() {
        for one in [
            call(0, [9, 0, 100, 0, 0, 0], vec![], vec![(1, 100)]),
            call(1, [9, 0, 3, 0, 0, 0], vec![(1, b"abc".to_vec())], vec![]),
            call(17, [9, 0, 100, 7, 0, 0], vec![], vec![(1, 100)]),
            call(0, [9, 0, 0, 0, 0, 0], vec![], vec![(1, 0)]),
            call(1, [9, 0, 0, 0, 0, 0], vec![(1, vec![])], vec![]),
            call(190, [9, 0, 1, 0, 0, 0], vec![(1, b"user.a\0".to_vec()), (2, vec![])], vec![]),
            call(257, [u64::MAX - 99, 0, 0, 0, 0, 0], vec![(1, b"/etc/hosts\0".to_vec())], vec![]),
            call(5, [9, 0, 0, 0, 0, 0], vec![], vec![(1, 144)]),
            call(262, [u64::MAX - 99, 0, 0, 0, 0, 0], vec![(1, b"x\0".to_vec())], vec![(2, 144)]),
            call(82, [0; 6], vec![(0, b"a\0".to_vec()), (1, b"b\0".to_vec())], vec![]),
            call(79, [0, 50, 0, 0, 0, 0], vec![], vec![(0, 50)]),
            call(40, [1, 2, 0, 10, 0, 0], vec![(2, vec![0; 8])], vec![(2, 8)]),
        ] {
            assert_eq!(accepted(&one), Ok(()), "{one:?}");
        }
    }

    #[test]
    fn answers_find_their_arguments() {
        let call = call(45, [9, 0, 5, 0, 0, 0], vec![(5, vec![16, 0, 0, 0])], vec![(1, 5), (4, 16), (5, 4)]);
        assert_eq!(accepted(&call), Ok(()));
        let slot = Slot::new(descriptors(&call), 25).unwrap();
        let mut payload = Vec::new();
        let outs = [(0, 3), (1, 2), (2, 4)];
        let outs = outs.map(|(desc, len)| keelson_lwk_wire::messages::OutPart { desc, len }).to_vec();
        Sysret { outs, bytes: b"abcNN\x02\0\0\0", ..Sysret::plain(3) }
            .write(&mut keelson_lwk_wire::bytes::Writer::new(&mut payload));
        let reply = reply(Flags::REPLY, &payload, &slot).unwrap();
        assert_eq!(reply.output, [(1, b"abc".to_vec()), (4, b"NN".to_vec()), (5, vec![2, 0, 0, 0])]);
        assert!(super::reply(Flags::REPLY, &payload[..payload.len() - 1], &slot).is_err());
    }
}
