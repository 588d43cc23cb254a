//! What an operation costs when there is more of everything: transactions, directories, volumes, files.

use super::meter::{Cost, Meter};
use super::table::{Better, limit};
use crate::backend::{Answer, Backend, own};
use crate::disk::{FileDisk, Flush};
use crate::model::{Making, new_object};
use crate::tools::Image;
use crate::world::World;
use keelson_volume::FileId;
use std::rc::Rc;

/// Operations whose cost is measured.
const SAMPLE: usize = 1_000;
/// Measurements of each; the least counts.
const ROUNDS: usize = 3;
/// A hundred times as much may cost twice as much: the logarithm of it, and the CPU's caches.
const FACTOR: f64 = 2.0;

/// What is compared, and its cost with little and with much.
type Pair = (&'static str, f64, f64);

/// Measures some pairs.
type Comparison = fn() -> Result<Vec<Pair>, String>;

struct Site {
    own: own::Own,
    disk: Rc<FileDisk>,
    dir: FileId,
    // Kept as long as it is in use.
    _image: Image,
}

impl Site {
    fn new(mebibytes: u64, arguments: &[&str]) -> Result<Site, String> {
        let image = Image::make(mebibytes, arguments);
        let disk = FileDisk::open(image.path(), Flush::Counted).map_err(|error| error.to_string())?;
        // What is not in memory costs more, but that is not what grows.
        let mut own = own::mount(&World::new(1), disk.clone(), own::Memory::Plenty)?.quick();
        let root = own.root();
        let dir = own.create(root, b"dir", new_object(&Making::Directory, 0o755, (0, 0)));
        let dir = dir.map_err(|error| format!("mkdir: {error}"))?;
        Ok(Site { own, disk, dir, _image: image })
    }

    fn create(&mut self, numbers: std::ops::Range<usize>) -> Answer<()> {
        for number in numbers {
            let name = format!("file {number}");
            self.own.create(self.dir, name.as_bytes(), new_object(&Making::Regular, 0o644, (0, 0)))?;
        }
        Ok(())
    }

    fn sample(&mut self, work: impl FnOnce(&mut Site) -> Answer<()>) -> Result<f64, String> {
        let meter = Meter::start(Some(&self.disk));
        work(self).map_err(|error| error.to_string())?;
        Ok(meter.stop(Some(&self.disk), SAMPLE as f64).engine)
    }
}

/// Prints each comparison; false when one grows too much.
pub fn growth() -> bool {
    let checks: [(&str, Comparison); 3] =
        [("transaction", transactions), ("directory", directories), ("volume", volumes)];
    let mut good = true;
    for (what, check) in checks {
        match check() {
            Ok(pairs) => {
                for (name, small, large) in pairs {
                    let line = format!("{name} ({small:.2} us, then {large:.2} us)");
                    good &= limit(&line, large / small, FACTOR, Better::Less);
                }
            }
            Err(said) => {
                println!("{what}: {said}");
                good = false;
            }
        }
    }
    good
}

fn least(mut measure: impl FnMut() -> Result<f64, String>) -> Result<f64, String> {
    let costs: Result<Vec<Cost>, String> =
        (0..ROUNDS).map(|_| measure().map(|engine| Cost { engine, ..Cost::default() })).collect();
    Ok(Cost::least(&costs?).engine)
}

/// The last of 1,000 operations in one transaction, and of 40,000.
fn transactions() -> Result<Vec<Pair>, String> {
    let create_after = |before: usize| {
        least(|| {
            let mut site = Site::new(1024, &["-b", "4096", "-J", "size=256"])?;
            site.create(0..before).map_err(|error| error.to_string())?;
            site.sample(|site| site.create(before..before + SAMPLE))
        })
    };
    let remove_after = |count: usize| {
        least(|| {
            let mut site = Site::new(1024, &["-b", "4096", "-J", "size=256"])?;
            site.create(0..count).map_err(|error| error.to_string())?;
            let name = |number: usize| format!("file {number}").into_bytes();
            for number in SAMPLE..count {
                site.own.remove(site.dir, &name(number)).map_err(|error| error.to_string())?;
            }
            site.sample(|site| (0..SAMPLE).try_for_each(|number| site.own.remove(site.dir, &name(number))))
        })
    };
    Ok(vec![
        ("create, 1,000 and 40,000 in a transaction", create_after(1_000)?, create_after(39_000)?),
        ("unlink, 1,000 and 40,000 in a transaction", remove_after(1_000)?, remove_after(40_000)?),
    ])
}

/// Operations in a directory of 1,000 names, and of 100,000.
fn directories() -> Result<Vec<Pair>, String> {
    let costs = |count: usize| -> Result<[f64; 4], String> {
        let mut site = Site::new(1024, &["-b", "4096", "-N", "150000"])?;
        for start in (0..count).step_by(SAMPLE) {
            site.create(start..start + SAMPLE).map_err(|error| error.to_string())?;
            site.own.sync().map_err(|error| error.to_string())?;
        }
        let name = |number: usize| format!("file {number}").into_bytes();
        // Any of them, in no order.
        let spread = |number: usize| number * 7919 % count;
        let lookup = least(|| {
            site.sample(|site| {
                (0..SAMPLE)
                    .try_for_each(|number| site.own.lookup(site.dir, &name(spread(number))).map(|_| ()))
            })
        })?;
        let create = site.sample(|site| site.create(count..count + SAMPLE))?;
        let synced = site.sample(|site| {
            (0..SAMPLE).try_for_each(|number| {
                site.create(count + SAMPLE + number..count + SAMPLE + number + 1)?;
                site.own.sync()
            })
        })?;
        let remove = site.sample(|site| {
            (0..SAMPLE).try_for_each(|number| site.own.remove(site.dir, &name(number * (count / SAMPLE))))
        })?;
        Ok([lookup, create, synced, remove])
    };
    let (small, large) = (costs(1_000)?, costs(100_000)?);
    let names = [
        "lookup, 1,000 and 100,000 names",
        "create, 1,000 and 100,000 names",
        "create and sync, 1,000 and 100,000 names",
        "unlink, 1,000 and 100,000 names",
    ];
    Ok((0..names.len()).map(|index| (names[index], small[index], large[index])).collect())
}

/// Operations on a volume of 256 MB, and of 64 GB.
fn volumes() -> Result<Vec<Pair>, String> {
    let costs = |mebibytes: u64| -> Result<[f64; 4], String> {
        // The same journal: its size is another matter.
        let mut site = Site::new(mebibytes, &["-b", "4096", "-J", "size=32"])?;
        let create = site.sample(|site| site.create(0..SAMPLE))?;
        let synced = site.sample(|site| {
            (0..SAMPLE).try_for_each(|number| {
                site.create(SAMPLE + number..SAMPLE + number + 1)?;
                site.own.sync()
            })
        })?;
        let file = site.own.lookup(site.dir, b"file 0").map_err(|error| error.to_string())?.id;
        let write = site.sample(|site| {
            (0..SAMPLE).try_for_each(|number| site.own.write(file, number as u64 * 65_536, &[7; 4096]))?;
            site.own.sync()
        })?;
        let remove = site.sample(|site| {
            (0..SAMPLE)
                .try_for_each(|number| site.own.remove(site.dir, format!("file {number}").as_bytes()))?;
            site.own.sync()
        })?;
        Ok([create, synced, write, remove])
    };
    let (small, large) = (costs(256)?, costs(64 << 10)?);
    let names = [
        "create, 256 MB and 64 GB",
        "create and sync, 256 MB and 64 GB",
        "write into holes, 256 MB and 64 GB",
        "unlink, 256 MB and 64 GB",
    ];
    Ok((0..names.len()).map(|index| (names[index], small[index], large[index])).collect())
}
