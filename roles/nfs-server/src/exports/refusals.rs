//! What clients were refused, counted and told: once for each client, export and reason, so that a client that keeps
//! trying does not fill the log.

use super::Export;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::net::IpAddr;

/// Refusals remembered as told; beyond that all are told anew.
const MAX_TOLD: usize = 4096;

/// Exports remembered that are gone.
const MAX_GONE: usize = 1024;

/// Why a client was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Refusal {
    /// No client of the export is meant to be this one.
    UnmatchedHost,
    /// The export is `secure`, and the call came from a port that anybody may use.
    IllegalPort,
    /// The export is read-only for this client.
    ReadOnly,
    /// The handle is of an export that is gone.
    NotExported,
}

impl fmt::Display for Refusal {
    /// As Linux's mountd names them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::UnmatchedHost => "unmatched host",
            Refusal::IllegalPort => "illegal port (the export is secure: only ports below 1024 may call)",
            Refusal::ReadOnly => "read-only for this client: a change was refused",
            Refusal::NotExported => "not exported (any more)",
        })
    }
}

/// How often what was refused.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ExportCounters {
    /// Clients that no entry of the export means.
    pub unmatched_hosts: u64,
    /// Calls from a port that anybody may use.
    pub illegal_ports: u64,
    /// Changes of what may only be read.
    pub read_only: u64,
    /// Handles of exports that are gone.
    pub not_exported: u64,
}

#[derive(Default)]
pub(super) struct Refusals {
    told: RefCell<BTreeSet<(IpAddr, u16, Refusal)>>,
    gone: RefCell<BTreeMap<u16, String>>,
    counters: Cell<ExportCounters>,
}

impl Refusals {
    pub fn counters(&self) -> ExportCounters {
        self.counters.get()
    }

    /// Whoever is refused from now on is told again.
    pub fn forget_told(&self) {
        self.told.borrow_mut().clear();
    }

    /// Remembers the path of an export that is not exported any more, for messages.
    pub fn note_gone(&self, export: &Export) {
        let mut gone = self.gone.borrow_mut();
        if gone.len() >= MAX_GONE {
            gone.clear();
        }
        gone.insert(export.id, export.path.clone());
    }

    pub fn refuse_gone(&self, export: u16, client: IpAddr) {
        let gone = self.gone.borrow();
        let path = gone.get(&export).map_or("an unknown export", String::as_str);
        self.refuse(path, export, client, Refusal::NotExported);
    }

    pub fn refuse(&self, path: &str, export: u16, client: IpAddr, refusal: Refusal) {
        let mut counters = self.counters.get();
        *match refusal {
            Refusal::UnmatchedHost => &mut counters.unmatched_hosts,
            Refusal::IllegalPort => &mut counters.illegal_ports,
            Refusal::ReadOnly => &mut counters.read_only,
            Refusal::NotExported => &mut counters.not_exported,
        } += 1;
        self.counters.set(counters);
        let mut told = self.told.borrow_mut();
        if told.len() >= MAX_TOLD {
            told.clear();
        }
        if told.insert((client, export, refusal)) {
            log::warn!(target: "nfs", "refused {client} at {path}: {refusal}");
        }
    }
}
