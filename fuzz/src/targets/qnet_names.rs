//! What people write about nodes: the node component of paths, host names, domains, policies.

use keelson_qnet::nodes::Identity;
use keelson_qnet_wire::names::{self, MacName, NodePath};

/// Where `/net` is.
const NET: &str = "/net/";

/// Lines, each of which is read in every grammar.
pub fn qnet_names(input: &[u8]) {
    for line in input.split(|byte| *byte == b'\n').take(64) {
        let (name, domain) = (names::node_name(line), names::domain(line));
        let text = String::from_utf8_lossy(line);
        // Both are plain ASCII, and so the same as text.
        assert!(name.is_err() || name == Ok(&text));
        assert!(domain.is_err() || domain == Ok(&text));
        node(&text);
        path(&text);
        identity(&text);
    }
}

fn node(text: &str) {
    match NodePath::parse(text) {
        Ok(node) => {
            assert!(names::node_name(node.name.as_bytes()).is_ok() && node.name.len() <= 63);
            assert!(node.domain.is_empty() || names::domain(node.domain.as_bytes()).is_ok());
            let printed = node.to_string();
            assert_eq!(NodePath::parse(&printed), Ok(node), "{printed}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn path(text: &str) {
    let Ok((node, end)) = NodePath::parse_path(text, NET) else { return };
    let before = text.get(..end).expect("a boundary");
    let component = before.strip_prefix(NET).unwrap_or(before);
    assert_eq!(NodePath::parse(component), Ok(node), "{text}");
    assert!(text[end..].is_empty() || text[end..].starts_with('/'), "{text}");
}

fn identity(text: &str) {
    let (host, domain) = text.split_once('.').unwrap_or((text, ""));
    match Identity::new(host, domain) {
        Ok(identity) => {
            assert!(identity.name().is_empty() || identity.matches(&host.to_uppercase(), ""));
            let bytes = text.as_bytes();
            let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
            let mac = keelson_qnet_wire::Mac([2, 0, 0, byte(0), byte(1), byte(2)]);
            let named = MacName::new(mac).to_string();
            assert!(named.starts_with("EA") && names::node_name(named.as_bytes()).is_ok(), "{named}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
