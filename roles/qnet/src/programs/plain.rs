//! `echo`, `true`, `false`, `pwd`, `sleep`, `use`.

use crate::procs::{Exit, Process};
use alloc::format;
use core::time::Duration;
use keelson_qnet_wire::Errno;

pub(super) async fn echo(process: &Process) -> Result<i32, Exit> {
    let (args, newline) = match process.args() {
        [first, rest @ ..] if first == "-n" => (rest, ""),
        args => (args, "\n"),
    };
    for (index, text) in args.iter().enumerate() {
        if index > 0 {
            process.print(" ").await?;
        }
        process.print(text).await?;
    }
    process.print(newline).await?;
    Ok(0)
}

pub(super) async fn yes(_: &Process) -> Result<i32, Exit> {
    Ok(0)
}

pub(super) async fn no(_: &Process) -> Result<i32, Exit> {
    Ok(1)
}

pub(super) async fn pwd(process: &Process) -> Result<i32, Exit> {
    process.print(format!("{}\n", process.cwd())).await?;
    Ok(0)
}

pub(super) async fn sleep(process: &Process) -> Result<i32, Exit> {
    let [time] = process.args() else { return Err(process.usage("one number is needed").await) };
    match seconds(time) {
        Some(time) => {
            process.sleep(time).await;
            Ok(0)
        }
        None => Err(process.usage(&format!("\"{time}\" is no number of seconds")).await),
    }
}

/// Seconds with up to nine decimals.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || whole.len() + fraction.len() == 0 || fraction.len() > 9 {
        return None;
    }
    let seconds = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(seconds, nanos))
}

/// `use`: the usage message that stands behind the first line of a program's file.
pub(super) async fn usage(process: &Process) -> Result<i32, Exit> {
    let [name] = process.args() else { return Err(process.usage("one program is needed").await) };
    let short = name.rsplit('/').next().unwrap_or_default();
    match process.processes().programs().iter().find(|program| program.name == short) {
        Some(program) => {
            process.print(program.usage).await?;
            Ok(0)
        }
        None => Err(process.fail(name, Errno::ENOENT).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_seconds() {
        assert_eq!(seconds("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(seconds(".000000001"), Some(Duration::from_nanos(1)));
        assert_eq!(seconds("18446744073709551615"), Some(Duration::from_secs(u64::MAX)));
        for text in ["", ".", "-1", "1e3", "18446744073709551616", "1.0000000001", "+1"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
