//! What the network counts, as metrics, and whether it is there.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use keelson_hal::{Link, LinkSpeed, NetCounters};
use keelson_net::{InterfaceStatus, Stack};
use keelson_ops::metrics::{Exposition, Kind, Value};

/// Bytes per second of a link of 1 Mbit/s.
const MBIT: u64 = 1_000_000 / 8;

/// Name, meaning and place of a counter of an interface.
type Counter = (&'static str, &'static str, fn(&NetCounters) -> u64);

/// Counters of an interface; the first under the names of Prometheus' node_exporter, which mean the same there.
const COUNTERS: [Counter; 10] = [
    ("node_network_receive_bytes_total", "Bytes received.", |c| c.rx_bytes),
    ("node_network_receive_packets_total", "Frames received.", |c| c.rx_packets),
    ("node_network_receive_drop_total", "Frames that the device or its driver had no buffer for.", |c| {
        c.rx_dropped
    }),
    ("node_network_receive_errs_total", "Frames dropped for errors.", |c| c.rx_errors),
    ("node_network_transmit_bytes_total", "Bytes sent.", |c| c.tx_bytes),
    ("node_network_transmit_packets_total", "Frames sent.", |c| c.tx_packets),
    ("node_network_transmit_drop_total", "Frames that the device had no room for, or could not send.", |c| {
        c.tx_dropped
    }),
    ("keelson_interface_tso_packets_total", "Frames sent that the device had to cut into segments.", |c| {
        c.tx_tso_packets
    }),
    ("keelson_interface_doorbells_total", "Times the device was told of work.", |c| c.doorbells),
    ("keelson_interface_interrupts_total", "Interrupts that woke the interface's task.", |c| c.interrupts),
];

/// The source of what the network counts.
pub(super) fn source(stack: &Stack) -> impl Fn(&mut Exposition) + 'static {
    let stack = stack.clone();
    move |to: &mut Exposition| {
        interfaces(to, &stack.interfaces());
        stack.counters().for_each(|name, help, value| {
            to.counter(format_args!("keelson_net_{name}_total"), help, value);
        });
        let help = "TCP connections, by state as ss(8) names it.";
        let mut family = to.family("keelson_tcp_connections", Kind::Gauge, help);
        for (state, count) in stack.tcp_states() {
            family.sample(&[("state", state)], count);
        }
    }
}

fn interfaces(to: &mut Exposition, interfaces: &[InterfaceStatus]) {
    let mut family = to.family("keelson_interface_info", Kind::Gauge, "The interfaces; always 1.");
    for status in interfaces {
        let mac = format!("{}", status.mac);
        family.sample(&[("device", &status.name), ("driver", status.driver), ("address", &mac)], 1_u64);
    }
    type Show = fn(&InterfaceStatus) -> Option<Value>;
    let gauges: [(&str, &str, Show); 4] = [
        ("node_network_up", "1 while the interface is set up and has a link.", |status| {
            Some((status.up && status.link != Link::Down).into())
        }),
        ("node_network_mtu_bytes", "The largest IP packet.", |status| Some(status.mtu.into())),
        (
            "node_network_speed_bytes",
            "Speed of the link in bytes per second, where the device says it.",
            speed,
        ),
        ("keelson_interface_addresses", "IP addresses, link-local ones included.", |status| {
            Some(status.addresses.len().into())
        }),
    ];
    for (name, help, show) in gauges {
        let mut family = to.family(name, Kind::Gauge, help);
        for status in interfaces {
            if let Some(value) = show(status) {
                family.sample(&[("device", &status.name)], value);
            }
        }
    }
    for (name, help, count) in COUNTERS {
        let mut family = to.family(name, Kind::Counter, help);
        for status in interfaces {
            family.sample(&[("device", &status.name)], count(&status.counters));
        }
    }
}

fn speed(status: &InterfaceStatus) -> Option<Value> {
    match status.link {
        Link::Up(LinkSpeed(mbits @ 1..)) => Some((u64::from(mbits) * MBIT).into()),
        Link::Up(_) | Link::Down => None,
    }
}

/// Whether each interface that is in use has its link, and one is in use.
pub(super) fn check(stack: &Stack) -> impl Fn() -> Result<(), String> + 'static {
    let stack = stack.clone();
    move || judge(&stack.interfaces())
}

/// An interface with an address is in use: one that loses its link is missed, a socket without a cable is not.
fn judge(interfaces: &[InterfaceStatus]) -> Result<(), String> {
    if interfaces.is_empty() {
        return Err(String::from(
            "no network device that a driver here knows; attach virtio-net, e1000, e1000e or igb",
        ));
    }
    let has_address = |status: &&InterfaceStatus| {
        status.addresses.iter().any(|cidr| match cidr.addr {
            IpAddr::V4(address) => !address.is_link_local(),
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        })
    };
    let used: Vec<_> = interfaces.iter().filter(|status| status.up).filter(has_address).collect();
    if let Some(lost) = used.iter().find(|status| status.link == Link::Down) {
        return Err(format!("{} has no link; look at its cable and the switch's port", lost.name));
    }
    if !used.is_empty() {
        return Ok(());
    }
    let status = interfaces.iter().find(|status| status.link != Link::Down && status.up);
    Err(match status {
        None => String::from("no interface has a link; look at cables and the switch's ports"),
        Some(status) if status.dhcp => {
            format!("{} has no address yet; is there a DHCP server on its network?", status.name)
        }
        Some(status) => format!("{} has no address; boot with ip=dhcp or give it one", status.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_hal::NetFeatures;
    use keelson_net_sim::{Faults, Lab};

    #[test]
    fn links_and_addresses_are_what_health_is_about() {
        assert!(judge(&[]).unwrap_err().starts_with("no network device"));
        let lab = Lab::new(1, Faults::default());
        let (stack, id) = lab.host("10.0.0.1/24", NetFeatures::empty());
        assert_eq!(check(&stack)(), Ok(()));
        let used = stack.interfaces().remove(0);
        let without = |change: fn(&mut InterfaceStatus)| {
            let mut other = InterfaceStatus { name: String::from("eth1"), ..used.clone() };
            change(&mut other);
            other
        };
        let unlinked = without(|status| status.link = Link::Down);
        let why = "eth1 has no link; look at its cable and the switch's port";
        assert_eq!(judge(&[used.clone(), unlinked.clone()]), Err(String::from(why)));
        // Nobody misses a socket that was never in use, or what the operator set down.
        let unused = InterfaceStatus { addresses: Vec::new(), ..unlinked.clone() };
        let set_down = InterfaceStatus { up: false, ..unlinked };
        assert_eq!(judge(&[used.clone(), unused.clone(), set_down]), Ok(()));
        assert!(judge(&[unused]).unwrap_err().starts_with("no interface has a link"));
        stack.remove_address(id, "10.0.0.1/24".parse().unwrap());
        // Its link-local address does not count.
        assert_eq!(
            check(&stack)(),
            Err(String::from("eth0 has no address; boot with ip=dhcp or give it one"))
        );
        let asking = without(|status| (status.dhcp, status.addresses) = (true, Vec::new()));
        assert!(judge(&[asking]).unwrap_err().contains("DHCP server"));
    }
}
