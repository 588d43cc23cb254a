//! What a bad cable does to frames, decided by a seed.

use std::time::{Duration, Instant};

use crate::rng::Rng;

/// How a link treats the frames passing in one direction. The default is a perfect link.
///
/// Probabilities are between 0.0 and 1.0 and drawn for each frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that a frame arrives twice.
    pub duplicate: f64,
    /// Probability that a frame is held back by [`Impairment::reorder_by`] so that later ones overtake it.
    pub reorder: f64,
    /// How long a reordered frame is held back; zero means 2 ms.
    pub reorder_by: Duration,
    /// Probability that one bit of the frame is flipped.
    pub corrupt: f64,
    /// Probability that the frame is cut short at a random length.
    pub truncate: f64,
    /// Time every frame spends on the link.
    pub delay: Duration,
    /// Up to this much is added to the delay at random; the order of frames is kept.
    pub jitter: Duration,
    /// Bits per second the link carries; frames queue for up to 500 ms, then are lost. `None`: no limit.
    pub rate: Option<u64>,
}

impl Impairment {
    /// A link that loses this share of frames.
    pub fn loss(p: f64) -> Impairment {
        Impairment { loss: p, ..Default::default() }
    }

    /// A link that takes this long.
    pub fn delay(delay: Duration) -> Impairment {
        Impairment { delay, ..Default::default() }
    }
}

/// What happens to one frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fate {
    /// When each copy arrives: none if lost, two if duplicated.
    pub arrivals: [Option<Instant>; 2],
    /// Bit to flip, counted from the first bit of the frame.
    pub flip: Option<usize>,
    /// Length the frame is cut to.
    pub cut_to: Option<usize>,
}

/// Applies an [`Impairment`] to one frame after another.
#[derive(Debug)]
pub struct Impairer {
    rule: Impairment,
    rng: Rng,
    /// When the rate limiter has finished sending what it accepted.
    busy_until: Option<Instant>,
    /// Arrival of the latest frame in order; jitter must not overtake it.
    last_arrival: Option<Instant>,
}

impl Impairer {
    const QUEUE: Duration = Duration::from_millis(500);
    const REORDER_BY: Duration = Duration::from_millis(2);

    /// Same rule, seed and frames: same fate.
    pub fn new(rule: Impairment, seed: u64) -> Impairer {
        Impairer { rule, rng: Rng::new(seed), busy_until: None, last_arrival: None }
    }

    /// Decides about a frame of `len` bytes that enters the link at `now`.
    pub fn judge(&mut self, now: Instant, len: usize) -> Fate {
        let mut fate = Fate::default();
        if self.rng.chance(self.rule.loss) {
            return fate;
        }
        let mut sent = now;
        if let Some(rate) = self.rule.rate {
            let start = self.busy_until.map_or(now, |busy| busy.max(now));
            if start.duration_since(now) > Self::QUEUE {
                return fate;
            }
            sent = start + Duration::from_nanos(len as u64 * 8 * 1_000_000_000 / rate.max(1));
            self.busy_until = Some(sent);
        }
        let jitter = Duration::from_nanos(self.rng.below(self.rule.jitter.as_nanos() as u64 + 1));
        let mut arrival = sent + self.rule.delay + jitter;
        if self.rng.chance(self.rule.reorder) {
            arrival += if self.rule.reorder_by.is_zero() { Self::REORDER_BY } else { self.rule.reorder_by };
        } else {
            arrival = self.last_arrival.map_or(arrival, |last| last.max(arrival));
            self.last_arrival = Some(arrival);
        }
        fate.arrivals[0] = Some(arrival);
        if self.rng.chance(self.rule.duplicate) {
            fate.arrivals[1] = Some(arrival);
        }
        if self.rng.chance(self.rule.corrupt) {
            fate.flip = Some(self.rng.below(len as u64 * 8) as usize);
        }
        if self.rng.chance(self.rule.truncate) {
            fate.cut_to = Some(self.rng.below(len as u64) as usize);
        }
        fate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(rule: Impairment, seed: u64, count: usize) -> Vec<Fate> {
        let mut impairer = Impairer::new(rule, seed);
        let now = Instant::now();
        let mut fates: Vec<_> = (0..count).map(|_| impairer.judge(now, 1000)).collect();
        // Compare independently of when the test runs.
        let epoch = now;
        for fate in &mut fates {
            for at in fate.arrivals.iter_mut().flatten() {
                assert!(*at >= epoch);
            }
        }
        fates
    }

    #[test]
    fn a_perfect_link_changes_nothing() {
        assert!(fates(Impairment::default(), 1, 100).iter().all(|fate| {
            fate.arrivals[0].is_some()
                && fate.arrivals[1].is_none()
                && fate.flip.is_none()
                && fate.cut_to.is_none()
        }));
    }

    #[test]
    fn loss_follows_the_seed() {
        let lost = |seed| -> Vec<bool> {
            fates(Impairment::loss(0.3), seed, 10_000).iter().map(|f| f.arrivals[0].is_none()).collect()
        };
        let count = lost(1).iter().filter(|&&l| l).count();
        assert!((2_700..3_300).contains(&count), "{count}");
        assert_eq!(lost(1), lost(1));
        assert_ne!(lost(1), lost(2));
    }

    #[test]
    fn jitter_keeps_order_and_reorder_breaks_it() {
        let order = |rule| {
            let arrivals: Vec<_> = fates(rule, 3, 1000).into_iter().map(|f| f.arrivals[0].unwrap()).collect();
            arrivals.windows(2).all(|pair| pair[0] <= pair[1])
        };
        let jitter = Duration::from_millis(5);
        assert!(order(Impairment { jitter, ..Default::default() }));
        assert!(!order(Impairment { reorder: 0.1, ..Default::default() }));
    }

    #[test]
    fn rate_spaces_frames_and_drops_beyond_its_queue() {
        // 1000 bytes at 1 Mbit/s take 8 ms; half a second of queue holds 62 of them.
        let mut impairer = Impairer::new(Impairment { rate: Some(1_000_000), ..Default::default() }, 0);
        let now = Instant::now();
        let arrivals: Vec<_> = (0..100).filter_map(|_| impairer.judge(now, 1000).arrivals[0]).collect();
        assert_eq!(arrivals[0] - now, Duration::from_millis(8));
        assert_eq!(arrivals[9] - now, Duration::from_millis(80));
        assert!((62..66).contains(&arrivals.len()), "{}", arrivals.len());
    }
}
