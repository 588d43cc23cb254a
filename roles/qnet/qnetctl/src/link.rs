//! A transport as a link of the node: headers and padding in front of what the node sends, and off what comes.

use crate::transport::Transport;
use keelson_qnet::link::{LinkAddress, LinkPort};
use keelson_qnet_wire::frame::{self, ETHERTYPE, Mac};
use keelson_qnet_wire::ipv4::{self, Ipv4};
use keelson_qnet_wire::l4::Header;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::rc::Rc;

/// Peers without padding that are remembered.
const UNPADDED: usize = 1024;

/// A frame for this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received<'a> {
    /// Who sent it.
    pub from: LinkAddress,
    /// It was sent to everybody.
    pub was_broadcast: bool,
    /// Header and payload of LwL4, and what the link put behind them.
    pub lwl4: &'a [u8],
}

/// A link over a transport.
pub struct HostLink {
    name: String,
    transport: Rc<dyn Transport>,
    /// The frame that is being put together.
    frame: RefCell<Vec<u8>>,
    identification: Cell<u16>,
    /// A frame was not taken, or there was no room for one.
    was_full: Cell<bool>,
    /// Peers of the IP binding that send no padding (section 2.2).
    unpadded: RefCell<BTreeSet<Ipv4Addr>>,
}

impl HostLink {
    /// A link that the node calls `name`: `en0`.
    pub fn new(name: String, transport: Rc<dyn Transport>) -> HostLink {
        HostLink {
            name,
            transport,
            frame: RefCell::default(),
            identification: Cell::default(),
            was_full: Cell::default(),
            unpadded: RefCell::default(),
        }
    }

    /// Whether there was no room, and is some now.
    pub fn has_room_again(&self) -> bool {
        let again = self.was_full.get() && self.transport.room() > 0;
        if again {
            self.was_full.set(false);
        }
        again
    }

    /// What a frame has for this node, if anything.
    pub fn strip<'a>(&self, frame: &'a [u8]) -> Option<Received<'a>> {
        match self.transport.address() {
            LinkAddress::Mac(own) => strip_ethernet(own, frame),
            LinkAddress::Ipv4(_) => self.strip_ip(frame),
        }
    }

    fn strip_ip<'a>(&self, packet: &'a [u8]) -> Option<Received<'a>> {
        let (header, payload) = Ipv4::decode(packet).ok()?;
        let offset = ipv4::l4_offset(payload).ok()?;
        let mut unpadded = self.unpadded.borrow_mut();
        if offset == ipv4::PAD {
            unpadded.remove(&header.src);
        } else if unpadded.len() < UNPADDED {
            unpadded.insert(header.src);
        }
        let lwl4 = payload.get(offset..)?;
        Some(Received { from: LinkAddress::Ipv4(header.src), was_broadcast: false, lwl4 })
    }
}

fn strip_ethernet(own: [u8; 6], frame: &[u8]) -> Option<Received<'_>> {
    let (dst, rest) = frame.split_first_chunk::<6>()?;
    let (src, mut rest) = rest.split_first_chunk::<6>()?;
    let was_broadcast = dst[0] & 1 != 0;
    if !was_broadcast && *dst != own {
        return None;
    }
    loop {
        // The type, and the padding or what stands in a VLAN tag.
        let (kind, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(2..)?;
        match u16::from_be_bytes(*kind) {
            ETHERTYPE => return Some(Received { from: LinkAddress::Mac(*src), was_broadcast, lwl4: rest }),
            0x8100 | 0x88a8 => {}
            _ => return None,
        }
    }
}

impl LinkPort for HostLink {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> LinkAddress {
        self.transport.address()
    }

    fn mtu(&self) -> usize {
        self.transport.mtu()
    }

    fn is_up(&self) -> bool {
        self.transport.is_up()
    }

    fn room(&self) -> usize {
        let room = self.transport.room();
        if room == 0 {
            self.was_full.set(true);
        }
        room
    }

    fn send(&self, to: Option<LinkAddress>, head: &[u8; Header::LEN], payload: &[&[u8]]) -> bool {
        let mut frame = self.frame.borrow_mut();
        frame.clear();
        match (self.transport.address(), to) {
            (LinkAddress::Mac(own), Some(LinkAddress::Mac(to))) => {
                frame.extend(frame::header(Mac(to), Mac(own)));
            }
            (LinkAddress::Mac(own), None) => frame.extend(frame::header(Mac::BROADCAST, Mac(own))),
            (LinkAddress::Ipv4(src), Some(LinkAddress::Ipv4(dst))) => {
                let pad = if self.unpadded.borrow().contains(&dst) { 0 } else { ipv4::PAD };
                let len = pad + Header::LEN + payload.iter().map(|piece| piece.len()).sum::<usize>();
                let identification = self.identification.get().wrapping_add(1);
                self.identification.set(identification);
                let Some(header) = (Ipv4 { src, dst, identification }).encode(len) else { return false };
                frame.extend(header);
                frame.extend([0; ipv4::PAD].iter().take(pad));
            }
            _ => return false,
        }
        frame.extend(head);
        payload.iter().for_each(|piece| frame.extend(*piece));
        if matches!(self.transport.address(), LinkAddress::Mac(_)) && frame.len() < frame::MIN_LEN {
            frame.resize(frame::MIN_LEN, 0);
        }
        let taken = self.transport.send(&frame);
        if !taken {
            self.was_full.set(true);
        }
        taken
    }

    fn flush(&self) {
        self.transport.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_exec::sync::Notify;
    use keelson_qnet_wire::frame::Frame;
    use keelson_qnet_wire::l4::Kind;

    struct Wire {
        address: LinkAddress,
        sent: RefCell<Vec<Vec<u8>>>,
    }

    impl Transport for Wire {
        fn name(&self) -> &str {
            "wire"
        }
        fn address(&self) -> LinkAddress {
            self.address
        }
        fn mtu(&self) -> usize {
            1500
        }
        fn is_up(&self) -> bool {
            true
        }
        fn room(&self) -> usize {
            1
        }
        fn send(&self, frame: &[u8]) -> bool {
            self.sent.borrow_mut().push(frame.to_vec());
            true
        }
        fn receive(&self, _: usize, _: &mut dyn FnMut(&[u8])) -> usize {
            0
        }
        fn changed(&self) -> Rc<Notify> {
            Rc::default()
        }
    }

    fn link(address: LinkAddress) -> (Rc<Wire>, HostLink) {
        let wire = Rc::new(Wire { address, sent: RefCell::default() });
        (wire.clone(), HostLink::new("en0".into(), wire))
    }

    const OURS: LinkAddress = LinkAddress::Mac([2, 0, 0, 0, 0, 1]);
    const THEIRS: LinkAddress = LinkAddress::Mac([2, 0, 0, 0, 0, 2]);

    #[test]
    fn what_one_link_sends_the_other_strips() {
        let ((wire, ours), (_, theirs)) = (link(OURS), link(THEIRS));
        let head = Header { length: 5, ..Header::new(Kind::Lres) }.encode();
        assert!(ours.send(Some(THEIRS), &head, &[b"he", b"llo"]));
        assert!(ours.send(None, &head, &[b"hello"]));
        let sent = wire.sent.borrow();
        assert_eq!(sent[0].len(), 60);
        assert_eq!(Frame::decode(&sent[0]).unwrap().packet.payload, b"hello");
        let received = theirs.strip(&sent[0]).unwrap();
        assert_eq!((received.from, received.was_broadcast, &received.lwl4[..36]), (OURS, false, &head[..]));
        assert!(theirs.strip(&sent[1]).unwrap().was_broadcast);
        assert_eq!(ours.strip(&sent[0]), None, "for somebody else");
        let mut tagged = sent[0][..12].to_vec();
        tagged.extend([0x81, 0, 0, 7]);
        tagged.extend(&sent[0][12..]);
        assert_eq!(theirs.strip(&tagged).unwrap().lwl4, received.lwl4);
        for len in 0..18 {
            assert!(theirs.strip(&sent[0][..len.min(15)]).is_none());
        }
    }

    #[test]
    fn padding_of_the_ip_binding_is_learnt() {
        let (a, b) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let (wire, ours) = link(LinkAddress::Ipv4(a));
        let head = Header::new(Kind::Ack).encode();
        let to = Some(LinkAddress::Ipv4(b));
        assert!(ours.send(to, &head, &[]) && !ours.send(None, &head, &[]));
        let mut bare = Ipv4 { src: b, dst: a, identification: 1 }.encode(36).unwrap().to_vec();
        bare.extend(head);
        assert_eq!(ours.strip(&bare).unwrap().lwl4, head);
        assert!(ours.send(to, &head, &[]));
        let lens: Vec<usize> = wire.sent.borrow().iter().map(Vec::len).collect();
        assert_eq!(lens, [20 + 2 + 36, 20 + 36]);
    }
}
