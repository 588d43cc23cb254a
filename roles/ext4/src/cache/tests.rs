//! The cache against a plain array, and what goes over the wire.

use super::*;
use crate::dev::{NoRest, Seed, SimDisk};
use keelson_hal::{BlockOp, Entropy};

fn cache_of(disk: &Rc<SimDisk>, limit: usize) -> PageCache {
    PageCache::new(disk.clone(), Rc::new(NoRest), limit)
}

#[test]
fn behaves_like_an_array() {
    // Not a multiple of the page, and larger than the cache.
    let length = LEAST_PAGES * PAGE * 2 + 1536;
    let disk = SimDisk::new(vec![0; length], false);
    let mut cache = cache_of(&disk, 0);
    let mut model = vec![0; length];
    let random = Seed::new(5);
    for round in 0..4000 {
        let start = random.below(length as u64 / 512) as usize * 512;
        let bytes = ((1 + random.below(40)) as usize * 512).min(length - start);
        match random.below(8) {
            0..4 => {
                let data = vec![round as u8; bytes];
                cache.write(start as u64, &data).expect("write");
                model[start..start + bytes].copy_from_slice(&data);
            }
            4..7 => {
                let mut data = vec![0; bytes];
                cache.read(start as u64, &mut data).expect("read");
                assert!(data == model[start..start + bytes], "round {round}");
            }
            _ => cache.flush().expect("flush"),
        }
        assert!(cache.pages.len() <= LEAST_PAGES + 64, "{} pages", cache.pages.len());
    }
    cache.flush().expect("flush");
    assert!(disk.image() == model);
    assert!(random.next_u64() != 0);
}

#[test]
fn adjacent_writes_become_one_request() {
    let disk = SimDisk::new(vec![0; 1 << 20], false);
    let mut cache = cache_of(&disk, 0);
    for page in (0..64).rev() {
        cache.write(page * PAGE as u64, &[1; PAGE]).expect("write");
    }
    cache.flush().expect("flush");
    assert_eq!((cache.counters().writes, cache.counters().flushes), (1, 1));
    cache.flush().expect("flush");
    assert_eq!(cache.counters().writes, 1, "nothing is written twice");
}

/// The queue is full of writes that nobody collected yet when something must be read, and a read needs more
/// places than there are.
#[test]
fn a_full_queue_is_emptied() {
    let disk = SimDisk::new(vec![7; 32 << 20], false);
    let mut cache = cache_of(&disk, 64 << 20);
    for page in (0..4 * WRITE_BEHIND as u64).map(|index| index * 2) {
        cache.write(page * PAGE as u64, &[1; PAGE]).expect("write");
    }
    let mut all = vec![0; 16 << 20];
    cache.read(16 << 20, &mut all).expect("read");
    assert!(all.iter().all(|byte| *byte == 7));
    cache.flush().expect("flush");
}

#[test]
fn sequential_reads_are_read_ahead() {
    let disk = SimDisk::new(vec![0; 2 << 20], false);
    let mut cache = cache_of(&disk, 4 << 20);
    let mut buffer = [0; PAGE];
    for page in 0..512 {
        cache.read(page * PAGE as u64, &mut buffer).expect("read");
    }
    assert!(cache.counters().reads < 40, "{} requests", cache.counters().reads);
    assert_eq!(cache.counters().read_bytes, 2 << 20, "nothing is read twice");
}

#[test]
fn a_failed_background_write_is_told_once() {
    let disk = SimDisk::new(vec![0; 1 << 20], false);
    let mut cache = cache_of(&disk, 0);
    cache.write(0, &[1; PAGE]).expect("write");
    disk.fail(Some((BlockOp::Write, 0)));
    assert_eq!(cache.flush(), Err(BlockError::Io));
    disk.fail(None);
    assert_eq!(cache.flush(), Ok(()));
    let mut buffer = [9; 512];
    cache.read(0, &mut buffer).expect("read");
    assert_eq!(buffer, [0; 512], "what was lost is not shown as written");
}

#[test]
fn the_device_ends_where_it_ends() {
    let disk = SimDisk::new(vec![0; 8192], false);
    let mut cache = cache_of(&disk, 0);
    assert_eq!(cache.read(8192, &mut [0; 512]), Err(BlockError::OutOfRange));
    assert_eq!(cache.write(u64::MAX - 10, &[0; 512]), Err(BlockError::OutOfRange));
}

#[test]
fn bitmaps_keep_their_padding() {
    let disk = SimDisk::new(vec![0; 65536], false);
    let mut cache = cache_of(&disk, 0);
    cache.pad_bitmap(4096 + 1000, 8192);
    cache.write(4096, &[0; 4096]).expect("write");
    let mut bitmap = [0; 4096];
    cache.read(4096, &mut bitmap).expect("read");
    assert!(bitmap[..1000].iter().all(|&byte| byte == 0) && bitmap[1000..].iter().all(|&byte| byte == 0xFF));
}
