//! `route show` and `routing show` (LNet specification sections 6.4 and 6.6).

use crate::admin::yaml::Yaml;
use crate::lnet::show::{PoolStatus, RouteStatus, RoutingState, RoutingStatus};

/// `route:`. With detail: hops, priority, state and type.
pub fn route(routes: &[RouteStatus], detail: u32) -> Yaml {
    let item = |route: &RouteStatus| {
        let yaml = Yaml::map().with("net", route.net).with("gateway", route.gateway);
        if detail == 0 {
            return yaml;
        }
        yaml.with("hop", route.hops.map_or(-1, i64::from))
            .with("priority", route.priority)
            .with("state", if route.up { "up" } else { "down" })
            .with("type", if route.single_hop { "single-hop" } else { "multi-hop" })
    };
    Yaml::map().with("route", Yaml::seq(routes.iter().map(item)))
}

/// `routing:` and `buffers:`. All pools are one CPU partition.
pub fn routing(status: &RoutingStatus) -> Yaml {
    let pools = status.pools.iter().fold(Yaml::map(), |yaml, pool| yaml.with(pool.name, pool_status(pool)));
    let enable = u32::from(status.state != RoutingState::Disabled);
    Yaml::map()
        .with("routing", Yaml::seq([Yaml::map().with("cpt[0]", pools), Yaml::map().with("enable", enable)]))
        .and(buffers(status))
}

/// `buffers:`, what `import` needs.
pub fn buffers(status: &RoutingStatus) -> Yaml {
    let counts = status.pools.iter().fold(Yaml::map(), |yaml, pool| yaml.with(pool.name, pool.buffers));
    Yaml::map().with("buffers", counts)
}

fn pool_status(pool: &PoolStatus) -> Yaml {
    Yaml::map()
        .with("npages", pool.pages)
        .with("nbuffers", pool.buffers)
        .with("credits", pool.credits)
        .with("mincredits", pool.min_credits)
}

#[cfg(test)]
mod tests {
    use crate::admin::testing::{routes, routing};

    #[test]
    fn routes_in_brief_and_in_detail() {
        assert_eq!(
            super::route(&routes()[..1], 0).to_string(),
            "route:\n    - net: tcp3\n      gateway: 10.2.0.9@tcp1\n"
        );
        let expected = "\
route:
    - net: tcp3
      gateway: 10.2.0.9@tcp1
      hop: -1
      priority: 0
      state: up
      type: single-hop
    - net: o2ib
      gateway: 10.1.0.9@tcp
      hop: 2
      priority: 1
      state: down
      type: multi-hop
";
        assert_eq!(super::route(&routes(), 1).to_string(), expected);
    }

    #[test]
    fn forwarding_and_buffers() {
        let expected = "\
routing:
    - cpt[0]:
          tiny:
              npages: 0
              nbuffers: 2048
              credits: 2048
              mincredits: 2040
          small:
              npages: 1
              nbuffers: 16384
              credits: 16000
              mincredits: 15000
          large:
              npages: 256
              nbuffers: 1024
              credits: -3
              mincredits: -7
    - enable: 1
buffers:
    tiny: 2048
    small: 16384
    large: 1024
";
        assert_eq!(super::routing(&routing()).to_string(), expected);
    }
}
