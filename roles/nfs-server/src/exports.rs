//! Which directories are exported to whom, and how: exports(5).
//!
//! A client is matched class by class: single hosts first, then networks, wildcard names, netgroups, and
//! everyone last; the first match wins. Verdicts are remembered by address, so that a call costs one
//! look-up whatever the exports look like.
//!
//! The table can be replaced while it is in use ([`Exports::replace`]). What stays exported keeps its number, so
//! its handles stay valid; the number of what is gone finds nothing any more, which makes its handles stale.

mod client;
pub(crate) mod command;
pub(crate) mod load;
mod netgroup;
mod options;
mod parse;
mod quota;
mod refusals;
mod table;
mod wildcard;

pub use client::{ClientSpec, MatchClass};
pub use netgroup::Netgroups;
pub use options::{ExportOptions, Squash};
pub use parse::{ExportProblem, parse_exports};
pub use quota::{Holder, QuotaRule, limits_of, parse_quotas};
pub use refusals::{ExportCounters, Refusal};
pub use table::Table;

use crate::names::Names;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use core::time::Duration;
use keelson_exec::Handle;
use keelson_hal::Instant;
use keelson_volume::FileId;
use refusals::Refusals;

/// Addresses whose verdicts are remembered, for all exports together.
const MAX_VERDICTS: usize = 4096;

/// How long a verdict that depends on names holds.
const NAME_VERDICT_LIFE: Duration = Duration::from_secs(300);

/// Names of an export line that are resolved to decide about a client, at most.
const MAX_FORWARD: usize = 32;

/// One exported directory.
#[derive(Clone, Debug)]
pub struct Export {
    /// Absolute, without `.`, `..`, doubled or trailing slashes.
    pub path: String,
    /// Stands in file handles; the same after every restart and reordering.
    pub id: u16,
    /// Number for fattr3.fsid when configured.
    pub fsid: Option<u64>,
    /// In the order of the text.
    pub clients: Vec<ExportClient>,
    /// Limits of users and groups that the line gives, for the whole volume.
    pub quotas: Vec<QuotaRule>,
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
}

/// The exports in force, and whatever was decided about clients.
pub struct Exports<N> {
    table: RefCell<Rc<Table>>,
    handle: Handle,
    names: Rc<N>,
    dots: WildcardDots,
    /// The server's own, in which short names of the exports are looked for.
    domain: Option<String>,
    verdicts: RefCell<BTreeMap<(IpAddr, u16), Verdict>>,
    refusals: Refusals,
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
    /// Exports as `table` says; `names` resolves what its hosts do not know.
    pub fn new(handle: Handle, table: Table, names: Rc<N>, dots: WildcardDots) -> Exports<N> {
        let table = RefCell::new(Rc::new(table));
        let (verdicts, refusals) = (RefCell::default(), Refusals::default());
        Exports { table, handle, names, dots, domain: None, verdicts, refusals }
    }

    /// The same for a server in this domain: there it looks for names of the exports that have no dot.
    pub fn in_domain(self, domain: Option<&str>) -> Exports<N> {
        Exports { domain: domain.map(ToString::to_string), ..self }
    }

    /// The table in force now.
    pub fn table(&self) -> Rc<Table> {
        self.table.borrow().clone()
    }

    /// Puts another table in force: for calls that begin from now on, nothing that was decided before counts.
    pub fn replace(&self, table: Table) {
        let old = self.table();
        for export in old.list() {
            match table.by_id(export.id) {
                // Whoever mounts finds it anew; until then handles of it stay what they are.
                Some(same) if same.path == export.path => same.root.set(export.root.get()),
                Some(_) => {}
                None => self.refusals.note_gone(export),
            }
        }
        *self.table.borrow_mut() = Rc::new(table);
        self.verdicts.borrow_mut().clear();
        self.refusals.forget_told();
    }

    /// What was refused.
    pub fn counters(&self) -> ExportCounters {
        self.refusals.counters()
    }

    /// The export that a handle names.
    pub fn by_id(&self, id: u16) -> Option<Rc<Export>> {
        self.table.borrow().by_id(id).cloned()
    }

    /// The exports that cover a normalised path, the deepest first.
    pub fn covering(&self, path: &str) -> Vec<Rc<Export>> {
        self.table.borrow().covering(path)
    }

    /// What a client may do with an export; `None` when it may nothing.
    pub async fn options_for(&self, export: &Export, client: IpAddr) -> Option<ExportOptions> {
        let key = (client.to_canonical(), export.id);
        let now = self.handle.now();
        let known = self.verdicts.borrow().get(&key).copied();
        if let Some(verdict) = known.filter(|verdict| verdict.expires > now) {
            return verdict.options;
        }
        let table = self.table();
        let (options, used_names) = self.decide(&table, export, key.0).await;
        if !Rc::ptr_eq(&table, &self.table.borrow()) {
            // Decided by a table that is not in force any more: true for this call, but not to be remembered.
            return options;
        }
        let expires = if used_names { self.handle.now() + NAME_VERDICT_LIFE } else { Instant::FAR_FUTURE };
        let mut verdicts = self.verdicts.borrow_mut();
        if verdicts.len() >= MAX_VERDICTS {
            verdicts.clear();
        }
        verdicts.insert(key, Verdict { options, expires });
        options
    }

    /// Counts a refusal, and logs it: the first of its kind for each client and export.
    pub fn refuse(&self, export: &Export, client: IpAddr, refusal: Refusal) {
        self.refusals.refuse(&export.path, export.id, client.to_canonical(), refusal);
    }

    /// The same for a handle of an export that does not exist, or not any more.
    pub fn refuse_gone(&self, export: u16, client: IpAddr) {
        self.refusals.refuse_gone(export, client.to_canonical());
    }

    /// The first class that matches, and in it the first client. Names are asked for only where they decide; also
    /// returned is whether they were. A host by name is whoever has an address that the name leads to: in the table of
    /// hosts if it has the name, else in DNS. A client's own name, once it is known to lead back, saves that question.
    async fn decide(&self, table: &Table, export: &Export, client: IpAddr) -> (Option<ExportOptions>, bool) {
        let mut by_class: Vec<&ExportClient> = export.clients.iter().collect();
        by_class.sort_by_key(|entry| entry.spec.class());
        let (mut names, mut forward_left) = (None, MAX_FORWARD);
        for entry in by_class {
            let spellings = match &entry.spec {
                ClientSpec::Name(name) => self.spellings(name),
                _ => Vec::new(),
            };
            let in_table: Vec<IpAddr> =
                spellings.iter().flat_map(|name| table.hosts.addresses_of(name)).collect();
            let matches = if in_table.is_empty() {
                if entry.spec.needs_name() && names.is_none() {
                    names = Some(self.names_of(table, client).await);
                }
                let known = names.as_deref().unwrap_or_default();
                entry.spec.matches(client, known, self.dots, &table.netgroups)
                    || spellings.iter().any(|name| known.iter().any(|own| own.eq_ignore_ascii_case(name)))
                    || self.leads_to(client, &spellings, &mut forward_left).await
            } else {
                // The table comes before DNS.
                in_table.contains(&client)
            };
            if matches {
                return (Some(entry.options), names.is_some());
            }
            if table.netgroups.is_unknown && entry.spec.class() == MatchClass::Netgroup {
                // It may be meant here, with fewer rights than everyone.
                return (None, true);
            }
        }
        (None, names.is_some())
    }

    /// The full names that a host name of an export line may stand for: itself, and before it, if it has no dot, the
    /// one in the server's domain.
    fn spellings(&self, name: &str) -> Vec<String> {
        let domain = self.domain.as_deref().filter(|_| !name.contains('.'));
        domain.map(|domain| alloc::format!("{name}.{domain}")).into_iter().chain([name.to_string()]).collect()
    }

    /// Whether DNS has the client's address for one of these names; the first that has any counts. That is how Linux
    /// finds whom a name means, and how a host without a name of its own, or with another one, can be meant.
    async fn leads_to(&self, client: IpAddr, spellings: &[String], forward_left: &mut usize) -> bool {
        for name in spellings {
            let Some(left) = forward_left.checked_sub(1) else { break };
            *forward_left = left;
            let addresses = self.names.forward(name).await;
            if !addresses.is_empty() {
                return addresses.iter().any(|address| address.to_canonical() == client);
            }
        }
        false
    }

    /// The client's names: those of the table, or one from reverse DNS that leads back to the client's address. What
    /// reverse DNS alone says is whatever the client's own zone says.
    async fn names_of(&self, table: &Table, client: IpAddr) -> Vec<String> {
        let known: Vec<String> = table.hosts.names_of(client).map(ToString::to_string).collect();
        if !known.is_empty() {
            return known;
        }
        let Some(name) = self.names.reverse(client).await else { return Vec::new() };
        let addresses = self.names.forward(&name).await;
        if addresses.iter().any(|address| address.to_canonical() == client) {
            return Vec::from([name]);
        }
        let name = name.escape_debug();
        log::warn!(target: "nfs", "{client} calls itself {name}, which does not lead back to it: name ignored");
        Vec::new()
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
