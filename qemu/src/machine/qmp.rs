//! QEMU's machine protocol: just enough of it to press buttons.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::error::{Error, Result};

/// A QMP connection. Commands and answers are lines of JSON.
pub struct Qmp {
    machine: String,
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Takes over a connection that QEMU has just made.
    pub fn new(machine: &str, stream: UnixStream) -> Result<Qmp> {
        stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(Error::io("set a QMP time limit"))?;
        let mut qmp = Qmp { machine: machine.into(), reader: BufReader::new(stream) };
        qmp.line()?; // the greeting
        qmp.command("qmp_capabilities", "{}")?;
        Ok(qmp)
    }

    /// Sends a command with its arguments (a JSON object) and returns the line that answers it.
    pub fn command(&mut self, name: &str, arguments: &str) -> Result<String> {
        let line = format!("{{\"execute\":\"{name}\",\"arguments\":{arguments}}}\n");
        self.reader.get_mut().write_all(line.as_bytes()).map_err(Error::io(format!("send QMP {name}")))?;
        loop {
            let line = self.line()?;
            // Events come in between; only answers start with these words.
            if line.starts_with("{\"return\"") {
                return Ok(line);
            }
            if line.starts_with("{\"error\"") {
                return Err(Error::machine(&self.machine, format!("QEMU refused {name}: {}", line.trim())));
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => Err(Error::machine(&self.machine, "QEMU closed its control connection")),
            Ok(_) => Ok(line),
            Err(source) => Err(Error::Io { doing: format!("read QMP of {}", self.machine), source }),
        }
    }
}
