//! Reading: block mappings and lists by their indentation, flow mappings and lists on one line, plain and quoted
//! scalars, comments.

use super::{Quotes, Yaml};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Levels of nesting.
const DEPTH: usize = 16;
/// Lines.
const LINES: usize = 65_536;

/// Why a text is not understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct YamlError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl core::error::Error for YamlError {}

/// A line that says something.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    /// Column of its first character, behind the dashes that were taken off.
    column: usize,
    text: &'a str,
}

impl Line<'_> {
    fn error(&self, problem: &'static str) -> YamlError {
        YamlError { line: self.number, problem }
    }

    fn is_item(&self) -> bool {
        self.text == "-" || self.text.starts_with("- ")
    }
}

/// Reads a document. Nothing but comments is an empty mapping.
///
/// # Errors
///
/// The first line that is not understood.
pub fn parse(text: &str) -> Result<Yaml, YamlError> {
    let mut lines = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        if number > LINES {
            return Err(YamlError { line: number, problem: "the text has too many lines" });
        }
        let content = without_comment(raw).trim_ascii_end();
        let text = content.trim_start_matches(' ');
        if text.is_empty() || text == "---" || text == "..." {
            continue;
        }
        let line = Line { number, column: content.len() - text.len(), text };
        if text.starts_with('\t') {
            return Err(line.error("a tab cannot indent: use spaces"));
        }
        lines.push(line);
    }
    let mut reader = Reader { lines, next: 0 };
    let Some(first) = reader.peek() else { return Ok(Yaml::map()) };
    let value = reader.block(first.column, 0)?;
    match reader.peek() {
        None => Ok(value),
        Some(line) => Err(line.error("the line is indented less than what it belongs to")),
    }
}

/// The line up to a comment: `#` at its start or behind a blank, outside quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = b' ';
    for (at, byte) in line.bytes().enumerate() {
        match (quote, byte) {
            (None, b'#') if before.is_ascii_whitespace() => return &line[..at],
            (None, b'"' | b'\'') if !before.is_ascii_alphanumeric() => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        before = byte;
    }
    line
}

struct Reader<'a> {
    lines: Vec<Line<'a>>,
    next: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<Line<'a>> {
        self.lines.get(self.next).copied()
    }

    /// Reads the block whose lines begin in this column.
    fn block(&mut self, column: usize, depth: usize) -> Result<Yaml, YamlError> {
        let Some(first) = self.peek() else { return Ok(Yaml::plain("")) };
        if depth > DEPTH {
            return Err(first.error("nested too deeply"));
        }
        if first.is_item() {
            return self.list(column, depth);
        }
        if split_key(first.text).is_none() {
            self.next += 1;
            return scalar_or_flow(first);
        }
        self.mapping(column, depth)
    }

    fn list(&mut self, column: usize, depth: usize) -> Result<Yaml, YamlError> {
        let mut items = Vec::new();
        while let Some(line) = self.peek().filter(|line| line.column == column && line.is_item()) {
            let rest = line.text.get(1..).unwrap_or_default();
            let text = rest.trim_start_matches(' ');
            if text.is_empty() {
                self.next += 1;
                items.push(match self.peek().filter(|line| line.column > column) {
                    Some(inner) => self.block(inner.column, depth + 1)?,
                    None => Yaml::plain(""),
                });
                continue;
            }
            // What stands behind the dash is a block of its own, indented by the dash.
            let behind = Line { column: column + 1 + rest.len() - text.len(), text, ..line };
            if let Some(place) = self.lines.get_mut(self.next) {
                *place = behind;
            }
            items.push(self.block(behind.column, depth + 1)?);
        }
        self.ended(column)?;
        Ok(Yaml::Seq(items))
    }

    fn mapping(&mut self, column: usize, depth: usize) -> Result<Yaml, YamlError> {
        let mut entries: Vec<(String, Yaml)> = Vec::new();
        while let Some(line) = self.peek().filter(|line| line.column == column && !line.is_item()) {
            let (key, value) = split_key(line.text).ok_or_else(|| line.error("expected is KEY: VALUE"))?;
            if entries.iter().any(|(known, _)| known == key) {
                return Err(line.error("the key stands twice"));
            }
            self.next += 1;
            let value = if value.is_empty() {
                // The items of a list may stand in the column of its key.
                let belongs =
                    |next: &Line<'_>| next.column > column || (next.column == column && next.is_item());
                match self.peek().filter(belongs) {
                    Some(inner) => self.block(inner.column, depth + 1)?,
                    None => Yaml::plain(""),
                }
            } else {
                scalar_or_flow(Line { text: value, ..line })?
            };
            entries.push((key.to_owned(), value));
        }
        self.ended(column)?;
        Ok(Yaml::Map(entries))
    }

    /// What follows a block must not be indented more than the block.
    fn ended(&self, column: usize) -> Result<(), YamlError> {
        match self.peek() {
            Some(line) if line.column > column => {
                Err(line.error("the line is indented more than its neighbours"))
            }
            _ => Ok(()),
        }
    }
}

/// Key and value of a line: split at the first colon that ends the line or has a blank behind it.
fn split_key(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['{', '[', '"', '\'']) {
        return None;
    }
    let at = text.match_indices(':').map(|(at, _)| at).find(|at| {
        let after = text.as_bytes().get(at + 1);
        after.is_none_or(|byte| *byte == b' ')
    })?;
    let (key, value) = text.split_at(at);
    Some((key.trim_ascii(), value.get(1..).unwrap_or_default().trim_ascii()))
}

fn scalar_or_flow(line: Line<'_>) -> Result<Yaml, YamlError> {
    let mut flow = Flow { rest: line.text, line };
    let value = if line.text.starts_with(['{', '[', '"', '\'']) {
        flow.value(0)?
    } else {
        flow.rest = "";
        plain(line, line.text)?
    };
    match flow.rest.trim_ascii() {
        "" => Ok(value),
        _ => Err(line.error("something follows the value")),
    }
}

fn plain(line: Line<'_>, text: &str) -> Result<Yaml, YamlError> {
    match text.starts_with(['&', '!', '|', '>', '%', '@', '`']) || (text.starts_with('*') && text.len() == 1)
    {
        true => Err(line.error("anchors, tags and block texts are not understood")),
        false => Ok(Yaml::Scalar(text.trim_ascii().to_owned(), Quotes::No)),
    }
}

/// Reads `{ key: value, ... }`, `[a, b]` and quoted texts from the front.
struct Flow<'a> {
    rest: &'a str,
    line: Line<'a>,
}

impl<'a> Flow<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Result<Yaml, YamlError> {
        if depth > DEPTH {
            return Err(self.line.error("nested too deeply"));
        }
        if self.eat('{') {
            return self.mapping(depth);
        }
        if self.eat('[') {
            return self.list(depth);
        }
        self.skip();
        for quote in ['"', '\''] {
            if let Some(inner) = self.rest.strip_prefix(quote) {
                let (text, rest) =
                    inner.split_once(quote).ok_or_else(|| self.line.error("a quote is not closed"))?;
                self.rest = rest;
                return Ok(Yaml::plain(text));
            }
        }
        let text = self.until(&[',', '}', ']']);
        plain(self.line, text)
    }

    fn until(&mut self, ends: &[char]) -> &'a str {
        let (text, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        text
    }

    fn mapping(&mut self, depth: usize) -> Result<Yaml, YamlError> {
        let mut entries = Vec::new();
        while !self.eat('}') {
            self.skip();
            let (key, rest) =
                self.rest.split_once(':').ok_or_else(|| self.line.error("expected is KEY: VALUE"))?;
            self.rest = rest;
            let value = self.value(depth + 1)?;
            entries.push((key.trim_ascii().to_owned(), value));
            self.separated('}')?;
        }
        Ok(Yaml::Map(entries))
    }

    fn list(&mut self, depth: usize) -> Result<Yaml, YamlError> {
        let mut items = Vec::new();
        while !self.eat(']') {
            items.push(self.value(depth + 1)?);
            self.separated(']')?;
        }
        Ok(Yaml::Seq(items))
    }

    /// A comma, or the end without one.
    fn separated(&mut self, end: char) -> Result<(), YamlError> {
        self.skip();
        if self.eat(',') || self.rest.starts_with(end) {
            return Ok(());
        }
        Err(self.line.error("a bracket is not closed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_tools_write() {
        let text = "\
# the file of a router
net:
    - net type: tcp1   # far side
      local NI(s):
        - interfaces:
              0: eth0
          tunables:
              peer_timeout: 180
route:
- net: tcp3
  gateway: fd00::9@tcp2
  hop: -1
buffers: { tiny: 2048, small: 16, list: [0, \"1,2\"] }
";
        let read = parse(text).unwrap();
        let net = &read.get("net").unwrap().items()[0];
        let ni = &net.get("local NI(s)").unwrap().items()[0];
        assert_eq!(net.get("net type").unwrap().text(), Some("tcp1"));
        assert_eq!(ni.get("interfaces").unwrap().get("0").unwrap().text(), Some("eth0"));
        assert_eq!(ni.get("tunables").unwrap().get("peer_timeout").unwrap().text(), Some("180"));
        let route = &read.get("route").unwrap().items()[0];
        assert_eq!(route.get("gateway").unwrap().text(), Some("fd00::9@tcp2"));
        let buffers = read.get("buffers").unwrap();
        assert_eq!(buffers.get("small").unwrap().text(), Some("16"));
        assert_eq!(buffers.get("list").unwrap().items()[1].text(), Some("1,2"));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, line, says) in [
            ("net:\n\t- a: b\n", 2, "tab"),
            ("net:\n    - a: b\n        c: d\n", 3, "more"),
            ("  net: a\nroute: b\n", 2, "less"),
            ("a: 1\na: 2\n", 2, "twice"),
            ("a: {b: 1\n", 1, "not closed"),
            ("a: {b}\n", 1, "KEY"),
            ("a: \"b\n", 1, "quote"),
            ("a: \"b\" c\n", 1, "follows"),
            ("a: &b c\n", 1, "anchors"),
            ("a: 1\nnonsense\n", 2, "KEY"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.line == line && error.problem.contains(says), "{text:?}: {error}");
        }
        let deep = "[".repeat(100);
        assert!(parse(&deep).unwrap_err().problem.contains("deep"));
        let deep: String = (0..100).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        assert!(parse(&deep).unwrap_err().problem.contains("deep"));
    }

    #[test]
    fn nothing_is_an_empty_mapping() {
        assert_eq!(parse("\n# nothing\n---\n"), Ok(Yaml::map()));
    }

    fn value() -> impl Strategy<Value = Yaml> {
        let text = "[a-z0-9][a-z0-9@._]{0,7}( [a-z0-9]{1,4})?";
        let leaf = text.prop_map(Yaml::plain);
        leaf.prop_recursive(4, 32, 4, move |inner| {
            let map = prop::collection::btree_map("[a-z]{1,6}( [a-z]{1,4})?", inner.clone(), 1..4)
                .prop_map(|map| Yaml::Map(map.into_iter().collect()));
            let item = prop_oneof![text.prop_map(Yaml::plain), map.clone()];
            prop_oneof![map, prop::collection::vec(item, 1..4).prop_map(Yaml::Seq)]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in value()) {
            let value = Yaml::map().with("top", value);
            prop_assert_eq!(parse(&value.to_string()), Ok(value));
        }

        #[test]
        fn no_text_is_too_strange(text in "([ \\-:{}\\[\\],\"'#a\n]|\u{fc}){0,60}") {
            let _ = parse(&text);
        }
    }
}
