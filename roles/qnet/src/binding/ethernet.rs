//! A NIC as a link (section 2.1).

use crate::link::{LinkAddress, LinkId, LinkPort};
use alloc::rc::Rc;
use alloc::string::String;
use core::cell::Cell;
use keelson_hal::{Link, MacAddress};
use keelson_net::{InterfaceId, InterfaceStatus, Stack};
use keelson_qnet_wire::frame::{ETHERTYPE, trailer_len};
use keelson_qnet_wire::l4::Header;

/// Zeros between the Ethernet header and the LwL4 header.
const PAD: usize = 2;

/// What lies behind the padding of a frame's content. `None` for one that cannot hold an LwL4 header.
pub(super) fn behind_padding(content: &[u8]) -> Option<&[u8]> {
    content.get(PAD..).filter(|lwl4| lwl4.len() >= Header::LEN)
}

/// A link port of an Ethernet interface.
pub(super) struct EthernetPort {
    name: String,
    stack: Stack,
    id: InterfaceId,
    link: Cell<Option<LinkId>>,
    mac: Cell<MacAddress>,
    mtu: Cell<usize>,
    up: Cell<bool>,
    max_frames: usize,
    receiving: Rc<Cell<bool>>,
}

impl EthernetPort {
    /// A port that takes at most so many frames at once, and none while frames are handed over.
    pub fn new(
        name: &str,
        stack: &Stack,
        status: &InterfaceStatus,
        (max_frames, receiving): (usize, Rc<Cell<bool>>),
    ) -> EthernetPort {
        let port = EthernetPort {
            name: name.into(),
            stack: stack.clone(),
            id: status.id,
            link: Cell::new(None),
            mac: Cell::new(status.mac),
            mtu: Cell::new(status.mtu),
            up: Cell::new(false),
            max_frames,
            receiving,
        };
        port.update(status);
        port
    }

    /// Its interface.
    pub fn id(&self) -> InterfaceId {
        self.id
    }

    /// Its number on the node.
    pub fn link(&self) -> Option<LinkId> {
        self.link.get()
    }

    /// The node gave it a number.
    pub fn set_link(&self, link: LinkId) {
        self.link.set(Some(link));
    }

    /// Its number, if it is the port of that interface.
    pub fn link_of(&self, id: InterfaceId) -> Option<LinkId> {
        self.link.get().filter(|_| self.id == id)
    }

    /// Takes in how the interface is.
    pub fn update(&self, status: &InterfaceStatus) {
        self.mac.set(status.mac);
        self.mtu.set(status.mtu);
        self.up.set(status.up && status.link != Link::Down);
    }
}

impl LinkPort for EthernetPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> LinkAddress {
        LinkAddress::Mac(self.mac.get().0)
    }

    fn mtu(&self) -> usize {
        self.mtu.get()
    }

    fn is_up(&self) -> bool {
        self.up.get()
    }

    fn room(&self) -> usize {
        if self.receiving.get() { 0 } else { self.stack.frame_room(self.id).min(self.max_frames) }
    }

    fn send(&self, to: Option<LinkAddress>, head: &[u8; Header::LEN], payload: &[&[u8]]) -> bool {
        let to = match to {
            None => MacAddress::BROADCAST,
            Some(LinkAddress::Mac(mac)) => MacAddress(mac),
            Some(LinkAddress::Ipv4(_)) => return false,
        };
        let bytes = payload.iter().map(|piece| piece.len()).sum::<usize>();
        let len = PAD + Header::LEN + bytes + trailer_len(bytes);
        self.stack.send_frame(self.id, to, ETHERTYPE, len, &mut |room| fill(room, PAD, head, payload))
    }

    fn flush(&self) {
        self.stack.flush_frames(self.id);
    }
}

/// Writes padding, header, payload, and zeros behind them.
pub(super) fn fill(room: &mut [u8], pad: usize, head: &[u8; Header::LEN], payload: &[&[u8]]) {
    let mut rest = room;
    let zeros = [0; PAD];
    let padding = zeros.get(..pad).unwrap_or_default();
    for piece in [padding, &head[..]].into_iter().chain(payload.iter().copied()) {
        let len = piece.len().min(rest.len());
        let (place, behind) = rest.split_at_mut(len);
        place.copy_from_slice(piece.get(..len).unwrap_or_default());
        rest = behind;
    }
    rest.fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_of_frames() {
        let head = [7; Header::LEN];
        let mut room = [0xee; 46];
        fill(&mut room, PAD, &head, &[b"ab", b"c"]);
        assert_eq!(
            (&room[..2], &room[2..38], &room[38..41], &room[41..]),
            (&[0; 2][..], &head[..], &b"abc"[..], &[0; 5][..])
        );
        assert_eq!(behind_padding(&room).map(<[u8]>::len), Some(44));
        assert!(behind_padding(&room[..38]).is_some() && behind_padding(&room[..37]).is_none());
        assert!(behind_padding(&[0]).is_none());
        let mut short = [0xee; 40];
        fill(&mut short, 0, &head, &[b"abcdefgh"]);
        assert_eq!(&short[36..], b"abcd", "never beyond the room");
    }
}
