//! The bill of materials: CycloneDX 1.5 as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A crate that is linked in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Linked {
    name: String,
    version: String,
    /// An SPDX expression.
    licence: String,
    /// SHA-256 of the package in the registry; `None` for our own.
    checksum: Option<String>,
}

/// The crates of what `cargo tree` prints, each once, with the checksums of `Cargo.lock`. Those that only run at compile time
/// (macros) are not linked.
pub fn crates(tree: &str, lock: &str) -> Vec<Linked> {
    let checksums = checksums(lock);
    let mut found = BTreeMap::new();
    for line in tree.lines() {
        let Some((package, licence)) = line.split_once('\t') else { continue };
        let mut words = package.split_whitespace();
        let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
        if words.any(|word| word == "(proc-macro)") {
            continue;
        }
        let version = version.trim_start_matches('v');
        let checksum = checksums.get(&(name, version)).map(|sum| (*sum).to_owned());
        // What was shown before is marked by a star; and the slash of old manifests means "or".
        let licence = licence.trim_end_matches("(*)").trim().replace('/', " OR ");
        let linked = Linked { name: name.into(), version: version.into(), licence, checksum };
        found.insert((name.to_owned(), version.to_owned()), linked);
    }
    found.into_values().collect()
}

/// The checksums by name and version.
fn checksums(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"'))
        };
        if let (Some(name), Some(version), Some(sum)) = (field("name"), field("version"), field("checksum")) {
            found.insert((name, version), sum);
        }
    }
    found
}

/// The document for a version, whose commit was made `time` seconds after 1970.
pub fn document(version: &str, time: u64, crates: &[Linked]) -> String {
    let stamp = keelson_ops::civil::Timestamp(std::time::Duration::from_secs(time));
    let mut text = format!(
        "{{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n  \"metadata\": {{\n    \
         \"timestamp\": \"{stamp}\",\n    \"component\": {{ \"type\": \"operating-system\", \"name\": \"keelson\", \
         \"version\": {} }}\n  }},\n  \"components\": [",
        quoted(version)
    );
    for (index, linked) in crates.iter().enumerate() {
        let (name, version) = (&linked.name, &linked.version);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{}\n    {{ \"type\": \"library\", \"name\": {}, \"version\": {}, \"licenses\": [{{ \"expression\": {} }}]",
            if index == 0 { "" } else { "," },
            quoted(name),
            quoted(version),
            quoted(&linked.licence),
        );
        if let Some(sum) = &linked.checksum {
            let purl = format!("pkg:cargo/{name}@{version}");
            let _ = write!(
                text,
                ", \"purl\": {}, \"hashes\": [{{ \"alg\": \"SHA-256\", \"content\": {} }}]",
                quoted(&purl),
                quoted(sum)
            );
        }
        text += " }";
    }
    text + "\n  ]\n}\n"
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            character if character.is_control() => {}
            character => out.push(character),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "keelson-images v0.1.0 (/somewhere/images)\tMIT OR Apache-2.0\ncrc v3.4.0\tMIT OR Apache-2.0\n\
                        crc v3.4.0\tMIT OR Apache-2.0 (*)\nenumn v0.1.14 (proc-macro)\tMIT\nbit_field v0.10.3\tApache-2.0/MIT\n\n";
    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"crc\"\nversion = \"3.4.0\"\nsource = \"x\"\nchecksum = \"00ff\"\n\
                        dependencies = [\n \"crc-catalog\",\n]\n\n[[package]]\nname = \"keelson-images\"\nversion = \"0.1.0\"\n";

    #[test]
    fn each_crate_once_with_licence_and_checksum() {
        let crates = crates(TREE, LOCK);
        let names: Vec<_> = crates.iter().map(|linked| linked.name.as_str()).collect();
        assert_eq!(names, ["bit_field", "crc", "keelson-images"]);
        assert_eq!(crates[0].licence, "Apache-2.0 OR MIT");
        assert_eq!((crates[1].checksum.as_deref(), &crates[2].checksum), (Some("00ff"), &None));
        let text = document("0.1.0-\"x\"", 1_700_000_000, &crates);
        assert!(text.contains("\"timestamp\": \"2023-11-14T22:13:20"), "{text}");
        assert!(text.contains("\"version\": \"0.1.0-\\\"x\\\"\""), "{text}");
        assert!(text.contains("\"purl\": \"pkg:cargo/crc@3.4.0\"") && !text.contains("/somewhere"), "{text}");
        assert_eq!(
            (text.matches('{').count(), text.matches("\"library\"").count()),
            (text.matches('}').count(), 3)
        );
    }
}
