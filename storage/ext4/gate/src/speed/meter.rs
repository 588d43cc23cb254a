//! Time, CPU time and requests between two moments.

use crate::disk::{Counts, FileDisk};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// What one operation cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Microseconds that passed.
    pub wall: f64,
    /// Microseconds of CPU time of this process. (Of Linux: without its kernel threads.)
    pub cpu: f64,
    /// The same without the device's part.
    pub engine: f64,
    /// Device writes.
    pub writes: f64,
    /// Kilobytes written.
    pub kilobytes: f64,
    /// Device flushes.
    pub flushes: f64,
}

/// Runs from [`Meter::start`] to [`Meter::stop`].
pub struct Meter {
    wall: Instant,
    cpu: Duration,
    device: Duration,
    counts: Counts,
}

/// CPU time of this process so far.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Meter {
    /// Starts now.
    pub fn start(disk: Option<&FileDisk>) -> Meter {
        Meter {
            device: disk.map(FileDisk::cpu_time).unwrap_or_default(),
            counts: disk.map(FileDisk::counts).unwrap_or_default(),
            cpu: cpu_time(),
            wall: Instant::now(),
        }
    }

    /// The cost of each of `amount` operations since.
    pub fn stop(self, disk: Option<&FileDisk>, amount: f64) -> Cost {
        let wall = self.wall.elapsed();
        let cpu = cpu_time() - self.cpu;
        let device = disk.map(FileDisk::cpu_time).unwrap_or_default().saturating_sub(self.device);
        let counts = disk.map(FileDisk::counts).unwrap_or_default().since(self.counts);
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / amount;
        Cost {
            wall: micros(wall),
            cpu: micros(cpu),
            engine: micros(cpu.saturating_sub(device)),
            writes: counts.writes as f64 / amount,
            kilobytes: counts.bytes_written as f64 / 1e3 / amount,
            flushes: counts.flushes as f64 / amount,
        }
    }
}

impl Cost {
    /// The least of each figure by itself: what else the machine does only adds to them.
    pub fn least(costs: &[Cost]) -> Cost {
        let least_of = |of: fn(&Cost) -> f64| costs.iter().map(of).fold(f64::INFINITY, f64::min);
        Cost {
            wall: least_of(|cost| cost.wall),
            cpu: least_of(|cost| cost.cpu),
            engine: least_of(|cost| cost.engine),
            writes: least_of(|cost| cost.writes),
            kilobytes: least_of(|cost| cost.kilobytes),
            flushes: least_of(|cost| cost.flushes),
        }
    }
}
