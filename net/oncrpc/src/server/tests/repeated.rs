//! Calls that are sent again, over both transports.

use super::*;
use crate::memory::MemoryDatagrams;
use crate::transport::RpcDatagrams;
use keelson_exec::{Either, select};

/// Executed once for a call, however often that is repeated.
const ONCE: u32 = 7;
/// The same with a reply that is too long to be kept.
const LONG: u32 = 8;
/// As [`ONCE`], of those that come in masses.
const OVERWRITES: u32 = 9;

/// A call of procedure `procedure`, which takes `millis`.
fn message(xid: u32, procedure: u32, millis: u32) -> Vec<u8> {
    [xid, 0, 2, 77, 3, procedure, 0, 0, 0, 0, millis].iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The last word of a reply of procedure [`ONCE`]: which execution it was.
fn number(reply: &[u8]) -> u32 {
    u32::from_be_bytes(reply[24..28].try_into().expect("four bytes"))
}

struct Datagrams(MemoryDatagrams, Handle);

impl Datagrams {
    async fn send(&self, message: &[u8]) {
        self.0.send(None, address(SERVER), message).await;
    }

    /// The number in the next reply, if one comes within two seconds.
    async fn next(&self) -> Option<u32> {
        match select(self.0.receive(), self.1.sleep(Duration::from_secs(2))).await {
            Either::First(reply) => reply.map(|reply| number(&reply.payload)),
            Either::Second(()) => None,
        }
    }

    async fn ask(&self, message: &[u8]) -> Option<u32> {
        self.send(message).await;
        self.next().await
    }
}

impl World {
    fn datagrams(&self, from: &str) -> Datagrams {
        Datagrams(self.network.bind(address(from)), self.executor.handle())
    }

    fn counts(&self) -> [u64; 4] {
        let counters = self.server.reply_cache();
        [&counters.hits, &counters.misses, &counters.nocache, &counters.dropped].map(Cell::get)
    }
}

#[test]
fn a_repetition_gets_the_reply_of_the_first_time() {
    let world = World::new(ServerOptions::default());
    let (client, other) = (world.datagrams("10.0.0.2:901"), world.datagrams("10.0.0.3:901"));
    let moved = world.datagrams("10.0.0.2:902");
    world.run(async move {
        let call = message(5, ONCE, 10);
        for asks in [&client, &client, &moved] {
            assert_eq!(asks.ask(&call).await, Some(1));
        }
        // Another call by any of its parts.
        assert_eq!(client.ask(&message(6, ONCE, 10)).await, Some(2));
        assert_eq!(client.ask(&message(5, ONCE, 11)).await, Some(3));
        assert_eq!(other.ask(&call).await, Some(4));
        assert_eq!(client.ask(&call).await, Some(1));
    });
    assert_eq!(world.counts(), [3, 4, 0, 0]);
}

#[test]
fn a_datagram_that_repeats_a_call_in_execution_is_dropped() {
    let world = World::new(ServerOptions::default());
    let client = world.datagrams("10.0.0.2:901");
    world.run(async move {
        let call = message(5, ONCE, 1000);
        // More of them than there are workers: they must not take the place of others.
        for _ in 0..20 {
            client.send(&call).await;
        }
        assert_eq!(client.ask(&message(6, ONCE, 0)).await, Some(2));
        assert_eq!(client.next().await, Some(1));
        assert_eq!(client.next().await, None);
    });
    assert_eq!(world.counts(), [0, 2, 0, 19]);
}

#[test]
fn a_new_connection_gets_the_reply_that_the_old_one_lost() {
    let world = World::new(ServerOptions::default());
    let (_, mut lost) = world.connect("10.0.0.2:900").split();
    let (mut reader, mut writer) = world.connect("10.0.0.2:901").split();
    let handle = world.executor.handle();
    let reply = world.run(async move {
        let mut record = vec![0x80, 0, 0, 44];
        record.extend(message(5, ONCE, 500));
        assert!(write_raw(&mut lost, &record).await);
        handle.sleep(Duration::from_millis(100)).await;
        // Still in execution: nobody would ask a third time.
        drop(lost);
        assert!(write_raw(&mut writer, &record).await);
        let mut reply = [0; 32];
        embedded_io_async::Read::read_exact(&mut reader, &mut reply).await.expect("a reply");
        assert_eq!(handle.now().as_millis(), 500);
        reply
    });
    assert_eq!(number(&reply[4..]), 1);
    assert_eq!(world.counts(), [1, 1, 0, 0]);
}

#[test]
fn replies_are_kept_for_two_minutes_and_in_a_ring() {
    let world = World::new(ServerOptions { kept_replies: 4, ..ServerOptions::default() });
    let (client, handle) = (world.datagrams("10.0.0.2:901"), world.executor.handle());
    world.run(async move {
        assert_eq!(client.ask(&message(5, ONCE, 0)).await, Some(1));
        handle.sleep(Duration::from_secs(119)).await;
        assert_eq!(client.ask(&message(5, ONCE, 0)).await, Some(1));
        handle.sleep(Duration::from_secs(2)).await;
        assert_eq!(client.ask(&message(5, ONCE, 0)).await, Some(2), "too old");
        for (xid, number) in (6..9).zip(3..) {
            assert_eq!(client.ask(&message(xid, ONCE, 0)).await, Some(number));
        }
        assert_eq!(client.ask(&message(5, ONCE, 0)).await, Some(2), "the last of four");
        assert_eq!(client.ask(&message(9, ONCE, 0)).await, Some(6));
        assert_eq!(client.ask(&message(5, ONCE, 0)).await, Some(7), "made way");
        assert_eq!(client.ask(&message(8, ONCE, 0)).await, Some(5));
    });
    assert_eq!(world.counts(), [3, 7, 0, 0]);
}

#[test]
fn what_is_not_kept_is_executed_again() {
    let world = World::new(ServerOptions { kept_replies: 2, ..ServerOptions::default() });
    let client = world.datagrams("10.0.0.2:901");
    world.run(async move {
        assert_eq!(client.ask(&message(5, LONG, 0)).await, Some(1));
        assert_eq!(client.ask(&message(5, LONG, 0)).await, Some(2), "too long");
        // All entries in execution.
        for xid in 6..9 {
            client.send(&message(xid, ONCE, 500)).await;
        }
        for number in 3..6 {
            assert_eq!(client.next().await, Some(number));
        }
        assert_eq!(client.ask(&message(8, ONCE, 500)).await, Some(6));
        assert_eq!(client.ask(&message(7, ONCE, 500)).await, Some(4));
    });
    assert_eq!(world.counts(), [1, 6, 3, 0]);
}

#[test]
fn masses_of_calls_that_overwrite_do_not_drive_out_others() {
    let world = World::new(ServerOptions { kept_replies: 4, ..ServerOptions::default() });
    let client = world.datagrams("10.0.0.2:901");
    world.run(async move {
        assert_eq!(client.ask(&message(1, ONCE, 1)).await, Some(1));
        for xid in 2..20 {
            let number = Some(xid);
            assert_eq!(client.ask(&message(xid, OVERWRITES, 1)).await, number);
            assert_eq!(client.ask(&message(xid, OVERWRITES, 1)).await, number);
        }
        assert_eq!(client.ask(&message(1, ONCE, 1)).await, Some(1));
        assert_eq!(client.ask(&message(2, OVERWRITES, 1)).await, Some(20), "long ago");
    });
    assert_eq!(world.counts(), [19, 20, 0, 0]);
}

#[test]
fn long_calls_are_known_by_their_fronts_and_lengths() {
    let world = World::new(ServerOptions::default());
    let client = world.datagrams("10.0.0.2:901");
    world.run(async move {
        let long = |length: usize, byte: u8| {
            let mut call = message(5, ONCE, 1);
            call.resize(length, byte);
            call
        };
        assert_eq!(client.ask(&long(4000, 7)).await, Some(1));
        assert_eq!(client.ask(&long(4000, 7)).await, Some(1));
        assert_eq!(client.ask(&long(4004, 7)).await, Some(2));
        assert_eq!(client.ask(&long(4000, 8)).await, Some(3));
    });
}
