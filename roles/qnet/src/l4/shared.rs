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
use keelson_qnet_wire::l4::{Header, Kind, Layer, SHARED_ACK};

/// Messages after which an ACK is sent. A quarter of the window: who sends much never waits for an ACK that is owed.
const EVERY: u32 = 8;
/// How long the first of them waits for it. Less than half of the shortest time to a retransmission (section 7.1, point 3).
const DELAY: Duration = Duration::from_millis(4);
/// Longest message whose ACK may be owed: all of them together fill a small part of the sender's window of bytes.
const SHORT: usize = 1024;

impl Transport {
    /// Acknowledges a message of one frame, the last that was delivered on a connection: at once, or with others.
    pub(super) fn acknowledge_frame(&mut self, id: u32, seq: u32, layer: Layer, len: usize) {
        let at = self.now + DELAY;
        let Some(rx) = self.rx.get_mut(id) else { return };
        if !rx.shares_acks || layer != Layer::Kif || len > SHORT || rx.owed + 1 >= EVERY {
            return self.acknowledge(id, seq, layer);
        }
        rx.owed += 1;
        if rx.owed == 1 {
            rx.ack_at = Some(at);
            self.timers.bring_forward(self.rx_key(id), at);
        }
    }

    /// Sends the ACK that is owed on a connection, if one is.
    pub(super) fn acknowledge_owed(&mut self, id: u32) {
        let Some(rx) = self.rx.get(id).filter(|rx| rx.owed > 0) else { return };
        self.acknowledge(id, rx.expected.wrapping_sub(1), Layer::Kif);
    }

    /// Sends an ACK. It implies that everything before arrived: messages are acknowledged in order. To a peer that can read it,
    /// it says so, and stands for everything that was delivered.
    pub(super) fn acknowledge(&mut self, id: u32, seq: u32, layer: Layer) {
        let Some(rx) = self.rx.get_mut(id) else { return };
        let shared = rx.shares_acks;
        let seq = if shared { rx.expected.wrapping_sub(1) } else { seq };
        (rx.owed, rx.ack_at) = (0, None);
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
