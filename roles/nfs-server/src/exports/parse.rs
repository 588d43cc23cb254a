//! The text of exports(5): one directory a line (`;` ends a line too, for the kernel command line).

use super::client::ClientSpec;
use super::options::ExportOptions;
use super::{Export, ExportClient, normalise};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

/// Something about a line of exports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportProblem {
    /// Counted from 1.
    pub line: usize,
    /// The line was left out; otherwise it holds, and this is a warning.
    pub fatal: bool,
    /// What is wrong and, where it helps, what is expected.
    pub message: String,
}

impl fmt::Display for ExportProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = if self.fatal { " (line left out)" } else { "" };
        write!(f, "exports line {}: {}{effect}", self.line, self.message)
    }
}

/// Parses a text of exports. A bad line is left out and never widens access.
pub fn parse_exports(text: &str) -> (Vec<Export>, Vec<ExportProblem>) {
    let (mut exports, mut problems) = (Vec::<Export>::new(), Vec::new());
    for (number, line) in logical_lines(text) {
        let mut warnings = Vec::new();
        let parsed = parse_line(&line, &mut warnings).and_then(|export| match export {
            Some(export) => check_unique(&export, &exports).map(|()| Some(export)),
            None => Ok(None),
        });
        let problem = |fatal, message| ExportProblem { line: number, fatal, message };
        problems.extend(warnings.into_iter().map(|message| problem(false, message)));
        match parsed {
            Ok(export) => exports.extend(export),
            Err(message) => problems.push(problem(true, message)),
        }
    }
    (exports, problems)
}

fn check_unique(export: &Export, others: &[Export]) -> Result<(), String> {
    if others.iter().any(|other| other.path == export.path) {
        return Err(format!("{} is exported twice: put all clients on one line", export.path));
    }
    match others.iter().find(|other| other.id == export.id) {
        Some(other) => Err(format!(
            "{} and {} would have the same number in file handles: give one of them another fsid=",
            export.path, other.path
        )),
        None => Ok(()),
    }
}

/// Lines with continuations joined, comments removed, and the number of their first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut current = String::new();
    let (mut number, mut first) = (1, 1);
    let mut quoted = false;
    let mut comment = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.peek() == Some(&'\n') => {
                letters.next();
                number += 1;
                current.push(' ');
            }
            '\n' | ';' if letter == '\n' || !(quoted || comment) => {
                number += usize::from(letter == '\n');
                lines.push((first, core::mem::take(&mut current)));
                first = number;
                (quoted, comment) = (false, false);
            }
            _ if comment => {}
            '#' if !quoted => comment = true,
            _ => {
                quoted ^= letter == '"';
                current.push(letter);
            }
        }
    }
    lines.push((first, current));
    lines
}

fn parse_line(line: &str, warnings: &mut Vec<String>) -> Result<Option<Export>, String> {
    let mut words = words(line)?.into_iter();
    let Some(path) = words.next() else { return Ok(None) };
    let path = normalise(&path).ok_or_else(|| {
        format!("'{path}' is no absolute path without '..': expected /directory client(options)")
    })?;
    let mut defaults = ExportOptions::default();
    let mut clients = Vec::new();
    for word in words {
        if let Some(list) = word.strip_prefix('-') {
            defaults = ExportOptions::default().apply(list, warnings)?;
            continue;
        }
        let (name, list) = match word.split_once('(') {
            Some((name, list)) => {
                let list = list.strip_suffix(')');
                (name, list.ok_or_else(|| format!("'{word}' lacks its closing parenthesis"))?)
            }
            None => (&word[..], ""),
        };
        let spec = ClientSpec::parse(name)?;
        if name.is_empty() && !clients.is_empty() {
            warnings.push(format!(
                "blank before '{word}': the options are everyone's, not those of the client before it"
            ));
        }
        if let ClientSpec::Netgroup(group) = &spec {
            warnings.push(format!("@{group} matches nobody: netgroups are not supported yet"));
        }
        clients.push(ExportClient { spec, options: defaults.apply(list, warnings)? });
    }
    if clients.is_empty() {
        clients.push(ExportClient { spec: ClientSpec::Anyone, options: defaults });
    }
    let fsid = clients.iter().find_map(|client| client.options.fsid);
    if clients.iter().any(|client| client.options.fsid.is_some_and(|other| Some(other) != fsid)) {
        return Err(format!("{path}: clients have different fsid="));
    }
    let id = export_id(&path, fsid);
    Ok(Some(Export { path, id, fsid, clients, root: Cell::new(None) }))
}

/// The number in file handles: the fsid where given and small, else a hash of the path (FNV-1a, folded).
fn export_id(path: &str, fsid: Option<u32>) -> u16 {
    if let Some(fsid) = fsid.filter(|fsid| *fsid < 0x8000) {
        return fsid as u16;
    }
    let seed = 0x811c_9dc5 ^ fsid.unwrap_or(0);
    let hash = path.bytes().fold(seed, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 16)) as u16 | 0x8000
}

/// Words separated by blanks; quotes and `\ooo` protect blanks.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quoted = false;
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            b'\\' => {
                let digits: Vec<u8> = rest.by_ref().take(3).collect();
                let value = core::str::from_utf8(&digits).ok().filter(|digits| digits.len() == 3);
                let value = value.and_then(|digits| u8::from_str_radix(digits, 8).ok());
                let value =
                    value.ok_or("a backslash must be followed by three octal digits or a new line")?;
                word.get_or_insert_default().push(value);
            }
            b' ' | b'\t' | b'\r' if !quoted => words.extend(word.take()),
            byte => word.get_or_insert_default().push(byte),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_string());
    }
    words.extend(word);
    words.into_iter().map(|word| String::from_utf8(word).map_err(|_| "not UTF-8".to_string())).collect()
}
