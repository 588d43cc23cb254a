//! What is measured.

use super::PEERS;
use crate::lnet::Kind;

/// Small requests under way from each peer: as many as its credits allow by default. With fewer, there is less to put
/// into one segment, whoever routes; the rows with one for each peer show that.
const SMALL_IN_FLIGHT: usize = 8;
/// Large requests under way from all peers together.
const BULK_IN_FLIGHT: usize = 64;
/// Small requests of a row.
const SMALL: usize = 4096;
/// Large ones: several from each of many peers, so that the first of a connection, which TCP starts slowly, count
/// little.
const BULK: usize = 192;

/// What we want: a third of the CPU time of a Linux router for small messages, half of it for large ones.
const SMALL_TARGET: f64 = 1.0 / 3.0;
const BULK_TARGET: f64 = 0.5;

/// One row of the table.
pub struct Row {
    /// What is sent, in how many at once, and by how many.
    pub name: String,
    /// The same without the number of peers, for rows that are to be compared.
    pub what: &'static str,
    /// Unit of the rates and costs.
    pub unit: &'static str,
    /// Nodes that send.
    pub peers: usize,
    /// Requests under way from each of them.
    pub concurrent: usize,
    /// What they send.
    pub kind: Kind,
    /// Requests of all of them together, about.
    pub requests: usize,
    /// How many units a request is.
    pub units: f64,
    /// Wanted ratio of CPU times.
    pub target: f64,
}

impl Row {
    /// Requests of each loop.
    pub fn each(&self) -> usize {
        (self.requests / (self.peers * self.concurrent)).max(1)
    }

    /// Units that are then sent.
    pub fn amount(&self) -> f64 {
        (self.each() * self.peers * self.concurrent) as f64 * self.units
    }
}

/// All rows.
pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("PUT 160 B", Kind::Put(160), 1, 1),
        row("ping", Kind::Ping, 1, 1),
        row("PUT 1 MiB", Kind::Put(1 << 20), 1, 1),
        row("GET 1 MiB", Kind::Get(1 << 20), 1, 1),
    ];
    for (what, kind) in [("PUT 160 B", Kind::Put(160)), ("ping", Kind::Ping)] {
        rows.extend(PEERS.map(|peers| row(what, kind, peers, SMALL_IN_FLIGHT)));
        rows.push(row(what, kind, PEERS[PEERS.len() - 1], 1));
    }
    for (what, kind) in [("PUT 1 MiB", Kind::Put(1 << 20)), ("GET 1 MiB", Kind::Get(1 << 20))] {
        rows.extend(PEERS.map(|peers| row(what, kind, peers, BULK_IN_FLIGHT / peers)));
    }
    rows
}

fn row(what: &'static str, kind: Kind, peers: usize, concurrent: usize) -> Row {
    let bulk = matches!(kind, Kind::Put(len) | Kind::Get(len) if len >= 1 << 20);
    let one_at_a_time = peers * concurrent == 1;
    let one_each = !bulk && !one_at_a_time && concurrent == 1;
    let name = match peers {
        1 if one_at_a_time => format!("{what}, one at a time"),
        1 => format!("{what}, 1 peer"),
        _ if one_each => format!("{what}, {peers} peers x 1"),
        _ => format!("{what}, {peers} peers"),
    };
    let requests = match (bulk, one_at_a_time) {
        (true, true) => BULK / 2,
        (true, false) => BULK,
        (false, true) => SMALL / 4,
        (false, false) => SMALL,
    };
    Row {
        name,
        what: if one_at_a_time || one_each { "" } else { what },
        unit: if bulk { "MiB" } else { "message" },
        peers,
        concurrent,
        kind,
        requests,
        units: if bulk { 1.0 } else { 2.0 },
        target: if bulk { BULK_TARGET } else { SMALL_TARGET },
    }
}
