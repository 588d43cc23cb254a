//! Messages for syslog: RFC 5424 in datagrams on a Unix socket.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::tools::time::timestamp;

/// A facility (RFC 5424, table 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facility(u8);

/// Names as syslog(3) has them, by number.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "",
    "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

impl Facility {
    /// `LOG_LOCAL6`, McKernel's.
    pub const LOCAL6: Facility = Facility(22);

    /// From a name: `LOG_LOCAL6` or `local6`.
    pub fn parse(name: &str) -> Option<Facility> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("log_").unwrap_or(&name);
        let number = FACILITIES.iter().position(|known| *known == name && !name.is_empty())?;
        u8::try_from(number).ok().map(Facility)
    }
}

/// A message: who says what, how bad it is.
pub struct Entry<'a> {
    /// Severity, 0 to 7.
    pub severity: u8,
    /// When.
    pub time: SystemTime,
    /// The node.
    pub host: &'a str,
    /// Its index in the table.
    pub instance: u32,
    /// `kmsg` or `event`.
    pub kind: &'static str,
    /// What.
    pub text: &'a str,
}

impl Entry<'_> {
    /// As RFC 5424, section 6, has it.
    pub fn format(&self, facility: Facility) -> String {
        let host: String = self.host.chars().filter(char::is_ascii_graphic).take(255).collect();
        let host = if host.is_empty() { "-" } else { &host };
        let blank = |character: char| if character.is_control() { ' ' } else { character };
        let text: String = self.text.chars().map(blank).collect();
        format!(
            "<{}>1 {} {host} mckernel - {} [mckernel instanceid=\"{}\"] {text}",
            facility.0 * 8 + self.severity.min(7),
            timestamp(self.time),
            self.kind,
            self.instance,
        )
    }
}

/// How long a full or missing syslog is waited for before it is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Where messages go.
pub struct Syslog {
    path: PathBuf,
    facility: Facility,
    socket: Mutex<Option<UnixDatagram>>,
}

impl Syslog {
    /// The syslog that listens at `path`, now or later.
    pub fn new(path: PathBuf, facility: Facility) -> Syslog {
        Syslog { path, facility, socket: Mutex::new(None) }
    }

    /// Hands a message over. While there is no syslog it waits for one: the log waits in the node meanwhile. False when it was
    /// told to stop.
    pub fn send(&self, entry: &Entry<'_>, stop: &AtomicBool) -> bool {
        let message = entry.format(self.facility);
        while !stop.load(Ordering::Relaxed) {
            if self.try_send(message.as_bytes()).is_ok() {
                return true;
            }
            thread::sleep(AGAIN);
        }
        false
    }

    fn try_send(&self, message: &[u8]) -> io::Result<()> {
        let mut socket = self.socket.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if socket.is_none() {
            let fresh = UnixDatagram::unbound()?;
            fresh.connect(&self.path)?;
            fresh.set_write_timeout(Some(Duration::from_secs(1)))?;
            *socket = Some(fresh);
        }
        let sent = match &*socket {
            Some(socket) => socket.send(message).map(drop),
            None => Ok(()),
        };
        if sent.is_err() {
            // A syslog that was started anew has another socket.
            *socket = None;
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facilities_have_the_names_of_syslog() {
        assert_eq!(Facility::parse("LOG_LOCAL6"), Some(Facility::LOCAL6));
        assert_eq!(Facility::parse("local6"), Some(Facility::LOCAL6));
        assert_eq!(Facility::parse("LOG_DAEMON"), Some(Facility(3)));
        for wrong in ["", "LOG_", "local8", "LOCAL", "22"] {
            assert_eq!(Facility::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn messages_are_as_rfc_5424_has_them() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_709_210_096, 7_000);
        let entry =
            Entry { severity: 4, time, host: "node 0", instance: 3, kind: "kmsg", text: "net: no\tcarrier" };
        assert_eq!(
            entry.format(Facility::LOCAL6),
            "<180>1 2024-02-29T12:34:56.000007Z node0 mckernel - kmsg [mckernel instanceid=\"3\"] net: no carrier"
        );
    }

    fn entry(text: &str) -> Entry<'_> {
        Entry { severity: 6, time: SystemTime::UNIX_EPOCH, host: "n", instance: 0, kind: "kmsg", text }
    }

    #[test]
    fn a_syslog_that_comes_late_or_again_gets_everything() {
        let dir = std::env::temp_dir().join(format!("ihkmond-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("log");
        let (syslog, stop) = (Syslog::new(path.clone(), Facility::LOCAL6), AtomicBool::new(false));
        let say = |text: &str| assert!(syslog.send(&entry(text), &stop));
        let heard = |socket: &UnixDatagram| {
            let mut buffer = [0; 200];
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let len = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..len]).rsplit(' ').next().unwrap().to_owned()
        };
        thread::scope(|scope| {
            let saying = scope.spawn(|| say("late"));
            thread::sleep(AGAIN);
            let socket = UnixDatagram::bind(&path).unwrap();
            assert_eq!(heard(&socket), "late");
            saying.join().unwrap();
            drop(socket);
            std::fs::remove_file(&path).unwrap();
            let socket = UnixDatagram::bind(&path).unwrap();
            say("again");
            assert_eq!(heard(&socket), "again");
        });
        stop.store(true, Ordering::Relaxed);
        assert!(!syslog.send(&entry("x"), &stop));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
