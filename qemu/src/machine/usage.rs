//! What a machine costs its host, read from `/proc` (proc(5)).

use std::fs;
use std::time::Duration;

/// Resources a QEMU process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time in user and system mode, all threads.
    pub cpu: Duration,
    /// Largest resident set so far, in bytes.
    pub peak_rss: u64,
    /// Resident set now, in bytes.
    pub rss: u64,
}

impl Usage {
    /// Reads the usage of process `pid`; None when it is gone.
    pub(super) fn of(pid: u32) -> Option<Usage> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let ticks = cpu_ticks(&stat)?;
        let cpu = Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
        Some(Usage { cpu, peak_rss: kib(&status, "VmHWM:")?, rss: kib(&status, "VmRSS:")? })
    }
}

/// utime + stime: fields 14 and 15. The command name (field 2) may hold spaces, so count from its closing bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn kib(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(key))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 100 23 0 0 20 0";
        assert_eq!(cpu_ticks(stat), Some(123));
        let own = Usage::of(std::process::id()).unwrap();
        assert!(own.peak_rss >= own.rss && own.rss > 100_000);
    }
}
