//! Names of clients: the configured tables of hosts, then DNS.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Resolves names in both directions. Failures and time-outs are "unknown".
// Single-threaded executors: futures need no `Send` bound.
#[allow(async_fn_in_trait)]
pub trait Names: 'static {
    /// The name of an address.
    async fn reverse(&self, address: IpAddr) -> Option<String>;

    /// The addresses of a name.
    async fn forward(&self, name: &str) -> Vec<IpAddr>;
}

/// Knows no names.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl Names for NoNames {
    async fn reverse(&self, _address: IpAddr) -> Option<String> {
        None
    }

    async fn forward(&self, _name: &str) -> Vec<IpAddr> {
        Vec::new()
    }
}

/// Addresses and their names, trusted as they stand: `nfs.hosts=10.0.0.5=mail,10.0.0.6=ftp.example.org`, or a text
/// as hosts(5) describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostTable(Vec<(IpAddr, Vec<String>)>);

impl HostTable {
    /// Parses the form of the option; the error is the entry that is wrong.
    pub fn parse(text: &str) -> Result<HostTable, &str> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let parse = |entry| {
            let (address, name) = str::split_once(entry, '=').ok_or(entry)?;
            let address: IpAddr = address.parse().map_err(|_| entry)?;
            if name.is_empty() { Err(entry) } else { Ok((address.to_canonical(), Vec::from([name.into()]))) }
        };
        entries.map(parse).collect::<Result<_, _>>().map(HostTable)
    }

    /// Parses hosts(5): an address, its name and its aliases on each line. A line that is wrong is left out; the
    /// number of each, from 1, and what is wrong with it come beside the table.
    pub fn parse_file(text: &str) -> (HostTable, Vec<(usize, String)>) {
        let (mut table, mut problems) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(address) = words.next() else { continue };
            let names: Vec<String> = words.map(String::from).collect();
            match address.parse::<IpAddr>() {
                Ok(address) if !names.is_empty() => table.push((address.to_canonical(), names)),
                Ok(_) => problems.push((index + 1, format!("{address} has no name"))),
                Err(_) => problems.push((index + 1, format!("'{}' is no address", address.escape_debug()))),
            }
        }
        (HostTable(table), problems)
    }

    /// Adds another table; what is here already comes first.
    pub fn append(&mut self, other: HostTable) {
        self.0.extend(other.0);
    }

    /// The first name of an address.
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        self.names_of(address).next()
    }

    /// All names of an address.
    pub fn names_of(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(known, _)| *known == address)
            .flat_map(|(_, names)| names)
            .map(|name| &name[..])
    }

    /// The addresses of a name, in the order of the table.
    pub fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
        let named =
            |(_, known): &&(IpAddr, Vec<String>)| known.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.0.iter().filter(named).map(|(address, _)| *address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_files_have_aliases_comments_and_mistakes() {
        let text = "127.0.0.1 localhost # this one\n\n10.0.0.5\tmail.example.org mail\n10.0.0.6\nfd00::7 seven\n\
                    mail 10.0.0.5\n::ffff:10.0.0.5 also";
        let (mut table, problems) = HostTable::parse_file(text);
        assert_eq!(problems, [(4, "10.0.0.6 has no name".into()), (6, "'mail' is no address".into())]);
        let names = |table: &HostTable, address: &str| {
            let address = address.parse().expect("an address");
            table.names_of(address).map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(names(&table, "10.0.0.5"), ["mail.example.org", "mail", "also"]);
        assert_eq!(names(&table, "fd00::7"), ["seven"]);
        assert_eq!(names(&table, "10.0.0.6"), [""; 0]);
        let mut first = HostTable::parse("10.0.0.5=first").expect("a table");
        first.append(core::mem::take(&mut table));
        assert_eq!(first.name_of("10.0.0.5".parse().expect("an address")), Some("first"));
        assert_eq!(HostTable::parse("10.0.0.5"), Err("10.0.0.5"));
    }
}
