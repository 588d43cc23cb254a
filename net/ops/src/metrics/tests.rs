use super::*;
use core::time::Duration;
use proptest::prelude::*;

/// Reads a quoted label value or help text back.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other @ ('\\' | '"')) => out.push(other),
                other => panic!("\\{other:?} means nothing"),
            },
            other => out.push(other),
        }
    }
    out
}

#[test]
fn families_are_written_as_prometheus_reads_them() {
    let mut to = Exposition::new(TEXT_MAX, 0);
    to.family("node_network_receive_bytes_total", Kind::Counter, " Bytes received.")
        .sample(&[("device", "eth0")], 12_u64)
        .sample(&[("device", "eth1"), ("odd", "a\"b\\c\nd")], 0_u64);
    to.gauge("keelson_uptime_seconds", "A\nB \\", Duration::from_millis(1_500));
    to.gauge("keelson_credits", "Below zero.", -7_i64);
    assert_eq!(
        to.finish(),
        "# HELP node_network_receive_bytes_total Bytes received.\n\
         # TYPE node_network_receive_bytes_total counter\n\
         node_network_receive_bytes_total{device=\"eth0\"} 12\n\
         node_network_receive_bytes_total{device=\"eth1\",odd=\"a\\\"b\\\\c\\nd\"} 0\n\
         # HELP keelson_uptime_seconds A\\nB \\\\\n\
         # TYPE keelson_uptime_seconds gauge\n\
         keelson_uptime_seconds 1.500000000\n\
         # HELP keelson_credits Below zero.\n\
         # TYPE keelson_credits gauge\n\
         keelson_credits -7\n\
         # HELP keelson_metrics_left_out Families and samples that this scrape lacks: it was too long, or two sources used \
         the same name.\n\
         # TYPE keelson_metrics_left_out gauge\n\
         keelson_metrics_left_out 0\n"
    );
}

#[test]
fn what_is_no_name_or_a_name_again_is_left_out_and_counted() {
    let mut to = Exposition::new(TEXT_MAX, 0);
    to.counter("a_total", "First.", 1_u64);
    to.counter("a_total", "Second.", 2_u64);
    to.counter("9a", "Digit.", 3_u64);
    to.counter("a b", "Blank.", 4_u64);
    to.family("b_total", Kind::Counter, "Labels.").sample(&[("x-y", "")], 5_u64).sample(&[("x", "")], 6_u64);
    let text = to.finish();
    assert_eq!(text.lines().filter(|line| line.starts_with("a_total")).collect::<Vec<_>>(), ["a_total 1"]);
    assert!(
        text.contains("\nb_total{x=\"\"} 6\n") && text.ends_with("\nkeelson_metrics_left_out 4\n"),
        "{text}"
    );
}

#[test]
fn sources_are_asked_in_order_and_each_time() {
    let sources = Sources::default();
    let asked = Rc::new(Cell::new(0_u64));
    let counted = asked.clone();
    sources.add(move |to: &mut Exposition| {
        counted.set(counted.get() + 1);
        to.counter("asked_total", "Times.", counted.get());
    });
    sources.add(|to: &mut Exposition| to.gauge("second", "Later.", true));
    for time in 1..=3 {
        let text = sources.expose();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, [&*format!("asked_total {time}"), "second 1", "keelson_metrics_left_out 0"]);
    }
}

proptest! {
    #[test]
    fn whatever_is_written_stays_in_its_line(
        help in any::<String>(),
        label in any::<String>(),
        value in any::<u64>(),
    ) {
        let mut to = Exposition::new(TEXT_MAX, 0);
        to.family("x_total", Kind::Counter, &help).sample(&[("label", &label)], value);
        let text = to.finish();
        let mut lines = text.split('\n');
        let read = |line: Option<&str>, prefix: &str| line.and_then(|line| line.strip_prefix(prefix)).map(String::from);
        let shown = read(lines.next(), "# HELP x_total ").expect("a help line");
        // Quotes stand as they are in help.
        prop_assert_eq!(unescape(&shown), help.trim());
        prop_assert_eq!(lines.next(), Some("# TYPE x_total counter"));
        let sample = read(lines.next(), "x_total{label=\"").expect("a sample");
        let (shown, number) = sample.rsplit_once("\"} ").expect("a value");
        prop_assert_eq!(unescape(shown), label);
        prop_assert_eq!(number.parse(), Ok(value));
    }

    #[test]
    fn no_line_is_cut_and_no_limit_exceeded(limit in 0..2_000_usize, families in 0..20_usize, samples in 0..20_u64) {
        let mut to = Exposition::new(limit, 1 << 30);
        for family in 0..families {
            let mut family = to.family(format!("family_{family}"), Kind::Gauge, "Help.");
            for n in 0..samples {
                family.sample(&[("n", &n.to_string())], n);
            }
        }
        let text = to.finish();
        let (before, last) = text.split_at(text.rfind("# HELP").unwrap());
        prop_assert!(before.len() <= limit, "{} bytes of {limit}", before.len());
        prop_assert!(before.is_empty() || before.ends_with('\n'));
        let whole = |line: &str| line.starts_with("# ") || line.rsplit_once("\"} ").is_some_and(|(_, n)| n.parse::<u64>().is_ok());
        prop_assert!(before.lines().all(whole), "{before}");
        let shown = before.lines().count() as u64 - before.lines().filter(|line| line.starts_with("# TYPE")).count() as u64;
        let left_out: u64 = last.rsplit(' ').next().unwrap().trim().parse().unwrap();
        // A family that is left out takes its samples along.
        let begun = before.lines().filter(|line| line.starts_with("# TYPE")).count() as u64;
        prop_assert_eq!(shown + left_out, families as u64 + begun * samples);
    }
}
