//! What a seed decides before its world begins.

use crate::image::{Blocks, DIRS};
use crate::locks::service::Style;
use crate::machine::Notice;
use crate::rpc::Via;
use keelson_ext4_gate::disk::{Manner, Through};
use keelson_ext4_gate::random::Random;
use keelson_net_sim::Faults;
use std::time::Duration;

/// Something that happens when clients have done so much.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// So many operations, of all clients together.
    pub after: usize,
    /// And so much later.
    pub delay: Duration,
    /// What happens.
    pub what: What,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// The server loses power for so long.
    ServerCut(Manner, Duration),
    /// A machine does.
    MachineCut(usize, Duration),
    /// A machine is cut off for so long, and does not notice.
    CutOff(usize, Duration),
    /// The wire is changed.
    Wire(Faults),
}

/// A machine.
#[derive(Clone, Debug)]
pub struct MachinePlan {
    /// How it calls NFS.
    pub nfs: Via,
    /// How it calls NLM.
    pub nlm: Via,
    /// What its lock manager knows.
    pub style: Style,
    /// When it tells of its restarts.
    pub notice: Notice,
    /// Its lock manager asks again by itself.
    pub polls: bool,
    /// Operations of each process with files.
    pub files: Vec<usize>,
    /// Steps of each process with locks.
    pub lockers: Vec<usize>,
}

/// A world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Blocks of the disk.
    pub blocks: Blocks,
    /// Whether the disk can write through its cache.
    pub through: Through,
    /// Memory for the filesystem.
    pub cache_bytes: usize,
    /// The grace period.
    pub grace: Duration,
    /// What the wire does.
    pub faults: Faults,
    /// Machines.
    pub machines: Vec<MachinePlan>,
    /// What happens, in order.
    pub events: Vec<Event>,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut random = Random::new(seed ^ 0x706c_616e);
        let count = 1 + random.index(4);
        let mut dirs = DIRS;
        let machines: Vec<MachinePlan> = (0..count).map(|_| machine(&mut random, count, &mut dirs)).collect();
        let total: usize =
            machines.iter().flat_map(|machine| machine.files.iter().chain(&machine.lockers)).sum();
        let faults = wire(&mut random);
        let mut events = Vec::new();
        for _ in 0..random.below(4) {
            let manner = *random.pick(&Manner::EACH);
            let down = Duration::from_millis(100 + random.below(4_000));
            events.push(event(&mut random, total, What::ServerCut(manner, down)));
        }
        for _ in 0..[0, 0, 1, 1, 2][random.index(5)] {
            let down = Duration::from_millis(3_000 + random.below(20_000));
            let machine = random.index(count);
            events.push(event(&mut random, total, What::MachineCut(machine, down)));
        }
        if random.once_in(3) {
            // Less than the server waits for one that cannot have heard of its lock.
            let span = Duration::from_millis(1_000 + random.below(40_000));
            let machine = random.index(count);
            events.push(event(&mut random, total, What::CutOff(machine, span)));
        }
        if random.once_in(4) {
            let faults = wire(&mut random);
            events.push(event(&mut random, total, What::Wire(faults)));
        }
        events.sort_by_key(|event| event.after);
        Plan {
            seed,
            blocks: if random.once_in(4) { Blocks::Small } else { Blocks::Large },
            through: if random.once_in(2) { Through::Yes } else { Through::No },
            cache_bytes: if random.once_in(4) { 256 << 10 } else { 4 << 20 },
            grace: Duration::from_secs(60 + random.below(40)),
            faults,
            machines,
            events,
        }
    }
}

fn event(random: &mut Random, total: usize, what: What) -> Event {
    let delay = match random.below(8) {
        0 => random.below(100_000_000),
        1..4 => random.below(200_000),
        _ => random.below(10_000),
    };
    Event { after: random.index(total), delay: Duration::from_micros(delay), what }
}

fn machine(random: &mut Random, count: usize, dirs: &mut usize) -> MachinePlan {
    let via = |random: &mut Random| if random.once_in(2) { Via::Udp } else { Via::Tcp };
    let share = 240 / count as u64;
    let processes = random.index(3).min(*dirs);
    *dirs -= processes;
    let files = (0..processes).map(|_| 5 + random.below(share / processes as u64) as usize).collect();
    let lockers = 1 + random.below(3);
    let lockers = (0..lockers).map(|_| 2 + random.below(share / 3 / lockers) as usize).collect();
    MachinePlan {
        nfs: via(random),
        nlm: via(random),
        style: if random.once_in(8) { Style::Replies } else { Style::Messages },
        notice: if random.once_in(3) { Notice::Late } else { Notice::First },
        polls: random.once_in(2),
        files,
        lockers,
    }
}

fn wire(random: &mut Random) -> Faults {
    // Some wires lose only, so that what is repeated is repeated by somebody.
    let only_loss = random.once_in(4);
    let mut percent = |most: u64| random.below(most + 1) as u32;
    let (loss, duplicate, reorder, late) = (percent(8), percent(12), percent(20), percent(8));
    let faults = Faults { loss, ..Faults::default() };
    if only_loss { faults } else { Faults { duplicate, reorder, late, ..faults } }
}
