//! Zero-copy acknowledgements that a peer is owed (lnet specification section 3.9).

use alloc::collections::VecDeque;
use keelson_lnet_wire::hello::Version;
use keelson_lnet_wire::ksock::ZcAcks;

/// Runs of cookies that a peer can have us remember: Linux counts cookies up, so that they nearly always form
/// one run. A peer that sends more without taking its acknowledgements is no peer.
const MAX_RUNS: usize = 1024;

/// There is no room for one more cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Full;

/// Cookies in the order in which their messages were complete; each is returned once.
#[derive(Default)]
pub(super) struct Acks {
    /// First and last cookie of each run.
    runs: VecDeque<(u64, u64)>,
}

impl Acks {
    /// Owes one more.
    pub fn push(&mut self, cookie: u64) -> Result<(), Full> {
        if let Some((_, last)) = self.runs.back_mut()
            && last.checked_add(1) == Some(cookie)
        {
            *last = cookie;
            return Ok(());
        }
        if self.runs.len() >= MAX_RUNS {
            return Err(Full);
        }
        self.runs.push_back((cookie, cookie));
        Ok(())
    }

    /// True when nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// True when exactly one cookie is owed: it can ride on a message.
    pub fn is_single(&self) -> bool {
        self.runs.len() == 1 && self.runs.front().is_some_and(|(first, last)| first == last)
    }

    /// Forgets everything: cookies are void with the connections they came on.
    pub fn clear(&mut self) {
        self.runs.clear();
    }

    /// One cookie, to ride on a message.
    pub fn take_one(&mut self) -> Option<u64> {
        let (first, last) = self.runs.front_mut()?;
        let cookie = *first;
        if first == last {
            self.runs.pop_front();
        } else {
            *first += 1;
        }
        Some(cookie)
    }

    /// As many as fit one NOOP of this version: a run, else two cookies, else one. Version 2 knows one.
    pub fn take_noop(&mut self, version: Version) -> Option<ZcAcks> {
        let &(first, last) = self.runs.front()?;
        if version <= Version::V2 {
            return self.take_one().map(ZcAcks::One);
        }
        self.runs.pop_front();
        if first < last {
            return Some(ZcAcks::Range { first, last });
        }
        match self.runs.front() {
            Some(&(other, end)) if other == end && other != first => {
                self.runs.pop_front();
                Some(ZcAcks::Two(first, other))
            }
            _ => Some(ZcAcks::One(first)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_lnet_wire::ksock::KsockHeader;
    use proptest::prelude::*;

    /// The cookies that a peer reads from what is sent.
    fn received(acks: ZcAcks, version: Version) -> Vec<u64> {
        let bytes = KsockHeader::noop(acks).encode();
        match KsockHeader::decode(&bytes, false).unwrap().zc_acks(version) {
            ZcAcks::Nothing | ZcAcks::Keepalive => panic!("says nothing"),
            ZcAcks::One(a) => vec![a],
            ZcAcks::Two(a, b) => vec![a, b],
            ZcAcks::Range { first, last } => (first..=last).collect(),
        }
    }

    proptest! {
        #[test]
        fn every_cookie_is_returned_exactly_once(
            cookies in prop::collection::vec(2u64..40, 0..60),
            ranged in any::<bool>(),
            take in prop::collection::vec(any::<bool>(), 60),
        ) {
            let version = if ranged { Version::V3 } else { Version::V2 };
            let mut acks = Acks::default();
            let mut back = Vec::new();
            for (cookie, take) in cookies.iter().zip(take) {
                acks.push(*cookie).unwrap();
                if take {
                    back.extend(acks.take_one());
                }
            }
            while let Some(noop) = acks.take_noop(version) {
                prop_assert!(ranged || noop.count() == 1);
                back.extend(received(noop, version));
            }
            prop_assert!(acks.is_empty());
            let mut expected = cookies.clone();
            expected.sort_unstable();
            back.sort_unstable();
            prop_assert_eq!(back, expected);
        }
    }

    #[test]
    fn runs_and_pairs_are_combined() {
        let mut acks = Acks::default();
        for cookie in [7, 8, 9, 20, 4, 30] {
            acks.push(cookie).unwrap();
        }
        assert_eq!(acks.take_noop(Version::V3), Some(ZcAcks::Range { first: 7, last: 9 }));
        assert_eq!(acks.take_noop(Version::V3), Some(ZcAcks::Two(20, 4)));
        assert!(acks.is_single());
        assert_eq!(acks.take_noop(Version::V3), Some(ZcAcks::One(30)));
        assert_eq!(acks.take_noop(Version::V3), None);
    }

    #[test]
    fn what_a_peer_can_have_us_remember_is_bounded() {
        let mut acks = Acks::default();
        for n in 0..MAX_RUNS as u64 {
            acks.push(2 * n + 2).unwrap();
        }
        assert_eq!(acks.push(1 << 40), Err(Full));
        assert_eq!(acks.push(2 * MAX_RUNS as u64 + 1), Ok(()), "the last run goes on");
        acks.clear();
        assert_eq!(acks.push(u64::MAX), Ok(()));
        assert_eq!(acks.push(0), Ok(()), "no overflow");
    }
}
