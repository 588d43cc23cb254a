//! Router buffers: how many routed messages may be in memory at once, and for whom.
//!
//! Three pools with Linux's names and sizes (LNet specification section 5.5): tiny for messages without payload,
//! small up to one page, large up to 1 MiB. A pool counts; the memory itself is taken piece by piece
//! (`buffers`). A large buffer is counted in pieces of 64 KiB, so that a payload of 5000 bytes occupies a
//! sixteenth of it.
//!
//! Linux serves whoever comes first, so that one destination that takes nothing ends up with all buffers and
//! everybody waits for it. Here every next hop has a share:
//!
//! 1. A next hop may occupy as much of a pool as is free of it (a dynamic threshold: Choudhury and Hahne,
//!    "Dynamic queue length thresholds for shared-memory packet switches", 1998), and always
//!    [a few](Kind::guaranteed) while any are free. With n congested next hops, each gets 1/(n+1) of the pool,
//!    and as much is free for all others.
//! 2. A message beyond that waits, and with it the connection it comes on: nothing is dropped. Those who wait
//!    for one next hop are served in their order, next hops in turn.
//! 3. An eighth of each pool is a reserve for those who have waited [too long](super::LnetConfig::rescue_after):
//!    a sender that has begun a message gives the connection up when it is not taken for long enough.

use super::credits::Queue;
use super::peer::PeerNi;
use super::show::PoolStatus;
use crate::buffers::{PIECE, SMALL};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use keelson_lnet_wire::message::LNET_MTU;

/// Next hops that are looked at in vain when a buffer becomes free. They come to their turn with the buffers that
/// become free after this one: there are some as long as anybody has to wait, and in an empty pool every message
/// fits.
const LOOK_AT: usize = 8;

/// A pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Tiny,
    Small,
    Large,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Tiny, Kind::Small, Kind::Large];

    pub fn of(payload_length: u32) -> Kind {
        match payload_length as usize {
            0 => Kind::Tiny,
            1..=SMALL => Kind::Small,
            _ => Kind::Large,
        }
    }

    /// What a message occupies.
    pub fn units(self, payload_length: u32) -> u32 {
        match self {
            Kind::Tiny | Kind::Small => 1,
            Kind::Large => payload_length.div_ceil(PIECE as u32),
        }
    }

    /// What one buffer, as configured and shown, counts.
    const fn units_per_buffer(self) -> i64 {
        match self {
            Kind::Tiny | Kind::Small => 1,
            Kind::Large => LNET_MTU as i64 / PIECE as i64,
        }
    }

    /// What a next hop may always occupy while as much is free.
    const fn guaranteed(self) -> i64 {
        match self {
            Kind::Tiny | Kind::Small => 8,
            Kind::Large => 2 * self.units_per_buffer(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Kind::Tiny => "tiny",
            Kind::Small => "small",
            Kind::Large => "large",
        }
    }

    const fn pages(self) -> u32 {
        match self {
            Kind::Tiny => 0,
            Kind::Small => 1,
            Kind::Large => 256,
        }
    }

    /// Linux's number of buffers.
    const fn default_buffers(self) -> u32 {
        match self {
            Kind::Tiny => 2048,
            Kind::Small => 16384,
            Kind::Large => 1024,
        }
    }

    /// Buffers where the administrator says `configured` (0: nothing) and there are `memory` bytes.
    ///
    /// Of the memory, 15 sixteenths are for large buffers and the rest for small ones, as on Linux. Tiny ones
    /// take no payload memory.
    pub fn buffers(self, configured: u32, memory: usize) -> u32 {
        if configured != 0 {
            return configured;
        }
        let fits = match self {
            Kind::Tiny => usize::MAX,
            Kind::Small => memory / 16 / SMALL,
            Kind::Large => (memory - memory / 16) / LNET_MTU as usize,
        };
        fits.clamp(2, self.default_buffers() as usize) as u32
    }
}

/// What one next hop occupies of one pool, and who waits for more of it.
#[derive(Default)]
pub(crate) struct Lane {
    used: Cell<i64>,
    rescued: Cell<i64>,
    pub queue: Queue,
    /// In the pool's ring of next hops that are waited for.
    listed: Cell<bool>,
}

impl Lane {
    pub fn stir(&self) {
        self.queue.stir();
    }

    /// Nothing is occupied and nobody waits.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.used.get() == 0 && self.rescued.get() == 0 && self.queue.is_empty()
    }
}

/// What a message occupies of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Buffer {
    kind: Kind,
    units: u32,
    rescued: bool,
}

struct Pool {
    kind: Kind,
    total: Cell<i64>,
    reserve: Cell<i64>,
    /// Occupied outside the reserve, and of the reserve.
    used: Cell<i64>,
    rescued: Cell<i64>,
    /// Least number of free buffers; below zero as in [`PoolStatus::credits`].
    min: Cell<i64>,
    parked: Cell<u32>,
    rescues: Cell<u64>,
    /// Next hops that are waited for, each once.
    ring: RefCell<VecDeque<Rc<PeerNi>>>,
}

impl Pool {
    fn new(kind: Kind, buffers: u32) -> Pool {
        let pool = Pool {
            kind,
            total: Cell::new(0),
            reserve: Cell::new(0),
            used: Cell::new(0),
            rescued: Cell::new(0),
            min: Cell::new(0),
            parked: Cell::new(0),
            rescues: Cell::new(0),
            ring: RefCell::new(VecDeque::new()),
        };
        pool.resize(buffers);
        pool
    }

    fn resize(&self, buffers: u32) {
        let unit = self.kind.units_per_buffer();
        let buffers = i64::from(buffers.max(1));
        // A pool of one buffer has none to spare, one of a few spares one.
        let reserve = if buffers < 2 { 0 } else { (buffers / 8).max(1) };
        self.total.set(buffers * unit);
        self.reserve.set(reserve * unit);
        self.min.set(self.credits());
    }

    fn credits(&self) -> i64 {
        let free = (self.total.get() - self.used.get() - self.rescued.get())
            .div_euclid(self.kind.units_per_buffer());
        if free > 0 { free } else { free.min(-i64::from(self.parked.get())) }
    }

    fn note_min(&self) {
        self.min.set(self.min.get().min(self.credits()));
    }

    fn free(&self) -> i64 {
        self.total.get() - self.reserve.get() - self.used.get()
    }

    fn admits(&self, lane: &Lane, units: u32) -> bool {
        let (units, free) = (i64::from(units), self.free());
        units <= free && lane.used.get() + units <= free.max(self.kind.guaranteed())
    }

    fn occupy(&self, lane: &Lane, units: u32) {
        self.used.set(self.used.get() + i64::from(units));
        lane.used.set(lane.used.get() + i64::from(units));
        self.note_min();
    }

    /// Serves those whose turn has come.
    fn serve(&self) {
        let mut in_vain = 0;
        loop {
            let waiting = self.ring.borrow().len();
            if in_vain >= waiting.min(LOOK_AT) {
                return;
            }
            let Some(hop) = self.ring.borrow_mut().pop_front() else { return };
            let lane = self.lane(&hop);
            match lane.queue.first() {
                None => {
                    lane.listed.set(false);
                    continue;
                }
                Some(units) if self.admits(lane, units) => {
                    self.occupy(lane, units);
                    self.parked.set(self.parked.get() - 1);
                    lane.queue.serve();
                    in_vain = 0;
                }
                Some(_) => in_vain += 1,
            }
            self.ring.borrow_mut().push_back(hop);
        }
    }

    fn lane<'a>(&self, hop: &'a PeerNi) -> &'a Lane {
        let [tiny, small, large] = &hop.lanes;
        match self.kind {
            Kind::Tiny => tiny,
            Kind::Small => small,
            Kind::Large => large,
        }
    }
}

/// All pools.
pub(crate) struct Pools([Pool; 3]);

impl Pools {
    /// Pools of so many tiny, small and large buffers.
    pub fn new(buffers: [u32; 3]) -> Pools {
        let [tiny, small, large] = buffers;
        Pools(
            [(Kind::Tiny, tiny), (Kind::Small, small), (Kind::Large, large)]
                .map(|(kind, n)| Pool::new(kind, n)),
        )
    }

    fn pool(&self, kind: Kind) -> &Pool {
        let [tiny, small, large] = &self.0;
        match kind {
            Kind::Tiny => tiny,
            Kind::Small => small,
            Kind::Large => large,
        }
    }

    /// Changes the number of buffers; what is occupied beyond it stays so until it becomes free.
    pub fn resize(&self, kind: Kind, buffers: u32) {
        self.pool(kind).resize(buffers);
        self.pool(kind).serve();
    }

    /// Occupies a buffer for a message to `hop`, unless it would have to wait.
    pub fn try_take(&self, hop: &PeerNi, payload_length: u32) -> Option<Buffer> {
        let kind = Kind::of(payload_length);
        let (pool, units) = (self.pool(kind), kind.units(payload_length));
        let lane = pool.lane(hop);
        if !lane.queue.is_empty() || !pool.admits(lane, units) {
            return None;
        }
        pool.occupy(lane, units);
        Some(Buffer { kind, units, rescued: false })
    }

    /// The same for a message that has waited too long: of the reserve if need be, of which no next hop gets
    /// more than it leaves for others.
    pub fn rescue(&self, hop: &PeerNi, payload_length: u32) -> Option<Buffer> {
        let kind = Kind::of(payload_length);
        let (pool, units) = (self.pool(kind), kind.units(payload_length));
        let lane = pool.lane(hop);
        if pool.admits(lane, units) {
            pool.occupy(lane, units);
            return Some(Buffer { kind, units, rescued: false });
        }
        let left = pool.reserve.get() - pool.rescued.get();
        let share = lane.rescued.get() + i64::from(units);
        if i64::from(units) > left || share > left.max(kind.units_per_buffer()) {
            return None;
        }
        pool.rescued.set(pool.rescued.get() + i64::from(units));
        lane.rescued.set(share);
        pool.rescues.set(pool.rescues.get() + 1);
        pool.note_min();
        Some(Buffer { kind, units, rescued: true })
    }

    /// Waits for a buffer, in the order of those who wait for this next hop.
    pub fn join(&self, hop: &Rc<PeerNi>, payload_length: u32) -> u64 {
        let kind = Kind::of(payload_length);
        let pool = self.pool(kind);
        let lane = pool.lane(hop);
        let ticket = lane.queue.join(kind.units(payload_length));
        pool.parked.set(pool.parked.get() + 1);
        pool.note_min();
        if !lane.listed.replace(true) {
            pool.ring.borrow_mut().push_back(hop.clone());
        }
        ticket
    }

    /// What a ticket was waited with, once it has been served.
    pub fn served(&self, hop: &PeerNi, ticket: u64, payload_length: u32) -> Option<Buffer> {
        let kind = Kind::of(payload_length);
        let served = self.lane(hop, payload_length).queue.is_served(ticket);
        served.then(|| Buffer { kind, units: kind.units(payload_length), rescued: false })
    }

    /// Ends a wait without a buffer.
    pub fn leave(&self, hop: &PeerNi, ticket: u64, payload_length: u32) {
        match self.served(hop, ticket, payload_length) {
            Some(buffer) => self.release(hop, buffer),
            None => {
                let pool = self.pool(Kind::of(payload_length));
                pool.lane(hop).queue.leave(ticket);
                pool.parked.set(pool.parked.get() - 1);
                // Whoever stood behind may fit where this one did not.
                pool.serve();
            }
        }
    }

    /// Gives a buffer back.
    pub fn release(&self, hop: &PeerNi, buffer: Buffer) {
        let pool = self.pool(buffer.kind);
        let (lane, units) = (pool.lane(hop), i64::from(buffer.units));
        if buffer.rescued {
            pool.rescued.set(pool.rescued.get() - units);
            lane.rescued.set(lane.rescued.get() - units);
        } else {
            pool.used.set(pool.used.get() - units);
            lane.used.set(lane.used.get() - units);
        }
        pool.serve();
    }

    /// Charges a buffer to another next hop, whether or not it would have got it.
    pub fn recharge(&self, from: &PeerNi, to: &PeerNi, buffer: Buffer) {
        let pool = self.pool(buffer.kind);
        let units = i64::from(buffer.units);
        for (hop, change) in [(from, -units), (to, units)] {
            let lane = pool.lane(hop);
            let cell = if buffer.rescued { &lane.rescued } else { &lane.used };
            cell.set(cell.get() + change);
        }
    }

    /// Where messages of this length to this next hop wait.
    pub fn lane<'a>(&self, hop: &'a PeerNi, payload_length: u32) -> &'a Lane {
        self.pool(Kind::of(payload_length)).lane(hop)
    }

    /// Lets all who wait look round: this node stops forwarding.
    pub fn stir(&self) {
        for pool in &self.0 {
            for hop in pool.ring.borrow().iter() {
                pool.lane(hop).stir();
            }
        }
    }

    pub fn status(&self) -> [PoolStatus; 3] {
        Kind::ALL.map(|kind| {
            let pool = self.pool(kind);
            PoolStatus {
                name: kind.name(),
                pages: kind.pages(),
                buffers: (pool.total.get() / kind.units_per_buffer()) as u32,
                credits: pool.credits(),
                min_credits: pool.min.get(),
                parked: pool.parked.get(),
                rescued: pool.rescues.get(),
            }
        })
    }

    /// Nothing is occupied and nobody waits.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.0.iter().all(|pool| pool.used.get() == 0 && pool.rescued.get() == 0 && pool.parked.get() == 0)
    }
}
