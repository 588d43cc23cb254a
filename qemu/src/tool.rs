//! Host programs the bench uses.

use std::io;
use std::process::Command;

use crate::error::{Error, Result};

/// Runs a command and returns its standard output; failure carries everything it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let (success, text, errors) = run(command)?;
    if success {
        return Ok(text);
    }
    Err(Error::Tool { command: line(command), output: format!("{text}{errors}") })
}

/// Runs a command and returns whether it succeeded, its output and its error output.
pub fn run(command: &mut Command) -> Result<(bool, String, String)> {
    match command.output() {
        Ok(output) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::Missing {
            what: command.get_program().to_string_lossy().into_owned(),
            remedy: "install it (Debian packages e2fsprogs, apt, dpkg)".into(),
        }),
        Err(source) => Err(Error::Io { doing: format!("run {}", line(command)), source }),
    }
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
