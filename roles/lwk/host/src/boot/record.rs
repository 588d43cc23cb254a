//! What is kept of a node between tools: a text file with one setting a line in the node's directory.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use keelson_lwk::options::cpulist;

use super::memory::Memory;
use super::place::write_file;
use super::problem::Problem;
use super::qemu::DEFAULT_MEMORY;

/// Name of the file.
const FILE: &str = "record";

/// The settings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Processors of this host that are reserved for the node: its virtual ones run there.
    pub host_cpus: Vec<usize>,
    /// Memory that is reserved, by this host's NUMA nodes.
    pub host_memory: Memory,
    /// Processors of the node for programs; empty for all but the service cores.
    pub cpus: Vec<usize>,
    /// Memory for the node's programs; empty for what its kernel does not need.
    pub memory: Memory,
    /// Which service core carries whose messages; empty for the default.
    pub ikc_map: String,
    /// The boot file.
    pub image: Option<PathBuf>,
    /// Kernel arguments, without those that follow from the rest.
    pub kargs: Option<String>,
    /// Owner of key, control socket and serial ports: `user[:group]`.
    pub owner: Option<String>,
    /// Options of its ihkmond; empty without one.
    pub monitor: String,
    /// Whether mcreboot added the node to the table, so that mcstop+release removes it.
    pub made: bool,
}

impl Record {
    /// Reads the record in a node's directory; the empty one when there is none.
    pub fn load(directory: &Path) -> Result<Record, Problem> {
        let path = directory.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Record::parse(&text).map_err(|reason| Problem::failed(path.display(), reason)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(Problem::failed(path.display(), error)),
        }
    }

    /// Writes it.
    pub fn save(&self, directory: &Path) -> Result<(), Problem> {
        write_file(&directory.join(FILE), self.to_string().as_bytes(), 0o644)
    }

    /// Memory of a virtual machine for the node: what is reserved, or else what is assigned.
    pub fn machine_memory(&self) -> Memory {
        let lists = [&self.host_memory, &self.memory];
        let given = lists.into_iter().find(|list| !list.is_empty()).cloned();
        given.unwrap_or_else(|| Memory::of_first(DEFAULT_MEMORY))
    }

    fn parse(text: &str) -> Result<Record, String> {
        let mut record = Record::default();
        for line in text.lines() {
            let (name, value) = line.split_once(' ').ok_or_else(|| format!("{line}: no value"))?;
            match name {
                "host_cpus" => record.host_cpus = cpulist::parse(value)?,
                "host_memory" => record.host_memory = Memory::parse(value)?,
                "cpus" => record.cpus = cpulist::parse(value)?,
                "memory" => record.memory = Memory::parse(value)?,
                "ikc_map" => record.ikc_map = value.to_owned(),
                "image" => record.image = Some(value.into()),
                "kargs" => record.kargs = Some(value.to_owned()),
                "owner" => record.owner = Some(value.to_owned()),
                "monitor" => record.monitor = value.to_owned(),
                "made" => record.made = value == "yes",
                _ => return Err(format!("{name}: no such setting")),
            }
        }
        Ok(record)
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        let image = self.image.as_ref().map(|path| path.display().to_string());
        for (name, value) in [
            ("host_cpus", cpulist::format(&self.host_cpus)),
            ("host_memory", self.host_memory.to_string()),
            ("cpus", cpulist::format(&self.cpus)),
            ("memory", self.memory.to_string()),
            ("ikc_map", self.ikc_map.clone()),
            ("image", image.unwrap_or_default()),
            ("kargs", self.kargs.clone().unwrap_or_default()),
            ("owner", self.owner.clone().unwrap_or_default()),
            ("monitor", self.monitor.clone()),
            ("made", if self.made { "yes" } else { "" }.to_owned()),
        ] {
            if !value.is_empty() {
                writeln!(text, "{name} {value}")?;
            }
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record {
            host_cpus: vec![2, 3],
            host_memory: Memory::of_first(1 << 30),
            cpus: vec![3, 1, 2],
            memory: Memory::parse("512M@0").unwrap(),
            image: Some("/boot/lwk image.img".into()),
            kargs: Some("hidos log=\"info, x\"".into()),
            monitor: "-k 1 -i 5".into(),
            made: true,
            ..Record::default()
        };
        assert_eq!(Record::parse(&record.to_string()), Ok(record));
        assert_eq!(Record::parse(""), Ok(Record::default()));
        assert!(Record::parse("cpus 4-1").is_err() && Record::parse("speed 9").is_err());
    }
}
