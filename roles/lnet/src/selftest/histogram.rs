//! Times, counted in classes that are a sixteenth of their power of two wide.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// log2 of the number of classes for each power of two.
const FINE: u32 = 4;
const CLASSES: usize = (64 - FINE as usize + 1) << FINE;

/// How many things took how long. Percentiles are exact to 1/16.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    classes: Vec<u64>,
    count: u64,
    total: Duration,
    most: Duration,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { classes: vec![0; CLASSES], count: 0, total: Duration::ZERO, most: Duration::ZERO }
    }
}

/// The class of a number of nanoseconds: as they are up to 15, then by their five leading bits.
fn class(nanos: u64) -> usize {
    let shift = (64 - FINE - 1).saturating_sub(nanos.leading_zeros());
    ((shift as usize) << FINE) + (nanos >> shift) as usize
}

/// The largest number of a class.
fn limit(class: usize) -> u64 {
    let shift = (class >> FINE).saturating_sub(1) as u32;
    let lead = class as u64 - (u64::from(shift) << FINE);
    (((u128::from(lead) + 1) << shift) - 1).min(u128::from(u64::MAX)) as u64
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.classes.get_mut(class(nanos)) {
            *count += 1;
        }
        self.count += 1;
        self.total += span;
        self.most = self.most.max(span);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Histogram) {
        self.classes.iter_mut().zip(&other.classes).for_each(|(to, from)| *to += from);
        self.count += other.count;
        self.total += other.total;
        self.most = self.most.max(other.most);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest time.
    pub fn most(&self) -> Duration {
        self.most
    }

    /// The mean.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos((self.total.as_nanos() / u128::from(self.count.max(1))) as u64)
    }

    /// The time that `percent` of all did not exceed; 99.9 and the like are fine.
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank = (self.count as f64 * percent / 100.0) as u64;
        let mut seen = 0;
        for (class, count) in self.classes.iter().enumerate() {
            seen += count;
            if seen > rank.min(self.count.saturating_sub(1)) {
                return Duration::from_nanos(limit(class)).min(self.most);
            }
        }
        self.most
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [50.0, 99.0].map(|percent| self.percentile(percent));
        write!(f, "{} times, 50% {p50:?}, 99% {p99:?}, longest {:?}", self.count, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_class_holds_what_is_counted_in_it(nanos: u64) {
            let class = class(nanos);
            prop_assert!(class < CLASSES);
            prop_assert!(nanos <= limit(class));
            prop_assert!(class == 0 || nanos > limit(class - 1));
            prop_assert!(limit(class) - nanos <= nanos / 16);
        }
    }

    #[test]
    fn percentiles() {
        let mut times = Histogram::default();
        (1..=1000).for_each(|ms| times.record(Duration::from_millis(ms)));
        assert_eq!(times.count(), 1000);
        assert_eq!(times.mean(), Duration::from_micros(500_500));
        for (percent, ms) in [(50.0, 500), (99.0, 990), (99.9, 1000), (100.0, 1000)] {
            let found = times.percentile(percent).as_millis();
            assert!((ms..=ms + ms / 15 + 1).contains(&found), "{percent}%: {found}");
        }
        let mut both = Histogram::default();
        both.merge(&times);
        both.merge(&times);
        assert_eq!((both.count(), both.most()), (2000, times.most()));
        assert_eq!(Histogram::default().percentile(50.0), Duration::ZERO);
    }
}
