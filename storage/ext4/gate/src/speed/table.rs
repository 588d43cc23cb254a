//! The table.

use super::meter::Cost;
use super::rows::{Peer, Row};

/// Costs by row and side.
pub struct Table {
    rows: &'static [Row],
    costs: Vec<Vec<Vec<Cost>>>,
    heaps: Vec<usize>,
}

/// Which way a figure is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Better {
    /// Below the limit.
    Less,
    /// Above it.
    More,
}

/// Prints a figure beside its limit; whether it is met.
pub fn limit(name: &str, value: f64, limit: f64, better: Better) -> bool {
    let (sign, good) = match better {
        Better::Less => ("<=", value <= limit),
        Better::More => (">=", value >= limit),
    };
    println!("{name:<58} {value:>10.2}  ({sign} {limit}){}", if good { "" } else { "   MISSED" });
    good
}

impl Table {
    /// Without figures.
    pub fn new(rows: &'static [Row], sides: usize) -> Table {
        Table { rows, costs: vec![vec![Vec::new(); sides]; rows.len()], heaps: vec![0; sides] }
    }

    /// Puts in what a side cost.
    pub fn put(&mut self, row: &str, side: usize, cost: Cost) {
        if let Some(index) = self.rows.iter().position(|other| other.name == row) {
            self.costs[index][side].push(cost);
        }
    }

    /// Puts in the peak of a side's heap.
    pub fn heap(&mut self, side: usize, bytes: usize) {
        self.heaps[side] = self.heaps[side].max(bytes);
    }

    fn cost(&self, row: usize, side: usize) -> Option<Cost> {
        let costs = self.costs[row].get(side)?;
        (!costs.is_empty()).then(|| Cost::least(costs))
    }

    /// Prints everything: microseconds for each operation.
    pub fn print(&self) {
        println!(
            "{:<26} {:<8}|{:^29} |{:^38} |{:^20}",
            "", "us per", "wall", "CPU (ours: engine alone, all)", "device, ours"
        );
        println!(
            "{:<26} {:<8}|{:>9} {:>9} {:>9} |{:>9} {:>9} {:>9} {:>8} |{:>6} {:>7} {:>5}",
            "", "", "own", "rsext4", "linux", "engine", "own", "rsext4", "linux", "writes", "KB", "flush"
        );
        for (index, row) in self.rows.iter().enumerate() {
            let [own, rsext4, linux] = [0, 1, 2].map(|side| self.cost(index, side));
            let Some(own) = own else { continue };
            let wall = |cost: Option<Cost>| shown(cost.map(|cost| cost.wall));
            let cpu = |cost: Option<Cost>| shown(cost.map(|cost| cost.cpu));
            println!(
                "{:<26} {:<8}|{:>9} {:>9} {:>9} |{:>9} {:>9} {:>9} {:>8} |{:>6.1} {:>7.1} {:>5.2}",
                row.name,
                row.unit,
                wall(Some(own)),
                wall(rsext4),
                wall(linux),
                shown(Some(own.engine)),
                cpu(Some(own)),
                cpu(rsext4),
                cpu(linux),
                own.writes,
                own.kilobytes,
                own.flushes
            );
        }
        let heaps: Vec<String> =
            self.heaps.iter().take(2).map(|bytes| format!("{:.1}", *bytes as f64 / 1e6)).collect();
        println!("peak heap, MB: own {}, rsext4 {}\n", heaps[0], heaps.get(1).map_or("-", String::as_str));
    }

    /// Whether every row is within its limits.
    pub fn judge(&self) -> bool {
        let mut good = true;
        for (index, row) in self.rows.iter().enumerate() {
            let Some(own) = self.cost(index, 0) else { continue };
            if let Some(most) = row.limit {
                good &= limit(&format!("{}: CPU us of the engine", row.name), own.engine, most, Better::Less);
            }
            let Some(other) = self.cost(index, 1) else { continue };
            let (name, ratio) = (format!("{}: CPU, own / rsext4", row.name), own.cpu / other.cpu);
            match row.peer {
                Peer::Bound => good &= limit(&name, ratio, 1.0, Better::Less),
                Peer::Aim => println!("{name:<58} {ratio:>10.2}  (aim: 1)"),
                Peer::Aside => {}
            }
        }
        good
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.1}"))
}
