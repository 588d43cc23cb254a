//! What a disk was told, and what it may hold when its power goes at any moment of that.
//!
//! The rules are those of `keelson_hal::BlockDevice`: a write is safe when a flush ended that began after the write
//! was done, or when it went through the cache and is done. What was done but is not safe may be on the medium wholly, in part, or not; of two writes to one place
//! the older never replaces the newer. What was still under way may be there too, in any order.

use super::{PAGE, Pages};
use crate::random::Random;
use std::collections::HashSet;
use std::sync::Arc;

/// One thing that happened.
enum Event {
    /// A write was submitted.
    Begin { id: u32, position: u64, data: Arc<[u8]>, through: bool },
    /// It was done.
    Done { id: u32 },
    /// A flush was submitted.
    FlushBegin { id: u32 },
    /// It was done.
    FlushDone { id: u32 },
    /// A note of the test.
    Note(u64),
}

/// How the power goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Nothing remains of what was not safe.
    Nothing,
    /// All of what was done remains.
    All,
    /// Each write remains or not.
    Some,
    /// Of each write, each page remains or not.
    Torn,
    /// All but one write that was done.
    AllButOne,
}

impl Manner {
    /// Every manner.
    pub const EACH: [Manner; 5] =
        [Manner::Nothing, Manner::All, Manner::Some, Manner::Torn, Manner::AllButOne];
}

/// Events between copies of the whole disk.
const STRIDE: usize = 512;

/// The history of a disk.
pub struct Record {
    events: Vec<Event>,
    /// What the disk held after all writes done before event `index * STRIDE`.
    copies: Vec<Pages>,
    latest: Pages,
    open: Vec<(u32, u64, Arc<[u8]>)>,
}

impl Record {
    /// Begins with this content.
    pub fn new(start: Pages) -> Record {
        Record { events: Vec::new(), copies: vec![start.clone()], latest: start, open: Vec::new() }
    }

    fn push(&mut self, event: Event) {
        self.events.push(event);
        if self.events.len().is_multiple_of(STRIDE) {
            self.copies.push(self.latest.clone());
        }
    }

    /// A write was submitted.
    pub fn begin(&mut self, id: u32, position: u64, data: &[u8]) {
        self.begin_any(id, position, data, false);
    }

    /// A write was submitted that is safe as soon as it is done.
    pub fn begin_through(&mut self, id: u32, position: u64, data: &[u8]) {
        self.begin_any(id, position, data, true);
    }

    fn begin_any(&mut self, id: u32, position: u64, data: &[u8], through: bool) {
        let data: Arc<[u8]> = data.into();
        self.open.push((id, position, data.clone()));
        self.push(Event::Begin { id, position, data, through });
    }

    /// It was done.
    pub fn done(&mut self, id: u32) {
        if let Some(place) = self.open.iter().position(|(open, ..)| *open == id) {
            let (_, position, data) = self.open.swap_remove(place);
            self.latest.write(position, &data);
        }
        self.push(Event::Done { id });
    }

    /// A flush was submitted.
    pub fn flush_begin(&mut self, id: u32) {
        self.push(Event::FlushBegin { id });
    }

    /// It was done.
    pub fn flush_done(&mut self, id: u32) {
        self.push(Event::FlushDone { id });
    }

    /// Puts in a note.
    pub fn note(&mut self, note: u64) {
        self.push(Event::Note(note));
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// True when nothing happened.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// All events, a line each, to look at.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for (index, event) in self.events.iter().enumerate() {
            let line = match event {
                Event::Begin { id, position, data, .. } => {
                    format!("write {id} of {} blocks at {}", data.len() as f64 / 4096.0, position / 4096)
                }
                Event::Done { id } => format!("done {id}"),
                Event::FlushBegin { id } => format!("flush {id}"),
                Event::FlushDone { id } => format!("flushed {id}"),
                Event::Note(note) => format!("note {note}"),
            };
            text.push_str(&format!("{index}: {line}\n"));
        }
        text
    }

    /// Writes that were submitted and flushes that ended.
    pub fn totals(&self) -> (usize, usize) {
        let count = |wanted: fn(&Event) -> bool| self.events.iter().filter(|event| wanted(event)).count();
        (
            count(|event| matches!(event, Event::Begin { .. })),
            count(|event| matches!(event, Event::FlushDone { .. })),
        )
    }

    /// Moments for cuts: by turns one right before the end of a flush that follows a write to one of the `hot` places (the
    /// last of those first), one right before the end of any flush, when most is at stake, and any.
    pub fn choose_cut(&self, number: usize, hot: &[u64], random: &mut Random) -> usize {
        let (mut flushes, mut hot_flushes, mut is_hot) = (Vec::new(), Vec::new(), false);
        for (index, event) in self.events.iter().enumerate() {
            match event {
                Event::Begin { position, data, .. } => {
                    is_hot |= hot.iter().any(|hot| (*position..*position + data.len() as u64).contains(hot));
                }
                Event::FlushDone { .. } => {
                    flushes.push(index);
                    if std::mem::take(&mut is_hot) {
                        hot_flushes.push(index);
                    }
                }
                _ => {}
            }
        }
        hot_flushes.reverse();
        match number % 3 {
            0 if !hot_flushes.is_empty() => hot_flushes[number / 3 % hot_flushes.len()],
            1 if !flushes.is_empty() => *random.pick(&flushes),
            _ => random.index(self.len() + 1),
        }
    }

    /// The last note before event `cut`.
    pub fn note_before(&self, cut: usize) -> Option<u64> {
        self.events[..cut].iter().rev().find_map(|event| match event {
            Event::Note(note) => Some(*note),
            _ => None,
        })
    }

    /// What the disk may hold when its power goes right before event `cut`.
    pub fn after_cut(&self, cut: usize, manner: Manner, random: &mut Random) -> Pages {
        let safe = self.safe_before(cut);
        let mut pages = self.copies[safe / STRIDE].clone();
        let from = safe / STRIDE * STRIDE;
        // Writes that were under way when the copy was made, and those since.
        let mut open = self.open_before(from);
        // Done, but safe only if they went through the cache.
        let mut later = Vec::new();
        for (index, event) in self.events[..cut].iter().enumerate().skip(from) {
            match event {
                Event::Begin { id, position, data, through } => open.push((*id, *position, data, *through)),
                Event::Done { id } => {
                    let Some(place) = open.iter().position(|(open, ..)| open == id) else { continue };
                    let (_, position, data, through) = open.remove(place);
                    if index < safe {
                        pages.write(position, data);
                    } else {
                        later.push((position, data, through));
                    }
                }
                _ => {}
            }
        }
        let missing = random.index(later.len().max(1));
        let mut fate = |index: usize| match manner {
            Manner::Nothing => Fate::Gone,
            Manner::All => Fate::There,
            Manner::AllButOne if index == missing => Fate::Gone,
            Manner::AllButOne => Fate::There,
            Manner::Some => [Fate::There, Fate::Gone][random.index(2)],
            Manner::Torn => [Fate::There, Fate::Gone, Fate::Torn(random.number())][random.index(3)],
        };
        for (index, (position, data, through)) in later.into_iter().enumerate() {
            let fate = if through { Fate::There } else { fate(index) };
            fate.apply(&mut pages, position, data);
        }
        if manner != Manner::All && manner != Manner::AllButOne {
            while !open.is_empty() {
                let fate = fate(usize::MAX);
                let (_, position, data, _) = open.swap_remove(position_in(open.len(), &fate));
                fate.apply(&mut pages, position, data);
            }
        }
        pages
    }

    /// Writes that were done before the event that this returns are safe at `cut`. Of flushes that were under way
    /// together, the one that began last counts, whichever ended last.
    fn safe_before(&self, cut: usize) -> usize {
        let mut ended = HashSet::new();
        for (index, event) in self.events[..cut].iter().enumerate().rev() {
            match event {
                Event::FlushDone { id } => _ = ended.insert(*id),
                Event::FlushBegin { id } if ended.contains(id) => return index,
                _ => {}
            }
        }
        0
    }

    fn open_before(&self, event: usize) -> Vec<(u32, u64, &Arc<[u8]>, bool)> {
        let mut open: Vec<(u32, u64, &Arc<[u8]>, bool)> = Vec::new();
        for event in &self.events[..event] {
            match event {
                Event::Begin { id, position, data, through } => open.push((*id, *position, data, *through)),
                Event::Done { id } => open.retain(|(open, ..)| open != id),
                _ => {}
            }
        }
        open
    }
}

/// What becomes of a write.
#[derive(Clone, Copy)]
enum Fate {
    There,
    Gone,
    /// The bit of each page says whether it is there.
    Torn(u64),
}

impl Fate {
    fn apply(&self, pages: &mut Pages, position: u64, data: &[u8]) {
        let mut start = 0;
        let mut piece = 0;
        while start < data.len() {
            let at = position + start as u64;
            let end = data.len().min(start + PAGE - (at % PAGE as u64) as usize);
            let there = match self {
                Fate::There => true,
                Fate::Gone => false,
                Fate::Torn(bits) => bits >> (piece % 64) & 1 != 0,
            };
            if there {
                pages.write(at, &data[start..end]);
            }
            start = end;
            piece += 1;
        }
    }
}

/// Which of the writes under way comes next: any, but the same in every run.
fn position_in(length: usize, fate: &Fate) -> usize {
    match fate {
        Fate::Torn(bits) => (bits >> 32) as usize % length,
        Fate::There => length - 1,
        Fate::Gone => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> Record {
        let mut record = Record::new(Pages::zeros(4 * PAGE as u64));
        record.begin(1, 0, &[1; PAGE]);
        record.done(1);
        record.begin(2, PAGE as u64, &[2; PAGE]);
        record.flush_begin(3);
        record.done(2);
        record.flush_done(3);
        record.note(9);
        record.begin(4, 0, &[4; PAGE]);
        record.done(4);
        record
    }

    #[test]
    fn a_flush_covers_what_was_done_before_it_began() {
        let record = history();
        let mut random = Random::new(1);
        let lost = record.after_cut(record.len(), Manner::Nothing, &mut random);
        assert_eq!(lost.bytes(0, 1), [1], "done before the flush began");
        assert_eq!(lost.bytes(PAGE as u64, 1), [0], "done after the flush began");
        let kept = record.after_cut(record.len(), Manner::All, &mut random);
        assert_eq!((kept.bytes(0, 1), kept.bytes(PAGE as u64, 1)), (vec![4], vec![2]));
        assert_eq!(record.note_before(record.len()), Some(9));
        assert_eq!(record.note_before(6), None);
    }

    #[test]
    fn the_flush_that_began_last_counts() {
        let mut record = Record::new(Pages::zeros(PAGE as u64));
        record.flush_begin(1);
        record.begin(2, 0, &[5; PAGE]);
        record.done(2);
        record.flush_begin(3);
        record.flush_done(3);
        record.flush_done(1);
        let left = record.after_cut(record.len(), Manner::Nothing, &mut Random::new(1));
        assert_eq!(left.bytes(0, 1), [5]);
    }

    #[test]
    fn what_went_through_the_cache_is_safe() {
        let mut record = Record::new(Pages::zeros(PAGE as u64));
        record.begin(1, 0, &[1; PAGE]);
        record.done(1);
        record.begin_through(2, 0, &[2; PAGE]);
        let before = record.after_cut(record.len(), Manner::Nothing, &mut Random::new(1));
        record.done(2);
        let after = record.after_cut(record.len(), Manner::Nothing, &mut Random::new(1));
        assert_eq!((before.bytes(0, 1), after.bytes(0, 1)), (vec![0], vec![2]));
    }

    #[test]
    fn copies_make_no_difference() {
        let mut record = Record::new(Pages::zeros(64 * PAGE as u64));
        let mut random = Random::new(5);
        for id in 0..2000 {
            record.begin(id, random.below(64) * PAGE as u64, &[random.number() as u8; PAGE]);
            record.done(id);
            if random.once_in(50) {
                record.flush_begin(10_000 + id);
                record.flush_done(10_000 + id);
            }
        }
        for cut in [700, 1500, 3000, record.len()] {
            let mut bare = Record::new(Pages::zeros(64 * PAGE as u64));
            bare.events = std::mem::take(&mut record.events);
            // Without copies everything is done again from the start.
            let safe = bare.safe_before(cut);
            let mut expected = Pages::zeros(64 * PAGE as u64);
            let mut begun = std::collections::HashMap::new();
            for event in &bare.events[..safe] {
                match event {
                    Event::Begin { id, position, data, .. } => {
                        drop(begun.insert(*id, (*position, data.clone())))
                    }
                    Event::Done { id } => expected.write(begun[id].0, &begun[id].1),
                    _ => {}
                }
            }
            record.events = bare.events;
            let got = record.after_cut(cut, Manner::Nothing, &mut random);
            assert!(got.bytes(0, 64 * PAGE) == expected.bytes(0, 64 * PAGE), "cut {cut}");
        }
    }
}
