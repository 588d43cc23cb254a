//! Finding the program: PATH, scripts up to four levels (section 3.1).

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use keelson_lwk_wire::Errno;
use rustix::fs::CWD;

use super::{Stop, code};
use crate::calls::exec::open_program;
use crate::fail::Fail;
use crate::proxy::confine::Rules;

/// Levels of interpreters.
const LEVELS: usize = 4;
/// Bytes of the first line that count (BINPRM_BUF_SIZE).
const LINE: usize = 256;

/// A program that the node can load.
#[derive(Debug)]
pub struct Program {
    /// The ELF file.
    pub file: OwnedFd,
    /// Its path.
    pub path: Vec<u8>,
    /// Arguments, its own name first.
    pub argv: Vec<Vec<u8>>,
}

/// Finds `name` as a shell would, and what interprets it.
pub fn find(rules: &Rules, name: &OsStr, args: &[OsString]) -> Result<Program, Stop> {
    let (file, path) = search(rules, name)?;
    let mut argv = vec![name.as_bytes().to_vec()];
    argv.extend(args.iter().map(|arg| arg.as_bytes().to_vec()));
    interpret(rules, file, path, argv)
}

fn stop(name: &[u8], fail: Fail) -> Stop {
    let code = match fail.0 {
        Errno::ENOENT | Errno::ENOTDIR => code::NOT_FOUND,
        _ => code::NOT_EXECUTABLE,
    };
    Stop::new(code, format!("{}: {}", String::from_utf8_lossy(name), fail.0))
}

fn search(rules: &Rules, name: &OsStr) -> Result<(OwnedFd, Vec<u8>), Stop> {
    let bytes = name.as_bytes();
    let open = |path: &[u8]| open_program(rules, CWD, path, false);
    if bytes.contains(&b'/') {
        return open(bytes).map(|file| (file, bytes.to_vec())).map_err(|fail| stop(bytes, fail));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    let mut last = Fail(Errno::ENOENT);
    for dir in path.into_vec().split(|byte| *byte == b':') {
        let full = [if dir.is_empty() { b"." } else { dir }, b"/", bytes].concat();
        match open(&full) {
            Ok(file) => return Ok((file, full)),
            // Found, but not to be executed: that is the answer if there is no better one.
            Err(Fail(Errno::EACCES)) => last = Fail(Errno::EACCES),
            Err(_) => {}
        }
    }
    Err(stop(bytes, last))
}

fn interpret(rules: &Rules, file: OwnedFd, path: Vec<u8>, argv: Vec<Vec<u8>>) -> Result<Program, Stop> {
    let (mut file, mut path, mut argv) = (file, path, argv);
    for _ in 0..=LEVELS {
        let mut head = [0; LINE];
        let len = rustix::io::pread(&file, &mut head, 0).map_err(|error| stop(&path, error.into()))?;
        let head = head.get(..len).unwrap_or_default();
        if head.starts_with(&keelson_elf::MAGIC) {
            return Ok(Program { file, path, argv });
        }
        let (interpreter, argument) = shebang(head).ok_or_else(|| stop(&path, Fail(Errno::ENOEXEC)))?;
        // The script's name in place of argv[0], as execve(2) has it.
        let mut next = vec![interpreter.to_vec()];
        next.extend(argument.map(<[u8]>::to_vec));
        next.push(path);
        next.extend(argv.into_iter().skip(1));
        file = open_program(rules, CWD, interpreter, false).map_err(|fail| stop(interpreter, fail))?;
        path = interpreter.to_vec();
        argv = next;
    }
    Err(stop(&path, Fail(Errno::ELOOP)))
}

/// The interpreter in the first line, and its one argument.
fn shebang(head: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    let (interpreter, rest) = line.split_at(end);
    let argument = rest.trim_ascii();
    (!interpreter.is_empty()).then_some((interpreter, (!argument.is_empty()).then_some(argument)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        assert_eq!(shebang(b"#!/bin/sh\necho"), Some((&b"/bin/sh"[..], None)));
        assert_eq!(
            shebang(b"#! /usr/bin/env  python3 -u \nx"),
            Some((&b"/usr/bin/env"[..], Some(&b"python3 -u"[..])))
        );
        assert_eq!(shebang(b"#!\n"), None);
        assert_eq!(shebang(b"echo"), None);
    }
}
