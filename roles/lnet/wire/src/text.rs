//! Configuration as administrators of LNet write it (LNet specification sections 1.4 to 1.8).
//!
//! | function | grammar |
//! |---|---|
//! | [`networks`] | `tcp0(eth0,eth1),tcp1(eth2)[0-1]` |
//! | [`ip2nets`] | `tcp1(eth1) 10.1.*.*; tcp2 10.2.[0-3].[1-254/2]` |
//! | [`routes`] | `tcp2 1 10.0.0.[1-4]@tcp1:0; o2ib[0-2] 10.0.0.9@tcp1` |
//! | [`forwarding`] | `enabled`, `disabled` or nothing |
//! | [`nid_ranges`] | `10.0.[0-3].*@tcp1 192.168.0.0/16@tcp *@o2ib` |
//!
//! Every error says which parameter, where, what stands there, and what may stand there.

mod error;
mod expand;
mod ip2nets;
mod networks;
mod numbers;
mod ranges;
mod routes;

pub use error::{Problem, TextError};
pub use ip2nets::{Ip2Nets, Ip2NetsEntry, Ipv4Pattern, ip2nets};
pub use networks::{InterfaceSpec, NetworkSpec, networks};
pub use numbers::NumberList;
pub use ranges::{NidRange, NidRanges, nid_ranges};
pub use routes::{Route, routes};

use error::Source;

/// Longest line, and longest text of `networks` (sections 1.5 and 1.7), in bytes.
pub const MAX_LINE: usize = 4096;
/// Longest text of `routes` and `ip2nets` in bytes.
pub const MAX_TEXT: usize = 64 << 10;
/// Most names that the bracket lists of one word may stand for. A limit of this project.
pub const MAX_EXPANSION: usize = 4096;
/// Most routes of a text. A limit of this project.
pub const MAX_ROUTES: usize = 16384;

/// Whether a node passes messages on (section 1.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forwarding {
    /// If `routes` names one of the node's own NIDs as gateway.
    IfGateway,
    /// Yes.
    Enabled,
    /// No.
    Disabled,
}

/// Reads the parameter `forwarding`.
pub fn forwarding(text: &str) -> Result<Forwarding, TextError> {
    match text {
        "" => Ok(Forwarding::IfGateway),
        "enabled" => Ok(Forwarding::Enabled),
        "disabled" => Ok(Forwarding::Disabled),
        other => Err(Source { parameter: "forwarding", text }.error(other, Problem::Forwarding)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_parameter() {
        assert_eq!(forwarding(""), Ok(Forwarding::IfGateway));
        assert_eq!(forwarding("enabled"), Ok(Forwarding::Enabled));
        assert_eq!(forwarding("disabled"), Ok(Forwarding::Disabled));
        let error = forwarding("yes").unwrap_err().to_string();
        assert_eq!(error, "forwarding: \"yes\" at character 1: enabled, disabled or nothing is accepted");
    }

    #[test]
    fn entries_and_comments() {
        let text = "one; two # not; three\r\n# nothing\n;;\n  four  ";
        let source = Source { parameter: "routes", text };
        let entries: Vec<_> = source.entries().map(Result::unwrap).collect();
        assert_eq!(entries, ["one", "two", "three", "four"]);
    }

    #[test]
    fn errors_say_where() {
        let error = routes("tcp2 10.0.0.1@tcp1\n# a comment\n tcp3 10.0.0.1@tcpx").unwrap_err();
        assert_eq!((error.line, error.column, error.word.as_str()), (3, 7, "10.0.0.1@tcpx"));
        assert!(
            error.to_string().starts_with("routes: \"10.0.0.1@tcpx\" in line 3 at character 7: a network is")
        );
        let error = routes("tcp2 ü@tcp1").unwrap_err();
        assert_eq!((error.column, error.word.as_str()), (6, "ü@tcp1"));
        let long = "x".repeat(200);
        assert_eq!(networks(&long).unwrap_err().word.len(), 64);
    }

    #[test]
    fn long_texts() {
        let line = "#".repeat(MAX_LINE);
        assert_eq!(routes(&line), Ok(Vec::new()));
        let longer = "#".repeat(MAX_LINE + 1);
        assert_eq!(routes(&longer).unwrap_err().problem, Problem::LineTooLong(MAX_LINE));
        let text = "\n".repeat(MAX_TEXT + 1);
        for error in [routes(&text).unwrap_err(), ip2nets(&text).unwrap_err(), nid_ranges(&text).unwrap_err()]
        {
            assert_eq!(error.problem, Problem::TextTooLong(MAX_TEXT));
        }
        assert_eq!(networks(&longer).unwrap_err().problem, Problem::TextTooLong(MAX_LINE));
    }
}
