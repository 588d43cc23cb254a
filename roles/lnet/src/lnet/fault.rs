//! Fault rules: messages that are dropped or held back on purpose (LNet specification section 8.3).

use super::health::{HealthError, HealthErrors};
use super::show::{ByType, FaultStatus};
use crate::message::Message;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use keelson_exec::sync::Notify;
use keelson_hal::Instant;
use keelson_lnet_wire::message::{Header, Kind};
use keelson_lnet_wire::nid::{NetId, Nid};

/// Which NIDs a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NidPattern {
    /// Every NID: `255.255.255.255@<?>`, or not given.
    Any,
    /// Every NID of a network: `255.255.255.255@tcp1`.
    Net(NetId),
    /// One NID.
    One(Nid),
}

/// How often a rule acts on what matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Often {
    /// On every message (`drop_all`).
    Always,
    /// On one message in so many, at a random place among them; 0 counts as 1.
    Rate(u32),
    /// On one message in so much time, at a random moment of it.
    Interval(Duration),
    /// On half of the messages, at random (`random`).
    Half,
}

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultAction {
    /// Loses the message, silently.
    Drop,
    /// Holds the message back for so long.
    Delay(Duration),
    /// Lets its sending fail, with one of these errors: unlike the others it acts when a message would be handed to the
    /// network driver, on those of this node too.
    Fail(HealthErrors),
}

/// A rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultRule {
    /// What it does.
    pub action: FaultAction,
    /// Who sent the message (`fa_src`).
    pub source: NidPattern,
    /// Whom it is for (`fa_dst`).
    pub destination: NidPattern,
    /// The NI of ours that it came in at, or would leave by; `None` for all.
    pub local: Option<Nid>,
    /// Portals of PUTs and GETs, a bit each (`fa_ptl_mask`); 0 for all messages.
    pub portals: u64,
    /// Types (`fa_msg_mask`): ACK 1, PUT 2, GET 4, REPLY 8; 0 for all.
    pub types: u32,
    /// How often it acts.
    pub often: Often,
}

/// Why a rule is not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddFaultError {
    /// A message can match a portal only if it is a PUT or GET.
    PortalsOfOtherTypes,
    /// There are as many rules as there may be.
    TooMany,
}

impl core::fmt::Display for AddFaultError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            AddFaultError::PortalsOfOtherTypes => {
                f.write_str("only PUT and GET have a portal: name these types or no portal")
            }
            AddFaultError::TooMany => write!(f, "there are {MOST_RULES} fault rules already: delete one"),
        }
    }
}

impl core::error::Error for AddFaultError {}

/// Rules at once.
const MOST_RULES: usize = 64;
/// Messages held back at once; more of them pass at once.
const MOST_HELD: usize = 4096;
/// Bits of [`FaultRule::types`] whose messages have a portal.
const WITH_PORTAL: u32 = 2 | 4;

impl NidPattern {
    fn matches(&self, nid: &Nid) -> bool {
        match self {
            NidPattern::Any => true,
            NidPattern::Net(net) => nid.net() == *net,
            NidPattern::One(one) => nid == one,
        }
    }
}

impl FaultRule {
    fn acts_on_sending(&self) -> bool {
        matches!(self.action, FaultAction::Fail(_))
    }

    fn matches(&self, header: &Header, local: &Nid) -> bool {
        let portal = match header.kind {
            Kind::Put => Some(header.put().portal),
            Kind::Get => Some(header.get().portal),
            Kind::Ack | Kind::Reply => None,
        };
        let portals = self.portals == 0
            || portal.is_some_and(|portal| portal < 64 && self.portals & (1 << portal) != 0);
        portals
            && (self.types == 0 || self.types & (1 << header.kind.to_wire()) != 0)
            && self.source.matches(&header.src_nid)
            && self.destination.matches(&header.dest_nid)
            && self.local.is_none_or(|nid| nid == *local)
    }
}

/// What the rules say to a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Pass,
    Drop,
    Delay(Duration),
}

struct Active {
    rule: FaultRule,
    matched: u64,
    by_type: ByType,
    acted: u64,
    /// With a rate: which message of the group of the current one it acts on.
    act_on: u64,
    /// With an interval: when it acts next, and when the interval after that begins.
    act_at: Instant,
    next_interval: Instant,
}

impl Active {
    fn new(rule: FaultRule, now: Instant, dice: &mut Dice) -> Active {
        let mut active = Active {
            rule,
            matched: 0,
            by_type: ByType::default(),
            acted: 0,
            act_on: 0,
            act_at: now,
            next_interval: now,
        };
        active.throw(now, dice);
        active
    }

    /// Chooses the next message or moment.
    fn throw(&mut self, now: Instant, dice: &mut Dice) {
        match self.rule.often {
            Often::Rate(rate) => self.act_on = self.matched + dice.below(rate.max(1).into()),
            Often::Interval(span) => {
                let base = self.next_interval.max(now);
                self.act_at = base + Duration::from_nanos(dice.below(span.as_nanos() as u64));
                self.next_interval = base + span;
            }
            Often::Always | Often::Half => {}
        }
    }

    /// Counts a message that matches; true when the rule acts on it.
    fn acts_on(&mut self, kind: Kind, now: Instant, dice: &mut Dice) -> bool {
        let index = self.matched;
        self.matched += 1;
        match kind {
            Kind::Ack => self.by_type.ack += 1,
            Kind::Put => self.by_type.put += 1,
            Kind::Get => self.by_type.get += 1,
            Kind::Reply => self.by_type.reply += 1,
        }
        let acts = match self.rule.often {
            Often::Always => true,
            Often::Half => dice.below(2) == 0,
            Often::Rate(rate) => {
                let acts = index == self.act_on;
                if self.matched.is_multiple_of(rate.max(1).into()) {
                    self.throw(now, dice);
                }
                acts
            }
            Often::Interval(_) => {
                let acts = now >= self.act_at;
                if acts {
                    self.throw(now, dice);
                }
                acts
            }
        };
        self.acted += u64::from(acts);
        acts
    }
}

/// Random numbers that nothing depends on (xorshift, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}

/// All rules, and what they hold back.
pub(crate) struct Faults {
    rules: RefCell<Vec<Active>>,
    /// Whether there are any for what arrives, and for what is sent.
    any: Cell<bool>,
    any_for_sending: Cell<bool>,
    dice: RefCell<Dice>,
    /// By the moment at which they go on; the number keeps the order of those of one moment.
    held: RefCell<BTreeMap<(Instant, u64), Message>>,
    held_ever: Cell<u64>,
    /// Messages whose sending has failed, and nobody has been told.
    failed: RefCell<VecDeque<(Message, HealthError)>>,
    pub changed: Notify,
}

impl Faults {
    pub fn new(seed: u64) -> Faults {
        Faults {
            rules: RefCell::new(Vec::new()),
            any: Cell::new(false),
            any_for_sending: Cell::new(false),
            dice: RefCell::new(Dice(seed | 1)),
            held: RefCell::new(BTreeMap::new()),
            held_ever: Cell::new(0),
            failed: RefCell::new(VecDeque::new()),
            changed: Notify::new(),
        }
    }

    /// Whether there are rules: asked for every message that arrives.
    pub fn any(&self) -> bool {
        self.any.get()
    }

    /// The same for every message that is sent.
    pub fn any_for_sending(&self) -> bool {
        self.any_for_sending.get()
    }

    fn note(&self, rules: &[Active]) {
        self.any_for_sending.set(rules.iter().any(|active| active.rule.acts_on_sending()));
        self.any.set(rules.iter().any(|active| !active.rule.acts_on_sending()));
    }

    pub fn add(&self, rule: FaultRule, now: Instant) -> Result<(), AddFaultError> {
        if rule.portals != 0 && rule.types & !WITH_PORTAL != 0 {
            return Err(AddFaultError::PortalsOfOtherTypes);
        }
        let mut rules = self.rules.borrow_mut();
        if rules.len() >= MOST_RULES {
            return Err(AddFaultError::TooMany);
        }
        rules.push(Active::new(rule, now, &mut self.dice.borrow_mut()));
        self.note(&rules);
        Ok(())
    }

    pub fn remove(&self, which: impl Fn(&FaultRule) -> bool) -> usize {
        let mut rules = self.rules.borrow_mut();
        let before = rules.len();
        rules.retain(|active| !which(&active.rule));
        self.note(&rules);
        before - rules.len()
    }

    pub fn reset(&self, now: Instant) {
        let mut dice = self.dice.borrow_mut();
        for active in self.rules.borrow_mut().iter_mut() {
            *active = Active::new(active.rule.clone(), now, &mut dice);
        }
    }

    /// Rules are tried in their order; the first that acts decides.
    pub fn judge(&self, header: &Header, local: Nid, now: Instant) -> Fate {
        let mut dice = self.dice.borrow_mut();
        for active in self.rules.borrow_mut().iter_mut() {
            if !active.rule.acts_on_sending()
                && active.rule.matches(header, &local)
                && active.acts_on(header.kind, now, &mut dice)
            {
                match active.rule.action {
                    FaultAction::Drop => return Fate::Drop,
                    FaultAction::Delay(span) => return Fate::Delay(span),
                    FaultAction::Fail(_) => {}
                }
            }
        }
        Fate::Pass
    }

    /// How the sending of a message fails, if a rule says so.
    pub fn judge_sending(&self, header: &Header, local: Nid, now: Instant) -> Option<HealthError> {
        let mut dice = self.dice.borrow_mut();
        for active in self.rules.borrow_mut().iter_mut() {
            if let FaultAction::Fail(errors) = active.rule.action
                && active.rule.matches(header, &local)
                && active.acts_on(header.kind, now, &mut dice)
            {
                return errors.choose(|bound| dice.below(bound));
            }
        }
        None
    }

    /// Keeps a message whose sending has failed until somebody is told: not from within the call that sends it.
    pub fn fail(&self, message: Message, error: HealthError) {
        self.failed.borrow_mut().push_back((message, error));
        self.changed.notify();
    }

    /// The next of these.
    pub fn next_failed(&self) -> Option<(Message, HealthError)> {
        self.failed.borrow_mut().pop_front()
    }

    /// Keeps a message until `until`; gives it back when too many are kept.
    pub fn hold_back(&self, until: Instant, message: Message) -> Option<Message> {
        let mut held = self.held.borrow_mut();
        if held.len() >= MOST_HELD {
            return Some(message);
        }
        let number = self.held_ever.get();
        self.held_ever.set(number + 1);
        held.insert((until, number), message);
        drop(held);
        self.changed.notify();
        None
    }

    /// A message whose time has come.
    pub fn due(&self, now: Instant) -> Option<Message> {
        let mut held = self.held.borrow_mut();
        let first = held.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When the next message's time comes.
    pub fn next_due(&self) -> Instant {
        self.held.borrow().first_key_value().map_or(Instant::FAR_FUTURE, |(key, _)| key.0)
    }

    /// Loses what is held back: LNet goes down.
    pub fn clear_held(&self) {
        let held = core::mem::take(&mut *self.held.borrow_mut());
        let failed = core::mem::take(&mut *self.failed.borrow_mut());
        drop((held, failed));
    }

    pub fn status(&self) -> Vec<FaultStatus> {
        let status = |active: &Active| FaultStatus {
            rule: active.rule.clone(),
            matched: active.matched,
            by_type: active.by_type,
            acted: active.acted,
        };
        self.rules.borrow().iter().map(status).collect()
    }
}
