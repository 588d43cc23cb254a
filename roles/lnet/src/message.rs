//! A message in memory.

use crate::buffers::Payload;
use keelson_lnet_wire::message::Header;

/// A header, its payload, and what it occupies until it is dropped.
pub struct Message {
    /// Forwarded as it came.
    pub header: Header,
    /// Exactly `header.payload_length` bytes.
    pub payload: Payload,
    /// What LNet remembers with it; the LND only carries it.
    pub(crate) tag: crate::lnet::Tag,
}

impl Message {
    /// A message that occupies nothing but its payload. The payload has the length that the header says.
    pub fn new(header: Header, payload: Payload) -> Message {
        Message { header, payload, tag: crate::lnet::Tag::default() }
    }
}
