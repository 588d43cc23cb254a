//! What a disk must hold after a power cut: the names, attributes and handles of one moment that is not before the last
//! acknowledgement, and in files nothing but what was theirs.

use super::{Result, Setting, judge_disk, sim_disk};
use crate::backend::{Abilities, Backend, mount_and_walk, own};
use crate::disk::{Manner, Pages};
use crate::model::{Rules, Tree, difference, shown, walk};
use crate::random::Random;
use crate::survey::Survey;
use crate::tools::{e2fsck, e2fsck_preen, may_mount};
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};

/// What may be found.
pub struct Expectation<'a> {
    /// The tree after each step, whose changes are one history.
    pub moments: &'a [Tree],
    /// All of the metadata of this moment was acknowledged.
    pub acknowledged: usize,
    /// Files whose content was acknowledged at another moment than that.
    pub contents: BTreeMap<u64, usize>,
    /// Objects that a step changes of which nobody knows how far it came.
    pub uncertain: BTreeSet<u64>,
}

impl<'a> Expectation<'a> {
    /// Everything of the first moment was acknowledged.
    pub fn since(moments: &'a [Tree]) -> Expectation<'a> {
        Expectation { moments, acknowledged: 0, contents: BTreeMap::new(), uncertain: BTreeSet::new() }
    }

    /// Whether one of the moments was found; its index, and whether the uncertain step had come further.
    pub fn judge(&self, found: &Tree, abilities: Abilities) -> Result<usize> {
        let mut rules = Rules::between(abilities, abilities).without_content();
        rules.times = abilities.all_attributes;
        let mut first = None;
        for (index, moment) in self.moments.iter().enumerate().skip(self.acknowledged) {
            match difference(moment, found, &rules).or_else(|| self.foreign_bytes(moment, found)) {
                None => return Ok(index),
                Some(what) => drop(first.get_or_insert(what)),
            }
        }
        let last = self.moments.len() - 1;
        if !self.uncertain.is_empty() {
            rules.exempt = self.uncertain.clone();
            let moment = &self.moments[last];
            if difference(moment, found, &rules).or_else(|| self.foreign_bytes(moment, found)).is_none() {
                return Ok(last);
            }
        }
        let count = self.moments.len() - self.acknowledged;
        Err(format!("none of {count} moments; from the first: {}", first.unwrap_or_default()))
    }

    /// Bytes of files that were never there: neither before nor after what was under way, nor zeros in between.
    fn foreign_bytes(&self, moment: &Tree, found: &Tree) -> Option<String> {
        for inode in moment.files() {
            let Some(have) = found.content(inode) else { continue };
            let want = moment.content(inode)?;
            if want == have || self.uncertain.contains(&inode) {
                continue;
            }
            let since = self.contents.get(&inode).copied().unwrap_or(self.acknowledged);
            let id = moment.get(inode).attributes.id;
            // An inode number that was used again is another file.
            let same =
                |tree: &&Tree| tree.objects.get(&inode).is_some_and(|object| object.attributes.id == id);
            let of_file = self.moments[since..].iter().filter(same);
            let versions: Vec<&[u8]> =
                of_file.filter_map(|tree| tree.content(inode)).map(|content| &content[..]).collect();
            let allowed = |place: usize, byte: u8| {
                let at = |version: &&[u8]| version.get(place).copied();
                let settled = versions.iter().all(|version| at(version) == at(&versions[0]));
                versions.iter().any(|version| at(version) == Some(byte)) || byte == 0 && !settled
            };
            if let Some(place) = (0..have.len()).find(|place| !allowed(*place, have[*place])) {
                return Some(format!(
                    "{}: byte {place} of {} is {}, not {:?}",
                    moment.path(inode),
                    have.len(),
                    have[place],
                    want.get(place)
                ));
            }
        }
        None
    }
}

/// Lets our engine recover a disk and judges it. Afterwards it must be usable, and clean when it was unmounted.
pub fn recover(
    pages: &Pages,
    setting: Setting,
    seed: u64,
    judge: impl Fn(&Tree, Abilities) -> Result,
) -> Result {
    let world = World::new(seed);
    let disk = sim_disk(pages.clone(), &world, setting, seed);
    let mut own = own::mount(&world, disk.clone(), setting.memory)?;
    let found = walk(&mut own)?;
    judge(&found, own.abilities())?;
    // The first change after a recovery must find its place.
    probe(&mut own)?;
    Box::new(own).finish().map_err(|error| format!("unmount: {error}"))?;
    judge_disk(&disk)?;
    e2fsck(disk.content().save().path())
}

/// Makes and removes something.
fn probe(backend: &mut dyn Backend) -> Result {
    use keelson_volume::{NewObject, ObjectKind, SetTime};
    let new = NewObject {
        kind: ObjectKind::Regular,
        mode: 0o600,
        uid: 0,
        gid: 0,
        atime: SetTime::Now,
        mtime: SetTime::Now,
    };
    let (root, name) = (backend.root(), b"after recovery");
    let said = |what: &str, error| format!("{what} {}: {error}", shown(name));
    let id = backend.create(root, name, new).map_err(|error| said("create", error))?;
    backend.write(id, 0, &[1; 5000]).map_err(|error| said("write", error))?;
    backend.commit(id).map_err(|error| said("commit", error))?;
    backend.remove(root, name).map_err(|error| said("remove", error))?;
    Ok(())
}

/// Cuts the power while our engine recovers a disk; what the disk then holds.
pub fn cut_recovery(pages: &Pages, setting: Setting, random: &mut Random) -> Result<Pages> {
    let seed = random.number();
    let world = World::new(seed);
    let disk = sim_disk(pages.clone(), &world, setting, seed);
    disk.start_record();
    let own = own::mount(&world, disk.clone(), setting.memory)?;
    drop(own);
    world.cut_power();
    judge_disk(&disk)?;
    let Some(record) = disk.take_record().filter(|record| !record.is_empty()) else {
        return Ok(pages.clone());
    };
    let hot = Survey::of(pages).map(|survey| survey.hot_places()).unwrap_or_default();
    let cut = record.choose_cut(random.index(9), &hot, random);
    let manner = *random.pick(&Manner::EACH);
    Ok(record.after_cut(cut, manner, random))
}

/// Lets e2fsck replay and repair what it does at every boot, and judges what it left.
pub fn repair(
    pages: &Pages,
    setting: Setting,
    seed: u64,
    judge: impl Fn(&Tree, Abilities) -> Result,
) -> Result {
    let image = pages.save();
    e2fsck_preen(image.path())?;
    e2fsck(image.path())?;
    let world = World::new(seed);
    let disk = sim_disk(Pages::load(image.path()), &world, setting, seed);
    let mut own = own::mount(&world, disk, setting.memory)?;
    let found = walk(&mut own)?;
    judge(&found, own.abilities())
}

/// Lets Linux replay the journal, and judges what it finds.
pub fn replay_by_linux(pages: &Pages, xattrs: bool, judge: impl Fn(&Tree, Abilities) -> Result) -> Result {
    if !may_mount() {
        return Ok(());
    }
    let image = pages.save();
    let found = mount_and_walk(image.path(), "noatime")?;
    let abilities = Abilities { generations: false, exact_times: true, all_attributes: true, xattrs };
    judge(&found, abilities)?;
    e2fsck(image.path())
}
