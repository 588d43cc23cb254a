//! Scripts that name their interpreter (execve(2), "Interpreter scripts").

use alloc::vec::Vec;

/// Bytes of the first line that count (`BINPRM_BUF_SIZE`).
const LINE_MOST: usize = 256;

/// What the first line of a script says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// The interpreter's path.
    pub interpreter: Vec<u8>,
    /// Its one argument: the rest of the line.
    pub argument: Option<Vec<u8>>,
}

/// The interpreter of a script, from its first bytes; `None` for other files, and for a path that is cut off.
pub fn shebang(start: &[u8]) -> Option<Script> {
    let line = start.get(..start.len().min(LINE_MOST))?.strip_prefix(b"#!")?;
    let end = line.iter().position(|byte| *byte == b'\n');
    let whole = end.is_some() || start.len() < LINE_MOST;
    let line = line.get(..end.unwrap_or(line.len()))?.trim_ascii();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let (path, rest) = match line.iter().position(blank) {
        Some(at) => line.split_at(at),
        // The path may go on behind what was read.
        None if !whole => return None,
        None => (line, &[][..]),
    };
    let rest = rest.trim_ascii();
    let argument = (!rest.is_empty()).then(|| rest.to_vec());
    (!path.is_empty()).then(|| Script { interpreter: path.to_vec(), argument })
}
