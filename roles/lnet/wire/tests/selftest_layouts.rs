//! Every body of LNet selftest's RPCs, field by field, in both byte orders.

use keelson_lnet_wire::srpc::{
    BULK_LEN, BatchOpcode, Body, BrwDirection, FrameworkCounters, LnetCounters, Message, Name, Received,
    Reply, Request, RpcCounters, SessionId, Test, TestParameters,
};

/// An integer of a body: offset, size, value.
type Field = (usize, usize, u64);

const SESSION: SessionId = SessionId { nid4: 0x0002_0001_0a00_0001, stamp: 0x1122_3344_5566_7788 };
const RPYID: u64 = 0xa1a2_a3a4_a5a6_a7a8;

/// The two integers of [`SESSION`] at an offset.
fn session(offset: usize) -> [Field; 2] {
    [(offset, 8, 0x0002_0001_0a00_0001), (offset + 8, 8, 0x1122_3344_5566_7788)]
}

/// Compares a message with its layout. `text` is not swapped.
fn check(message: Message, number: u64, fields: &[&[Field]], text: Option<(usize, &[u8])>) {
    let features = u64::from(message.features);
    let mut all =
        vec![(0, 4, 0xeeb0_f00d), (4, 4, 1), (8, 4, number), (12, 4, 0), (16, 4, 0), (20, 4, features)];
    all.extend(fields.concat().into_iter().map(|(offset, size, value)| (24 + offset, size, value)));
    let mut bytes = [0; 160];
    for (offset, size, value) in &all {
        bytes[*offset..offset + size].copy_from_slice(&value.to_le_bytes()[..*size]);
    }
    if let Some((offset, text)) = text {
        bytes[24 + offset..][..text.len()].copy_from_slice(text);
    }
    assert_eq!(message.encode(), bytes, "{message:?}");
    assert_eq!(Message::decode(&bytes), Ok(Received { message, swapped: false }));
    all.iter().for_each(|(offset, size, _)| bytes[*offset..offset + size].reverse());
    assert_eq!(Message::decode(&bytes), Ok(Received { message, swapped: true }));
}

fn check_request(request: Request, number: u64, fields: &[&[Field]], text: Option<(usize, &[u8])>) {
    let fields = [&[&[(0, 8, RPYID)][..]], fields].concat();
    check(Message::request(BULK_LEN, RPYID, request), number, &fields, text);
}

fn check_reply(reply: Reply, number: u64, fields: &[&[Field]], text: Option<(usize, &[u8])>) {
    let fields = [&[&[(0, 4, 0xb1b2_b3b4)][..]], fields].concat();
    check(Message::reply(BULK_LEN, 0xb1b2_b3b4, reply), number, &fields, text);
}

#[test]
fn sessions() {
    let name = Name::new("a name");
    check_request(
        Request::MakeSession { session: SESSION, force: 0x0102_0304, name },
        0,
        &[&session(8), &[(24, 4, 0x0102_0304)]],
        Some((28, b"a name")),
    );
    check_reply(
        Reply::MakeSession { session: SESSION, timeout: 0x0102_0304, name },
        1,
        &[&session(4), &[(20, 4, 0x0102_0304)]],
        Some((24, b"a name")),
    );
    check_request(Request::RemoveSession { session: SESSION }, 2, &[&session(8)], None);
    check_reply(Reply::RemoveSession { session: SESSION }, 3, &[&session(4)], None);
    check_request(
        Request::Debug { session: SESSION, flags: 0x0102_0304 },
        10,
        &[&session(8), &[(24, 4, 0x0102_0304)]],
        None,
    );
    check_reply(
        Reply::Debug { session: SESSION, timeout: 0x0102_0304, batches: 0x0506_0708, name },
        11,
        &[&session(4), &[(20, 4, 0x0102_0304), (24, 4, 0x0506_0708)]],
        Some((28, b"a name")),
    );
}

#[test]
fn batches() {
    for (opcode, number) in
        [(BatchOpcode::Run, 1), (BatchOpcode::Stop, 2), (BatchOpcode::Query, 3), (BatchOpcode::Unknown(9), 9)]
    {
        check_request(
            Request::Batch {
                session: SESSION,
                batch: 0x2122_2324_2526_2728,
                opcode,
                test_index: 0x0102_0304,
                argument: 0x0506_0708,
            },
            4,
            &[
                &session(8),
                &[
                    (24, 8, 0x2122_2324_2526_2728),
                    (32, 4, number),
                    (36, 4, 0x0102_0304),
                    (40, 4, 0x0506_0708),
                ],
            ],
            None,
        );
    }
    check_reply(
        Reply::Batch { session: SESSION, active: 0x0102_0304, time: 0x0506_0708 },
        5,
        &[&session(4), &[(20, 4, 0x0102_0304), (24, 4, 0x0506_0708)]],
        None,
    );
}

#[test]
fn tests() {
    let brw =
        TestParameters::BrwBytes { opcode: 0x0102, flags: 0x0304, len: 0x0506_0708, offset: 0x090a_0b0c };
    let brw_fields = [(58, 2, 0x0102), (60, 2, 0x0304), (62, 4, 0x0506_0708), (66, 4, 0x090a_0b0c)];
    let ping = TestParameters::Ping { size: 0x0102_0304, flags: 0x0506_0708 };
    let ping_fields = [(58, 4, 0x0102_0304), (62, 4, 0x0506_0708)];
    for (service, parameters, fields) in [(11, brw, &brw_fields[..]), (12, ping, &ping_fields)] {
        check_request(Request::Test(test(service, parameters)), 8, &[&test_fields(service), fields], None);
    }
    check_reply(Reply::Test { session: SESSION }, 9, &[&session(4)], None);
    // The form without lengths in bytes follows from the features.
    let parameters = TestParameters::BrwPages { opcode: 0x0102_0304, pages: 0x0506_0708, flags: 0x090a_0b0c };
    let fields = [(58, 4, 0x0102_0304), (62, 4, 0x0506_0708), (66, 4, 0x090a_0b0c)];
    let message = Message::request(0, RPYID, Request::Test(test(11, parameters)));
    check(message, 8, &[&[(0, 8, RPYID)], &test_fields(11), &fields], None);
}

fn test(service: u32, parameters: TestParameters) -> Test {
    Test {
        bulkid: 0x3132_3334_3536_3738,
        session: SESSION,
        batch: 0x2122_2324_2526_2728,
        service,
        iterations: 0x4142_4344,
        concurrency: 0x5152_5354,
        is_client: 0x61,
        stop_on_error: 0x62,
        destinations: 0x7172_7374,
        parameters,
    }
}

fn test_fields(service: u32) -> Vec<Field> {
    let mut fields = vec![
        (8, 8, 0x3132_3334_3536_3738),
        (32, 8, 0x2122_2324_2526_2728),
        (40, 4, u64::from(service)),
        (44, 4, 0x4142_4344),
        (48, 4, 0x5152_5354),
        (52, 1, 0x61),
        (53, 1, 0x62),
        (54, 4, 0x7172_7374),
    ];
    fields.extend(session(16));
    fields
}

#[test]
fn statistics() {
    check_request(
        Request::QueryStat { session: SESSION, kind: 0x0102_0304 },
        6,
        &[&session(8), &[(24, 4, 0x0102_0304)]],
        None,
    );
    let framework = FrameworkCounters {
        running_ms: 1,
        active_batches: 2,
        zombie_sessions: 3,
        brw_errors: 4,
        ping_errors: 5,
    };
    let rpc = RpcCounters {
        errors: 6,
        rpcs_sent: 7,
        rpcs_rcvd: 8,
        rpcs_dropped: 9,
        rpcs_expired: 10,
        bulk_get: 11,
        bulk_put: 12,
    };
    let lnet = LnetCounters {
        msgs_alloc: 13,
        msgs_max: 14,
        errors: 15,
        send_count: 16,
        recv_count: 17,
        route_count: 18,
        drop_count: 19,
        send_length: 20,
        recv_length: 21,
        route_length: 22,
        drop_length: 23,
    };
    let small = |start: usize, values: std::ops::RangeInclusive<u64>| {
        values.enumerate().map(move |(index, value)| (start + 4 * index, 4, value))
    };
    let mut fields: Vec<Field> =
        small(20, 1..=5).chain(small(40, 6..=10)).chain(small(76, 13..=19)).collect();
    fields.extend([(60, 8, 11), (68, 8, 12), (104, 8, 20), (112, 8, 21), (120, 8, 22), (128, 8, 23)]);
    check_reply(
        Reply::QueryStat { session: SESSION, framework, rpc, lnet },
        7,
        &[&session(4), &fields],
        None,
    );
}

#[test]
fn ping_and_bulk() {
    check_request(
        Request::Ping {
            magic: 0x0102_0304,
            sequence: 0x0506_0708,
            seconds: 0x1112_1314_1516_1718,
            nanoseconds: 0x2122_2324_2526_2728,
        },
        14,
        &[&[
            (8, 4, 0x0102_0304),
            (12, 4, 0x0506_0708),
            (16, 8, 0x1112_1314_1516_1718),
            (24, 8, 0x2122_2324_2526_2728),
        ]],
        None,
    );
    check_reply(
        Reply::Ping { magic: 0x0102_0304, sequence: 0x0506_0708 },
        15,
        &[&[(4, 4, 0x0102_0304), (8, 4, 0x0506_0708)]],
        None,
    );
    for (direction, number) in
        [(BrwDirection::Read, 1), (BrwDirection::Write, 2), (BrwDirection::Unknown(7), 7)]
    {
        check_request(
            Request::Brw { bulkid: 0x1112_1314_1516_1718, direction, len: 0x0102_0304, flags: 0x0506_0708 },
            12,
            &[&[(8, 8, 0x1112_1314_1516_1718), (16, 4, number), (20, 4, 0x0102_0304), (24, 4, 0x0506_0708)]],
            None,
        );
    }
    check_reply(Reply::Brw, 13, &[], None);
}

#[test]
fn other_versions_can_be_answered() {
    let mut bytes = Message::request(0, RPYID, Request::RemoveSession { session: SESSION }).encode();
    bytes[4] = 2;
    let message = Message::decode(&bytes).unwrap().message;
    assert_eq!(message.version, 2);
    assert!(matches!(message.body, Body::Request { rpyid: RPYID, .. }));
}
