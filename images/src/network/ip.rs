//! The command `ip`, as far as an appliance needs it: ip(8)'s words, its short forms included.

use super::find;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;
use keelson_hal::Link;
use keelson_net::{Cidr, InterfaceStatus, Stack};

const USAGE: &str = "\
ip                                     interfaces with addresses and counters
ip [-s] addr|link [show] [[dev] DEV]   addresses; links; -s adds counters
ip route [show]                        routes
ip neigh [show]                        neighbours
ip link set [dev] DEV up|down          set an interface up or down
ip link set [dev] DEV mtu BYTES        set its largest packet
ip addr add|del ADDR/PREFIX dev DEV    give it an address, or take it
";

/// Runs `ip` with these words.
pub fn ip(stack: &Stack, words: &[&str]) -> String {
    run(stack, words).unwrap_or_else(|complaint| complaint)
}

fn run(stack: &Stack, words: &[&str]) -> Result<String, String> {
    let (counters, words) = match words {
        [] => return show(stack, None, Parts { addresses: true, counters: true }),
        ["-s", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (object, rest) = words.split_first().ok_or(USAGE)?;
    let object = ["addr", "link", "route", "neigh"]
        .into_iter()
        .find(|known| known.starts_with(object) || (*known == "addr" && *object == "address"))
        .ok_or(USAGE)?;
    match (object, rest) {
        ("link", ["set", "dev", name, change @ ..] | ["set", name, change @ ..]) => {
            set_link(stack, name, change)
        }
        ("addr", [verb @ ("add" | "del"), address, "dev", name]) => {
            change_address(stack, verb, address, name)
        }
        ("addr" | "link", []) => show(stack, None, Parts { addresses: object == "addr", counters }),
        ("addr" | "link", ["show"]) => show(stack, None, Parts { addresses: object == "addr", counters }),
        ("addr" | "link", ["show", "dev", name] | ["show", name] | ["dev", name]) => {
            show(stack, Some(name), Parts { addresses: object == "addr", counters })
        }
        ("route", [] | ["show"]) => Ok(routes(stack)),
        ("neigh", [] | ["show"]) => Ok(neighbours(stack)),
        _ => Err(USAGE.to_string()),
    }
}

fn set_link(stack: &Stack, name: &str, change: &[&str]) -> Result<String, String> {
    let id = find(stack, name)?;
    let outcome = match change {
        [state @ ("up" | "down")] => {
            log::info!(target: "net", "{name}: set {state} by the operator");
            stack.set_up(id, *state == "up")
        }
        ["mtu", bytes] => {
            let bytes = bytes.parse().map_err(|_| format!("mtu {bytes} is not a number of bytes\n"))?;
            stack.set_mtu(id, bytes)
        }
        _ => return Err(USAGE.to_string()),
    };
    outcome.map(|()| String::new()).map_err(|error| format!("{name}: {error}\n"))
}

fn change_address(stack: &Stack, verb: &str, address: &str, name: &str) -> Result<String, String> {
    let id = find(stack, name)?;
    let cidr: Cidr = address.parse().map_err(|_| format!("{address} is not ADDRESS/PREFIX\n"))?;
    let known = stack.interfaces().iter().any(|status| status.id == id && status.addresses.contains(&cidr));
    match (verb, known) {
        ("add", true) => Err(format!("{name} has {cidr} already\n")),
        ("add", false) => {
            stack.add_address(id, cidr).map(|()| String::new()).map_err(|error| format!("{name}: {error}\n"))
        }
        (_, true) => {
            stack.remove_address(id, cidr);
            Ok(String::new())
        }
        (_, false) => Err(format!("{name} does not have {cidr}\n")),
    }
}

/// What to show of an interface besides its state.
#[derive(Clone, Copy)]
struct Parts {
    addresses: bool,
    counters: bool,
}

fn show(stack: &Stack, name: Option<&str>, parts: Parts) -> Result<String, String> {
    let only = name.map(|name| find(stack, name)).transpose()?;
    let mut text = String::new();
    for status in stack.interfaces().iter().filter(|status| only.is_none_or(|only| only == status.id)) {
        // Writing to a String cannot fail.
        let _ = show_one(&mut text, status, parts);
    }
    Ok(text)
}

fn show_one(text: &mut String, status: &InterfaceStatus, parts: Parts) -> core::fmt::Result {
    let state = if status.up { "UP" } else { "DOWN" };
    let carrier = if status.link == Link::Down { "NO-CARRIER" } else { "LOWER_UP" };
    writeln!(text, "{}: <{state},{carrier}> mtu {} {}", status.name, status.mtu, status.driver)?;
    writeln!(text, "    link/ether {}", status.mac)?;
    for cidr in status.addresses.iter().filter(|_| parts.addresses) {
        let family = if cidr.addr.is_ipv4() { "inet" } else { "inet6" };
        writeln!(text, "    {family} {cidr}")?;
    }
    if !parts.counters {
        return Ok(());
    }
    let c = status.counters;
    writeln!(
        text,
        "    RX {} packets {} bytes, {} dropped, {} errors\n    TX {} packets {} bytes, {} dropped, {} TSO\n    \
         {} doorbells, {} interrupts",
        c.rx_packets,
        c.rx_bytes,
        c.rx_dropped,
        c.rx_errors,
        c.tx_packets,
        c.tx_bytes,
        c.tx_dropped,
        c.tx_tso_packets,
        c.doorbells,
        c.interrupts
    )
}

/// Connected networks first, then routes.
fn routes(stack: &Stack) -> String {
    let mut text = String::new();
    let interfaces = stack.interfaces();
    for status in &interfaces {
        for cidr in &status.addresses {
            let down = if status.up && status.link != Link::Down { "" } else { " linkdown" };
            let _ = writeln!(text, "{} dev {} src {}{down}", cidr.network(), status.name, cidr.addr);
        }
    }
    for route in stack.routes() {
        let name = interfaces.iter().find(|status| status.id == route.interface).map_or("?", |s| &s.name);
        let _ = match (route.to.prefix, route.via) {
            (0, Some(router)) => writeln!(text, "default via {router} dev {name}"),
            (_, Some(router)) => writeln!(text, "{} via {router} dev {name}", route.to),
            (_, None) => writeln!(text, "{} dev {name}", route.to),
        };
    }
    text
}

fn neighbours(stack: &Stack) -> String {
    let mut text = String::new();
    for status in stack.interfaces() {
        for (address, mac) in stack.neighbours(status.id) {
            let _ = writeln!(text, "{address} dev {} lladdr {mac}", status.name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::time::Duration;
    use keelson_hal::NetFeatures;
    use keelson_net::{Change, UdpOptions};
    use keelson_net_sim::{Faults, Lab};

    fn typed(stack: &Stack, line: &str) -> String {
        ip(stack, &line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn links_go_down_and_up_and_whoever_listens_hears_of_it() {
        let lab = Lab::new(1, Faults::default());
        let (stack, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
        let (other, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
        let mut events = stack.events();
        let receiver = other.bind_udp(7, UdpOptions::default()).unwrap();
        let sender = stack.bind_udp(0, UdpOptions::default()).unwrap();
        assert_eq!(typed(&stack, "link set eth0 down"), "");
        assert!(typed(&stack, "link").starts_with("eth0: <DOWN,LOWER_UP> mtu 1500"));
        assert_eq!(events.try_next().map(|event| event.change), Some(Change::Down));
        assert!(sender.send(None, "10.0.0.2:7".parse().unwrap(), b"?").is_err());
        assert_eq!(typed(&stack, "l set dev eth0 up"), "");
        assert_eq!(events.try_next().map(|event| event.change), Some(Change::Up));
        sender.send(None, "10.0.0.2:7".parse().unwrap(), b"!").unwrap();
        lab.run_for(Duration::from_millis(10));
        assert_eq!(lab.run(async move { receiver.receive().await.payload }), b"!");
        assert!(typed(&stack, "neigh").contains("10.0.0.2 dev eth0 lladdr 02:00:00:00:00:02"));
    }

    #[test]
    fn what_is_shown() {
        let lab = Lab::new(2, Faults::default());
        let (stack, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
        assert!(
            typed(&stack, "").contains("inet 10.0.0.1/24\n")
                && typed(&stack, "").contains("    RX 0 packets")
        );
        assert!(!typed(&stack, "link").contains("inet") && !typed(&stack, "a").contains("RX"));
        assert!(typed(&stack, "-s link show eth0").contains("RX"));
        assert!(typed(&stack, "r").contains("10.0.0.0/24 dev eth0 src 10.0.0.1\n"));
        assert_eq!(typed(&stack, "link set eth0 mtu 9000"), "");
        assert!(typed(&stack, "address show dev eth0").contains("mtu 9000"));
    }

    #[test]
    fn addresses_come_and_go() {
        let lab = Lab::new(3, Faults::default());
        let (stack, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
        assert_eq!(typed(&stack, "addr add 10.1.0.1/16 dev eth0"), "");
        assert_eq!(typed(&stack, "addr add 10.1.0.1/16 dev eth0"), "eth0 has 10.1.0.1/16 already\n");
        assert!(typed(&stack, "addr").contains("inet 10.1.0.1/16"));
        assert_eq!(typed(&stack, "addr del 10.1.0.1/16 dev eth0"), "");
        assert_eq!(typed(&stack, "addr del 10.1.0.1/16 dev eth0"), "eth0 does not have 10.1.0.1/16\n");
    }

    #[test]
    fn mistakes_are_named() {
        let lab = Lab::new(4, Faults::default());
        let (stack, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
        for (line, complaint) in [
            ("link set eth7 down", "eth7: no such interface; there is eth0\n"),
            ("link set eth0 mtu 12", "eth0: MTU 12 is not between 576 and 9000\n"),
            ("addr add 10.0.0.300/24 dev eth0", "10.0.0.300/24 is not ADDRESS/PREFIX\n"),
            ("addr add 224.0.0.1/24 dev eth0", "eth0: 224.0.0.1/24 is not an address for an interface\n"),
            ("link set eth0 sideways", USAGE),
            ("frob", USAGE),
            ("-s", USAGE),
        ] {
            assert_eq!(typed(&stack, line), complaint, "{line}");
        }
    }
}
