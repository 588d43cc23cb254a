//! Link arguments of the images: no C runtime, no position independence, our own memory layout.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// When this is built, in UTC: `Nov 27 2026 at 14:25:36`. `SOURCE_DATE_EPOCH` makes builds the same.
fn built() -> String {
    let fixed = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds: u64 = fixed.unwrap_or_else(now);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // From days to a date, with years that begin in March (the algorithm of the civil calendar).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = (month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{} {day} {year} at {hour:02}:{minute:02}:{second:02}", MONTHS[month as usize])
}

fn main() {
    println!("cargo:rerun-if-changed=link.ld");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rustc-env=KEELSON_BUILT={}", built());
    // Host builds (clippy, tests) link like any program; only `make images` sets the cfg.
    if std::env::var_os("CARGO_CFG_KEELSON_IMAGE").is_none() {
        return;
    }
    let script = format!("-Wl,-T,{}/link.ld", std::env::var("CARGO_MANIFEST_DIR").expect("set by cargo"));
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,max-page-size=4096",
        "-Wl,-z,norelro",
        "-Wl,--gc-sections",
        &script,
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
