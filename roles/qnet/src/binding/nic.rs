//! What is known of a NIC, as `nicinfo` prints it (section 17).

use crate::io::{NicErrors, NicInfo};
use alloc::format;
use alloc::string::{String, ToString};
use keelson_hal::{Link, LinkSpeed};
use keelson_net::{InterfaceId, InterfaceStatus, Stack};
use keelson_qnet_wire::Mac;

/// Ethernet header before the MTU.
const ETHERNET_HEADER: usize = 14;

/// The text of an interface; empty when it is gone.
pub(super) fn text(stack: &Stack, name: &str, id: InterfaceId) -> String {
    let status = stack.interfaces().into_iter().find(|status| status.id == id);
    status.map(|status| info(name, &status).to_string()).unwrap_or_default()
}

fn info(name: &str, status: &InterfaceStatus) -> NicInfo {
    let counters = status.counters;
    let rate_mbps = match status.link {
        Link::Up(LinkSpeed(rate)) => rate,
        Link::Down => 0,
    };
    let errors = NicErrors {
        crc: counters.rx_errors,
        dropped: counters.rx_dropped,
        no_carrier: u64::from(status.link == Link::Down),
        ..NicErrors::default()
    };
    let mac = Mac(status.mac.0);
    NicInfo {
        name: name.into(),
        description: format!(
            "Keelson {} Ethernet controller ({})",
            status.driver,
            driver_object(status.driver)
        ),
        permanent: mac,
        current: mac,
        rate_mbps,
        interface_type: status.driver.into(),
        frame_max: u32::try_from(status.mtu + ETHERNET_HEADER).unwrap_or(u32::MAX),
        has_multicast: true,
        tx_packets: counters.tx_packets,
        tx_bytes: counters.tx_bytes,
        tx_no_memory: counters.tx_dropped,
        rx_packets: counters.rx_packets,
        rx_bytes: counters.rx_bytes,
        rx_no_memory: counters.rx_dropped,
        errors,
        ..NicInfo::default()
    }
}

/// The name of a driver as a module: `virtio_net` is `devn-virtio.so`.
pub fn driver_object(driver: &str) -> String {
    format!("devn-{}.so", driver.strip_suffix("_net").unwrap_or(driver))
}
