//! What a boot file is: an ELF note that stays findable in every form the file takes.
//!
//! ```text
//! u32 8, u32 DESC, u32 1, "Keelson\0", role, 0, time of the build, 0, zeros up to DESC bytes
//! ```
//!
//! The linker puts it beside the note for PVH loaders; the flat image holds it too. Tools on a host look for it before they boot a
//! file.

#![forbid(unsafe_code)]

use alloc::string::{String, ToString};

/// Owner of the note.
const NAME: [u8; 8] = *b"Keelson\0";
/// Bytes of the description.
const DESC: usize = 112;
/// The only type so far.
const KIND: u32 = 1;

/// The note (ELF gABI, "Note Section").
#[repr(C)]
pub struct Note {
    name_len: u32,
    desc_len: u32,
    kind: u32,
    name: [u8; 8],
    desc: [u8; DESC],
}

impl Note {
    /// The note of an image. What does not fit is cut off.
    pub const fn new(role: &str, built: &str) -> Note {
        let mut desc = [0; DESC];
        let after_role = put(&mut desc, 0, role.as_bytes());
        put(&mut desc, after_role, built.as_bytes());
        Note { name_len: NAME.len() as u32, desc_len: DESC as u32, kind: KIND, name: NAME, desc }
    }
}

/// Copies text and leaves a zero behind it; where the next text goes.
const fn put(desc: &mut [u8; DESC], at: usize, text: &[u8]) -> usize {
    let mut copied = 0;
    while copied < text.len() && at + copied + 1 < DESC {
        desc[at + copied] = text[copied];
        copied += 1;
    }
    at + copied + 1
}

/// What an image says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageIdentity {
    /// Its role: `lwk-compute`.
    pub role: String,
    /// When it was built, in UTC.
    pub built: String,
}

/// Looks for the note in a boot file of any form.
pub fn find(file: &[u8]) -> Option<ImageIdentity> {
    let mut head = [0; 20];
    for (at, value) in [(0, NAME.len() as u32), (4, DESC as u32), (8, KIND)] {
        head[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    head[12..].copy_from_slice(&NAME);
    let at = file.chunks_exact(4).enumerate().find_map(|(index, _)| {
        let at = index * 4;
        file.get(at..at + head.len()).filter(|bytes| *bytes == head).map(|_| at + head.len())
    })?;
    let desc = file.get(at..at + DESC)?;
    let mut texts = desc.split(|byte| *byte == 0).map(|text| core::str::from_utf8(text).ok());
    let (role, built) = (texts.next()??, texts.next()??);
    (!role.is_empty()).then(|| ImageIdentity { role: role.to_string(), built: built.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(note: &Note) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [note.name_len, note.desc_len, note.kind] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(note.name);
        bytes.extend(note.desc);
        bytes
    }

    #[test]
    fn a_note_is_found_in_a_file() {
        let mut file = vec![7; 4096];
        assert_eq!(find(&file), None);
        file.extend(bytes(&Note::new("lwk-compute", "Nov 27 2026 at 14:25:36")));
        assert_eq!(size_of::<Note>() + 4096, file.len());
        let found = find(&file).unwrap();
        assert_eq!((found.role.as_str(), found.built.as_str()), ("lwk-compute", "Nov 27 2026 at 14:25:36"));
        file.truncate(4096 + 40);
        assert_eq!(find(&file), None);
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let long = "x".repeat(200);
        assert_eq!(find(&bytes(&Note::new(&long, "never"))).unwrap().role.len(), DESC - 1);
        assert_eq!(find(&bytes(&Note::new("", "now"))), None);
    }
}
