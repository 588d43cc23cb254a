//! The time of day on simulated wires: servers that lie, are late, do not answer, and wires that lose.

use keelson_exec::sim::SimClock;
use keelson_hal::Clock;
use keelson_net::{Datagram, InterfaceConfig, Stack, UdpOptions, UdpSocket};
use keelson_net_sim::{Faults, NicModel, Node, Rng, World};
use keelson_ops::sntp::packet::reply;
use keelson_ops::sntp::{Counters, OPTIONS, Servers, Sntp};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: i128 = 1_000_000;

/// What a server does with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Tells the time, so many nanoseconds ahead of the truth.
    Tells(i128),
    /// The same, but this much later than it says.
    Late(Duration),
    /// Nothing.
    Silent,
    /// The kiss of death.
    Kiss(&'static [u8; 4]),
    /// An answer with these bytes at an offset.
    With(usize, &'static [u8]),
    /// A good answer from another port, then nothing.
    OtherPort,
    /// An answer to another request with a wrong time, then the true one.
    Forged,
    /// The answer to the request before, then the true one.
    Repeats,
}

/// True time, that servers have and the client's clock does not.
struct Truth {
    clock: Rc<SimClock>,
    at_zero: Cell<Duration>,
}

impl Truth {
    fn now(&self, ahead: i128) -> Duration {
        let true_nanos =
            (self.at_zero.get() + (self.clock.now() - keelson_hal::Instant::ZERO)).as_nanos() as i128;
        Duration::from_nanos((true_nanos + ahead) as u64)
    }
}

struct Server {
    node: Rc<Node>,
    habit: Cell<Habit>,
    /// When requests came.
    asked: RefCell<Vec<Duration>>,
    last: RefCell<Option<Datagram>>,
}

struct Site {
    world: World,
    wire: Rc<keelson_net_sim::Wire>,
    truth: Rc<Truth>,
    servers: Vec<Rc<Server>>,
    client: Rc<Node>,
}

impl Site {
    /// Servers at 10.0.0.1, .2, ...; the client's clock shows 2026-01-01, and the truth is `ahead` of it.
    fn new(seed: u64, faults: Faults, ahead: Duration, habits: &[Habit]) -> Site {
        let world = World::new(seed);
        let wire = world.wire(faults);
        let clock = world.clock();
        let at_zero = Cell::new(clock.wall() + ahead);
        let truth = Rc::new(Truth { clock, at_zero });
        let server = |(index, habit): (usize, &Habit)| {
            let node = world.node();
            node.plug("eth0", &wire, &format!("10.0.0.{}/24", index + 1), NicModel::default());
            let server = Rc::new(Server {
                node,
                habit: Cell::new(*habit),
                asked: RefCell::default(),
                last: RefCell::default(),
            });
            let (handle, stack) = server.node.boot();
            handle.spawn("ntp", serve(server.clone(), stack, handle.clone(), truth.clone()));
            server
        };
        let servers = habits.iter().enumerate().map(server).collect();
        let client = world.node();
        client.plug("eth0", &wire, "10.0.0.100/24", NicModel::default());
        Site { world, wire, truth, servers, client }
    }

    fn start(&self, line: &str) -> Sntp {
        let (handle, stack) = self.client.boot();
        let config = keelson_config::Config::parse(&[OPTIONS], &[], line, b"");
        let servers = Servers::from_options(&config);
        Sntp::start(&handle, &stack, Rc::new(Rng::new(99)), self.world.clock(), servers)
    }

    /// What the client's clock is ahead of the truth, in nanoseconds.
    fn error(&self) -> i128 {
        self.world.clock().wall().as_nanos() as i128 - self.truth.now(0).as_nanos() as i128
    }

    fn knows(&self) -> bool {
        self.world.clock().wall_is_known()
    }

    fn run(&self, seconds: u64) {
        self.world.run_for(seconds as u32 * SECOND);
    }
}

async fn serve(server: Rc<Server>, stack: Stack, handle: keelson_exec::Handle, truth: Rc<Truth>) {
    let options = UdpOptions::default();
    let (socket, other) = (stack.bind_udp(123, options).unwrap(), stack.bind_udp(1234, options).unwrap());
    let answer = |socket: &UdpSocket, to: &Datagram, bytes: &[u8]| {
        socket.send(Some(to.local), to.peer, bytes).unwrap();
    };
    loop {
        let request = socket.receive().await;
        assert_eq!((request.payload.len(), request.payload[0]), (48, 0x23));
        server.asked.borrow_mut().push(truth.clock.now() - keelson_hal::Instant::ZERO);
        let good = |ahead: i128| reply(&request.payload, 2, truth.now(ahead), truth.now(ahead));
        match server.habit.get() {
            Habit::Tells(ahead) => answer(&socket, &request, &good(ahead)),
            Habit::Late(by) => {
                let bytes = good(0);
                handle.sleep(by).await;
                answer(&socket, &request, &bytes);
            }
            Habit::Silent => {}
            Habit::Kiss(code) => {
                let mut bytes = good(0);
                bytes[1] = 0;
                bytes[12..16].copy_from_slice(code);
                answer(&socket, &request, &bytes);
            }
            Habit::With(at, with) => {
                let mut bytes = good(0);
                bytes[at..at + with.len()].copy_from_slice(with);
                answer(&socket, &request, &bytes);
            }
            Habit::OtherPort => answer(&other, &request, &good(3_600_000 * MILLI)),
            Habit::Forged => {
                let mut bytes = good(3_600_000 * MILLI);
                bytes[24] ^= 1;
                answer(&socket, &request, &bytes);
                answer(&socket, &request, &good(0));
            }
            Habit::Repeats => {
                if let Some(before) = &*server.last.borrow() {
                    let hour = truth.now(3_600_000 * MILLI);
                    answer(&socket, &request, &reply(&before.payload, 2, hour, hour));
                }
                answer(&socket, &request, &good(0));
            }
        }
        *server.last.borrow_mut() = Some(request);
    }
}

#[test]
fn the_clock_is_set_and_then_kept_right() {
    let site = Site::new(1, Faults::default(), Duration::from_millis(3200), &[Habit::Tells(0)]);
    let sntp = site.start("ntp=10.0.0.1");
    assert!(!site.knows());
    site.run(8);
    assert!(site.knows() && site.error().abs() < MILLI / 10, "{} ns", site.error());
    assert_eq!(sntp.counters(), Counters { asked: 4, answered: 4, ..Counters::default() });
    let (server, sample) = sntp.last().unwrap();
    assert_eq!((server.to_string().as_str(), sample.stratum), ("10.0.0.1", 2));
    assert!((sample.offset - 3_200_000_000).abs() < 100_000 && sample.delay < Duration::from_millis(1));
    let status = sntp.status();
    let told = "server 10.0.0.1 stratum 2: offset +3.";
    assert!(status.starts_with("2026-01-01T00:00:1") && status.contains(told), "{status}");
    // From now on it is never set: it is slewed, and looked at less and less often.
    site.truth.at_zero.set(site.truth.at_zero.get() + Duration::from_millis(40));
    let mut before = site.world.clock().wall();
    let mut then = site.world.now();
    for _ in 0..4000 {
        site.run(1);
        let (wall, now) = (site.world.clock().wall(), site.world.now());
        let difference = (wall - before).as_nanos() as i128 - (now - then).as_nanos() as i128;
        assert!(difference.abs() <= 500_000 + 1, "{difference} ns in a second");
        (before, then) = (wall, now);
    }
    assert!(site.error().abs() < MILLI, "{} ns", site.error());
    assert_eq!(site.world.clock().wall_rate(), 0);
    let asked = site.servers[0].asked.borrow();
    let pauses: Vec<u64> = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!(pauses[3..8].iter().all(|pause| (64..69).contains(pause)), "{pauses:?}");
    assert!((256..=1090).contains(pauses.last().unwrap()), "{pauses:?}");
}

#[test]
fn a_small_error_at_the_start_is_slewed() {
    let site = Site::new(2, Faults::default(), Duration::from_millis(100), &[Habit::Tells(0)]);
    site.start("ntp=10.0.0.1");
    site.run(7);
    assert!(site.knows() && (site.error() + 100 * MILLI).abs() < MILLI);
    // 100 ms at 500 parts in a million take 200 s.
    site.run(100);
    assert!((site.error() + 50 * MILLI).abs() < 4 * MILLI, "{} ns", site.error());
    site.run(300);
    assert!(site.error().abs() < MILLI, "{} ns", site.error());
}

#[test]
fn of_four_samples_the_one_with_the_lowest_delay_counts() {
    let faults = Faults { delay: Duration::from_millis(5), late: 60, ..Faults::default() };
    for seed in 10..30 {
        let site = Site::new(seed, faults, Duration::from_secs(7), &[Habit::Tells(0)]);
        let sntp = site.start("ntp=10.0.0.1");
        site.run(12);
        let (_, sample) = sntp.last().unwrap();
        // A frame is up to 80 ms late: half of what the delay has too much is the greatest error.
        let worst = (sample.delay.as_nanos() as i128 - 10 * MILLI) / 2 + MILLI;
        assert!(site.error().abs() <= worst && worst < 81 * MILLI, "{} ns, {sample:?}", site.error());
    }
}

#[test]
fn frames_that_are_lost_only_take_longer() {
    let site =
        Site::new(3, Faults { loss: 40, ..Faults::default() }, Duration::from_secs(1000), &[Habit::Tells(0)]);
    let sntp = site.start("ntp=10.0.0.1");
    assert!(site.world.run_until(600 * SECOND, || site.knows()), "{}", sntp.status());
    site.run(3);
    assert!(site.error().abs() < MILLI && sntp.counters().unanswered > 0);
}

#[test]
fn servers_that_do_not_tell_the_time_are_passed_over() {
    type Counted = fn(&Counters) -> u64;
    let cases: [(Habit, Counted); 10] = [
        (Habit::Silent, |counters| counters.unanswered),
        (Habit::Late(Duration::from_millis(1500)), |counters| counters.late),
        (Habit::Kiss(b"DENY"), |counters| counters.kisses),
        (Habit::Kiss(b"RATE"), |counters| counters.kisses),
        (Habit::With(0, &[0xe4]), |counters| counters.unsynchronised),
        (Habit::With(1, &[16]), |counters| counters.unsynchronised),
        (Habit::With(0, &[0x23]), |counters| counters.malformed),
        (Habit::With(40, &[0; 8]), |counters| counters.malformed),
        (Habit::With(24, &[0; 8]), |counters| counters.foreign),
        (Habit::OtherPort, |counters| counters.strangers),
    ];
    for (number, (habit, counted)) in cases.into_iter().enumerate() {
        let site = Site::new(
            40 + number as u64,
            Faults::default(),
            Duration::from_secs(9),
            &[habit, Habit::Tells(0)],
        );
        let sntp = site.start("ntp=10.0.0.1,10.0.0.2");
        site.run(40);
        assert!(site.knows() && site.error().abs() < MILLI, "case {number}: {}", sntp.status());
        assert_eq!(sntp.last().unwrap().0.to_string(), "10.0.0.2");
        assert!(counted(&sntp.counters()) > 0, "case {number}: {:?}", sntp.counters());
    }
}

#[test]
fn forgers_that_have_not_seen_the_request_are_not_believed() {
    for (seed, habit) in [(60, Habit::Forged), (61, Habit::Repeats)] {
        let site = Site::new(seed, Faults::default(), Duration::from_secs(2), &[habit]);
        let sntp = site.start("ntp=10.0.0.1");
        site.run(10);
        assert!(site.knows() && site.error().abs() < MILLI);
        let counters = sntp.counters();
        assert_eq!(counters.answered, 4);
        assert_eq!((counters.foreign, counters.late), if habit == Habit::Forged { (4, 0) } else { (0, 3) });
    }
}

#[test]
fn a_server_that_denies_is_not_asked_again() {
    let site = Site::new(70, Faults::default(), SECOND, &[Habit::Kiss(b"DENY")]);
    let sntp = site.start("ntp=10.0.0.1");
    site.run(4000);
    assert_eq!(site.servers[0].asked.borrow().len(), 1);
    assert!(!site.knows() && sntp.status().contains("does not want to be asked"), "{}", sntp.status());
}

#[test]
fn a_server_that_is_asked_too_often_is_asked_less_often() {
    let site = Site::new(71, Faults::default(), SECOND, &[Habit::Tells(0)]);
    site.start("ntp=10.0.0.1");
    site.run(100);
    site.servers[0].habit.set(Habit::Kiss(b"RATE"));
    site.run(9000);
    let asked = site.servers[0].asked.borrow();
    let pauses: Vec<u64> = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!(
        pauses[5..].is_sorted_by(|a, b| a <= b || *b >= 1024) && *pauses.last().unwrap() >= 1024,
        "{pauses:?}"
    );
}

#[test]
fn silence_is_asked_less_and_less_often() {
    let site = Site::new(72, Faults::default(), SECOND, &[Habit::Silent]);
    site.start("ntp=10.0.0.1");
    site.run(10_000);
    let asked = site.servers[0].asked.borrow();
    assert!((20..80).contains(&asked.len()), "{}", asked.len());
    // It comes back, and the time is known within its next turn.
    drop(asked);
    site.servers[0].habit.set(Habit::Tells(0));
    site.run(1100);
    assert!(site.knows() && site.error().abs() < MILLI);
}

#[test]
fn a_server_that_begins_to_lie_is_not_believed() {
    let site = Site::new(73, Faults::default(), SECOND, &[Habit::Tells(0), Habit::Tells(0)]);
    let sntp = site.start("ntp=10.0.0.1,10.0.0.2");
    site.run(10);
    // By a day, and by half a second: the latter is at most followed slowly.
    site.servers[0].habit.set(Habit::Tells(86_400_000 * MILLI));
    site.run(3000);
    assert!(site.error().abs() < MILLI, "{} ns; {}", site.error(), sntp.status());
    assert!(sntp.counters().absurd > 0);
    site.servers[0].habit.set(Habit::Tells(500 * MILLI));
    site.servers[1].habit.set(Habit::Tells(500 * MILLI));
    let before = site.error();
    site.run(100);
    assert!(site.error() - before <= 50 * MILLI);
}

#[test]
fn nobody_is_asked_when_there_is_nobody() {
    for line in ["", "ntp=none"] {
        let site = Site::new(74, Faults::default(), SECOND, &[Habit::Tells(0)]);
        let sntp = site.start(line);
        site.run(300);
        assert_eq!((sntp.counters(), site.knows()), (Counters::default(), false));
        assert!(sntp.status().contains("nobody confirmed"), "{}", sntp.status());
    }
}

#[test]
fn an_address_that_comes_later_is_asked_from_at_once() {
    let mut site = Site::new(76, Faults::default(), SECOND, &[Habit::Tells(0)]);
    site.client = site.world.node();
    site.client.plug_with("eth0", &site.wire, InterfaceConfig::default(), NicModel::default());
    let (handle, stack) = site.client.boot();
    let servers = Servers::Named(vec!["10.0.0.1".to_string()]);
    let sntp = Sntp::start(&handle, &stack, Rc::new(Rng::new(99)), site.world.clock(), servers);
    site.run(100);
    assert!(sntp.status().contains("server 10.0.0.1: no route there"), "{}", sntp.status());
    let id = stack.interfaces()[0].id;
    stack.add_address(id, "10.0.0.100/24".parse().unwrap()).unwrap();
    site.run(7);
    assert!(site.knows() && site.error().abs() < MILLI, "{}", sntp.status());
}

#[test]
fn era_1_begins() {
    // Twenty seconds before the timestamps begin anew, and after.
    let until = 2_085_978_496 - 1_767_225_600;
    for ahead in [until - 20, until + 20] {
        let site = Site::new(75, Faults::default(), Duration::from_secs(ahead), &[Habit::Tells(0)]);
        let sntp = site.start("ntp=10.0.0.1");
        site.run(400);
        assert!(site.knows() && site.error().abs() < MILLI, "{}", sntp.status());
        assert!(sntp.status().starts_with("2036-02-07T06:3"), "{}", sntp.status());
        assert!(site.wire.frames.get() > 8);
    }
}
