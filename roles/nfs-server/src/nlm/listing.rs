//! What an operator sees of locks, and may do about them.

use super::LockManager;
use super::wire::split_owner_name;
use crate::locks::{Kind, LockView};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;
use core::net::IpAddr;
use keelson_volume::Volume;

/// Lines of a listing.
const MAX_LINES: usize = 1000;

impl<V: Volume + 'static> LockManager<V> {
    /// All locks and waiters in the manner of Linux's `/proc/locks`: number, kind, process, inode, first and
    /// last byte; then the host, what it calls itself and the owner. `->` marks a request that waits.
    pub fn list(&self) -> String {
        let table = self.table.borrow();
        let hosts = self.hosts.borrow();
        let by_client = hosts.by_client();
        let mut files = BTreeMap::new();
        let mut text = String::new();
        for lock in table.locks().take(MAX_LINES) {
            let next = files.len() + 1;
            let number = *files.entry(lock.file).or_insert(next);
            let host = match by_client.get(&lock.client) {
                Some((address, host)) => {
                    format!("{address} ({})", String::from_utf8_lossy(host.name()).escape_debug())
                }
                None => String::from("-"),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{number}: {} {host}", line(&lock));
        }
        let counts = table.counts();
        let _ = writeln!(
            text,
            "{} locks, {} waiting, {} being granted, {} shares, on {} files, of {} owners",
            counts.locks,
            counts.waiters,
            self.callbacks.under_way(),
            counts.shares,
            counts.files,
            counts.owners
        );
        if let Some(ends) = self.grace.ends() {
            let left = ends - self.handle.now();
            let _ = writeln!(
                text,
                "grace period: {} s left, {} hosts may reclaim",
                left.as_secs(),
                self.grace.entitled()
            );
        }
        text
    }

    /// Hosts that are told of our restarts: address, name, state number, and what is known of them.
    pub fn list_hosts(&self) -> String {
        let mut text = format!("state {}\n", self.state());
        let hosts = self.hosts.borrow();
        let untold = self.store.untold();
        for record in self.store.records() {
            let name = String::from_utf8_lossy(&record.name);
            let told = match untold.get(&record.address) {
                Some(tries) => format!(", not told of the restart yet ({tries} tries)"),
                None => String::new(),
            };
            let active = if hosts.client(record.address).is_some() { ", has asked for locks" } else { "" };
            let _ = writeln!(
                text,
                "{} {} state {} at {}{active}{told}",
                record.address,
                name.escape_debug(),
                record.state,
                record.local
            );
        }
        for (address, host) in hosts.iter().filter(|(_, host)| !host.monitored) {
            let name = String::from_utf8_lossy(host.name());
            let _ = writeln!(text, "{address} {} not monitored", name.escape_debug());
        }
        text
    }

    /// Releases everything of a host that is not coming back; it may be named by address or as it calls
    /// itself. What was done, for people.
    pub fn unlock_host(&self, host: &str) -> String {
        let named = |host: &str| {
            let hosts = self.hosts.borrow();
            let found = hosts.iter().find(|(_, known)| known.is_named(host.as_bytes()));
            found.map(|(address, _)| address)
        };
        let address =
            host.parse::<IpAddr>().ok().map(|address| address.to_canonical()).or_else(|| named(host));
        let Some(address) = address.filter(|address| self.knows(*address)) else {
            return format!("{host} has no locks here; see the list of hosts for those that have\n");
        };
        let released = self.release(address);
        self.grace.disclaim(address);
        log::warn!(target: "lockd", "{address}: {released} locks released on an operator's word");
        format!("{address}: {released} locks and waiting requests released\n")
    }

    /// Ends the grace period on an operator's word.
    pub fn end_grace(&self) -> String {
        if !self.grace.is_active() {
            return String::from("no grace period\n");
        }
        self.grace.cut_short();
        String::from("grace period ends; what was not reclaimed is lost\n")
    }
}

/// The middle of a line, as in `/proc/locks`.
fn line(lock: &LockView<'_>) -> String {
    let (svid, owner) = split_owner_name(lock.name);
    let arrow = if lock.waiter.is_some() { "-> " } else { "" };
    let kind = match lock.kind {
        Kind::Shared => "READ ",
        Kind::Exclusive => "WRITE",
    };
    let last = match lock.range.last {
        u64::MAX => String::from("EOF"),
        last => last.to_string(),
    };
    let owner = String::from_utf8_lossy(owner);
    format!(
        "{arrow}POSIX  ADVISORY  {kind} {svid} {} {} {last} {}",
        lock.file.inode,
        lock.range.first,
        owner.escape_debug()
    )
}
