//! Who on the link has which address: one table for ARP and neighbour discovery.
//!
//! ```text
//!   (none) --packet to send--> Incomplete --answer--> Known --60 s--> stale, still used, probed
//!                                  |                    ^                |        |
//!                                  | 3 s without answer +----answer------+        | 3 s without answer
//!                                  v                                              v
//!                               (none), its queue dropped                       (none)
//! ```
//!
//! Bounds: [`CAPACITY`] entries, [`MAX_INCOMPLETE`] of them unresolved, [`QUEUE`] packets for each, one
//! solicitation a second for each.

use crate::hash::{Key, KeyedMap};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;
use keelson_hal::{Instant, MacAddress, TxOffload};

/// Neighbours kept.
pub(crate) const CAPACITY: usize = 1024;
/// Neighbours waited for at once.
pub(crate) const MAX_INCOMPLETE: usize = 256;
/// Packets kept for one neighbour that is being resolved.
pub(crate) const QUEUE: usize = 8;
/// How long an answer is trusted without asking again (RFC 4861 section 10: REACHABLE_TIME is 30 s).
const REACHABLE: Duration = Duration::from_secs(60);
/// Time between solicitations of one neighbour (RFC 4861 section 10: RETRANS_TIMER).
const RETRY: Duration = Duration::from_secs(1);
/// Solicitations before a neighbour is given up (RFC 4861 section 10: MAX_MULTICAST_SOLICIT).
const TRIES: u8 = 3;

/// An IP packet that waits for its next hop's MAC address.
pub(crate) struct Pending {
    pub packet: Vec<u8>,
    pub offload: TxOffload,
}

enum State {
    Incomplete { queue: Vec<Pending> },
    Known { mac: MacAddress, trusted_until: Instant },
}

struct Neighbour {
    state: State,
    /// Solicitations since the last answer.
    tries: u8,
    next_try: Instant,
}

/// What to do with a packet for a neighbour.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Send to this address, and ask the neighbour whether it is still there if `probe`.
    Known { mac: MacAddress, probe: bool },
    /// Queue the packet; ask for the neighbour if `solicit`.
    Unknown { solicit: bool },
    /// Too many neighbours are being resolved.
    Refused,
}

/// What [`Neighbours::tick`] found to do.
pub(crate) enum Due {
    /// Ask for this address, by unicast when an old MAC address is known.
    Solicit(IpAddr, Option<MacAddress>),
    /// This neighbour did not answer; so many packets were dropped with it.
    Failed(IpAddr, usize),
}

/// The neighbour table of one interface.
pub(crate) struct Neighbours {
    table: KeyedMap<IpAddr, Neighbour>,
    incomplete: usize,
}

impl Neighbours {
    pub fn new(key: Key) -> Neighbours {
        Neighbours { table: KeyedMap::with_hasher(key), incomplete: 0 }
    }

    /// Looks `addr` up for a packet that is about to be sent.
    pub fn resolve(&mut self, addr: IpAddr, now: Instant) -> Resolution {
        if let Some(entry) = self.table.get_mut(&addr) {
            return match entry.state {
                State::Known { mac, trusted_until } => {
                    let probe = now >= trusted_until && now >= entry.next_try && entry.tries < TRIES;
                    if probe {
                        entry.tries += 1;
                        entry.next_try = now + RETRY;
                    }
                    Resolution::Known { mac, probe }
                }
                State::Incomplete { .. } => Resolution::Unknown { solicit: false },
            };
        }
        if self.incomplete >= MAX_INCOMPLETE {
            return Resolution::Refused;
        }
        self.make_room();
        self.incomplete += 1;
        let state = State::Incomplete { queue: Vec::new() };
        self.table.insert(addr, Neighbour { state, tries: 1, next_try: now + RETRY });
        Resolution::Unknown { solicit: true }
    }

    /// Keeps a packet until `addr` answers; false when its queue is full.
    pub fn enqueue(&mut self, addr: IpAddr, pending: Pending) -> bool {
        match self.table.get_mut(&addr).map(|entry| &mut entry.state) {
            Some(State::Incomplete { queue }) if queue.len() < QUEUE => {
                queue.push(pending);
                true
            }
            _ => false,
        }
    }

    /// Whether a packet to `addr` would be lost: enough wait for it already, or for too many others.
    pub fn is_full(&self, addr: IpAddr) -> bool {
        // The rule: nobody is being looked for.
        if self.incomplete == 0 {
            return false;
        }
        match self.table.get(&addr).map(|entry| &entry.state) {
            Some(State::Incomplete { queue }) => queue.len() >= QUEUE,
            Some(State::Known { .. }) => false,
            None => self.incomplete >= MAX_INCOMPLETE,
        }
    }

    /// Notes that `addr` is at `mac` and returns the packets that waited for this. An address that is not
    /// in the table is added only when `create` is set: gratuitous announcements must not fill it.
    pub fn learn(&mut self, addr: IpAddr, mac: MacAddress, now: Instant, create: bool) -> Vec<Pending> {
        let known = State::Known { mac, trusted_until: now + REACHABLE };
        if let Some(entry) = self.table.get_mut(&addr) {
            entry.tries = 0;
            return match core::mem::replace(&mut entry.state, known) {
                State::Incomplete { queue } => {
                    self.incomplete -= 1;
                    queue
                }
                State::Known { .. } => Vec::new(),
            };
        }
        if create {
            self.make_room();
            self.table.insert(addr, Neighbour { state: known, tries: 0, next_try: now });
        }
        Vec::new()
    }

    /// Goes through the table once (the interface's task calls it every second).
    pub fn tick(&mut self, now: Instant, due: &mut Vec<Due>) {
        let incomplete = &mut self.incomplete;
        self.table.retain(|addr, entry| match &entry.state {
            State::Incomplete { queue } if now >= entry.next_try => {
                if entry.tries >= TRIES {
                    due.push(Due::Failed(*addr, queue.len()));
                    *incomplete -= 1;
                    return false;
                }
                entry.tries += 1;
                entry.next_try = now + RETRY;
                due.push(Due::Solicit(*addr, None));
                true
            }
            State::Known { mac, .. } if entry.tries > 0 && now >= entry.next_try => {
                if entry.tries >= TRIES {
                    return false;
                }
                entry.tries += 1;
                entry.next_try = now + RETRY;
                due.push(Due::Solicit(*addr, Some(*mac)));
                true
            }
            _ => true,
        });
    }

    /// Forgets everybody; the interface went down. Returns how many packets were dropped.
    pub fn clear(&mut self) -> usize {
        let dropped = self.table.values().map(|entry| match &entry.state {
            State::Incomplete { queue } => queue.len(),
            State::Known { .. } => 0,
        });
        let dropped = dropped.sum();
        self.table.clear();
        self.incomplete = 0;
        dropped
    }

    /// Whether packets to `addr` go out at once.
    pub fn knows(&self, addr: IpAddr) -> bool {
        self.table.get(&addr).is_some_and(|entry| matches!(entry.state, State::Known { .. }))
    }

    /// The neighbours known now.
    pub fn known(&self) -> impl Iterator<Item = (IpAddr, MacAddress)> + '_ {
        self.table.iter().filter_map(|(addr, entry)| match entry.state {
            State::Known { mac, .. } => Some((*addr, mac)),
            State::Incomplete { .. } => None,
        })
    }

    /// Frees a place by dropping the known neighbour that was heard of longest ago.
    fn make_room(&mut self) {
        if self.table.len() < CAPACITY {
            return;
        }
        let oldest = self.table.iter().filter_map(|(addr, entry)| match entry.state {
            State::Known { trusted_until, .. } => Some((trusted_until, *addr)),
            State::Incomplete { .. } => None,
        });
        if let Some((_, addr)) = oldest.min() {
            self.table.remove(&addr);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        core::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    fn pending() -> Pending {
        Pending { packet: Vec::new(), offload: TxOffload::default() }
    }

    #[test]
    fn packets_wait_for_the_answer_and_not_more_than_eight() {
        let mut table = Neighbours::new(Key::for_tests());
        let now = Instant::ZERO;
        assert_eq!(table.resolve(ip(1), now), Resolution::Unknown { solicit: true });
        assert_eq!(table.resolve(ip(1), now), Resolution::Unknown { solicit: false });
        for _ in 0..QUEUE {
            assert!(!table.is_full(ip(1)));
            assert!(table.enqueue(ip(1), pending()));
        }
        assert!(table.is_full(ip(1)) && !table.is_full(ip(2)));
        assert!(!table.enqueue(ip(1), pending()));
        let mac = MacAddress([2; 6]);
        assert_eq!(table.learn(ip(1), mac, now, false).len(), QUEUE);
        assert_eq!(table.resolve(ip(1), now), Resolution::Known { mac, probe: false });
        let later = now + Duration::from_secs(61);
        assert_eq!(table.resolve(ip(1), later), Resolution::Known { mac, probe: true });
        assert_eq!(table.resolve(ip(1), later), Resolution::Known { mac, probe: false });
    }

    #[test]
    fn the_silent_are_given_up_and_the_unasked_are_not_added() {
        let mut table = Neighbours::new(Key::for_tests());
        table.learn(ip(9), MacAddress([2; 6]), Instant::ZERO, false);
        assert_eq!(table.known().count(), 0);
        table.resolve(ip(1), Instant::ZERO);
        table.enqueue(ip(1), pending());
        let (mut asked, mut failed) = (0, 0);
        for second in 1..10 {
            let mut due = Vec::new();
            table.tick(Instant::ZERO + Duration::from_secs(second), &mut due);
            for what in due {
                match what {
                    Due::Solicit(..) => asked += 1,
                    Due::Failed(_, packets) => failed += packets,
                }
            }
        }
        assert_eq!((asked, failed, table.incomplete), (2, 1, 0));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = Neighbours::new(Key::for_tests());
        for n in 0..5000 {
            table.learn(ip(n), MacAddress([2; 6]), Instant::from_nanos(n.into()), true);
        }
        assert_eq!(table.table.len(), CAPACITY);
        assert!(table.table.contains_key(&ip(4999)));
        let refused =
            (10_000..11_000).filter(|n| table.resolve(ip(*n), Instant::ZERO) == Resolution::Refused);
        assert_eq!(refused.count(), 1000 - MAX_INCOMPLETE);
        assert!(table.is_full(ip(10_999)) && !table.is_full(ip(10_000)) && !table.is_full(ip(4999)));
    }
}
