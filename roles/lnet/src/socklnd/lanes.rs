//! Which connection carries what (lnet specification section 3.8).

use crate::message::Message;
use alloc::collections::VecDeque;
use keelson_hal::Instant;
use keelson_lnet_wire::hello::{ConnType, Version};

/// Messages by size on the wire: below `min_bulk` or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    Small,
    Bulk,
}

/// How many connections of each type, as seen from here, a peer has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Census {
    pub control: usize,
    pub bulk_in: usize,
    pub bulk_out: usize,
    pub any: usize,
}

impl Census {
    /// Counts one more connection.
    pub fn add(&mut self, kind: ConnType) {
        match kind {
            ConnType::Control => self.control += 1,
            ConnType::BulkIn => self.bulk_in += 1,
            ConnType::BulkOut => self.bulk_out += 1,
            ConnType::Any => self.any += 1,
            ConnType::None => {}
        }
    }

    /// True when a message can be sent at all. In versions 3 and 4 nothing is ever sent on a connection of type
    /// "any", because Linux does not either.
    pub fn can_send(&self, version: Version) -> bool {
        self.control > 0 || self.bulk_out > 0 || (self.any > 0 && version <= Version::V2)
    }

    /// Whether a connection of type `kind` takes messages of this class. Where the type that prefers them
    /// exists, no other does; a small message thus never waits behind a large one.
    pub fn carries(&self, kind: ConnType, version: Version, class: Class) -> bool {
        match (kind, class) {
            (ConnType::Control, Class::Small) | (ConnType::BulkOut, Class::Bulk) => true,
            (ConnType::Control, Class::Bulk) => self.bulk_out == 0,
            (ConnType::BulkOut, Class::Small) => self.control == 0,
            (ConnType::Any, _) => version <= Version::V2,
            (ConnType::BulkIn | ConnType::None, _) => false,
        }
    }

    /// Whether a connection of type `kind` sends acknowledgements that no message carries: bulk-in where there
    /// is one, else whatever there is.
    pub fn acknowledges(&self, kind: ConnType) -> bool {
        match kind {
            ConnType::BulkIn => true,
            ConnType::Control => self.bulk_in == 0,
            ConnType::BulkOut => self.bulk_in + self.control == 0,
            ConnType::Any => self.bulk_in + self.control + self.bulk_out == 0,
            ConnType::None => false,
        }
    }

    /// The type to open next on the way to one control connection and `bulk` of each bulk type (section 3.7).
    pub fn wanted(&self, bulk: usize) -> Option<ConnType> {
        if self.control == 0 {
            Some(ConnType::Control)
        } else if self.bulk_in < bulk && self.bulk_in <= self.bulk_out {
            Some(ConnType::BulkIn)
        } else if self.bulk_out < bulk {
            Some(ConnType::BulkOut)
        } else if self.bulk_in < bulk {
            Some(ConnType::BulkIn)
        } else {
            None
        }
    }

    /// True with at least one connection of each type.
    pub fn has_each(&self) -> bool {
        self.wanted(1).is_none()
    }
}

/// A message that waits for a connection to take it.
pub(super) struct Queued {
    pub message: Message,
    /// When it was queued; as exact as the reaper's clock.
    pub since: Instant,
}

/// What waits for a peer's connections, in order of arrival.
#[derive(Default)]
pub(super) struct Queues {
    small: VecDeque<Queued>,
    bulk: VecDeque<Queued>,
}

impl Queues {
    /// Appends.
    pub fn push(&mut self, class: Class, queued: Queued) {
        self.of(class).push_back(queued);
    }

    /// The next message for a connection of type `kind`.
    pub fn pull(&mut self, census: &Census, kind: ConnType, version: Version) -> Option<Message> {
        let class = self.next(census, kind, version)?;
        self.of(class).pop_front().map(|queued| queued.message)
    }

    /// Whether [`Queues::pull`] would find one.
    pub fn has_for(&self, census: &Census, kind: ConnType, version: Version) -> bool {
        self.next(census, kind, version).is_some()
    }

    /// The class to take from: small messages first.
    fn next(&self, census: &Census, kind: ConnType, version: Version) -> Option<Class> {
        let ready = |class, queue: &VecDeque<_>| !queue.is_empty() && census.carries(kind, version, class);
        if ready(Class::Small, &self.small) {
            Some(Class::Small)
        } else if ready(Class::Bulk, &self.bulk) {
            Some(Class::Bulk)
        } else {
            None
        }
    }

    /// Removes a message that was queued before `limit`.
    pub fn pop_older(&mut self, limit: Instant) -> Option<Message> {
        let old = |queue: &VecDeque<Queued>| queue.front().is_some_and(|queued| queued.since < limit);
        let queue = [&mut self.small, &mut self.bulk].into_iter().find(|queue| old(queue))?;
        queue.pop_front().map(|queued| queued.message)
    }

    /// Removes any message.
    pub fn pop(&mut self) -> Option<Message> {
        self.small.pop_front().or_else(|| self.bulk.pop_front()).map(|queued| queued.message)
    }

    /// Messages.
    pub fn len(&self) -> usize {
        self.small.len() + self.bulk.len()
    }

    /// True without messages.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn of(&mut self, class: Class) -> &mut VecDeque<Queued> {
        match class {
            Class::Small => &mut self.small,
            Class::Bulk => &mut self.bulk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConnType::{Any, BulkIn, BulkOut, Control};
    use Version::{V2, V3, V4};

    fn census(kinds: &[ConnType]) -> Census {
        let mut census = Census::default();
        kinds.iter().for_each(|kind| census.add(*kind));
        census
    }

    #[test]
    fn the_table_of_section_3_8() {
        let all = census(&[Control, BulkIn, BulkOut]);
        for version in [V3, V4] {
            assert!(
                all.carries(Control, version, Class::Small) && !all.carries(Control, version, Class::Bulk)
            );
            assert!(
                !all.carries(BulkOut, version, Class::Small) && all.carries(BulkOut, version, Class::Bulk)
            );
            for class in [Class::Small, Class::Bulk] {
                assert!(!all.carries(BulkIn, version, class) && !all.carries(Any, version, class));
            }
        }
        assert!(census(&[Control]).carries(Control, V3, Class::Bulk));
        assert!(census(&[BulkOut, BulkIn]).carries(BulkOut, V3, Class::Small));
        assert!(census(&[Any]).carries(Any, V2, Class::Bulk));
        assert!(
            !census(&[BulkIn]).can_send(V3) && !census(&[Any]).can_send(V3) && census(&[Any]).can_send(V2)
        );
    }

    #[test]
    fn acknowledgements_take_bulk_in_where_there_is_one() {
        let all = census(&[Control, BulkIn, BulkOut, Any]);
        assert_eq!([BulkIn, Control, BulkOut, Any].map(|k| all.acknowledges(k)), [true, false, false, false]);
        assert!(census(&[Control, BulkOut]).acknowledges(Control));
        assert!(!census(&[Control, BulkOut]).acknowledges(BulkOut));
        assert!(census(&[BulkOut]).acknowledges(BulkOut) && census(&[Any]).acknowledges(Any));
    }

    #[test]
    fn connections_are_opened_in_order() {
        let mut census = Census::default();
        let mut order = Vec::new();
        while let Some(kind) = census.wanted(2) {
            census.add(kind);
            order.push(kind);
        }
        assert_eq!(order, [Control, BulkIn, BulkOut, BulkIn, BulkOut]);
        assert!(census.has_each());
        let mut one_sided = Census { control: 1, bulk_out: 2, ..Census::default() };
        assert_eq!(one_sided.wanted(2), Some(BulkIn));
        one_sided.bulk_in = 2;
        assert_eq!(one_sided.wanted(2), None);
    }
}
