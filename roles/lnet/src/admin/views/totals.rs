//! `stats show` and `global show` (LNet specification section 6.6).

use crate::admin::yaml::Yaml;
use crate::lnet::show::{GlobalStatus, StatisticsStatus};

/// `statistics:`.
pub fn statistics(s: &StatisticsStatus) -> Yaml {
    let counters = [
        ("msgs_alloc", s.msgs_alloc),
        ("msgs_max", s.msgs_max),
        ("rst_alloc", s.rst_alloc),
        ("errors", s.errors),
        ("send_count", s.send_count),
        ("resend_count", s.resend_count),
        ("response_timeout_count", s.response_timeout_count),
        ("local_interrupt_count", s.local_interrupt_count),
        ("local_dropped_count", s.local_dropped_count),
        ("local_aborted_count", s.local_aborted_count),
        ("local_no_route_count", s.local_no_route_count),
        ("local_timeout_count", s.local_timeout_count),
        ("local_error_count", s.local_error_count),
        ("remote_dropped_count", s.remote_dropped_count),
        ("remote_error_count", s.remote_error_count),
        ("remote_timeout_count", s.remote_timeout_count),
        ("network_timeout_count", s.network_timeout_count),
        ("failed_resends", s.failed_resends),
        ("successful_resends", s.successful_resends),
        ("recv_count", s.recv_count),
        ("route_count", s.route_count),
        ("drop_count", s.drop_count),
        ("send_length", s.send_length),
        ("recv_length", s.recv_length),
        ("route_length", s.route_length),
        ("drop_length", s.drop_length),
    ];
    let counters = counters.into_iter().fold(Yaml::map(), |yaml, (name, value)| yaml.with(name, value));
    Yaml::map().with("statistics", counters)
}

/// `global:`.
pub fn global(g: &GlobalStatus) -> Yaml {
    let settings = [
        ("numa_range", g.numa_range),
        ("max_interfaces", g.max_interfaces),
        ("discovery", g.discovery),
        ("drop_asym_route", g.drop_asym_route),
        ("retry_count", g.retry_count),
        ("transaction_timeout", g.transaction_timeout),
        ("health_sensitivity", g.health_sensitivity),
        ("recovery_interval", g.recovery_interval),
        ("router_sensitivity", g.router_sensitivity),
        ("lnd_timeout", g.lnd_timeout),
        ("response_tracking", g.response_tracking),
        ("recovery_limit", g.recovery_limit),
        ("max_recovery_ping_interval", g.max_recovery_ping_interval),
    ];
    let settings = settings.into_iter().fold(Yaml::map(), |yaml, (name, value)| yaml.with(name, value));
    Yaml::map().with("global", settings)
}

#[cfg(test)]
mod tests {
    use crate::admin::testing::{global, statistics};

    #[test]
    fn counters() {
        let expected = "\
statistics:
    msgs_alloc: 3
    msgs_max: 40
    rst_alloc: 1
    errors: 0
    send_count: 100
    resend_count: 0
    response_timeout_count: 2
    local_interrupt_count: 0
    local_dropped_count: 0
    local_aborted_count: 0
    local_no_route_count: 0
    local_timeout_count: 0
    local_error_count: 0
    remote_dropped_count: 0
    remote_error_count: 0
    remote_timeout_count: 0
    network_timeout_count: 0
    failed_resends: 0
    successful_resends: 0
    recv_count: 200
    route_count: 5000
    drop_count: 7
    send_length: 1000
    recv_length: 2000
    route_length: 1073741824
    drop_length: 70
";
        assert_eq!(super::statistics(&statistics()).to_string(), expected);
    }

    #[test]
    fn settings() {
        let expected = "\
global:
    numa_range: 0
    max_interfaces: 200
    discovery: 1
    drop_asym_route: 0
    retry_count: 0
    transaction_timeout: 150
    health_sensitivity: 0
    recovery_interval: 1
    router_sensitivity: 100
    lnd_timeout: 50
    response_tracking: 3
    recovery_limit: 0
    max_recovery_ping_interval: 900
";
        assert_eq!(super::global(&global()).to_string(), expected);
    }
}
