//! Node entries by number and by name (section 9.3).
//!
//! A number is given once: an entry that is removed leaves its name and number behind, and gets the same number when
//! it comes back. Of names that left long ago, beyond a bound, the number is given to nobody else.

use super::entry::Entry;
use crate::l4::links::MAX_LINKS;
use crate::link::LinkId;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use keelson_qnet_wire::names;

/// Names that left whose number is remembered.
const MAX_DEPARTED: usize = 1024;

/// Name and domain in lower case.
type Key = (String, String);

/// The entries of a node.
pub struct Nodes {
    /// By number; 0 is this node itself.
    entries: Vec<Option<Box<Entry>>>,
    by_name: BTreeMap<Key, u16>,
    /// Numbers of those in `/net`.
    listed: BTreeSet<u16>,
    /// Those that are not listed, oldest first; some of these came back meanwhile.
    departed: VecDeque<u16>,
    max: usize,
    /// Entries that had to go because there were too many.
    pub evicted: u64,
}

fn key(name: &str, domain: &str) -> Key {
    (name.to_ascii_lowercase(), domain.to_ascii_lowercase())
}

impl Nodes {
    /// No entries, and room for `max`.
    pub fn new(max: usize) -> Nodes {
        Nodes {
            entries: [None].into(),
            by_name: BTreeMap::new(),
            listed: BTreeSet::new(),
            departed: VecDeque::new(),
            max,
            evicted: 0,
        }
    }

    /// The entry with a number, listed or not.
    #[inline]
    pub fn get(&self, nr: u16) -> Option<&Entry> {
        self.entries.get(usize::from(nr))?.as_deref()
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, nr: u16) -> Option<&mut Entry> {
        self.entries.get_mut(usize::from(nr))?.as_deref_mut()
    }

    /// Those in `/net`, by number.
    pub fn listed(&self) -> impl Iterator<Item = &Entry> {
        self.listed.iter().filter_map(|nr| self.get(*nr))
    }

    /// How many are listed.
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    /// Whether none is listed.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The node with a name; the domain may be missing on either side. Exactly the same domain is preferred, then a
    /// listed node.
    pub fn find(&self, name: &str, domain: &str) -> Option<u16> {
        let wanted = key(name, domain);
        if let Some(nr) = self.by_name.get(&wanted) {
            return Some(*nr);
        }
        let same_name = self.by_name.range((wanted.0.clone(), String::new())..);
        let matching = same_name
            .take_while(|((name, _), _)| *name == wanted.0)
            .filter(|((_, other), _)| names::domains_match(other, domain));
        let mut found = None;
        for (_, nr) in matching {
            if self.get(*nr).is_some_and(|entry| entry.listed) {
                return Some(*nr);
            }
            found = found.or(Some(*nr));
        }
        found
    }

    /// The number of a node, which gets an entry if it has none. `None` when there is no room: every entry has a
    /// connection, or all 65,535 numbers are given.
    pub fn find_or_add(&mut self, name: &str, domain: &str) -> Option<u16> {
        if let Some(nr) = self.find(name, domain) {
            self.adopt_domain(nr, domain);
            return Some(nr);
        }
        let nr = u16::try_from(self.entries.len()).ok()?;
        let (name_key, domain_key) = key(name, domain);
        self.by_name.insert((name_key, domain_key), nr);
        self.entries.push(Some(Box::new(Entry::new(nr, name, domain))));
        self.departed.push_back(nr);
        self.bound_departed();
        Some(nr)
    }

    /// A node that was known without a domain has one.
    fn adopt_domain(&mut self, nr: u16, domain: &str) {
        let Some(entry) = self.entries.get_mut(usize::from(nr)).and_then(Option::as_deref_mut) else {
            return;
        };
        if entry.domain.is_empty() && !domain.is_empty() {
            self.by_name.remove(&key(&entry.name, ""));
            self.by_name.insert(key(&entry.name, domain), nr);
            entry.domain = domain.into();
        }
    }

    /// Puts an entry into `/net`; false when there is no room. The one not heard for longest, of those without a
    /// connection, makes room.
    pub fn list(&mut self, nr: u16) -> bool {
        match self.get(nr) {
            Some(entry) if entry.listed => return true,
            Some(_) => {}
            None => return false,
        }
        if self.listed.len() >= self.max {
            let without = self.listed().filter(|entry| entry.tx.is_empty() && entry.rx.is_empty());
            let Some(oldest) = without.min_by_key(|entry| entry.last_heard).map(|entry| entry.nr) else {
                return false;
            };
            self.evicted += 1;
            self.unlist(oldest);
        }
        if let Some(entry) = self.get_mut(nr) {
            entry.listed = true;
            self.listed.insert(nr);
        }
        true
    }

    /// Takes an entry out of `/net`. Its addresses are forgotten unless it has a connection.
    pub fn unlist(&mut self, nr: u16) {
        let Some(entry) = self.get_mut(nr) else { return };
        if entry.tx.is_empty() && entry.rx.is_empty() {
            entry.addresses = [None; MAX_LINKS];
            entry.other = None;
        }
        if core::mem::take(&mut entry.listed) {
            self.listed.remove(&nr);
            self.departed.push_back(nr);
            self.bound_departed();
        }
    }

    /// A link is gone, and with it every address on it.
    pub fn forget_link(&mut self, link: LinkId) {
        for entry in self.entries.iter_mut().flatten() {
            if let Some(address) = entry.addresses.get_mut(usize::from(link.0)) {
                *address = None;
            }
            entry.other.take_if(|(other, _)| *other == link);
        }
    }

    fn bound_departed(&mut self) {
        // At most one round: those that came back leave the queue, those with connections stay in it.
        for _ in 0..self.departed.len() {
            if self.departed.len() <= MAX_DEPARTED {
                return;
            }
            let Some(nr) = self.departed.pop_front() else { return };
            match self.get(nr) {
                Some(entry) if entry.listed => {}
                Some(entry) if !(entry.tx.is_empty() && entry.rx.is_empty()) => self.departed.push_back(nr),
                Some(entry) => {
                    let key = key(&entry.name, &entry.domain);
                    self.by_name.remove(&key);
                    if let Some(slot) = self.entries.get_mut(usize::from(nr)) {
                        *slot = None;
                    }
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use keelson_hal::Instant;

    #[test]
    fn numbers_stay() {
        let mut nodes = Nodes::new(4);
        let alpha = nodes.find_or_add("Alpha", "lab").unwrap();
        let beta = nodes.find_or_add("beta", "").unwrap();
        assert_eq!((alpha, beta), (1, 2));
        assert!(nodes.list(alpha) && nodes.list(beta));
        nodes.unlist(alpha);
        assert_eq!(nodes.listed().map(|entry| entry.nr).collect::<Vec<_>>(), [2]);
        assert_eq!(nodes.find_or_add("ALPHA", "LAB"), Some(1));
        assert_eq!(nodes.find_or_add("gamma", ""), Some(3));
        assert!(nodes.list(1));
        assert_eq!(nodes.get(1).map(|entry| &*entry.name), Some("Alpha"));
        assert!(nodes.get(0).is_none());
    }

    #[test]
    fn domains() {
        let mut nodes = Nodes::new(4);
        let lab = nodes.find_or_add("karl", "lab").unwrap();
        let other = nodes.find_or_add("karl", "other.domain").unwrap();
        assert_ne!(lab, other);
        assert_eq!(nodes.find("karl", "OTHER.domain"), Some(other));
        assert_eq!(nodes.find("karl", "third"), None);
        assert_eq!(nodes.find("karl", ""), Some(lab));
        nodes.list(other);
        assert_eq!(nodes.find("karl", ""), Some(other), "a listed one rather than another");
        let bare = nodes.find_or_add("emma", "").unwrap();
        assert_eq!(nodes.find_or_add("emma", "lab"), Some(bare), "takes the domain");
        assert_eq!(nodes.find("emma", "other"), None);
        assert_eq!(nodes.find_or_add("emma", ""), Some(bare));
        assert_eq!(nodes.find("kar", ""), None);
    }

    #[test]
    fn the_longest_silent_makes_room() {
        let mut nodes = Nodes::new(2);
        for (n, name) in ["a", "b"].into_iter().enumerate() {
            let nr = nodes.find_or_add(name, "").unwrap();
            nodes.get_mut(nr).unwrap().last_heard = Instant::ZERO + Duration::from_secs(10 - n as u64);
            assert!(nodes.list(nr));
        }
        nodes.get_mut(2).unwrap().tx.push(7);
        let c = nodes.find_or_add("c", "").unwrap();
        assert!(nodes.list(c), "b was silent for longer, but has a connection");
        assert_eq!(nodes.listed().map(|entry| entry.nr).collect::<Vec<_>>(), [2, 3]);
        nodes.get_mut(3).unwrap().rx.push(1);
        let d = nodes.find_or_add("d", "").unwrap();
        assert!(!nodes.list(d));
        assert_eq!((nodes.evicted, nodes.len()), (1, 2));
    }

    /// However many names a stranger makes up.
    #[test]
    fn bounded() {
        let mut nodes = Nodes::new(256);
        let mut refused = 0;
        for n in 0..70_000u32 {
            match nodes.find_or_add(&format!("n{n}"), "") {
                Some(nr) => assert!(nodes.list(nr)),
                None => refused += 1,
            }
        }
        assert_eq!(refused, 70_000 - 65_535);
        assert_eq!(nodes.len(), 256);
        assert!(nodes.by_name.len() <= 256 + MAX_DEPARTED, "{}", nodes.by_name.len());
        assert!(nodes.departed.len() <= MAX_DEPARTED);
        assert!(nodes.find("n0", "").is_none() && nodes.find("n65534", "").is_some());
    }
}
