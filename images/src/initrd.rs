//! The initial RAM disk: what a command line has no room for, or a loader without one cannot say.
//!
//! It is a text. Its lines are words of the command line, but for lines that begin with `#` and lines with a key, which
//! are for who asks for [`Initrd::keys`] and never get into a log. Anything else, a Linux initramfs for example, is
//! refused as a whole.

use alloc::string::String;
use core::ops::Range;
use keelson_config::MAX_LINE;
use keelson_kernel::acpi::PhysicalMemory;

/// A word of as many hexadecimal digits is taken for a key, complete or not: whole ones have 64.
const KEY_DIGITS: usize = 32;

/// What the loader brought beside the image.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Initrd {
    text: String,
}

/// Why an initial RAM disk says nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum InitrdError {
    /// It does not lie in the machine's memory.
    Unreachable(Range<u64>),
    /// It has bytes that no text has.
    NotText {
        /// Its length in bytes.
        len: u64,
        /// Where the first of them is.
        at: usize,
    },
}

impl core::fmt::Display for InitrdError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            InitrdError::Unreachable(range) => write!(
                f,
                "the initial RAM disk at {:#x}..{:#x} is outside of the memory and ignored",
                range.start, range.end
            ),
            InitrdError::NotText { len, at } => write!(
                f,
                "the initial RAM disk of {len} bytes is ignored: byte {at} is not of a text; expected are words of the command line"
            ),
        }
    }
}

impl Initrd {
    /// Reads what lies at `place`, one byte more at most than a command line may have, so that who reads it can tell.
    ///
    /// # Errors
    ///
    /// When it is not there, or no text.
    pub fn read(memory: &dyn PhysicalMemory, place: &Range<u64>) -> Result<Initrd, InitrdError> {
        let len = place.end.saturating_sub(place.start);
        let most = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_LINE + 1);
        let bytes = memory.bytes(place.start, most).ok_or_else(|| InitrdError::Unreachable(place.clone()))?;
        // Loaders fill the last page with zeros.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let bytes = &bytes[..end];
        let control = |byte: u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
        let (text, strange) = match core::str::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let start = core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                // Cut within a character: too long anyhow.
                let cut = error.error_len().is_none() && end > MAX_LINE;
                (start, (!cut).then_some(start.len()))
            }
        };
        match text.bytes().position(control).or(strange) {
            Some(at) => Err(InitrdError::NotText { len, at }),
            None => Ok(Initrd { text: String::from(text) }),
        }
    }

    /// Words for the command line.
    pub fn words(&self) -> String {
        self.lines(|line| !is_key(line) && !line.trim_start().starts_with('#'))
    }

    /// The lines with keys, at the numbers that they have in the text.
    pub fn keys(&self) -> String {
        self.lines(is_key)
    }

    /// The text with empty lines for those that are not `wanted`.
    fn lines(&self, wanted: fn(&str) -> bool) -> String {
        self.text.split_inclusive('\n').map(|line| if wanted(line) { line } else { "\n" }).collect()
    }
}

fn is_key(line: &str) -> bool {
    let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
    words.any(|word| word.len() >= KEY_DIGITS && word.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory that begins at 4096.
    struct Memory(Vec<u8>);

    impl PhysicalMemory for Memory {
        fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
            let start = usize::try_from(address.checked_sub(4096)?).ok()?;
            self.0.get(start..start.checked_add(len)?)
        }
    }

    fn read(bytes: &[u8]) -> Result<Initrd, InitrdError> {
        Initrd::read(&Memory(bytes.to_vec()), &(4096..4096 + bytes.len() as u64))
    }

    #[test]
    fn lines_are_words_unless_they_are_comments() {
        let initrd =
            read(b"# of node 7\nip=dhcp log=debug\r\n  # more\nnfs.exports=\"/ *(ro)\"\n\0\0\0").unwrap();
        let words = initrd.words();
        let words: Vec<&str> = words.split_ascii_whitespace().collect();
        assert_eq!(words, ["ip=dhcp", "log=debug", "nfs.exports=\"/", "*(ro)\""]);
        assert_eq!(initrd.keys().trim(), "");
        assert_eq!(read(b"").unwrap(), Initrd::default());
    }

    #[test]
    fn keys_keep_their_lines_and_are_no_words() {
        let key = "0f".repeat(32);
        let text = format!("helpers=2\nall {key} # whole\nwatcher {} monitor\nlwk.echo\n", &key[..40]);
        let initrd = read(text.as_bytes()).unwrap();
        assert_eq!(initrd.words(), "helpers=2\n\n\nlwk.echo\n");
        assert_eq!(initrd.keys(), format!("\nall {key} # whole\nwatcher {} monitor\n\n", &key[..40]));
        assert_eq!(read(key.as_bytes()).unwrap().keys(), key);
        // A comment about a key is neither.
        let comment = format!("# {key}\n");
        let initrd = read(comment.as_bytes()).unwrap();
        assert_eq!((initrd.words().trim(), initrd.keys().trim()), ("", ""));
    }

    #[test]
    fn what_is_no_text_is_refused() {
        // The beginning of a cpio archive, of a gzip file, a zero in between.
        for (bytes, at) in [(&b"070701\0\0x"[..], 6), (b"\x1f\x8b\x08", 0), (b"ip=dhcp\0log=debug", 7)] {
            assert_eq!(read(bytes), Err(InitrdError::NotText { len: bytes.len() as u64, at }));
        }
        let outside = Initrd::read(&Memory(vec![b' '; 10]), &(4096..4107));
        assert_eq!(outside, Err(InitrdError::Unreachable(4096..4107)));
        let backwards = Initrd::read(&Memory(vec![b' '; 10]), &Range { start: 4100, end: 4096 });
        assert_eq!(backwards, Ok(Initrd::default()));
    }

    #[test]
    fn too_much_is_seen_by_who_reads_the_words() {
        let long = "\u{e9}".repeat(MAX_LINE);
        let words = read(long.as_bytes()).unwrap().words();
        assert!(words.len() >= MAX_LINE, "{}", words.len());
    }
}
