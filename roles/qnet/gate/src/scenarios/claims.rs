//! A name that comes from another address: the node with another adapter, or another node (section 9.4).

use super::{PATIENCE, during, end, ensure, furnish, introduce};
use crate::lab::{Lab, Setting};
use crate::wire::Faults;
use keelson_ext4_gate::checks::Result;
use keelson_ext4_gate::list::Case;
use keelson_ext4_gate::random::Random;
use keelson_qnet::client::{File, Files, OpenFlags};
use keelson_qnet::link::LinkAddress;
use keelson_qnet_wire::Errno;
use std::time::Duration;

/// Two ticks, and a moment for what is done when the connection is there.
const AT_ONCE: Duration = Duration::from_millis(420);
/// After this nobody who asks again and again is kept out.
const IN_THE_END: Duration = Duration::from_secs(20);
/// Until a node considers another claim to a name.
const PAUSE: Duration = Duration::from_millis(1_100);

/// Even seeds: the node comes back. Odd ones: another one comes. Every second pair loses a tenth of the frames.
pub fn claims(case: &Case) -> Result<String> {
    let lossy = case.seed / 2 % 2 == 1;
    let lab = Lab::new(&Setting { verbose: case.verbose, ..Setting::new(case.seed, 3) });
    introduce(&lab);
    furnish(&lab, 0, "/file", b"alpha's".to_vec())?;
    furnish(&lab, 1, "/file", b"beta's".to_vec())?;
    let held = open(&lab, 0, "/net/beta/file")?;
    let of_beta = open(&lab, 1, "/net/alpha/file")?;
    if lossy {
        lab.wires[0].set_faults(Faults { loss: 100, ..Faults::default() });
    }
    let said = match case.seed % 2 {
        0 => returned(&lab, case.seed, lossy, held),
        _ => namesake(&lab, lossy, held, of_beta),
    }?;
    end(&lab)?;
    Ok(said)
}

fn open(lab: &Lab, on: usize, path: &'static str) -> Result<File> {
    let files = lab.machine(on).files();
    lab.run(PATIENCE, async move { files.open(path, OpenFlags::READ).await })?.map_err(during("opening"))
}

/// What a node reads of alpha's file, and how long that took.
fn visit(lab: &Lab, from: usize) -> Result<(std::result::Result<Vec<u8>, Errno>, Duration)> {
    let (files, start) = (lab.machine(from).files(), lab.ledger.age());
    let read = lab.run(PATIENCE, async move { whole(files, "/net/alpha/file").await })?;
    Ok((read, lab.ledger.age() - start))
}

async fn whole(files: Files, path: &'static str) -> std::result::Result<Vec<u8>, Errno> {
    files.read_to_end(path, 99).await
}

/// A node visits alpha, again and again if frames are lost.
fn gets_in(lab: &Lab, from: usize, lossy: bool) -> Result<Duration> {
    let start = lab.ledger.age();
    loop {
        let (read, took) = visit(lab, from)?;
        let so_far = lab.ledger.age() - start;
        match read {
            Ok(bytes) if bytes == b"alpha's" => {
                ensure(lossy || took <= AT_ONCE, || format!("in only after {took:?}"))?;
                return Ok(so_far);
            }
            Err(_) if lossy && so_far < IN_THE_END => lab.pass(Duration::from_millis(250)),
            other => return Err(format!("still out after {so_far:?}: {other:?}")),
        }
    }
}

/// Claims to names that alpha looked into, and those that it found right.
fn counted(lab: &Lab) -> (u64, u64) {
    let counters = lab.machine(0).now().network.look(|transport| transport.counters());
    (counters.lr_claims, counters.lr_claims_won)
}

/// A name is asked for three times, each of which is waited for this long.
const UNHEARD: Duration = Duration::from_millis(3 * 200);

/// Beta loses power, and has another adapter when it is there again.
fn returned(lab: &Lab, seed: u64, lossy: bool, held: File) -> Result<String> {
    let beta = lab.machine(1);
    beta.power_off();
    beta.stations[0].1.set_address(LinkAddress::Mac([2, 0, 0, 1, 0, 2]));
    lab.pass(Duration::from_millis(Random::new(seed).below(1_000)));
    beta.power_on();
    let took = gets_in(lab, 1, lossy)?;
    let (_, won) = counted(lab);
    ensure(won == 1, || format!("{won} names were given away"))?;
    let old = lab.run(PATIENCE, async move { held.read_at(0, &mut [0; 9]).await })?;
    ensure(matches!(old, Err(Errno::ESRCH | Errno::EBADF)), || format!("the old file: {old:?}"))?;
    let files = lab.machine(0).files();
    let new = lab.run(PATIENCE, async move { whole(files, "/net/beta/file").await })?;
    ensure(new == Ok(b"beta's".to_vec()), || format!("the other way: {new:?}"))?;
    Ok(format!("in after {took:?}"))
}

/// Gamma is called beta from now on, which is alive and stays what it was to alpha.
fn namesake(lab: &Lab, lossy: bool, held: File, of_beta: File) -> Result<String> {
    let (beta, gamma) = (lab.machine(1), lab.machine(2));
    gamma.now().node.set_host("beta").map_err(during("renaming"))?;
    for _ in 0..5 {
        let (read, took) = visit(lab, 2)?;
        // All three questions for the name may get lost, or their answers: then it is not known who is asked.
        let is_unheard = lossy && read == Err(Errno::ENOENT) && took >= UNHEARD;
        ensure(read == Err(Errno::EHOSTDOWN) || is_unheard, || {
            format!("the namesake reads {read:?} after {took:?}")
        })?;
        ensure(lossy || took < Duration::from_millis(100), || format!("refused only after {took:?}"))?;
        lab.pass(PAUSE);
    }
    let (claims, won) = counted(lab);
    ensure(claims >= 3 && won == 0, || format!("{claims} claims, {won} won"))?;
    // Neither what beta has of alpha nor what alpha has of beta has suffered.
    let both = lab.run(PATIENCE, async move {
        let (mut ours, mut theirs) = ([0; 6], [0; 7]);
        (held.read_at(0, &mut ours).await, of_beta.read_at(0, &mut theirs).await)
    })?;
    ensure(both == (Ok(6), Ok(7)), || format!("files that were open: {both:?}"))?;
    beta.power_off();
    let took = gets_in(lab, 2, lossy)?;
    ensure(counted(lab).1 == 1, || "the name was not given away".into())?;
    gamma.now().node.set_host("gamma").map_err(during("renaming"))?;
    beta.power_on();
    Ok(format!("{claims} claims refused, in {took:?} after its death"))
}
