//! R22 of section 26 at this layer: many clients, many connections, random deaths; counters return to baseline.

use crate::world::{World, delayed, root, send, user};
use keelson_qnet::api::{Connection, Kernel, KernelConfig};
use keelson_qnet_wire::{Errno, Nd};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

#[derive(Clone)]
struct Dice(Rc<Cell<u64>>);

impl Dice {
    fn roll(&self, sides: u64) -> u64 {
        self.0.set(
            self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407),
        );
        (self.0.get() >> 33) % sides
    }
}

#[derive(Default)]
struct Outcome {
    done: Cell<usize>,
    failed: Cell<usize>,
    wrong: Cell<usize>,
}

/// Opens, works and closes, again and again.
async fn client(kernel: Kernel, nds: Vec<Nd>, rounds: usize, dice: Dice, outcome: Rc<Outcome>) {
    for _ in 0..rounds {
        let nd = nds[dice.roll(nds.len() as u64) as usize];
        let result = async {
            let limit = Duration::from_secs(8);
            let who = user(dice.roll(5) as u32);
            let connecting = kernel.connect(nd, 1, 1, &who);
            let connection = kernel.executor().timeout(limit, connecting).await.expect("connecting hangs")?;
            for _ in 0..dice.roll(4) {
                work(&kernel, &connection, &dice, &outcome).await?;
            }
            Ok::<(), Errno>(())
        };
        match result.await {
            Ok(()) => outcome.done.set(outcome.done.get() + 1),
            Err(_) => outcome.failed.set(outcome.failed.get() + 1),
        }
        kernel.executor().sleep(Duration::from_micros(dice.roll(3000))).await;
    }
}

async fn work(kernel: &Kernel, connection: &Connection, dice: &Dice, outcome: &Outcome) -> Result<(), Errno> {
    let limit = Duration::from_micros(dice.roll(40_000));
    match dice.roll(6) {
        0 => {
            let _ = kernel.executor().timeout(limit, send(connection, b"b", 9)).await;
        }
        1 => {
            let interrupted = kernel.executor().sleep(limit);
            let sent = connection.send_until(&[b"b"], &mut [], interrupted).await;
            if sent != Err(Errno::EINTR) {
                sent?;
            }
        }
        2 => connection.pulse(dice.roll(64) as u8, 1, 2).or_else(|errno| match errno {
            Errno::EAGAIN => Ok(()),
            errno => Err(errno),
        })?,
        3 => connection.set_credentials(&user(9)),
        kind => {
            let len = [10, 9000, 70_000][dice.roll(3) as usize];
            let mut message: Vec<u8> = (0..len).map(|at| (at as u64 ^ dice.0.get()) as u8).collect();
            message[0] = b"ew"[kind as usize % 2];
            let sent =
                kernel.executor().timeout(Duration::from_secs(8), send(connection, &message, len)).await;
            let (status, reply) = sent.expect("a send hangs")?;
            let right = status == len as i32 && reply == message;
            outcome.wrong.set(outcome.wrong.get() + usize::from(!right));
        }
    }
    Ok(())
}

/// Seeds to try: `QNET_KIF_SEEDS=from..to` instead of the usual ones.
fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("QNET_KIF_SEEDS").ok();
    let range = given
        .as_ref()
        .and_then(|given| given.split_once(".."))
        .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or(0..12)
}

/// Sixty-four clients on three nodes; nodes crash and boot, directions break.
#[test]
fn many_clients_and_random_deaths() {
    for seed in seeds() {
        println!("seed {seed}");
        let world = World::with(3, delayed(seed), KernelConfig::default());
        let dice = Dice(Rc::new(Cell::new(seed)));
        let outcome = Rc::new(Outcome::default());
        let mut tasks: Vec<Vec<keelson_exec::TaskHandle>> = (0..3).map(|_| Vec::new()).collect();
        let mut servers: Vec<_> = (0..3).map(|node| world.serve(node)).collect();
        let start = |node: usize, count: usize| -> Vec<_> {
            let nds: Vec<Nd> = (0..3).map(|other| world.nd(other, node)).collect();
            (0..count)
                .map(|_| {
                    let (kernel, nds) = (world.kernel(node), nds.clone());
                    world.spawn(client(kernel, nds, 40, dice.clone(), outcome.clone()))
                })
                .collect()
        };
        for (node, place) in tasks.iter_mut().enumerate() {
            *place = start(node, [22, 21, 21][node]);
        }
        for _ in 0..20 {
            world.pass(Duration::from_millis(dice.roll(200)));
            let node = dice.roll(3) as usize;
            match dice.roll(4) {
                0 => {
                    world.crash(node);
                    tasks[node].drain(..).for_each(|task| task.abort());
                    servers[node].abort();
                    world.pass(Duration::from_millis(dice.roll(600)));
                    world.boot(node);
                    servers[node] = world.serve(node);
                    tasks[node] = start(node, 10);
                }
                1 => world.network.cut(node, (node + 1 + dice.roll(2) as usize) % 3),
                2 => {
                    // The server ends and starts again: the channel has another number, so that clients fail.
                    let victim = dice.roll(tasks[node].len().max(1) as u64) as usize;
                    if let Some(task) = tasks[node].get(victim) {
                        task.abort();
                    }
                }
                _ => {}
            }
        }
        for _ in 0..600 {
            world.pass(Duration::from_millis(500));
            if tasks.iter().flatten().all(|task| task.is_finished()) {
                break;
            }
        }
        assert!(tasks.iter().flatten().all(|task| task.is_finished()), "seed {seed} hangs");
        world.pass(Duration::from_secs(8));
        assert_eq!(outcome.wrong.get(), 0, "seed {seed}");
        assert!(outcome.done.get() > 200 && outcome.failed.get() > 0, "seed {seed}: {}", outcome.done.get());
        world.assert_baseline();
    }
}

/// Without deaths nothing fails, and a thousand opens of each client leave nothing.
#[test]
fn a_thousand_opens_each() {
    let world = World::with(2, delayed(99), KernelConfig::default());
    let server = world.serve(1);
    let failures = Rc::new(Cell::new(0));
    let tasks: Vec<_> = (0..60)
        .map(|_| {
            let (kernel, nd, failures) = (world.kernel(0), world.nd(1, 0), failures.clone());
            world.spawn(async move {
                for _ in 0..1000 {
                    let opened = kernel.connect(nd, 1, 1, &root()).await;
                    let sent = match &opened {
                        Ok(connection) => connection.send(&[b"?"], &mut []).await,
                        Err(errno) => Err(*errno),
                    };
                    failures.set(failures.get() + usize::from(sent != Ok((-1, 0))));
                }
            })
        })
        .collect();
    while !tasks.iter().all(|task| task.is_finished()) {
        world.settle();
    }
    world.settle();
    assert_eq!((failures.get(), server.messages.get()), (0, 60_000));
    assert_eq!(server.disconnects.borrow().len(), 60_000);
    assert!((8..=60).contains(&world.kernel(1).counters().net_server.high));
    world.assert_baseline();
}
