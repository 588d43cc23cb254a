//! The command `ethtool`, as far as an appliance needs it: what a device is, does and counts, in ethtool(8)'s words.

use super::find;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;
use keelson_hal::{Link, LinkSpeed, NetFeatures};
use keelson_net::{InterfaceStatus, Stack};

const USAGE: &str = "\
ethtool DEV      link and speed
ethtool -i DEV   driver and place
ethtool -k DEV   work that it takes off the stack
ethtool -g DEV   ring sizes
ethtool -S DEV   counters of driver and device
";

/// Names of features as `ethtool -k` has them.
const FEATURES: [(&str, NetFeatures); 5] = [
    ("rx-checksumming", NetFeatures::RX_CHECKSUM),
    ("tx-checksumming", NetFeatures::TX_CHECKSUM),
    ("tx-tcp-segmentation", NetFeatures::TSO4),
    ("tx-tcp6-segmentation", NetFeatures::TSO6),
    ("large-receive-offload", NetFeatures::LRO),
];

/// Runs `ethtool` with these words.
pub fn ethtool(stack: &Stack, words: &[&str]) -> String {
    run(stack, words).unwrap_or_else(|complaint| complaint)
}

fn run(stack: &Stack, words: &[&str]) -> Result<String, String> {
    let (show, name): (fn(&Stack, &InterfaceStatus) -> String, _) = match words {
        ["-i" | "--driver", name] => (|_, status| driver(status), name),
        ["-k" | "--show-features" | "--show-offload", name] => (|_, status| features(status), name),
        ["-g" | "--show-ring", name] => (|_, status| rings(status), name),
        ["-S" | "--statistics", name] => (statistics, name),
        [name] if !name.starts_with('-') => (|_, status| settings(status), name),
        _ => return Err(USAGE.to_string()),
    };
    let id = find(stack, name)?;
    let status = stack.interfaces().into_iter().find(|status| status.id == id);
    // It was there a moment ago.
    Ok(status.map_or_else(String::new, |status| show(stack, &status)))
}

fn settings(status: &InterfaceStatus) -> String {
    let (speed, detected) = match status.link {
        Link::Down => ("Unknown!".to_string(), "no"),
        Link::Up(LinkSpeed(0)) => ("Unknown!".to_string(), "yes"),
        Link::Up(LinkSpeed(mbits)) => (format!("{mbits}Mb/s"), "yes"),
    };
    format!("Settings for {}:\n\tSpeed: {speed}\n\tLink detected: {detected}\n", status.name)
}

fn driver(status: &InterfaceStatus) -> String {
    format!(
        "driver: {}\nversion: {}\nbus-info: {}\n",
        status.driver,
        env!("CARGO_PKG_VERSION"),
        status.bus_info
    )
}

fn features(status: &InterfaceStatus) -> String {
    let mut text = format!("Features for {}:\n", status.name);
    for (name, feature) in FEATURES {
        let state = if status.features.contains(feature) { "on" } else { "off" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}: {state} [fixed]");
    }
    text
}

fn rings(status: &InterfaceStatus) -> String {
    let (rx, tx) = status.rings;
    format!("Ring parameters for {}:\nRX:\t{rx}\nTX:\t{tx}\n", status.name)
}

fn statistics(stack: &Stack, status: &InterfaceStatus) -> String {
    let c = &status.counters;
    let drivers = [
        ("rx_packets", c.rx_packets),
        ("tx_packets", c.tx_packets),
        ("rx_bytes", c.rx_bytes),
        ("tx_bytes", c.tx_bytes),
        ("rx_errors", c.rx_errors),
        ("rx_dropped", c.rx_dropped),
        ("tx_dropped", c.tx_dropped),
        ("tx_tso_packets", c.tx_tso_packets),
        ("doorbells", c.doorbells),
        ("interrupts", c.interrupts),
    ];
    let mut text = String::from("NIC statistics:\n");
    for (name, value) in drivers.into_iter().chain(stack.device_statistics(status.id)) {
        let _ = writeln!(text, "     {name}: {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::time::Duration;
    use keelson_net::UdpOptions;
    use keelson_net_sim::{Faults, Lab};

    fn typed(stack: &Stack, line: &str) -> String {
        ethtool(stack, &line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn what_is_shown() {
        let lab = Lab::new(1, Faults::default());
        let (stack, id) = lab.host("10.0.0.1/24", NetFeatures::TX_CHECKSUM);
        stack.set_bus_info(id, "0000:00:02.0".into());
        assert_eq!(typed(&stack, "eth0"), "Settings for eth0:\n\tSpeed: 1000Mb/s\n\tLink detected: yes\n");
        assert!(typed(&stack, "-i eth0").ends_with("\nbus-info: 0000:00:02.0\n"));
        let features = typed(&stack, "-k eth0");
        assert!(features.contains("\ntx-checksumming: on [fixed]\ntx-tcp-segmentation: off"), "{features}");
        assert!(typed(&stack, "-g eth0").starts_with("Ring parameters for eth0:\nRX:\t"));
        let socket = stack.bind_udp(0, UdpOptions::default()).unwrap();
        socket.send(None, "10.0.0.255:7".parse().unwrap(), b"?").unwrap();
        lab.run_for(Duration::from_millis(10));
        assert!(typed(&stack, "-S eth0").contains("     tx_packets: "));
        assert!(!typed(&stack, "-S eth0").contains("     tx_packets: 0\n"));
    }

    #[test]
    fn mistakes_are_named() {
        let lab = Lab::new(1, Faults::default());
        let (stack, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
        assert_eq!(typed(&stack, "eth7"), "eth7: no such interface; there is eth0\n");
        for line in ["", "-S", "-x eth0", "eth0 eth1"] {
            assert_eq!(typed(&stack, line), USAGE, "{line:?}");
        }
    }
}
