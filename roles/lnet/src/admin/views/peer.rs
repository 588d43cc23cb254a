//! `peer list`, `peer show` and what pings find (LNet specification sections 6.2 and 6.5).

use super::{HEALTHY, counts, counts_by_type, truth};
use crate::admin::yaml::Yaml;
use crate::lnet::show::{PeerNiState, PeerNiStatus, PeerStatus};
use keelson_lnet_wire::nid::Nid;
use keelson_lnet_wire::ping::{Features, PingInfo};

/// `peer list:`.
pub fn peer_list(peers: &[PeerStatus]) -> Yaml {
    Yaml::map().with("peer list", Yaml::seq(peers.iter().map(|peer| Yaml::map().with("nid", peer.primary))))
}

/// `peer:`. Level 1 adds credits and counters, level 2 counters by type and health, level 3 the state.
pub fn peer(peers: &[PeerStatus], detail: u32) -> Yaml {
    let item = |peer: &PeerStatus| {
        Yaml::map()
            .with("primary nid", peer.primary)
            .with("Multi-Rail", truth(peer.multi_rail))
            .with_if(detail >= 3, "peer state", || peer.state)
            .with("peer ni", Yaml::seq(peer.nis.iter().map(|ni| peer_ni(ni, detail))))
    };
    Yaml::map().with("peer", Yaml::seq(peers.iter().map(item)))
}

/// What is known of a peer NI's life, in a word.
pub fn state(state: PeerNiState) -> &'static str {
    match state {
        PeerNiState::Up => "up",
        PeerNiState::Down => "down",
        PeerNiState::NotAvailable => "NA",
    }
}

fn peer_ni(ni: &PeerNiStatus, detail: u32) -> Yaml {
    let mut yaml = Yaml::map().with("nid", ni.nid).with("state", state(ni.state));
    if detail >= 1 {
        yaml = yaml
            .with("max_ni_tx_credits", ni.tx.max)
            .with("available_tx_credits", ni.tx.available)
            .with("min_tx_credits", ni.tx.min)
            .with("tx_q_num_of_buf", ni.tx_queued_bytes)
            .with("available_rtr_credits", ni.rtr.available)
            .with("min_rtr_credits", ni.rtr.min)
            .with("refcount", ni.refcount)
            .with("statistics", counts(&ni.traffic));
    }
    if detail >= 2 {
        let health = Yaml::map()
            .with("health value", HEALTHY)
            .with("dropped", ni.lost_dropped)
            .with("timeout", 0u32)
            .with("error", ni.lost_error)
            .with("network timeout", ni.lost_timeout)
            .with("ping_count", 0u32)
            .with("next_ping", 0u32);
        yaml = yaml.and(counts_by_type(&ni.traffic)).with("health stats", health);
    }
    yaml
}

/// An item of `ping:` or `discover:`. A ping shows the loopback NID too.
pub fn ping_info(asked: Nid, info: &PingInfo, loopback: bool) -> Yaml {
    let nids = info.entries.iter().map(|entry| entry.nid);
    let nids = loopback.then_some(Nid::LOOPBACK).into_iter().chain(nids);
    Yaml::map()
        .with("primary nid", info.primary().unwrap_or(asked))
        .with("Multi-Rail", truth(info.features.contains(Features::MULTI_RAIL)))
        .with("peer ni", Yaml::seq(nids.map(|nid| Yaml::map().with("nid", nid))))
}

#[cfg(test)]
mod tests {
    use crate::admin::testing::peers;

    #[test]
    fn list() {
        assert_eq!(
            super::peer_list(&peers()).to_string(),
            "peer list:\n    - nid: 10.1.0.2@tcp\n    - nid: 10.1.0.3@tcp\n"
        );
    }

    #[test]
    fn brief() {
        let expected = "\
peer:
    - primary nid: 10.1.0.2@tcp
      Multi-Rail: True
      peer ni:
        - nid: 10.1.0.2@tcp
          state: up
        - nid: 10.2.0.2@tcp1
          state: down
    - primary nid: 10.1.0.3@tcp
      Multi-Rail: False
      peer ni:
        - nid: 10.1.0.3@tcp
          state: NA
";
        assert_eq!(super::peer(&peers(), 0).to_string(), expected);
    }

    #[test]
    fn everything() {
        let expected = "\
peer:
    - primary nid: 10.1.0.3@tcp
      Multi-Rail: False
      peer state: 273
      peer ni:
        - nid: 10.1.0.3@tcp
          state: NA
          max_ni_tx_credits: 8
          available_tx_credits: 6
          min_tx_credits: -2
          tx_q_num_of_buf: 144
          available_rtr_credits: 8
          min_rtr_credits: 7
          refcount: 3
          statistics:
              send_count: 10
              recv_count: 26
              drop_count: 0
          sent_stats:
              put: 1
              get: 2
              reply: 3
              ack: 4
              hello: 0
          received_stats:
              put: 5
              get: 6
              reply: 7
              ack: 8
              hello: 0
          dropped_stats:
              put: 0
              get: 0
              reply: 0
              ack: 0
              hello: 0
          health stats:
              health value: 1000
              dropped: 1
              timeout: 0
              error: 3
              network timeout: 2
              ping_count: 0
              next_ping: 0
";
        assert_eq!(super::peer(&peers()[1..], 3).to_string(), expected);
    }
}
