//! Rows of LNet specification section 4.5, next hops, what is dropped and counted.

use crate::lnet::testing::{Behaviour, Bench, ack, nid, ping, put};

#[test]
fn forwards_header_and_payload_as_they_came() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let client = bench.connect("10.0.0.2@tcp1");
    for (index, len) in [0, 1, 4096, 4097, 65536, 65537, 1 << 20].into_iter().enumerate() {
        let mut header = put("10.0.0.2@tcp1", "10.1.0.2@tcp2", len);
        header.src_pid = 0x8000_0123;
        header.body[39] = 0xaa;
        client.send_filled(header, index as u8);
        bench.settle();
        let (sent, bytes) = bench.last_to("10.1.0.2@tcp2").expect("forwarded");
        assert_eq!(sent, header);
        assert_eq!(bytes, vec![index as u8; len as usize]);
    }
    let statistics = bench.lnet.statistics();
    assert_eq!((statistics.route_count, statistics.drop_count), (7, 0));
    assert_eq!(statistics.route_length, 1 + 4096 + 4097 + 65536 + 65537 + (1 << 20));
    assert_eq!((statistics.send_count, statistics.recv_count), (0, 0), "routed messages are not ours");
    assert_eq!(statistics.msgs_alloc, 0);
    let nets = bench.lnet.nets();
    assert_eq!((nets[1].nis[0].traffic.received.put, nets[2].nis[0].traffic.sent.put), (7, 7));
    bench.assert_idle();
}

#[test]
fn answers_a_ping() {
    let bench = Bench::router(|_| {});
    bench.lnd.default_takes.set(true);
    let client = bench.connect("10.0.0.2@tcp1");
    client.send(ping("10.0.0.2@tcp1", "10.0.0.1@tcp1", 272));
    bench.settle();
    let (_, bytes) = bench.last_to("10.0.0.2@tcp1").expect("answered");
    assert_eq!(bytes.len(), 64);
    let _ = (Behaviour::Takes, ack("10.0.0.2@tcp1", "10.0.0.1@tcp1"), nid("10.0.0.2@tcp1"));
    bench.assert_idle();
}
