//! The log on simulated wires: hosts that come late, wires that lose, rings that overflow.

use keelson_exec::sim::SimLog;
use keelson_hal::{Clock, WallClock};
use keelson_net::{InterfaceConfig, Stack, UdpOptions};
use keelson_net_sim::{Faults, NicModel, Node, World};
use keelson_ops::syslog::received::{Received, parse};
use keelson_ops::syslog::{Settings, Syslog};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const LOGHOST: &str = "10.0.0.2:514";

/// What a loghost has received.
type Heard = Rc<RefCell<Vec<Received>>>;

/// A node that logs and a host that listens, on one wire.
struct Site {
    world: World,
    node: Rc<Node>,
    loghost: Rc<Node>,
    log: Rc<SimLog>,
    heard: Heard,
}

impl Site {
    fn new(seed: u64, faults: Faults) -> Site {
        let world = World::new(seed);
        let wire = world.wire(faults);
        let (node, loghost) = (world.node(), world.node());
        node.plug("eth0", &wire, "10.0.0.1/24", NicModel::default());
        loghost.plug("eth0", &wire, "10.0.0.2/24", NicModel::default());
        Site { world, node, loghost, log: Rc::new(SimLog::new(64 << 10)), heard: Heard::default() }
    }

    /// Writes lines `number <n>` in the name of a target.
    fn say(&self, numbers: std::ops::Range<usize>) {
        for n in numbers {
            let now = self.world.now().as_micros();
            let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
            self.log.push(format!("[{seconds:5}.{micros:06}] 0 INFO  test: number {n}\n").as_bytes());
        }
    }

    fn start(&self, settings: &str) -> (Stack, Syslog) {
        let (handle, stack) = self.node.boot();
        let config = keelson_config::Config::parse(&[keelson_ops::syslog::OPTIONS], &[], settings, b"");
        assert!(config.problems().is_empty(), "{:?}", config.problems());
        let settings = Settings::from_options(&config);
        let syslog = Syslog::start(&handle, &stack, self.log.clone(), "test-role", &settings);
        (stack, syslog)
    }

    fn listen(&self) {
        let (handle, stack) = self.loghost.boot();
        handle.spawn("listen", listen(stack, self.heard.clone()));
    }

    /// The numbers that were heard.
    fn numbers(&self) -> Vec<usize> {
        let number = |message: &Received| message.text.strip_prefix("number ")?.parse().ok();
        self.heard.borrow().iter().filter_map(number).collect()
    }

    fn sequences(&self) -> Vec<u32> {
        self.heard.borrow().iter().map(|message| message.sequence().unwrap()).collect()
    }
}

async fn listen(stack: Stack, heard: Heard) {
    let socket = stack.bind_udp(514, UdpOptions { queue: 4096, ..UdpOptions::default() }).unwrap();
    loop {
        let datagram = socket.receive().await;
        heard.borrow_mut().push(parse(&datagram.payload).unwrap());
    }
}

#[test]
fn every_line_arrives_in_order_and_says_where_it_is_from() {
    let site = Site::new(1, Faults::default());
    site.say(0..50);
    site.listen();
    let (stack, syslog) = site.start(&format!("loghost={LOGHOST} logfacility=local3"));
    site.world.run_for(SECOND);
    stack.set_hostname("rack7");
    site.say(50..60);
    site.log.push(b"and goes on\n[    1.500000] 3 ERROR net::tcp: it broke\n[    2.0");
    site.world.run_for(SECOND);
    assert_eq!(site.numbers(), (0..60).collect::<Vec<_>>());
    assert_eq!(site.sequences(), (1..=62).collect::<Vec<_>>());
    let heard = site.heard.borrow();
    let (first, last) = (&heard[0], heard.last().unwrap());
    assert_eq!((first.facility, first.severity, first.host.as_deref()), (19, 6, Some("10.0.0.1")));
    assert_eq!((first.app.as_deref(), first.kind.as_deref()), (Some("test-role"), Some("test")));
    assert_eq!((last.severity, last.host.as_deref()), (3, Some("rack7")));
    assert_eq!((last.kind.as_deref(), last.text.as_str()), (Some("net::tcp"), "it broke"));
    assert_eq!((last.meta("sysUpTime"), &last.timestamp), (Some("150"), &None), "no clock knows the time");
    assert_eq!((heard[60].kind.as_deref(), heard[60].text.as_str()), (Some("test"), "and goes on"));
    assert_eq!(syslog.counters()[0].1.sent, 62);
}

#[test]
fn lines_have_the_time_of_day_once_it_is_known() {
    let site = Site::new(8, Faults::default());
    site.listen();
    site.start(&format!("loghost={LOGHOST}"));
    site.log.push(b"[    0.500000] 0 INFO  test: before\n");
    site.world.run_for(SECOND);
    let clock = site.world.clock();
    clock.set_wall(Duration::from_secs(1_800_000_000) + (clock.now() - keelson_hal::Instant::ZERO));
    clock.set_known(true);
    site.log.push(b"[    0.900123] 0 INFO  test: after\n");
    site.world.run_for(SECOND);
    let stamps: Vec<_> = site.heard.borrow().iter().map(|message| message.timestamp.clone()).collect();
    assert_eq!(stamps, [None, Some("2027-01-15T08:00:00.900123Z".to_string())]);
}

#[test]
fn a_host_that_comes_later_hears_the_first_line_too() {
    let site = Site::new(2, Faults::default());
    site.say(0..300);
    let (_, syslog) = site.start(&format!("loghost={LOGHOST}"));
    site.world.run_for(40 * SECOND);
    let waiting = syslog.status();
    assert!(waiting.contains("does not answer yet") && waiting.contains(" 0 sent"), "{waiting}");
    // Nobody waits for what cannot be sent.
    site.world.run(syslog.clone().wait());
    site.listen();
    site.world.run_for(3 * SECOND);
    assert_eq!(site.numbers(), (0..300).collect::<Vec<_>>());
    assert!(syslog.status().contains("from 10.0.0.1"), "{}", syslog.status());
    // It goes away, and its neighbour notices that within a minute or so.
    site.loghost.kill();
    site.world.run_for(100 * SECOND);
    site.say(300..310);
    site.world.run_for(90 * SECOND);
    let sent = syslog.counters()[0].1.sent;
    site.say(310..320);
    site.world.run_for(20 * SECOND);
    assert_eq!(syslog.counters()[0].1.sent, sent, "nothing is sent to somebody who is not there");
    site.listen();
    site.world.run_for(5 * SECOND);
    assert!(site.numbers().ends_with(&(310..320).collect::<Vec<_>>()));
}

/// For tests only: [`Syslog::drained`] as a future that owns what it needs.
trait Wait {
    fn wait(self) -> impl Future<Output = ()> + 'static;
}

impl Wait for Syslog {
    async fn wait(self) {
        self.drained().await;
    }
}

#[test]
fn an_address_that_comes_later_is_waited_for() {
    let mut site = Site::new(3, Faults::default());
    let wire = site.world.wire(Faults::default());
    (site.node, site.loghost) = (site.world.node(), site.world.node());
    site.node.plug_with("eth0", &wire, InterfaceConfig::default(), NicModel::default());
    site.loghost.plug("eth0", &wire, "10.0.0.2/24", NicModel::default());
    site.say(0..10);
    site.listen();
    let (stack, syslog) = site.start(&format!("loghost={LOGHOST}"));
    site.world.run_for(10 * SECOND);
    assert!(syslog.status().contains("no route there"), "{}", syslog.status());
    let id = stack.interfaces()[0].id;
    stack.add_address(id, "10.0.0.1/24".parse().unwrap()).unwrap();
    site.world.run_for(SECOND);
    assert_eq!(site.numbers(), (0..10).collect::<Vec<_>>());
}

#[test]
fn lines_that_the_ring_lost_are_counted_and_said() {
    let site = Site::new(4, Faults::default());
    site.say(0..10);
    let (_, syslog) = site.start(&format!("loghost={LOGHOST}"));
    site.world.run_for(5 * SECOND);
    // Several times what the ring keeps.
    site.say(10..6000);
    site.world.run_for(5 * SECOND);
    site.listen();
    site.world.run_for(10 * SECOND);
    let numbers = site.numbers();
    assert!(
        numbers.starts_with(&(0..10).collect::<Vec<_>>()) && numbers.ends_with(&[5998, 5999]),
        "{numbers:?}"
    );
    let heard = site.heard.borrow();
    let said: Vec<_> = heard.iter().filter(|message| message.kind.as_deref() == Some("syslog")).collect();
    let [said] = said[..] else { panic!("{said:?}") };
    let lost: usize = said.text.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(said.text, format!("{lost} lines of the log were lost before they could be sent"));
    assert_eq!((said.severity, lost + numbers.len()), (4, 6000));
    assert_eq!(syslog.counters()[0].1.lost, lost as u64);
}

#[test]
fn what_the_wire_loses_is_missing_from_the_sequence() {
    let site = Site::new(5, Faults { loss: 10, ..Faults::default() });
    site.listen();
    let (_, syslog) = site.start(&format!("loghost={LOGHOST}"));
    site.say(0..1000);
    site.world.run_for(10 * SECOND);
    let (numbers, sequences) = (site.numbers(), site.sequences());
    assert!((800..960).contains(&numbers.len()), "{}", numbers.len());
    let expected: Vec<_> = numbers.iter().map(|n| *n as u32 + 1).collect();
    assert_eq!(sequences, expected);
    assert_eq!(syslog.counters()[0].1.sent, 1000);
}

#[test]
fn a_log_in_full_cry_is_sent_at_a_bounded_rate() {
    let site = Site::new(6, Faults::default());
    site.listen();
    site.start(&format!("loghost={LOGHOST}"));
    site.say(0..1500);
    site.world.run_for(SECOND);
    assert!((800..1050).contains(&site.numbers().len()), "{}", site.numbers().len());
    site.world.run_for(SECOND);
    assert_eq!(site.numbers().len(), 1500);
}

#[test]
fn each_host_hears_all_that_is_grave_enough() {
    let site = Site::new(7, Faults::default());
    site.listen();
    // A host that is never there holds up nobody.
    let (_, syslog) = site.start(&format!("loghost=10.0.0.9 loghost={LOGHOST} loglevel=4"));
    site.say(0..10);
    site.log.push(b"[    0.000001] 0 WARN  test: beware\n[    0.000001] 0 ERROR test: now\n");
    site.world.run_for(SECOND);
    let texts: Vec<_> = site.heard.borrow().iter().map(|message| message.text.clone()).collect();
    assert_eq!(texts, ["beware", "now"]);
    let counters: Vec<_> = syslog.counters().into_iter().map(|(_, counters)| counters).collect();
    assert_eq!((counters[0].sent, counters[1].sent, counters[1].unwanted), (0, 2, 10));
    site.world.run(syslog.wait());
}
