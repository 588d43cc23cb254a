//! What names may look like, and how text is written between quotes and behind `# HELP`.

use core::fmt::{self, Write};

/// True for the name of a label, and for that of a family here: `[a-zA-Z_][a-zA-Z0-9_]*`. Families may have colons too, but
/// those are meant for the rules of who evaluates them.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    bytes.next().is_some_and(letter) && bytes.all(|byte| letter(byte) || byte.is_ascii_digit())
}

/// The value of a label: backslash, quote and newline are escaped.
pub(super) struct LabelValue<'a>(pub &'a str);

impl fmt::Display for LabelValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(f, self.0, &['\\', '"', '\n'])
    }
}

/// A help text: backslash and newline are escaped.
pub(super) struct Help<'a>(pub &'a str);

impl fmt::Display for Help<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text of a doc comment begins with the blank behind its slashes.
        escape(f, self.0.trim(), &['\\', '\n'])
    }
}

fn escape(f: &mut fmt::Formatter<'_>, text: &str, special: &[char]) -> fmt::Result {
    for piece in text.split_inclusive(special) {
        let plain = piece.strip_suffix(special).unwrap_or(piece);
        f.write_str(plain)?;
        match piece.get(plain.len()..) {
            Some("\n") => f.write_str("\\n")?,
            Some(other) if !other.is_empty() => {
                f.write_char('\\')?;
                f.write_str(other)?;
            }
            _ => {}
        }
    }
    Ok(())
}
