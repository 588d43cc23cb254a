//! The command `pcap`: the frames of an interface as a pcapng file for whoever asked, in tcpdump(8)'s words.

use super::find;
use crate::shell::{Chunks, Reply};
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::task::{Context, Poll};
use keelson_hal::{Clock, Instant};
use keelson_net::{Capture, CaptureOptions, Direction, Filter, Stack};
use keelson_ops::pcapng;

const USAGE: &str = "\
pcap [-i] DEV [-c COUNT] [-s BYTES] [FILTER]   frames of an interface, as a file for wireshark: ssh ADDRESS pcap eth0 >FILE
    -c COUNT   end after so many frames; else at Ctrl-C
    -s BYTES   keep so much of each
    FILTER     conditions joined by and, or: [not] host ADDR, net ADDR/PREFIX, [tcp|udp] port N, ether host MAC,
               ether proto N, arp, ip, ip6, tcp, udp, icmp, icmp6. What the session itself sends is left out unless
               the filter names its port
";

/// Frames that wait for their reader, in bytes.
const BUFFER: usize = 1 << 20;
/// What tcpdump keeps of a frame: more than the largest.
const SNAP_LEN: usize = 262_144;
/// Least that shows what a frame is.
const SNAP_MIN: usize = 14;
/// Bytes of the file that are sent at once, and the most that one more frame adds.
const CHUNK: usize = 32 << 10;

/// Runs `pcap` with these words. `session_port` is the TCP port by which the file leaves, `host` who wrote it.
pub fn pcap(stack: &Stack, clock: Rc<dyn Clock>, session_port: u16, host: &str, words: &[&str]) -> Reply {
    start(stack, clock, session_port, host, words).unwrap_or_else(Reply::Text)
}

fn start(
    stack: &Stack,
    clock: Rc<dyn Clock>,
    session_port: u16,
    host: &str,
    words: &[&str],
) -> Result<Reply, String> {
    let (mut count, mut snap_len) = (u64::MAX, SNAP_LEN);
    let (name, mut rest) = match words {
        ["-i", name, rest @ ..] => (name, rest),
        [name, rest @ ..] if !name.starts_with('-') => (name, rest),
        _ => return Err(String::from(USAGE)),
    };
    while let [option @ ("-c" | "-s"), value, after @ ..] = rest {
        let number: u64 = value.parse().map_err(|_| format!("{option} {value} is not a number\n"))?;
        match *option {
            "-c" if number > 0 => count = number,
            "-s" if (SNAP_MIN as u64..=SNAP_LEN as u64).contains(&number) => snap_len = number as usize,
            "-c" => return Err(String::from("-c 0: nothing to capture\n")),
            _ => return Err(format!("-s {number} is not between {SNAP_MIN} and {SNAP_LEN}\n")),
        }
        rest = after;
    }
    let mut filter = Filter::parse(rest).map_err(|error| format!("{error}\n"))?;
    if !filter.names_port(session_port) {
        // Otherwise every frame of the file would be followed by one about sending it.
        filter = filter.without_tcp_port(session_port);
    }
    let id = find(stack, name)?;
    let options = CaptureOptions { filter, snap_len, count, buffer: BUFFER };
    let capture = stack.capture(id, options).map_err(|error| format!("{name}: {error}\n"))?;
    let mut header = Vec::new();
    pcapng::header(&mut header, concat!("Keelson ", env!("CARGO_PKG_VERSION")), host, name, snap_len as u32);
    log::info!(target: "net", "{name}: frames are captured");
    Ok(Reply::Stream(Box::new(File {
        name: String::from(*name),
        capture,
        clock,
        header: Some(header),
        frame: Vec::new(),
        ended: false,
    })))
}

/// A file that is being written.
struct File {
    name: String,
    capture: Capture,
    clock: Rc<dyn Clock>,
    header: Option<Vec<u8>>,
    /// Bytes of the frame at hand.
    frame: Vec<u8>,
    ended: bool,
}

impl File {
    /// What time it was at a moment of the past, since 1970.
    fn wall_at(&self, at: Instant) -> core::time::Duration {
        self.clock.wall().saturating_sub(self.clock.now().saturating_since(at))
    }
}

impl Chunks for File {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        if let Some(header) = self.header.take() {
            return Poll::Ready(Some(header));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK {
            self.frame.clear();
            match self.capture.poll_next(cx, &mut self.frame) {
                Poll::Pending if chunk.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(None) => {
                    self.ended = true;
                    let (captured, dropped) = (self.capture.captured(), self.capture.dropped());
                    pcapng::statistics(&mut chunk, self.clock.wall(), captured, dropped);
                    break;
                }
                Poll::Ready(Some(captured)) => {
                    let is_outbound = captured.direction == Direction::Out;
                    pcapng::packet(
                        &mut chunk,
                        self.wall_at(captured.at),
                        captured.len,
                        &self.frame,
                        is_outbound,
                    );
                }
            }
        }
        Poll::Ready(Some(chunk))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let (captured, dropped) = (self.capture.captured(), self.capture.dropped());
        log::info!(target: "net", "{}: {captured} frames captured, {dropped} dropped for a slow reader", self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::task::Waker;
    use core::time::Duration;
    use keelson_hal::NetFeatures;
    use keelson_net::UdpOptions;
    use keelson_net_sim::{Faults, Lab};

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Instant {
            Instant::from_nanos(2_000_000_000)
        }
        fn wall(&self) -> Duration {
            Duration::from_secs(1_000_000)
        }
    }

    fn typed(stack: &Stack, line: &str) -> Reply {
        pcap(stack, Rc::new(Noon), 22, "node", &line.split_whitespace().collect::<Vec<_>>())
    }

    fn chunk(file: &mut dyn Chunks) -> Poll<Option<Vec<u8>>> {
        file.poll_chunk(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn frames_come_as_they_pass_until_there_are_enough() {
        let lab = Lab::new(1, Faults::default());
        let (stack, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
        let (other, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
        let Reply::Stream(mut file) = typed(&stack, "eth0 -c 4 -s 20 host 10.0.0.2") else { panic!() };
        assert!(
            matches!(chunk(&mut *file), Poll::Ready(Some(header)) if header.starts_with(&[10, 13, 13, 10]))
        );
        assert_eq!(chunk(&mut *file), Poll::Pending);
        let receiver = other.bind_udp(7, UdpOptions::default()).unwrap();
        let sender = stack.bind_udp(0, UdpOptions::default()).unwrap();
        for _ in 0..9 {
            sender.send(None, "10.0.0.2:7".parse().unwrap(), b"!").unwrap();
            lab.run_for(Duration::from_millis(10));
        }
        drop(receiver);
        let Poll::Ready(Some(blocks)) = chunk(&mut *file) else { panic!() };
        // Question and answer of ARP, two datagrams, each of 20 bytes, and the statistics.
        assert_eq!(blocks.chunks(4).filter(|word| *word == 20u32.to_le_bytes()).count(), 4);
        assert!(blocks.windows(12).any(|at| at == [4, 0, 8, 0, 4, 0, 0, 0, 0, 0, 0, 0]), "4 were captured");
        assert_eq!(chunk(&mut *file), Poll::Ready(None));
    }

    #[test]
    fn a_slow_reader_loses_frames_and_the_network_nothing() {
        let lab = Lab::new(2, Faults::default());
        let (stack, id) = lab.host("10.0.0.1/24", NetFeatures::empty());
        let filter = Filter::parse(&["udp", "port", "7"]).unwrap();
        let options = CaptureOptions { filter, snap_len: 100, count: u64::MAX, buffer: 200 };
        let capture = stack.capture(id, options).unwrap();
        let sender = stack.bind_udp(0, UdpOptions::default()).unwrap();
        for _ in 0..9 {
            sender.send(None, "10.0.0.255:7".parse().unwrap(), &[0; 100]).unwrap();
        }
        lab.run_for(Duration::from_millis(10));
        assert_eq!((capture.captured(), capture.dropped()), (1, 8));
        drop(capture);
        let sent = || stack.interfaces()[0].counters.tx_packets;
        let before = sent();
        sender.send(None, "10.0.0.255:7".parse().unwrap(), &[0; 100]).unwrap();
        assert_eq!(sent(), before + 1);
    }

    #[test]
    fn mistakes_are_named() {
        let lab = Lab::new(3, Faults::default());
        let (stack, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
        for (line, complaint) in [
            ("", USAGE),
            ("-c 5", USAGE),
            ("eth0 -c x", "-c x is not a number\n"),
            ("eth0 -c 0", "-c 0: nothing to capture\n"),
            ("eth0 -s 13", "-s 13 is not between 14 and 262144\n"),
            ("-i eth1", "eth1: no such interface; there is eth0\n"),
            ("eth0 port ssh", "\"ssh\" is not a port\n"),
        ] {
            assert!(matches!(typed(&stack, line), Reply::Text(text) if text == complaint), "{line}");
        }
    }
}
