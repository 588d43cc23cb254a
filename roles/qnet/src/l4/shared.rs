//! One ACK for several short messages, between nodes of this project.
//!
//! With an ACK for each message (section 7.2, point 3) a call is four frames: message, ACK, reply, ACK. A peer whose TCS_INIT
//! says that it reads shared ACKs gets one for up to [`EVERY`] short messages, [`DELAY`] after the first of them at the latest.
//! Everything else is acknowledged at once, and what is owed with it. Other peers never see any of this.
//!
//! ```text
//!   client            server                     client            server
//!     |-- message ----->|                          |-- message ----->|
//!     |<----- ACK ------|                          |<---- reply -----|
//!     |<---- reply -----|            becomes       |-- message ----->|
//!     |------ ACK ----->|                          |<---- reply -----|
//!     |-- message ----->|                          |       ...       |
//!     |       ...       |                          |<-- shared ACK --|   one in EVERY
//! ```

use super::Transport;
use super::frames::On;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::l4::{Header, Kind, Layer, SHARED_ACK};

/// Messages after which an ACK is sent. A quarter of the window: who sends much never waits for an ACK that is owed.
const EVERY: u32 = 8;
/// How long the first of them waits for it. Less than half of the shortest time to a retransmission (section 7.1, point 3).
const DELAY: Duration = Duration::from_millis(4);
/// Longest message whose ACK may be owed: all of them together fill a small part of the sender's window of bytes.
const SHORT: usize = 1024;

/// An ACK that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Messages delivered that it stands for.
    messages: u32,
    /// When it is sent if no other message makes it full before.
    pub due: Instant,
}

impl Transport {
    /// Acknowledges a message of one frame, the last that was delivered on a connection: at once, or with others.
    pub(super) fn acknowledge_frame(&mut self, id: u32, seq: u32, layer: Layer, len: usize) {
        let due = self.now + DELAY;
        let Some(rx) = self.rx.get_mut(id) else { return };
        let messages = rx.owed.map_or(1, |owed| owed.messages + 1);
        if !rx.shares_acks || layer != Layer::Kif || len > SHORT || messages >= EVERY {
            return self.acknowledge(id, seq, layer);
        }
        if let Some(owed) = &mut rx.owed {
            owed.messages = messages;
            return;
        }
        rx.owed = Some(Owed { messages, due });
        // Set anew, not only brought forward: that of the last ACK, which was sent before it was due, would wake the machine
        // for nothing. Silence, the third that this timer is for, is far away: something was heard just now.
        let next = rx.gap_at.map_or(due, |gap| gap.min(due));
        self.timers.set(self.rx_key(id), next);
    }

    /// Sends the ACK that is owed on a connection, if one is.
    pub(super) fn acknowledge_owed(&mut self, id: u32) {
        let Some(rx) = self.rx.get(id).filter(|rx| rx.owed.is_some()) else { return };
        self.acknowledge(id, rx.expected.wrapping_sub(1), Layer::Kif);
    }

    /// Sends an ACK. It implies that everything before arrived: messages are acknowledged in order. To a peer that can read it,
    /// it says so, and stands for everything that was delivered.
    pub(super) fn acknowledge(&mut self, id: u32, seq: u32, layer: Layer) {
        let Some(rx) = self.rx.get_mut(id) else { return };
        let shared = rx.shares_acks;
        let seq = if shared { rx.expected.wrapping_sub(1) } else { seq };
        rx.owed = None;
        let on = On { src: id, dst: rx.remote, seq, qos_type: rx.qos_type, qos_idx: rx.qos_idx };
        let (node, link, to) = (rx.node.0, rx.link, rx.address);
        let mut header: Header = self.header(Kind::Ack, node, on);
        if shared {
            header.offset = SHARED_ACK;
        }
        if let Some(entry) = self.nodes.get(node) {
            header.flags = entry.profile.ack_flags;
            if entry.profile.ack_echoes_layer {
                header.layer = layer;
            }
        }
        self.counters.acks_tx += 1;
        self.send_ack(link, to, header);
    }
}
