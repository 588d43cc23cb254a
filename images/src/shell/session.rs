//! A conversation: lines typed become commands, whatever the terminal.

use super::command::{Command, Reply, begin, is_of, shown};
use super::tty::{Conversation, Interpreter, Tty};
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::pin::Pin;

/// Largest document that can be given to a command.
const DOCUMENT_MAX: usize = 256 << 10;

/// The commands of a node, for any number of terminals.
#[derive(Clone)]
pub struct Commands {
    list: Rc<Vec<Command>>,
    interpreter: Option<Rc<dyn Interpreter>>,
}

impl Commands {
    /// All commands, in alphabetical order.
    pub fn new(mut commands: Vec<Command>) -> Commands {
        commands.sort_by_key(|command| command.name);
        Commands { list: Rc::new(commands), interpreter: None }
    }

    /// The same, and lines that begin otherwise go to the role's interpreter.
    pub fn with_interpreter(self, interpreter: Rc<dyn Interpreter>) -> Commands {
        Commands { interpreter: Some(interpreter), ..self }
    }
}

/// What a line has begun. Given up by being dropped.
pub(super) enum Running {
    /// A text will be the answer.
    Answer(Pin<Box<dyn Future<Output = String>>>),
    /// The role's interpreter works on it; it uses the session's terminal meanwhile.
    Interpreted(Interpretation),
}

/// A line of the role's interpreter.
pub(super) type Interpretation = Pin<Box<dyn Future<Output = ()>>>;

/// What a line that somebody sends alone has begun.
pub(super) enum Executed {
    /// Nothing: its command does not exist. The text says so.
    Unknown(String),
    /// Its command has answered.
    Replied(Reply),
    /// The role's interpreter works on it; it uses the session's terminal meanwhile.
    Interpreted(Interpretation),
}

/// One terminal's conversation.
///
/// A line that ends in `<<WORD` takes the lines after it, up to one that is just `WORD`, as a document: the
/// command gets it as one more word. That is how a YAML file is brought to `lnetctl import` with nothing but
/// a terminal.
pub(super) struct Session {
    commands: Commands,
    tty: Rc<Tty>,
    conversation: Option<Rc<dyn Conversation>>,
    document: Option<Document>,
}

struct Document {
    line: String,
    end: String,
    text: String,
    too_long: bool,
}

impl Session {
    pub fn new(commands: Commands) -> Session {
        let tty = Rc::<Tty>::default();
        let conversation = commands.interpreter.as_ref().map(|interpreter| interpreter.converse(tty.clone()));
        Session { commands, tty, conversation, document: None }
    }

    /// The terminal of the role's interpreter.
    pub fn tty(&self) -> Rc<Tty> {
        self.tty.clone()
    }

    /// True when the next line is a command and not part of a document.
    pub fn is_idle(&self) -> bool {
        self.document.is_none()
    }

    /// What to show when a line is expected.
    pub fn prompt(&self) -> &'static str {
        if self.is_idle() { "> " } else { "" }
    }

    /// Gives up what was begun.
    pub fn cancel(&mut self) {
        self.document = None;
    }

    /// Takes one line; the answer may be waited for as long as its command likes.
    pub fn line(&mut self, line: String) -> Running {
        let action = self.take(line);
        if let (Action::Run(line, None), Some(conversation)) = (&action, &self.conversation)
            && !is_of(&self.commands.list, line)
        {
            return Running::Interpreted(conversation.line(line));
        }
        let Commands { list, interpreter } = self.commands.clone();
        Running::Answer(Box::pin(async move {
            match action {
                Action::None => String::new(),
                Action::Complain(text) => text,
                Action::Run(line, document) => {
                    let others = interpreter.map(|interpreter| interpreter.help());
                    shown(begin(&list, others, &line, document), &line).await
                }
            }
        }))
    }

    /// Takes a line that is everything its sender wants, and that has a place for files.
    pub fn execute(&self, line: &str) -> Executed {
        let Commands { list, interpreter } = &self.commands;
        match &self.conversation {
            Some(conversation) if !is_of(list, line) => Executed::Interpreted(conversation.line(line)),
            _ => {
                let others = interpreter.as_ref().map(|interpreter| interpreter.help());
                match begin(list, others, line, None) {
                    Reply::Text(text) if !is_of(list, line) => Executed::Unknown(text),
                    reply => Executed::Replied(reply),
                }
            }
        }
    }

    fn take(&mut self, line: String) -> Action {
        let Some(document) = &mut self.document else {
            return match heredoc(&line) {
                None => Action::Run(line, None),
                Some((command, end)) => {
                    let (line, end) = (command.to_string(), end.to_string());
                    self.document = Some(Document { line, end, text: String::new(), too_long: false });
                    Action::None
                }
            };
        };
        if line != document.end {
            document.too_long |= document.text.len() + line.len() >= DOCUMENT_MAX;
            if !document.too_long {
                document.text.push_str(&line);
                document.text.push('\n');
            }
            return Action::None;
        }
        match self.document.take() {
            Some(Document { too_long: true, .. }) => Action::Complain(format!(
                "the document is longer than {} KiB; nothing was done\n",
                DOCUMENT_MAX >> 10
            )),
            Some(Document { line, text, .. }) => Action::Run(line, Some(text)),
            None => Action::None,
        }
    }
}

enum Action {
    None,
    Complain(String),
    Run(String, Option<String>),
}

/// Command and end mark of a line that begins a document.
fn heredoc(line: &str) -> Option<(&str, &str)> {
    let (command, end) = line.trim_end().rsplit_once("<<")?;
    let mark = !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (mark && !command.trim().is_empty()).then_some((command, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &[&str]) -> Vec<(String, Option<String>)> {
        let mut session = Session::new(Commands::new(Vec::new()));
        let run = |action| match action {
            Action::Run(line, document) => Some((line, document)),
            _ => None,
        };
        lines.iter().filter_map(|line| run(session.take(line.to_string()))).collect()
    }

    #[test]
    fn documents_end_at_their_mark() {
        let all = taken(&["a", "import --del <<END", "net:", " END", "END", "b", "c <<", "<<END"]);
        assert_eq!(
            all,
            [
                ("a".into(), None),
                ("import --del ".into(), Some("net:\n END\n".into())),
                ("b".into(), None),
                ("c <<".into(), None),
                ("<<END".into(), None)
            ]
        );
    }

    #[test]
    fn documents_are_bounded() {
        let mut session = Session::new(Commands::new(Vec::new()));
        session.take("x <<E".into());
        for _ in 0..=DOCUMENT_MAX / 1000 {
            session.take("y".repeat(1000));
        }
        assert!(session.document.as_ref().is_some_and(|document| document.text.len() <= DOCUMENT_MAX));
        assert!(matches!(session.take("E".into()), Action::Complain(_)));
        assert!(matches!(session.take("z".into()), Action::Run(..)));
    }
}
