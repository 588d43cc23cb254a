//! The 48 bytes of NTP (RFC 5905 section 7.3), as a client sends and reads them.

use core::fmt;
use core::time::Duration;

/// Bytes of a packet without extensions.
pub const LEN: usize = 48;
/// Version 4, mode 3: client.
const REQUEST: u8 = 4 << 3 | 3;
/// Mode of a server's reply.
const SERVER: u8 = 4;
/// Leap indicator of a server that is not synchronised.
const ALARM: u8 = 3;
/// Stratum from which on a server is not synchronised.
const UNSYNCHRONISED: u8 = 16;
/// Half the round trip to the root and the dispersion there, of a server that knows the time (section 10: MAXDISP).
const MAX_DISTANCE: Duration = Duration::from_secs(16);

/// Offsets of fields.
mod at {
    pub const STRATUM: usize = 1;
    pub const ROOT_DELAY: usize = 4;
    pub const ROOT_DISPERSION: usize = 8;
    pub const REFERENCE_ID: usize = 12;
    pub const ORIGIN: usize = 24;
    pub const RECEIVE: usize = 32;
    pub const TRANSMIT: usize = 40;
}

/// Seconds from 1900, where era 0 of NTP begins, to 1970.
const TO_1970: u32 = 2_208_988_800;
/// 2025-01-01: no reply that this code gets was sent before. The 136 years from here on are those that a timestamp's 32 bits of
/// seconds mean, whatever the clock shows, over the end of era 0 in February 2036 and that of era 1 in 2172.
const EARLIEST: u64 = 1_735_689_600;

/// A time of NTP in nanoseconds since 1970.
fn nanos(timestamp: u64) -> i128 {
    let (seconds, fraction) = ((timestamp >> 32) as u32, timestamp & 0xffff_ffff);
    let behind = seconds.wrapping_sub(TO_1970).wrapping_sub(EARLIEST as u32);
    let seconds = EARLIEST + u64::from(behind);
    i128::from(seconds) * 1_000_000_000 + i128::from((fraction * 1_000_000_000) >> 32)
}

/// The timestamp of a moment: for servers in tests.
pub fn timestamp(wall: Duration) -> u64 {
    let seconds = (wall.as_secs() as u32).wrapping_add(TO_1970);
    // Rounded up, so that it is read as what it was.
    let fraction = (u64::from(wall.subsec_nanos()) << 32).div_ceil(1_000_000_000);
    // Zero says that there is no time: the moment at which era 1 begins is a fraction of a nanosecond late.
    (u64::from(seconds) << 32 | fraction.min(0xffff_ffff)).max(1)
}

/// A request. The server returns `cookie`, which stands where the client's time could: it proves that an answer is one, and tells
/// nobody what time it is here.
pub fn request(cookie: u64) -> [u8; LEN] {
    let mut packet = [0; LEN];
    packet[0] = REQUEST;
    packet[at::TRANSMIT..].copy_from_slice(&cookie.to_be_bytes());
    packet
}

/// What a server says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Steps from a clock that shows UTC by itself, 1 to 15.
    pub stratum: u8,
    /// When the request arrived, in nanoseconds since 1970.
    pub received: i128,
    /// When the reply left, likewise.
    pub sent: i128,
    /// The server's own distance from UTC at most, as it believes.
    pub distance: Duration,
}

/// Why a packet says nothing about the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Shorter than 48 bytes, of another version, not from a server, or with times that cannot be.
    Malformed,
    /// It returns another cookie: that of an earlier request, or of none.
    Foreign(u64),
    /// The kiss of death (section 7.4), with its code.
    Kiss([u8; 4]),
    /// The server does not know the time.
    Unsynchronised,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Malformed => f.write_str("its answer makes no sense"),
            Refused::Foreign(_) => f.write_str("its answer is for somebody else"),
            Refused::Kiss(code) => {
                f.write_str("it does not want to be asked (")?;
                code.iter()
                    .filter(|byte| byte.is_ascii_graphic())
                    .try_for_each(|byte| write!(f, "{}", *byte as char))?;
                f.write_str(")")
            }
            Refused::Unsynchronised => f.write_str("it does not know the time itself"),
        }
    }
}

/// Reads the answer to the request with `cookie`.
pub fn parse(packet: &[u8], cookie: u64) -> Result<Reply, Refused> {
    let packet: &[u8; LEN] = packet.first_chunk().ok_or(Refused::Malformed)?;
    let (leap, version, mode) = (packet[0] >> 6, packet[0] >> 3 & 7, packet[0] & 7);
    if mode != SERVER || !(3..=4).contains(&version) {
        return Err(Refused::Malformed);
    }
    // Before all else: whoever does not know the cookie says nothing at all.
    let origin = u64_at(packet, at::ORIGIN);
    if origin != cookie {
        return Err(Refused::Foreign(origin));
    }
    let stratum = packet[at::STRATUM];
    if stratum == 0 {
        let mut code = [0; 4];
        code.copy_from_slice(&packet[at::REFERENCE_ID..at::REFERENCE_ID + 4]);
        return Err(Refused::Kiss(code));
    }
    let distance = short(packet, at::ROOT_DELAY) / 2 + short(packet, at::ROOT_DISPERSION);
    if leap == ALARM || stratum >= UNSYNCHRONISED || distance > MAX_DISTANCE {
        return Err(Refused::Unsynchronised);
    }
    let (receive, transmit) = (u64_at(packet, at::RECEIVE), u64_at(packet, at::TRANSMIT));
    let (received, sent) = (nanos(receive), nanos(transmit));
    if receive == 0 || transmit == 0 || sent < received {
        return Err(Refused::Malformed);
    }
    Ok(Reply { stratum, received, sent, distance })
}

fn u64_at(packet: &[u8; LEN], at: usize) -> u64 {
    packet[at..at + 8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// A span of 16 bits of seconds and 16 of their fraction.
fn short(packet: &[u8; LEN], at: usize) -> Duration {
    let value = packet[at..at + 4].iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    Duration::from_nanos((value * 1_000_000_000) >> 16)
}

/// A reply as a server makes it: for servers in tests.
pub fn reply(request: &[u8], stratum: u8, received: Duration, sent: Duration) -> [u8; LEN] {
    let mut packet = [0; LEN];
    packet[0] = 4 << 3 | SERVER;
    packet[at::STRATUM] = stratum;
    if let Some(cookie) = request.get(at::TRANSMIT..LEN) {
        packet[at::ORIGIN..at::RECEIVE].copy_from_slice(cookie);
    }
    packet[at::RECEIVE..at::TRANSMIT].copy_from_slice(&timestamp(received).to_be_bytes());
    packet[at::TRANSMIT..].copy_from_slice(&timestamp(sent).to_be_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COOKIE: u64 = 0x0123_4567_89ab_cdef;
    const NOW: Duration = Duration::new(1_800_000_000, 500_000_000);

    fn good() -> [u8; LEN] {
        reply(&request(COOKIE), 2, NOW, NOW + Duration::from_micros(10))
    }

    #[test]
    fn the_moment_at_which_era_1_begins_is_a_time() {
        let moment = Duration::from_secs((1 << 32) - u64::from(TO_1970));
        let reply = parse(&reply(&request(COOKIE), 2, moment, moment), COOKIE).unwrap();
        assert_eq!((reply.received, reply.sent), (moment.as_nanos() as i128, moment.as_nanos() as i128));
    }

    #[test]
    fn a_request_is_48_bytes_that_tell_nothing_but_the_cookie() {
        let packet = request(COOKIE);
        assert_eq!(
            (packet[0], &packet[1..40], &packet[40..]),
            (0x23, &[0; 39][..], &COOKIE.to_be_bytes()[..])
        );
    }

    #[test]
    fn a_reply_is_read() {
        let read = parse(&good(), COOKIE).unwrap();
        assert_eq!((read.stratum, read.received), (2, NOW.as_nanos() as i128));
        assert_eq!(read.sent - read.received, 10_000);
        // Of an older server, with extensions.
        let mut old = good().to_vec();
        old[0] = 3 << 3 | 4;
        old[4..12].copy_from_slice(&[0, 2, 0, 0, 0, 0, 0x80, 0]);
        old.extend([7; 20]);
        assert_eq!(parse(&old, COOKIE).unwrap().distance, Duration::from_millis(1500));
    }

    #[test]
    fn what_does_not_tell_the_time_is_refused() {
        let with = |at: usize, bytes: &[u8]| {
            let mut packet = good();
            packet[at..at + bytes.len()].copy_from_slice(bytes);
            parse(&packet, COOKIE)
        };
        for first in [0x23, 0x25, 0x0c, 0x2c, 0x24 & 7] {
            assert_eq!(with(0, &[first]), Err(Refused::Malformed), "{first:#x}");
        }
        assert_eq!(with(0, &[0xe4]), Err(Refused::Unsynchronised));
        assert_eq!(with(1, &[16]), Err(Refused::Unsynchronised));
        assert_eq!(with(8, &[0, 17]), Err(Refused::Unsynchronised));
        assert_eq!(with(31, &[0xee]), Err(Refused::Foreign(COOKIE ^ 1)));
        assert_eq!(with(32, &[0; 8]), Err(Refused::Malformed));
        assert_eq!(with(40, &[0; 8]), Err(Refused::Malformed));
        assert_eq!(with(32, &timestamp(NOW + Duration::from_secs(1)).to_be_bytes()), Err(Refused::Malformed));
        assert_eq!(parse(&good()[..47], COOKIE), Err(Refused::Malformed));
        let mut kiss = good();
        (kiss[1], kiss[12], kiss[13], kiss[14], kiss[15]) = (0, b'R', b'A', b'T', b'E');
        assert_eq!(parse(&kiss, COOKIE), Err(Refused::Kiss(*b"RATE")));
        assert_eq!(Refused::Kiss(*b"RATE").to_string(), "it does not want to be asked (RATE)");
        // A kiss from somebody who has not seen the request is none.
        assert_eq!(parse(&kiss, 1), Err(Refused::Foreign(COOKIE)));
    }

    #[test]
    fn eras_follow_each_other() {
        for (text, seconds, timestamp_seconds) in [
            ("2025", 1_735_689_600u64, 3_944_678_400u32),
            ("the last second of era 0", 2_085_978_495, u32::MAX),
            ("the first of era 1", 2_085_978_496, 0),
            ("2161", EARLIEST + u64::from(u32::MAX), 3_944_678_399),
        ] {
            let wall = Duration::from_secs(seconds);
            assert_eq!(timestamp(wall) >> 32, u64::from(timestamp_seconds), "{text}");
            assert_eq!(nanos(timestamp(wall)), wall.as_nanos() as i128, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80), mut packet in any::<[u8; LEN]>()) {
            let _ = parse(&bytes, COOKIE);
            packet[0] = packet[0] & 0xc0 | 0x24;
            packet[at::ORIGIN..at::RECEIVE].copy_from_slice(&COOKIE.to_be_bytes());
            if let Ok(read) = parse(&packet, COOKIE) {
                prop_assert!((1..16).contains(&read.stratum) && read.distance <= MAX_DISTANCE);
                let range = i128::from(EARLIEST) * 1_000_000_000..(i128::from(EARLIEST) + (1 << 32)) * 1_000_000_000;
                prop_assert!(range.contains(&read.received) && range.contains(&read.sent) && read.received <= read.sent);
            }
        }

        #[test]
        fn moments_survive_their_timestamps(seconds in EARLIEST..EARLIEST + (1 << 32), nano in 0u32..1_000_000_000) {
            let wall = Duration::new(seconds, nano);
            prop_assert_eq!(nanos(timestamp(wall)), wall.as_nanos() as i128);
        }
    }
}
