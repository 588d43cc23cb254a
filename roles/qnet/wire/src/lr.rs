//! LAN resolver: which name has which Ethernet address (section 9).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | version 1 |
//! | 2 | 1 | 1 request, 2 reply |
//! | 4 | 4 | total length: 56 and the data area |
//! | 8 | 8 x 6 | offset and length of source name, domain, address; of destination name, domain, address |
//! | 56 | | data area; the offsets count from here; each item on a multiple of eight |
//!
//! An announcement is a reply with an empty destination.

mod decode;

pub use decode::LrError;

use crate::endian::Endian;
use crate::frame::Mac;
use crate::layout::layout;
use crate::out::{NoRoom, Out, len32};

const VERSION: u8 = 1;

layout! {
    /// Where an item lies in the data area.
    struct Span: 8, "LR item" {
        0 offset: u32,
        4 length: u32,
    }
}

layout! {
    struct Fixed: 56, "LR packet" {
        0 version: u8,
        2 kind: u8,
        4 total_len: u32,
        8 spans: [Span; 6],
    }
}

/// What a packet wants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LrKind {
    /// Who has the destination's name?
    Request,
    /// The source has this name and address.
    Reply,
}

/// One end of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Party<'a> {
    /// Node name, empty when absent.
    pub name: &'a str,
    /// Domain, empty when absent.
    pub domain: &'a str,
    /// Ethernet address; `None` when absent or of another kind.
    pub mac: Option<Mac>,
}

/// What the specification leaves open (section 28, rows 1 and 2): ours by default, a peer's once seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LrForm {
    /// Whether the length of a string counts its NUL.
    pub counts_nul: bool,
    /// Length of an address item, at least 8.
    pub address_len: u8,
    /// First byte of an address item.
    pub address_first: u8,
}

impl Default for LrForm {
    fn default() -> LrForm {
        LrForm { counts_nul: true, address_len: 16, address_first: 16 }
    }
}

/// An LR packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LrPacket<'a> {
    /// Request or reply.
    pub kind: LrKind,
    /// Who sends it. Has a name.
    pub src: Party<'a>,
    /// Whom it is about (request) or for (reply).
    pub dst: Party<'a>,
}

/// Family of an address item that is an Ethernet address.
const FAMILY_MAC: u8 = 1;

impl LrPacket<'_> {
    /// Whether this is an announcement: a reply to nobody.
    pub fn is_announcement(&self) -> bool {
        self.kind == LrKind::Reply && self.dst == Party::default()
    }

    /// Writes the packet and returns its length.
    pub fn emit(&self, room: &mut [u8], endian: Endian, form: LrForm) -> Result<usize, NoRoom> {
        let address_len = usize::from(form.address_len.max(8));
        let mut spans = [Span::default(); 6];
        let mut end = 0usize;
        for (span, (room, length)) in spans.iter_mut().zip(self.items(form, address_len)) {
            if room > 0 {
                let start = end.next_multiple_of(8);
                *span = Span { offset: len32(start), length: len32(length) };
                end = start + room;
            }
        }
        let mut out = Out::new(room, endian);
        let kind = match self.kind {
            LrKind::Request => 1,
            LrKind::Reply => 2,
        };
        out.put(&Fixed { version: VERSION, kind, total_len: len32(Fixed::LEN + end), spans });
        for party in [self.src, self.dst] {
            for text in [party.name, party.domain] {
                if !text.is_empty() {
                    // The fixed part is a multiple of eight long.
                    out.align(8).string(text.as_bytes());
                }
            }
            if let Some(Mac(mac)) = party.mac {
                let start = out.align(8).len();
                out.bytes(&[form.address_first, FAMILY_MAC]).bytes(&mac).zero_to(start + address_len);
            }
        }
        out.finish()
    }

    /// For each item the bytes it takes and the length that is stated; zeros for an absent one.
    fn items(&self, form: LrForm, address_len: usize) -> impl Iterator<Item = (usize, usize)> {
        let text = move |text: &str| match text.len() {
            0 => (0, 0),
            len => (len + 1, len + usize::from(form.counts_nul)),
        };
        let address = move |mac: Option<Mac>| if mac.is_some() { (address_len, address_len) } else { (0, 0) };
        let of = move |party: &Party| [text(party.name), text(party.domain), address(party.mac)];
        of(&self.src).into_iter().chain(of(&self.dst))
    }
}
