//! What administrators write.

use super::*;
use proptest::prelude::*;

fn cidr(text: &str) -> Option<Cidr> {
    Some(text.parse().unwrap())
}

#[test]
fn the_forms_of_linux() {
    let full = "10.0.0.5:10.0.0.1:10.0.0.254:255.255.255.0:nfs1:eth1:off:10.0.0.53:10.0.0.54:10.0.0.123";
    let option = IpOption::parse(full).unwrap();
    assert_eq!(option.address, cidr("10.0.0.5/24"));
    assert_eq!(option.gateway, Some([10, 0, 0, 254].into()));
    assert_eq!((option.hostname.as_deref(), option.device.as_deref()), (Some("nfs1"), Some("eth1")));
    assert_eq!(option.nameservers.len(), 2);
    assert_eq!((option.autoconf, option.ntp), (Autoconf::Off, Some([10, 0, 0, 123].into())));

    for dhcp in ["dhcp", "on", "any", "::::::dhcp"] {
        let option = IpOption::parse(dhcp).unwrap();
        assert_eq!((option.autoconf, option.device), (Autoconf::Dhcp, None), "{dhcp}");
    }
    for dhcp in ["eth0:dhcp", ":::::eth0:dhcp", ":::::eth0"] {
        let option = IpOption::parse(dhcp).unwrap();
        assert_eq!((option.autoconf, option.device.as_deref()), (Autoconf::Dhcp, Some("eth0")), "{dhcp}");
    }
    let six = IpOption::parse("[2001:db8::1]::[2001:db8::fe]:64::eth0:off").unwrap();
    assert_eq!((six.address, six.gateway), (cidr("2001:db8::1/64"), "2001:db8::fe".parse().ok()));
    assert_eq!(IpOption::parse("192.168.1.9").unwrap().address, cidr("192.168.1.9/24"));
}

#[test]
fn the_short_forms() {
    let option = IpOption::parse("10.1.0.1/24:eth0").unwrap();
    assert_eq!((option.address, option.device.as_deref()), (cidr("10.1.0.1/24"), Some("eth0")));
    assert_eq!(IpOption::parse("[fd00::1]/64").unwrap().address, cidr("fd00::1/64"));
}

#[test]
fn errors_name_field_value_and_remedy() {
    let say = |text: &str| alloc::format!("{}", IpOption::parse(text).unwrap_err());
    assert_eq!(
        say("10.0.0.5:::255.0.255.0::eth0:off"),
        "netmask \"255.0.255.0\" is not a netmask like 255.255.255.0 or a prefix length"
    );
    assert!(say("10.0.0.300::::::off").starts_with("client address \"10.0.0.300\""));
    assert!(say("10.0.0.3/40").starts_with("address \"10.0.0.3/40\""));
    assert!(say("bootp").contains("dhcp, on, any, off"));
    assert!(say("10.0.0.1::::::sometimes").starts_with("autoconf"));
    assert!(say("224.0.0.1/24:eth0").contains("an interface can have"));
    assert!(say("[::1").contains("brackets"));
}

#[test]
fn options_find_their_interfaces() {
    let mut config = NetworkConfig::default();
    for (key, value) in [
        ("ip", "10.1.0.1/24:eth0"),
        ("ip", "10.2.0.1/24:eth1"),
        ("ip", "dhcp"),
        ("gw", "10.2.0.254"),
        ("mtu", "eth1:9000"),
        ("nameserver", "10.1.0.53"),
        ("hostname", "nfs1"),
    ] {
        assert_eq!(config.set(key, value), Ok(true));
    }
    assert_eq!(config.set("quiet", ""), Ok(false));
    let eth0 = config.interface(0, "eth0").unwrap();
    let eth1 = config.interface(1, "eth1").unwrap();
    let eth2 = config.interface(2, "eth2").unwrap();
    assert_eq!((eth0.dhcp, eth0.gateways.len(), eth0.mtu), (false, 0, None));
    assert_eq!((eth1.dhcp, eth1.gateways.len(), eth1.mtu), (false, 1, Some(9000)));
    assert!(eth2.dhcp && eth2.addresses.is_empty());
    assert_eq!(eth0.hostname.as_deref(), Some("nfs1"));
    assert_eq!(config.unknown_devices(|name| name == "eth0"), ["eth1", "eth1"]);
    assert!(config.set("mtu", "eth0:12").is_err());
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "[0-9a-f:./\\[\\]ehtdcp]{0,60}") {
        let _ = IpOption::parse(&text);
    }

    #[test]
    fn every_address_is_read_back(octets in any::<[u8; 4]>(), prefix in 0u8..=32) {
        let addr = core::net::Ipv4Addr::from(octets);
        prop_assume!(crate::addr::is_host(addr.into()));
        let text = alloc::format!("{addr}:::{prefix}::eth0:off");
        prop_assert_eq!(IpOption::parse(&text).unwrap().address, Cidr::new(addr.into(), prefix));
    }
}
