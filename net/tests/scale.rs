//! The cost of a packet: connections touched and allocations made, with few and with thousands open.
//!
//! The one `unsafe impl` of the test counts allocations.

use embedded_io_async::{Read, Write};
use keelson_hal::NetFeatures;
use keelson_net::{ConnectOptions, Stack, TcpOptions, TcpStream};
use keelson_net_sim::{Faults, Lab};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to `System` unchanged; counting touches only a thread-local `Cell` that needs
// neither allocation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MESSAGE: usize = 4000;

/// Opens `count` connections, then exchanges `rounds` messages on the first one.
struct Load {
    lab: Lab,
    server: Stack,
    client: Stack,
    held: Vec<TcpStream>,
}

fn options() -> TcpOptions {
    TcpOptions {
        receive_buffer: 8192,
        send_buffer: 8192,
        backlog: 512,
        ack_delay: None,
        keep_alive: Some(Duration::from_secs(600)),
        ..TcpOptions::default()
    }
}

fn open(count: usize) -> Load {
    let lab = Lab::new(count as u64, Faults::default());
    let (server, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let (client, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let listener = server.listen(2049, options()).unwrap();
    let handle = lab.handle();
    let spawner = handle.clone();
    handle.spawn("accept", async move {
        loop {
            let mut stream = listener.accept().await;
            spawner.spawn("echo", async move {
                let mut buffer = [0; MESSAGE];
                while stream.read_exact(&mut buffer).await.is_ok() {
                    if stream.write_all(&buffer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let connector = client.clone();
    let held = lab.run(async move {
        let mut held = Vec::new();
        for _ in 0..count {
            let tcp = ConnectOptions { tcp: options(), ..ConnectOptions::default() };
            held.push(connector.connect("10.0.0.1:2049".parse().unwrap(), tcp).await.unwrap());
        }
        held
    });
    Load { lab, server, client, held }
}

impl Load {
    fn exchange(&mut self, rounds: usize) {
        let mut stream = self.held.pop().unwrap();
        let stream = self.lab.run(async move {
            let mut buffer = [7; MESSAGE];
            for _ in 0..rounds {
                stream.write_all(&buffer).await.unwrap();
                stream.read_exact(&mut buffer).await.unwrap();
            }
            stream
        });
        self.held.push(stream);
    }

    fn packets(&self) -> u64 {
        self.server.counters().tcp_received + self.client.counters().tcp_received
    }

    fn polls(&self) -> u64 {
        self.server.counters().tcp_polls + self.client.counters().tcp_polls
    }
}

#[test]
fn a_packet_touches_one_connection_however_many_there_are() {
    let mut per_packet = Vec::new();
    for count in [1, 10, 1000, 4000] {
        let mut load = open(count);
        assert_eq!(load.server.connections(), count);
        load.exchange(10);
        let (packets, polls) = (load.packets(), load.polls());
        let began = std::time::Instant::now();
        load.exchange(500);
        let took = began.elapsed();
        let (packets, polls) = (load.packets() - packets, load.polls() - polls);
        println!(
            "{count} connections: {polls} polls for {packets} packets, {:?} each",
            took / packets as u32
        );
        per_packet.push(polls as f64 / packets as f64);
    }
    assert!(per_packet.iter().all(|polls| *polls < 2.0), "{per_packet:?}");
    assert!(per_packet[3] < per_packet[0] * 1.1, "{per_packet:?}");
}

#[test]
fn the_established_data_path_does_not_allocate() {
    let mut load = open(10);
    load.exchange(200);
    // The test's own wire keeps a sorted map and spawns one task for each exchange: measured as the
    // difference between a long and a short one, for each packet.
    let mut measure = |rounds| {
        let (allocations, packets) = (ALLOCATIONS.with(Cell::get), load.packets());
        load.exchange(rounds);
        (ALLOCATIONS.with(Cell::get) - allocations, load.packets() - packets)
    };
    let (few, _) = measure(10);
    let (many, packets) = measure(1000);
    println!("{few} allocations for 10 exchanges, {many} for 1000 ({packets} packets)");
    assert!(packets > 4000);
    assert!(many < few + packets / 200, "{few} then {many} allocations for {packets} packets");
}
