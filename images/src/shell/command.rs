//! Commands: words in, text out, at once or later.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::future::Future;
use core::pin::Pin;
use keelson_config::words;

/// What a command answers.
pub enum Reply {
    /// A text.
    Text(String),
    /// A text that has to be waited for. Given up, by dropping it, when the person at the terminal does not
    /// want to wait or is gone.
    Later(Pin<Box<dyn Future<Output = String>>>),
}

/// What a command does: the words after its name come in, text for the terminal goes out.
pub type Action = Box<dyn Fn(&[&str]) -> Reply>;

/// One command of the shell.
pub struct Command {
    /// What is typed.
    pub name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Does it.
    pub run: Action,
}

impl Command {
    /// A command that answers at once.
    pub fn new(name: &'static str, help: &'static str, run: impl Fn(&[&str]) -> String + 'static) -> Command {
        Command { name, help, run: Box::new(move |words| Reply::Text(run(words))) }
    }

    /// A command that may wait. `run` takes from the words what its future needs.
    pub fn waiting<F>(name: &'static str, help: &'static str, run: impl Fn(&[&str]) -> F + 'static) -> Command
    where
        F: Future<Output = String> + 'static,
    {
        Command { name, help, run: Box::new(move |words| Reply::Later(Box::pin(run(words)))) }
    }
}

/// Runs one line, cut into words as the kernel command line is. `document`, if any, is one word more. The
/// result ends in a newline unless it is empty.
pub(super) async fn execute(
    commands: &[Command],
    others: Option<&'static str>,
    line: &str,
    document: Option<String>,
) -> String {
    let text = match begin(commands, others, line, document) {
        Reply::Text(text) => text,
        Reply::Later(text) => text.await,
    };
    if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
}

/// Whether a line is for these commands: its first word is one of them, or there is none.
pub(super) fn is_of(commands: &[Command], line: &str) -> bool {
    let first = words(line).next();
    first.is_none_or(|word| {
        let is_it = |name: &str| word.value.is_none() && word.key == name;
        is_it("help") || commands.iter().any(|command| is_it(command.name))
    })
}

fn begin(commands: &[Command], others: Option<&'static str>, line: &str, document: Option<String>) -> Reply {
    let line: Vec<String> = words(line)
        .map(|word| match word.value {
            // The quotes around the value are gone.
            Some(value) => format!("{}={value}", word.key),
            None => word.key.to_owned(),
        })
        .chain(document)
        .collect();
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let Some((name, arguments)) = line.split_first() else { return Reply::Text(String::new()) };
    if *name == "help" {
        return Reply::Text(help(commands, others));
    }
    match commands.iter().find(|command| command.name == *name) {
        Some(command) => (command.run)(arguments),
        None => Reply::Text(format!("{name}: no such command; try help\n")),
    }
}

fn help(commands: &[Command], others: Option<&str>) -> String {
    let mut text = String::new();
    for command in commands {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<10} {}", command.name, command.help);
    }
    if let Some(others) = others {
        let _ = writeln!(text, "{:<10} {others}", "others");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::task::{Context, Poll, Waker};

    fn run(line: &str, document: Option<&str>) -> String {
        let commands = [
            Command::new("echo", "repeats", |words| words.join("+")),
            Command::waiting("later", "waits", |words| {
                let count = words.len();
                async move { format!("{count}") }
            }),
        ];
        let mut running = core::pin::pin!(execute(&commands, None, line, document.map(String::from)));
        match running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(text) => text,
            Poll::Pending => panic!("nothing here waits"),
        }
    }

    #[test]
    fn lines_find_their_command() {
        assert_eq!(run("  echo a  b ", None), "a+b\n");
        assert_eq!(run("", None), "");
        assert_eq!(run("ls", None), "ls: no such command; try help\n");
        assert_eq!(run("help", None), "echo       repeats\nlater      waits\n");
        assert_eq!(run("later a b c", None), "3\n");
    }

    #[test]
    fn lines_that_are_not_for_them() {
        let commands = [Command::new("echo", "repeats", |_| String::new())];
        for (line, is_theirs) in [
            ("echo a", true),
            (" help", true),
            ("", true),
            ("  ", true),
            ("echo=1", false),
            ("ls | echo", false),
        ] {
            assert_eq!(is_of(&commands, line), is_theirs, "{line:?}");
        }
        assert_eq!(help(&commands, Some("QNX's")), "echo       repeats\nothers     QNX's\n");
    }

    #[test]
    fn quotes_group_words() {
        assert_eq!(run("echo \"a b\" --net=\"tcp 1\" \"\" c=d=e", None), "a b+--net=tcp 1++c=d=e\n");
    }

    #[test]
    fn a_document_is_the_last_word() {
        assert_eq!(run("echo a", Some("net:\n  - x\n")), "a+net:\n  - x\n");
    }
}
