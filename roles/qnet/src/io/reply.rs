//! The reply to a message, as it grows: small ones travel at once, large ones in pieces ahead of the end.

use crate::api::Message;
use alloc::vec::Vec;
use keelson_exec::{Either, select};
use keelson_qnet_wire::Errno;

/// Most bytes that are held before they are sent.
pub(crate) const PIECE: usize = 65_536;

/// What a message is answered with.
pub(crate) struct Reply<'a> {
    message: &'a Message,
    /// Bytes that the client has room for.
    room: usize,
    held: Vec<u8>,
    sent: usize,
    /// Status of the last part.
    pub status: i32,
}

impl<'a> Reply<'a> {
    pub fn new(message: &'a Message) -> Reply<'a> {
        let room = usize::try_from(message.info().dstmsglen).unwrap_or(0);
        Reply { message, room, held: Vec::new(), sent: 0, status: 0 }
    }

    /// Bytes that can be added.
    pub fn room(&self) -> usize {
        self.room.saturating_sub(self.sent + self.held.len())
    }

    /// Adds bytes; what the client has no room for is left out.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let bytes = bytes.get(..bytes.len().min(self.room())).unwrap_or_default();
        if self.held.len() + bytes.len() > PIECE {
            self.flush().await?;
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Errno> {
        self.message.write(self.sent, &self.held).await?;
        self.sent += self.held.len();
        self.held.clear();
        Ok(())
    }

    /// Everything ahead of the end is sent; what is left goes with the end.
    pub async fn finish(mut self) -> Result<(i32, Vec<u8>), Errno> {
        if self.sent > 0 {
            self.flush().await?;
        }
        Ok((self.status, self.held))
    }
}

/// Waits, but not longer than the client wants to.
pub(crate) async fn while_wanted<T>(
    message: &Message,
    wait: impl Future<Output = Result<T, Errno>>,
) -> Result<T, Errno> {
    match select(wait, message.unblocked()).await {
        Either::First(result) => result,
        Either::Second(()) => Err(Errno::EINTR),
    }
}
