//! Several clients at once on a disk that delays, reorders and tears, until the power goes.
//!
//! Each client works in a directory of its own and knows what it must hold; all share the journal, the caches, the
//! bitmaps. After the cut each directory must hold one moment of its client's history that is not before the last
//! acknowledgement, and all of them together the same moment of the whole history: an operation is there only if all
//! that were done before it are.

mod client;

use super::recovery::{Expectation, recover, repair};
use super::{Result, Setting, judge_disk, sim_disk};
use crate::backend::{Abilities, Store, own};
use crate::disk::{Manner, Pages, Record};
use crate::model::{Tree, walk};
use crate::random::Random;
use crate::tools::Image;
use crate::world::World;
use client::{Client, Log};
use keelson_volume::{Time, Volume};
use std::rc::Rc;
use std::time::Duration;

/// A simulation.
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    /// Where chances come from.
    pub seed: u64,
    /// Cuts: the last at the end, the others before.
    pub cuts: usize,
}

impl Simulation {
    /// Carries it out; a summary.
    pub fn carry_out(&self) -> Result<String> {
        let mut random = Random::new(self.seed);
        let setting = Setting { lagging: true, ..Setting::of(self.seed) };
        let block_size = *random.pick(&["4096", "4096", "1024"]);
        let image = Image::make(24, &["-b", block_size]);
        let world = World::new(self.seed);
        let disk = sim_disk(Pages::load(image.path()), &world, setting, self.seed);
        let mut own = own::mount(&world, disk.clone(), setting.memory)?;
        let abilities = crate::backend::Backend::abilities(&own);
        let count = 1 + random.index(6);
        let clients = self.start(&world, &own.volume(), &disk, count, &mut random)?;
        disk.start_record();
        for client in &clients {
            client.begin(&world.handle());
        }
        world.pass(Duration::from_micros(random.below(400_000)));
        disk.turn_off();
        world.cut_power();
        // Dropped before the world is, as its tasks were.
        own = own.quick();
        drop(own);
        judge_disk(&disk)?;
        let logs: Vec<Log> = clients.iter().map(|client| client.take_log()).collect();
        if let Some(said) = logs.iter().find_map(|log| log.wrong.clone()) {
            return Err(said);
        }
        let record = disk.take_record().ok_or("no record")?;
        for number in 0..self.cuts {
            let cut = if number == 0 { record.len() } else { random.index(record.len() + 1) };
            let judged = judge_cut(&record, &logs, cut, setting, abilities, &mut random);
            judged.map_err(|said| format!("cut before event {cut} of {}: {said}", record.len()))?;
        }
        let steps: usize = logs.iter().map(|log| log.moments.len() - 1).sum();
        let acks: usize = logs.iter().map(|log| log.acks.len()).sum();
        let (writes, flushes) = record.totals();
        Ok(format!("{count} clients, {steps} steps, {acks} commits, {writes} writes, {flushes} flushes"))
    }

    fn start(
        &self,
        world: &World,
        volume: &Rc<own::Volume>,
        disk: &Rc<crate::disk::SimDisk>,
        count: usize,
        random: &mut Random,
    ) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for index in 0..count {
            let client = Client::new(index, volume.clone(), disk.clone(), Random::new(random.number()));
            world.run(client.settle_in()).map_err(|said| format!("client {index}: {said}"))?;
            clients.push(client);
        }
        world.run(volume.sync_all()).map_err(|error| format!("sync: {error}"))?;
        world.run(volume.commit(volume.root())).map_err(|error| format!("commit: {error}"))?;
        Ok(clients)
    }
}

fn judge_cut(
    record: &Record,
    logs: &[Log],
    cut: usize,
    setting: Setting,
    abilities: Abilities,
    random: &mut Random,
) -> Result {
    let manner = *random.pick(&Manner::EACH);
    let pages = record.after_cut(cut, manner, random);
    let trees: Vec<Vec<Tree>> = logs.iter().map(|log| log.moments_before(cut)).collect();
    let expectations: Vec<Expectation<'_>> =
        logs.iter().zip(&trees).map(|(log, trees)| log.expectation(trees, cut, record.len())).collect();
    if std::env::var_os("GATE_DEBUG").is_some() {
        for (client, log) in logs.iter().enumerate() {
            for (index, moment) in log.moments.iter().enumerate() {
                eprintln!(
                    "client {client} moment {index} begun {} stamp {:?} {}",
                    moment.begun, moment.stamp, moment.step
                );
            }
            for ack in &log.acks {
                eprintln!("client {client} {ack:?}");
            }
        }
        eprintln!("cut {cut} {manner:?}\n{}", record.describe());
    }
    let judge = |found: &Tree, _: Abilities| {
        let mut indices = Vec::new();
        for (client, (log, expectation)) in logs.iter().zip(&expectations).enumerate() {
            let below = found.below(log.moments[0].tree.root);
            let index = expectation.judge(&below, abilities);
            indices.push(index.map_err(|said| format!("{manner:?}, client {client}: {said}"))?);
        }
        one_moment(logs, &indices).map_err(|said| format!("{manner:?}: {said}"))
    };
    let seed = random.number();
    recover(&pages, setting, seed, judge).map_err(|said| format!("own recovery: {said}"))?;
    if random.once_in(4) {
        repair(&pages, setting, seed, judge).map_err(|said| format!("after e2fsck: {said}"))?;
    }
    Ok(())
}

/// What is there of all clients must be what was done until one moment.
fn one_moment(logs: &[Log], indices: &[usize]) -> Result {
    let latest_there = logs.iter().zip(indices).map(|(log, index)| log.moments[*index].stamp).max();
    let missing = logs.iter().zip(indices).filter_map(|(log, index)| log.moments.get(index + 1));
    let earliest_missing: Option<Time> = missing.map(|moment| moment.stamp).min();
    match (latest_there, earliest_missing) {
        (Some(there), Some(missing)) if missing < there => {
            Err(format!("an operation of {there:?} is there, one of {missing:?} is not"))
        }
        _ => Ok(()),
    }
}

/// Everything a volume holds, as a client sees it.
pub fn tree_of(own: &mut own::Own) -> Result<Tree> {
    walk(own)
}
