//! A message as a receiver reads it that takes RFC 5424 at its word: for tests of what is sent.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What a datagram says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// Facility, 0 to 23.
    pub facility: u8,
    /// Severity, 0 to 7.
    pub severity: u8,
    /// As it was sent; `None` for a sender that does not know the time.
    pub timestamp: Option<String>,
    /// HOSTNAME.
    pub host: Option<String>,
    /// APP-NAME.
    pub app: Option<String>,
    /// PROCID.
    pub process: Option<String>,
    /// MSGID.
    pub kind: Option<String>,
    /// STRUCTURED-DATA: elements with their parameters.
    pub data: Vec<(String, Vec<(String, String)>)>,
    /// MSG, without the mark that says that it is UTF-8.
    pub text: String,
}

impl Received {
    /// A parameter of the element `meta` (RFC 5424 section 7.3).
    pub fn meta(&self, name: &str) -> Option<&str> {
        let (_, parameters) = self.data.iter().find(|(id, _)| id == "meta")?;
        parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The sequence number.
    pub fn sequence(&self) -> Option<u32> {
        self.meta("sequenceId")?.parse().ok()
    }
}

/// Reads a datagram.
///
/// # Errors
///
/// What section 6 does not allow, or says should not be: control characters, text beyond ASCII without the mark.
pub fn parse(bytes: &[u8]) -> Result<Received, &'static str> {
    let all = core::str::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    if all.chars().any(char::is_control) {
        return Err("a control character");
    }
    let rest = all.strip_prefix('<').ok_or("no PRI")?;
    let (priority, rest) = rest.split_once('>').ok_or("no end of PRI")?;
    let number: u8 = priority.parse().map_err(|_| "PRI is no number")?;
    if number > 191 || number.to_string() != priority {
        return Err("PRI is not one of 0 to 191");
    }
    let rest = rest.strip_prefix("1 ").ok_or("VERSION is not 1")?;
    let (timestamp, rest) = field(rest, 32)?;
    let (host, rest) = field(rest, 255)?;
    let (app, rest) = field(rest, 48)?;
    let (process, rest) = field(rest, 128)?;
    let (kind, rest) = field(rest, 32)?;
    if timestamp.as_deref().is_some_and(|text| !is_timestamp(text)) {
        return Err("TIMESTAMP is not what section 6.2.3 says");
    }
    let (data, rest) = match rest.strip_prefix('-') {
        Some(rest) => (Vec::new(), rest),
        None => elements(rest)?,
    };
    let text = match rest.strip_prefix(' ') {
        Some(text) => text,
        None if rest.is_empty() => rest,
        None => return Err("no blank in front of MSG"),
    };
    let text = match text.strip_prefix('\u{feff}') {
        Some(text) => text,
        None if text.is_ascii() => text,
        None => return Err("MSG is not ASCII and does not say that it is UTF-8"),
    };
    let (facility, severity) = (number / 8, number % 8);
    Ok(Received { facility, severity, timestamp, host, app, process, kind, data, text: text.to_string() })
}

/// A field of the header and what is behind its blank.
fn field(text: &str, longest: usize) -> Result<(Option<String>, &str), &'static str> {
    let (field, rest) = text.split_once(' ').ok_or("the header ends too early")?;
    if field.is_empty() || field.len() > longest || !field.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a field of the header is empty, too long, or not printable ASCII");
    }
    Ok(((field != "-").then(|| field.to_string()), rest))
}

/// `2003-10-11T22:14:15.003Z` or with an offset; no leap seconds.
fn is_timestamp(text: &str) -> bool {
    let shape = |text: &str, form: &str| {
        let fits = |(byte, form): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
        text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
    };
    let number = |range: core::ops::Range<usize>| {
        text.get(range).and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX)
    };
    let Some((seconds, rest)) = text.split_at_checked(19) else { return false };
    if !shape(seconds, "0000-00-00T00:00:00") {
        return false;
    }
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    if !(1..=days).contains(&day) || number(11..13) > 23 || number(14..16) > 59 || number(17..19) > 59 {
        return false;
    }
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=6).contains(&digits) {
                return false;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    zone == "Z" || shape(zone, "+00:00") || shape(zone, "-00:00")
}

/// Elements with their parameters, and what is behind them.
type Elements<'a> = (Vec<(String, Vec<(String, String)>)>, &'a str);

fn elements(mut rest: &str) -> Result<Elements<'_>, &'static str> {
    let mut elements = Vec::new();
    while let Some(element) = rest.strip_prefix('[') {
        let (id, mut tail) = name(element)?;
        let mut parameters = Vec::new();
        while let Some(parameter) = tail.strip_prefix(' ') {
            let (name, after) = name(parameter)?;
            let (value, after) = value(after.strip_prefix("=\"").ok_or("a parameter without value")?)?;
            parameters.push((name, value));
            tail = after;
        }
        rest = tail.strip_prefix(']').ok_or("an element without end")?;
        if elements.iter().any(|(known, _)| *known == id) {
            return Err("an element is there twice");
        }
        elements.push((id, parameters));
    }
    if elements.is_empty() { Err("no STRUCTURED-DATA") } else { Ok((elements, rest)) }
}

fn name(text: &str) -> Result<(String, &str), &'static str> {
    let is_of_name = |byte: u8| byte.is_ascii_graphic() && !b"=]\"".contains(&byte);
    let len = text.bytes().take_while(|byte| is_of_name(*byte)).count();
    match text.split_at(len) {
        (name, rest) if (1..=32).contains(&len) => Ok((name.to_string(), rest)),
        _ => Err("a name in STRUCTURED-DATA is empty or too long"),
    }
}

/// A value up to its quote, and what is behind.
fn value(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((value, &text[at + 1..])),
            ']' => return Err("a bracket in a value that is not escaped"),
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\' | ']'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            _ => value.push(char),
        }
    }
    Err("a value without end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_the_standard_are_read() {
        // Section 6.5, examples 1, 3 and 4.
        let first = "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick";
        let read = parse(first.as_bytes()).unwrap();
        assert_eq!((read.facility, read.severity, read.kind.as_deref()), (4, 2, Some("ID47")));
        assert_eq!(read.text, "'su root' failed for lonvick");
        let third = "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" \
                     eventSource=\"Appli\\\"cation\" eventID=\"1011\"][examplePriority@32473 class=\"high\"]";
        let read = parse(third.as_bytes()).unwrap();
        assert_eq!(read.data[0].1[1].1, "Appli\"cation");
        assert_eq!((read.data[1].0.as_str(), read.text.as_str()), ("examplePriority@32473", ""));
    }

    #[test]
    fn what_is_not_allowed_is_refused() {
        let good = "<34>1 2003-10-11T22:14:15.003Z host app - id [meta sequenceId=\"1\"] text";
        parse(good.as_bytes()).unwrap();
        for (from, to) in [
            ("<34>", "<034>"),
            ("<34>", "<192>"),
            ("<34>", "34>"),
            (">1 ", ">2 "),
            ("10-11", "10-32"),
            ("10-11", "02-29"),
            ("T22", "t22"),
            ("T22", "T24"),
            ("003Z", "0031234Z"),
            ("003Z", "Z"),
            ("Z host", "z host"),
            ("host", ""),
            ("app", "äpp"),
            ("[meta", "[me=ta"),
            ("\"1\"", "\"1]\""),
            ("\"]", "\""),
            ("] text", "]text"),
            ("text", "täxt"),
            ("text", "te\txt"),
            (" [meta sequenceId=\"1\"]", ""),
        ] {
            let bad = good.replacen(from, to, 1);
            assert!(bad != good && parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "<34>1 .{0,80}") {
            let _ = parse(&bytes);
            let _ = parse(text.as_bytes());
        }
    }
}
