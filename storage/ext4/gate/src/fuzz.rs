//! Damaged images: mounted, walked, changed, unmounted. Whatever is on the disk, the engine refuses or reports; it does not
//! panic, loop, eat memory, or write where it must not.
//!
//! Damage is done where it means something, and mostly with checksums made right again, so that more than the first
//! check is reached. A seed determines a list of damages; [`shrink`] finds the fewest that still fail.

mod base;
mod damage;
mod exercise;

use crate::backend::own;
use crate::checks::Result;
use crate::disk::{Pages, SimDisk};
use crate::heap;
use crate::list::{Case, find};
use crate::random::Random;
use crate::supervise;
use crate::survey::{Part, Survey};
use crate::world::World;
use base::Base;
use damage::Damage;
use keelson_ext4::layout::superblock::{LENGTH, POSITION, Superblock};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

/// Bytes behind the filesystem that nobody may write.
const GUARD: u64 = 1 << 20;
/// Turns that one call may take on an image of this size.
const MOST_TURNS: u64 = 400_000;
/// Heap that one seed may take: caches, and some.
const MOST_HEAP: usize = 512 << 20;
/// Most damages of a seed.
const MOST_DAMAGES: u64 = 4;
/// What our writes write.
pub(crate) const FILL: u8 = 0xa7;

/// Damages an image as `seed` says (only these of its damages, if given) and uses it; a summary.
pub fn damage(seed: u64, only: Option<&[usize]>) -> Result<String> {
    let base = Base::of(seed)?;
    let mut pages = base.pages.clone();
    let damages = damages(seed, &base);
    let mut said = Vec::new();
    for (index, damage) in damages.iter().enumerate() {
        if only.is_none_or(|only| only.contains(&index)) {
            damage.apply(&mut pages, &base.survey);
            said.push(format!("{index}: {damage}"));
        }
    }
    let said = format!("{}: {}", base.name, said.join("; "));
    use_it(seed, &base, pages, &damages)
        .map(|end| format!("{said}: {end}"))
        .map_err(|wrong| format!("{said}: {wrong}"))
}

/// Damages an image as bytes say and uses it: which image, how it is used (two bytes), then damages until the bytes end.
/// A fuzzer that sees what the engine executes chooses them; a summary.
pub fn damage_by(bytes: &[u8]) -> Result<String> {
    let (front, rest) = bytes.split_at(bytes.len().min(3));
    let front: [u8; 3] = std::array::from_fn(|at| front.get(at).copied().unwrap_or_default());
    let base = Base::of(front[0].into())?;
    let mut chosen = Random::chosen(rest);
    let (mut pages, mut damages, mut said) = (base.pages.clone(), Vec::new(), Vec::new());
    while !chosen.is_spent() && (damages.len() as u64) < MOST_DAMAGES {
        let damage = Damage::choose(&base.survey, &mut chosen);
        damage.apply(&mut pages, &base.survey);
        said.push(damage.to_string());
        damages.push(damage);
    }
    let said = format!("{}: {}", base.name, said.join("; "));
    use_it(u16::from_le_bytes([front[1], front[2]]).into(), &base, pages, &damages)
        .map(|end| format!("{said}: {end}"))
        .map_err(|wrong| format!("{said}: {wrong}"))
}

fn damages(seed: u64, base: &Base) -> Vec<Damage> {
    let count = 1 + Random::new(seed).below(MOST_DAMAGES);
    // Each has chances of its own, so that one can be left out.
    let each =
        |index| Damage::choose(&base.survey, &mut Random::new(seed.wrapping_mul(31) ^ (index + 1) << 48));
    (0..count).map(each).collect()
}

fn use_it(seed: u64, base: &Base, mut pages: Pages, damages: &[Damage]) -> Result<&'static str> {
    let believed = believed_length(&pages).unwrap_or(0).max(base.pages.len());
    pages.extend(GUARD);
    heap::limit_to(MOST_HEAP);
    let world = World::new(seed);
    world.bound(MOST_TURNS);
    let disk = SimDisk::new(pages);
    disk.guard_from(believed.min(base.pages.len() + GUARD));
    let end = match own::mount(&world, disk.clone(), own::Memory::Ample) {
        Err(said) if said.is_empty() => return Err("refused without a word".into()),
        Err(_) => "refused",
        Ok(own) => {
            exercise::exercise(&own, seed);
            world.pass(Duration::from_secs(20));
            let _ = world.run(keelson_volume::Volume::unmount(&*own.volume()));
            "mounted"
        }
    };
    judge(&disk, base, damages)?;
    Ok(end)
}

/// How long the filesystem is, as far as the damaged superblock says.
fn believed_length(pages: &Pages) -> Option<u64> {
    let mut raw = [0; LENGTH];
    pages.read(POSITION, &mut raw);
    let superblock = Superblock::parse(&raw, pages.len() + GUARD).ok()?;
    Some(superblock.geometry.blocks * superblock.geometry.block_size as u64)
}

fn judge(disk: &Rc<SimDisk>, base: &Base, damages: &[Damage]) -> Result {
    if let Some(first) = disk.violations().first() {
        return Err(first.clone());
    }
    // Where these are damaged, nobody can know what belongs to whom.
    let lost = damages.iter().any(|damage| matches!(damage.part(), Part::Superblock | Part::Descriptor(_)));
    if lost {
        return Ok(());
    }
    let (content, size) = (disk.content(), base.survey.geometry.block_size);
    for &block in &base.survey.fixed {
        let raw = content.bytes(block * size as u64, size);
        if raw.windows(64).any(|window| window.iter().all(|&byte| byte == FILL)) {
            return Err(format!("file content was written over metadata in block {block}"));
        }
    }
    Ok(())
}

/// Finds the fewest damages of a seed that still fail, each try in a process of its own; the command that does it.
pub fn shrink(seed: u64) -> Result<String> {
    let base = Base::of(seed)?;
    let mut parts: Vec<usize> = (0..damages(seed, &base).len()).collect();
    if !fails(seed, &parts) {
        return Err(format!("seed {seed} does not fail"));
    }
    for part in parts.clone() {
        let fewer: Vec<usize> = parts.iter().copied().filter(|other| *other != part).collect();
        if !fewer.is_empty() && fails(seed, &fewer) {
            parts = fewer;
        }
    }
    let check = find("fuzz").ok_or("no check of this name")?;
    Ok(supervise::again(check, &Case { seed, part: Some(parts), ..Case::default() }))
}

fn fails(seed: u64, parts: &[usize]) -> bool {
    let program = std::env::current_exe().unwrap_or_default();
    let parts: Vec<String> = parts.iter().map(usize::to_string).collect();
    let mut command = Command::new("timeout");
    command.arg("60").arg(program).args(["fuzz", "--seed", &seed.to_string(), "--part", &parts.join(",")]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    !status.is_ok_and(|status| status.success())
}

/// The image of a base, surveyed.
pub(crate) fn surveyed(name: &'static str, pages: Pages) -> Result<Base> {
    let survey = Survey::of(&pages)?;
    Ok(Base { name, pages, survey })
}
