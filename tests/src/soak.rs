//! The long forms of tests (`make soak`).

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a test that can go on for ever does: for `KEELSON_SOAK=1` an hour, for larger numbers so many seconds, and not at
/// all without it.
pub fn time() -> Option<Duration> {
    let value = env::var("KEELSON_SOAK").ok()?;
    Some(match value.parse() {
        Ok(seconds @ 2..) => Duration::from_secs(seconds),
        _ => Duration::from_secs(3600),
    })
}

/// Where chance starts from: `KEELSON_SEED`, to see something again; without it a number that was never used before if
/// this is a long run, and `usual` if not. It is printed.
pub fn seed(usual: u64) -> u64 {
    let given = env::var("KEELSON_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| match time() {
        // Seconds and milliseconds are enough to be new, and short enough to be typed.
        Some(_) => SystemTime::now().duration_since(UNIX_EPOCH).map_or(usual, |now| now.as_millis() as u64),
        None => usual,
    });
    eprintln!("KEELSON_SEED={seed}");
    seed
}
