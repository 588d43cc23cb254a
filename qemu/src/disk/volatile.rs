//! A write cache that loses what was not flushed, as a disk does in a power cut.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::rng::Rng;

/// Unit of the cache. A request that covers a block in part keeps the rest of it.
pub const BLOCK: usize = 4096;
/// Unit in which a disk writes without tearing.
const SECTOR: usize = 512;

/// What survives of unflushed writes when the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    None,
    /// Everything.
    All,
    /// The first writes, in order; how many, the seed decides.
    Prefix {
        /// For the dice.
        seed: u64,
    },
    /// Any of the blocks written, in any combination: disks reorder.
    Random {
        /// For the dice.
        seed: u64,
    },
    /// As `Random`, but sector by sector (512 bytes): blocks may be torn.
    Torn {
        /// For the dice.
        seed: u64,
    },
}

/// The cache in front of an image file.
pub struct Cache {
    file: File,
    /// Unflushed block writes, oldest first.
    log: Vec<(u64, Box<[u8; BLOCK]>)>,
    /// Block number to its newest entry in the log.
    newest: HashMap<u64, usize>,
}

impl Cache {
    pub fn new(file: File) -> Cache {
        Cache { file, log: Vec::new(), newest: HashMap::new() }
    }

    /// Bytes at `offset`, newest version. The request lies within the disk.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)?;
        each_block(offset, out.len(), |block, within, range| {
            if let Some(&entry) = self.newest.get(&block) {
                out[range.clone()].copy_from_slice(&self.log[entry].1[within..within + range.len()]);
            }
        });
        Ok(())
    }

    /// Takes a write into the cache.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut result = Ok(());
        each_block(offset, data.len(), |block, within, range| {
            let mut content = Box::new([0; BLOCK]);
            if range.len() < BLOCK
                && let Err(e) = self.read_block(block, &mut content)
            {
                result = Err(e);
                return;
            }
            content[within..within + range.len()].copy_from_slice(&data[range]);
            self.newest.insert(block, self.log.len());
            self.log.push((block, content));
        });
        result
    }

    fn read_block(&self, block: u64, out: &mut [u8; BLOCK]) -> io::Result<()> {
        match self.newest.get(&block) {
            Some(&entry) => out.copy_from_slice(&self.log[entry].1[..]),
            None => {
                // The last block of the disk may be a short one.
                let start = block * BLOCK as u64;
                let len = (self.file.metadata()?.len().saturating_sub(start) as usize).min(BLOCK);
                self.file.read_exact_at(&mut out[..len], start)?;
            }
        }
        Ok(())
    }

    /// Makes everything written so far permanent.
    pub fn flush(&mut self) -> io::Result<()> {
        self.cut(Keep::All)
    }

    /// Number of block writes not yet permanent.
    pub fn unflushed(&self) -> usize {
        self.log.len()
    }

    /// Loses the cache, except for what `keep` says.
    pub fn cut(&mut self, keep: Keep) -> io::Result<()> {
        let log = std::mem::take(&mut self.log);
        let newest = std::mem::take(&mut self.newest);
        let size = self.file.metadata()?.len();
        let write = |offset: u64, data: &[u8]| {
            let len = (size.saturating_sub(offset) as usize).min(data.len());
            self.file.write_all_at(&data[..len], offset)
        };
        match keep {
            Keep::None => {}
            Keep::All => {
                for (&block, &entry) in &newest {
                    write(block * BLOCK as u64, &log[entry].1[..])?;
                }
            }
            Keep::Prefix { seed } => {
                let count = Rng::new(seed).below(log.len() as u64 + 1) as usize;
                for (block, content) in &log[..count] {
                    write(block * BLOCK as u64, &content[..])?;
                }
            }
            Keep::Random { seed } => {
                let mut rng = Rng::new(seed);
                for (block, content) in log.iter().filter(|_| rng.chance(0.5)) {
                    write(block * BLOCK as u64, &content[..])?;
                }
            }
            Keep::Torn { seed } => {
                let mut rng = Rng::new(seed);
                for (block, content) in &log {
                    for (i, sector) in content.chunks(SECTOR).enumerate() {
                        if rng.chance(0.5) {
                            write(block * BLOCK as u64 + (i * SECTOR) as u64, sector)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Splits a request at block limits: block number, offset in the block, range in the request.
fn each_block(offset: u64, len: usize, mut visit: impl FnMut(u64, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let within = (at % BLOCK as u64) as usize;
        let part = (BLOCK - within).min(len - done);
        visit(at / BLOCK as u64, within, done..done + part);
        done += part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bench;
    use proptest::prelude::*;

    const SIZE: usize = 10 * BLOCK + 512;

    fn cache(bench: &Bench) -> Cache {
        let path = bench.dir().join("disk");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
        file.set_len(SIZE as u64).unwrap();
        Cache::new(file)
    }

    fn contents(cache: &Cache) -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        cache.read(0, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn reads_see_writes_and_a_cut_keeps_what_was_flushed(
            writes in proptest::collection::vec((0..SIZE, 1usize..9000, any::<u8>()), 1..20), flush_after in 0usize..20,
        ) {
            let bench = Bench::new("cache");
            let mut cache = cache(&bench);
            let (mut model, mut flushed) = (vec![0; SIZE], vec![0; SIZE]);
            for (i, (start, len, byte)) in writes.into_iter().enumerate() {
                let end = (start + len).min(SIZE);
                cache.write(start as u64, &vec![byte; end - start]).unwrap();
                model[start..end].fill(byte);
                if i == flush_after {
                    cache.flush().unwrap();
                    flushed = model.clone();
                }
            }
            prop_assert!(contents(&cache) == model);
            cache.cut(Keep::None).unwrap();
            prop_assert!(contents(&cache) == flushed);
        }
    }

    #[test]
    fn each_way_of_keeping_keeps_what_it_says() {
        let bench = Bench::new("keep");
        let survivors = |keep| -> Vec<bool> {
            let mut cache = cache(&bench);
            for block in 0..10 {
                cache.write(block * BLOCK as u64, &[1; BLOCK]).unwrap();
            }
            cache.cut(keep).unwrap();
            contents(&cache).chunks(SECTOR).map(|sector| sector == [1; SECTOR]).take(80).collect()
        };
        assert!(survivors(Keep::All).iter().all(|&kept| kept));
        assert!(!survivors(Keep::None).iter().any(|&kept| kept));
        let prefix = survivors(Keep::Prefix { seed: 4 });
        let count = prefix.iter().filter(|&&kept| kept).count();
        assert!(prefix[..count].iter().all(|&kept| kept) && count % 8 == 0, "{count}");
        let random = survivors(Keep::Random { seed: 4 });
        assert!(random.chunks(8).all(|block| block.iter().all(|kept| kept == &block[0])), "blocks are whole");
        let torn = survivors(Keep::Torn { seed: 4 });
        assert!(torn.chunks(8).any(|block| block.iter().any(|kept| kept != &block[0])), "blocks are torn");
        assert_eq!(random, survivors(Keep::Random { seed: 4 }));
    }
}
