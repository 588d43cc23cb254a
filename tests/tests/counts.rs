//! What work costs, in counts that do not depend on how busy the host is. `make bench` gives the times.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use keelson_oncrpc::Encoder;
use keelson_qemu::{Bench, Drive, Endpoint, Ext4Image, Ext4Spec, Machine};
use keelson_tests::Appliance;
use keelson_tests::nfs3::{Handle, Nfs, Procedure, Transport};
use keelson_tests::scrape::{Http, Scrape};

const SOON: Duration = Duration::from_secs(60);
const SERVER: &str = "10.0.0.1";
const FILE: usize = 4 << 20;

/// A serving appliance with one file, a client, and the handles of the file and of its directory.
struct World {
    nfs: Nfs,
    machine: Machine,
    root: Handle,
    file: Handle,
    // In this order: what is listed first is dropped first.
    endpoint: Endpoint,
    _disk: Ext4Image,
    _bench: Bench,
}

impl World {
    fn new(name: &str) -> World {
        let bench = Bench::new(name);
        let lan = bench.lan("lan").unwrap();
        let endpoint = bench.endpoint(&lan, "client", &["10.0.0.9/24"]).unwrap();
        let tree = bench.dir().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("file"), vec![7; FILE]).unwrap();
        let disk = bench.ext4("data", &Ext4Spec::new(64 << 20).populated_from(&tree)).unwrap();
        let line = format!("ip={SERVER}/24:eth0 metrics=:9100 nfs.exports=\"/ *(rw,sync,no_root_squash)\"");
        let machine = Appliance::nfs(&bench, "nfs", &line)
            .virtio_nic(&lan)
            .drive(Drive::file(disk.path()))
            .start()
            .unwrap();
        machine.expect("serving NFS", SOON).unwrap();
        let server: IpAddr = SERVER.parse().unwrap();
        let (mut nfs, root) = Transport::Tcp.mount(&endpoint, server, "/");
        let file = nfs.lookup(&root, b"file").unwrap().ok().handle;
        World { nfs, machine, root, file, endpoint, _disk: disk, _bench: bench }
    }

    /// A number in the next line of the console that contains `pattern`.
    fn number(&self, pattern: &str, find: impl Fn(&str) -> Option<&str>) -> u64 {
        let line = self.machine.expect(pattern, SOON).unwrap().text;
        find(&line).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("a number in {line:?}"))
    }

    fn allocations(&self) -> u64 {
        self.machine.console().send_line("mem").unwrap();
        self.number("made since boot", |line| line.split_whitespace().rev().nth(3))
    }

    /// Packets sent, and doorbells rung for packets sent and for buffers to receive in.
    fn packets_and_doorbells(&self) -> (u64, u64) {
        self.machine.console().send_line("ip").unwrap();
        let packets = self.number("TX * packets", |line| line.split_whitespace().nth(1));
        (packets, self.number("doorbells", |line| line.split_whitespace().next()))
    }

    /// How often the processor's timer was set.
    fn timer_sets(&self) -> u64 {
        let to = SocketAddr::new(SERVER.parse().unwrap(), 9100);
        let answer = Http::connect(&self.endpoint, to, SOON).send("GET /metrics").unwrap();
        Scrape::parse(&answer.body).unwrap().value("keelson_timer_sets_total{cpu=\"0\"}") as u64
    }

    fn flushes(&self) -> u64 {
        self.machine.console().send_line("nfsstat").unwrap();
        self.number("disk_requests_total{kind=\"flush\"}", |line| line.split_whitespace().next())
    }

    /// Allocations of one such call, on average.
    fn allocations_per_call(&mut self, procedure: Procedure, arguments: impl Fn(&mut Encoder)) -> f64 {
        const COUNT: usize = 500;
        // Caches, workers and tables have grown to their size after this.
        self.nfs.load(procedure, COUNT, 1, |_, out| arguments(out)).unwrap();
        let looking = {
            let before = self.allocations();
            self.allocations() - before
        };
        let before = self.allocations();
        self.nfs.load(procedure, COUNT, 1, |_, out| arguments(out)).unwrap();
        let made = (self.allocations() - before).saturating_sub(looking);
        made as f64 / COUNT as f64
    }
}

fn put_read(out: &mut Encoder, file: &[u8], offset: u64, count: u32) {
    out.opaque(file);
    out.u64(offset);
    out.u32(count);
}

#[test]
fn calls_allocate_nothing_outside_the_engine() {
    let mut world = World::new("allocations");
    let (root, file) = (world.root.clone(), world.file.clone());
    let null = world.allocations_per_call(Procedure::Null, |_| ());
    let attributes = world.allocations_per_call(Procedure::GetAttr, |out| out.opaque(&root));
    let read = world.allocations_per_call(Procedure::Read, |out| put_read(out, &file, 0, 4096));
    eprintln!("allocations: NULL {null}, GETATTR {attributes}, READ {read}");
    // Network, RPC and NFS make none; these are the ext4 engine's. A tenth is left for timers.
    assert!(null < 0.1, "NULL: {null}");
    assert!(attributes < 1.1, "GETATTR: {attributes}");
    assert!(read < 12.1, "READ: {read}");
}

#[test]
fn bulk_reads_ring_for_many_packets_at_once() {
    const PIECE: u32 = 64 << 10;
    let mut world = World::new("doorbells");
    let file = world.file.clone();
    let before = world.packets_and_doorbells();
    let read = |number, out: &mut Encoder| put_read(out, &file, number as u64 * u64::from(PIECE), PIECE);
    world.nfs.load(Procedure::Read, FILE / PIECE as usize, 4, read).unwrap();
    let after = world.packets_and_doorbells();
    let (packets, doorbells) = (after.0 - before.0, after.1 - before.1);
    eprintln!("{packets} packets, {doorbells} doorbells");
    assert!(packets as usize > FILE / 1460);
    assert!(doorbells * 8 < packets, "{doorbells} doorbells for {packets} packets");
}

/// Each call is a rest at least, mostly with something due later than what the timer is set to.
#[test]
fn calls_leave_the_timer_alone() {
    const CALLS: usize = 2000;
    let mut world = World::new("timer");
    let before = world.timer_sets();
    world.nfs.load(Procedure::Null, CALLS, 1, |_, _| ()).unwrap();
    let sets = (world.timer_sets() - before) as f64 / CALLS as f64;
    eprintln!("{sets} times set for a call");
    assert!(sets < 0.2, "{sets} times set for a call");
}

#[test]
fn synced_creates_share_flushes() {
    const CREATES: usize = 64;
    let mut world = World::new("flushes");
    let root = world.root.clone();
    for (in_flight, most) in [(1, 2.0), (16, 1.0)] {
        let before = world.flushes();
        let create = |number, out: &mut Encoder| {
            out.opaque(&root);
            out.opaque(format!("{in_flight}-{number}").as_bytes());
            // GUARDED, and no attributes given: six times "do not set".
            [1, 0, 0, 0, 0, 0, 0].into_iter().for_each(|word| out.u32(word));
        };
        world.nfs.load(Procedure::Create, CREATES, in_flight, create).unwrap();
        let flushes = (world.flushes() - before) as f64 / CREATES as f64;
        eprintln!("{flushes} flushes for each of {in_flight} creates at once");
        assert!(flushes <= most, "{flushes} flushes for each of {in_flight} creates at once");
    }
}
