//! One JSON object, a line of output.

use std::fmt::Write;

/// An object that is being written, its members in the order in which they were added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object(String);

impl Default for Object {
    fn default() -> Object {
        Object::new()
    }
}

impl Object {
    /// Without members.
    pub fn new() -> Object {
        Object("{".into())
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quoted(key));
        self.0.push(':');
    }

    /// Adds a string.
    pub fn text(mut self, key: &str, value: &str) -> Object {
        self.key(key);
        self.0.push_str(&quoted(value));
        self
    }

    /// Adds a whole number.
    pub fn number(mut self, key: &str, value: impl Into<i128>) -> Object {
        self.key(key);
        let _ = write!(self.0, "{}", value.into());
        self
    }

    /// Adds a number with three decimals; `null` if it is none.
    pub fn float(mut self, key: &str, value: f64) -> Object {
        self.key(key);
        let _ = if value.is_finite() { write!(self.0, "{value:.3}") } else { write!(self.0, "null") };
        self
    }

    /// Adds true or false.
    pub fn flag(mut self, key: &str, value: bool) -> Object {
        self.key(key);
        let _ = write!(self.0, "{value}");
        self
    }

    /// Adds a list of strings.
    pub fn list<'a>(mut self, key: &str, values: impl IntoIterator<Item = &'a str>) -> Object {
        self.key(key);
        let values: Vec<String> = values.into_iter().map(quoted).collect();
        let _ = write!(self.0, "[{}]", values.join(","));
        self
    }

    /// The text.
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c < ' ' || c == '\u{7f}' => {
                let _ = write!(text, "\\u{:04x}", c as u32);
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects() {
        assert_eq!(Object::new().finish(), "{}");
        let object = Object::new().text("a\"b", "c\\d\n\u{1}ä").number("n", -3i64).flag("f", true);
        let object = object.float("x", 1.0 / 3.0).float("y", f64::NAN).list("l", ["1", "2"]);
        assert_eq!(
            object.finish(),
            r#"{"a\"b":"c\\d\n\u0001ä","n":-3,"f":true,"x":0.333,"y":null,"l":["1","2"]}"#
        );
    }
}
