//! `lwk-rsh`: what MPI launchers call in place of rsh, since there is nobody to log in to on a node (section 7.4).
//!
//! The launcher's daemon runs here, and with it all that it starts; `LWK_NODE` sends the programs to the node.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::nodes;

const USAGE: &str = "usage: lwk-rsh [options of rsh or ssh] <node> <command> [words]";

/// Options of rsh and ssh that take a value; all options are skipped.
const VALUES: &[u8] = b"lpoiFJ";

/// Node and command line, as a remote shell would get them: one line of text.
fn parse(args: Vec<OsString>) -> Option<(OsString, OsString)> {
    let mut args = args.into_iter();
    let mut node = args.next()?;
    while node.as_bytes().starts_with(b"-") {
        if matches!(node.as_bytes(), [b'-', letter] if VALUES.contains(letter)) {
            args.next()?;
        }
        node = args.next()?;
    }
    let words: Vec<OsString> = args.collect();
    let line = words.join(OsStr::new(" "));
    (!line.is_empty()).then_some((node, line))
}

/// Runs the command here, for the node. Returns only when it cannot.
pub fn run(args: Vec<OsString>) -> i32 {
    let Some((node, line)) = parse(args) else {
        eprintln!("{USAGE}");
        return 2;
    };
    let conf = std::env::var_os("LWK_CONF").map_or_else(|| nodes::DEFAULT_CONF.into(), PathBuf::from);
    let known = match nodes::load(&conf) {
        Ok(table) => table.iter().any(|known| node == *known.name || node == *known.index.to_string()),
        Err(error) => {
            eprintln!("lwk-rsh: {error}");
            return 1;
        }
    };
    if !known {
        let (node, conf) = (node.display(), conf.display());
        eprintln!("lwk-rsh: {node}: no such node in {conf}; name nodes of it in -hosts or the host file");
        return 1;
    }
    let error = Command::new("/bin/sh").arg("-c").arg(line).env("LWK_NODE", node).exec();
    eprintln!("lwk-rsh: /bin/sh: {error}");
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Option<(String, String)> {
        let (node, line) = parse(words.iter().map(OsString::from).collect())?;
        Some((node.into_string().unwrap(), line.into_string().unwrap()))
    }

    #[test]
    fn words_as_launchers_give_them() {
        let text = |node: &str, line: &str| Some((node.to_owned(), line.to_owned()));
        // Hydra quotes for a shell at the other end.
        assert_eq!(
            parsed(&["n1", "\"/usr/bin/proxy\"", "--id", "1"]),
            text("n1", "\"/usr/bin/proxy\" --id 1")
        );
        assert_eq!(parsed(&["-x", "-l", "me", "n1", "orted -x"]), text("n1", "orted -x"));
        for bad in [&[][..], &["n1"], &["-l", "me"], &["-x"]] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }
}
