//! The table.

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

/// What a row is about.
#[derive(Clone, Copy, Debug)]
pub struct Title<'a> {
    /// What is done.
    pub name: &'a str,
    /// Of what the rates and costs are.
    pub unit: &'a str,
    /// What we want: CPU time of ours at most so many times theirs.
    pub target: f64,
}

/// What a crowd of some size costs, to be compared with crowds of other sizes.
#[derive(Clone, Copy, Debug)]
pub struct CrowdCost {
    /// What each does.
    pub what: &'static str,
    /// How many they are.
    pub size: usize,
    /// What it costs ours.
    pub ours: Cost,
    /// What it costs the other.
    pub theirs: Option<Cost>,
}

/// What may come of measuring the same cost twice.
const NOISE: f64 = 1.25;

/// Prints results as they come and counts the rows that were lost.
pub struct Report {
    /// What is measured: "server", "router".
    role: &'static str,
    /// What ours is compared with.
    other: &'static str,
    lost: Vec<String>,
}

impl Report {
    /// Of a machine in this role beside `other`.
    pub fn new(role: &'static str, other: &'static str) -> Report {
        Report { role, other, lost: Vec::new() }
    }

    /// Quantities of which less is better, and what we want: ours at most `target` times theirs. Without an other,
    /// ours stands alone.
    pub fn quantity(
        &mut self,
        name: &str,
        unit: &str,
        keelson: f64,
        other: impl Into<Option<f64>>,
        target: f64,
    ) {
        let other = other.into();
        let ratio = other.map(|other| keelson / other);
        println!("{name:<34} {keelson:>12.2} {:>12} {unit:<8} {:>8}", shown(other, 2), shown(ratio, 3));
        self.judge(name, ratio, target);
    }

    /// A limit that has nothing to do with the other one.
    pub fn limit(&mut self, name: &str, unit: &str, value: f64, limit: f64) {
        println!("{name:<34} {value:>12.2} {:>12} {unit:<8}", format!("(< {limit})"));
        if value >= limit {
            self.lost.push(name.into());
        }
    }

    /// Titles of the first part.
    pub fn quantities(&self) {
        println!("{:<34} {:>12} {:>12} {:<8} {:>8}", "", "keelson", self.other, "unit", "ratio");
    }

    /// Titles of the rows.
    pub fn heading(&self) {
        println!();
        let (role, other) = (self.role, self.other);
        println!(
            "{:<34} {:^30} | {:^34}",
            "",
            "rate as the client sees it",
            format!("{role}'s CPU ms per unit")
        );
        println!(
            "{:<26} {:<7} {:>10} {other:>10} {:>8} | {:>10} {other:>10} {:>8}",
            "", "unit", "keelson", "ratio", "keelson", "ratio"
        );
    }

    /// A row. The ratio of rates is better above 1, that of CPU time below.
    pub fn row(&mut self, title: Title<'_>, keelson: Cost, other: impl Into<Option<Cost>>) {
        let other = other.into();
        let rate = |cost: Cost| 1.0 / cost.time.as_secs_f64().max(1e-9);
        let cpu = |cost: Cost| cost.cpu.as_secs_f64() * 1e3;
        let (rates, cpus) = ((rate(keelson), other.map(rate)), (cpu(keelson), other.map(cpu)));
        let ratio = cpus.1.map(|other| cpus.0 / other);
        println!(
            "{:<26} {:<7} {:>10.1} {:>10} {:>8} | {:>10.3} {:>10} {:>8}",
            title.name,
            title.unit,
            rates.0,
            shown(rates.1, 1),
            shown(rates.1.map(|other| rates.0 / other), 2),
            cpus.0,
            shown(cpus.1, 3),
            shown(ratio, 2)
        );
        self.judge(title.name, ratio, title.target);
    }

    /// What `most` members of a crowd cost each call, compared with one. `members` are peers or clients.
    pub fn growth(&mut self, members: &str, most: usize, costs: &[CrowdCost]) {
        for one in costs.iter().filter(|one| one.size == 1) {
            let Some(many) = costs.iter().find(|many| many.size == most && many.what == one.what) else {
                continue;
            };
            let ratio = |many: Cost, one: Cost| many.cpu.as_secs_f64() / one.cpu.as_secs_f64();
            let theirs = one.theirs.zip(many.theirs).map(|(one, many)| ratio(many, one));
            let ours = ratio(many.ours, one.ours);
            self.quantity(&format!("{}, {most} {members} : 1", one.what), "CPU", ours, theirs, f64::INFINITY);
            self.limit(&format!("... at most, {}", one.what), "CPU", ours, NOISE);
        }
    }

    fn judge(&mut self, name: &str, ratio: Option<f64>, target: f64) {
        if ratio.is_some_and(|ratio| ratio > target) {
            self.lost.push(name.into());
        }
    }

    /// The summary.
    pub fn end(&self) {
        match self.lost.as_slice() {
            [] => println!("\nkeelson reaches its target in every row"),
            lost => println!("\nkeelson misses its target in: {}", lost.join(", ")),
        }
    }
}

/// The one in the middle; NaN of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
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
