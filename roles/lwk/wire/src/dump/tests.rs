use super::layout::*;
use super::*;
use crate::bytes::{Malformed, Writer};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::collection::vec;
use proptest::prelude::*;

fn info() -> Info {
    Info {
        physical: 0x123_4000,
        image: 0xffff_ffff_8000_0000,
        image_physical: 0x10_0000,
        image_len: 0x40_0000,
        direct_map: 0xffff_8000_0000_0000,
        root: 0x20_0000,
        log: 0xffff_ffff_8030_0000,
        log_len: 65_536,
        log_position: 0xffff_ffff_8031_0000,
        tsc_hz: 2_500_000_000,
        booted: 1_700_000_000_000_000_000,
        stopped: 5_000_000_000,
        memory_end: 0x4000_0000,
        build: "0.1.0 (Nov 27 2026)".to_string(),
        panic: "panic: é (a.rs:7)".to_string(),
        kargs: "role=lwk cpus=1-3".to_string(),
        cores: (0..3)
            .map(|n| Core {
                state: if n == 2 { CoreState::Panicked } else { CoreState::Live },
                registers: core::array::from_fn(|r| n * 100 + r as u64),
                cr2: 0xdead_0000,
                cr3: 0x77_7000,
                pid: 41,
                tid: 42,
                per_cpu: 0xffff_ffff_8020_0000 + n,
            })
            .collect(),
        processes: (1..4)
            .map(|pid| Process { pid, root: 0x1000 * u64::from(pid), name: format!("p{pid}") })
            .collect(),
    }
}

#[test]
fn the_block_has_its_fields_where_the_table_says() {
    let bytes = info().encode();
    assert_eq!((bytes.len(), LEN), (26_624, 26_624));
    assert_eq!(&bytes[..8], b"KEELINFO");
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    for (at, value) in [
        (8, 26_624 << 32 | 1),
        (16, 0x123_4000),
        (24, 0xffff_ffff_8000_0000),
        (32, 0x10_0000),
        (48, 0xffff_8000_0000_0000),
        (56, 0x20_0000),
        (80, 0xffff_ffff_8031_0000),
        (112, 0x4000_0000),
        (120, 3),
        (2048 + 256, 1),
        (2048 + 256 + 8 + 8 * register::RIP, 116),
        (2048 + 256 + 232, 0x77_7000),
        (2048 + 256 + 240, 42 << 32 | 41),
        (18_432 + 32, 2),
        (18_432 + 32 + 8, 0x2000),
    ] {
        assert_eq!(word(at), value, "at {at}");
    }
    assert!(bytes[192..].starts_with("panic: é (a.rs:7)\0".as_bytes()));
    assert!(bytes[448..].starts_with(b"role=lwk cpus=1-3\0"));
    assert!(bytes[18_432 + 32 + 16..].starts_with(b"p2\0"));
}

#[test]
fn the_block_goes_there_and_back() {
    assert_eq!(Info::decode(&info().encode()), Ok(info()));
    let mut page = info().encode();
    page.resize(28_672, 0xff);
    assert_eq!(Info::decode(&page), Ok(info()));
    assert!(info().is_at(0x123_4000) && !info().is_at(0x123_5000));
}

#[test]
fn what_does_not_fit_into_the_block_is_left_out() {
    let mut large = info();
    large.panic = "é".repeat(300);
    large.cores = large.cores.iter().cycle().take(70).copied().collect();
    large.processes = large.processes.iter().cycle().take(300).cloned().collect();
    let small = Info::decode(&large.encode()).unwrap();
    assert_eq!(small.panic, "é".repeat(127));
    assert_eq!((small.cores.len(), small.processes.len()), (64, 256));
}

#[test]
fn a_wrong_block_is_refused() {
    let bytes = info().encode();
    assert_eq!(Info::decode(&bytes[..LEN - 1]), Err(Malformed::Short));
    for (at, byte) in [(0, b'k'), (8, 2), (12, 1), (16, 1), (33, 1), (2048, 3)] {
        let mut wrong = bytes.clone();
        wrong[at] = byte;
        assert_eq!(Info::decode(&wrong), Err(Malformed::Value), "at {at}");
    }
    let mut wrong = bytes.clone();
    wrong[120] = 65;
    assert_eq!(Info::decode(&wrong), Err(Malformed::Limit));
    // Cut in the middle of a character, and without a zero.
    let mut torn = bytes;
    torn[192..448].fill(0xc3);
    assert!(Info::decode(&torn).unwrap().panic.ends_with('\u{fffd}'));
}

fn encode(record: &DumpRecord<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.write(&mut Writer::new(&mut bytes));
    bytes
}

#[test]
fn records_go_there_and_back() {
    let page = [7; 8192];
    for record in [
        DumpRecord::Begin { level: Level::Kernel, version: STREAM_VERSION },
        DumpRecord::Info(&page),
        DumpRecord::Text { name: "ps".to_string(), text: "PID\n".to_string() },
        DumpRecord::Memory { physical: 0x1000, bytes: &page },
        DumpRecord::Zero { physical: 0x10_0000, len: 1 << 40 },
        DumpRecord::End { pages: 12 },
    ] {
        assert_eq!(DumpRecord::decode(&encode(&record)), Ok(record));
    }
}

#[test]
fn wrong_records_are_refused() {
    let wrong = |record| DumpRecord::decode(&encode(&record)).unwrap_err();
    let long = [0; MAX_MEMORY + 4096];
    assert_eq!(wrong(DumpRecord::Memory { physical: 0, bytes: &long }), Malformed::Limit);
    assert_eq!(wrong(DumpRecord::Memory { physical: 1, bytes: &long[..4096] }), Malformed::Value);
    assert_eq!(wrong(DumpRecord::Memory { physical: 0, bytes: &long[..4095] }), Malformed::Value);
    assert_eq!(wrong(DumpRecord::Memory { physical: 0, bytes: &[] }), Malformed::Value);
    assert_eq!(wrong(DumpRecord::Zero { physical: u64::MAX - 4095, len: 8192 }), Malformed::Value);
    let (name, text) = ("n".repeat(MAX_NAME + 1), String::new());
    assert_eq!(wrong(DumpRecord::Text { name, text }), Malformed::Limit);
    assert_eq!(DumpRecord::decode(&[0, 1, 1, 0, 0, 0]), Err(Malformed::Value), "no level 1");
    assert_eq!(DumpRecord::decode(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed::Long));
    assert_eq!(DumpRecord::decode(&[6]), Err(Malformed::Value));
    assert_eq!(DumpRecord::decode(&[]), Err(Malformed::Short));
}

proptest! {
    #[test]
    fn nothing_that_arrives_breaks_the_decoders(
        mut bytes in vec(any::<u8>(), 0..LEN + 100),
        record in vec(any::<u8>(), 0..600),
        kind in 0u8..7,
    ) {
        let _ = Info::decode(&bytes);
        if bytes.len() > 128 {
            bytes[..16].copy_from_slice(&info().encode()[..16]);
            bytes[120..124].copy_from_slice(&3u32.to_le_bytes());
            let _ = Info::decode(&bytes);
        }
        let mut record = record;
        record.insert(0, kind);
        if let Ok(record) = DumpRecord::decode(&record) {
            let again = encode(&record);
            prop_assert_eq!(DumpRecord::decode(&again), Ok(record));
        }
    }
}
