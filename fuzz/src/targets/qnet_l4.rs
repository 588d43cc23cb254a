//! The transport of a Qnet node, with peers that send anything.

use crate::input::Input;
use keelson_hal::{Entropy, Instant};
use keelson_qnet::l4::{Body, Event, Options, Transport};
use keelson_qnet::link::{LinkAddress, LinkId, LinkPort};
use keelson_qnet::nodes::{Identity, RequestId, Usage};
use keelson_qnet::sessions::{NodeNr, Qos, SessionEvent};
use keelson_qnet_wire::l4::{Flags, Header, Kind, Layer, Packet};
use keelson_qnet_wire::lr::{LrKind, LrPacket, Party};
use keelson_qnet_wire::names::NodePath;
use keelson_qnet_wire::{Endian, Mac};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Steps of one input, and bytes of a frame.
const MOST_STEPS: usize = 400;
const LONGEST_FRAME: usize = 1498;
/// Ids that are remembered.
const MOST_IDS: usize = 16;
/// Two links, which have the same peers.
const LINKS: u8 = 2;
const NAMES: [&str; 3] = ["beta", "gamma", "delta~preferred:en1"];

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x11);
    }
}

/// A link whose peers read along.
struct Port {
    name: &'static str,
    address: LinkAddress,
    up: Cell<bool>,
    room: Cell<usize>,
    crc: bool,
    sent: RefCell<Vec<(Option<LinkAddress>, Vec<u8>)>>,
}

impl LinkPort for Port {
    fn name(&self) -> &str {
        self.name
    }

    fn address(&self) -> LinkAddress {
        self.address
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn is_up(&self) -> bool {
        self.up.get()
    }

    fn room(&self) -> usize {
        self.room.get()
    }

    fn send(&self, to: Option<LinkAddress>, head: &[u8; Header::LEN], payload: &[&[u8]]) -> bool {
        assert!(self.up.get() && self.room.get() > 0, "a frame without room");
        self.room.set(self.room.get() - 1);
        let bytes = [&head[..], &payload.concat()].concat();
        // Whatever peers sent, what we send is right.
        assert!(bytes.len() <= LONGEST_FRAME, "a frame of {} bytes", bytes.len());
        let packet = Packet::decode(&bytes).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(packet.payload.len() + Header::LEN, bytes.len(), "{:?}", packet.header);
        assert!(packet.check_crc().is_ok() && (!self.crc || packet.has_crc()), "{:?}", packet.header);
        self.sent.borrow_mut().push((to, bytes));
        true
    }

    fn flush(&self) {}
}

fn peer(number: u8, link: u8) -> LinkAddress {
    LinkAddress::Mac([2, 0, 0, 0, link, number + 2])
}

struct Scene {
    transport: Transport,
    now: Instant,
    ports: Vec<Rc<Port>>,
    /// Ids that frames of the node named, and that peers named.
    ids: Vec<u32>,
    requests: Vec<RequestId>,
    messages: Vec<keelson_qnet::l4::RxMessage>,
    options: Options,
}

/// Frames and calls, in the order of the input; then everybody goes.
pub fn qnet_l4(input: &[u8]) {
    let mut input = Input::new(input);
    let mut scene = Scene::new(input.u8());
    let mut steps = 0;
    while !input.is_empty() && steps < MOST_STEPS {
        scene.step(&mut input);
        scene.settle();
        steps += 1;
    }
    scene.finish();
}

impl Scene {
    fn new(choice: u8) -> Scene {
        let crc = choice & 1 != 0;
        let options = Options {
            do_crc: crc,
            enforce_crc: choice & 2 != 0,
            eager_reverse: choice & 4 == 0,
            auto_add: if choice & 8 == 0 { 150 } else { 0 },
            rx_bytes: if choice & 16 == 0 { 256 << 10 } else { 132 << 10 },
            max_connections: 8,
            max_per_node: 4,
            max_nodes: 6,
            ..Options::default()
        };
        let identity = Identity::new("alpha", "lab.test").expect("a name");
        let now = Instant::ZERO + Duration::from_secs(1);
        let transport = Transport::new(options.clone(), identity, &Fixed, None, now);
        let mut scene = Scene {
            transport,
            now,
            ports: Vec::new(),
            ids: vec![0, 0x21, 0x31, 0x42, 0x52],
            requests: Vec::new(),
            messages: Vec::new(),
            options,
        };
        for link in 0..LINKS {
            let port = Rc::new(Port {
                name: ["en0", "en1"][usize::from(link)],
                address: LinkAddress::Mac([2, 0, 0, 0, link, 1]),
                up: Cell::new(true),
                room: Cell::new(1 << 20),
                crc,
                sent: RefCell::default(),
            });
            assert!(scene.transport.add_link(now, LinkId(link), port.clone()));
            scene.ports.push(port);
        }
        scene.settle();
        scene
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 12 {
            // The most frequent things have the lowest numbers.
            0 => self.frame(input),
            1 => self.honest(input),
            2 => {
                let (to, len) = (NodeNr(input.u8().into()), usize::from(input.u16()));
                let (head, body) = (vec![1; len.min(48)], Body::from(vec![2; len.saturating_sub(48)]));
                let _ = self.transport.send(self.now, to, self.qos(input), input.u8(), &head, body);
            }
            3 => self.pass(Duration::from_millis(input.u8().into())),
            4 => self.pass(Duration::from_millis(u64::from(input.u16()))),
            5 => self.take(usize::from(input.u8())),
            6 => self.ask(input),
            7 => {
                let port = &self.ports[usize::from(input.u8() % LINKS)];
                port.up.set(!port.up.get());
                self.transport.link_changed(self.now);
            }
            8 => self.ports[usize::from(input.u8() % LINKS)].room.set(input.u8().into()),
            9 => self.transport.flush_qos(self.now),
            10 => {
                let usage =
                    Usage { connections: usize::from(input.u8() & 1), waiting: usize::from(input.u8() & 1) };
                self.transport.set_usage(self.now, NodeNr(input.u8().into()), usage);
            }
            _ => {
                let _ = self.transport.forget(NodeNr(input.u8().into()));
            }
        }
    }

    fn qos(&self, input: &mut Input<'_>) -> Qos {
        let nd = keelson_qnet_wire::Nd::new(1, u16::from(input.u8() % 4));
        self.transport.reach(nd).map(|(_, qos)| qos).unwrap_or_default()
    }

    fn id(&self, choice: u8) -> u32 {
        self.ids[usize::from(choice) % self.ids.len()]
    }

    fn remember(&mut self, id: u32) {
        if !self.ids.contains(&id) {
            if self.ids.len() >= MOST_IDS {
                self.ids.remove(1);
            }
            self.ids.push(id);
        }
    }

    /// A frame as it stands, or with ids that are in use.
    fn frame(&mut self, input: &mut Input<'_>) {
        let (place, changes) = (input.u8(), input.u8());
        let (src, dst) = (input.u8(), input.u8());
        let len = usize::from(input.u16()).min(LONGEST_FRAME);
        let mut bytes = input.bytes(len).to_vec();
        let mut put = |at: usize, value: u32| {
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        };
        if changes & 1 != 0 {
            put(8, self.id(src));
        }
        if changes & 2 != 0 {
            put(12, self.id(dst));
        }
        if changes & 4 != 0 {
            let decoded = Packet::decode(&bytes).map(|packet| (packet.header, packet.payload.to_vec()));
            if let Ok((mut header, payload)) = decoded {
                header.flags = Flags(header.flags.0 & !Flags::CRC.0);
                header.seal(&[&payload]);
                bytes = [&header.encode()[..], &payload].concat();
            }
        }
        if let Ok(header) = Header::decode(&bytes) {
            self.remember(header.src_conn_id);
        }
        let (link, number) = (place % LINKS, place / LINKS % 4);
        self.transport.input(self.now, LinkId(link), peer(number, link), changes & 8 != 0, &bytes);
    }

    /// A peer answers what the node sent, as peers should: all of it, or the last frame only.
    fn honest(&mut self, input: &mut Input<'_>) {
        let (number, most) = (input.u8() % 4, usize::from(input.u8()) + 1);
        for link in 0..LINKS {
            let frames = self.ports[usize::from(link)].sent.take();
            let skip = frames.len().saturating_sub(most);
            for (to, bytes) in frames.into_iter().skip(skip) {
                if to.is_some_and(|to| to != peer(number, link)) {
                    continue;
                }
                let Some(answer) = answer(&bytes, number, link, self.options.do_crc) else { continue };
                self.transport.input(self.now, LinkId(link), peer(number, link), false, &answer);
            }
        }
    }

    fn ask(&mut self, input: &mut Input<'_>) {
        let (kind, node) = (input.u8(), input.u8());
        let name = NAMES[usize::from(node) % NAMES.len()];
        let path = NodePath::parse(name).expect("a path");
        let request = match kind % 3 {
            0 => self.transport.look_up(self.now, &path),
            1 => self.transport.verify(self.now, NodeNr(node.into())),
            _ => self.transport.remote_nd(self.now, NodeNr(node.into()), "gamma"),
        };
        if let Ok(request) = request {
            self.requests.push(request);
        }
    }

    fn take(&mut self, most: usize) {
        for _ in 0..=most {
            match self.transport.take_event() {
                Some(Event::Message { message, .. }) => {
                    assert!(message.bytes().len() <= self.options.max_msg as usize);
                    self.messages.push(message);
                }
                Some(
                    SessionEvent::TxUp { .. } | SessionEvent::TxDown { .. } | SessionEvent::RxDown { .. },
                ) => {}
                None => break,
            }
        }
        self.messages.truncate(20);
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.transport.poll(self.now).filter(|next| *next <= end) {
            assert!(next > self.now, "a deadline that does not move");
            self.now = next;
            self.look();
        }
        self.now = end;
    }

    fn settle(&mut self) {
        let next = self.transport.poll(self.now);
        assert!(next.is_none_or(|next| next > self.now), "a deadline that does not move");
        self.look();
    }

    /// What must hold at any time.
    fn look(&mut self) {
        for port in &self.ports {
            let mut sent = port.sent.borrow_mut();
            let surplus = sent.len().saturating_sub(64);
            sent.drain(..surplus);
        }
        let named: Vec<u32> = (self.ports.iter())
            .flat_map(|port| {
                port.sent.borrow().iter().rev().take(3).map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>()
            })
            .filter_map(|bytes| Header::decode(&bytes).ok())
            .map(|header| header.src_conn_id)
            .collect();
        named.into_iter().for_each(|id| self.remember(id));
        let requests = std::mem::take(&mut self.requests);
        self.requests = requests
            .into_iter()
            .filter(|request| self.transport.poll_request(*request, None).is_none())
            .collect();
        let occupancy = self.transport.occupancy();
        let held: usize = self.messages.iter().map(|message| message.bytes().len().max(2048)).sum();
        let most = self.options.max_connections;
        assert!(occupancy.tx <= most && occupancy.rx <= most && occupancy.nodes <= self.options.max_nodes);
        // Messages in hands of others are not the transport's any more; of a class of buffers twice as large at most.
        let bytes = most * self.options.rx_bytes.max(self.options.max_msg as usize) + 2 * held + (1 << 18);
        assert!(occupancy.buffers <= bytes, "{occupancy:?}");
        assert!(occupancy.outbound_messages <= most * (self.options.queue_messages + 64), "{occupancy:?}");
    }

    fn finish(mut self) {
        self.transport.shutdown(self.now);
        self.messages.clear();
        while self.transport.take_event().is_some() {}
        let left = self.transport.occupancy();
        assert_eq!((left.tx, left.rx, left.outbound_messages, left.outbound_bytes), (0, 0, 0, 0), "{left:?}");
        assert_eq!((left.buffers, left.common, left.events), (0, 0, 0), "{left:?}");
        for request in std::mem::take(&mut self.requests) {
            assert!(self.transport.poll_request(request, None).is_some(), "a request without an end");
        }
    }
}

/// What an honest peer says to a frame.
fn answer(bytes: &[u8], number: u8, link: u8, crc: bool) -> Option<Vec<u8>> {
    let packet = Packet::decode(bytes).ok()?;
    let header = packet.header;
    let own = 0x100 + u32::from(number);
    let (kind, payload) = match header.kind {
        Kind::TcsInit => (Kind::TcsRemUp, Vec::new()),
        Kind::TcsRemUp => (Kind::TcsUp, Vec::new()),
        Kind::User if header.flags.contains(Flags::LAST) => (Kind::Ack, Vec::new()),
        Kind::Lres => (Kind::Lres, resolved(packet.payload, number, link)?),
        _ => return None,
    };
    let src = if header.dst_conn_id == 0 { own } else { header.dst_conn_id };
    let is_lr = kind == Kind::Lres;
    let mut answer = Header {
        src_nd_for_dst: 7,
        dst_nd_for_src: header.src_nd_for_dst,
        src_conn_id: if is_lr { 0 } else { src },
        dst_conn_id: header.src_conn_id,
        seq: if kind == Kind::Ack { header.seq } else { 0 },
        qos_type: header.qos_type,
        src_qos_idx: header.src_qos_idx,
        length: payload.len() as u32,
        layer: if is_lr { Layer::Lr } else { Layer::Kif },
        ..Header::new(kind)
    };
    if crc {
        answer.seal(&[&payload]);
    }
    Some([&answer.encode()[..], &payload].concat())
}

/// The reply to an LR request, whatever name it asks for.
fn resolved(payload: &[u8], number: u8, link: u8) -> Option<Vec<u8>> {
    let (request, form) = LrPacket::decode(payload, Endian::Little)
        .ok()
        .filter(|(packet, _)| packet.kind == LrKind::Request)?;
    let LinkAddress::Mac(mac) = peer(number, link) else { return None };
    let src = Party { mac: Some(Mac(mac)), ..request.dst };
    let reply = LrPacket { kind: LrKind::Reply, src, dst: request.src };
    let mut room = [0; 1024];
    let len = reply.emit(&mut room, Endian::Little, form).ok()?;
    Some(room[..len].to_vec())
}
