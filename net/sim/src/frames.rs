//! What hardware computes over frames: checksums and segments.

/// One's complement sum, folded (RFC 1071). A checksum field holds its complement.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// TCP segmentation of an IPv4 frame as a device does it: `start` is the offset of the TCP header.
pub fn segments(frame: &[u8], start: usize, mss: usize) -> impl Iterator<Item = Vec<u8>> {
    let header = start + usize::from(frame[start + 12] >> 4) * 4;
    let seq = u32::from_be_bytes(frame[start + 4..start + 8].try_into().unwrap());
    let payload = &frame[header..];
    let count = payload.len().div_ceil(mss);
    (0..count).map(move |n| {
        let bytes = &payload[n * mss..payload.len().min(n * mss + mss)];
        let mut segment = [&frame[..header], bytes].concat();
        let total = (segment.len() - 14) as u16;
        segment[16..18].copy_from_slice(&total.to_be_bytes());
        segment[24..26].fill(0);
        let ip_sum = !sum(&segment[14..start]);
        segment[24..26].copy_from_slice(&ip_sum.to_be_bytes());
        let seq = seq.wrapping_add((n * mss) as u32);
        segment[start + 4..start + 8].copy_from_slice(&seq.to_be_bytes());
        if n + 1 < count {
            // FIN and PSH belong to the last segment.
            segment[start + 13] &= !0x09;
        }
        segment[start + 16..start + 18].fill(0);
        let length = (segment.len() - start) as u16;
        let pseudo = [&segment[26..34], &[0, 6], &length.to_be_bytes(), &segment[start..]].concat();
        segment[start + 16..start + 18].copy_from_slice(&(!sum(&pseudo)).to_be_bytes());
        segment
    })
}
