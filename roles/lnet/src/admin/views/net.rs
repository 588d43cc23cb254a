//! `net show` (LNet specification section 6.3).

use super::{HEALTHY, counts, counts_by_type};
use crate::admin::yaml::Yaml;
use crate::lnet::show::{NetStatus, NiStatus};

/// `net:`. Level 1 adds counters and tunables, level 2 counters by type and health.
pub fn net(nets: &[NetStatus], detail: u32) -> Yaml {
    let item = |net: &NetStatus| {
        Yaml::map()
            .with("net type", net.net)
            .with("local NI(s)", Yaml::seq(net.nis.iter().map(|ni| local_ni(ni, detail))))
    };
    Yaml::map().with("net", Yaml::seq(nets.iter().map(item)))
}

fn local_ni(ni: &NiStatus, detail: u32) -> Yaml {
    let mut yaml = Yaml::map().with("nid", ni.nid).with("status", if ni.up { "up" } else { "down" });
    if let Some(interface) = &ni.interface {
        yaml = yaml.with("interfaces", Yaml::map().with("0", interface.as_str()));
    }
    if detail >= 1 {
        yaml = yaml.with("statistics", counts(&ni.traffic));
    }
    if detail >= 2 {
        yaml = yaml.and(counts_by_type(&ni.traffic)).with("health stats", health(ni));
    }
    if detail >= 1 {
        yaml = yaml.and(tunables(ni)).with("dev cpt", 0u32).with("CPT", Yaml::quoted("[0]"));
    }
    yaml
}

/// `tunables` and `lnd tunables`; the loopback NI has zeros and none.
pub fn tunables(ni: &NiStatus) -> Yaml {
    let tunables = |peer_timeout: u32, peer_credits: u32, peer_buffer_credits: u32, credits: u32| {
        let tunables = Yaml::map()
            .with("peer_timeout", peer_timeout)
            .with("peer_credits", peer_credits)
            .with("peer_buffer_credits", peer_buffer_credits)
            .with("credits", credits);
        Yaml::map().with("tunables", tunables)
    };
    match &ni.tunables {
        None => tunables(0, 0, 0, 0),
        Some(t) => tunables(t.peer_timeout, t.peer_credits, t.peer_buffer_credits, t.credits)
            .with("lnd tunables", Yaml::map().with("conns_per_peer", t.conns_per_peer)),
    }
}

fn health(ni: &NiStatus) -> Yaml {
    Yaml::map()
        .with("fatal_error", u32::from(ni.fatal_error))
        .with("health value", HEALTHY)
        .with("interrupts", 0u32)
        .with("dropped", 0u32)
        .with("aborted", 0u32)
        .with("no route", 0u32)
        .with("timeouts", 0u32)
        .with("error", 0u32)
        .with("ping_count", 0u32)
        .with("next_ping", 0u32)
}

#[cfg(test)]
mod tests {
    use crate::admin::testing::nets;

    #[test]
    fn brief() {
        let expected = "\
net:
    - net type: lo
      local NI(s):
        - nid: 0@lo
          status: up
    - net type: tcp
      local NI(s):
        - nid: 10.1.0.1@tcp
          status: up
          interfaces:
              0: eth0
    - net type: tcp1
      local NI(s):
        - nid: 10.2.0.1@tcp1
          status: down
          interfaces:
              0: eth1
";
        assert_eq!(super::net(&nets(), 0).to_string(), expected);
    }

    #[test]
    fn counters_and_tunables() {
        let expected = "\
net:
    - net type: tcp
      local NI(s):
        - nid: 10.1.0.1@tcp
          status: up
          interfaces:
              0: eth0
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
              fatal_error: 0
              health value: 1000
              interrupts: 0
              dropped: 0
              aborted: 0
              no route: 0
              timeouts: 0
              error: 0
              ping_count: 0
              next_ping: 0
          tunables:
              peer_timeout: 180
              peer_credits: 8
              peer_buffer_credits: 0
              credits: 256
          lnd tunables:
              conns_per_peer: 2
          dev cpt: 0
          CPT: \"[0]\"
";
        assert_eq!(super::net(&nets()[1..2], 2).to_string(), expected);
        let one = super::net(&nets()[1..2], 1).to_string();
        assert!(
            one.contains("statistics:") && one.contains("credits: 256") && !one.contains("put:"),
            "{one}"
        );
    }
}
