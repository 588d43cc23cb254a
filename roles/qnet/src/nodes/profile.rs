//! What a peer does where the protocol leaves a choice (section 28): our ways until it was seen to have others.

use keelson_qnet_wire::Endian;
use keelson_qnet_wire::l4::{Flags, Layer};
use keelson_qnet_wire::lr::{LrForm, LrKind};

/// Ways of one peer. The numbers are the rows of section 28.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerProfile {
    /// Rows 1 and 2: strings and addresses in LR packets.
    pub lr_form: LrForm,
    /// Row 3: what it sends to everybody unasked.
    pub announces_by: Option<LrKind>,
    /// Row 5: flags of TCS frames.
    pub tcs_flags: Flags,
    /// Row 5: layer of TCS frames.
    pub tcs_layer: Layer,
    /// Row 6: sequence number in its TCS_INIT.
    pub isn: Option<u32>,
    /// Row 6: its first message has that number, not the next one.
    pub first_is_isn: bool,
    /// Row 7: one ACK stands for all messages before it.
    pub ack_cumulative: bool,
    /// Row 9: flags of ACKs.
    pub ack_flags: Flags,
    /// Row 9: ACKs have the layer of what they acknowledge.
    pub ack_echoes_layer: bool,
    /// Row 17: how often the window was halved because it closed a connection, or fell silent, after a burst.
    pub window_halved: u8,
    /// Messages acknowledged since.
    pub acked_since: u32,
    /// Its byte order.
    pub endian: Endian,
}

impl Default for PeerProfile {
    fn default() -> PeerProfile {
        PeerProfile {
            lr_form: LrForm::default(),
            announces_by: None,
            tcs_flags: Flags::WHOLE,
            tcs_layer: Layer::Kif,
            isn: None,
            first_is_isn: false,
            ack_cumulative: false,
            ack_flags: Flags::WHOLE,
            ack_echoes_layer: false,
            window_halved: 0,
            acked_since: 0,
            endian: Endian::Little,
        }
    }
}

impl PeerProfile {
    /// Messages that may wait for their ACK, of `window` in general.
    pub fn window(&self, window: usize) -> usize {
        (window >> self.window_halved.min(5)).max(1)
    }

    /// Remembers that a burst was too much, but for a window of one.
    pub fn halve_window(&mut self) {
        self.window_halved = (self.window_halved + 1).min(5);
        self.acked_since = 0;
    }

    /// Messages were acknowledged. After `recovered` of them the window is doubled again.
    pub fn acked(&mut self, messages: u32, recovered: u32) {
        if self.window_halved > 0 {
            self.acked_since = self.acked_since.saturating_add(messages);
            if self.acked_since >= recovered {
                self.window_halved -= 1;
                self.acked_since = 0;
            }
        }
    }

    /// Remembers flags and layer of a TCS_INIT or TCS_REM_UP.
    pub fn saw_tcs(&mut self, flags: Flags, layer: Layer) {
        self.tcs_flags = without_crc(flags);
        self.tcs_layer = layer;
    }

    /// Remembers flags and layer of an ACK for a message of `of`.
    pub fn saw_ack(&mut self, flags: Flags, layer: Layer, of: Layer) {
        self.ack_flags = without_crc(flags);
        // An ACK of KIF's layer says nothing: both forms have zero there.
        if of != Layer::Kif {
            self.ack_echoes_layer = layer == of;
        }
    }
}

/// Whether a CRC is there is ours to say.
fn without_crc(flags: Flags) -> Flags {
    Flags(flags.0 & !Flags::CRC.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows() {
        let mut profile = PeerProfile::default();
        let mut windows = vec![profile.window(32)];
        for _ in 0..7 {
            profile.halve_window();
            windows.push(profile.window(32));
        }
        assert_eq!(windows, [32, 16, 8, 4, 2, 1, 1, 1]);
        assert_eq!(profile.window(1), 1);
        for _ in 0..20 {
            profile.acked(1, 10);
        }
        assert_eq!(profile.window(32), 4, "trusted again");
    }

    #[test]
    fn copies_what_it_saw() {
        let mut profile = PeerProfile::default();
        profile.saw_tcs(Flags(6), Layer::Other(9));
        assert_eq!((profile.tcs_flags, profile.tcs_layer), (Flags::LAST, Layer::Other(9)));
        profile.saw_ack(Flags(0), Layer::Kif, Layer::Kif);
        assert_eq!((profile.ack_flags, profile.ack_echoes_layer), (Flags::NONE, false));
        profile.saw_ack(Flags(0), Layer::Nr, Layer::Nr);
        assert!(profile.ack_echoes_layer);
        profile.saw_ack(Flags(0), Layer::Kif, Layer::Nr);
        assert!(!profile.ack_echoes_layer);
    }
}
