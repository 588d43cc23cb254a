//! From a name to a node: asked of everybody on the LAN, or of the resolver that was passed in (section 9.2).

use super::request::RequestId;
use super::resolver::{Resolution, ResolveId};
use crate::l4::{Arrival, Single, Transport};
use crate::link::{LinkAddress, LinkId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::net::Ipv4Addr;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::names::{self, Policy, PolicyChoice};
use keelson_qnet_wire::{Errno, Nd};

/// Requests sent again when nobody answers: one each tick.
const RETRIES: u32 = 2;
/// How long a resolver may take.
const RESOLVER_PATIENCE: Duration = Duration::from_secs(10);
/// Names that may be asked for at a time, and who may wait for each.
const MAX: usize = 64;
const MAX_WAITERS: usize = 64;

/// Who waits for a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Waiter {
    /// A local task, which named a policy and a link.
    Request { request: RequestId, choice: Option<(Policy, Box<str>)> },
    /// A connection that is being opened.
    Tx(u32),
    /// A peer that asked for our number of the node.
    Peer { node: u16, epoch: u32, id: u16, choice: Option<(Policy, Box<str>)> },
}

struct Lookup {
    id: ResolveId,
    name: Box<str>,
    domain: Box<str>,
    tries: u32,
    deadline: Instant,
    waiters: Vec<Waiter>,
}

/// Names being asked for.
#[derive(Default)]
pub struct Lookups {
    list: Vec<Lookup>,
    made: u64,
}

impl Lookups {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    fn position(&self, id: ResolveId) -> Option<usize> {
        self.list.iter().position(|lookup| lookup.id == id)
    }
}

impl Transport {
    /// Finds the node with a name; the domain is ours if none is given.
    pub(crate) fn find_node(&mut self, name: &str, domain: &str, waiter: Waiter) {
        let own = self.identity.domain();
        let domain: Box<str> = if domain.is_empty() { own.into() } else { domain.into() };
        let known = self.nodes.find(name, &domain).and_then(|nr| self.nodes.get(nr));
        let usable = |entry: &&super::Entry| {
            let mut links = self.links.iter();
            entry.listed && links.any(|link| link.is_up() && entry.address(link.id).is_some())
        };
        match known.filter(usable).map(|entry| entry.nr) {
            Some(nr) => self.answer(waiter, Ok(nr)),
            None => self.ask(name.into(), domain, waiter),
        }
    }

    /// Finds the address of a node that is known by name.
    pub(crate) fn look_up_node(&mut self, nr: u16, waiter: Waiter) {
        match self.nodes.get(nr).map(|entry| (entry.name.clone(), entry.domain.clone())) {
            Some((name, domain)) => self.ask(name, domain, waiter),
            None => self.answer(waiter, Err(Errno::ENOENT)),
        }
    }

    fn ask(&mut self, name: Box<str>, domain: Box<str>, waiter: Waiter) {
        let same = |lookup: &&mut Lookup| {
            names::same_name(&lookup.name, &name) && lookup.domain.eq_ignore_ascii_case(&domain)
        };
        if let Some(lookup) = self.lookups.list.iter_mut().find(same) {
            if lookup.waiters.len() < MAX_WAITERS {
                return lookup.waiters.push(waiter);
            }
            return self.answer(waiter, Err(Errno::EAGAIN));
        }
        if self.lookups.list.len() >= MAX {
            return self.answer(waiter, Err(Errno::EAGAIN));
        }
        if !self.links.iter().any(|link| link.is_up()) {
            return self.answer(waiter, Err(Errno::ENETDOWN));
        }
        self.lookups.made += 1;
        let id = ResolveId(self.lookups.made);
        let patience = if self.resolver.is_some() { RESOLVER_PATIENCE } else { self.options.tick };
        let deadline = self.now + patience;
        let resolver = self.resolver.clone();
        let lookup = Lookup { id, name, domain, tries: 0, deadline, waiters: [waiter].into() };
        let (name, domain) = (lookup.name.clone(), lookup.domain.clone());
        self.lookups.list.push(lookup);
        self.timers.bring_forward(self.single_key(Single::Lookups), deadline);
        match resolver.map(|resolver| resolver.resolve(id, &name, &domain)) {
            None => self.request_name(&name, &domain),
            Some(Resolution::Pending) => {}
            Some(Resolution::Found(address)) => self.resolved(self.now, id, Ok(address)),
            Some(Resolution::Failed(errno)) => self.resolved(self.now, id, Err(errno)),
        }
    }

    /// What the resolver found.
    pub fn resolved(&mut self, now: Instant, id: ResolveId, result: Result<Ipv4Addr, Errno>) {
        self.now = now;
        let Some(place) = self.lookups.position(id) else { return };
        let address = match result {
            Ok(address) => LinkAddress::Ipv4(address),
            Err(errno) => return self.give_up(place, errno),
        };
        let is_ip = |address: LinkAddress| matches!(address, LinkAddress::Ipv4(_));
        let Some(link) = self.links.iter().find(|link| is_ip(link.port.address())).map(|link| link.id) else {
            return self.give_up(place, Errno::ENETDOWN);
        };
        let Some(lookup) = self.lookups.list.get(place) else { return };
        let (name, domain) = (lookup.name.clone(), lookup.domain.clone());
        let arrival = Arrival { link, from: address, broadcast: false };
        if self.links.is_own(address) || self.learn(&name, &domain, arrival).is_none() {
            // Learning it has ended the lookup otherwise.
            if let Some(place) = self.lookups.position(id) {
                self.give_up(place, Errno::EAGAIN);
            }
        }
    }

    /// The address of a node was learnt: whoever waits for its name is told.
    pub(crate) fn lookup_done(&mut self, nr: u16) {
        if self.lookups.list.is_empty() {
            return;
        }
        let Some(entry) = self.nodes.get(nr) else { return };
        let (name, domain) = (entry.name.clone(), entry.domain.clone());
        let found = |lookup: &Lookup| {
            names::same_name(&lookup.name, &name) && names::domains_match(&lookup.domain, &domain)
        };
        while let Some(place) = self.lookups.list.iter().position(found) {
            let lookup = self.lookups.list.swap_remove(place);
            for waiter in lookup.waiters {
                self.answer(waiter, Ok(nr));
            }
        }
    }

    /// Whether somebody waits for a name.
    pub(crate) fn is_asked_for(&self, name: &str, domain: &str) -> bool {
        let mut lookups = self.lookups.list.iter();
        lookups.any(|lookup| {
            names::same_name(&lookup.name, name) && names::domains_match(&lookup.domain, domain)
        })
    }

    fn give_up(&mut self, place: usize, errno: Errno) {
        let lookup = self.lookups.list.swap_remove(place);
        for waiter in lookup.waiters {
            self.answer(waiter, Err(errno));
        }
    }

    pub(crate) fn on_lookups_timer(&mut self) {
        let now = self.now;
        let tick = self.options.tick;
        let is_lan = self.resolver.is_none();
        while let Some(place) = self.lookups.list.iter().position(|lookup| lookup.deadline <= now) {
            let Some(lookup) = self.lookups.list.get_mut(place) else { break };
            if !is_lan || lookup.tries >= RETRIES {
                self.give_up(place, Errno::ENOENT);
                continue;
            }
            lookup.tries += 1;
            lookup.deadline = now + tick;
            let (name, domain) = (mem::take(&mut lookup.name), mem::take(&mut lookup.domain));
            self.request_name(&name, &domain);
            if let Some(lookup) = self.lookups.list.get_mut(place) {
                (lookup.name, lookup.domain) = (name, domain);
            }
        }
        if let Some(next) = self.lookups.list.iter().map(|lookup| lookup.deadline).min() {
            self.timers.bring_forward(self.single_key(Single::Lookups), next);
        }
    }

    fn answer(&mut self, waiter: Waiter, result: Result<u16, Errno>) {
        match waiter {
            Waiter::Tx(id) => self.address_found(id, result),
            Waiter::Request { request, choice } => {
                let nd = self.with_choice(result, choice);
                self.requests.complete(request, nd.map(|nd| nd.0));
            }
            Waiter::Peer { node, epoch, id, choice } => {
                let nd = self.with_choice(result, choice);
                if self.nodes.get(node).is_some_and(|entry| entry.epoch == epoch) {
                    self.answer_peer(node, id, nd);
                }
            }
        }
    }

    fn with_choice(
        &mut self,
        nr: Result<u16, Errno>,
        choice: Option<(Policy, Box<str>)>,
    ) -> Result<Nd, Errno> {
        let nr = nr?;
        let Some((policy, interface)) = choice else { return Ok(Nd::new(nr, 0)) };
        let choice = PolicyChoice { policy, interface: &interface };
        let index = self.qos.index(crate::sessions::NodeNr(nr), choice).ok_or(Errno::EAGAIN)?;
        Ok(Nd::new(nr, index))
    }

    /// The links that reach everybody at once: those of Ethernet.
    pub(crate) fn lan_links(&self) -> impl Iterator<Item = (LinkId, LinkAddress)> {
        let up = self.links.iter().filter(|link| link.is_up());
        up.map(|link| (link.id, link.port.address()))
            .filter(|(_, address)| matches!(address, LinkAddress::Mac(_)))
    }
}
