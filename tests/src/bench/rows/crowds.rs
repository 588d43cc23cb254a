//! One, eight and 64 clients of the bench itself: what a call costs must not depend on how many they are.

use super::super::crowd::{MOST, READ, Task};
use super::calls::random_file;
use super::{DATA, HALF, Row};

/// Numbers of clients.
const CLIENTS: [usize; 3] = [1, 8, MOST];
/// Of all turns before the row, so that connections and tables are warm, one in so many.
const WARM_UP: usize = 8;

pub fn rows() -> Vec<Row> {
    let kinds = [
        ("GETATTR", Task::GetAttr, "call", 1.0, 4096, HALF),
        ("small files", Task::Files, "file", 1.0, 192, HALF),
        ("READ 64 KiB", Task::Read, "MB", READ as f64 / 1e6, 512, DATA),
        ("LOCK and UNLOCK", Task::Lock, "pair", 1.0, 1024, HALF),
    ];
    let mut rows = vec![];
    for (what, task, unit, units, turns, target) in kinds {
        for clients in CLIENTS {
            let each = turns / clients;
            rows.push(Row {
                name: match clients {
                    1 => format!("{what}, 1 client"),
                    _ => format!("{what}, {clients} clients"),
                },
                unit,
                amount: (each * clients) as f64 * units,
                target,
                rounds: usize::MAX,
                crowd: Some((what, clients)),
                prepare: Box::new(move |servers, side, _| {
                    servers.crowd.gather(side, random_file(servers, side)?, clients)?;
                    servers.crowd.work(task, each.div_ceil(WARM_UP)).map(drop)
                }),
                run: Box::new(move |servers, _, _| servers.crowd.work(task, each)),
            });
        }
    }
    rows
}
