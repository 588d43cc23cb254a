use super::*;
use crate::acpi::Header;
use crate::acpi::Table;
use proptest::prelude::*;

const GIB: u64 = 1 << 30;

/// A table around a body, for parsers that find nothing wrong with its header.
fn table(signature: &[u8; 4], body: &[u8]) -> Table<'static> {
    let bytes: &'static [u8] = [&[0; 36][..], body].concat().leak();
    let header = Header { signature: *signature, len: bytes.len() as u32, revision: 3, oem: [0; 6] };
    Table { header, phys: 0, bytes }
}

fn processor(apic: u8, domain: u8) -> Vec<u8, 40> {
    let mut entry = Vec::new();
    entry.extend_from_slice(&[0, 16, domain, apic, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    entry
}

fn memory(range: Range<u64>, domain: u32) -> Vec<u8, 40> {
    let mut entry = Vec::from_slice(&[1, 40]).unwrap();
    entry.extend_from_slice(&domain.to_le_bytes()).unwrap();
    entry.extend_from_slice(&[0; 2]).unwrap();
    entry.extend_from_slice(&range.start.to_le_bytes()).unwrap();
    entry.extend_from_slice(&(range.end - range.start).to_le_bytes()).unwrap();
    entry.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    entry
}

fn read(entries: &[Vec<u8, 40>], slit: Option<(u64, &[u8])>) -> Result<Topology, TopologyError> {
    let entries: std::vec::Vec<u8> = entries.iter().flatten().copied().collect();
    let srat = Srat::new(table(b"SRAT", &[&[0; 12][..], &entries].concat()));
    let slit = slit.map(|(rows, matrix)| table(b"SLIT", &[&rows.to_le_bytes()[..], matrix].concat()));
    Topology::read(&srat, slit.and_then(Slit::parse).as_ref())
}

#[test]
fn nodes_are_numbered_as_linux_does() {
    // Processors first, in the order of the table; the numbers of the domains mean nothing.
    let entries = [
        memory(8 * GIB..9 * GIB, 7),
        processor(4, 5),
        processor(0, 3),
        processor(5, 5),
        memory(0..GIB, 3),
        memory(GIB..2 * GIB, 5),
    ];
    let topology = read(&entries, None).unwrap();
    assert_eq!(topology.nodes(), 3);
    assert_eq!([5, 3, 7, 0].map(|domain| topology.node_of_domain(domain)), [Some(0), Some(1), Some(2), None]);
    assert_eq!([0, GIB, 8 * GIB].map(|at| topology.node_of_memory(at)), [1, 0, 2]);
    assert_eq!([topology.distance(0, 0), topology.distance(0, 2)], [10, 20]);
}

#[test]
fn a_machine_of_which_nothing_is_known_is_one_node() {
    for topology in [Topology::one(), read(&[], None).unwrap()] {
        assert_eq!((topology.nodes(), topology.node_of_memory(u64::MAX)), (1, 0));
        assert_eq!(topology.nearest(5).collect::<std::vec::Vec<_>>(), [0]);
        assert_eq!(topology.pieces(0..GIB).collect::<std::vec::Vec<_>>(), [(0..GIB, 0)]);
    }
}

#[test]
fn ranges_are_cut_where_another_node_begins() {
    let entries = [
        memory(0..0xa_0000, 0),
        memory(0x10_0000..GIB, 0),
        memory(GIB..2 * GIB, 1),
        memory(4 * GIB..5 * GIB, 1),
    ];
    let topology = read(&entries, None).unwrap();
    assert_eq!(
        topology.pieces(0x9_0000..6 * GIB).collect::<std::vec::Vec<_>>(),
        [
            (0x9_0000..0xa_0000, 0),
            // Nobody's is the first node's.
            (0xa_0000..0x10_0000, 0),
            (0x10_0000..GIB, 0),
            (GIB..2 * GIB, 1),
            (2 * GIB..4 * GIB, 0),
            (4 * GIB..5 * GIB, 1),
            (5 * GIB..6 * GIB, 0),
        ]
    );
    // A page belongs to one node only.
    let entries = [memory(0..0x1800, 0), memory(0x1800..0x4000, 1)];
    assert_eq!(read(&entries, None).unwrap().pieces(0..0x4000).count(), 2);
    assert_eq!(read(&entries, None).unwrap().node_of_memory(0x1000), 1);
}

#[test]
fn the_nearest_come_first() {
    let entries: std::vec::Vec<_> = (0..4u8).map(|node| processor(node, node)).collect();
    let matrix = [10, 31, 21, 21, 31, 10, 21, 21, 21, 21, 10, 31, 21, 21, 31, 10];
    let topology = read(&entries, Some((4, &matrix))).unwrap();
    let nearest = |from| topology.nearest(from).collect::<std::vec::Vec<_>>();
    assert_eq!(nearest(0), [0, 2, 3, 1]);
    assert_eq!(nearest(1), [1, 2, 3, 0]);
    assert_eq!(nearest(3), [3, 0, 1, 2]);
    // Without distances all others are equal, and each begins with another.
    let topology = read(&entries, None).unwrap();
    assert_eq!(topology.nearest(2).collect::<std::vec::Vec<_>>(), [2, 3, 0, 1]);
}

#[test]
fn tables_that_cannot_be_are_refused_as_a_whole() {
    let overlapping = [memory(0..2 * GIB, 0), memory(GIB..3 * GIB, 1)];
    assert_eq!(read(&overlapping, None).unwrap_err(), TopologyError::Overlap);
    let same_start = [memory(0..2 * GIB, 0), memory(0..GIB, 1)];
    assert_eq!(read(&same_start, None).unwrap_err(), TopologyError::Overlap);
    let many: std::vec::Vec<_> = (0..65).map(|node| processor(node, node)).collect();
    assert_eq!(read(&many[..64], None).unwrap().nodes(), 64);
    assert_eq!(read(&many, None).unwrap_err(), TopologyError::Nodes);
    let ranges: std::vec::Vec<_> = (0..129).map(|n| memory(n * 2 * GIB..n * 2 * GIB + GIB, 0)).collect();
    assert_eq!(read(&ranges, None).unwrap_err(), TopologyError::Ranges);
}

proptest! {
    #[test]
    fn pieces_are_the_whole_and_of_one_node(
        cuts in prop::collection::vec((0u64..60, 1u64..20, 0u32..4), 0..8),
        range in (0u64..80, 0u64..80),
    ) {
        let entries: std::vec::Vec<_> = cuts
            .iter()
            .map(|(start, len, domain)| memory(start * 0x1000..(start + len) * 0x1000, *domain))
            .collect();
        let Ok(topology) = read(&entries, None) else { return Ok(()) };
        let range = range.0.min(range.1) * 0x1000..range.0.max(range.1) * 0x1000;
        let mut at = range.start;
        for (piece, node) in topology.pieces(range.clone()) {
            prop_assert_eq!(piece.start, at);
            prop_assert!(piece.end > at);
            for page in (piece.start..piece.end).step_by(0x1000) {
                prop_assert_eq!(topology.node_of_memory(page), node);
            }
            at = piece.end;
        }
        prop_assert_eq!(at, range.end);
    }
}
