//! Tables of bounded size whose entries are named by numbers that a peer gives back to us.

use alloc::vec::Vec;

/// Bits of a [`Key`] that say where the entry is.
const INDEX_BITS: u32 = 10;

/// Most entries of a table.
pub(crate) const MAX_ENTRIES: usize = 1 << INDEX_BITS;

/// Names an entry. The generation tells it from those that were at the same place before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key {
    index: u16,
    generation: u32,
}

impl Key {
    /// As one number, of `INDEX_BITS` more than the table's generations have.
    pub fn number(self) -> u32 {
        self.generation << INDEX_BITS | u32::from(self.index)
    }

    /// The key that has a number, whether or not there is such an entry.
    pub fn from_number(number: u32) -> Key {
        Key { index: (number & (MAX_ENTRIES as u32 - 1)) as u16, generation: number >> INDEX_BITS }
    }
}

/// The table. Entries that leave free their place at once; memory is kept.
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u16>,
    limit: usize,
    used: usize,
    /// Generations wrap at the bits of this mask.
    generations: u32,
    first_generation: u32,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Table<T> {
    /// A table of at most `limit` entries, and at most [`MAX_ENTRIES`]. `seed` makes numbers differ from boot to boot.
    pub fn new(limit: usize, generation_bits: u32, seed: u32) -> Table<T> {
        let generations = u32::MAX.checked_shr(32 - generation_bits).unwrap_or(0);
        Table {
            slots: Vec::new(),
            free: Vec::new(),
            limit: limit.min(MAX_ENTRIES),
            used: 0,
            generations,
            first_generation: seed & generations,
        }
    }

    /// Adds an entry, unless the table is full.
    pub fn insert(&mut self, value: T) -> Option<Key> {
        if self.used >= self.limit {
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u16::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot { generation: self.first_generation, value: None });
                index
            }
        };
        let slot = self.slots.get_mut(usize::from(index))?;
        slot.value = Some(value);
        self.used += 1;
        Some(Key { index, generation: slot.generation })
    }

    /// The entry, if it is still there.
    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(usize::from(key.index))?;
        slot.value.as_ref().filter(|_| slot.generation == key.generation)
    }

    /// The entry, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(usize::from(key.index))?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// Takes the entry out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let slot = self.slots.get_mut(usize::from(key.index))?;
        slot.generation = slot.generation.wrapping_add(1) & self.generations;
        self.used -= 1;
        self.free.push(key.index);
        slot.value.take()
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().zip(0..).filter_map(|(slot, index)| {
            let key = Key { index, generation: slot.generation };
            slot.value.as_ref().map(|value| (key, value))
        })
    }

    /// The first entry that fits, not before `from`, which is moved behind it. For loops that change the table.
    pub fn next(&self, from: &mut usize, fits: impl Fn(&T) -> bool) -> Option<Key> {
        while let Some(slot) = self.slots.get(*from) {
            let index = *from as u16;
            *from += 1;
            if slot.value.as_ref().is_some_and(&fits) {
                return Some(Key { index, generation: slot.generation });
            }
        }
        None
    }

    /// Entries now.
    pub fn len(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_keys_name_nothing() {
        let mut table = Table::new(2, 2, 7);
        let first = table.insert('a').unwrap();
        let second = table.insert('b').unwrap();
        assert_eq!(table.insert('c'), None);
        assert_eq!((table.remove(first), table.remove(first)), (Some('a'), None));
        let third = table.insert('c').unwrap();
        assert_eq!((table.get(first), table.get(third), table.get(second)), (None, Some(&'c'), Some(&'b')));
        assert_eq!(Key::from_number(third.number()), third);
        assert_eq!(table.len(), 2);
        assert!(table.get(Key::from_number(u32::MAX)).is_none());
        let found: Vec<char> = table.iter().map(|(_, value)| *value).collect();
        assert_eq!(found, ['c', 'b']);
    }

    /// The generation wraps within its bits, so that numbers stay in their range.
    #[test]
    fn generations_wrap() {
        let mut table = Table::new(1, 2, 3);
        let mut seen = Vec::new();
        for _ in 0..5 {
            let key = table.insert(()).unwrap();
            seen.push(key.number() >> INDEX_BITS);
            table.remove(key);
        }
        assert_eq!(seen, [3, 0, 1, 2, 3]);
    }
}
