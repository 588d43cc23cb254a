//! Errors of the device: nothing is written any more, and what was committed is there.

use super::{INODES, image, open, recover, stamp, stamps};
use crate::dev::{Host, Kept, SimDisk};
use keelson_hal::BlockOp;
use keelson_volume::VolumeError;
use std::time::Duration;

/// The n-th write or flush fails, in commits and in checkpoints.
#[test]
fn an_error_ends_all_writing() {
    let start = image(8, &["-b", "1024", "-J", "size=1"]);
    let mut aborts = 0;
    for op in [BlockOp::Write, BlockOp::Flush, BlockOp::WriteThrough] {
        for good in [0, 1, 2, 3, 4, 5, 8, 13, 21, 34, 55, 89, 144] {
            let disk = SimDisk::new(start.clone(), true);
            let disk = if op == BlockOp::WriteThrough { disk.with_write_through() } else { disk };
            let host = Host::new(1);
            let mounted = open(&host, disk.clone());
            let shared = &mounted.shared;
            let before = stamps(&host, &mounted);
            disk.fail(Some((op, good)));
            let (mut acknowledged, mut tried) = (0, 0);
            for round in 1..100 {
                tried = round;
                let all = async {
                    for ino in INODES {
                        shared.change(|engine| stamp(engine, ino, round)).await?;
                    }
                    shared.commit_through(shared.last_change()).await
                };
                match host.run(all) {
                    Ok(()) => acknowledged = round,
                    Err(error) => {
                        assert!(matches!(error, VolumeError::Io | VolumeError::ReadOnly), "{error:?}");
                        break;
                    }
                }
            }
            if tried == acknowledged {
                continue;
            }
            aborts += 1;
            disk.fail(None);
            let events = disk.events();
            let change = host.run(async { shared.change(|engine| stamp(engine, 20, 7)).await });
            assert_eq!(change, Err(VolumeError::ReadOnly));
            let commit = host.run(async { shared.commit_through(tried.wrapping_add(1000)).await });
            assert_eq!(commit, Err(VolumeError::Io));
            host.pass(Duration::from_secs(60));
            assert!(!host.run(async { shared.close_and_wait().await }), "not a clean unmount");
            assert_eq!(disk.events(), events, "{op:?} {good}: something was written after the error");
            assert_eq!(host.handle().live_tasks(), 0);
            for kept in [Kept::All, Kept::Nothing] {
                let (image, _) = disk.after_cut(events, || kept);
                let found = recover(image);
                // Of the round that failed each operation may be there.
                let safe = |index: usize| if acknowledged == 0 { before[index] } else { acknowledged };
                let bad =
                    (0..found.len()).find(|&index| found[index] != safe(index) && found[index] != tried);
                assert_eq!(bad, None, "{op:?} {good}: {acknowledged} were acknowledged, {tried} tried");
            }
        }
    }
    assert!(aborts > 25, "{aborts} errors were met");
}
