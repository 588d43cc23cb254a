//! What is counted, for people: everything that is not zero, under its name among the metrics.

use alloc::string::String;
use core::fmt::Write;
use keelson_ops::metrics::Exposition;

/// Bytes of what a role counts, as metrics: what is needed, and the most.
const EXPECTED: usize = 20 << 10;
const LIMIT: usize = 64 << 10;

/// A line for each sample that `collect` writes and that is not zero, but for families in `shown`.
pub fn counted(shown: &[&str], collect: impl FnOnce(&mut Exposition)) -> String {
    let mut all = Exposition::new(LIMIT, EXPECTED);
    collect(&mut all);
    lines(shown, &all.finish())
}

fn lines(shown: &[&str], exposition: &str) -> String {
    let mut text = String::new();
    let samples = exposition.lines().filter(|line| !line.starts_with('#'));
    for (name, value) in samples.filter_map(|line| line.rsplit_once(' ')) {
        let is_shown = shown.iter().any(|shown| name.starts_with(shown));
        if !is_shown && value != "0" {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{value:>14} {}", name.trim_start_matches("keelson_"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_ops::metrics::Kind;

    #[test]
    fn no_zeros_and_nothing_that_is_shown_elsewhere() {
        let text = counted(&["keelson_calls"], |to| {
            to.gauge("keelson_a", "A.", 0_u64);
            to.family("keelson_b_total", Kind::Counter, "B.")
                .sample(&[("x", "y z")], 12_u64)
                .sample(&[("x", "w")], 0_u64);
            to.counter("keelson_calls_total", "Calls.", 3_u64);
        });
        assert_eq!(text, "            12 b_total{x=\"y z\"}\n");
    }
}
