//! Qnet: the frames of the specification (section 25), as they stand and as stories.

use super::Seed;
use keelson_qnet_wire::Endian;
use keelson_qnet_wire::io::{
    ConnectSubtype, Dcmd, Extra, FileType, IoConnect, IoDevctl, IoFdinfo, IoLseek, IoMsg, IoNotify,
    IoReadWrite, IoRequest, IoSpace, Xtype, ioflag,
};
use keelson_qnet_wire::proc::{ProcWait, Spawn};

/// Bytes before the LwL4 header: Ethernet header and padding.
const BEFORE: usize = 16;
/// LwL4 header.
const HEADER: usize = 36;

const NAMES: [&str; 38] = [
    "t00", "t01", "t02", "t03", "t04", "t05", "t06", "t07", "t08", "t09", "t10", "t11", "t12", "t13", "t14",
    "t15", "t16", "t17", "t18", "t19", "t20", "t21", "t22", "t23", "t24", "t25", "t26", "t27", "t28", "t29",
    "t30", "t31", "t32", "t33", "t34", "t35", "t36", "t37",
];

/// All frames.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let lines = include_str!("../../../roles/qnet/wire/tests/vectors.txt").lines();
    let frames = lines.filter(|line| line.starts_with('T')).filter_map(|line| line.split_once(' '));
    let bytes = |hex: &str| -> Vec<u8> {
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
        (0..hex.len()).step_by(2).map(digits).collect()
    };
    let frames: Vec<_> = NAMES.into_iter().zip(frames.map(|(_, hex)| bytes(hex.trim()))).collect();
    assert_eq!(frames.len(), NAMES.len());
    frames
}

/// Each frame, as what it is.
pub fn wire() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, frame) in frames() {
        // T32 is an IPv4 packet; the resolver frames have no KIF.
        let layer = frame.get(BEFORE + 3).copied().unwrap_or_default();
        let payload = frame.get(BEFORE + HEADER..).unwrap_or_default();
        let seed = match (name, layer) {
            ("t32", _) => [&[2], &frame[14..]].concat(),
            ("t04", _) => [&[3], payload].concat(),
            ("t31", _) => [&[0x84], payload].concat(),
            ("t01" | "t02" | "t03" | "t26" | "t27", _) => [&[4], payload].concat(),
            ("t05" | "t06" | "t08" | "t17" | "t18" | "t30" | "t35" | "t36" | "t28" | "t29", _) => {
                [&[1], &frame[BEFORE..]].concat()
            }
            ("t00", _) => [&[0], &frame[..]].concat(),
            _ => [&[5], payload].concat(),
        };
        seeds.push((name, seed));
    }
    for (name, message) in requests() {
        seeds.push((name, [&[6], &message[..]].concat()));
    }
    let wait = ProcWait::default().encode(Endian::Little);
    seeds.push(("wait", [&[6], &wait[..]].concat()));
    seeds.push(("spawn", [&[8], &spawn()[..]].concat()));
    seeds.push(("link", [&[7][..], &link()].concat()));
    seeds
}

/// An `_IO_CONNECT_LINK` reply with one entry, by its layout (section 13.3).
fn link() -> Vec<u8> {
    let path = b"/net/beta/etc\0";
    let mut bytes = vec![0; 20];
    bytes[16] = 1;
    bytes[18] = path.len() as u8;
    let entry: [u32; 8] = [1, 1, 1, 1, 0, 0, 10, 0];
    bytes.extend(entry.iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(path);
    bytes
}

/// `date` with two arguments, by its layout (section 14.4).
fn spawn() -> Vec<u8> {
    let strings = b"date\0-u\0PATH=/bin\0";
    let path = b"/bin/date\0";
    let mut bytes = vec![0; 108];
    bytes[0] = 0x10;
    bytes[6] = path.len() as u8;
    bytes[98] = 2;
    bytes[100] = 1;
    bytes[104] = strings.len() as u8;
    bytes.extend(path);
    bytes.extend(strings);
    // The remote block: no descriptors, root and cwd.
    bytes.extend([0; 10]);
    bytes.extend([2, 0, 2, 0, 1, 0]);
    bytes.extend(b"/\0/\0");
    let _ = Spawn::decode(&bytes, Endian::Little);
    bytes
}

/// One request of each kind.
fn requests() -> Vec<Seed> {
    let connect = |subtype, path, extra| IoConnect {
        subtype,
        file_type: FileType::ANY,
        reply_max: IoConnect::REPLY_MAX,
        entry_max: IoConnect::ENTRY_MAX,
        key: 0,
        handle: IoConnect::REMOTE_ROOT,
        ioflag: ioflag::RD | ioflag::WR | ioflag::CREAT,
        mode: 0o666,
        sflag: IoConnect::SH_DENYNO,
        access: 3,
        eflag: 0,
        path,
        extra,
    };
    let stat = [4, 1, 8, 0, 0, 0, 0, 0];
    let data = IoReadWrite { nbytes: 64, xtype: Xtype::Offset(3), ..IoReadWrite::default() };
    let requests: [(&'static str, IoRequest<'_>); 18] = [
        ("open", IoRequest::Connect(connect(ConnectSubtype::OPEN, b"public/a", Extra::None))),
        ("open-net", IoRequest::Connect(connect(ConnectSubtype::OPEN, b"net/beta/x", Extra::None))),
        (
            "open-stat",
            IoRequest::Connect(connect(ConnectSubtype::COMBINE_CLOSE, b"precious", Extra::Message(&stat))),
        ),
        (
            "rename",
            IoRequest::Connect(connect(ConnectSubtype::RENAME, b"public/b", Extra::Rename(b"public/a"))),
        ),
        (
            "symlink",
            IoRequest::Connect(connect(
                ConnectSubtype::LINK,
                b"public/c",
                Extra::Symlink(b"c/../../precious"),
            )),
        ),
        ("mknod", IoRequest::Connect(connect(ConnectSubtype::MKNOD, b"public/d", Extra::None))),
        ("unlink", IoRequest::Connect(connect(ConnectSubtype::UNLINK, b"public/b", Extra::None))),
        ("readlink", IoRequest::Connect(connect(ConnectSubtype::READLINK, b"public/c", Extra::None))),
        ("read", IoRequest::Read(data)),
        ("read-all", IoRequest::Read(IoReadWrite { nbytes: i32::MAX, xtype: Xtype::None, ..data })),
        ("write", IoRequest::Write(data, b"0123456789")),
        ("stat", IoRequest::Stat),
        ("notify", IoRequest::Notify(IoNotify { action: 1, flags: 0xf000_0000, ..IoNotify::default() })),
        ("devctl", IoRequest::Devctl(IoDevctl { dcmd: Dcmd(0xc004_0102), nbytes: 4 }, &[1; 4])),
        ("lseek", IoRequest::Lseek(IoLseek { whence: 1, offset: u64::MAX })),
        ("fdinfo", IoRequest::Fdinfo(IoFdinfo { flags: 0, path_len: 64 })),
        ("space", IoRequest::Space(IoSpace { subtype: 111, whence: 0, start: 9, len: 0 })),
        ("netmgr", IoRequest::Msg(IoMsg { mgrid: 14, subtype: 3 }, &[0; 12])),
    ];
    let emitted = |(name, request): &(&'static str, IoRequest<'_>)| {
        let mut room = vec![0; 512];
        let len = request.emit(&mut room, Endian::Little).expect("room");
        room.truncate(len);
        (*name, room)
    };
    requests.iter().map(emitted).collect()
}

/// Messages on one connection: the file is opened before anything else is done to it.
pub fn io() -> Vec<Seed> {
    let step = |coid: u8, message: &[u8]| {
        [&[0, coid, 0x0b, 0xb8][..], &(message.len() as u16).to_be_bytes(), message].concat()
    };
    let all = requests();
    let open = step(0, &all[0].1);
    let mut seeds: Vec<Seed> =
        all.iter().map(|(name, message)| (*name, [open.clone(), step(0, message)].concat())).collect();
    let everything: Vec<u8> = all.iter().flat_map(|(_, message)| step(0, message)).collect();
    seeds.push(("everything", everything));
    // A read of the console, given up; then its connection is closed.
    let console = requests_of_console();
    seeds.push(("console", [step(1, &console), step(1, &all[9].1), step(1, &[]), open].concat()));
    seeds
}

fn requests_of_console() -> Vec<u8> {
    let open = &requests()[0].1;
    // The same length as "public/a": only the name differs.
    let at = open.windows(8).position(|window| window == b"public/a").expect("the path");
    let mut open = open.clone();
    open[at..at + 8].copy_from_slice(b"dev//con");
    open
}

/// Frames from a peer that has told its name; and the published ones, bent to the ids in use.
pub fn l4() -> Vec<Seed> {
    let frames = frames();
    let of = |name: &str| {
        frames
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, frame)| frame[BEFORE..].to_vec())
            .expect("a frame")
    };
    let step = |changes: u8, frame: &[u8]| {
        [&[0, 0, changes, 0xff, 0xfe][..], &(frame.len() as u16).to_be_bytes(), frame].concat()
    };
    let (announce, init) = (of("t03"), bent(of("t04")));
    // Beta announces itself and opens a connection; what alpha opens is answered.
    let start = [vec![0], step(0, &announce), step(0, &init), vec![1, 0, 255, 1, 0, 255]].concat();
    let mut seeds: Vec<Seed> = vec![("start", start.clone())];
    for (name, frame) in &frames {
        if *name != "t32" {
            seeds.push((name, [start.clone(), step(2, &frame[BEFORE..]), vec![5, 3, 3, 20]].concat()));
        }
    }
    let send = |to: u8, len: u16| [&[2, to][..], &len.to_be_bytes(), &[0, 10]].concat();
    let silent = [start.clone(), send(1, 5000), send(1, 200), vec![4, 0xff, 0xff, 5, 9]].concat();
    let talk =
        [start.clone(), send(1, 20_000), vec![1, 0, 255], send(1, 3), vec![3, 9, 1, 0, 255, 5, 9]].concat();
    let cable = [start.clone(), send(1, 9000), vec![7, 0, 3, 50, 7, 0, 9, 1, 0, 255]].concat();
    let asked = [start, vec![6, 0, 0, 6, 1, 1, 6, 2, 1, 1, 0, 255, 3, 5, 4, 3, 0, 11, 1]].concat();
    seeds.extend([("silent", silent), ("talk", talk), ("cable", cable), ("asked", asked)]);
    seeds.push(("crc", [vec![3], step(4, &announce), step(4, &init), step(6, &of("t30"))].concat()));
    seeds
}

/// T04 from beta to alpha: the names change places.
fn bent(mut frame: Vec<u8>) -> Vec<u8> {
    let at = HEADER + 8;
    frame[at..at + 29].copy_from_slice(b"beta\0lab.test\0alpha\0lab.test\0");
    frame[HEADER..HEADER + 8].copy_from_slice(&[0, 0, 5, 0, 14, 0, 20, 0]);
    frame
}

/// A client and a server of each kind, and what they should not say.
pub fn kif() -> Vec<Seed> {
    // Kind, server id, client id, handle, offset, bytes, value, length.
    let say = |kind: u8, choice: u8, nbytes: u8, value: u8, len: u16| {
        [&[0, kind, 0, 0, choice, 0, nbytes, value][..], &len.to_be_bytes()].concat()
    };
    let client = say(0, 1, 0, 0, 0);
    let one =
        |kind: u8| [client.clone(), say(5, 9, 1, 3, 7), say(kind, 0, 10, 5, 70), vec![6, 0, 40]].concat();
    const KINDS: [&str; 18] = [
        "connect",
        "connect-send",
        "success",
        "fail",
        "unblock",
        "send",
        "read",
        "xfer",
        "write",
        "reply",
        "error",
        "event",
        "pulse",
        "signal",
        "disconnect",
        "death",
        "read-error",
        "connect-pulse",
    ];
    let mut seeds: Vec<Seed> = KINDS.into_iter().zip(0..).map(|(name, kind)| (name, one(kind))).collect();
    // A client of ours that is served: attached, read from, written to, answered.
    let ours = [
        vec![4, 90],
        say(2, 1, 255, 0, 0),
        say(6, 0, 200, 0, 0),
        say(8, 0, 20, 7, 140),
        say(9, 0, 20, 7, 140),
    ];
    seeds.push(("client", ours.concat()));
    seeds.push((
        "client-killed",
        [vec![4, 9, 4, 10], say(2, 1, 255, 0, 0), vec![5, 0, 7, 2, 6, 1, 0]].concat(),
    ));
    let large = [client.clone(), say(5, 9, 255, 0, 8000), say(7, 0, 255, 6, 9000), vec![6, 2, 0]].concat();
    seeds.push(("large", large));
    seeds.push(("cut", [client.clone(), say(5, 9, 1, 2, 1), vec![7, 0, 7, 1, 7, 3]].concat()));
    for (name, frame) in frames() {
        let layer = frame.get(BEFORE + 3).copied();
        if layer == Some(0)
            && frame.get(BEFORE + 1) == Some(&8)
            && name != "t28"
            && name != "t29"
            && name != "t32"
        {
            let payload = &frame[BEFORE + HEADER..];
            let raw = [&[3][..], &(payload.len() as u16).to_be_bytes(), payload].concat();
            seeds.push((name, [client.clone(), raw].concat()));
        }
    }
    seeds
}

/// What people write.
pub fn names() -> Vec<Seed> {
    let texts = [
        ("nodes", "beta\nbeta.lab.test\nEAdd3528\nlocalhost\n\n.\na.\n.b\n"),
        (
            "policies",
            "lab2~exclusive:en0\nlab2~preferred:en1\nx.y~loadbalance\nx~redundant\nx~fast\nx~\nx~preferred:\n~:\n",
        ),
        ("paths", "/net/lab2~exclusive:en0/dev/ser1\n/net/\n/net/x\n/net//x\nlab2/etc\n/net/a/net/b/net/c\n"),
        ("characters", "a_b-c.d\na b\nk\u{e4}se\n\u{0}\nA~PREFERRED:en0\na~preferred:en0~x\na:b\n"),
    ];
    let mut seeds: Vec<Seed> = texts.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect();
    seeds
        .push(("long", format!("{}\n{}.{}\n", "a".repeat(64), "b".repeat(63), "c.".repeat(70)).into_bytes()));
    seeds
}
