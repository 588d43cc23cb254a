//! What all clients of a simulation did, in the order in which it took effect, and what they were promised.

use crate::checks::recovery::Expectation;
use crate::model::Tree;
use keelson_volume::Time;

/// A step that was done.
pub struct Moment {
    /// What there is after it.
    pub tree: Tree,
    /// The time that it stamped.
    pub stamp: Time,
    /// Events of the disk until then.
    pub event: usize,
    /// Which client, and what it did.
    pub step: String,
}

/// A promise.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// Events of the disk before it was made.
    pub event: usize,
    /// The metadata of this moment is safe.
    pub moment: usize,
    /// So is the content of this file; of all files when there is none.
    pub file: Option<u64>,
}

/// The history.
#[derive(Default)]
pub struct History {
    /// Every step; the beginning first.
    pub moments: Vec<Moment>,
    /// Every promise.
    pub acks: Vec<Ack>,
    /// Steps that were refused because another client had been faster.
    pub refused: usize,
    /// What was found wrong first.
    pub wrong: Option<String>,
}

impl History {
    /// Begins with this.
    pub fn begin(tree: Tree) -> History {
        let first = Moment { tree, stamp: Time::default(), event: 0, step: String::new() };
        History { moments: vec![first], ..History::default() }
    }

    /// What there must be now.
    pub fn now(&self) -> &Tree {
        &self.moments[self.moments.len() - 1].tree
    }

    /// Number of the moment now.
    pub fn moment(&self) -> usize {
        self.moments.len() - 1
    }

    /// Trees that there were before event `cut`.
    pub fn trees_before(&self, cut: usize) -> Vec<Tree> {
        self.moments
            .iter()
            .take_while(|moment| moment.event <= cut)
            .map(|moment| moment.tree.clone())
            .collect()
    }

    /// What may be found when the power goes before event `cut`.
    pub fn expectation<'a>(&self, trees: &'a [Tree], cut: usize) -> Expectation<'a> {
        let mut expectation = Expectation::since(trees);
        for ack in self.acks.iter().filter(|ack| ack.event <= cut) {
            expectation.acknowledged = expectation.acknowledged.max(ack.moment);
            let files: Vec<u64> = match ack.file {
                Some(file) => vec![file],
                None => trees[ack.moment].files().collect(),
            };
            for file in files {
                let since = expectation.contents.entry(file).or_insert(0);
                *since = ack.moment.max(*since);
            }
        }
        // Content that no promise was made for may be any that there ever was.
        for file in trees.iter().flat_map(Tree::files) {
            expectation.contents.entry(file).or_insert(0);
        }
        expectation
    }

    /// A line for each step and promise, to look at.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for (index, moment) in self.moments.iter().enumerate() {
            let stamp = (moment.stamp.seconds, moment.stamp.nanos);
            text.push_str(&format!("moment {index} at event {} {stamp:?}: {}\n", moment.event, moment.step));
        }
        for ack in &self.acks {
            text.push_str(&format!("{ack:?}\n"));
        }
        text
    }
}
