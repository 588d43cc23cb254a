//! The header in front of every frame (virtio 1.2 section 5.1.6), and what the driver must know of the frame
//! itself to fill it in.

use keelson_hal::{RxMeta, TxOffload};

/// Length of `virtio_net_hdr` with VERSION_1.
pub(super) const LEN: usize = 12;

/// Flags.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

/// Segmentation types.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

/// Builds the header for a frame. `frame` is complete; asking for segmentation of something that is not TCP
/// over IP is answered by sending it whole.
pub(super) fn for_sending(frame: &[u8], offload: TxOffload) -> [u8; LEN] {
    let mut header = [0; LEN];
    let Some(checksum) = offload.checksum else { return header };
    header[0] = NEEDS_CSUM;
    header[6..8].copy_from_slice(&checksum.start.to_le_bytes());
    header[8..10].copy_from_slice(&checksum.offset.to_le_bytes());
    if let Some((gso_type, header_len, mss)) = segmentation(frame, checksum.start, offload.segment_size) {
        header[1] = gso_type;
        header[2..4].copy_from_slice(&header_len.to_le_bytes());
        header[4..6].copy_from_slice(&mss.to_le_bytes());
    }
    header
}

/// Segmentation type, length of all headers, and segment size; `None` when one segment is enough.
fn segmentation(frame: &[u8], tcp_start: u16, segment_size: Option<u16>) -> Option<(u8, u16, u16)> {
    let mss = segment_size.filter(|&mss| mss != 0)?;
    let gso_type = match frame.get(12..14)? {
        [0x08, 0x00] => GSO_TCPV4,
        [0x86, 0xdd] => GSO_TCPV6,
        _ => GSO_NONE,
    };
    // TCP data offset: upper half of byte 12, in words.
    let tcp_len = u16::from(*frame.get(usize::from(tcp_start) + 12)? >> 4) * 4;
    let header_len = tcp_start.checked_add(tcp_len)?;
    let payload = frame.len().checked_sub(usize::from(header_len))?;
    (gso_type != GSO_NONE && payload > usize::from(mss)).then_some((gso_type, header_len, mss))
}

/// What the stack may know of a received frame. NEEDS_CSUM says that the frame never left the host and its
/// checksum was never completed; DATA_VALID that it was verified.
pub(super) fn received(header: &[u8]) -> RxMeta {
    RxMeta { checksum_ok: header[0] & (NEEDS_CSUM | DATA_VALID) != 0 }
}

/// Buffers that a received frame is spread over (only with MRG_RXBUF).
pub(super) fn buffer_count(header: &[u8]) -> u16 {
    u16::from_le_bytes([header[10], header[11]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_hal::TxChecksum;

    fn tcp_frame(ether_type: u16, start: usize, payload: usize) -> Vec<u8> {
        let mut frame = vec![0; start + 20 + payload];
        frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
        frame[start + 12] = 0x50;
        frame
    }

    fn offload(start: u16, mss: Option<u16>) -> TxOffload {
        TxOffload { checksum: Some(TxChecksum { start, offset: 16 }), segment_size: mss }
    }

    #[test]
    fn plain_frames_have_an_empty_header() {
        assert_eq!(for_sending(&[0; 60], TxOffload::default()), [0; 12]);
    }

    #[test]
    fn tcp_is_segmented_only_when_it_is_longer_than_a_segment() {
        let header = for_sending(&tcp_frame(0x0800, 34, 4000), offload(34, Some(1460)));
        assert_eq!(header, [1, 1, 54, 0, 0xb4, 0x05, 34, 0, 16, 0, 0, 0]);
        let header = for_sending(&tcp_frame(0x86dd, 54, 4000), offload(54, Some(1440)));
        assert_eq!(header[..6], [1, 4, 74, 0, 0xa0, 0x05]);
        let header = for_sending(&tcp_frame(0x0800, 34, 1460), offload(34, Some(1460)));
        assert_eq!(header[..6], [1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn frames_too_short_for_their_offload_do_not_panic() {
        for len in 0..60 {
            for_sending(&tcp_frame(0x0800, 34, 6)[..len], offload(34, Some(1)));
            for_sending(&tcp_frame(0x0800, 34, 6)[..len], offload(u16::MAX, Some(1)));
        }
    }
}
