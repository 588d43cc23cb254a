//! Connections by id (section 6.1): an id leads to its slot without a search.
//!
//! Ids count up from a random start, so that a node that was started again never matches what peers remember of it.
//! An id's low bits are its slot; ids whose slot is taken are passed over.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// At most `max` connections of one direction.
pub struct Table<T> {
    slots: Vec<Option<(u32, Box<T>)>>,
    used: usize,
    max: usize,
    next: u32,
}

impl<T> Table<T> {
    /// An empty table.
    pub fn new(max: usize, start: u32) -> Table<T> {
        // Twice the slots, so that a free one is near.
        let slots = (2 * max.clamp(1, 1 << 16)).next_power_of_two();
        Table { slots: (0..slots).map(|_| None).collect(), used: 0, max, next: start }
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Which slot an id has.
    pub fn slot(&self, id: u32) -> usize {
        id as usize & (self.slots.len() - 1)
    }

    /// The id of what is in a slot.
    pub fn id_at(&self, slot: usize) -> Option<u32> {
        self.slots.get(slot)?.as_ref().map(|(id, _)| *id)
    }

    /// Whether no more fit.
    pub fn is_full(&self) -> bool {
        self.used >= self.max
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Adds a connection, which is told its id; `None` when the table is full.
    pub fn insert(&mut self, make: impl FnOnce(u32) -> T) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        loop {
            let id = self.next;
            self.next = self.next.wrapping_add(1);
            let slot = self.slot(id);
            // Id 0 means "unknown" on the wire.
            if let Some(free @ None) = self.slots.get_mut(slot).filter(|_| id != 0) {
                *free = Some((id, Box::new(make(id))));
                self.used += 1;
                return Some(id);
            }
        }
    }

    /// The connection with an id.
    #[inline]
    pub fn get(&self, id: u32) -> Option<&T> {
        let (known, connection) = self.slots.get(self.slot(id))?.as_ref()?;
        (*known == id).then_some(connection)
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let slot = self.slot(id);
        let (known, connection) = self.slots.get_mut(slot)?.as_mut()?;
        (*known == id).then_some(connection)
    }

    /// Takes a connection out.
    pub fn remove(&mut self, id: u32) -> Option<Box<T>> {
        let slot = self.slot(id);
        let found = self.slots.get_mut(slot)?.take_if(|(known, _)| *known == id);
        self.used -= usize::from(found.is_some());
        found.map(|(_, connection)| connection)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots.iter().flatten().map(|(id, connection)| (*id, &**connection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_up_and_are_never_live_twice() {
        let mut table = Table::new(3, u32::MAX);
        let ids: Vec<u32> = (0..3).map(|n| table.insert(|_| n).unwrap()).collect();
        assert_eq!(ids, [u32::MAX, 1, 2], "0 is passed over");
        assert_eq!((table.insert(|_| 9), table.len()), (None, 3));
        assert_eq!(table.remove(1).map(|value| *value), Some(1));
        assert_eq!(table.get(1), None);
        assert_eq!(table.remove(1 + 8), None, "same slot, another id");
        assert_eq!(table.insert(|id| id as i32), Some(3));
        assert_eq!((table.get(3), table.get(3 + 8), table.get(2)), (Some(&3), None, Some(&2)));
        // One stays while many come and go: its slot is passed over.
        for _ in 0..40 {
            let id = table.remove(3).is_some() || table.len() == 2;
            assert!(id);
            let id = table.insert(|_| 7).unwrap();
            assert_ne!(table.slot(id), table.slot(2));
            table.remove(id);
        }
        assert_eq!(table.get(2), Some(&2));
    }
}
