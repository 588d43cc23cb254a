//! What a node listens on: the value of its option `listen=`, a list such as `8810,serial:lwk`.

use keelson_config::Kind;
use keelson_lwk::options::PORT;

/// The option.
pub const NAME: &str = "listen";
/// Its grammar.
pub const KIND: Kind = Kind::Custom { form: "PORT,serial:NAME", check: |text| Listen::parse(text).map(drop) };
/// What stands before the name of serial ports.
const SERIAL: &str = "serial:";

/// The value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listen {
    /// TCP port.
    pub port: Option<u16>,
    /// Serial ports have this name, or it and more behind a dot.
    pub serial: Option<String>,
}

impl Listen {
    /// Without the option.
    pub fn usual() -> Listen {
        Listen { port: Some(PORT), serial: None }
    }

    /// From text.
    ///
    /// # Errors
    ///
    /// In words: what is accepted.
    pub fn parse(text: &str) -> Result<Listen, String> {
        let mut listen = Listen::default();
        for part in text.split(',') {
            let again = match part.strip_prefix(SERIAL) {
                Some(name) if is_name(name) => listen.serial.replace(name.to_owned()).is_some(),
                Some(_) => return Err(format!("{part}: a name has letters, digits, '.', '_' and '-'")),
                None => match part.parse() {
                    Ok(port @ 1..) => listen.port.replace(port).is_some(),
                    _ => return Err(format!("{part:?}: expected: a port from 1 to 65535, or serial:NAME")),
                },
            };
            if again {
                return Err(format!("{part}: one TCP port and one name of serial ports at most"));
            }
        }
        Ok(listen)
    }
}

/// Names of ports are names of files, too.
fn is_name(name: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=32).contains(&name.len()) && name.bytes().all(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let listen = |port, serial: Option<&str>| Listen { port, serial: serial.map(str::to_owned) };
        for (text, expected) in [
            ("8810", listen(Some(8810), None)),
            ("serial:lwk", listen(None, Some("lwk"))),
            ("8810,serial:a.b", listen(Some(8810), Some("a.b"))),
            ("serial:x,1", listen(Some(1), Some("x"))),
        ] {
            assert_eq!(Listen::parse(text), Ok(expected), "{text}");
        }
        for bad in ["", "0", "65536", "serial:", "serial:a/b", "serial:a,serial:b", "1,2", "1,", "lwk"] {
            assert!(Listen::parse(bad).is_err(), "{bad}");
        }
    }
}
