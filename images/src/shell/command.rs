//! Commands: words in, text out, at once or later.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use keelson_config::words;

/// What a command answers.
pub enum Reply {
    /// A text.
    Text(String),
    /// A text that has to be waited for. Given up, by dropping it, when the person at the terminal does not
    /// want to wait or is gone.
    Later(Pin<Box<dyn Future<Output = String>>>),
    /// Bytes for a file, written as fast as whoever reads them takes them; only where the other side can put them into one.
    /// Given up, by dropping it, when the reader goes away.
    Stream(Box<dyn Chunks>),
}

/// Bytes for a file, a piece at a time.
pub trait Chunks {
    /// The next piece; `None` after the last one. Asked for again only when the piece before has been sent.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>>;
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

    /// A command that writes a file.
    pub fn streaming(
        name: &'static str,
        help: &'static str,
        run: impl Fn(&[&str]) -> Reply + 'static,
    ) -> Command {
        Command { name, help, run: Box::new(run) }
    }
}

/// The text of a reply at a terminal, which cannot put bytes into a file. It ends in a newline unless it is empty. `line` is
/// what was typed.
pub(super) async fn shown(reply: Reply, line: &str) -> String {
    let text = match reply {
        Reply::Text(text) => text,
        Reply::Later(text) => text.await,
        Reply::Stream(_) => {
            let name = words(line).next().map_or("", |word| word.key);
            format!("{name}: writes a file; use: ssh ADDRESS {} >FILE", line.trim())
        }
    };
    ended(text)
}

/// A text with the end of its last line.
pub(super) fn ended(text: String) -> String {
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

/// Begins one line, cut into words as the kernel command line is. `document`, if any, is one word more.
pub(super) fn begin(
    commands: &[Command],
    others: Option<&'static str>,
    line: &str,
    document: Option<String>,
) -> Reply {
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
    use core::task::Waker;

    /// A file of two pieces.
    struct Two(u8);

    impl Chunks for Two {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
            self.0 += 1;
            Poll::Ready((self.0 <= 2).then(|| vec![self.0; 3]))
        }
    }

    fn run(line: &str, document: Option<&str>) -> String {
        let commands = [
            Command::new("echo", "repeats", |words| words.join("+")),
            Command::waiting("later", "waits", |words| {
                let count = words.len();
                async move { format!("{count}") }
            }),
            Command::streaming("record", "writes a file", |words| match words {
                ["wrong"] => Reply::Text("wrong: no such thing".into()),
                _ => Reply::Stream(Box::new(Two(0))),
            }),
        ];
        let reply = begin(&commands, None, line, document.map(String::from));
        let mut running = core::pin::pin!(shown(reply, line));
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
        assert_eq!(run("help", None), "echo       repeats\nlater      waits\nrecord     writes a file\n");
        assert_eq!(run("later a b c", None), "3\n");
    }

    #[test]
    fn files_are_for_those_who_can_keep_them() {
        let wanted = "record: writes a file; use: ssh ADDRESS record eth0 host 10.0.0.1 >FILE\n";
        assert_eq!(run(" record eth0 host 10.0.0.1 ", None), wanted);
        assert_eq!(run("record wrong", None), "wrong: no such thing\n");
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
