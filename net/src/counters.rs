//! What the stack counts, named in the spirit of `nstat`.

macro_rules! counters {
    ($(#[doc = $help:literal] $name:ident,)*) => {
        /// Counters of a [`Stack`](crate::Stack) since its start. Nothing is dropped without one of them.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[non_exhaustive]
        pub struct StackCounters {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl StackCounters {
            /// Calls `visit` with the name, the meaning and the value of every counter.
            pub fn for_each(&self, mut visit: impl FnMut(&'static str, &'static str, u64)) {
                $(visit(stringify!($name), $help, self.$name);)*
            }
        }
    };
}

counters! {
    /// Frames shorter than an Ethernet header.
    eth_short,
    /// Frames for another station.
    eth_other_host,
    /// Frames of an EtherType that nobody registered.
    eth_unknown_type,
    /// Frames handed to a registered EtherType handler.
    eth_handled,
    /// Frames dropped because the transmit backlog of their interface was full.
    tx_backlog_dropped,
    /// Malformed ARP packets, or ARP packets with impossible addresses.
    arp_invalid,
    /// ARP requests answered.
    arp_replies,
    /// ARP requests and neighbour solicitations sent.
    neighbour_solicits,
    /// Packets dropped because their next hop did not answer.
    neighbour_failed,
    /// Packets dropped because too many waited for their next hop, or too many next hops are unresolved.
    neighbour_queue_dropped,
    /// Malformed IP headers or header checksum errors.
    ip_invalid,
    /// IP packets for an address that is not ours.
    ip_other_host,
    /// IP packets with an impossible source address.
    ip_bad_source,
    /// IP packets handed to the handler of a registered protocol.
    ip_handled,
    /// IP packets of a protocol that is neither implemented nor registered.
    ip_unknown_protocol,
    /// Packets to send without a route.
    ip_no_route,
    /// Fragments received.
    frag_received,
    /// Datagrams reassembled.
    frag_reassembled,
    /// Datagrams given up: overlap, impossible length, time or memory exceeded.
    frag_failed,
    /// Fragments sent.
    frag_sent,
    /// Malformed ICMP messages or wrong checksums.
    icmp_invalid,
    /// Echo requests answered.
    icmp_echo_replies,
    /// Destination unreachable messages sent.
    icmp_unreachable_sent,
    /// ICMP messages not sent because of the rate limit.
    icmp_rate_limited,
    /// Malformed UDP datagrams or wrong checksums.
    udp_invalid,
    /// Datagrams delivered to sockets.
    udp_received,
    /// Datagrams sent.
    udp_sent,
    /// Datagrams to a port without a socket.
    udp_no_port,
    /// Datagrams dropped because the socket's queue was full.
    udp_queue_full,
    /// Malformed TCP segments.
    tcp_invalid,
    /// TCP segments with a wrong checksum.
    tcp_bad_checksum,
    /// Segments received for connections.
    tcp_received,
    /// Segments sent by connections.
    tcp_sent,
    /// Segments sent for the device to cut.
    tcp_sent_tso,
    /// Segments sent again.
    tcp_retransmitted,
    /// Connections that sent again at once because the link of their interface had come back.
    tcp_link_returned,
    /// Resets sent for segments without a connection.
    tcp_resets_sent,
    /// Resets not sent because of the rate limit.
    tcp_resets_limited,
    /// Connections accepted from peers (handshake complete).
    tcp_passive_opens,
    /// Connections opened to peers.
    tcp_active_opens,
    /// SYNs dropped because the listener's backlog or the connection table was full.
    tcp_syn_dropped,
    /// Half-open connections that made way for a newer SYN.
    tcp_half_open_evicted,
    /// Half-open connections that had made way and were made again when their client answered.
    tcp_half_open_revived,
    /// Ends of handshakes dropped because nobody accepts as fast as clients come, or memory is short.
    tcp_listen_overflows,
    /// Half-open or closing connections replaced by a new SYN on their 4-tuple.
    tcp_replaced,
    /// Handshakes with clients given up because they did not end.
    tcp_half_open_expired,
    /// Connections ended because their peer owed an acknowledgement and was silent too long.
    tcp_timed_out,
    /// Challenge ACKs sent for a SYN on the 4-tuple of a live connection.
    tcp_challenge_acks,
    /// Times a connection was polled, for packets, timers or its owner.
    tcp_polls,
}
