//! The node component of a path: `host`, `host.domain`, either with `~policy` or `~policy:interface`
//! (sections 8 and 11.3).

use super::{NameError, Policy, PolicyChoice, domain, node_name, split_fqnn};
use core::fmt;

/// Why a path names no node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodePathError<'a> {
    /// The host part.
    Name(NameError),
    /// The domain part.
    Domain(NameError),
    /// No such policy.
    Policy(&'a str),
    /// The interface behind the colon.
    Interface(NameError),
}

impl fmt::Display for NodePathError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodePathError::Name(error) => write!(f, "node {error}"),
            NodePathError::Domain(error) => write!(f, "domain {error}"),
            NodePathError::Policy(text) => write!(
                f,
                "\"{text}\" is no QoS policy; there are loadbalance, redundant, exclusive and preferred"
            ),
            NodePathError::Interface(error) => write!(f, "interface {error}"),
        }
    }
}

impl core::error::Error for NodePathError<'_> {}

/// A node and how to reach it, as a path says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodePath<'a> {
    /// Host name.
    pub name: &'a str,
    /// Domain, empty when none is given.
    pub domain: &'a str,
    /// Policy, when one is given.
    pub choice: Option<PolicyChoice<'a>>,
}

impl<'a> NodePath<'a> {
    /// Parses a node component by itself.
    pub fn parse(text: &'a str) -> Result<NodePath<'a>, NodePathError<'a>> {
        let (node, choice) = match text.split_once('~') {
            Some((node, choice)) => (node, Some(parse_choice(choice)?)),
            None => (text, None),
        };
        let (name, rest) = split_fqnn(node);
        let name = node_name(name.as_bytes()).map_err(NodePathError::Name)?;
        let domain = match node.contains('.') {
            true => domain(rest.as_bytes()).map_err(NodePathError::Domain)?,
            false => "",
        };
        Ok(NodePath { name, domain, choice })
    }

    /// Parses what STRTOND is given: a node component, perhaps with `net` (the network directory with a slash at
    /// both ends, such as `/net/`) before it and a path behind it. Also returns how many bytes precede that path.
    pub fn parse_path(text: &'a str, net: &str) -> Result<(NodePath<'a>, usize), NodePathError<'a>> {
        let node = text.strip_prefix(net).unwrap_or(text);
        let before = text.len() - node.len();
        let component = node.split('/').next().unwrap_or_default();
        Ok((NodePath::parse(component)?, before + component.len()))
    }
}

fn parse_choice(text: &str) -> Result<PolicyChoice<'_>, NodePathError<'_>> {
    let (policy, interface) = match text.split_once(':') {
        Some((policy, interface)) => {
            // Interface names follow the rules of node names.
            (policy, node_name(interface.as_bytes()).map_err(NodePathError::Interface)?)
        }
        None => (text, ""),
    };
    let policy = Policy::from_name(policy).ok_or(NodePathError::Policy(policy))?;
    Ok(PolicyChoice { policy, interface })
}

impl fmt::Display for NodePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if !self.domain.is_empty() {
            write!(f, ".{}", self.domain)?;
        }
        match self.choice {
            Some(choice) => choice.fmt(f),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, name, domain, choice) in [
            ("lab2", "lab2", "", None),
            ("lab2.lab.test", "lab2", "lab.test", None),
            ("lab2~loadbalance", "lab2", "", Some((Policy::LoadBalance, ""))),
            ("lab2~exclusive:en0", "lab2", "", Some((Policy::Exclusive, "en0"))),
            ("lab2.x~preferred:en1", "lab2", "x", Some((Policy::Preferred, "en1"))),
        ] {
            let path = NodePath::parse(text).unwrap();
            let choice = choice.map(|(policy, interface)| PolicyChoice { policy, interface });
            assert_eq!(path, NodePath { name, domain, choice }, "{text}");
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn where_the_path_starts() {
        let end = |text| NodePath::parse_path(text, "/net/").map(|(node, end)| (node.name, end));
        assert_eq!(end("/net/lab2~exclusive:en0/dev/ser1"), Ok(("lab2", 23)));
        assert_eq!(end("lab2"), Ok(("lab2", 4)));
        assert_eq!(end("lab2/"), Ok(("lab2", 4)));
        assert_eq!(end("/net/"), Err(NodePathError::Name(NameError::Empty)));
        assert_eq!(end("/lab2"), Err(NodePathError::Name(NameError::Empty)));
    }

    #[test]
    fn rejections() {
        let slash = NameError::Character { byte: b'/', position: 1 };
        assert_eq!(NodePath::parse("a/b"), Err(NodePathError::Name(slash)));
        assert_eq!(NodePath::parse("a."), Err(NodePathError::Domain(NameError::Empty)));
        assert_eq!(NodePath::parse("a~"), Err(NodePathError::Policy("")));
        assert_eq!(NodePath::parse("a~fast:en0"), Err(NodePathError::Policy("fast")));
        assert_eq!(NodePath::parse("a~preferred:"), Err(NodePathError::Interface(NameError::Empty)));
        assert_eq!(NodePath::parse("~preferred"), Err(NodePathError::Name(NameError::Empty)));
        assert_eq!(
            NodePathError::Policy("fast").to_string(),
            "\"fast\" is no QoS policy; there are loadbalance, redundant, exclusive and preferred"
        );
    }
}
