//! Frames that are not data: their headers, and sending them.

use super::Arrival;
use super::Transport;
use super::limits::Answer;
use super::links::Sent;
use crate::link::{LinkAddress, LinkId};
use keelson_qnet_wire::l4::{Header, Kind};

/// Ids and number of a frame on a connection.
#[derive(Clone, Copy)]
pub(crate) struct On {
    /// Our id.
    pub src: u32,
    /// The peer's id.
    pub dst: u32,
    /// Number of the message.
    pub seq: u32,
    pub qos_type: u16,
    pub qos_idx: u16,
}

impl Transport {
    /// A header to a node, with the numbers by which both know each other (section 11.2).
    pub(crate) fn header(&self, kind: Kind, node: u16, on: On) -> Header {
        let mut header = Header {
            src_nd_for_dst: node,
            src_conn_id: on.src,
            dst_conn_id: on.dst,
            seq: on.seq,
            qos_type: on.qos_type,
            src_qos_idx: on.qos_idx,
            ..Header::new(kind)
        };
        if let Some(entry) = self.nodes.get(node) {
            header.dst_nd_for_src = entry.remote_nd;
            if matches!(kind, Kind::TcsInit | Kind::TcsRemUp | Kind::TcsUp | Kind::TcsDown | Kind::TcsRemDown)
            {
                header.flags = entry.profile.tcs_flags;
                header.layer = entry.profile.tcs_layer;
            }
        }
        header
    }

    /// Sends a frame that goes before all others.
    pub(crate) fn send_control(
        &mut self,
        link: LinkId,
        to: Option<LinkAddress>,
        mut header: Header,
        payload: &[u8],
    ) {
        header.length = payload.len() as u32;
        if self.options.do_crc {
            header.seal(&[payload]);
        }
        let sent = self.links.get_mut(link).map(|link| link.send_control(to, &header, payload));
        self.count(sent);
    }

    /// Sends an ACK or a NACK.
    pub(crate) fn send_ack(&mut self, link: LinkId, to: LinkAddress, mut header: Header) {
        if self.options.do_crc {
            header.seal(&[]);
        }
        let sent = self.links.get_mut(link).map(|link| link.send_ack(to, &header));
        match sent {
            Some(Sent::Refused) => self.counters.acks_dropped += 1,
            _ => self.count(sent),
        }
    }

    pub(crate) fn count(&mut self, sent: Option<Sent>) {
        match sent {
            Some(Sent::Yes) => self.counters.txd_ok += 1,
            Some(Sent::Refused) => self.counters.tx_begin_errors += 1,
            // It waits, or the link is gone.
            Some(Sent::NoRoom) | None => {}
        }
    }

    /// Tells a peer that there is no such connection, or that it is not the node that it wants.
    pub(crate) fn refuse(&mut self, arrival: Arrival, header: &Header) {
        if arrival.broadcast {
            return;
        }
        if !self.limits.allow(Answer::RemDown, arrival.link, arrival.from, self.now) {
            self.counters.rate_limited += 1;
            return;
        }
        let answer = Header {
            src_nd_for_dst: header.dst_nd_for_src,
            dst_nd_for_src: header.src_nd_for_dst,
            dst_conn_id: header.src_conn_id,
            qos_type: header.qos_type,
            src_qos_idx: header.src_qos_idx,
            ..Header::new(Kind::TcsRemDown)
        };
        self.send_control(arrival.link, Some(arrival.from), answer, &[]);
    }
}
