//! What a verb says, as text for people and as JSON (RFC 8259) for programs. Programs decide how many rows there are: threads,
//! calls under way.

use crate::{Errno, room};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

/// A figure or a word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    /// A figure: to the right in its column.
    Number(u64),
    /// A word: to the left.
    Text(String),
}

impl From<u64> for Cell {
    fn from(number: u64) -> Cell {
        Cell::Number(number)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(String::from(text))
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl Cell {
    fn text(&self) -> String {
        match self {
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => text.clone(),
        }
    }

    fn json(&self) -> String {
        match self {
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => quoted(text),
        }
    }
}

/// Rows under titles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// Titles; in small letters they are the names in JSON.
    pub titles: &'static [&'static str],
    /// As many cells each as there are titles.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    fn text(&self) -> Result<String, Errno> {
        let titles: Vec<Cell> = self.titles.iter().map(|title| Cell::from(*title)).collect();
        let last = self.titles.len().saturating_sub(1);
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&titles]).filter_map(|row| row.get(column));
            cells.map(|cell| cell.text().chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.titles.len()).map(width).collect();
        let numbers = |column: usize| {
            self.rows
                .first()
                .and_then(|row| row.get(column))
                .is_some_and(|cell| matches!(cell, Cell::Number(_)))
        };
        let right: Vec<bool> = (0..self.titles.len()).map(numbers).collect();
        let mut text = String::new();
        for row in [&titles].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let blank = if column == 0 { "" } else { " " };
                let width = widths.get(column).copied().unwrap_or(0);
                let cell = cell.text();
                // Writing to a string does not fail.
                let _ = match (right.get(column), column == last) {
                    (Some(true), _) => write!(line, "{blank}{cell:>width$}"),
                    (_, true) => write!(line, "{blank}{cell}"),
                    _ => write!(line, "{blank}{cell:<width$}"),
                };
            }
            room::push_text(&mut text, line.trim_end())?;
            room::push_text(&mut text, "\n")?;
        }
        Ok(text)
    }

    fn json(&self) -> Result<String, Errno> {
        let record = |row: &Vec<Cell>| {
            let fields = self.titles.iter().zip(row);
            let fields =
                fields.map(|(title, cell)| format!("{}:{}", quoted(&title.to_lowercase()), cell.json()));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        };
        let mut json = String::from("[");
        for (index, row) in self.rows.iter().enumerate() {
            room::push_text(&mut json, if index == 0 { "" } else { "," })?;
            room::push_text(&mut json, &record(row))?;
        }
        room::push_text(&mut json, "]\n")?;
        Ok(json)
    }
}

/// The answer to a verb.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// Nothing to be said: it is done.
    Done,
    /// One word, and its name in JSON.
    Word(&'static str, String),
    /// Names and figures.
    Pairs(Vec<(String, u64)>),
    /// Rows.
    Table(Table),
}

impl Report {
    /// For people. ENOMEM.
    pub fn text(&self) -> Result<String, Errno> {
        Ok(match self {
            Report::Done => String::new(),
            Report::Word(_, word) => format!("{word}\n"),
            Report::Pairs(pairs) => pairs.iter().map(|(name, value)| format!("{name} {value}\n")).collect(),
            Report::Table(table) => return table.text(),
        })
    }

    /// For programs: one line. ENOMEM.
    pub fn json(&self) -> Result<String, Errno> {
        let value = match self {
            Report::Done => "{}".to_string(),
            Report::Word(name, word) => format!("{{{}:{}}}", quoted(name), quoted(word)),
            Report::Pairs(pairs) => {
                let pairs = pairs.iter().map(|(name, value)| format!("{}:{value}", quoted(name)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
            }
            Report::Table(table) => return table.json(),
        };
        Ok(value + "\n")
    }
}

/// A string of JSON (RFC 8259, section 7).
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json() {
        let table = Table {
            titles: &["PID", "STATE", "COMMAND"],
            rows: alloc::vec![
                alloc::vec![7.into(), "R".into(), "a \"b\"\n".into()],
                alloc::vec![1234.into(), "D".into(), "é".into()],
            ],
        };
        let report = Report::Table(table);
        assert_eq!(report.text().unwrap(), " PID STATE COMMAND\n   7 R     a \"b\"\n1234 D     é\n");
        assert_eq!(
            report.json().unwrap(),
            "[{\"pid\":7,\"state\":\"R\",\"command\":\"a \\\"b\\\"\\u000a\"},\
             {\"pid\":1234,\"state\":\"D\",\"command\":\"é\"}]\n"
        );
        let pairs = Report::Pairs(alloc::vec![("a[1]".into(), 5), ("b".into(), 6)]);
        assert_eq!(
            (pairs.text().unwrap().as_str(), pairs.json().unwrap().as_str()),
            ("a[1] 5\nb 6\n", "{\"a[1]\":5,\"b\":6}\n")
        );
        let word = Report::Word("status", "RUNNING".into());
        assert_eq!(
            (word.text().unwrap().as_str(), word.json().unwrap().as_str()),
            ("RUNNING\n", "{\"status\":\"RUNNING\"}\n")
        );
        assert_eq!(
            (Report::Done.text().unwrap().as_str(), Report::Done.json().unwrap().as_str()),
            ("", "{}\n")
        );
    }
}
