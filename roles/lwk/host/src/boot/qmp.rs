//! QEMU's machine protocol (QEMU, docs/interop/qmp-spec.txt): just enough of it to end a machine, to
//! find its processors and to have its memory written to a file.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest line that is read.
const LONGEST: u64 = 1 << 20;

/// A connection.
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to the socket of a machine.
    pub fn connect(socket: &Path) -> io::Result<Qmp> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut qmp = Qmp { reader: BufReader::new(stream) };
        // The greeting.
        qmp.line()?;
        qmp.command("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Gives a command; the line that answers it.
    pub fn command(&mut self, name: &str) -> io::Result<String> {
        self.execute(name, &format!("{{\"execute\":\"{name}\"}}\n"))
    }

    /// Gives a command with arguments, an object of JSON, which may take longer.
    pub fn command_with(&mut self, name: &str, arguments: &str, time: Duration) -> io::Result<String> {
        self.reader.get_ref().set_read_timeout(Some(time))?;
        let answer = self.execute(name, &format!("{{\"execute\":\"{name}\",\"arguments\":{arguments}}}\n"));
        self.reader.get_ref().set_read_timeout(Some(PATIENCE))?;
        answer
    }

    fn execute(&mut self, name: &str, line: &str) -> io::Result<String> {
        self.reader.get_mut().write_all(line.as_bytes())?;
        loop {
            let line = self.line()?;
            // Events come in between.
            if line.starts_with("{\"return\"") {
                return Ok(line);
            }
            if line.starts_with("{\"error\"") {
                return Err(io::Error::other(format!("QEMU refused {name}: {}", line.trim())));
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match Read::by_ref(&mut self.reader).take(LONGEST).read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }

    /// The threads of the virtual processors, in their order.
    pub fn threads(&mut self) -> io::Result<Vec<i32>> {
        Ok(threads(&self.command("query-cpus-fast")?))
    }
}

/// How deep the members of one processor lie: `{"return": [{`. Its `props` are deeper, and have a thread-id too.
const DEPTH: u32 = 3;

fn threads(answer: &str) -> Vec<i32> {
    let mut found: Vec<(i32, i32)> = Vec::new();
    let (mut depth, mut key, mut processor) = (0u32, "", (None, None));
    // Every second piece is a string; none of QEMU's has a quote in it.
    for (index, piece) in answer.split('"').enumerate() {
        if index % 2 == 1 {
            key = piece;
            continue;
        }
        let digits: String = piece.chars().filter(char::is_ascii_digit).collect();
        match key {
            "cpu-index" if depth == DEPTH => processor.0 = digits.parse().ok(),
            "thread-id" if depth == DEPTH => processor.1 = digits.parse().ok(),
            _ => {}
        }
        for character in piece.chars() {
            match character {
                '{' | '[' => depth += 1,
                '}' | ']' => {
                    if let (DEPTH, (Some(index), Some(thread))) = (depth, processor) {
                        found.push((index, thread));
                        processor = (None, None);
                    }
                    depth = depth.saturating_sub(1);
                }
                _ => {}
            }
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, thread)| thread).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_processors() {
        // As QEMU 7.2 answers.
        let answer = "{\"return\": [{\"thread-id\": 811, \"props\": {\"core-id\": 0, \"thread-id\": 0, \"socket-id\": 0}, \
            \"qom-path\": \"/machine/unattached/device[0]\", \"cpu-index\": 0, \"target\": \"x86_64\"}, \
            {\"thread-id\": 812, \"props\": {\"core-id\": 0, \"thread-id\": 0, \"socket-id\": 1}, \
            \"qom-path\": \"/machine/unattached/device[2]\", \"cpu-index\": 1, \"target\": \"x86_64\"}]}";
        assert_eq!(threads(answer), [811, 812]);
        assert_eq!(threads("{\"return\": []}"), [0; 0]);
    }
}
