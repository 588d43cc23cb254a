//! Another implementation reads our frames: Wireshark's dissector, as tshark has it (section 2.3).

#[path = "../vectors/frames.rs"]
mod frames;
mod sent;

use keelson_qnet_wire::frame::Frame;
use keelson_qnet_wire::pcap;
use std::path::Path;
use std::process::Command;

/// What tshark prints of each frame, lines without indentation.
fn dissect(name: &str, frames: &[Vec<u8>], check_crc: bool) -> Vec<Vec<String>> {
    let mut file = pcap::file_header(pcap::ETHERNET).to_vec();
    for (number, frame) in frames.iter().enumerate() {
        file.extend(pcap::record_header(1_000_000_001 * number as u64, frame.len() as u32));
        file.extend(frame);
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("qnet-{name}.pcap"));
    std::fs::write(&path, file).unwrap();
    let preference = format!("lwl4.check_crc:{}", if check_crc { "TRUE" } else { "FALSE" });
    let output = Command::new("tshark").arg("-r").arg(&path).args(["-n", "-V", "-o", &preference]).output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "tshark cannot be run ({error}); install it with: apt-get install --no-install-recommends tshark"
        )
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark on {}: {errors}", path.display());
    let mut dissected: Vec<Vec<String>> = Vec::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if line.starts_with("Frame ") {
            dissected.push(Vec::new());
        }
        if let Some(frame) = dissected.last_mut() {
            frame.push(line.trim().to_string());
        }
    }
    assert_eq!(dissected.len(), frames.len(), "frames of {}", path.display());
    dissected
}

/// The protocol layers above Ethernet or IP: from the one that contains `layer` on.
fn from_layer<'a>(frame: &'a [String], layer: &str) -> &'a [String] {
    let start = frame.iter().position(|line| line.starts_with("QNX6") && line.contains(layer));
    &frame[start.unwrap_or_else(|| panic!("no {layer} in {frame:#?}"))..]
}

fn check_well_formed(name: &str, frame: &[String]) {
    let malformed = frame.iter().find(|line| line.contains("Malformed"));
    assert_eq!(malformed, None, "{name}: {frame:#?}");
    from_layer(frame, "LWL4");
}

/// Lines that must appear, in this order.
fn check_lines(name: &str, frame: &[String], expected: &[&str]) {
    let mut lines = frame.iter();
    for wanted in expected {
        assert!(lines.any(|line| line == wanted), "{name}: no \"{wanted}\" (in its place) in {frame:#?}");
    }
}

/// What section 25 lists.
const STATED: &[(usize, &[&str])] = &[
    (
        0,
        &[
            "Seq: 103852",
            "Server_id: 1073742439",
            "Client_handle: 278",
            "Type: _IO_WRITE (0x0102)",
            "Write Data: 0a",
        ],
    ),
    (
        1,
        &[
            "Type: Request (0x01)",
            "[Name: alpha]",
            "[Domain: lab.test]",
            "[Name: beta]",
            "[Domain: lab.test]",
        ],
    ),
    (2, &["Type: Reply (0x02)", "[Name: beta]", "[Name: alpha]"]),
    (4, &["[Src_name: alpha]", "[Src_domain: lab.test]", "[Dst_name: beta]", "[Dst_domain: lab.test]"]),
    (
        7,
        &[
            ".... .... .000 0000 = Type: Connect (0x00) CRED LITTLE_ENDIAN",
            "Size: 0x004c",
            "Version: 0x00000001",
            "Server_pid: 1",
            "Server_chid: 0x00000001 (1)",
            "Client_id: 0x00001001 (4097)",
            "Client_pid: 12299",
            "Nd: 9 (0x00000009)",
            "Ruid: 100",
            "Rgid: 50",
            "Grouplist: 50 10",
        ],
    ),
    (9, &["Server_id: 1073741831", "Client_id: 4097", "Scoid: 1073741827", "Nbytes: 8192 (0x00002000)"]),
    (
        10,
        &[
            "Subtype: _IO_CONNECT_OPEN (0x0002)",
            "Reply_max: 0x0a18 (2584)",
            "Handle: 0x00000001 (1)",
            "Path: etc/TIMEZONE",
        ],
    ),
    (15, &["Code: 5", "Value: 0x00001234 (4660)", "Priority: 15"]),
    (17, &["Type: LWL4 Nack packet (0x0a)", "Seq: 6", "Offset: 1456", "Length: 2912"]),
    (30, &["crc32:0xb30fc8c3 [correct]"]),
];

#[test]
fn vectors_are_well_formed() {
    let vectors: Vec<_> = frames::vectors().iter().map(|(_, bytes)| bytes.clone()).collect();
    let dissected = dissect("vectors", &vectors, false);
    for (number, frame) in dissected.iter().enumerate() {
        check_well_formed(&format!("T{number:02}"), frame);
    }
    for (number, lines) in STATED {
        check_lines(&format!("T{number:02}"), &dissected[*number], lines);
    }
    // T31 is T01 in the other order; T32 is T12 in the other binding.
    assert_eq!(from_layer(&dissected[31], "LR"), from_layer(&dissected[1], "LR"));
    assert_eq!(from_layer(&dissected[32], "LWL4"), from_layer(&dissected[12], "LWL4"));
}

/// tshark computes a CRC for whole packets with and without one: it must be the one that we compute.
#[test]
fn crcs_are_the_same() {
    let vectors: Vec<_> = frames::vectors().iter().map(|(_, bytes)| bytes.clone()).collect();
    let mut compared = 0;
    for (frame, bytes) in dissect("crc", &vectors, true).iter().zip(&vectors) {
        let Ok(decoded) = Frame::decode(bytes) else { continue };
        let Some(line) = frame.iter().find(|line| line.starts_with("crc32:")) else { continue };
        let computed = format!("0x{:x}", decoded.packet.computed_crc());
        let stated = format!("0x{:x}", decoded.packet.header.crc);
        let expected = match stated == computed {
            true => format!("crc32:{stated} [correct]"),
            false => format!("crc32:{stated} [incorrect, should be {computed}]"),
        };
        assert_eq!(*line, expected);
        compared += 1;
    }
    assert_eq!(compared, 34, "all but the IP packet and the three that are not whole");
}
