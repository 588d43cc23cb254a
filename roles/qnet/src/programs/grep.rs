//! `grep`: lines that fit a pattern.

use super::text::{Lines, Options};
use crate::procs::{Exit, Process};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

mod pattern;

use pattern::Pattern;

/// Patterns at once.
const PATTERNS: usize = 32;

pub(super) async fn main(process: &Process) -> Result<i32, Exit> {
    let mut options = Options::parse(process, "chilnqsv", "e").await?;
    let mut texts: Vec<&str> = options.values('e').collect();
    if texts.is_empty() {
        if options.rest.is_empty() {
            return Err(process.usage("a pattern is needed").await);
        }
        texts.push(options.rest.remove(0));
    }
    if texts.len() > PATTERNS {
        return Err(process.usage(&format!("{PATTERNS} patterns at most")).await);
    }
    let mut patterns = Vec::new();
    for text in texts {
        match Pattern::new(text.as_bytes(), options.has('i')) {
            Some(pattern) => patterns.push(pattern),
            None => {
                process.complain(&format!("\"{text}\" is no pattern")).await;
                return Err(Exit(2));
            }
        }
    }
    let names = if options.rest.is_empty() { vec!["-"] } else { options.rest.clone() };
    let search = Search { process, patterns: &patterns, options: &options, with_name: names.len() > 1 };
    let (mut found, mut failed) = (false, false);
    for name in names {
        match search.file(name).await? {
            Some(count) => found |= count > 0,
            None => failed = true,
        }
        if found && options.has('q') {
            return Ok(0);
        }
    }
    Ok(if failed { 2 } else { i32::from(!found) })
}

struct Search<'a> {
    process: &'a Process,
    patterns: &'a [Pattern],
    options: &'a Options<'a>,
    with_name: bool,
}

impl Search<'_> {
    /// How many lines of a file fit; `None` when it cannot be read.
    async fn file(&self, name: &str) -> Result<Option<u64>, Exit> {
        let (process, options) = (self.process, self.options);
        let input = match process.open_input(name).await {
            Ok(input) => input,
            Err(errno) => {
                if !options.has('s') {
                    process.warn(name, errno).await;
                }
                return Ok(None);
            }
        };
        let shown = if name == "-" { "(standard input)" } else { name };
        let prefix = if self.with_name && !options.has('h') { format!("{shown}:") } else { "".into() };
        let mut lines = Lines::new(input);
        let (mut number, mut count) = (0_u64, 0_u64);
        loop {
            let line = match lines.next(process).await? {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(errno) => {
                    process.warn(name, errno).await;
                    return Ok(None);
                }
            };
            number += 1;
            let fits = self.patterns.iter().any(|pattern| pattern.fits(line));
            if fits == options.has('v') {
                continue;
            }
            count += 1;
            if options.has('q') || options.has('l') {
                break;
            }
            if options.has('c') {
                continue;
            }
            process.print(&prefix).await?;
            if options.has('n') {
                process.print(format!("{number}:")).await?;
            }
            process.print(line).await?;
            process.print("\n").await?;
        }
        if options.has('l') && count > 0 {
            process.print(format!("{shown}\n")).await?;
        } else if options.has('c') {
            process.print(format!("{prefix}{count}\n")).await?;
        }
        Ok(Some(count))
    }
}
