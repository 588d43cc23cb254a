//! Zero-copy acknowledgements: the forms that a NOOP's two cookies take (LNet specification section 3.9).

use super::{KsockHeader, KsockKind};

/// Which cookies a header returns.
///
/// | first cookie | second cookie | meaning |
/// |---|---|---|
/// | any | 0 | nothing |
/// | 0 | 1 | keepalive |
/// | 0 | b | b |
/// | a > b | b | a and b |
/// | a <= b | b | all of a..=b |
///
/// Version 2 knows only the single cookie, and there 1 is one like any other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZcAcks {
    /// No cookie.
    Nothing,
    /// No cookie; the peer is alive.
    Keepalive,
    /// One cookie.
    One(u64),
    /// Two cookies, the larger first.
    Two(u64, u64),
    /// Every cookie from `first` to `last`, of which there may be very many: a peer can claim any range.
    Range {
        /// The lowest.
        first: u64,
        /// The highest.
        last: u64,
    },
}

impl ZcAcks {
    pub(super) const fn from_cookies(first: u64, second: u64) -> ZcAcks {
        match (first, second) {
            (_, 0) => ZcAcks::Nothing,
            (0, KsockHeader::KEEPALIVE_COOKIE) => ZcAcks::Keepalive,
            (0, cookie) => ZcAcks::One(cookie),
            (first, last) if first < last => ZcAcks::Range { first, last },
            (first, last) if first == last => ZcAcks::One(last),
            (larger, smaller) => ZcAcks::Two(larger, smaller),
        }
    }

    /// How many cookies these are.
    pub const fn count(&self) -> u64 {
        match *self {
            ZcAcks::Nothing | ZcAcks::Keepalive => 0,
            ZcAcks::One(_) => 1,
            ZcAcks::Two(..) => 2,
            ZcAcks::Range { first, last } => last.saturating_sub(first).saturating_add(1),
        }
    }

    /// Whether `cookie` is among them.
    pub const fn contains(&self, cookie: u64) -> bool {
        match *self {
            ZcAcks::Nothing | ZcAcks::Keepalive => false,
            ZcAcks::One(one) => one == cookie,
            ZcAcks::Two(one, other) => one == cookie || other == cookie,
            ZcAcks::Range { first, last } => first <= cookie && cookie <= last,
        }
    }

    /// The two cookies that say this in a NOOP.
    const fn cookies(&self) -> [u64; 2] {
        match *self {
            ZcAcks::Nothing => [0, 0],
            ZcAcks::Keepalive => [0, KsockHeader::KEEPALIVE_COOKIE],
            ZcAcks::One(cookie) => [0, cookie],
            ZcAcks::Two(a, b) if a > b => [a, b],
            ZcAcks::Two(a, b) => [b, a],
            ZcAcks::Range { first, last } => [first, last],
        }
    }
}

impl KsockHeader {
    /// A NOOP that says `acks`. Version 2 understands only [`ZcAcks::One`].
    ///
    /// Cookies are those received, hence never 0 or 1. Two cookies next to each other are a pair as well as a
    /// range; either way the peer takes both.
    pub const fn noop(acks: ZcAcks) -> KsockHeader {
        KsockHeader { kind: KsockKind::Noop, csum: 0, cookies: acks.cookies() }
    }
}
