//! How often a peer is answered (section 23, point 8).
//!
//! Peers are told apart by address, and addresses cost an attacker nothing: there is a fixed number of buckets, and
//! addresses that fall into one share what it allows.

use crate::link::{LinkAddress, LinkId};
use keelson_hal::Instant;

/// What is limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// TCS_REM_DOWN to frames for no connection.
    RemDown,
    /// LR replies.
    LrReply,
}

impl Answer {
    /// Answers a second.
    const fn rate(self) -> u64 {
        match self {
            Answer::RemDown => 10,
            Answer::LrReply => 50,
        }
    }
}

const BUCKETS: usize = 256;
const SECOND: u64 = 1_000_000_000;

/// Time up to which a bucket has been used up, for each kind of answer.
pub struct Limits {
    used_up_to: [[u64; BUCKETS]; 2],
    key: u64,
}

impl Limits {
    /// Nothing used yet. `key` is random: nobody else knows which addresses share a bucket.
    pub fn new(key: u64) -> Limits {
        Limits { used_up_to: [[0; BUCKETS]; 2], key }
    }

    /// Whether to answer now. A second's worth may be used at once.
    pub fn allow(&mut self, answer: Answer, link: LinkId, to: LinkAddress, now: Instant) -> bool {
        let bucket = self.bucket(link, to);
        let Some(used) = self.used_up_to.get_mut(answer as usize).and_then(|row| row.get_mut(bucket)) else {
            return false;
        };
        let now = now.as_nanos();
        let start = (*used).max(now);
        if start - now > SECOND - SECOND / answer.rate() {
            return false;
        }
        *used = start + SECOND / answer.rate();
        true
    }

    fn bucket(&self, link: LinkId, to: LinkAddress) -> usize {
        let bytes = match to {
            LinkAddress::Mac([a, b, c, d, e, f]) => [link.0, 0, a, b, c, d, e, f],
            LinkAddress::Ipv4(address) => {
                let [a, b, c, d] = address.octets();
                [link.0, 1, 0, 0, a, b, c, d]
            }
        };
        // The finaliser of splitmix64, keyed.
        let mut hash = u64::from_be_bytes(bytes) ^ self.key;
        hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((hash ^ hash >> 31) % BUCKETS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn ten_a_second_to_each() {
        let mut limits = Limits::new(99);
        let mut answered = |peer: u8, millis| {
            let to = LinkAddress::Mac([2, 0, 0, 0, 0, peer]);
            limits.allow(Answer::RemDown, LinkId(0), to, Instant::ZERO + Duration::from_millis(millis))
        };
        assert_eq!((0..100).filter(|_| answered(1, 0)).count(), 10);
        assert!(answered(2, 0), "another peer");
        assert_eq!((0..100).filter(|_| answered(1, 500)).count(), 5);
        assert_eq!((0..10_000).filter(|n| answered(1, 1000 + n)).count(), 104);
    }

    #[test]
    fn kinds_are_apart() {
        let mut limits = Limits::new(99);
        let to = LinkAddress::Ipv4([192, 0, 2, 1].into());
        let count = |limits: &mut Limits, answer| {
            (0..100).filter(|_| limits.allow(answer, LinkId(0), to, Instant::ZERO)).count()
        };
        assert_eq!((count(&mut limits, Answer::LrReply), count(&mut limits, Answer::RemDown)), (50, 10));
    }
}
