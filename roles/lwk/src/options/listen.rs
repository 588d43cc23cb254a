//! Where hosts connect: `8810`, `serial:lwk`, or both with a comma.

use alloc::format;
use alloc::string::{String, ToString};

/// Longest name of a port, which is a part of a socket's path on the host.
const LONGEST: usize = 32;

/// The places where a node listens; at least one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listen {
    /// A TCP port.
    pub port: Option<u16>,
    /// Serial ports of this name, and of names that begin with it and a dot.
    pub serial: Option<String>,
}

impl Listen {
    /// From text.
    ///
    /// # Errors
    ///
    /// In words: what is accepted.
    pub fn parse(text: &str) -> Result<Listen, String> {
        let mut listen = Listen::default();
        for place in text.split(',') {
            let twice = match place.strip_prefix("serial:") {
                Some(name) if is_name(name) => listen.serial.replace(name.to_string()).is_some(),
                Some(_) => {
                    return Err(
                        "accepted as the name of serial ports are letters, digits, and . _ -".to_string()
                    );
                }
                None => match place.parse() {
                    Ok(port @ 1..) => listen.port.replace(port).is_some(),
                    _ => {
                        return Err(
                            "accepted are a TCP port from 1 to 65535, serial:NAME, or both with a comma"
                                .to_string(),
                        );
                    }
                },
            };
            if twice {
                return Err(format!("{place}: one TCP port, and one name of serial ports"));
            }
        }
        Ok(listen)
    }

    /// Whether it names this serial port.
    pub fn names(&self, port: &str) -> bool {
        let rest = self.serial.as_ref().and_then(|name| port.strip_prefix(name.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

fn is_name(text: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_both_kinds() {
        let listen = |port, serial: Option<&str>| Listen { port, serial: serial.map(String::from) };
        assert_eq!(Listen::parse("8810"), Ok(listen(Some(8810), None)));
        assert_eq!(Listen::parse("serial:lwk"), Ok(listen(None, Some("lwk"))));
        assert_eq!(Listen::parse("serial:lwk.hi,65535"), Ok(listen(Some(65535), Some("lwk.hi"))));
        for wrong in
            ["", "0", "65536", "lwk", "tcp:1", "serial:", "serial:a b", "1,", "1,2", "serial:a,serial:b"]
        {
            assert!(Listen::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Listen::parse("1,2").unwrap_err(), "2: one TCP port, and one name of serial ports");
    }

    #[test]
    fn ports_are_told_by_the_beginning_of_their_names() {
        let listen = Listen::parse("serial:lwk").unwrap();
        let among: Vec<&str> = ["lwk", "lwk.hi.0", "lwk.bulk.7", "lwkx", "lw", "other.lwk"]
            .into_iter()
            .filter(|port| listen.names(port))
            .collect();
        assert_eq!(among, ["lwk", "lwk.hi.0", "lwk.bulk.7"]);
    }
}
