//! Who believes to hold what: the truth that locks are about.
//!
//! An owner believes to hold a range from the moment in which GRANTED reached its machine, in a reply or a callback,
//! until it sends UNLOCK, sends a request to downgrade, or its machine loses power. At no time may two owners'
//! beliefs conflict. After a restart of the server beliefs stand until the grace period is over; what was not
//! reclaimed by then is lost, and its owner must have had no chance.

use crate::ledger::Ledger;
use crate::watch::Watch;
use keelson_hal::Instant;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// Places of a file that are locked apart; the last stands for everything behind, however far.
pub const PLACES: usize = 17;
/// Bytes of a place.
pub const PLACE: u64 = 10;

/// Whoever was told of the restart later than this before the end of the grace period may have had no chance.
const CHANCE: Duration = Duration::from_secs(15);

/// A file, by number.
pub type FileNumber = usize;
/// An owner: the process number that the server hears (`svid`); no two machines' have the same.
pub type Owner = u32;

/// How a place is held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// For reading.
    Shared,
    /// For writing.
    Exclusive,
}

/// A run of places that an owner has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Of this file.
    pub file: FileNumber,
    /// Who.
    pub owner: Owner,
    /// The places.
    pub range: Range<usize>,
    /// How.
    pub kind: Kind,
}

/// A place that is held, and since which server that is known: the power cuts before it.
#[derive(Clone, Copy)]
struct Held {
    kind: Kind,
    life: u32,
}

struct Owned {
    machine: usize,
    places: [Option<Held>; PLACES],
}

/// All beliefs.
pub struct Beliefs {
    ledger: Rc<Ledger>,
    watch: Rc<Watch>,
    owned: RefCell<BTreeMap<(FileNumber, Owner), Owned>>,
    /// When each machine was last told of a restart, and of which.
    told: RefCell<BTreeMap<usize, (u32, Instant)>>,
}

impl Beliefs {
    /// Nobody holds anything.
    pub fn new(ledger: &Rc<Ledger>, watch: &Rc<Watch>) -> Beliefs {
        let (owned, told) = Default::default();
        Beliefs { ledger: ledger.clone(), watch: watch.clone(), owned, told }
    }

    /// A machine heard of the restart after this many power cuts.
    pub fn told(&self, machine: usize, cuts: u32) {
        self.told.borrow_mut().insert(machine, (cuts, self.ledger.now()));
    }

    /// The power cuts of which a machine was told last.
    pub fn told_of(&self, machine: usize) -> u32 {
        self.told.borrow().get(&machine).map_or(0, |(cuts, _)| *cuts)
    }

    /// GRANTED reached the owner: from a server after `life` power cuts.
    pub fn grant(&self, machine: usize, run: Run, life: u32) {
        self.forget_lost();
        let Run { file, owner, range, kind } = run;
        let mut owned = self.owned.borrow_mut();
        let others = owned.range((file, 0)..(file + 1, 0)).filter(|((_, other), _)| *other != owner);
        for ((_, other), theirs) in others {
            for place in range.clone() {
                if let Some(held) = theirs.places[place]
                    && (held.kind == Kind::Exclusive || kind == Kind::Exclusive)
                {
                    self.ledger.fail(format!(
                        "owner {owner} was granted place {place} of lock file {file} ({kind:?}), and owner \
                         {other} believes to hold it ({:?}, since {} power cuts)",
                        held.kind, held.life
                    ));
                }
            }
        }
        let mine = owned.entry((file, owner)).or_insert_with(|| Owned { machine, places: [None; PLACES] });
        range.for_each(|place| mine.places[place] = Some(Held { kind, life }));
    }

    /// The owner is about to ask for less.
    pub fn weaken(&self, file: FileNumber, owner: Owner, range: Range<usize>) {
        if let Some(mine) = self.owned.borrow_mut().get_mut(&(file, owner)) {
            mine.places[range].iter_mut().flatten().for_each(|held| held.kind = Kind::Shared);
        }
    }

    /// The owner gives a range up.
    pub fn give_up(&self, file: FileNumber, owner: Owner, range: Range<usize>) {
        if let Some(mine) = self.owned.borrow_mut().get_mut(&(file, owner)) {
            range.for_each(|place| mine.places[place] = None);
        }
    }

    /// The machine loses its power, and everybody on it all beliefs.
    pub fn power_cut(&self, machine: usize) {
        self.owned.borrow_mut().retain(|_, owned| owned.machine != machine);
    }

    /// True when the owner believes to hold all of the range, at least so.
    pub fn holds(&self, run: &Run) -> bool {
        let owned = self.owned.borrow();
        let Some(mine) = owned.get(&(run.file, run.owner)) else { return false };
        mine.places[run.range.clone()].iter().all(|held| held.is_some_and(|held| held.kind >= run.kind))
    }

    /// True when the owner believes to hold any of the range.
    pub fn holds_any(&self, file: FileNumber, owner: Owner, range: Range<usize>) -> bool {
        let owned = self.owned.borrow();
        owned.get(&(file, owner)).is_some_and(|mine| mine.places[range].iter().any(Option::is_some))
    }

    /// What owners of a machine hold, as far as a server of these numbers granted it.
    pub fn runs(&self, machine: usize, lives: Range<u32>) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for ((file, owner), owned) in self.owned.borrow().iter().filter(|(_, owned)| owned.machine == machine)
        {
            for (place, held) in owned.places.iter().enumerate() {
                let Some(Held { kind, .. }) = held.filter(|held| lives.contains(&held.life)) else {
                    continue;
                };
                match runs.last_mut() {
                    Some(run)
                        if (run.file, run.owner, run.range.end, run.kind) == (*file, *owner, place, kind) =>
                    {
                        run.range.end += 1;
                    }
                    _ => runs.push(Run { file: *file, owner: *owner, range: place..place + 1, kind }),
                }
            }
        }
        runs
    }

    /// Machines of which somebody believes to hold something.
    pub fn machines(&self) -> Vec<usize> {
        let owned = self.owned.borrow();
        let holding = owned.values().filter(|owned| owned.places.iter().any(Option::is_some));
        let mut machines: Vec<usize> = holding.map(|owned| owned.machine).collect();
        machines.sort_unstable();
        machines.dedup();
        machines
    }

    /// After a grace period, what was not reclaimed is lost. That is wrong if its machine was told in time.
    pub fn forget_lost(&self) {
        let (Some(life), Some(over)) = (self.watch.life(), self.watch.grace_over()) else { return };
        let told = self.told.borrow();
        for ((file, owner), owned) in self.owned.borrow_mut().iter_mut() {
            for held in owned.places.iter_mut().filter(|held| held.is_some_and(|held| held.life < life)) {
                let chance =
                    told.get(&owned.machine).is_some_and(|(of, at)| *of == life && *at + CHANCE < over);
                if chance {
                    self.ledger.fail(format!(
                        "owner {owner} lost lock file {file}, though its machine was told of the restart in time"
                    ));
                }
                *held = None;
            }
        }
    }

    /// Compares what owners believe with what the server lists: every belief must be there, at any time.
    pub fn compare(&self) {
        self.forget_lost();
        let Some(life) = self.watch.life() else { return };
        let listed = self.watch.listed().into_iter().filter(|listed| !listed.waits);
        let listed: Vec<Run> = listed.map(|listed| listed.run).collect();
        for ((file, owner), owned) in &*self.owned.borrow() {
            for (place, held) in owned.places.iter().enumerate() {
                let Some(held) = held.filter(|held| held.life == life) else { continue };
                let is_there = listed.iter().any(|run| {
                    (run.file, run.owner) == (*file, *owner)
                        && run.range.contains(&place)
                        && run.kind >= held.kind
                });
                if !is_there {
                    self.ledger.fail(format!(
                        "owner {owner} believes to hold place {place} of lock file {file} ({:?}), and the \
                         server has {listed:?}",
                        held.kind
                    ));
                }
            }
        }
    }
}
