//! `echo`, `true`, `false`, `sleep`.

use crate::procs::{Exit, Process};

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
