//! What servers of the time answer, and what the log may say on its way to other hosts.

use keelson_hal::Instant;
use keelson_ops::sntp::packet::{LEN, Refused, parse, reply, request};
use keelson_ops::syslog::message::{LONGEST, Message};
use keelson_ops::syslog::received;
use std::time::Duration;

/// A cookie that stands in no packet by chance.
const COOKIE: u64 = 0x5a17_c0de_0000_0001;

/// The input is a packet: once as it is, and once as the answer to the request that was sent.
pub fn sntp(input: &[u8]) {
    if parse(input, COOKIE).is_ok() {
        assert_eq!(input.get(24..32), Some(&COOKIE.to_be_bytes()[..]), "an answer to another request");
    }
    let mut packet = input.to_vec();
    let Some(origin) = packet.get_mut(24..32) else { return };
    origin.copy_from_slice(&COOKIE.to_be_bytes());
    match parse(&packet, COOKIE) {
        Err(Refused::Foreign(origin)) => panic!("{origin:x} is the cookie"),
        Err(refused) => assert!(!refused.to_string().is_empty()),
        Ok(read) => {
            assert!(packet.len() >= LEN && (1..16).contains(&read.stratum) && read.received <= read.sent);
            // The same times mean the same again.
            let wall = |nanos: i128| Duration::from_nanos(u64::try_from(nanos).expect("after 1970"));
            let again = reply(&request(COOKIE), read.stratum, wall(read.received), wall(read.sent));
            let again = parse(&again, COOKIE).expect("what was read can be sent");
            assert_eq!((again.stratum, again.received, again.sent), (read.stratum, read.received, read.sent));
        }
    }
}

/// The input is facility, severity and what is said; lines are host, target and text. Receivers can read all of it; and the input
/// itself as a message is read or refused.
pub fn syslog(input: &[u8]) {
    let _ = received::parse(input);
    let [facility, severity, rest @ ..] = input else { return };
    let text = String::from_utf8_lossy(rest);
    let mut parts = text.splitn(3, '\n');
    let mut next = || parts.next().unwrap_or_default();
    let (host, kind, said) = (next(), next(), next());
    let message = Message {
        facility: facility % 24,
        severity: *severity,
        wall: (facility & 0x80 != 0).then(|| Duration::from_secs(u64::from(*severity) << (facility & 31))),
        since_boot: Instant::from_nanos(u64::from(*severity) << 40),
        host,
        app: "fuzz",
        kind,
        sequence: 1 + u32::from(*severity),
        text: said,
    };
    let mut out = String::new();
    message.write(&mut out);
    assert!(out.len() <= LONGEST);
    let read = received::parse(out.as_bytes()).unwrap_or_else(|why| panic!("{why}: {out:?}"));
    assert_eq!((read.facility, read.severity), (facility % 24, (*severity).min(7)));
    assert_eq!(read.sequence(), Some(1 + u32::from(*severity)));
}
