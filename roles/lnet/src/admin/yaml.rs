//! The part of YAML that Lustre's tools write and read, laid out as they lay it out.
//!
//! ```text
//! net:
//!     - net type: tcp1            items of the outermost list: 4 columns
//!       local NI(s):
//!         - nid: 10.0.0.1@tcp1    items of inner lists: 2 columns
//!           interfaces:
//!               0: eth0           mappings in mappings: 4 columns
//! ```
//!
//! Not here: anchors, tags, block scalars, keys that are not plain words. Such a text is refused, with the line.

mod read;

pub use read::{YamlError, parse};

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Yaml {
    /// A text, number or nothing (empty), and whether it stands in quotes.
    Scalar(String, Quotes),
    /// Keys and values, in order.
    Map(Vec<(String, Yaml)>),
    /// Items.
    Seq(Vec<Yaml>),
}

/// How a scalar is written. What is read says nothing of it: [`Quotes::No`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quotes {
    /// As it is.
    No,
    /// In double quotes.
    Double,
}

/// Anything that makes a value: numbers, texts, NIDs, values.
pub trait IntoYaml {
    /// The value.
    fn into_yaml(self) -> Yaml;
}

impl IntoYaml for Yaml {
    fn into_yaml(self) -> Yaml {
        self
    }
}

macro_rules! scalars {
    ($($type:ty),*) => {
        $(impl IntoYaml for $type {
            fn into_yaml(self) -> Yaml {
                Yaml::plain(self.to_string())
            }
        })*
    };
}

scalars!(i32, i64, u32, u64, usize, &str, String, keelson_lnet_wire::nid::Nid, keelson_lnet_wire::nid::NetId);

impl Yaml {
    /// A scalar as it is.
    pub fn plain(text: impl Into<String>) -> Yaml {
        Yaml::Scalar(text.into(), Quotes::No)
    }

    /// A scalar in double quotes.
    pub fn quoted(text: impl Into<String>) -> Yaml {
        Yaml::Scalar(text.into(), Quotes::Double)
    }

    /// A mapping without keys.
    pub fn map() -> Yaml {
        Yaml::Map(Vec::new())
    }

    /// A list.
    pub fn seq(items: impl IntoIterator<Item = Yaml>) -> Yaml {
        Yaml::Seq(items.into_iter().collect())
    }

    /// A mapping with one key more. Anything but a mapping stays as it is.
    pub fn with(mut self, key: &str, value: impl IntoYaml) -> Yaml {
        if let Yaml::Map(entries) = &mut self {
            entries.push((key.to_owned(), value.into_yaml()));
        }
        self
    }

    /// The same, if the condition holds.
    pub fn with_if<V: IntoYaml>(self, condition: bool, key: &str, value: impl FnOnce() -> V) -> Yaml {
        if condition { self.with(key, value()) } else { self }
    }

    /// All keys of both mappings.
    pub fn and(mut self, other: Yaml) -> Yaml {
        if let (Yaml::Map(entries), Yaml::Map(more)) = (&mut self, other) {
            entries.extend(more);
        }
        self
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Yaml> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Keys and values of a mapping; none of anything else.
    pub fn entries(&self) -> &[(String, Yaml)] {
        match self {
            Yaml::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; a mapping counts as a list of one.
    pub fn items(&self) -> &[Yaml] {
        match self {
            Yaml::Seq(items) => items,
            Yaml::Map(_) => core::slice::from_ref(self),
            Yaml::Scalar(..) => &[],
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match self {
            Yaml::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    fn write_map(entries: &[(String, Yaml)], column: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in entries.iter().enumerate() {
            // The first key of an item stands behind its dash.
            if index > 0 || column == 0 {
                write!(f, "{:column$}", "")?;
            }
            match value {
                Yaml::Scalar(text, quotes) => {
                    f.write_str(key)?;
                    f.write_str(":")?;
                    write_scalar(text, *quotes, " ", f)?;
                    f.write_str("\n")?;
                }
                Yaml::Map(entries) => {
                    writeln!(f, "{key}:")?;
                    if !entries.is_empty() {
                        write!(f, "{:1$}", "", column + 4)?;
                        Yaml::write_map(entries, column + 4, f)?;
                    }
                }
                Yaml::Seq(items) => {
                    writeln!(f, "{key}:")?;
                    Yaml::write_seq(items, if column == 0 { 4 } else { column + 2 }, f)?;
                }
            }
        }
        Ok(())
    }

    fn write_seq(items: &[Yaml], column: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in items {
            write!(f, "{:column$}- ", "")?;
            match item {
                Yaml::Map(entries) if !entries.is_empty() => Yaml::write_map(entries, column + 2, f)?,
                Yaml::Scalar(text, quotes) => {
                    write_scalar(text, *quotes, "", f)?;
                    f.write_str("\n")?;
                }
                _ => f.write_str("\n")?,
            }
        }
        Ok(())
    }
}

fn write_scalar(text: &str, quotes: Quotes, before: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match quotes {
        Quotes::Double => write!(f, "{before}\"{}\"", text.replace('"', "'")),
        Quotes::No if text.is_empty() => Ok(()),
        Quotes::No => write!(f, "{before}{text}"),
    }
}

impl fmt::Display for Yaml {
    /// Ends in a newline, unless there is nothing to write.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Yaml::Map(entries) => Yaml::write_map(entries, 0, f),
            Yaml::Seq(items) => Yaml::write_seq(items, 0, f),
            Yaml::Scalar(text, quotes) => {
                write_scalar(text, *quotes, "", f)?;
                f.write_str("\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let ni = Yaml::map()
            .with("nid", "10.0.0.1@tcp1")
            .with("interfaces", Yaml::map().with("0", "eth0"))
            .with("statistics", Yaml::map().with("send_count", 0u64).with("recv_count", 7u64))
            .with("CPT", Yaml::quoted("[0]"));
        let net = Yaml::map().with("net type", "tcp1").with("local NI(s)", Yaml::seq([ni.clone(), ni]));
        let text = Yaml::map().with("net", Yaml::seq([net])).with("buffers", Yaml::map().with("tiny", 3u32));
        let expected = "\
net:
    - net type: tcp1
      local NI(s):
        - nid: 10.0.0.1@tcp1
          interfaces:
              0: eth0
          statistics:
              send_count: 0
              recv_count: 7
          CPT: \"[0]\"
        - nid: 10.0.0.1@tcp1
          interfaces:
              0: eth0
          statistics:
              send_count: 0
              recv_count: 7
          CPT: \"[0]\"
buffers:
    tiny: 3
";
        assert_eq!(text.to_string(), expected);
    }

    #[test]
    fn items_that_are_mappings_of_mappings() {
        let text = Yaml::map().with(
            "routing",
            Yaml::seq([
                Yaml::map().with("cpt[0]", Yaml::map().with("tiny", Yaml::map().with("npages", 0u32))),
                Yaml::map().with("enable", 1u32),
            ]),
        );
        let expected = "\
routing:
    - cpt[0]:
          tiny:
              npages: 0
    - enable: 1
";
        assert_eq!(text.to_string(), expected);
    }

    #[test]
    fn empty_values() {
        let text =
            Yaml::map().with("net", Yaml::seq([])).with("a", "").with("b", Yaml::map()).with("c", 1u32);
        assert_eq!(text.to_string(), "net:\na:\nb:\nc: 1\n");
    }
}
