//! Names on the wire.

use super::*;
use proptest::prelude::*;

/// A header, the question for `name`, then `records`.
fn answer(id: u16, flags: u16, name: &[u8], kind: u16, count: u16, records: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [id, flags, 1, count, 0, 0] {
        bytes.extend_from_slice(&u16::to_be_bytes(field));
    }
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes.extend_from_slice(records);
    bytes
}

fn record(kind: u8, data: &[u8]) -> Vec<u8> {
    // The owner is a pointer to the question's name at offset 12.
    let mut bytes = vec![0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8];
    bytes.extend_from_slice(data);
    bytes
}

#[test]
fn addresses_come_through_aliases() {
    let name = encode_name("nfs.example.org").unwrap();
    let alias = encode_name("host.example.org").unwrap();
    let mut records = record(5, &alias);
    let mut a = alias.clone();
    a.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 9]);
    records.extend_from_slice(&a);
    let bytes = answer(7, 0x8180, &name, 1, 2, &records);
    let found = parse(&bytes, 7, &name, DnsQueryType::A).unwrap().unwrap();
    assert_eq!(found.addresses, [IpAddr::from([10, 0, 0, 9])]);
    assert_eq!(parse(&bytes, 8, &name, DnsQueryType::A), None, "another question's number");
    assert_eq!(parse(&bytes, 7, &alias, DnsQueryType::A), None, "another question");
}

#[test]
fn reverse_names_and_failures() {
    assert_eq!(reverse_name([10, 1, 2, 3].into()), "3.2.1.10.in-addr.arpa");
    assert!(reverse_name("2001:db8::1".parse().unwrap()).starts_with("1.0.0.0."));
    let name = encode_name("3.2.1.10.in-addr.arpa").unwrap();
    let bytes = answer(7, 0x8180, &name, 12, 1, &record(12, &encode_name("client.lab").unwrap()));
    let found = parse(&bytes, 7, &name, DnsQueryType::Unknown(12)).unwrap().unwrap();
    assert_eq!(found.name.as_deref(), Some("client.lab"));
    let missing = answer(7, 0x8183, &name, 12, 0, &[]);
    assert_eq!(parse(&missing, 7, &name, DnsQueryType::Unknown(12)), Some(Err(ResolveError::NotFound)));
    assert!(encode_name("a..b").is_none() && encode_name("spa ce").is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let name = encode_name("a.b").unwrap();
        let _ = parse(&bytes, 7, &name, DnsQueryType::A);
    }

    #[test]
    fn any_records_are_survived(records in prop::collection::vec(any::<u8>(), 0..400), count in 0u16..50) {
        let name = encode_name("a.b").unwrap();
        let _ = parse(&answer(7, 0x8180, &name, 1, count, &records), 7, &name, DnsQueryType::A);
    }
}
