//! A line, taken apart into lists of pipelines of commands.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Commands of a pipeline.
const COMMANDS: usize = 16;
/// Words of a command, before names are filled in.
const WORDS: usize = 256;

/// Why a line cannot be understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SyntaxError {
    /// A quote without end.
    Quote(char),
    /// Nothing to the left or the right of this.
    Missing(&'static str),
    /// More commands or words than there may be.
    TooMany(&'static str),
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyntaxError::Quote(quote) => write!(f, "syntax error: {quote} is not closed"),
            SyntaxError::Missing(what) => write!(f, "syntax error: a command is missing at {what}"),
            SyntaxError::TooMany(what) => write!(f, "too many {what} in one line"),
        }
    }
}

/// A word: its characters, and whether each is quoted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Word(pub Vec<(char, bool)>);

impl Word {
    pub fn text(&self) -> String {
        self.0.iter().map(|(char, _)| *char).collect()
    }
}

/// What is done to a descriptor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Redirection {
    /// `<`
    From(Word),
    /// `>`
    To(Word),
    /// `>>`
    Append(Word),
    /// `>&`
    Same(i32),
}

/// A command.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Command {
    pub words: Vec<Word>,
    pub redirections: Vec<(i32, Redirection)>,
}

/// When a pipeline runs, after the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum When {
    Always,
    /// `&&`
    Success,
    /// `||`
    Failure,
}

/// Commands joined by pipes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pipeline {
    pub when: When,
    pub commands: Vec<Command>,
    pub in_background: bool,
}

enum Token {
    Word(Word),
    /// `<`, `>`, `>>`, `>&`, with the descriptor.
    Redirect(i32, &'static str),
    Operator(&'static str),
}

/// Understands a line.
pub(super) fn parse(line: &str) -> Result<Vec<Pipeline>, SyntaxError> {
    let mut pipelines = Vec::new();
    let mut when = When::Always;
    let mut commands: Vec<Command> = Vec::new();
    let mut command = Command::default();
    let mut tokens = tokens(line)?.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            Token::Word(word) => {
                command.words.push(word);
                if command.words.len() > WORDS {
                    return Err(SyntaxError::TooMany("words"));
                }
            }
            Token::Redirect(fd, how) => {
                let Some(Token::Word(target)) = tokens.next() else { return Err(SyntaxError::Missing(how)) };
                let redirection = match how {
                    "<" => Redirection::From(target),
                    ">" => Redirection::To(target),
                    ">>" => Redirection::Append(target),
                    _ => Redirection::Same(target.text().parse().map_err(|_| SyntaxError::Missing(how))?),
                };
                command.redirections.push((fd, redirection));
            }
            Token::Operator("|") => {
                commands.push(finished(&mut command).ok_or(SyntaxError::Missing("|"))?);
                if commands.len() >= COMMANDS {
                    return Err(SyntaxError::TooMany("commands"));
                }
            }
            Token::Operator(operator) => {
                let last = finished(&mut command);
                let is_empty = commands.is_empty() && last.is_none();
                // Only an empty line may stand before `;`.
                if is_empty && (operator != ";" || when != When::Always) {
                    return Err(SyntaxError::Missing(operator));
                }
                if !is_empty {
                    commands.push(last.ok_or(SyntaxError::Missing(operator))?);
                    let commands = core::mem::take(&mut commands);
                    pipelines.push(Pipeline { when, commands, in_background: operator == "&" });
                }
                when = match operator {
                    "&&" => When::Success,
                    "||" => When::Failure,
                    _ => When::Always,
                };
            }
        }
    }
    match finished(&mut command) {
        Some(last) => {
            commands.push(last);
            pipelines.push(Pipeline { when, commands, in_background: false });
        }
        None if !commands.is_empty() || when != When::Always => return Err(SyntaxError::Missing("the end")),
        None => {}
    }
    Ok(pipelines)
}

fn finished(command: &mut Command) -> Option<Command> {
    let command = core::mem::take(command);
    let is_empty = command.words.is_empty() && command.redirections.is_empty();
    (!is_empty).then_some(command)
}

fn tokens(line: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut word: Option<Word> = None;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\'' | '"' => {
                word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(SyntaxError::Quote(char))? {
                        end if end == char => break,
                        '\\' if char == '"' && matches!(chars.peek(), Some('"' | '\\')) => {
                            let quoted = chars.next().ok_or(SyntaxError::Quote(char))?;
                            word.get_or_insert_default().0.push((quoted, true));
                        }
                        other => word.get_or_insert_default().0.push((other, true)),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(quoted) => word.get_or_insert_default().0.push((quoted, true)),
                None => return Err(SyntaxError::Quote('\\')),
            },
            '#' if word.is_none() => {
                // To the end of the line.
                while chars.next_if(|char| *char != '\n').is_some() {}
            }
            ' ' | '\t' | '\r' | '\n' | '|' | '&' | ';' | '<' | '>' => {
                // A number right before says which descriptor.
                let number = matches!(char, '<' | '>').then(|| descriptor(&word)).flatten();
                match number {
                    Some(_) => word = None,
                    None => tokens.extend(word.take().map(Token::Word)),
                }
                let mut twice = |twice, once| if chars.next_if_eq(&char).is_some() { twice } else { once };
                match char {
                    '|' => tokens.push(Token::Operator(twice("||", "|"))),
                    '&' => tokens.push(Token::Operator(twice("&&", "&"))),
                    ';' | '\n' => tokens.push(Token::Operator(";")),
                    '<' => tokens.push(Token::Redirect(number.unwrap_or(0), "<")),
                    '>' => {
                        let mut how = twice(">>", ">");
                        if how == ">" && chars.next_if_eq(&'&').is_some() {
                            how = ">&";
                        }
                        tokens.push(Token::Redirect(number.unwrap_or(1), how));
                    }
                    _ => {}
                }
            }
            other => word.get_or_insert_default().0.push((other, false)),
        }
    }
    tokens.extend(word.map(Token::Word));
    Ok(tokens)
}

fn descriptor(word: &Option<Word>) -> Option<i32> {
    match word.as_ref()?.0[..] {
        [(digit, false)] => digit.to_digit(10).map(|digit| digit as i32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> Vec<String> {
        command.words.iter().map(Word::text).collect()
    }

    #[test]
    fn words_and_quotes() {
        let line = parse(r#"echo  a'b c'"d \" \x" \  '' # no"#).unwrap();
        assert_eq!(words(&line[0].commands[0]), ["echo", r#"ab cd " \x"#, " ", ""]);
        let line = parse("echo a#b").unwrap();
        assert_eq!(words(&line[0].commands[0]), ["echo", "a#b"]);
        assert_eq!(parse("# nothing"), Ok(Vec::new()));
        assert_eq!(parse(" ; ;"), Ok(Vec::new()));
    }

    #[test]
    fn pipelines() {
        let line = parse("a|b x && c || d & e; f\ng").unwrap();
        let shape: Vec<_> = line
            .iter()
            .map(|pipeline| (pipeline.when, pipeline.commands.len(), pipeline.in_background))
            .collect();
        let always = When::Always;
        assert_eq!(
            shape,
            [
                (always, 2, false),
                (When::Success, 1, false),
                (When::Failure, 1, true),
                (always, 1, false),
                (always, 1, false),
                (always, 1, false)
            ]
        );
        assert_eq!(words(&line[0].commands[1]), ["b", "x"]);
    }

    #[test]
    fn redirections() {
        let line = parse("a <in >out 2>>log 2>&1 x2>y").unwrap();
        let word = |text: &str| Word(text.chars().map(|char| (char, false)).collect());
        let command = &line[0].commands[0];
        assert_eq!(words(command), ["a", "x2"]);
        assert_eq!(
            command.redirections,
            [
                (0, Redirection::From(word("in"))),
                (1, Redirection::To(word("out"))),
                (2, Redirection::Append(word("log"))),
                (2, Redirection::Same(1)),
                (1, Redirection::To(word("y"))),
            ]
        );
    }

    #[test]
    fn what_is_wrong() {
        for (line, error) in [
            ("a 'b", SyntaxError::Quote('\'')),
            ("a \"b", SyntaxError::Quote('"')),
            ("a \\", SyntaxError::Quote('\\')),
            ("| a", SyntaxError::Missing("|")),
            ("a |", SyntaxError::Missing("the end")),
            ("a | ; b", SyntaxError::Missing(";")),
            ("a &&", SyntaxError::Missing("the end")),
            ("&& a", SyntaxError::Missing("&&")),
            ("& a", SyntaxError::Missing("&")),
            ("a && ; b", SyntaxError::Missing(";")),
            ("a >", SyntaxError::Missing(">")),
            ("a > | b", SyntaxError::Missing(">")),
            ("a 2>&x", SyntaxError::Missing(">&")),
        ] {
            assert_eq!(parse(line), Err(error), "{line}");
        }
        assert_eq!(parse(&"a|".repeat(20)), Err(SyntaxError::TooMany("commands")));
        assert_eq!(parse(&"a ".repeat(300)), Err(SyntaxError::TooMany("words")));
    }
}
