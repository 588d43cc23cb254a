//! Where a connection over a serial port begins (section 5.2).
//!
//! A connection over TCP begins empty. A serial port of a virtual machine is one stream for everybody who ever connects to it: a
//! host may find what the last one did not fetch any more, a node what it sent before. So the host calls, and each end throws away
//! what comes before the other's mark:
//!
//! ```text
//!   host                               node
//!   CALL token  ------------------->            again, as long as nobody answers
//!               <-------------------   CALL token
//!   GO token    ------------------->
//!               <-------------------   GO token
//!   HELLO ...                                   what TCP begins with (`handshake`)
//! ```
//!
//! The token is the host's, and nobody can guess it: only the answer to this call ends the search. A mark is four letters and the
//! token.

/// Bytes of a token.
pub const TOKEN: usize = 16;
/// Bytes of a mark.
pub const MARK: usize = LETTERS + TOKEN;
/// Bytes before the token.
const LETTERS: usize = 4;
const CALL: [u8; LETTERS] = *b"LWKC";
const GO: [u8; LETTERS] = *b"LWKG";

/// What ends say to each other before the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// A host asks whether the node is there; the node answers with the same.
    Call([u8; TOKEN]),
    /// What follows is the connection.
    Go([u8; TOKEN]),
}

impl Mark {
    /// As bytes.
    pub fn bytes(self) -> [u8; MARK] {
        let (letters, token) = match self {
            Mark::Call(token) => (CALL, token),
            Mark::Go(token) => (GO, token),
        };
        let mut bytes = [0; MARK];
        let (first, rest) = bytes.split_at_mut(LETTERS);
        first.copy_from_slice(&letters);
        rest.copy_from_slice(&token);
        bytes
    }
}

/// Looks for marks in a stream, and takes nothing of what follows one.
#[derive(Default)]
pub struct Search {
    window: [u8; MARK],
    have: usize,
    skipped: u64,
}

impl Search {
    /// Where the next bytes of the stream go; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        self.window.get_mut(self.have..).unwrap_or_default()
    }

    /// So many bytes were put there: the mark that they complete, if any.
    pub fn filled(&mut self, len: usize) -> Option<Mark> {
        self.have = self.have.saturating_add(len).min(MARK);
        let have = self.window.get(..self.have).unwrap_or_default();
        let skip = (0..have.len()).find(|at| begins_mark(have.get(*at..).unwrap_or_default()));
        let skip = skip.unwrap_or(have.len());
        self.window.copy_within(skip..self.have, 0);
        self.have -= skip;
        self.skipped += skip as u64;
        if self.have < MARK {
            return None;
        }
        self.have = 0;
        let (letters, token) = self.window.split_first_chunk::<LETTERS>()?;
        let token = *token.first_chunk()?;
        Some(if *letters == GO { Mark::Go(token) } else { Mark::Call(token) })
    }

    /// Bytes that belonged to no mark.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

fn begins_mark(bytes: &[u8]) -> bool {
    let letters = bytes.get(..LETTERS).unwrap_or(bytes);
    CALL.starts_with(letters) || GO.starts_with(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a search finds in a stream that comes in pieces of `piece` bytes, and what it leaves.
    fn found(mut stream: &[u8], piece: usize, most: usize) -> (Vec<Mark>, u64, &[u8]) {
        let (mut search, mut marks) = (Search::default(), Vec::new());
        while !stream.is_empty() && marks.len() < most {
            let space = search.space();
            let len = space.len().min(piece).min(stream.len());
            space[..len].copy_from_slice(&stream[..len]);
            stream = &stream[len..];
            marks.extend(search.filled(len));
        }
        (marks, search.skipped(), stream)
    }

    #[test]
    fn marks_are_found_behind_anything() {
        let (call, go) = (Mark::Call(*b"0123456789abcdef"), Mark::Go([b'L'; TOKEN]));
        for junk in [&b""[..], b"L", b"LW", b"LWK", b"LWKLWLWKD", &[0x4c; 100], b"LWKC cut off"] {
            let mut stream = junk.to_vec();
            // What was cut off looks like a mark until its length is over.
            stream.resize(junk.len() + if junk.starts_with(b"LWKC") { MARK } else { 0 }, b'.');
            stream.extend(call.bytes());
            stream.extend(junk);
            if junk.starts_with(b"LWKC") {
                stream.extend([b'.'; MARK]);
            }
            stream.extend(go.bytes());
            stream.extend(b"HELLO");
            for piece in [1, 3, MARK, 64] {
                let (marks, _, rest) = found(&stream, piece, usize::MAX);
                let wanted: Vec<_> = marks.into_iter().filter(|mark| [call, go].contains(mark)).collect();
                assert_eq!((wanted, rest), (vec![call, go], &b""[..]), "{junk:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn nothing_behind_a_mark_is_taken() {
        let go = Mark::Go([7; TOKEN]);
        let stream = [&b"old"[..], &go.bytes(), b"HELLO"].concat();
        assert_eq!(found(&stream, 64, 1), (vec![go], 3, &b"HELLO"[..]));
    }
}
