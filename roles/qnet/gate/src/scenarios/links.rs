//! R18 and R24: interfaces and cables that come and go.

use super::{PATIENCE, content, copy, during, end, ensure, fetched, furnish, introduce};
use crate::lab::{Lab, Setting};
use keelson_ext4_gate::checks::Result;
use keelson_ext4_gate::list::Case;
use keelson_ext4_gate::random::Random;
use keelson_qnet_wire::Errno;
use std::time::Duration;

/// R18: an interface is unmounted during a transfer, with another one and without.
pub fn r18(case: &Case) -> Result<String> {
    let wires = 1 + (case.seed % 2) as usize;
    let lab = Lab::new(&Setting { wires, verbose: case.verbose, ..Setting::new(case.seed, 2) });
    introduce(&lab);
    let len = 2 << 20;
    let bytes = content(case.seed, len);
    furnish(&lab, 1, "/large", bytes.clone())?;
    let mut random = Random::new(case.seed);
    let victim = lab.machine(random.index(2)).clone();
    let (delay, wire) = (Duration::from_micros(2_000 + random.below(15_000)), random.index(wires));
    let by = victim.name;
    let gone = victim.clone();
    lab.world.after(delay, move || gone.unplug(wire));
    let start = lab.ledger.age();
    let copied = lab.run(PATIENCE, copy(lab.machine(0).files(), "/net/beta/large", "/copy"))?;
    let took = lab.ledger.age() - start;
    if wires == 2 {
        ensure(copied == Ok(len as u64), || format!("with another link: {copied:?}"))?;
        ensure(fetched(&lab, 0, "/copy")? == bytes, || "the copy is not the file".into())?;
        ensure(took < Duration::from_secs(4), || format!("it took {took:?}"))?;
    } else {
        let fits = matches!(copied, Err(Errno::ENETDOWN | Errno::ESRCH));
        ensure(fits && took < Duration::from_secs(7), || {
            format!("without a link: {copied:?} after {took:?}")
        })?;
    }
    victim.plug(wire);
    // A node that failed is left alone for a tick (section 6.3).
    lab.pass(Duration::from_millis(250));
    let again = lab.run(PATIENCE, copy(lab.machine(0).files(), "/net/beta/large", "/copy"))?;
    again.map_err(during("copying when it is back"))?;
    end(&lab)?;
    Ok(format!("{wires} links, {by} lost one: {copied:?} after {took:?}"))
}

/// R24: the cable is out and back; asked to, what waits is sent at once.
pub fn r24(case: &Case) -> Result<String> {
    let lab = Lab::new(&Setting { verbose: case.verbose, ..Setting::new(case.seed, 2) });
    introduce(&lab);
    furnish(&lab, 1, "/file", vec![1])?;
    let files = lab.machine(0).files();
    let first = files.clone();
    let listed = lab.run(PATIENCE, async move { first.read_dir("/net/beta").await })?;
    listed.map_err(during("listing"))?;
    let station = lab.machine(0).stations[0].1.clone();
    station.set_cut(true);
    let running = lab.machine(0).now();
    let task = {
        let done = std::rc::Rc::new(std::cell::RefCell::new(None));
        let slot = done.clone();
        running.handle.spawn("ls", async move {
            let listed = files.read_dir("/net/beta").await;
            *slot.borrow_mut() = Some(listed);
        });
        done
    };
    // Retransmissions are a second apart by now.
    lab.pass(Duration::from_millis(2_600 + Random::new(case.seed).below(300)));
    ensure(task.borrow().is_none(), || "ls does not wait".into())?;
    station.set_cut(false);
    let start = lab.ledger.age();
    running.directory.flush();
    let back = lab.world.run_until(Duration::from_secs(1), || task.borrow().is_some());
    let took = lab.ledger.age() - start;
    ensure(back && took < Duration::from_millis(20), || format!("ls is back {back} after {took:?}"))?;
    let listed = task.borrow_mut().take();
    ensure(matches!(listed, Some(Ok(_))), || format!("ls says {listed:?}"))?;
    end(&lab)?;
    Ok(format!("back after {took:?}"))
}
