//! Counters of transport and resolvers, named as `/proc/qnetstats` names them (section 16).

/// Declares the counters with the name under which each is shown.
macro_rules! counters {
    ($($(#[doc = $help:literal])* $field:ident $name:literal,)*) => {
        /// What happened since the start, by kind. Names contain "ok" and "bad" only where the specification has
        /// them: users filter by these words.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct Counters {
            $($(#[doc = $help])* pub $field: u64,)*
        }

        impl Counters {
            /// Names and values, in the order of `/proc/qnetstats`.
            pub fn lines(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($name, self.$field)),*].into_iter()
            }

            /// Calls `visit` with the name of every field, its meaning and its value.
            pub fn each(&self, mut visit: impl FnMut(&'static str, &'static str, u64)) {
                $(visit(stringify!($field), concat!($($help),*), self.$field);)*
            }
        }
    };
}

counters! {
    /// Nodes that went down.
    nd_down "kif nd_down",
    /// Nodes that came up.
    nd_up "kif nd_up",
    /// Nodes whose address or epoch changed.
    nd_changed "kif nd_changed",
    /// Frames that a link refused for want of room, and that had to be dropped.
    tx_begin_errors "qos tx_begin_errors",
    /// Messages that had to wait for the window, or were refused for want of buffers.
    tx_throttled "qos tx_throttled",
    /// Messages given up.
    tx_failed "qos tx_failed",
    /// Frames for no connection.
    pkts_rxd_no_l4 "qos pkts_rxd_noL4",
    /// Connections opened by this node.
    tx_conn_created "qos tx_conn_created",
    /// Of these, ended.
    tx_conn_deleted "qos tx_conn_deleted",
    /// Connections opened by peers.
    rx_conn_created "qos rx_conn_created",
    /// Of these, ended.
    rx_conn_deleted "qos rx_conn_deleted",
    /// Fragments of messages that were not next.
    rx_seq_order "qos rx_seq_order",
    /// Links that stopped working for a connection while another one worked.
    link_down "qos link_down",
    /// Of these, those that work again.
    link_up "qos link_up",
    /// Frames sent.
    txd_ok "txd ok",
    /// Frames that a link refused although it had room.
    txd_bad "txd bad",
    /// Frames accepted.
    rxd_ok "rxd ok",
    /// Frames rejected at the driver's boundary.
    rxd_bad_dr "rxd bad dr",
    /// Frames rejected by the checks of LwL4.
    rxd_bad_l4 "rxd bad L4",
    /// Frames with a wrong CRC.
    rxd_bad_crc "rxd bad crc",
    /// LR packets that make no sense.
    rxd_bad_lr "rxd bad lr",
    /// NR messages that make no sense.
    rxd_bad_nr "rxd bad nr",
    /// ACKs sent.
    acks_tx "l4 acks tx",
    /// ACKs received.
    acks_rx "l4 acks rx",
    /// NACKs sent.
    nacks_tx "l4 nacks tx",
    /// NACKs received.
    nacks_rx "l4 nacks rx",
    /// Frames sent again.
    retransmits "l4 retransmits",
    /// Fragments that had arrived before.
    dup_rx "l4 dup_rx",
    /// Messages announced larger than `max_msg`.
    rx_too_big "l4 rx_too_big",
    /// Fragments beyond the window.
    rx_window "l4 rx_window",
    /// Fragments dropped because their connection holds as much as it may.
    rx_no_memory "l4 rx_no_memory",
    /// ACKs and NACKs dropped because too many waited.
    acks_dropped "l4 acks_dropped",
    /// Answers not given because a peer asked too often.
    rate_limited "l4 rate_limited",
    /// LR requests sent.
    lr_req_tx "lr req tx",
    /// LR requests received.
    lr_req_rx "lr req rx",
    /// LR replies sent.
    lr_rep_tx "lr rep tx",
    /// LR replies received.
    lr_rep_rx "lr rep rx",
    /// Announcements sent.
    lr_announce_tx "lr announce tx",
    /// Announcements received.
    lr_announce_rx "lr announce rx",
    /// Packets of another node with our name.
    lr_dup_name "lr dup_name",
    /// Newcomers under the name of a node that seemed alive elsewhere, for whose sake it was asked.
    lr_claims "lr claims",
    /// Of these, those that got the name because it did not answer.
    lr_claims_won "lr claims_won",
    /// Node entries given up because there were too many.
    lr_evicted "lr evicted",
    /// Pings sent.
    nr_ping_tx "nr ping tx",
    /// Pings answered.
    nr_ping_rx "nr ping rx",
    /// Queries for descriptors sent.
    nr_remote_tx "nr remote tx",
    /// Queries for descriptors received.
    nr_remote_rx "nr remote rx",
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `grep -e ok -e bad` shows five lines of the original and those of ours that start with "rxd bad".
    #[test]
    fn words_that_users_filter_by() {
        let shown: Vec<&str> = Counters::default()
            .lines()
            .map(|(name, _)| name)
            .filter(|name| name.contains("ok") || name.contains("bad"))
            .collect();
        let original = ["txd ok", "txd bad", "rxd ok", "rxd bad dr", "rxd bad L4"];
        assert_eq!(shown[..5], original);
        assert!(shown[5..].iter().all(|name| name.starts_with("rxd bad ")), "{shown:?}");
        assert!(Counters::default().lines().all(|(name, _)| name.len() < 30));
    }
}
