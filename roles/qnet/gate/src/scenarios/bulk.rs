//! R1 to R3 and R6: much data on bad wires.

use super::{PATIENCE, content, copy, during, end, ensure, fetched, furnish, introduce};
use crate::lab::{Lab, Setting};
use crate::service::{HEAD, Kind, REPLY_HEAD, Tag, hash, message};
use crate::wire::Faults;
use keelson_ext4_gate::checks::Result;
use keelson_ext4_gate::list::Case;
use keelson_qnet::client::{Files, OpenFlags};
use keelson_qnet::l4::Options;
use keelson_qnet_wire::Errno;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Loss of each test, of 1000 frames.
const LOSSES: [u32; 4] = [10, 50, 100, 200];
/// Seeds of R1 that copy all of 16 MiB; the others copy a sixteenth.
const WHOLE: u64 = 4;

fn patient() -> Options {
    // At 20 % one message in a million runs out of retransmissions, and one handshake in ten fails (section 7.8).
    Options { tx_retries: 12, conn_est_retries: 12, ..Options::default() }
}

/// Frames of the copies, there and back, and what was counted.
struct Copied {
    frames: u64,
    retransmits: u64,
    bad_crc: u64,
}

fn copied(setting: Setting, len: usize) -> Result<Copied> {
    let lab = Lab::new(&setting);
    introduce(&lab);
    let bytes = content(setting.seed, len);
    furnish(&lab, 0, "/here", bytes.clone())?;
    let before: u64 = lab.wires[0].frames();
    lab.wires[0].set_faults(setting.faults);
    for (from, to) in [("/here", "/net/beta/there"), ("/net/beta/there", "/back")] {
        let copied = lab.run(PATIENCE, copy(lab.machine(0).files(), from, to))?.map_err(during("copying"))?;
        ensure(copied == len as u64, || format!("{copied} bytes copied, not {len}"))?;
    }
    let frames = lab.wires[0].frames() - before;
    for (node, path) in [(1, "/there"), (0, "/back")] {
        ensure(fetched(&lab, node, path)? == bytes, || {
            format!("{path} of node {node} is not what was copied")
        })?;
    }
    let mut copied = Copied { frames, retransmits: 0, bad_crc: 0 };
    for machine in &lab.machines {
        let running = machine.now();
        let counters = running.network.look(|transport| transport.counters());
        copied.retransmits += counters.retransmits;
        copied.bad_crc += counters.rxd_bad_crc;
        let downs = counters.nd_down + running.kernel.counters().nd_down;
        ensure(downs == 0, || format!("{} lost a connection", machine.name))?;
    }
    end(&lab)?;
    Ok(copied)
}

/// R1.
pub fn r1(case: &Case) -> Result<String> {
    let len = if case.full || case.seed < WHOLE { 16 << 20 } else { 1 << 20 };
    let loss = LOSSES[case.seed as usize % LOSSES.len()];
    let setting = |loss| Setting {
        options: patient(),
        faults: Faults { loss, ..Faults::default() },
        verbose: case.verbose,
        ..Setting::new(case.seed, 2)
    };
    let (clean, lossy) = (copied(setting(0), len)?, copied(setting(loss), len)?);
    ensure(clean.retransmits == 0, || format!("{} retransmissions without loss", clean.retransmits))?;
    ensure(lossy.retransmits > 0, || "no retransmission".into())?;
    let (frames, usual) = (lossy.frames, clean.frames);
    ensure(frames * 2 < usual * 5, || format!("{frames} frames with loss, {usual} without"))?;
    Ok(format!("{len} bytes each way at {loss} permille: {frames} frames, {usual} without loss"))
}

/// R6: with CRC nothing damaged gets through.
pub fn r6(case: &Case) -> Result<String> {
    let setting = Setting {
        options: Options { do_crc: true, enforce_crc: true, ..patient() },
        faults: Faults { corrupt: 10, ..Faults::default() },
        verbose: case.verbose,
        ..Setting::new(case.seed, 2)
    };
    let copied = copied(setting, 1 << 20)?;
    ensure(copied.bad_crc > 0, || "nothing was damaged".into())?;
    Ok(format!("{} frames, {} of them damaged", copied.frames, copied.bad_crc))
}

/// R2: 10,000 pulses while frames are doubled.
pub fn r2(case: &Case) -> Result<String> {
    let count = if case.full { 10_000 } else { 2_000 };
    let setting = Setting {
        faults: Faults { duplicate: 50, ..Faults::default() },
        verbose: case.verbose,
        ..Setting::new(case.seed, 2)
    };
    let lab = Lab::new(&setting);
    introduce(&lab);
    let (files, handle) = (lab.machine(0).files(), lab.machine(0).now().handle);
    let sent = lab.run(PATIENCE, async move {
        let service = files.open("/net/beta/dev/name/local/count", OpenFlags::READ_WRITE).await?;
        let tag = Tag { client: 1, connection: 1, number: 1, settled: 0 };
        service.connection().send(&[&message(Kind::Count, tag, 0)], &mut [0; REPLY_HEAD]).await?;
        for value in 1..=count {
            while let Err(errno) = service.connection().pulse(10, 1, value) {
                if errno != Errno::EAGAIN {
                    return Err(errno);
                }
                handle.sleep(Duration::from_micros(100)).await;
            }
            // A channel keeps 256 pulses for a server that is busy.
            if value % 100 == 0 {
                handle.sleep(Duration::from_millis(1)).await;
            }
        }
        let tag = Tag { number: 2, settled: 1, ..tag };
        service.connection().send(&[&message(Kind::Count, tag, 0)], &mut [0; REPLY_HEAD]).await?;
        service.close().await
    })?;
    sent.map_err(during("sending pulses"))?;
    let arrived = lab.machine(1).executed.pulses(1, 1);
    ensure(arrived == count as u32, || format!("{arrived} of {count} pulses arrived"))?;
    let counters = lab.machine(1).now().network.look(|transport| transport.counters());
    ensure(counters.dup_rx > 0, || "nothing was doubled".into())?;
    end(&lab)?;
    Ok(format!("{count} pulses, {} frames twice", counters.dup_rx))
}

/// Replies that were not what was sent.
type Sent = std::result::Result<usize, Errno>;

/// One thread of R3.
async fn echoes(files: Files, client: u32, count: u32) -> Sent {
    let service = files.open("/net/beta/dev/name/local/count", OpenFlags::READ_WRITE).await?;
    let mut wrong = 0;
    for number in 1..=count {
        let tag = Tag { client, connection: 1, number, settled: number - 1 };
        let bytes = message(Kind::Echo, tag, 20_000 - HEAD);
        let mut reply = vec![0; REPLY_HEAD + bytes.len()];
        let (_, len) = service.connection().send(&[&bytes], &mut reply).await?;
        let right = len == reply.len()
            && reply[HEAD..REPLY_HEAD] == hash(&bytes).to_le_bytes()
            && reply[REPLY_HEAD..] == bytes;
        wrong += usize::from(!right);
    }
    service.close().await.map(|()| wrong)
}

/// R3: messages of 20 kB while frames overtake each other by up to 3 ms.
pub fn r3(case: &Case) -> Result<String> {
    let count = if case.full { 1_000 } else { 150 };
    let setting = Setting {
        faults: Faults { delay: (200, 3_200), ..Faults::default() },
        verbose: case.verbose,
        ..Setting::new(case.seed, 2)
    };
    let lab = Lab::new(&setting);
    introduce(&lab);
    // Five threads, each with its own connection, so that several messages are on their way.
    let threads: Vec<Rc<Cell<Option<Sent>>>> = (1..=5)
        .map(|client| {
            let (files, sent) = (lab.machine(0).files(), Rc::new(Cell::new(None)));
            let slot = sent.clone();
            lab.world
                .handle()
                .spawn("thread", async move { slot.set(Some(echoes(files, client, count / 5).await)) });
            sent
        })
        .collect();
    let is_done = || {
        threads.iter().all(|thread| {
            let sent = thread.take();
            thread.set(sent);
            sent.is_some()
        })
    };
    ensure(lab.world.run_until(PATIENCE, is_done), || "no end".into())?;
    for thread in &threads {
        let wrong = thread.take().unwrap_or(Ok(0)).map_err(during("sending messages"))?;
        ensure(wrong == 0, || format!("{wrong} replies are not what was sent"))?;
    }
    let counters =
        [0, 1].map(|node: usize| lab.machine(node).now().network.look(|transport| transport.counters()));
    let [early, nacks, again] = [0, 1, 2].map(|which| {
        counters
            .iter()
            .map(|counters| [counters.rx_seq_order, counters.nacks_tx, counters.retransmits][which])
            .sum::<u64>()
    });
    ensure(early > 0, || "nothing came out of order".into())?;
    // Each message is pulled and echoed in pieces: five messages of the transport.
    ensure(nacks * 10 < u64::from(count) * 5, || format!("{nacks} NACKs for nothing in {count} messages"))?;
    end(&lab)?;
    Ok(format!(
        "{count} messages, {early} fragments early, {nacks} NACKs and {again} retransmissions for nothing"
    ))
}
