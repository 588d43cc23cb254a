//! Bytes of formats without state.

use super::Seed;
use keelson_lnet_wire::acceptor::Request;
use keelson_oncrpc::{AuthSys, Buffer, Credential, Encoder};

fn encoded(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut out = Encoder::new(Buffer::unpooled(2048), 0);
    write(&mut out);
    out.written().to_vec()
}

/// A call with AUTH_SYS.
fn call(program: u32, version: u32, procedure: u32, arguments: &[u32]) -> Vec<u8> {
    encoded(|out| {
        for word in [77, 0, 2, program, version, procedure] {
            out.u32(word);
        }
        Credential::Sys(AuthSys::new(b"client", 1000, 100, &[4, 24, 27])).emit(out);
        Credential::None.emit(out);
        arguments.iter().for_each(|word| out.u32(*word));
    })
}

/// A record in fragments of at most `size` bytes.
fn record(message: &[u8], size: usize) -> Vec<u8> {
    let count = message.chunks(size).count();
    let fragments = message.chunks(size).enumerate().flat_map(|(at, part)| {
        let last = if at + 1 == count { 1 << 31 } else { 0 };
        [&(part.len() as u32 | last).to_be_bytes()[..], part].concat()
    });
    fragments.collect()
}

fn words(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|word| word.to_be_bytes()).collect()
}

pub fn rpc() -> Vec<Seed> {
    let with = |manner: u8, bytes: Vec<u8>| [vec![manner], bytes].concat();
    let whole = |message: &[u8]| record(message, 1 << 20);
    let echo = call(100_003, 3, 1, &[1, 2, 3]);
    let once = call(7, 1, 2, &[5]);
    let reply = |list: &[u32]| whole(&words(list));
    vec![
        ("call", with(7, whole(&echo))),
        ("call-in-bytes", with(0, whole(&echo))),
        ("fragments", with(4, record(&echo, 10))),
        (
            "many-calls",
            with(
                3,
                [whole(&echo), whole(&call(100_003, 2, 3, &[5000])), whole(&once), whole(&once)].concat(),
            ),
        ),
        ("large-reply", with(7, whole(&call(100_003, 3, 3, &[79_000])))),
        ("too-large-reply", with(7, whole(&call(100_003, 3, 3, &[1 << 30])))),
        ("large-call", with(6, whole(&[call(100_003, 3, 1, &[]), vec![7; 6000]].concat()))),
        ("opaque", with(7, whole(&call(100_003, 3, 4, &[5, 0x6161_6161, 0x6100_0000])))),
        ("garbage", with(7, whole(&call(100_003, 3, 4, &[65])))),
        ("no-program", with(7, whole(&call(9, 1, 1, &[])))),
        ("no-version", with(7, whole(&call(100_003, 4, 1, &[])))),
        ("no-procedure", with(7, whole(&call(7, 1, 9, &[])))),
        ("null", with(7, whole(&call(7, 1, 0, &[])))),
        ("stalled", with(0x18, whole(&echo)[..20].to_vec())),
        ("cut", with(0x31, whole(&echo)[..30].to_vec())),
        ("too-long", with(7, vec![0x80, 0x20, 0, 0, 1, 2, 3])),
        ("empty-fragments", with(7, vec![0; 40])),
        ("gss", with(7, whole(&words(&[1, 0, 2, 100_003, 3, 1, 6, 4, 0, 0, 0])))),
        ("short-hand", with(7, whole(&words(&[1, 0, 2, 100_003, 3, 1, 2, 0, 0, 0])))),
        ("old-rpc", with(7, whole(&words(&[1, 0, 3, 100_003, 3, 1, 0, 0, 0, 0])))),
        ("long-credential", with(7, whole(&words(&[1, 0, 2, 100_003, 3, 1, 1, 401, 0, 0])))),
        ("bare-call", with(7, echo.clone())),
        ("reply", with(7, reply(&[1, 1, 0, 0, 0, 0, 42]))),
        ("reply-mismatch", with(2, reply(&[1, 1, 0, 0, 0, 2, 2, 4]))),
        (
            "replies",
            with(
                7,
                [reply(&[9, 1, 0, 0, 0, 0]), reply(&[1, 1, 1, 1, 5]), reply(&[2, 1, 1, 0, 2, 2])].concat(),
            ),
        ),
        ("reply-verified", with(7, reply(&[1, 1, 0, 1, 8, 1, 2, 0, 7]))),
        ("bare-reply", with(7, words(&[1, 1, 0, 0, 0, 4]))),
        ("credential", with(7, encoded(|out| AuthSys::new(b"c", 1, 2, &[3; 16]).emit(out))[8..].to_vec())),
    ]
}

pub fn xdr() -> Vec<Seed> {
    vec![
        (
            "items",
            vec![
                8, 4, 0, 0, 0, 1, 2, 3, 4, 1, 255, 255, 255, 255, 2, 1, 2, 3, 4, 5, 6, 7, 8, 11, 0x1c, b'a',
                b'b', b'c', b'd', b'e', b'f', b'g', b'h', b'i', 15, 0, 0, 0, 9,
            ],
        ),
        ("strings", [vec![4, 4, 0, 1, 0x1d], b"nine char".to_vec(), vec![0x16], b"four".to_vec()].concat()),
        ("no-room", vec![0, 0, 6, 0, 0, 1, 2, 3, 4, 0, 5, 6, 7, 8, 1, 0, 9, 9, 9, 9]),
        ("start-behind-the-end", vec![0, 0, 2, 7, 0, 1, 2, 3, 4]),
        (
            "decoded",
            [vec![9, 0x15, 0, 0, 3, 2, 7, 0, 1, 2], words(&[4, 0x6162_6364, 7, 1, 2, 3, 1, 5, 6])].concat(),
        ),
        ("length", [vec![2, 0x45, 0x45], words(&[0xffff_ffff, 1])].concat()),
        ("padding", [vec![3, 0x0c, 0x0c, 3], vec![1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1]].concat()),
        ("optional", [vec![4, 7, 7, 15, 15], words(&[1, 9, 0, 2])].concat()),
        ("long", (0..800_u32).map(|byte| (byte * 29) as u8).collect()),
    ]
}

pub fn lnet() -> Vec<Seed> {
    let with = |format: u8, piece: u8, bytes: &[u8]| [&[format, piece], bytes].concat();
    let mut room = [0; Request::MAX_LEN];
    let nid = "10.0.0.1@tcp".parse().expect("a NID");
    let request = Request { nid }.encode(&mut room).to_vec();
    let mut room = [0; Request::MAX_LEN];
    let six = Request { nid: "fd00::1@tcp".parse().expect("a NID") }.encode(&mut room).to_vec();
    let mut seeds = vec![
        ("request", with(0, 255, &request)),
        ("request-in-bytes", with(0, 1, &request)),
        ("request-6", with(0, 3, &six)),
        ("networks", with(7, 0, b"tcp0(eth0),o2ib1(ib0,ib1)")),
        ("routes", with(7, 0, b"tcp1 2 10.0.0.[1-4/2]@tcp0:3; o2ib 10.0.0.9@tcp")),
        ("nids", with(7, 0, b"10.0.[0-7].*@tcp fd00::1@tcp 10.0.0.1@tcp2")),
        ("ip2nets", with(7, 0, b"tcp0(eth0) 10.0.0.[1-9]; tcp1 192.168.*.*")),
        ("forwarding", with(7, 0, b"enabled")),
        ("nid", with(7, 0, b"10.0.0.1@tcp3")),
        ("nids-many", with(7, 0, "10.0.0.[1-9]@tcp ".repeat(40).as_bytes())),
    ];
    // Of a real peer: see the crate's own tests for where the bytes come from.
    seeds.extend(captured());
    seeds
}

/// Messages as Lustre 2.15 sends them: zeros where they carry nothing of interest.
fn captured() -> Vec<Seed> {
    let le = |list: &[u32]| -> Vec<u8> { list.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let nid = |last: u8| [[last, 0, 0, 10], [0, 0, 2, 0]].concat();
    let hello = [
        le(&[0x4551_0001_u32.swap_bytes(), 3]),
        nid(2),
        nid(1),
        le(&[12_345, 12_345, 0, 0, 0, 0, 3, 0]),
        vec![0; 16],
    ]
    .concat();
    let header = |kind: u32, length: u32, body: &[u32]| {
        let mut body = le(body);
        body.resize(40, 0);
        [nid(1), nid(2), le(&[12_345, 12_345, kind, length]), body].concat()
    };
    let ksock = [le(&[0xc1, 0, 0x11, 0, 0x22, 0])].concat();
    let ping =
        [le(&[0x7069_6e67, 0x55, 12_345, 2]), nid(1), le(&[0x15aa_c0de, 0]), nid(2), le(&[0x15aa_c0de, 0])]
            .concat();
    let prefix = |format: u8, bytes: Vec<u8>| [vec![format, 255], bytes].concat();
    vec![
        ("hello", prefix(1, hello.clone())),
        ("hello-in-bytes", [vec![1, 1], hello].concat()),
        ("ksock", prefix(2, ksock)),
        ("put", prefix(3, header(1, 100, &[1, 2, 3, 4, 5, 6]))),
        ("get", prefix(3, header(2, 0, &[1, 2, 3, 4, 5, 6]))),
        ("ack", prefix(3, header(0, 0, &[1, 2, 3, 4]))),
        ("large", prefix(4, [vec![0; 20], vec![0; 20], le(&[12_345, 12_345, 1, 10]), vec![0; 40]].concat())),
        ("ping", prefix(5, ping)),
        ("selftest", prefix(6, [le(&[0xbeef_face, 0, 3]), vec![0; 148]].concat())),
    ]
}

/// Each image by itself and with damages of every kind.
pub fn ext4() -> Vec<Seed> {
    const NAMES: [&str; 8] =
        ["sound-0", "sound-1", "sound-2", "sound-3", "sound-4", "sound-5", "sound-6", "sound-7"];
    const DAMAGED: [&str; 24] = [
        "damaged-00",
        "damaged-01",
        "damaged-02",
        "damaged-03",
        "damaged-04",
        "damaged-05",
        "damaged-06",
        "damaged-07",
        "damaged-08",
        "damaged-09",
        "damaged-10",
        "damaged-11",
        "damaged-12",
        "damaged-13",
        "damaged-14",
        "damaged-15",
        "damaged-16",
        "damaged-17",
        "damaged-18",
        "damaged-19",
        "damaged-20",
        "damaged-21",
        "damaged-22",
        "damaged-23",
    ];
    let sound = NAMES.iter().zip(0..).map(|(name, image)| (*name, vec![image, 0, 0]));
    let damaged = DAMAGED.iter().zip(0_u8..).map(|(name, at)| {
        // The first byte of a damage chooses the kind of piece; the others a field and a value.
        let damage = (0..24).map(|byte: u8| byte.wrapping_mul(at.wrapping_mul(59) | 1).wrapping_add(at * 7));
        (*name, [vec![at % 8, at, 0, at], damage.collect()].concat())
    });
    // libFuzzer tries nothing longer than the longest: this one has room for as many damages as are done.
    let long = (0..120_u8).map(|byte| byte.wrapping_mul(37).wrapping_add(11));
    sound.chain(damaged).chain([("damaged-much", long.collect())]).collect()
}

/// Answers of servers of the time.
pub fn sntp() -> Vec<Seed> {
    use keelson_ops::sntp::packet::{reply, request};
    use std::time::Duration;
    let wall = Duration::new(1_800_000_000, 500_000_000);
    let good = reply(&request(0x5a17_c0de_0000_0001), 2, wall, wall + Duration::from_micros(30)).to_vec();
    let with = |at: usize, bytes: &[u8]| {
        let mut packet = good.clone();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet
    };
    vec![
        ("answer", good.clone()),
        ("kiss", [&with(0, &[0xe4, 0])[..12], b"RATE", &good[16..]].concat()),
        ("unsynchronised", with(0, &[0xe4, 16])),
        ("era-1", with(32, &[0; 7])),
        ("request", request(7).to_vec()),
        ("version-3-with-a-key", [&with(0, &[0x1c])[..], &[9; 20]].concat()),
        ("half", good[..24].to_vec()),
    ]
}

/// How strangers begin; see the target for the first two bytes.
pub fn ssh() -> Vec<Seed> {
    use keelson_ssh::hostile::string;
    let messages = |how: u8, pieces: u8, list: &[&[u8]]| {
        let mut input = vec![how, pieces];
        for message in list {
            input.extend((message.len() as u16).to_be_bytes());
            input.extend(*message);
        }
        input
    };
    let request = |method: &[u8], rest: &[u8]| {
        [&[50][..], &string(b"root"), &string(b"ssh-connection"), &string(method), rest].concat()
    };
    // The y of a point, the base point's.
    let mut point = [0x66; 32];
    point[0] = 0x58;
    let key = [string(b"ssh-ed25519"), string(&point)].concat();
    let offer = [&[0][..], &string(b"ssh-ed25519"), &string(&key)].concat();
    let proof = [string(b"ssh-ed25519"), string(&[0x11; 64])].concat();
    let proved = [&[1][..], &string(b"ssh-ed25519"), &string(&key), &string(&proof)].concat();
    let open = [&[90][..], &string(b"session"), &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 128, 0]].concat();
    let global = [&[80][..], &string(b"keepalive@openssh.com"), &[1]].concat();
    vec![
        ("nothing", vec![0x20, 1]),
        ("name", vec![1, 1]),
        ("algorithms", vec![0x22, 7]),
        ("exchange", vec![3, 255]),
        ("keys", vec![0x24, 255]),
        ("web", [&[0x40, 16][..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"].concat()),
        ("ignored", messages(1, 255, &[&[&[2][..], &string(b"x")].concat()])),
        ("disconnect", messages(0xa4, 255, &[&[1, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0]])),
        ("none", messages(0xa4, 255, &[&request(b"none", &[])])),
        ("password", messages(0x84, 64, &[&request(b"password", &[&[0][..], &string(b"secret")].concat())])),
        ("offer", messages(0xa4, 255, &[&request(b"none", &[]), &request(b"publickey", &offer)])),
        ("proof", messages(0xa4, 3, &[&request(b"publickey", &proved)])),
        ("attempts", messages(0xa4, 255, &[&request(b"publickey", &offer)[..]; 4])),
        ("too-early", messages(0xa4, 255, &[&open, &global])),
        ("without-login", messages(0x24, 255, &[&request(b"none", &[])])),
        ("rekey", messages(0xa4, 255, &[&[21], &[30, 0, 0, 0, 0]])),
    ]
}
