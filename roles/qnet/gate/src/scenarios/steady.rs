//! R25, and the memory of pools: the same work again and again takes no more and no longer.

use super::{during, end, ensure, introduce};
use crate::caller::Caller;
use crate::errors::LONGEST;
use crate::files::FileProcess;
use crate::lab::{Lab, Setting};
use crate::wire::Faults;
use keelson_ext4_gate::checks::Result;
use keelson_ext4_gate::heap;
use keelson_ext4_gate::list::Case;
use keelson_ext4_gate::random::Random;
use keelson_qnet::l4::Options;
use std::time::Duration;

/// Bytes by which the heap of a world may grow: queues that have become longer once.
const SLACK: usize = 256 << 10;

/// Rounds of mixed work at 1 % loss, each to its end; the heap at rest does not grow.
pub fn steady(case: &Case) -> Result<String> {
    let rounds = if case.full { 200 } else { 24 };
    let setting = Setting {
        faults: Faults { loss: 10, ..Faults::default() },
        options: Options { conn_est_retries: 8, ..Options::default() },
        verbose: case.verbose,
        ..Setting::new(case.seed, 3)
    };
    let lab = Lab::new(&setting);
    introduce(&lab);
    let mut heaps = Vec::new();
    for round in 0..rounds {
        work(&lab, round, case.seed)?;
        // As long as idle connections stay.
        end(&lab)?;
        heaps.push(heap::now());
    }
    // The observer remembers what was executed; by itself a round leaves nothing.
    let (early, late) = (heaps[rounds / 2], heaps[rounds - 1]);
    let each = late.saturating_sub(early) / (rounds - rounds / 2 - 1);
    ensure(each < SLACK / 8, || format!("{each} bytes more each round: {heaps:?}"))?;
    Ok(format!("{rounds} rounds, heap {} kB, then {} kB", early / 1024, late / 1024))
}

fn work(lab: &Lab, round: usize, seed: u64) -> Result {
    // The same in every round, but for the numbers of clients.
    let mut random = Random::new(seed);
    let mut tasks = Vec::new();
    for client in 0..6_u32 {
        let (home, target) = (lab.machine(client as usize % 3), lab.machine((client as usize + 1) % 3));
        let dice = Random::new(random.number());
        let handle = home.now().handle;
        tasks.push(if client % 2 == 0 {
            let id = client + 1 + 10 * round as u32;
            handle.spawn("caller", Caller::new(id, target, 60, true, &lab.ledger, dice).run(home.clone()))
        } else {
            let files = FileProcess::new(format!("s{client}-{round}"), target, 30, true, &lab.ledger, dice);
            handle.spawn("files", files.run(home.clone()))
        });
    }
    let done = lab.world.run_until(Duration::from_secs(600), || tasks.iter().all(|task| task.is_finished()));
    ensure(done, || "clients do not come to an end".into())?;
    for client in [1, 3, 5] {
        clear(lab, (client + 1) % 3, format!("/s{client}-{round}"))?;
    }
    Ok(())
}

/// Removes a process's files at their own node.
fn clear(lab: &Lab, node: usize, directory: String) -> Result {
    let files = lab.machine(node).files();
    let cleared = lab.run(LONGEST, async move {
        for item in files.read_dir(&directory).await? {
            if !item.name.starts_with('.') {
                files.unlink(&format!("{directory}/{}", item.name)).await?;
            }
        }
        files.rmdir(&directory).await
    })?;
    cleared.map_err(during("removing files"))
}
