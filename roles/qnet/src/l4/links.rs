//! Links and what waits for them, in the order of section 7.4.
//!
//! Frames go to the port at once while it has room. Without room, control frames and ACKs wait here as bytes, what is
//! sent again as the range of a message, and new messages where they are: a list names the connections whose turn it is.

use super::options::MAX_HEAD;
use crate::link::{LinkAddress, LinkId, LinkPort};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ops::Range;
use keelson_qnet_wire::l4::{Header, payload_size};

/// Most links of a node.
pub const MAX_LINKS: usize = 8;
/// Longest payload of a control frame: an LR packet with six items of full length has 472 bytes.
pub const MAX_CONTROL: usize = 512;

/// A frame that opens or closes a connection, or asks for a name.
pub struct Control {
    pub to: Option<LinkAddress>,
    pub header: Header,
    payload: [u8; MAX_CONTROL],
    len: usize,
}

impl Control {
    fn new(to: Option<LinkAddress>, header: Header, bytes: &[u8]) -> Control {
        let mut payload = [0; MAX_CONTROL];
        let len = bytes.len().min(MAX_CONTROL);
        if let (Some(room), Some(bytes)) = (payload.get_mut(..len), bytes.get(..len)) {
            room.copy_from_slice(bytes);
        }
        Control { to, header, payload, len }
    }

    fn bytes(&self) -> &[u8] {
        self.payload.get(..self.len).unwrap_or_default()
    }
}

/// A part of a message that is sent again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Again {
    pub tx: u32,
    pub seq: u32,
    pub range: Range<u32>,
}

/// Connections whose turn it is, by priority, then first come first served.
pub struct Ready {
    lists: [VecDeque<u32>; 64],
    filled: u64,
}

impl Ready {
    fn new() -> Ready {
        Ready { lists: core::array::from_fn(|_| VecDeque::new()), filled: 0 }
    }

    /// Puts a connection behind the others of its priority.
    pub fn push(&mut self, priority: u8, tx: u32) {
        let priority = priority.min(63);
        if let Some(list) = self.lists.get_mut(usize::from(priority)) {
            list.push_back(tx);
            self.filled |= 1 << priority;
        }
    }

    /// Puts a connection before the others: it has not finished its turn.
    pub fn push_front(&mut self, priority: u8, tx: u32) {
        let priority = priority.min(63);
        if let Some(list) = self.lists.get_mut(usize::from(priority)) {
            list.push_front(tx);
            self.filled |= 1 << priority;
        }
    }

    /// The next connection and the priority of its list.
    pub fn pop(&mut self) -> Option<(u8, u32)> {
        let priority = self.filled.checked_ilog2()?;
        let list = self.lists.get_mut(priority as usize)?;
        let tx = list.pop_front();
        if list.is_empty() {
            self.filled &= !(1 << priority);
        }
        tx.map(|tx| (priority as u8, tx))
    }

    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }
}

/// Most frames of a kind that wait for a link.
const MAX_CONTROLS: usize = 64;
const MAX_ACKS: usize = 512;
const MAX_AGAIN: usize = 512;

/// One link.
pub struct Link {
    pub id: LinkId,
    pub port: Rc<dyn LinkPort>,
    pub was_up: bool,
    /// Something was sent since the last flush.
    dirty: bool,
    controls: VecDeque<Control>,
    acks: VecDeque<(LinkAddress, Header)>,
    pub again: VecDeque<Again>,
    pub ready: Ready,
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// The port has it.
    Yes,
    /// There is no room now.
    NoRoom,
    /// There was room, the port refused it.
    Refused,
}

impl Link {
    fn new(id: LinkId, port: Rc<dyn LinkPort>) -> Link {
        Link {
            id,
            was_up: port.is_up(),
            port,
            dirty: false,
            controls: VecDeque::with_capacity(MAX_CONTROLS),
            acks: VecDeque::with_capacity(MAX_ACKS),
            again: VecDeque::new(),
            ready: Ready::new(),
        }
    }

    /// Frames can be sent.
    pub fn is_up(&self) -> bool {
        self.port.is_up()
    }

    /// Payload of a frame, with the MTU bounded by an option.
    pub fn fragment_size(&self, mtu: Option<usize>) -> u32 {
        let mtu = mtu.unwrap_or(usize::MAX).min(self.port.mtu());
        let before = match self.port.address() {
            LinkAddress::Mac(_) => 0,
            LinkAddress::Ipv4(_) => keelson_qnet_wire::ipv4::HEADER_LEN,
        };
        // No header may be longer than a fragment, and frames have a maximum.
        payload_size(mtu.min(65_535), before).max(MAX_HEAD.next_multiple_of(8)) as u32
    }

    /// Hands a frame to the port.
    pub fn send(&mut self, to: Option<LinkAddress>, header: &Header, payload: &[&[u8]]) -> Sent {
        if !self.port.is_up() || self.port.room() == 0 {
            return Sent::NoRoom;
        }
        if !self.port.send(to, &header.encode(), payload) {
            return Sent::Refused;
        }
        self.dirty = true;
        Sent::Yes
    }

    /// Sends a control frame now or when there is room; false when it had to be dropped.
    pub fn send_control(&mut self, to: Option<LinkAddress>, header: &Header, payload: &[u8]) -> Sent {
        if self.controls.is_empty() {
            let sent = self.send(to, header, &[payload]);
            if sent != Sent::NoRoom {
                return sent;
            }
        }
        // A link that is down sends nothing old when it comes back.
        if !self.is_up() || self.controls.len() >= MAX_CONTROLS {
            return Sent::Refused;
        }
        self.controls.push_back(Control::new(to, *header, payload));
        Sent::NoRoom
    }

    /// The same for an ACK or a NACK.
    pub fn send_ack(&mut self, to: LinkAddress, header: &Header) -> Sent {
        if self.acks.is_empty() && self.controls.is_empty() {
            let sent = self.send(Some(to), header, &[]);
            if sent != Sent::NoRoom {
                return sent;
            }
        }
        if !self.is_up() || self.acks.len() >= MAX_ACKS {
            return Sent::Refused;
        }
        self.acks.push_back((to, *header));
        Sent::NoRoom
    }

    /// Remembers what to send again; nothing new when that is waiting already. False when too much waits.
    pub fn push_again(&mut self, again: Again) -> bool {
        if self.again.back() == Some(&again) {
            return true;
        }
        let room = self.again.len() < MAX_AGAIN;
        if room {
            self.again.push_back(again);
        }
        room
    }

    /// Sends what waits of control frames and ACKs. Says how many went out and how many the port refused.
    pub fn drain(&mut self) -> (u64, u64) {
        let (mut sent, mut refused) = (0, 0);
        while let Some(control) = self.controls.pop_front() {
            match self.send(control.to, &control.header, &[control.bytes()]) {
                Sent::NoRoom => {
                    self.controls.push_front(control);
                    return (sent, refused);
                }
                Sent::Yes => sent += 1,
                Sent::Refused => refused += 1,
            }
        }
        while let Some((to, header)) = self.acks.pop_front() {
            match self.send(Some(to), &header, &[]) {
                Sent::NoRoom => {
                    self.acks.push_front((to, header));
                    return (sent, refused);
                }
                Sent::Yes => sent += 1,
                Sent::Refused => refused += 1,
            }
        }
        (sent, refused)
    }

    /// Whether something waits for room.
    pub fn is_waiting(&self) -> bool {
        !(self.controls.is_empty() && self.acks.is_empty() && self.again.is_empty() && self.ready.is_empty())
    }

    /// Forgets what was to be sent as it stood: the link went down.
    pub fn forget(&mut self) {
        self.controls.clear();
        self.acks.clear();
        self.again.clear();
    }
}

/// The links of a node, by number.
#[derive(Default)]
pub struct Links(Vec<Link>);

impl Links {
    /// Adds a link; false when its number is taken or there are too many.
    pub fn add(&mut self, id: LinkId, port: Rc<dyn LinkPort>) -> bool {
        if usize::from(id.0) >= MAX_LINKS || self.get(id).is_some() {
            return false;
        }
        self.0.push(Link::new(id, port));
        true
    }

    pub fn remove(&mut self, id: LinkId) -> Option<Link> {
        let place = self.0.iter().position(|link| link.id == id)?;
        Some(self.0.remove(place))
    }

    pub fn get(&self, id: LinkId) -> Option<&Link> {
        self.0.iter().find(|link| link.id == id)
    }

    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.0.iter_mut().find(|link| link.id == id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.0.iter_mut()
    }

    /// The link with a name.
    pub fn named(&self, name: &str) -> Option<LinkId> {
        self.iter().find(|link| link.port.name() == name).map(|link| link.id)
    }

    /// Whether an address is ours: a frame from it came back to us.
    pub fn is_own(&self, address: LinkAddress) -> bool {
        self.iter().any(|link| link.port.address() == address)
    }

    /// Rings the doorbells of those through which something was sent.
    pub fn flush(&mut self) {
        for link in self.iter_mut() {
            if core::mem::take(&mut link.dirty) {
                link.port.flush();
            }
        }
    }
}
