//! Other nodes with our name (section 9.4): counted, logged, answered, kept for `/proc/qnetstats`.

use crate::l4::Arrival;
use crate::l4::{DupPolicy, Transport};
use crate::link::{LinkAddress, LinkId};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use keelson_hal::Instant;

/// How often both sides are told.
const ANNOUNCE_GAP: Duration = Duration::from_secs(10);
/// How often a line is logged.
const LOG_GAP: Duration = Duration::from_secs(1);
/// How many are remembered.
const MAX: usize = 8;

/// A node that has, or had, our name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Duplicate {
    /// The name.
    pub name: String,
    /// Where it was heard.
    pub link: LinkId,
    /// Its address.
    pub address: LinkAddress,
}

/// Those heard so far.
#[derive(Default)]
pub struct Duplicates {
    list: Vec<Duplicate>,
    announced: Option<Instant>,
    logged: Option<Instant>,
}

impl Duplicates {
    /// The last few, oldest first.
    pub fn list(&self) -> &[Duplicate] {
        &self.list
    }

    fn remember(&mut self, duplicate: Duplicate) {
        if !self.list.contains(&duplicate) {
            if self.list.len() >= MAX {
                self.list.remove(0);
            }
            self.list.push(duplicate);
        }
    }
}

/// Whether something may happen again, and remembers that it does.
fn again(last: &mut Option<Instant>, now: Instant, gap: Duration) -> bool {
    let due = last.is_none_or(|last| now - last >= gap);
    if due {
        *last = Some(now);
    }
    due
}

impl Transport {
    /// A frame came from a node that calls itself as we do.
    pub(crate) fn name_is_taken(&mut self, arrival: Arrival) {
        self.counters.lr_dup_name += 1;
        let name = self.identity.name().to_string();
        let (now, link, address) = (self.now, arrival.link, arrival.from);
        if again(&mut self.duplicates.logged, now, LOG_GAP) {
            let link = self.links.get(link).map_or("a link that is gone", |link| link.port.name());
            log::warn!(
                target: "qnet",
                "node {address} on {link} is also called \"{name}\"; host names must be unique, change one"
            );
        }
        self.duplicates.remember(Duplicate { name, link, address });
        let ours = self.links.get(link).map(|link| link.port.address());
        if self.options.dup_policy == DupPolicy::Rename
            && let Some(ours) = ours.filter(|ours| *ours > address)
        {
            self.identity.rename(ours);
            log::warn!(target: "qnet", "this node is called \"{}\" from now on", self.identity.name());
            return self.announce();
        }
        if again(&mut self.duplicates.announced, now, ANNOUNCE_GAP) {
            self.announce();
        }
    }

    /// Nodes that were heard with our name.
    pub fn duplicates(&self) -> &[Duplicate] {
        self.duplicates.list()
    }
}
