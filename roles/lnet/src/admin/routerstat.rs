//! `routerstat [INTERVAL [COUNT]]` (LNet specification section 6.7).

use super::args;
use super::control::Control;
use crate::lnet::show::StatisticsStatus;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;
use core::time::Duration;

/// Lines of rates that may be asked for at once.
const MOST_LINES: u32 = 1000;
/// Bytes in a MiB.
const MIB: f64 = 1048576.0;

/// Runs it. With an interval it ends after COUNT lines of rates, one if not given: what it says is shown when
/// it ends.
pub async fn run<C: Control>(control: &C, words: &[&str]) -> String {
    let (interval, lines) = match read(words) {
        Ok(said) => said,
        Err(mistake) => return format!("routerstat: {mistake}\nusage: routerstat [INTERVAL [COUNT]]\n"),
    };
    let mut before = (control.statistics(), control.now());
    let mut text = first_line(&before.0);
    for _ in 0..lines {
        control.sleep(interval).await;
        let now = (control.statistics(), control.now());
        text.push_str(&rates(&before.0, &now.0, now.1.saturating_since(before.1)));
        before = now;
    }
    text
}

fn read(words: &[&str]) -> Result<(Duration, u32), String> {
    let (interval, count) = match words {
        [] => return Ok((Duration::ZERO, 0)),
        [interval] => (interval, "1"),
        [interval, count] => (interval, *count),
        _ => return Err("too many words".to_string()),
    };
    let seconds = args::read("interval", interval, "seconds, 1 to 3600")?;
    let count = args::read("count", count, "a number of lines")?;
    match (seconds, count) {
        (1..=3600, 1..=MOST_LINES) => Ok((Duration::from_secs(seconds), count)),
        (1..=3600, _) => Err(format!("count '{count}': expected is 1 to {MOST_LINES}")),
        _ => Err(format!("interval '{seconds}': expected is 1 to 3600 seconds")),
    }
}

fn first_line(s: &StatisticsStatus) -> String {
    format!(
        "M {}({}) E {} S {}/{} R {}/{} F {}/{} D {}/{}\n",
        s.msgs_alloc,
        s.msgs_max,
        s.errors,
        s.send_length,
        s.send_count,
        s.recv_length,
        s.recv_count,
        s.route_length,
        s.route_count,
        s.drop_length,
        s.drop_count
    )
}

/// MiB/s and messages/s since `before`.
fn rates(before: &StatisticsStatus, now: &StatisticsStatus, span: Duration) -> String {
    let seconds = span.as_secs_f64().max(1e-9);
    // Counters may have been set back, or wrapped.
    let rate = |before: u64, now: u64| now.wrapping_sub(before) as f64 / seconds;
    let mib = |before, now| rate(before, now) / MIB;
    let mut text =
        format!("M {:3}({:3}) E {:.0}", now.msgs_alloc, now.msgs_max, rate(before.errors, now.errors));
    let pairs = [
        ("S", before.send_length, now.send_length, before.send_count, now.send_count),
        ("R", before.recv_length, now.recv_length, before.recv_count, now.recv_count),
        ("F", before.route_length, now.route_length, before.route_count, now.route_count),
    ];
    for (name, bytes_before, bytes, count_before, count) in pairs {
        // Writing to a String cannot fail.
        let _ = write!(text, " {name} {:7.2}/{:6.0}", mib(bytes_before, bytes), rate(count_before, count));
    }
    let (length, count) = (mib(before.drop_length, now.drop_length), rate(before.drop_count, now.drop_count));
    let _ = writeln!(text, " D {length:4.2}/{count:.0}");
    text
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Fake};

    fn routerstat(line: &str) -> String {
        let words: Vec<_> = line.split_whitespace().collect();
        testing::run(super::run(&*Fake::up(), &words))
    }

    #[test]
    fn absolute_values() {
        assert_eq!(routerstat(""), "M 3(40) E 0 S 1000/100 R 2000/200 F 1073741824/5000 D 70/7\n");
    }

    #[test]
    fn rates() {
        let text = routerstat("5 2");
        let lines: Vec<_> = text.lines().skip(1).collect();
        let line = "M   3( 40) E 0 S    0.00/     0 R    0.00/     0 F   10.00/  1000 D 0.00/0";
        assert_eq!(lines, [line, line]);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(routerstat("0").contains("interval '0'"));
        assert!(routerstat("1 5000").contains("count '5000'"));
        assert!(routerstat("fast").contains("'fast'"));
        assert!(routerstat("1 2 3").contains("usage"));
    }
}
