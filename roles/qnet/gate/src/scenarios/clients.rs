//! R11, R12 and R22: clients that die, that do not want to wait, and very many of them.

use super::{PATIENCE, during, end, ensure, furnish, introduce};
use crate::caller::Caller;
use crate::lab::{Lab, Setting};
use crate::service::{Kind, Tag, message};
use keelson_exec::TaskHandle;
use keelson_ext4_gate::checks::Result;
use keelson_ext4_gate::list::Case;
use keelson_ext4_gate::random::Random;
use keelson_qnet::client::OpenFlags;
use keelson_qnet_wire::Errno;
use std::time::Duration;

/// R11: a client with open files and a blocked read is killed: by itself, or with its node.
pub fn r11(case: &Case) -> Result<String> {
    let with_node = case.seed % 2 == 1;
    let lab = Lab::new(&Setting { verbose: case.verbose, ..Setting::new(case.seed, 2) });
    introduce(&lab);
    furnish(&lab, 1, "/file", vec![1; 100])?;
    let (files, alpha) = (lab.machine(0).files(), lab.machine(0).now());
    let task = alpha.handle.spawn("client", async move {
        let file = files.open("/net/beta/file", OpenFlags::READ).await;
        let console = files.open("/net/beta/dev/con", OpenFlags::READ).await;
        let service = files.open("/net/beta/dev/name/local/count", OpenFlags::READ).await;
        let (Ok(_file), Ok(console), Ok(service)) = (file, console, service) else { return };
        let tag = Tag { client: 1, connection: 1, number: 1, settled: 0 };
        let block = message(Kind::Block, tag, 0);
        let (mut typed, mut nothing, parts) = ([0; 9], [], [&block[..]]);
        let _ = keelson_exec::join(console.read(&mut typed), service.connection().send(&parts, &mut nothing))
            .await;
    });
    let beta = lab.machine(1).clone();
    let is_blocked = || beta.executed.blocked() == 1 && beta.now().dispatcher.open_files() == 2;
    let blocked = lab.world.run_until(Duration::from_secs(5), is_blocked);
    ensure(blocked && beta.now().kernel.transactions() == 2, || "the client does not wait".into())?;
    if with_node {
        lab.machine(0).power_off();
    } else {
        task.abort();
    }
    let start = lab.ledger.age();
    let is_free = || {
        let running = beta.now();
        beta.executed.blocked() == 0
            && (running.dispatcher.open_files(), running.kernel.transactions()) == (0, 0)
            && running.kernel.server_connections() == 0
    };
    // A dead node is noticed by its silence.
    let limit = Duration::from_secs(if with_node { 31 } else { 1 });
    let free = lab.world.run_until(limit, is_free);
    let took = lab.ledger.age() - start;
    ensure(free, || format!("after {limit:?} the server still has {:?}", beta.left()))?;
    if with_node {
        lab.machine(0).power_on();
    }
    end(&lab)?;
    Ok(format!("free after {took:?}"))
}

/// R12: a client that waits for too long gets EINTR.
pub fn r12(case: &Case) -> Result<String> {
    let lab = Lab::new(&Setting { verbose: case.verbose, ..Setting::new(case.seed, 2) });
    introduce(&lab);
    let (files, handle) = (lab.machine(0).files(), lab.machine(0).now().handle);
    let patience = Duration::from_micros(Random::new(case.seed).below(50_000));
    let start = lab.ledger.age();
    let ended = lab.run(PATIENCE, async move {
        let console = files.open("/net/beta/dev/con", OpenFlags::READ).await?;
        let read = keelson_qnet_wire::io::IoReadWrite { nbytes: 9, ..Default::default() };
        let mut room = [0; 64];
        let read =
            keelson_qnet_wire::io::IoRequest::Read(read).emit(&mut room, keelson_qnet_wire::Endian::Little);
        let (mut typed, len) = ([0; 9], read.map_err(|_| Errno::EMSGSIZE)?);
        let interrupted = handle.sleep(patience);
        let ended = console.connection().send_until(&[&room[..len]], &mut typed, interrupted).await;
        // The connection can be used as before.
        console.stat().await?;
        Ok((ended, console))
    })?;
    let (ended, console) = ended.map_err(during("reading"))?;
    let took = lab.ledger.age() - start;
    ensure(ended == Err(Errno::EINTR), || format!("the read ended with {ended:?}"))?;
    ensure(took < patience + Duration::from_millis(100), || format!("only after {took:?}"))?;
    let left = lab.machine(1).now().kernel.transactions();
    ensure(left == 0, || format!("{left} transactions at the server"))?;
    drop(console);
    end(&lab)?;
    Ok(format!("EINTR after {took:?}"))
}

/// R22: many clients that open, work, and are killed where they stand.
pub fn r22(case: &Case) -> Result<String> {
    let (clients, operations) = if case.full { (64, 10_000) } else { (64, 60) };
    let lab = Lab::new(&Setting { verbose: case.verbose, ..Setting::new(case.seed, 2) });
    introduce(&lab);
    let mut random = Random::new(case.seed ^ 0x7232_3200);
    let handle = lab.machine(0).now().handle;
    let callers: Vec<_> = (0..clients)
        .map(|id| {
            let dice = Random::new(random.number());
            Caller::new(id + 1, lab.machine(1), operations, false, &lab.ledger, dice)
        })
        .collect();
    let start =
        |caller: &std::rc::Rc<Caller>| handle.spawn("caller", caller.clone().run(lab.machine(0).clone()));
    let mut tasks: Vec<TaskHandle> = callers.iter().map(start).collect();
    let mut kills = 0;
    while !tasks.iter().all(TaskHandle::is_finished) && !lab.ledger.has_failed() {
        lab.pass(Duration::from_millis(random.below(40)));
        let victim = random.index(tasks.len());
        if !tasks[victim].is_finished() {
            tasks[victim].abort();
            tasks[victim] = start(&callers[victim]);
            kills += 1;
        }
        ensure(lab.ledger.age() < Duration::from_secs(4 * 3600), || "clients do not come to an end".into())?;
    }
    let most = lab.machine(1).now().kernel.counters().net_server.high;
    end(&lab)?;
    Ok(format!("{} operations, {kills} kills, {most} connections at once", lab.ledger.done()))
}
