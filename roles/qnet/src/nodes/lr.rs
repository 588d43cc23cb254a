//! LAN resolver: requests, replies, announcements (section 9.2).

use super::profile::PeerProfile;
use crate::l4::links::{MAX_CONTROL, MAX_LINKS};
use crate::l4::{Answer, Arrival, Single, Transport};
use crate::link::{LinkAddress, LinkId};
use keelson_qnet_wire::Endian;
use keelson_qnet_wire::frame::Mac;
use keelson_qnet_wire::l4::{Header, Kind, Packet};
use keelson_qnet_wire::lr::{LrForm, LrKind, LrPacket, Party};

impl Transport {
    /// An LR packet came.
    pub(crate) fn on_lr(&mut self, arrival: Arrival, packet: &Packet) {
        let LinkAddress::Mac(mac) = arrival.from else {
            // There is no LR over IP.
            self.counters.rxd_bad_lr += 1;
            return;
        };
        let Ok((lr, form)) = LrPacket::decode(packet.payload, packet.header.endian) else {
            self.counters.rxd_bad_lr += 1;
            return;
        };
        match lr.kind {
            LrKind::Request => self.counters.lr_req_rx += 1,
            LrKind::Reply if lr.is_announcement() => self.counters.lr_announce_rx += 1,
            LrKind::Reply => self.counters.lr_rep_rx += 1,
        }
        if self.identity.is_same(lr.src.name, lr.src.domain) {
            return self.name_is_taken(arrival);
        }
        let is_asked_for = lr.kind == LrKind::Reply && self.is_asked_for(lr.src.name, lr.src.domain);
        let is_for_us = lr.kind == LrKind::Request && self.identity.matches(lr.dst.name, lr.dst.domain);
        if is_for_us && !lr.dst.name.is_empty() {
            self.note(&lr, arrival, form);
            return self.reply(arrival, Mac(mac), &lr, form);
        }
        if is_asked_for {
            return self.note(&lr, arrival, form);
        }
        // Nobody has asked for it.
        if self.options.auto_add == 0 {
            return;
        }
        let known = self.nodes.find(lr.src.name, lr.src.domain).and_then(|nr| self.nodes.get(nr));
        if lr.kind == LrKind::Request && !lr.dst.name.is_empty() && !known.is_some_and(|entry| entry.listed) {
            return;
        }
        self.note(&lr, arrival, form);
        if arrival.broadcast
            && lr.dst.name.is_empty()
            && let Some(profile) = self.profile(&lr)
        {
            profile.announces_by = Some(lr.kind);
        }
    }

    fn note(&mut self, lr: &LrPacket, arrival: Arrival, form: LrForm) {
        if self.learn(lr.src.name, lr.src.domain, arrival).is_some()
            && let Some(profile) = self.profile(lr)
        {
            profile.lr_form = form;
        }
    }

    fn profile(&mut self, lr: &LrPacket) -> Option<&mut PeerProfile> {
        let nr = self.nodes.find(lr.src.name, lr.src.domain)?;
        self.nodes.get_mut(nr).map(|entry| &mut entry.profile)
    }

    fn reply(&mut self, arrival: Arrival, to: Mac, request: &LrPacket, form: LrForm) {
        if !self.limits.allow(Answer::LrReply, arrival.link, arrival.from, self.now) {
            self.counters.rate_limited += 1;
            return;
        }
        let dst = Party { mac: Some(to), ..request.src };
        self.counters.lr_rep_tx += 1;
        self.send_lr(LrKind::Reply, arrival.link, Some(arrival.from), dst, form);
    }

    /// Asks everybody who has a name.
    pub(crate) fn request_name(&mut self, name: &str, domain: &str) {
        for number in 0..MAX_LINKS {
            let link = LinkId(number as u8);
            if self.lan_links().any(|(lan, _)| lan == link) {
                let dst = Party { name, domain, mac: None };
                self.counters.lr_req_tx += 1;
                self.send_lr(LrKind::Request, link, None, dst, LrForm::default());
            }
        }
    }

    /// Tells everybody who we are.
    pub(crate) fn announce(&mut self) {
        for number in 0..MAX_LINKS {
            self.announce_on(LinkId(number as u8));
        }
    }

    pub(crate) fn announce_on(&mut self, link: LinkId) {
        if self.options.auto_add > 0 && self.lan_links().any(|(lan, _)| lan == link) {
            self.counters.lr_announce_tx += 1;
            self.send_lr(LrKind::Reply, link, None, Party::default(), LrForm::default());
        }
    }

    fn send_lr(&mut self, kind: LrKind, link: LinkId, to: Option<LinkAddress>, dst: Party, form: LrForm) {
        let Some(LinkAddress::Mac(mac)) = self.links.get(link).map(|link| link.port.address()) else {
            return;
        };
        let src = Party { name: self.identity.name(), domain: self.identity.domain(), mac: Some(Mac(mac)) };
        let mut payload = [0; MAX_CONTROL];
        let Ok(len) = LrPacket { kind, src, dst }.emit(&mut payload, Endian::Little, form) else { return };
        let header = Header::new(Kind::Lres);
        self.send_control(link, to, header, payload.get(..len).unwrap_or_default());
    }

    /// Sets the time of the next announcement: `auto_add` ticks, a tenth more or less.
    pub(crate) fn schedule_announcement(&mut self) {
        if self.options.auto_add > 0 {
            let period = self.options.ticks(self.options.auto_add).as_nanos() as u64;
            let jitter = self.random.next() % (period / 5).max(1);
            let after = core::time::Duration::from_nanos(period - period / 10 + jitter);
            self.timers.set(self.single_key(Single::Announce), self.now + after);
        }
    }

    pub(crate) fn on_announce_timer(&mut self) {
        self.announce();
        self.schedule_announcement();
    }
}
