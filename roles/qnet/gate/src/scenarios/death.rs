//! R7 to R9: nodes that die and come back.

use super::{PATIENCE, content, during, end, ensure, furnish, introduce, lists};
use crate::defects::Defect;
use crate::errors::LONGEST;
use crate::lab::{Lab, Setting};
use keelson_ext4_gate::checks::Result;
use keelson_ext4_gate::list::Case;
use keelson_ext4_gate::random::Random;
use keelson_qnet::client::OpenFlags;
use keelson_qnet::l4::Options;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::l4::{Kind, Packet};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// `conn_up_idle` and what section 26 adds to it.
const NOTICED: Duration = Duration::from_secs(17);

/// R7: the other node dies while 1 MiB is being read.
pub fn r7(case: &Case) -> Result<String> {
    let lab = Lab::new(&Setting { verbose: case.verbose, ..Setting::new(case.seed, 2) });
    introduce(&lab);
    furnish(&lab, 1, "/large", content(case.seed, 1 << 20))?;
    let mut random = Random::new(case.seed);
    let delay = Duration::from_micros(random.below(8_000));
    let files = lab.machine(0).files();
    let opened = lab.run(PATIENCE, async move { files.open("/net/beta/large", OpenFlags::READ).await })?;
    let file = opened.map_err(during("opening"))?;
    let beta = lab.machine(1).clone();
    lab.world.after(delay, move || beta.power_off());
    let start = lab.ledger.age();
    let read = lab.run(PATIENCE, async move {
        let mut room = vec![0; 1 << 20];
        let mut result = Ok(0);
        // Until it dies.
        while result.is_ok() {
            result = file.read_at(0, &mut room).await;
        }
        (result, file.read_at(0, &mut room).await)
    })?;
    let took = lab.ledger.age() - start - delay;
    ensure(read == (Err(Errno::ESRCH), Err(Errno::EBADF)), || format!("errors are {read:?}"))?;
    ensure(took <= Duration::from_secs(7), || format!("only after {took:?}"))?;
    ensure(!lists(&lab, 0, 1), || "beta is listed".into())?;
    let files = lab.machine(0).files();
    let again =
        lab.run(PATIENCE, async move { files.open("/net/beta/large", OpenFlags::READ).await.err() })?;
    ensure(matches!(again, Some(Errno::EHOSTDOWN | Errno::ENOENT)), || format!("opening again: {again:?}"))?;
    lab.machine(1).power_on();
    end(&lab)?;
    Ok(format!("ESRCH after {took:?}"))
}

/// A client waits for a server, and says nothing itself, when that dies (section 7.5): 2 s of silence, then the
/// retransmissions of a heartbeat.
pub fn blocked(seed: u64, defect: Option<Defect>, verbose: bool) -> Result<String> {
    let lab = Lab::new(&Setting { defect, verbose, ..Setting::new(seed, 2) });
    introduce(&lab);
    let (files, ended) = (lab.machine(0).files(), Rc::new(RefCell::new(None)));
    let slot = ended.clone();
    lab.machine(0).now().handle.spawn("reader", async move {
        let console = match files.open("/net/beta/dev/con", OpenFlags::READ).await {
            Ok(console) => console,
            Err(errno) => return *slot.borrow_mut() = Some(Err(errno)),
        };
        let read = console.read(&mut [0; 9]).await;
        *slot.borrow_mut() = Some(read);
    });
    lab.pass(Duration::from_millis(500 + Random::new(seed).below(9_000)));
    ensure(ended.borrow().is_none(), || format!("the read ended: {ended:?}"))?;
    lab.machine(1).power_off();
    let start = lab.ledger.age();
    lab.world.run_until(LONGEST, || ended.borrow().is_some());
    let took = lab.ledger.age() - start;
    ensure(*ended.borrow() == Some(Err(Errno::ESRCH)), || format!("the read ended: {ended:?}"))?;
    ensure(took < Duration::from_millis(6_600), || format!("only after {took:?}"))?;
    lab.machine(1).power_on();
    end(&lab)?;
    Ok(format!("ESRCH after {took:?}"))
}

/// A server that hears its clients and cannot open the connection back: they are told, and do not wait for ever.
pub fn one_way(case: &Case) -> Result<String> {
    let options = Options { eager_reverse: case.seed.is_multiple_of(2), ..Options::default() };
    let lab = Lab::new(&Setting { options, verbose: case.verbose, ..Setting::new(case.seed, 2) });
    introduce(&lab);
    furnish(&lab, 1, "/file", b"content".to_vec())?;
    let is_init = |packet: &Packet<'_>| packet.header.kind == Kind::TcsInit;
    lab.wires[0].set_judge(move |seen| seen.from == 0 || !seen.packet.as_ref().is_some_and(is_init));
    let files = lab.machine(0).files();
    let start = lab.ledger.age();
    let opened =
        lab.run(LONGEST, async move { files.open("/net/beta/file", OpenFlags::READ).await.err() })?;
    let took = lab.ledger.age() - start;
    ensure(opened == Some(Errno::ESRCH), || format!("opening: {opened:?}"))?;
    ensure(took < Duration::from_secs(7), || format!("only after {took:?}"))?;
    lab.wires[0].clear_judge();
    lab.pass(Duration::from_millis(250));
    let files = lab.machine(0).files();
    let read = lab.run(LONGEST, async move { files.read_to_end("/net/beta/file", 99).await })?;
    ensure(read == Ok(b"content".to_vec()), || format!("when both ways work: {read:?}"))?;
    end(&lab)?;
    Ok(format!("ESRCH after {took:?}"))
}

/// R8: an idle node dies. With a session that is noticed, without one it is not.
pub fn r8(case: &Case) -> Result<String> {
    let lab = Lab::new(&Setting { verbose: case.verbose, ..Setting::new(case.seed, 3) });
    introduce(&lab);
    furnish(&lab, 1, "/file", vec![1])?;
    // A file that stays open is a session; gamma is only known.
    let files = lab.machine(0).files();
    let opened = lab.run(PATIENCE, async move { files.open("/net/beta/file", OpenFlags::READ).await })?;
    let file = opened.map_err(during("opening"))?;
    let idle = Duration::from_millis(Random::new(case.seed).below(12_000));
    lab.pass(idle);
    lab.machine(1).power_off();
    lab.machine(2).power_off();
    let start = lab.ledger.age();
    let gone = lab.world.run_until(NOTICED, || !lists(&lab, 0, 1));
    let took = lab.ledger.age() - start;
    ensure(gone, || format!("beta is listed after {NOTICED:?}"))?;
    ensure(!file.connection().is_alive(), || "its file is alive".into())?;
    lab.pass(Duration::from_secs(60));
    ensure(lists(&lab, 0, 2), || "gamma went by itself".into())?;
    let files = lab.machine(0).files();
    let stat = lab.run(PATIENCE, async move { files.stat("/net/gamma").await.err() })?;
    ensure(stat == Some(Errno::EHOSTDOWN), || format!("stat of gamma: {stat:?}"))?;
    ensure(!lists(&lab, 0, 2), || "gamma is listed after stat".into())?;
    drop(file);
    lab.machine(1).power_on();
    lab.machine(2).power_on();
    end(&lab)?;
    Ok(format!("idle for {idle:?}, noticed after {took:?}"))
}

/// R9: a node is there again within a second.
pub fn r9(case: &Case) -> Result<String> {
    let lab = Lab::new(&Setting { verbose: case.verbose, ..Setting::new(case.seed, 2) });
    introduce(&lab);
    furnish(&lab, 1, "/file", b"content".to_vec())?;
    let files = lab.machine(0).files();
    let opened = lab.run(PATIENCE, async move {
        let first = files.open("/net/beta/file", OpenFlags::READ).await?;
        let second = files.open("/net/beta/file", OpenFlags::READ).await?;
        let mut room = [0; 7];
        first.read_at(0, &mut room).await?;
        Ok((first, second))
    })?;
    let (first, second) = opened.map_err(during("opening"))?;
    // The server has clients of the other node too.
    let back = lab.machine(1).files();
    let own = lab.run(PATIENCE, async move { back.open("/net/alpha/", OpenFlags::READ).await })?;
    drop(own.map_err(during("opening the other way"))?);
    lab.machine(1).power_off();
    lab.pass(Duration::from_millis(Random::new(case.seed).below(1_000)));
    lab.machine(1).power_on();
    let read = lab.run(Duration::from_secs(8), async move {
        let mut room = [0; 7];
        (first.read_at(0, &mut room).await, second.read_at(0, &mut room).await)
    })?;
    let is_gone =
        |result: &std::result::Result<usize, Errno>| matches!(result, Err(Errno::ESRCH | Errno::EBADF));
    ensure(is_gone(&read.0) && is_gone(&read.1), || format!("old files: {read:?}"))?;
    let files = lab.machine(0).files();
    let again =
        lab.run(Duration::from_secs(8), async move { files.read_to_end("/net/beta/file", 99).await })?;
    ensure(again == Ok(b"content".to_vec()), || format!("a new open: {again:?}"))?;
    end(&lab)?;
    Ok("old files are gone, new ones work".into())
}
