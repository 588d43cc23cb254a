//! The table.

use super::rows::Row;
use std::time::Duration;

/// What a piece of work took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// As the client saw it.
    pub time: Duration,
    /// CPU time of the server's QEMU process.
    pub cpu: Duration,
}

impl Cost {
    /// The cost of one of `amount` units.
    pub fn per(self, amount: f64) -> Cost {
        Cost { time: self.time.div_f64(amount), cpu: self.cpu.div_f64(amount) }
    }

    /// The medians of time and CPU time, each for itself.
    ///
    /// # Panics
    ///
    /// Without any costs.
    pub fn median(costs: &[Cost]) -> Cost {
        let middle = |of: fn(&Cost) -> Duration| {
            let mut sorted: Vec<_> = costs.iter().map(of).collect();
            sorted.sort();
            sorted[sorted.len() / 2]
        };
        Cost { time: middle(|cost| cost.time), cpu: middle(|cost| cost.cpu) }
    }
}

/// Prints results as they come and counts the rows that were lost.
#[derive(Default)]
pub struct Report {
    lost: Vec<String>,
}

impl Report {
    /// Quantities of which less is better, and what we want: ours at most `target` times theirs.
    pub fn quantity(&mut self, name: &str, unit: &str, keelson: f64, knfsd: f64, target: f64) {
        let ratio = keelson / knfsd;
        println!("{name:<34} {keelson:>12.2} {knfsd:>12.2} {unit:<8} {ratio:>8.3}");
        if ratio > target {
            self.lost.push(name.into());
        }
    }

    /// A limit that has nothing to do with the other server.
    pub fn limit(&mut self, name: &str, unit: &str, value: f64, limit: f64) {
        println!("{name:<34} {value:>12.2} {:>12} {unit:<8}", format!("(< {limit})"));
        if value >= limit {
            self.lost.push(name.into());
        }
    }

    /// Titles of the first part.
    pub fn quantities(&self) {
        println!("{:<34} {:>12} {:>12} {:<8} {:>8}", "", "keelson", "knfsd", "unit", "ratio");
    }

    /// Titles of the rows.
    pub fn heading(&self) {
        println!();
        println!("{:<34} {:^30} | {:^34}", "", "rate as the client sees it", "server's CPU ms per unit");
        println!(
            "{:<26} {:<7} {:>10} {:>10} {:>8} | {:>10} {:>10} {:>8}",
            "", "unit", "keelson", "knfsd", "ratio", "keelson", "knfsd", "ratio"
        );
    }

    /// A row. The ratio of rates is better above 1, that of CPU time below.
    pub fn row(&mut self, row: &Row, keelson: Cost, knfsd: Cost) {
        let rate = |cost: Cost| 1.0 / cost.time.as_secs_f64().max(1e-9);
        let cpu = |cost: Cost| cost.cpu.as_secs_f64() * 1e3;
        let (rates, cpus) = ((rate(keelson), rate(knfsd)), (cpu(keelson), cpu(knfsd)));
        let ratio = cpus.0 / cpus.1;
        println!(
            "{:<26} {:<7} {:>10.1} {:>10.1} {:>8.2} | {:>10.3} {:>10.3} {:>8.2}",
            row.name,
            row.unit,
            rates.0,
            rates.1,
            rates.0 / rates.1,
            cpus.0,
            cpus.1,
            ratio
        );
        if ratio > 1.0 {
            self.lost.push(row.name.into());
        }
    }

    /// The summary.
    pub fn end(&self) {
        match self.lost.as_slice() {
            [] => println!("\nkeelson needs no more than knfsd in any row"),
            lost => println!("\nkeelson misses its target in: {}", lost.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_units() {
        let cost = |time, cpu| Cost { time: Duration::from_secs(time), cpu: Duration::from_secs(cpu) };
        assert_eq!(Cost::median(&[cost(1, 9), cost(5, 1), cost(2, 8)]), cost(2, 8));
        assert_eq!(cost(8, 2).per(2.0), cost(4, 1));
    }
}
