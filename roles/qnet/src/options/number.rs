//! Numbers in options.

use alloc::format;
use alloc::string::String;
use core::fmt::Display;
use core::str::FromStr;

/// A number within limits.
pub(super) fn in_range<T: FromStr + PartialOrd + Display>(value: &str, min: T, max: T) -> Result<T, String> {
    let number = value.parse().ok().filter(|number| (&min..=&max).contains(&number));
    number.ok_or_else(|| format!("a number from {min} to {max}"))
}

/// 0 or 1. The bare name means 1.
pub(super) fn flag(value: &str) -> Result<bool, String> {
    match value {
        "0" => Ok(false),
        "1" | "" => Ok(true),
        _ => Err("0 or 1".into()),
    }
}
