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
