//! The switch, driven through real sockets.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::*;

/// A cable plugged into a port.
struct Cable {
    stream: UnixStream,
    reader: FrameReader,
}

impl Cable {
    fn plug(port: &Port) -> Cable {
        let stream = port.connect().unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Cable { stream, reader: FrameReader::default() }
    }

    fn send(&mut self, frame: &[u8]) {
        let mut writer = FrameWriter::default();
        writer.push(frame);
        writer.flush(&mut self.stream).unwrap();
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return Some(frame.to_vec());
            }
            match self.reader.fill(&mut self.stream) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
                Err(e) => panic!("{e}"),
            }
        }
    }
}

fn frame(to: u8, from: u8, tag: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5];
    frame.resize(60, tag);
    frame
}

fn lan() -> (crate::Bench, Lan) {
    let bench = crate::Bench::new("lan");
    let lan = bench.lan("t").unwrap();
    (bench, lan)
}

#[test]
fn it_floods_then_learns() {
    let (_bench, lan) = lan();
    let ports: Vec<_> = ["a", "b", "c"].iter().map(|name| lan.port(name).unwrap()).collect();
    let mut cables: Vec<_> = ports.iter().map(Cable::plug).collect();
    cables[0].send(&frame(1, 0, 1));
    assert_eq!(cables[1].receive().unwrap(), frame(1, 0, 1));
    assert_eq!(cables[2].receive().unwrap(), frame(1, 0, 1), "an unknown address is flooded");
    cables[1].send(&frame(0, 1, 2));
    assert_eq!(cables[0].receive().unwrap(), frame(0, 1, 2));
    assert_eq!(cables[2].receive(), None, "a learned address is not");
    assert_eq!((ports[0].stats().frames_out, ports[0].stats().frames_in), (1, 1));
}

#[test]
fn a_cut_link_carries_nothing_and_comes_back() {
    let (_bench, lan) = lan();
    let (a, b) = (lan.port("a").unwrap(), lan.port("b").unwrap());
    let (mut cable_a, mut cable_b) = (Cable::plug(&a), Cable::plug(&b));
    b.cut();
    cable_a.send(&frame(1, 0, 1));
    assert_eq!(cable_b.receive(), None);
    assert_eq!(b.stats().impaired, 1);
    b.restore();
    cable_a.send(&frame(1, 0, 2));
    assert_eq!(cable_b.receive().unwrap(), frame(1, 0, 2));
}

#[test]
fn a_new_machine_takes_over_a_port() {
    let (_bench, lan) = lan();
    let (a, b) = (lan.port("a").unwrap(), lan.port("b").unwrap());
    let mut cable_a = Cable::plug(&a);
    drop(Cable::plug(&b));
    let mut cable_b = Cable::plug(&b);
    cable_a.send(&frame(1, 0, 3));
    assert_eq!(cable_b.receive().unwrap(), frame(1, 0, 3));
}

#[test]
fn loss_delay_and_duplication_do_what_they_say() {
    let (_bench, lan) = lan();
    let (a, b) = (lan.port("a").unwrap(), lan.port("b").unwrap());
    let (mut cable_a, mut cable_b) = (Cable::plug(&a), Cable::plug(&b));
    b.impair_one(Direction::In, Impairment::loss(0.5), 42);
    for tag in 0..200u8 {
        cable_a.send(&frame(1, 0, tag));
    }
    let mut got = 0;
    while cable_b.receive().is_some() {
        got += 1;
    }
    assert!((70..130).contains(&got), "{got}");
    assert_eq!(b.stats().impaired, 200 - got);

    let delay = Duration::from_millis(50);
    b.impair_one(Direction::In, Impairment { delay, duplicate: 1.0, ..Default::default() }, 1);
    let start = Instant::now();
    cable_a.send(&frame(1, 0, 9));
    assert_eq!(cable_b.receive().unwrap(), frame(1, 0, 9));
    assert!(start.elapsed() >= delay);
    assert_eq!(cable_b.receive().unwrap(), frame(1, 0, 9), "the duplicate");
}

#[test]
fn frames_move_fast_enough() {
    let (_bench, lan) = lan();
    let (a, b) = (lan.port("a").unwrap(), lan.port("b").unwrap());
    let (mut cable_a, mut cable_b) = (Cable::plug(&a), Cable::plug(&b));
    a.capture(Capture::Off);
    b.capture(Capture::Off);
    let mut big = frame(1, 0, 7);
    big.resize(1514, 7);
    let start = Instant::now();
    let sender = thread::spawn(move || {
        let mut writer = FrameWriter::default();
        for _ in 0..500 {
            for _ in 0..40 {
                writer.push(&big);
            }
            writer.flush(&mut cable_a.stream).unwrap();
        }
        cable_a
    });
    let mut got = 0;
    while got < 20_000 && cable_b.receive().is_some() {
        got += 1;
    }
    let rate = f64::from(got) / start.elapsed().as_secs_f64();
    let _cable_a = sender.join().unwrap();
    assert_eq!(b.stats().overrun + got as u64, 20_000);
    eprintln!("{rate:.0} frames/s of 1514 bytes (unoptimised build)");
    assert!(rate > 20_000.0, "{rate:.0} frames/s");
}
