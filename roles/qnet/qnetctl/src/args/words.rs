//! Words of a command line: options are taken out wherever they stand.

use super::{Options, UsageError};
use std::collections::VecDeque;

/// Words that are not read yet.
pub struct Words {
    words: VecDeque<String>,
    /// `--` was there: no options follow.
    verbatim: bool,
    help: bool,
}

impl Words {
    pub fn new(words: impl IntoIterator<Item = String>) -> Words {
        Words { words: words.into_iter().collect(), verbatim: false, help: false }
    }

    pub fn asked_for_help(&self) -> bool {
        self.help
    }

    /// The next word that is no option of all commands.
    pub fn operand(&mut self, options: &mut Options) -> Result<Option<String>, UsageError> {
        match self.next(options)? {
            Some(Word::Operand(word)) => Ok(Some(word)),
            Some(Word::Option(name, _)) => {
                Err(UsageError::new(format!("there is no option \"{name}\" here")))
            }
            None => Ok(None),
        }
    }

    /// The next operand, which must be there.
    pub fn required(&mut self, options: &mut Options, what: &str) -> Result<String, UsageError> {
        self.operand(options)?.ok_or_else(|| UsageError::new(format!("{what} is missing")))
    }

    /// All operands that are left, at least one.
    pub fn several(&mut self, options: &mut Options, what: &str) -> Result<Vec<String>, UsageError> {
        let mut all = vec![self.required(options, what)?];
        while let Some(word) = self.operand(options)? {
            all.push(word);
        }
        Ok(all)
    }

    /// The next word; an option only if all commands do not have it.
    pub fn next(&mut self, options: &mut Options) -> Result<Option<Word>, UsageError> {
        while let Some(word) = self.words.pop_front() {
            if self.verbatim || !word.starts_with('-') || word == "-" {
                return Ok(Some(Word::Operand(word)));
            }
            if word == "--" {
                self.verbatim = true;
                continue;
            }
            if word == "--help" || word == "-h" {
                self.help = true;
                self.words.clear();
                return Ok(None);
            }
            // A short option has no "=".
            let (name, value) = match word.split_once('=').filter(|_| word.starts_with("--")) {
                Some((name, value)) => (name.to_string(), Some(value.to_string())),
                None => (word, None),
            };
            if !options.take(&name, &value, self)? {
                return Ok(Some(Word::Option(name, value)));
            }
        }
        Ok(None)
    }

    /// The value of an option: behind its "=", or the next word.
    pub fn value(&mut self, name: &str, inline: &Option<String>) -> Result<String, UsageError> {
        let value = inline.clone().or_else(|| self.words.pop_front());
        value.ok_or_else(|| UsageError::new(format!("{name} needs a value")))
    }

    /// Everything that is left, as it stands.
    pub fn rest(&mut self) -> Vec<String> {
        self.words.drain(..).collect()
    }

    /// Nothing may be left.
    pub fn end(&mut self, options: &mut Options) -> Result<(), UsageError> {
        match self.operand(options)? {
            Some(word) => Err(UsageError::new(format!("\"{word}\" is one word too many"))),
            None => Ok(()),
        }
    }
}

/// A word of a command.
pub enum Word {
    Operand(String),
    /// An option that all commands do not have, with what stood behind "=".
    Option(String, Option<String>),
}
