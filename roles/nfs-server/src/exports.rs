//! Which directories are exported to whom, and how: exports(5).
//!
//! A client is matched class by class: single hosts first, then networks, wildcard names, netgroups, and
//! everyone last; the first match wins. Verdicts are remembered by address, so that a call costs one
//! look-up whatever the exports look like.

mod client;
mod options;
mod parse;
mod wildcard;

pub use client::{ClientSpec, MatchClass};
pub use options::{ExportOptions, Squash};
pub use parse::{ExportProblem, parse_exports};

use crate::names::{HostTable, Names};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use core::time::Duration;
use keelson_exec::Handle;
use keelson_hal::Instant;
use keelson_volume::FileId;

/// Addresses whose verdicts are remembered, for all exports together.
const MAX_VERDICTS: usize = 4096;

/// How long a verdict that depends on names holds.
const NAME_VERDICT_LIFE: Duration = Duration::from_secs(300);

/// One exported directory.
#[derive(Debug)]
pub struct Export {
    /// Absolute, without `.`, `..`, doubled or trailing slashes.
    pub path: String,
    /// Stands in file handles; the same after every restart and reordering.
    pub id: u16,
    /// Number for fattr3.fsid when configured.
    pub fsid: Option<u32>,
    /// In the order of the text.
    pub clients: Vec<ExportClient>,
    /// The directory, once it was found.
    pub root: Cell<Option<FileId>>,
}

/// A client of an export and what it may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportClient {
    /// Who.
    pub spec: ClientSpec,
    /// How.
    pub options: ExportOptions,
}

#[derive(Clone, Copy)]
struct Verdict {
    options: Option<ExportOptions>,
    expires: Instant,
    /// The client was told once that the export is read-only.
    read_only_noted: bool,
}

/// The table of exports.
pub struct Exports<N> {
    list: Vec<Rc<Export>>,
    handle: Handle,
    names: Rc<N>,
    hosts: HostTable,
    dots: WildcardDots,
    verdicts: RefCell<BTreeMap<(IpAddr, u16), Verdict>>,
}

/// Whether `*` and `?` in client names match dots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WildcardDots {
    /// They do not: `*.a.b` matches `x.a.b` but not `x.y.a.b`.
    #[default]
    Separate,
    /// They do, as in today's exports(5).
    Match,
}

impl<N: Names> Exports<N> {
    /// A table; `names` resolves what `hosts` does not know.
    pub fn new(
        handle: Handle,
        list: Vec<Export>,
        names: Rc<N>,
        hosts: HostTable,
        dots: WildcardDots,
    ) -> Exports<N> {
        let list = list.into_iter().map(Rc::new).collect();
        Exports { list, handle, names, hosts, dots, verdicts: RefCell::default() }
    }

    /// All exports, in the order of the text.
    pub fn list(&self) -> &[Rc<Export>] {
        &self.list
    }

    /// The export that a handle names.
    pub fn by_id(&self, id: u16) -> Option<&Rc<Export>> {
        self.list.iter().find(|export| export.id == id)
    }

    /// The exports that cover a normalised path, the deepest first.
    pub fn covering(&self, path: &str) -> Vec<Rc<Export>> {
        let covers = |export: &&Rc<Export>| match path.strip_prefix(&export.path[..]) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || export.path == "/",
            None => false,
        };
        let mut found: Vec<_> = self.list.iter().filter(covers).cloned().collect();
        found.sort_by_key(|export| core::cmp::Reverse(export.path.len()));
        found
    }

    /// What a client may do with an export; `None` when it may nothing.
    pub async fn options_for(&self, export: &Export, client: IpAddr) -> Option<ExportOptions> {
        let key = (client.to_canonical(), export.id);
        let now = self.handle.now();
        let known = self.verdicts.borrow().get(&key).copied();
        if let Some(verdict) = known.filter(|verdict| verdict.expires > now) {
            return verdict.options;
        }
        let needs_name = export.clients.iter().any(|client| client.spec.needs_name());
        let name = if needs_name { self.confirmed_name(key.0).await } else { None };
        let best = export
            .clients
            .iter()
            .filter(|client| client.spec.matches(key.0, name.as_deref(), self.dots))
            .min_by_key(|client| client.spec.class());
        let options = best.map(|client| client.options);
        if options.is_none() {
            log::warn!(target: "nfs", "refused {client} at {}: unmatched host", export.path);
        }
        let expires = if needs_name { self.handle.now() + NAME_VERDICT_LIFE } else { Instant::FAR_FUTURE };
        let mut verdicts = self.verdicts.borrow_mut();
        if verdicts.len() >= MAX_VERDICTS {
            verdicts.clear();
        }
        verdicts.insert(key, Verdict { options, expires, read_only_noted: false });
        options
    }

    /// Logs, once for each client, that it tried to change a read-only export.
    pub fn note_read_only(&self, export: &Export, client: IpAddr) {
        let key = (client.to_canonical(), export.id);
        if let Some(verdict) = self.verdicts.borrow_mut().get_mut(&key)
            && !verdict.read_only_noted
        {
            verdict.read_only_noted = true;
            log::warn!(target: "nfs", "{client} may only read {}: a change was refused", export.path);
        }
    }

    /// The client's name, when that name leads back to the client's address: a name from reverse DNS alone
    /// is whatever the client's own zone says.
    async fn confirmed_name(&self, client: IpAddr) -> Option<String> {
        if let Some(name) = self.hosts.name_of(client) {
            return Some(name.into());
        }
        let name = self.names.reverse(client).await?;
        let addresses = self.names.forward(&name).await;
        if addresses.iter().any(|address| address.to_canonical() == client) {
            return Some(name);
        }
        log::warn!(target: "nfs", "{client} calls itself {name}, which does not lead back to it: name ignored");
        None
    }
}

/// Collapses slashes and drops `.`; `None` for relative paths and those with `..`.
pub fn normalise(path: &str) -> Option<String> {
    let mut out = String::new();
    for part in path.strip_prefix('/')?.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            name => {
                out.push('/');
                out.push_str(name);
            }
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    Some(out)
}

#[cfg(test)]
mod tests;
