//! Calls that wait, and calls that are given up.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use keelson_lwk_wire::frame::Flags;

use crate::sim::*;

fn pipe(bench: &Bench) -> (u64, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (bench.handle(OwnedFd::from(reader)), writer)
}

fn pipe_to(bench: &Bench) -> (PipeReader, u64) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, bench.handle(OwnedFd::from(writer)))
}

/// Linux before 6.4 does not know of a pipe whether it would wait.
#[test]
fn nothing_waits_with_rwf_nowait() {
    let bench = bench();
    let (empty, _writer) = pipe(&bench);
    let read = bench.sim.call(327, &[N(empty), Iov(&[&[0; 4]]), N(1), N(u64::MAX), N(0), N(8)]);
    assert!(["EAGAIN", "EOPNOTSUPP"].contains(&read.error()));
}

#[test]
fn a_thousand_readers() {
    // Two descriptors for each, and one for its worker.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let count = if limit.maximum.is_none_or(|most| most >= 4000) { 1000 } else { 200 };
    let bench = bench();
    let pipes: Vec<(u64, PipeWriter)> = (0..count).map(|_| pipe(&bench)).collect();
    let reads: Vec<Pending> =
        pipes.iter().map(|(pipe, _)| bench.sim.start(0, &[N(*pipe), Out(8), N(8)])).collect();
    // All of them wait, and others are served meanwhile.
    assert_eq!(bench.sim.call(8, &[N(pipes[0].0), N(0), N(0)]).error(), "ESPIPE");
    assert!(reads.iter().all(|read| !bench.sim.is_answered(read.id)));
    for (index, (_, writer)) in pipes.iter().enumerate().rev() {
        (&*writer).write_all(&(index as u64).to_le_bytes()).unwrap();
    }
    for (index, read) in reads.into_iter().enumerate() {
        let read = bench.sim.wait(read);
        assert_eq!((read.ok(), read.at(1)), (8, &(index as u64).to_le_bytes()[..]));
    }
}

#[test]
fn no_byte_is_lost_in_a_storm_of_cancels() {
    let bench = bench();
    let sim = &bench.sim;
    let (pipe, mut writer) = pipe(&bench);
    let total = 40_000u32;
    let feeder = std::thread::spawn(move || {
        for index in 0..total {
            writer.write_all(&index.to_le_bytes()).unwrap();
            if index % 64 == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    });
    let (mut got, mut interrupted) = (Vec::new(), 0);
    loop {
        let read = sim.start(0, &[N(pipe), Out(64), N(64)]);
        sim.cancel(read.id);
        let read = sim.wait(read);
        match read.result {
            0 => break,
            -4 => interrupted += 1,
            len => got.extend_from_slice(&read.at(1)[..len as usize]),
        }
    }
    feeder.join().unwrap();
    let wanted: Vec<u8> = (0..total).flat_map(u32::to_le_bytes).collect();
    assert!(got == wanted, "{} of {} bytes", got.len(), wanted.len());
    assert!(interrupted > 0, "no read was interrupted: the test says nothing");
}

#[test]
fn a_cancelled_write_tells_what_it_wrote() {
    let bench = bench();
    let sim = &bench.sim;
    let (mut reader, pipe) = pipe_to(&bench);
    let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 253) as u8).collect();
    for size in [60_000usize, 200_000] {
        // A pipe holds 64 KiB.
        let first = sim.start(1, &[N(pipe), In(&bytes[..size]), N(size as u64)]);
        let second = sim.start(1, &[N(pipe), In(&bytes[..size]), N(size as u64)]);
        std::thread::sleep(Duration::from_millis(60));
        sim.cancel(second.id);
        sim.cancel(first.id);
        let written: Vec<i64> = [first, second].map(|write| sim.wait(write).result).to_vec();
        let total: i64 = written.iter().filter(|written| **written > 0).sum();
        assert!(written.iter().all(|written| *written > 0 || *written == -4), "{written:?}");
        let mut got = vec![0; total as usize];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(rustix::io::ioctl_fionread(&reader).unwrap(), 0, "bytes that nobody counted");
    }
    drop(reader);
    assert_eq!(sim.call(1, &[N(pipe), In(b"x"), N(1)]).error(), "EPIPE");
}

#[test]
fn readers_of_one_pipe_share_it() {
    let bench = bench();
    let sim = &bench.sim;
    let (pipe, writer) = pipe(&bench);
    let reads: Vec<Pending> = (0..50).map(|_| sim.start(0, &[N(pipe), Out(4), N(4)])).collect();
    for index in 0..50u32 {
        (&writer).write_all(&index.to_le_bytes()).unwrap();
    }
    let mut got: Vec<u32> = reads
        .into_iter()
        .map(|read| u32::from_le_bytes(*sim.wait(read).at(1).first_chunk().unwrap()))
        .collect();
    got.sort_unstable();
    assert_eq!(got, (0..50).collect::<Vec<_>>());
}

#[test]
fn hints_not_to_wait() {
    let bench = bench();
    let (pipe, _writer) = pipe(&bench);
    let read = bench.sim.start_with(0, &[N(pipe), Out(4), N(4)], Flags::NONBLOCK | Flags::NEED_RDY);
    let read = bench.sim.wait(read);
    assert_eq!((read.error(), read.revents), ("EAGAIN", 0));
}

#[test]
fn fifos() {
    let (bench, scratch) = (bench(), Scratch::new("fifo"));
    let sim = &bench.sim;
    let name = scratch.path("fifo");
    sim.call(133, &[P(&name), N(0o010_600), N(0)]).ok();
    let opening = sim.start(2, &[P(&name), N(0), N(0)]);
    assert_eq!(sim.call(4, &[P(&name), Out(144)]).ok(), 0);
    assert!(!sim.is_answered(opening.id));
    let mut writer = std::fs::OpenOptions::new().write(true).open(&name).unwrap();
    let reader = sim.wait(opening).ok();
    writer.write_all(b"z").unwrap();
    assert_eq!(sim.call(0, &[N(reader), Out(4), N(4)]).ok(), 1);
}

#[test]
fn waiting_for_a_connection_ends() {
    let bench = bench();
    let sim = &bench.sim;
    let server = sim.call(41, &[N(1), N(1), N(0)]).ok();
    let name =
        [&1u16.to_le_bytes()[..], b"\0lwk-host-test-", std::process::id().to_string().as_bytes()].concat();
    sim.call(49, &[N(server), In(&name), N(name.len() as u64)]).ok();
    sim.call(50, &[N(server), N(1)]).ok();
    let accept = sim.start(43, &[N(server), N(0), N(0)]);
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(20));
    sim.cancel(accept.id);
    assert_eq!(sim.wait(accept).error(), "EINTR");
    assert!(start.elapsed() < Duration::from_secs(5));
    // A request that does not exist any more is nobody's problem.
    sim.cancel(12345);
    let bound = sim.call(51, &[N(server), Out(110), Io(&110u32.to_le_bytes())]);
    assert_eq!(&bound.at(1)[..name.len()], name);
}
