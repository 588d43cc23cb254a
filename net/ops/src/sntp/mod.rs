//! The time of day from others: an SNTP client (RFC 5905, client mode).
//!
//! ```text
//!   servers (ntp=, DHCP) -> exchange -> sample of the lowest delay -> Discipline -> WallClock
//!                           packet      4 at the start, then 1        step, slew    set once, then slewed
//! ```
//!
//! At the start the clock is set if it is off by more than 128 ms; from then on it is only slewed, by 500 parts in 10^6 at most, so
//! that nobody sees time jump. Monotonic time is never touched. One server is asked; the next one when it does not answer, does
//! not know, or says what cannot be.
//!
//! Not here: comparing servers with each other, correcting the rate of the machine's counter, keys (RFC 8915), serving the time.

mod discipline;
mod exchange;
mod options;
pub mod packet;
mod status;

pub use discipline::Sample;
pub use options::{OPTIONS, Servers};

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use core::time::Duration;
use discipline::{Correction, Discipline, LONGEST};
use exchange::Trouble;
use keelson_exec::{Either, Handle, select};
use keelson_hal::{Entropy, Instant, WallClock};
use keelson_net::Stack;
use status::Nanos;

/// Pause after the first attempt that failed while the time is not known; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(4);
/// How often is looked for a server, or for a way there, while there is none and no interface changes.
const AGAIN: Duration = Duration::from_secs(16);
/// What a change of an interface still brings along: the rest of a lease, the carrier of others.
const SETTLED: Duration = Duration::from_millis(100);
/// A correction that people want to hear of, in nanoseconds.
const REMARKABLE: i64 = 128_000_000;

/// What has happened so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Requests that were sent.
    pub asked: u64,
    /// Answers that told the time.
    pub answered: u64,
    /// Requests without an answer in time.
    pub unanswered: u64,
    /// Answers that came too late.
    pub late: u64,
    /// Datagrams from an address or a port that was not asked.
    pub strangers: u64,
    /// Answers to what was not asked: forged, or for somebody else.
    pub foreign: u64,
    /// Packets that make no sense.
    pub malformed: u64,
    /// Servers that did not want to be asked (kiss of death).
    pub kisses: u64,
    /// Servers that did not know the time.
    pub unsynchronised: u64,
    /// Times that could not be.
    pub absurd: u64,
}

/// The client. Clones are the same.
#[derive(Clone)]
pub struct Sntp(Rc<Client>);

struct Client {
    handle: Handle,
    stack: Stack,
    entropy: Rc<dyn Entropy>,
    clock: Rc<dyn WallClock>,
    servers: Servers,
    discipline: Cell<Discipline>,
    counters: Cell<Counters>,
    /// Who told the time last, what, and when.
    last: Cell<Option<(IpAddr, Sample, Instant)>>,
    /// The lowest delay of that server so far.
    lowest: Cell<Option<Duration>>,
    /// The server to begin with.
    preferred: Cell<Option<IpAddr>>,
    /// Servers that do not want to be asked again.
    denied: RefCell<Vec<IpAddr>>,
    /// What kept the last servers from telling the time.
    troubles: RefCell<Vec<(String, String)>>,
    /// When somebody is asked again.
    next: Cell<Instant>,
    /// Counts corrections, so that the end of a slew ends only its own.
    slew: Cell<u64>,
}

/// What came of asking all servers.
enum Found {
    /// The time.
    Time(IpAddr, Sample),
    /// Servers were asked in vain.
    Silence,
    /// There was nobody to ask, or no way there.
    Nobody,
}

impl Sntp {
    /// Starts asking; nothing is started when nobody is to be asked.
    pub fn start(
        handle: &Handle,
        stack: &Stack,
        entropy: Rc<dyn Entropy>,
        clock: Rc<dyn WallClock>,
        servers: Servers,
    ) -> Sntp {
        let client = Rc::new(Client {
            handle: handle.clone(),
            stack: stack.clone(),
            entropy,
            clock,
            servers,
            discipline: Cell::default(),
            counters: Cell::default(),
            last: Cell::new(None),
            lowest: Cell::new(None),
            preferred: Cell::new(None),
            denied: RefCell::default(),
            troubles: RefCell::default(),
            next: Cell::new(Instant::ZERO),
            slew: Cell::new(0),
        });
        if client.servers != Servers::Named(Vec::new()) {
            handle.spawn("sntp", client.clone().run());
        }
        Sntp(client)
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.0.counters.get()
    }

    /// What was measured last, and who told.
    pub fn last(&self) -> Option<(IpAddr, Sample)> {
        self.0.last.get().map(|(server, sample, _)| (server, sample))
    }

    /// The time, where it is from, and how good it is: for people.
    pub fn status(&self) -> String {
        status::text(&self.0)
    }
}

impl Client {
    async fn run(self: Rc<Self>) {
        let mut pause = FIRST_PAUSE;
        let mut changes = self.stack.events();
        loop {
            while changes.try_next().is_some() {}
            let wait = match self.ask().await {
                Found::Time(server, sample) => {
                    self.correct(server, &sample);
                    pause = FIRST_PAUSE;
                    self.discipline.get().interval()
                }
                Found::Nobody => {
                    self.next.set(self.clock.now() + AGAIN);
                    if let Either::First(_) = select(changes.next(), self.handle.sleep(AGAIN)).await {
                        self.handle.sleep(SETTLED).await;
                    }
                    continue;
                }
                Found::Silence if self.clock.wall_is_known() => {
                    self.slow_down();
                    self.discipline.get().interval()
                }
                Found::Silence => {
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST);
                    wait
                }
            };
            // Nodes that were switched on together do not ask together for ever.
            let fuzz = (self.entropy.next_u64() % 64) as u32;
            let wait = wait + wait * fuzz / 1024;
            self.next.set(self.clock.now() + wait);
            self.handle.sleep(wait).await;
        }
    }

    fn count(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    fn slow_down(&self) {
        let mut discipline = self.discipline.get();
        discipline.slow_down();
        self.discipline.set(discipline);
    }

    /// Asks one server after the other until one tells the time.
    async fn ask(&self) -> Found {
        let mut troubles = Vec::new();
        let servers = self.addresses(&mut troubles).await;
        let mut asked = false;
        for server in servers {
            match self.sample(server).await {
                Ok(sample) => {
                    *self.troubles.borrow_mut() = troubles;
                    return Found::Time(server, sample);
                }
                Err(trouble) => {
                    asked |= trouble.was_asked();
                    if trouble == Trouble::Denied {
                        self.denied.borrow_mut().push(server);
                        log::warn!(target: "sntp", "server {server} does not want to be asked, and is not any more");
                    }
                    troubles.push((server.to_string(), trouble.to_string()));
                }
            }
        }
        *self.troubles.borrow_mut() = troubles;
        if asked { Found::Silence } else { Found::Nobody }
    }

    /// The servers' addresses, the preferred one first, without those that do not want to be asked.
    async fn addresses(&self, troubles: &mut Vec<(String, String)>) -> Vec<IpAddr> {
        let mut found = Vec::new();
        match &self.servers {
            Servers::Leased => {
                let leases = self.stack.interfaces().into_iter().filter_map(|nic| self.stack.lease(nic.id));
                found.extend(leases.flat_map(|lease| lease.ntp_servers).map(IpAddr::V4));
            }
            Servers::Named(hosts) => {
                for host in hosts {
                    match self.stack.resolve(host).await {
                        // One address of a name: the others are the same host, or serve the same pool.
                        Ok(addresses) => found.extend(addresses.first()),
                        Err(error) => troubles.push((host.clone(), error.to_string())),
                    }
                }
            }
        }
        let denied = self.denied.borrow();
        found.retain(|server| !denied.contains(server));
        if let Some(at) = found.iter().position(|server| Some(*server) == self.preferred.get()) {
            found[..=at].rotate_right(1);
        }
        found
    }

    /// Does to the clock what a sample asks for.
    fn correct(self: &Rc<Self>, server: IpAddr, sample: &Sample) {
        if self.last.get().is_none_or(|(last, _, _)| last != server) {
            self.lowest.set(None);
        }
        let mut discipline = self.discipline.get();
        let correction = discipline.take(sample);
        self.discipline.set(discipline);
        let from =
            format_args!("server {server} stratum {}, delay {}", sample.stratum, Nanos::of(sample.delay));
        let offset = Nanos(sample.offset);
        match correction {
            Correction::Step(nanos) => {
                self.set_rate(0, Duration::ZERO);
                self.clock.step(nanos);
                log::info!(target: "sntp", "clock stepped by {offset:+}, {from}");
            }
            Correction::Slew { rate, span } => {
                self.set_rate(rate, span);
                let first = !self.clock.wall_is_known();
                let level = match sample.offset.saturating_abs() {
                    REMARKABLE.. => log::Level::Warn,
                    _ if first => log::Level::Info,
                    _ => log::Level::Debug,
                };
                log::log!(target: "sntp", level, "clock slewed by {offset:+} within {} s, {from}", span.as_secs());
            }
            Correction::Absurd => {
                self.count(|counters| counters.absurd += 1);
                self.preferred.set(None);
                let trouble = alloc::format!("its time differs by {offset:+}, which is not believed");
                log::warn!(target: "sntp", "server {server}: {trouble}");
                self.troubles.borrow_mut().push((server.to_string(), trouble));
                return;
            }
        }
        self.clock.set_known(true);
        self.preferred.set(Some(server));
        self.last.set(Some((server, *sample, self.clock.now())));
        self.lowest.set(Some(self.lowest.get().map_or(sample.delay, |lowest| lowest.min(sample.delay))));
    }

    /// Lets the clock run at a rate for a while, and then as it is.
    fn set_rate(self: &Rc<Self>, rate: i32, span: Duration) {
        let number = self.slew.get() + 1;
        self.slew.set(number);
        self.clock.set_rate(rate);
        if rate != 0 {
            let (client, end) = (self.clone(), self.clock.now() + span);
            self.handle.spawn("sntp-slew", async move {
                client.handle.sleep_until(end).await;
                if client.slew.get() == number {
                    client.clock.set_rate(0);
                }
            });
        }
    }
}
