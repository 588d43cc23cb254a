//! Several clients at once in one tree, on a disk that delays, reorders and tears, until the power goes.
//!
//! The clients share everything: directories, files, the journal, the caches. Every operation takes effect at one moment,
//! and its answer tells which; so there is one history, and one tree after each of its moments. After a cut the disk must
//! hold one of these trees: not one before the last acknowledgement, and with nothing of what came later.

mod client;
mod history;

use super::recovery::{recover, repair};
use super::{Result, Setting, judge_disk, sim_disk};
use crate::backend::{Abilities, Backend, own};
use crate::disk::{Manner, Pages, Record};
use crate::model::{Tree, walk};
use crate::random::Random;
use crate::survey::Survey;
use crate::tools::Image;
use crate::world::World;
use client::Client;
use history::History;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// A simulation.
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    /// Where chances come from.
    pub seed: u64,
    /// Cuts: the first at the end, the others before.
    pub cuts: usize,
}

impl Simulation {
    /// Carries it out; a summary.
    pub fn carry_out(&self) -> Result<String> {
        let mut random = Random::new(self.seed);
        let setting = Setting { lagging: true, ..Setting::of(self.seed) };
        let block_size = *random.pick(&["4096", "4096", "1024"]);
        let journal = if block_size == "1024" { "size=1" } else { "size=4" };
        let image = Image::make(24, &["-b", block_size, "-J", journal]);
        let hot = Survey::of(&Pages::load(image.path()))?.hot_places();
        let world = World::new(self.seed);
        let disk = sim_disk(Pages::load(image.path()), &world, setting, self.seed);
        let mut own = own::mount(&world, disk.clone(), setting.memory)?;
        let abilities = own.abilities();
        own.sync().map_err(|error| format!("sync: {error}"))?;
        disk.start_record();
        let history = Rc::new(RefCell::new(History::begin(walk(&mut own)?)));
        let count = 1 + random.index(8);
        for _ in 0..count {
            let chances = Random::new(random.number());
            Client::new(own.volume(), disk.clone(), history.clone(), chances).begin(&world.handle());
        }
        world.pass(Duration::from_micros(random.below(400_000)));
        disk.turn_off();
        world.cut_power();
        drop(own);
        judge_disk(&disk)?;
        let history = history.take();
        if let Some(said) = &history.wrong {
            return Err(said.clone());
        }
        let record = disk.take_record().ok_or("no record")?;
        for number in 0..self.cuts {
            let cut =
                if number == 0 { record.len() } else { record.choose_cut(number - 1, &hot, &mut random) };
            let judged = judge_cut(&record, &history, cut, setting, abilities, &mut random);
            judged.map_err(|said| format!("cut before event {cut} of {}: {said}", record.len()))?;
        }
        let (writes, flushes) = record.totals();
        Ok(format!(
            "{count} clients, {} steps, {} refused, {} commits, {writes} writes, {flushes} flushes",
            history.moments.len() - 1,
            history.refused,
            history.acks.len()
        ))
    }
}

fn judge_cut(
    record: &Record,
    history: &History,
    cut: usize,
    setting: Setting,
    abilities: Abilities,
    random: &mut Random,
) -> Result {
    let manner = *random.pick(&Manner::EACH);
    let pages = record.after_cut(cut, manner, random);
    let trees = history.trees_before(cut);
    let expectation = history.expectation(&trees, cut);
    if std::env::var_os("GATE_DEBUG").is_some() {
        eprintln!("{}cut before {cut}, {manner:?}\n{}", history.describe(), record.describe());
    }
    let judge = |found: &Tree, _: Abilities| {
        expectation.judge(found, abilities).map(|_| ()).map_err(|said| format!("{manner:?}: {said}"))
    };
    let seed = random.number();
    recover(&pages, setting, seed, judge).map_err(|said| format!("own recovery: {said}"))?;
    if random.once_in(4) {
        repair(&pages, setting, seed, judge).map_err(|said| format!("after e2fsck: {said}"))?;
    }
    Ok(())
}
