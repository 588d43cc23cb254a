//! The exports that are in force together, with the hosts and netgroups that they are decided by.

use super::{Export, Netgroups};
use crate::names::HostTable;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;

/// A table of exports. It does not change; another one takes its place.
#[derive(Debug, Default)]
pub struct Table {
    list: Vec<Rc<Export>>,
    by_id: BTreeMap<u16, Rc<Export>>,
    /// Names of clients.
    pub(super) hosts: HostTable,
    /// Groups of clients.
    pub(super) netgroups: Netgroups,
}

impl Table {
    /// A table of these exports, whose numbers differ.
    pub fn new(list: Vec<Export>, hosts: HostTable, netgroups: Netgroups) -> Table {
        let list: Vec<_> = list.into_iter().map(Rc::new).collect();
        let by_id = list.iter().map(|export| (export.id, export.clone())).collect();
        Table { list, by_id, hosts, netgroups }
    }

    /// The same hosts and netgroups with other exports.
    pub fn with_exports(&self, list: Vec<Export>) -> Table {
        Table::new(list, self.hosts.clone(), self.netgroups.clone())
    }

    /// The addresses that the table of hosts has for a name.
    pub fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
        self.hosts.addresses_of(name)
    }

    /// All exports, in the order of the text.
    pub fn list(&self) -> &[Rc<Export>] {
        &self.list
    }

    /// The export with a number.
    pub fn by_id(&self, id: u16) -> Option<&Rc<Export>> {
        self.by_id.get(&id)
    }

    /// The exports that cover a normalised path, the deepest first.
    pub fn covering(&self, path: &str) -> Vec<Rc<Export>> {
        let covers = |export: &&Rc<Export>| match path.strip_prefix(&export.path[..]) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || export.path == "/",
            None => false,
        };
        let mut found: Vec<_> = self.list.iter().filter(covers).cloned().collect();
        found.sort_by_key(|export| Reverse(export.path.len()));
        found
    }
}
