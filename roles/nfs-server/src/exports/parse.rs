//! The text of exports(5): one directory a line (`;` ends a line too, for the kernel command line).

use super::client::ClientSpec;
use super::options::{ExportOptions, Notes};
use super::{Export, ExportClient, normalise};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

/// Most exports; each is looked at to mount.
const MAX_EXPORTS: usize = 1024;

/// Longest message about a line: a word of it may be as long as the line.
const MAX_MESSAGE: usize = 400;

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
        let mut notes = Notes::default();
        let parsed = parse_line(&line, &mut notes).and_then(|export| match export {
            Some(export) => check_unique(&export, &exports).map(|()| Some(export)),
            None => Ok(None),
        });
        let problem = |fatal, message| ExportProblem { line: number, fatal, message: shortened(message) };
        problems.extend(notes.warnings.into_iter().map(|message| problem(false, message)));
        match parsed {
            Ok(export) => exports.extend(export),
            Err(message) => problems.push(problem(true, message)),
        }
    }
    (exports, problems)
}

fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
        message.push_str("...");
    }
    message
}

/// Whether an export may be added to others.
pub(super) fn check_unique(export: &Export, others: &[Export]) -> Result<(), String> {
    if others.len() >= MAX_EXPORTS {
        return Err(format!("more than {MAX_EXPORTS} exports"));
    }
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
pub(super) fn logical_lines(text: &str) -> Vec<(usize, String)> {
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

fn parse_line(line: &str, notes: &mut Notes) -> Result<Option<Export>, String> {
    if line.contains(|letter: char| letter == '\u{fffd}' || letter.is_control() && !"\t\r".contains(letter)) {
        return Err("not a line of text".to_string());
    }
    let mut words = words(line)?.into_iter();
    let Some(path) = words.next() else { return Ok(None) };
    let path = normalise(&path).ok_or_else(|| {
        format!("'{path}' is no absolute path without '..': expected /directory client(options)")
    })?;
    let mut defaults = ExportOptions::default();
    let mut clients = Vec::new();
    for word in words {
        if let Some(list) = word.strip_prefix('-') {
            defaults = ExportOptions::default().apply(list, notes)?;
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
            notes.warnings.push(format!(
                "blank before '{word}': the options are everyone's, not those of the client before it"
            ));
        }
        clients.push(ExportClient { spec, options: defaults.apply(list, notes)? });
    }
    if clients.is_empty() {
        clients.push(ExportClient { spec: ClientSpec::Anyone, options: defaults });
    }
    let fsid = clients.iter().find_map(|client| client.options.fsid);
    if clients.iter().any(|client| client.options.fsid.is_some_and(|other| Some(other) != fsid)) {
        return Err(format!("{path}: clients have different fsid="));
    }
    let id = export_id(&path, fsid);
    let quotas = core::mem::take(&mut notes.quotas);
    Ok(Some(Export { path, id, fsid, clients, quotas, root: Cell::new(None) }))
}

/// The number in file handles: the fsid where given and small, else a hash of the path (FNV-1a, folded).
fn export_id(path: &str, fsid: Option<u64>) -> u16 {
    if let Some(fsid) = fsid.filter(|fsid| *fsid < 0x8000) {
        return fsid as u16;
    }
    let fsid = fsid.unwrap_or(0);
    let seed = 0x811c_9dc5 ^ fsid as u32 ^ (fsid >> 32) as u32;
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
