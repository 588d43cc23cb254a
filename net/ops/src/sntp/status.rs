//! The time and its source, for people.

use super::{Client, Counters, Servers};
use crate::civil::Timestamp;
use alloc::string::String;
use core::fmt::{self, Write};
use core::time::Duration;

/// A difference of times in nanoseconds: `+3.2 s`, `-12.3 ms`, `+45 us`.
pub(super) struct Nanos(pub i64);

impl Nanos {
    /// Of a span.
    pub fn of(span: Duration) -> Nanos {
        Nanos(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Nanos {
    /// With a plus sign only for `{:+}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.0 {
            ..0 => "-",
            _ if f.sign_plus() => "+",
            _ => "",
        };
        let micros = self.0.unsigned_abs() / 1000;
        match micros {
            1_000_000.. => write!(f, "{sign}{}.{} s", micros / 1_000_000, micros / 100_000 % 10),
            1000.. => write!(f, "{sign}{}.{} ms", micros / 1000, micros / 100 % 10),
            _ => write!(f, "{sign}{micros} us"),
        }
    }
}

pub(super) fn text(client: &Client) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(client, &mut text);
    text
}

fn write(client: &Client, text: &mut String) -> fmt::Result {
    let (clock, now) = (&client.clock, client.clock.now());
    let known = if clock.wall_is_known() {
        ""
    } else {
        ", as the machine's own clock has it, which nobody confirmed"
    };
    writeln!(text, "{}{known}", Timestamp(clock.wall()))?;
    if let Some((server, sample, when)) = client.last.get() {
        writeln!(
            text,
            "server {server} stratum {}: offset {:+}, delay {}, asked {} s ago",
            sample.stratum,
            Nanos(sample.offset),
            Nanos::of(sample.delay),
            (now - when).as_secs(),
        )?;
    }
    if clock.wall_rate() != 0 {
        writeln!(text, "slewing at {} parts in 10^9", clock.wall_rate())?;
    }
    match &client.servers {
        Servers::Named(hosts) if hosts.is_empty() => return writeln!(text, "nobody is asked (ntp=none)"),
        Servers::Leased if client.last.get().is_none() && client.troubles.borrow().is_empty() => {
            return writeln!(text, "no server: none came by DHCP; ntp=HOST names one");
        }
        _ => writeln!(text, "next request in {} s", (client.next.get() - now).as_secs())?,
    }
    for (server, trouble) in client.troubles.borrow().iter() {
        writeln!(text, "server {server}: {trouble}")?;
    }
    for server in client.denied.borrow().iter() {
        writeln!(text, "server {server}: does not want to be asked, and is not any more")?;
    }
    let Counters {
        asked,
        answered,
        unanswered,
        late,
        strangers,
        foreign,
        malformed,
        kisses,
        unsynchronised,
        absurd,
    } = client.counters.get();
    writeln!(
        text,
        "{asked} asked, {answered} answered, {unanswered} unanswered; refused: {late} late, {strangers} from strangers, \
         {foreign} foreign, {malformed} malformed, {kisses} kisses of death, {unsynchronised} unsynchronised, {absurd} absurd"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_written_in_the_unit_that_fits() {
        for (nanos, text) in [
            (0, "+0 us"),
            (45_999, "+45 us"),
            (-1_234_567, "-1.2 ms"),
            (3_249_000_000, "+3.2 s"),
            (i64::MIN, "-9223372036.8 s"),
        ] {
            assert_eq!(alloc::format!("{:+}", Nanos(nanos)), text);
        }
        assert_eq!(alloc::format!("{}", Nanos(1_200_000)), "1.2 ms");
    }
}
