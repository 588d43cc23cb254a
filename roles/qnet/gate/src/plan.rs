//! What a seed decides before its world begins.

use crate::wire::Faults;
use keelson_ext4_gate::random::Random;
use keelson_qnet::l4::Options;
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
    /// A node loses power for so long.
    Power(usize, Duration),
    /// A node is cut off on a wire for so long, and does not notice.
    Cut(Nic, Duration),
    /// The same, and it notices.
    Carrier(Nic, Duration),
    /// An interface is unmounted, and mounted again.
    Unmounted(Nic, Duration),
    /// A client is killed where it stands, and started again.
    Killed(usize),
    /// A node asks now after everything that is not acknowledged.
    Flush(usize),
    /// A node forgets all others, as `rmdir /net/*` does.
    Forget(usize),
    /// A node looks whether the others are there, as `ls -l /net` does.
    Verify(usize),
    /// A wire is changed.
    Wire(usize, Faults),
}

/// Where a node is on a wire.
#[derive(Clone, Copy, Debug)]
pub struct Nic {
    /// The node.
    pub node: usize,
    /// The wire.
    pub wire: usize,
}

/// A client.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Where it runs.
    pub home: usize,
    /// Whose files or service it uses.
    pub target: usize,
    /// What it has to do.
    pub operations: usize,
    /// Whether it has files, or calls.
    pub has_files: bool,
}

/// A world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// Wires.
    pub wires: usize,
    /// What each wire does.
    pub faults: Vec<Faults>,
    /// Choices of all transports.
    pub options: Options,
    /// Nothing happens that excuses an error.
    pub calm: bool,
    /// Clients.
    pub clients: Vec<Client>,
    /// What happens, in order.
    pub events: Vec<Event>,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut random = Random::new(seed ^ 0x706c_616e);
        let nodes = 2 + random.index(3);
        let wires = 1 + random.index(2);
        let calm = random.once_in(3);
        let damage = random.once_in(3);
        let faults: Vec<Faults> = (0..wires).map(|_| wire(&mut random, calm, damage)).collect();
        let mut options = Options {
            do_crc: damage || random.once_in(4),
            enforce_crc: damage,
            eager_reverse: !random.once_in(3),
            ..Options::default()
        };
        if calm {
            // A wire that loses frames is no excuse: with so many attempts somebody gets through.
            (options.conn_est_retries, options.tx_retries) = (12, 14);
        }
        if random.once_in(4) {
            // Little room, so that senders wait for it.
            (options.queue_messages, options.queue_bytes) = (3, 70_000);
        }
        if random.once_in(5) {
            options.rx_bytes = 140 << 10;
        }
        let clients: Vec<Client> = (0..1 + random.index(6)).map(|_| client(&mut random, nodes)).collect();
        let total = clients.iter().map(|client| client.operations).sum();
        let mut events = Vec::new();
        for _ in 0..if calm { random.index(3) } else { 1 + random.index(6) } {
            let after = random.index(total);
            let delay = Duration::from_micros(match random.below(4) {
                0 => random.below(2_000_000),
                _ => random.below(5_000),
            });
            let what = happening(&mut random, nodes, wires, clients.len(), calm, damage);
            events.push(Event { after, delay, what });
        }
        events.sort_by_key(|event| event.after);
        Plan { seed, nodes, wires, faults, options, calm, clients, events }
    }
}

fn client(random: &mut Random, nodes: usize) -> Client {
    let home = random.index(nodes);
    // Now and then its own node, by the way of its name in `/net`.
    let target = if random.once_in(10) { home } else { (home + 1 + random.index(nodes - 1)) % nodes };
    Client { home, target, operations: 5 + random.index(40), has_files: random.once_in(2) }
}

fn happening(
    random: &mut Random,
    nodes: usize,
    wires: usize,
    clients: usize,
    calm: bool,
    damage: bool,
) -> What {
    let (node, index) = (random.index(nodes), random.index(wires));
    let span = Duration::from_millis(match random.below(3) {
        0 => random.below(300),
        1 => random.below(4_000),
        _ => random.below(20_000),
    });
    let kinds = if calm { 2 } else { 12 };
    let nic = Nic { node, wire: index };
    match random.below(kinds) {
        0 => What::Flush(node),
        1 => What::Wire(index, wire(random, calm, damage)),
        2..=4 => What::Power(node, span),
        5 => What::Cut(nic, span),
        6 => What::Carrier(nic, span),
        7 => What::Unmounted(nic, span),
        8 | 9 => What::Killed(random.index(clients)),
        10 => What::Forget(node),
        _ => What::Verify(node),
    }
}

fn wire(random: &mut Random, calm: bool, damage: bool) -> Faults {
    let mut permille = |most: u64| random.below(most + 1) as u32;
    let (loss, duplicate, corrupt) = (permille(if calm { 80 } else { 150 }), permille(80), permille(20));
    let delay = match random.below(3) {
        0 => (50, 60),
        1 => (200, 1_000),
        _ => (200, 3_200),
    };
    let corrupt = if damage { corrupt } else { 0 };
    if random.once_in(4) {
        Faults { loss: 0, duplicate: 0, corrupt, delay }
    } else {
        Faults { loss, duplicate, corrupt, delay }
    }
}
