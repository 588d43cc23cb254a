//! The files that LNet has below `/sys/kernel/debug/lnet` on Linux, formerly `/proc/sys/lnet` (LNet
//! specification section 6.8).

use super::control::Control;
use super::views;
use crate::lnet::show::{CreditStatus, NiStatus, PeerNiStatus, RoutingState};
use alloc::format;
use alloc::string::String;
use core::fmt::Write;
use core::time::Duration;

/// Their names.
const FILES: &[&str] = &["stats", "routes", "routers", "peers", "buffers", "nis", "lnet_lnd_timeout"];

/// `cat FILE ...`: by path, or by name alone.
pub fn cat<C: Control>(control: &C, words: &[&str]) -> String {
    if words.is_empty() {
        return format!("cat what? There is /sys/kernel/debug/lnet/ with {}\n", FILES.join(", "));
    }
    words.iter().map(|path| file(control, path)).collect()
}

fn file<C: Control>(control: &C, path: &str) -> String {
    let name = ["/sys/kernel/debug/lnet/", "/proc/sys/lnet/"]
        .into_iter()
        .find_map(|directory| path.strip_prefix(directory))
        .unwrap_or(path);
    if !FILES.contains(&name) {
        return format!(
            "cat: {path}: no such file; there is /sys/kernel/debug/lnet/ with {}\n",
            FILES.join(", ")
        );
    }
    if !control.is_up() {
        return format!("cat: {path}: LNet is not up\n");
    }
    match name {
        "stats" => stats(control),
        "routes" => routes(control),
        "routers" => routers(control),
        "peers" => peers(control),
        "buffers" => buffers(control),
        "nis" => nis(control),
        _ => format!("{}\n", control.global().lnd_timeout),
    }
}

// Writing to a String cannot fail: results of `writeln!` below are dropped.

fn stats<C: Control>(control: &C) -> String {
    let s = control.statistics();
    format!(
        "{} {} {} {} {} {} {} {} {} {} {}\n",
        s.msgs_alloc,
        s.msgs_max,
        s.errors,
        s.send_count,
        s.recv_count,
        s.route_count,
        s.drop_count,
        s.send_length,
        s.recv_length,
        s.route_length,
        s.drop_length
    )
}

fn routes<C: Control>(control: &C) -> String {
    let state = match control.routing().state {
        RoutingState::Disabled => "disabled",
        RoutingState::Starting => "starting",
        RoutingState::Enabled => "enabled",
        RoutingState::Stopping => "stopping",
    };
    let mut text =
        format!("Routing {state}\n{:<8} {:>4} {:>8} {:>7} router\n", "net", "hops", "priority", "state");
    for route in control.routes() {
        let state = if route.up { "up" } else { "down" };
        let hops = route.hops.map_or(-1, i32::from);
        let net = format!("{}", route.net);
        let _ = writeln!(text, "{net:<8} {hops:>4} {:>8} {state:>7} {}", route.priority, route.gateway);
    }
    text
}

fn routers<C: Control>(control: &C) -> String {
    let mut text = format!("{:<4} {:>7} {:>5} router\n", "ref", "rtr_ref", "alive");
    for router in control.routers() {
        let alive = if router.alive { "up" } else { "down" };
        let _ = writeln!(text, "{:<4} {:>7} {alive:>5} {}", router.routes + 1, router.routes, router.nid);
    }
    text
}

fn peers<C: Control>(control: &C) -> String {
    let mut text = format!(
        "{:<24} {:>4} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} queue\n",
        "nid", "refs", "state", "last", "max", "rtr", "min", "tx", "min"
    );
    for peer in control.peers() {
        for ni in &peer.nis {
            text.push_str(&peer_line(ni));
        }
    }
    text
}

fn peer_line(ni: &PeerNiStatus) -> String {
    let nid = format!("{}", ni.nid);
    let last = ni.last_alive.map_or(-1, |span| seconds(span).min(9999));
    let PeerNiStatus { rtr, tx, .. } = ni;
    format!(
        "{nid:<24} {:>4} {:>5} {last:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {}\n",
        ni.refcount,
        views::state(ni.state),
        tx.max,
        rtr.available,
        rtr.min,
        tx.available,
        tx.min,
        ni.tx_queued_bytes
    )
}

fn buffers<C: Control>(control: &C) -> String {
    let mut text = format!("{:>5} {:>5} {:>7} {:>7}\n", "pages", "count", "credits", "min");
    for pool in control.routing().pools {
        let _ = writeln!(
            text,
            "{:>5} {:>5} {:>7} {:>7}",
            pool.pages, pool.buffers, pool.credits, pool.min_credits
        );
    }
    text
}

fn nis<C: Control>(control: &C) -> String {
    let mut text = format!(
        "{:<24} {:>6} {:>5} {:>4} {:>4} {:>4} {:>5} {:>5} {:>5}\n",
        "nid", "status", "alive", "refs", "peer", "rtr", "max", "tx", "min"
    );
    let routes = control.routing().state != RoutingState::Disabled;
    for net in control.nets() {
        for ni in &net.nis {
            text.push_str(&ni_line(ni, routes));
        }
    }
    text
}

fn ni_line(ni: &NiStatus, routes: bool) -> String {
    let nid = format!("{}", ni.nid);
    let alive = match (&ni.tunables, routes, ni.last_alive) {
        (None, ..) => 0,
        (Some(_), true, Some(span)) => seconds(span),
        _ => -1,
    };
    let (peer, rtr) = ni.tunables.map_or((0, 0), |tunables| {
        let own = tunables.peer_buffer_credits;
        (tunables.peer_credits, if own > 0 { own } else { tunables.peer_credits })
    });
    let CreditStatus { max, available, min } = ni.tx;
    format!(
        "{nid:<24} {:>6} {alive:>5} {:>4} {peer:>4} {rtr:>4} {max:>5} {available:>5} {min:>5}\n",
        if ni.up { "up" } else { "down" },
        ni.peers + 1
    )
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    fn cat(path: &str) -> String {
        super::cat(&*Fake::up(), &[path])
    }

    #[test]
    fn stats() {
        assert_eq!(cat("/sys/kernel/debug/lnet/stats"), "3 40 0 100 200 5000 7 1000 2000 1073741824 70\n");
        assert_eq!(cat("/proc/sys/lnet/stats"), cat("stats"));
    }

    #[test]
    fn routes() {
        let expected = "\
Routing enabled
net      hops priority   state router
tcp3       -1        0      up 10.2.0.9@tcp1
o2ib        2        1    down 10.1.0.9@tcp
";
        assert_eq!(cat("routes"), expected);
    }

    #[test]
    fn routers() {
        let expected = "\
ref  rtr_ref alive router
2          1    up 10.2.0.9@tcp1
2          1  down 10.1.0.9@tcp
";
        assert_eq!(cat("routers"), expected);
    }

    #[test]
    fn peers() {
        let expected = "\
nid                      refs state  last   max   rtr   min    tx   min queue
10.1.0.2@tcp                3    up     7     8     8     7     6    -2 144
10.2.0.2@tcp1               3  down     7     8     8     7     6    -2 144
10.1.0.3@tcp                3    NA    -1     8     8     7     6    -2 144
";
        assert_eq!(cat("peers"), expected);
    }

    #[test]
    fn buffers() {
        let expected = "\
pages count credits     min
    0  2048    2048    2040
    1 16384   16000   15000
  256  1024      -3      -7
";
        assert_eq!(cat("buffers"), expected);
    }

    #[test]
    fn nis() {
        let expected = "\
nid                      status alive refs peer  rtr   max    tx   min
0@lo                         up     0    1    0    0     0     0     0
10.1.0.1@tcp                 up    12    3    8    8   256   250   200
10.2.0.1@tcp1              down    12    3    8    8   256   250   200
";
        assert_eq!(cat("nis"), expected);
    }

    #[test]
    fn others() {
        assert_eq!(cat("lnet_lnd_timeout"), "50\n");
        assert!(cat("/etc/passwd").contains("no such file; there is /sys/kernel/debug/lnet/ with stats"));
        assert!(super::cat(&*Fake::down(), &["stats"]).contains("not up"));
        assert!(super::cat(&*Fake::up(), &[]).contains("nis"));
    }
}
