//! Requests and their answers.

use super::packet::{self, Refused, Reply};
use super::{Client, Sample};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use keelson_hal::Instant;
use keelson_net::{Reach, UdpOptions, UdpSocket};

/// The port of NTP.
const PORT: u16 = 123;
/// Samples at the start, of which that with the lowest delay counts, and requests for one later.
const SAMPLES: usize = 4;
/// Time between two requests (RFC 5905 section 7.2: BURST, every 2 s).
const SPACING: Duration = Duration::from_secs(2);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the next host on the way is waited for, and how often is looked.
const RESOLUTION: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);
/// A later sample is good if its delay is at most twice the lowest one and this much.
const SLACK: Duration = Duration::from_millis(1);

/// Why a server did not tell the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// No route leads there.
    NoRoute,
    /// The next host on the way does not answer.
    Unreachable,
    /// No answer in time.
    Silent,
    /// It does not want to be asked so often.
    TooOften,
    /// It does not want to be asked at all.
    Denied,
    /// An answer that does not tell the time.
    Refused(Refused),
}

impl Trouble {
    /// Whether the server had a chance to answer.
    pub fn was_asked(self) -> bool {
        !matches!(self, Trouble::NoRoute | Trouble::Unreachable)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::NoRoute => "no route there",
            Trouble::Unreachable => "the next host on the way does not answer",
            Trouble::Silent => "no answer",
            Trouble::TooOften => "it does not want to be asked so often",
            Trouble::Denied => "it does not want to be asked",
            Trouble::Refused(refused) => return refused.fmt(f),
        })
    }
}

impl Client {
    /// The best of several samples at the start, later the first that is good.
    pub(super) async fn sample(&self, server: IpAddr) -> Result<Sample, Trouble> {
        self.wait_for_way(server).await?;
        let options = UdpOptions { queue: 16, ..UdpOptions::default() };
        // Another port each time, so that a forger has to guess it.
        let Ok(socket) = self.stack.bind_udp(0, options) else { return Err(Trouble::NoRoute) };
        let same = self.last.get().is_some_and(|(last, _, _)| last == server);
        let good = self.lowest.get().filter(|_| same).map(|lowest| lowest * 2 + SLACK);
        let mut cookies = Vec::with_capacity(SAMPLES);
        let (mut best, mut trouble) = (None::<Sample>, Trouble::Silent);
        for turn in 0..SAMPLES {
            if turn > 0 {
                self.handle.sleep(SPACING).await;
            }
            match self.exchange(&socket, SocketAddr::new(server, PORT), &mut cookies).await {
                Ok(sample) => {
                    if best.is_none_or(|best| sample.delay < best.delay) {
                        best = Some(sample);
                    }
                    if good.is_some_and(|good| sample.delay <= good) {
                        break;
                    }
                }
                // Somebody who does not know now will not know in two seconds.
                Err(found) if found != Trouble::Silent => {
                    trouble = found;
                    break;
                }
                Err(_) => {}
            }
        }
        if trouble == Trouble::TooOften {
            self.slow_down();
        }
        best.ok_or(trouble)
    }

    async fn wait_for_way(&self, server: IpAddr) -> Result<(), Trouble> {
        let end = self.clock.now() + RESOLUTION;
        loop {
            match self.stack.reach(server) {
                Reach::Known(_) => return Ok(()),
                Reach::NoRoute => return Err(Trouble::NoRoute),
                Reach::Asking if self.clock.now() >= end => return Err(Trouble::Unreachable),
                Reach::Asking => self.handle.sleep(LOOK).await,
            }
        }
    }

    /// Asks once.
    async fn exchange(
        &self,
        socket: &UdpSocket,
        server: SocketAddr,
        cookies: &mut Vec<u64>,
    ) -> Result<Sample, Trouble> {
        let cookie = self.entropy.next_u64();
        let asked = (self.clock.now(), self.clock.wall());
        if socket.send(None, server, &packet::request(cookie)).is_err() {
            return Err(Trouble::Silent);
        }
        self.count(|counters| counters.asked += 1);
        let end = asked.0 + PATIENCE;
        loop {
            let Ok(datagram) = self.handle.timeout(end - self.clock.now(), socket.receive()).await else {
                self.count(|counters| counters.unanswered += 1);
                cookies.push(cookie);
                return Err(Trouble::Silent);
            };
            let answered = (self.clock.now(), self.clock.wall());
            if datagram.peer != server {
                self.count(|counters| counters.strangers += 1);
                continue;
            }
            let read = packet::parse(&datagram.payload, cookie);
            let read = read.and_then(|reply| sample(&reply, asked, answered).ok_or(Refused::Malformed));
            match read {
                Ok(sample) => {
                    self.count(|counters| counters.answered += 1);
                    cookies.push(cookie);
                    return Ok(sample);
                }
                // Anybody can send these: the answer may still come.
                Err(Refused::Foreign(origin)) if cookies.contains(&origin) => {
                    self.count(|counters| counters.late += 1)
                }
                Err(Refused::Foreign(_)) => self.count(|counters| counters.foreign += 1),
                Err(Refused::Malformed) => self.count(|counters| counters.malformed += 1),
                Err(refused @ Refused::Kiss(code)) => {
                    self.count(|counters| counters.kisses += 1);
                    return Err(match &code {
                        b"DENY" | b"RSTR" => Trouble::Denied,
                        b"RATE" => Trouble::TooOften,
                        _ => Trouble::Refused(refused),
                    });
                }
                Err(refused @ Refused::Unsynchronised) => {
                    self.count(|counters| counters.unsynchronised += 1);
                    return Err(Trouble::Refused(refused));
                }
            }
        }
    }
}

/// What an answer says of our clock (RFC 5905 section 8), which was read when the request left and when the answer came: monotonic
/// and wall-clock time. `None` when the server says that it took longer than that.
fn sample(reply: &Reply, asked: (Instant, Duration), answered: (Instant, Duration)) -> Option<Sample> {
    /// What clocks of different rates and grains may differ in.
    const GRAIN: i128 = 1_000_000;
    let nanos = |wall: Duration| i128::try_from(wall.as_nanos()).unwrap_or(i128::MAX);
    let trip = nanos(answered.0 - asked.0);
    let delay = trip - (reply.sent - reply.received);
    let delay = if delay < -GRAIN { return None } else { delay.max(0) };
    let there = reply.received - nanos(asked.1);
    let back = reply.sent - nanos(answered.1);
    Some(Sample {
        offset: i64::try_from((there + back) / 2).ok()?,
        delay: Duration::from_nanos(u64::try_from(delay).ok()?),
        stratum: reply.stratum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_and_delay_are_those_of_the_standard() {
        let second = 1_000_000_000;
        let (t1, t4) = (Duration::from_secs(100), Duration::from_secs(102));
        let reply = |received, sent| Reply { stratum: 1, received, sent, distance: Duration::ZERO };
        let (asked, answered) = ((Instant::ZERO, t1), (Instant::ZERO + (t4 - t1), t4));
        let found = sample(&reply(150 * second, 151 * second), asked, answered).unwrap();
        assert_eq!((found.offset, found.delay), (49_500_000_000, Duration::from_secs(1)));
        let found = sample(&reply(50 * second, 52 * second), asked, answered).unwrap();
        assert_eq!((found.offset, found.delay), (-50_000_000_000, Duration::ZERO));
        assert_eq!(sample(&reply(50 * second, 53 * second), asked, answered), None);
    }
}
