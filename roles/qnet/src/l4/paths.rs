//! Which link a frame takes (section 8): policies, links that stop working and come back.

use super::links::MAX_LINKS;
use super::tx::{Path, TxState};
use super::{Single, Transport};
use crate::link::LinkId;
use keelson_hal::Instant;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::names::Policy;

/// Message timeouts in a row after which a link is taken for dead, if another one works.
const DEADLY: u8 = 3;
/// Ticks between attempts to reach a peer over a link that does not work.
const PROBE_TICKS: u32 = 5;

/// A few links in order of preference.
#[derive(Clone, Copy, Default)]
pub(crate) struct Candidates {
    links: [u8; MAX_LINKS],
    at: u8,
    len: u8,
}

impl Candidates {
    fn push(&mut self, link: LinkId) {
        if let Some(slot) = self.links.get_mut(usize::from(self.len)) {
            *slot = link.0;
            self.len += 1;
        }
    }
}

impl Iterator for Candidates {
    type Item = LinkId;

    fn next(&mut self) -> Option<LinkId> {
        let link = self.links.get(usize::from(self.at)).filter(|_| self.at < self.len)?;
        self.at += 1;
        Some(LinkId(*link))
    }
}

impl Transport {
    /// The links that are up, lead to a connection's peer, and are allowed by its policy, best first.
    pub(crate) fn candidates(&self, id: u32) -> Candidates {
        let mut found = Candidates::default();
        let Some(tx) = self.tx.get(id) else { return found };
        let Some(entry) = self.nodes.get(tx.node.0) else { return found };
        let leads_there = |link: LinkId| {
            entry.address(link).is_some() && self.links.get(link).is_some_and(|link| link.is_up())
        };
        if matches!(tx.qos.policy, Policy::Exclusive | Policy::Preferred)
            && let Some(link) = tx.link.filter(|link| leads_there(*link))
        {
            found.push(link);
        }
        if tx.qos.policy == Policy::Exclusive && tx.link.is_some() {
            return found;
        }
        for link in self.links.iter().map(|link| link.id) {
            if leads_there(link) && !found.any_is(link) {
                found.push(link);
            }
        }
        found
    }

    /// The link for the next message of a connection; `None` when none is up.
    pub(crate) fn choose(&self, id: u32) -> Option<LinkId> {
        let tx = self.tx.get(id)?;
        let works = |link: &LinkId| matches!(tx.path(*link), Path::Up { .. });
        let mut working = self.candidates(id).filter(works);
        let chosen = match tx.qos.policy {
            Policy::Exclusive | Policy::Preferred => working.next(),
            // The next one in turn, one with room before one without.
            Policy::LoadBalance | Policy::Redundant => working.min_by_key(|link| {
                let full = self.links.get(*link).is_none_or(|link| link.port.room() == 0);
                (full, link.0.wrapping_sub(tx.last_link.0).wrapping_sub(1))
            }),
        };
        // Better a link that seems dead than none.
        chosen
            .or_else(|| self.candidates(id).find(|link| *link == tx.last_link))
            .or_else(|| self.candidates(id).next())
    }

    /// Something of a connection came over a link: it works both ways.
    pub(crate) fn path_up(&mut self, id: u32, link: LinkId) {
        let Some(tx) = self.tx.get_mut(id) else { return };
        let before = tx.path(link);
        tx.set_path(link, Path::Up { timeouts: 0 });
        if before == Path::Dead {
            self.counters.link_up += 1;
        }
        if !matches!(before, Path::Up { .. }) {
            self.enqueue(id);
        }
    }

    /// A message sent over a link was not answered in time.
    pub(crate) fn path_timeout(&mut self, id: u32, link: LinkId) {
        let probe_at = self.now + self.options.ticks(PROBE_TICKS);
        let others = self.candidates(id).filter(|other| *other != link);
        let Some(tx) = self.tx.get(id) else { return };
        let another = others.into_iter().any(|other| matches!(tx.path(other), Path::Up { .. }));
        let Some(tx) = self.tx.get_mut(id) else { return };
        let Path::Up { timeouts } = tx.path(link) else { return };
        let timeouts = timeouts.saturating_add(1);
        if timeouts < DEADLY || !another {
            return tx.set_path(link, Path::Up { timeouts });
        }
        tx.set_path(link, Path::Dead);
        tx.probe_at = tx.probe_at.min(probe_at);
        let waits_there = tx.turn.place.is_some_and(|(place, _)| place == link);
        if waits_there {
            tx.turn.place = None;
        }
        self.counters.link_down += 1;
        self.timers.bring_forward(self.tx_key(id), probe_at);
        if waits_there {
            self.enqueue(id);
        }
    }

    /// Sees soon whether the peer can be reached over links that it has not answered on.
    pub(crate) fn probe_soon(&mut self, id: u32) {
        if self.links.iter().count() < 2 {
            return;
        }
        let now = self.now;
        if let Some(tx) = self.tx.get_mut(id)
            && tx.state == TxState::Up
        {
            tx.probe_at = now;
            self.timers.bring_forward(self.tx_key(id), now);
        }
    }

    /// Sends a TCS_INIT over each link that does not work; again later while there are such links.
    pub(crate) fn probe(&mut self, id: u32) {
        let Some(tx) = self.tx.get(id) else { return };
        let paths = tx.paths;
        let works = |link: LinkId| matches!(paths.get(usize::from(link.0)), Some(Path::Up { .. }));
        let mut probed = false;
        for link in self.candidates(id).filter(|link| !works(*link)) {
            self.send_init(id, link);
            probed = true;
        }
        let again = self.now + self.options.ticks(PROBE_TICKS);
        if let Some(tx) = self.tx.get_mut(id) {
            tx.probe_at = if probed { again } else { Instant::FAR_FUTURE };
        }
    }

    /// A link came up: it is announced, and connections may use it.
    pub(crate) fn link_is_up(&mut self, link: LinkId) {
        self.announce_on(link);
        self.schedule_announcement();
        for id in self.tx_ids() {
            self.probe_soon(id);
            self.enqueue(id);
        }
    }

    /// A link went down or away: what waits for it takes another one. Gone for good when it was removed.
    pub(crate) fn leave_link(&mut self, link: LinkId) {
        let removed = self.links.get(link).is_none();
        if let Some(link) = self.links.get_mut(link) {
            link.forget();
        }
        for id in self.tx_ids() {
            if removed && let Some(tx) = self.tx.get_mut(id) {
                tx.set_path(link, Path::Unknown);
                if let Some(listed) = tx.turn.listed.get_mut(usize::from(link.0)) {
                    *listed = 0;
                }
            }
            let Some(tx) = self.tx.get_mut(id) else { continue };
            tx.turn.place.take_if(|(place, _)| *place == link);
            if removed && self.candidates(id).next().is_none() {
                self.tx_down(id, Errno::ENETDOWN);
            } else {
                self.enqueue(id);
            }
        }
        if removed {
            for id in self.rx_ids() {
                let only =
                    self.rx.get(id).is_some_and(|rx| rx.link == link && self.is_only_link(rx.node.0, link));
                if only {
                    self.rx_down(id);
                }
            }
            self.nodes.forget_link(link);
        }
    }

    fn is_only_link(&self, node: u16, link: LinkId) -> bool {
        let Some(entry) = self.nodes.get(node) else { return true };
        !self.links.iter().any(|other| other.id != link && entry.address(other.id).is_some())
    }

    /// Tells that a link may have come up or gone down; noticed within a tick anyway.
    pub fn link_changed(&mut self, now: Instant) {
        self.now = now;
        for number in 0..MAX_LINKS {
            let id = LinkId(number as u8);
            let Some(link) = self.links.get_mut(id) else { continue };
            let is_up = link.is_up();
            match (core::mem::replace(&mut link.was_up, is_up), is_up) {
                (false, true) => self.link_is_up(id),
                (true, false) => self.leave_link(id),
                _ => {}
            }
        }
    }

    pub(crate) fn on_links_timer(&mut self) {
        self.link_changed(self.now);
        self.timers.set(self.single_key(Single::Links), self.now + self.options.tick);
    }
}

impl Candidates {
    fn any_is(&self, link: LinkId) -> bool {
        self.into_iter().any(|candidate| candidate == link)
    }
}
