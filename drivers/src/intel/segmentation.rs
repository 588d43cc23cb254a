//! What the chips want in the headers of a frame that they are to segment (8254x manual section 3.5).
//!
//! They fill in length and checksum of each segment's IP header, and add each segment's length to the
//! pseudo-header sum. So the stack's values are taken out: length and checksum of the IP header are zero, and
//! the sum in the TCP header has no length.

use keelson_hal::TxChecksum;

const IP: usize = 14;
const IP_LENGTH: usize = IP + 2;
const IP_CHECKSUM: usize = IP + 10;
const IPV4_MIN_HEADER: usize = 20;
const TCP_DATA_OFFSET: usize = 12;
const TCP_MIN_HEADER: usize = 20;
/// Offset of the checksum in a TCP header.
pub(crate) const TCP_CHECKSUM: u16 = 16;

/// Where the headers of a frame are, from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segmentation {
    /// The TCP header.
    pub tcp: usize,
    /// The TCP payload: length of all headers.
    pub payload: usize,
}

impl Segmentation {
    /// Adapts the headers; `None` for a frame that is no TCP over IPv4 with payload.
    pub fn prepare(frame: &mut [u8], checksum: TxChecksum) -> Option<Segmentation> {
        let tcp = usize::from(checksum.start);
        let data_offset = usize::from(*frame.get(tcp + TCP_DATA_OFFSET)? >> 4) * 4;
        let payload = tcp + data_offset;
        let is_tcp4 = frame[12..14] == [0x08, 0x00] && checksum.offset == TCP_CHECKSUM;
        // The context's offsets have 8 bits.
        let fits = tcp >= IP + IPV4_MIN_HEADER && payload <= 255 && payload < frame.len();
        if !is_tcp4 || !fits || data_offset < TCP_MIN_HEADER {
            return None;
        }
        frame[IP_LENGTH..IP_LENGTH + 2].fill(0);
        frame[IP_CHECKSUM..IP_CHECKSUM + 2].fill(0);
        let field = tcp + usize::from(TCP_CHECKSUM);
        let sum = u32::from(u16::from_be_bytes([frame[field], frame[field + 1]]));
        // One's complement: subtracting is adding the complement, and the carry comes around.
        let sum = sum + u32::from(!((frame.len() - tcp) as u16));
        let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        Some(Segmentation { tcp, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKSUM: TxChecksum = TxChecksum { start: 34, offset: 16 };

    fn frame(len: usize) -> Vec<u8> {
        let mut frame: Vec<u8> = (0..len).map(|i| i as u8 | 1).collect();
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[34 + TCP_DATA_OFFSET] = 0x80;
        frame
    }

    #[test]
    fn lengths_leave_the_headers() {
        // Pseudo-header sums of 10.0.0.1 to 10.0.0.2, TCP, without and with the length of the segment.
        for len in [2000usize, 32768] {
            let without = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 6u32;
            let with = without + (len - 34) as u32;
            let with = (with & 0xffff) + (with >> 16);
            let mut frame = frame(len);
            frame[50..52].copy_from_slice(&(with as u16).to_be_bytes());
            let before = frame.clone();
            let headers = Segmentation::prepare(&mut frame, CHECKSUM).unwrap();
            assert_eq!(headers, Segmentation { tcp: 34, payload: 66 });
            assert_eq!(frame[50..52], (without as u16).to_be_bytes());
            assert_eq!((&frame[16..18], &frame[24..26]), (&[0, 0][..], &[0, 0][..]));
            let changed = (0..len).filter(|&i| frame[i] != before[i]).collect::<Vec<_>>();
            assert!(changed.iter().all(|i| [16, 17, 24, 25, 50, 51].contains(i)), "{changed:?}");
        }
    }

    #[test]
    fn other_frames_are_refused() {
        assert!(Segmentation::prepare(&mut frame(2000), CHECKSUM).is_some());
        let mut ipv6 = frame(2000);
        ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
        assert_eq!(Segmentation::prepare(&mut ipv6, CHECKSUM), None);
        assert_eq!(Segmentation::prepare(&mut frame(66), CHECKSUM), None, "no payload");
        let udp = TxChecksum { start: 34, offset: 6 };
        assert_eq!(Segmentation::prepare(&mut frame(2000), udp), None);
        for start in [0, 33, 250, 1990, 2000, u16::MAX] {
            let far = TxChecksum { start, offset: 16 };
            assert_eq!(Segmentation::prepare(&mut frame(2000), far), None, "TCP header at {start}");
        }
        let mut short = frame(2000);
        short[34 + TCP_DATA_OFFSET] = 0x40;
        assert_eq!(Segmentation::prepare(&mut short, CHECKSUM), None);
    }
}
